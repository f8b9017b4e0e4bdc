//! A daemon with its real control socket and nothing behind it, and the window over it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use avamgr::control::{Answers, ControlServer, Outbox, Policy, Ports, Serving, outbox};
use avamgr::history::{BYTES_MAX, History};
use avamgr::scribe::Scribe;
use avamgr::users::secret::{new_token, password_hash, token_hash};
use avamgr::users::{Kind, Right, User, Users};
use avamgr::{clock, hooks, inputs};
use avamgr_core::cluster::{GroupId, LinkId, NodeId, ResourceId};
use avamgr_core::config::{self, Config};
use avamgr_core::control::{self, Command, HistoryEntry, Status};
use avamgr_core::courier::Watched;
use avamgr_core::node::Input;
use avamgr_core::node::event::{Event, Fact, LinkDownCause, ResourceChange, Severity};
use avamgr_webui::access::Settings;
use avamgr_webui::daemon::Feed;
use avamgr_webui::routes::router;
use avamgr_webui::serve::serve;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use crate::contract::Contract;
use crate::{courier, status};

/// Long enough for anything that is expected to happen.
pub(crate) const SOON: Duration = Duration::from_secs(10);

const CONFIG: &str = "[cluster]\nname = \"hadev\"\nnodes = [\"hadev1\"]\nstandalone = true\nfailover_budget = \"1s\"\n\
                      [[group]]\nname = \"dre\"\n[[group.resource]]\nname = \"r\"\nexec = \"sleep 1\"\n";

/// Daemon and window.
pub(crate) struct House {
    stands: Arc<()>,
    users: Users,
    directory: TempDir,
    history: Arc<History>,
    status: watch::Sender<Arc<Status>>,
    config: watch::Sender<Arc<Config>>,
    rules: watch::Sender<Option<Arc<Watched>>>,
    serving: Option<Serving>,
    address: SocketAddr,
    window: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
}

impl House {
    /// Both, and the window knows how it stands.
    pub(crate) fn start() -> Self {
        Self::without_daemon().with_daemon()
    }

    /// Both, and whoever comes is asked who he is: alice may steer, bob may look. Who does nothing for so long is asked again.
    pub(crate) fn asking(idle_time: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut users = Users::default();
        for (name, right) in [("alice", Right::Operator), ("bob", Right::Viewer)] {
            let hash = password_hash(&format!("password of {name}")).unwrap();
            users.put(User { name: name.to_owned(), kind: Kind::User, right, hash });
        }
        let path = directory.path().join("users");
        users.write(&path, None).unwrap();
        let settings = Settings { users: Some(path), idle_time, secure: false, port: 80 };
        let mut house = Self::open(directory, settings, users);
        house.keep_fresh();
        house.bring_daemon();
        house.wait("the window to know", || house.get("/readyz").status == 200);
        house
    }

    pub(crate) fn users_file(&self) -> PathBuf {
        self.directory.path().join("users")
    }

    /// Changes who may come in.
    pub(crate) fn change_users(&mut self, change: impl FnOnce(&mut Users)) {
        change(&mut self.users);
        self.users.write(&self.users_file(), None).unwrap();
    }

    /// A token for a program that may do this.
    pub(crate) fn token(&mut self, name: &str, right: Right) -> String {
        let token = new_token().unwrap();
        let (name, hash) = (name.to_owned(), token_hash(&token));
        self.change_users(|users| users.put(User { name, kind: Kind::Token, right, hash }));
        token
    }

    fn with_daemon(mut self) -> Self {
        let house = &mut self;
        house.bring_daemon();
        house.wait("the window to know", || house.get("/readyz").status == 200);
        house.wait("it to hear of events", || house.get("/api/v1/history").status == 200);
        self
    }

    /// The window over a socket that is not there.
    pub(crate) fn without_daemon() -> Self {
        let settings = Settings { users: None, idle_time: 60 * SOON, secure: false, port: 80 };
        Self::open(tempfile::tempdir().unwrap(), settings, Users::default())
    }

    fn open(directory: TempDir, settings: Settings, users: Users) -> Self {
        let (status, _) = watch::channel(Arc::new(status::active()));
        let mut config = config::parse(CONFIG, "test").unwrap();
        config.rules = Some(courier::rules(&directory.path().join("rules.sock")));
        let (config, _) = watch::channel(Arc::new(config));
        let socket = directory.path().join("avamgr.sock");
        let (address, window) = open_window(socket, settings);
        let (history, window) = (Arc::new(History::open(directory.path(), BYTES_MAX)), Some(window));
        let (stands, serving, rules) = (Arc::default(), None, watch::Sender::new(None));
        let house = Self { stands, users, directory, history, status, config, rules, serving, address, window };
        house.contract();
        house
    }

    /// What a window promises: the same in every house.
    pub(crate) fn contract(&self) -> &'static Contract {
        static CONTRACT: OnceLock<Contract> = OnceLock::new();
        let ask =
            || self.ask_alone("GET /api/v1/openapi.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        CONTRACT.get_or_init(|| Contract::new(ask().json()))
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("avamgr.sock")
    }

    /// Somebody answers for the rules from now on.
    pub(crate) fn bring_courier(&self) {
        drop(courier::courier(&self.directory.path().join("rules.sock")));
    }

    /// The program that keeps the rules the same has said something.
    pub(crate) fn tell_of_rules(&self, watched: Watched) {
        self.rules.send_replace(Some(Arc::new(watched)));
    }

    fn serve(&self) -> Serving {
        let (upgrade, _) = mpsc::channel(1);
        let (reload, _) = mpsc::channel(1);
        let (status, config, rules) = (self.status.subscribe(), self.config.subscribe(), self.rules.subscribe());
        let (history, answers) = (Arc::clone(&self.history), Answers::default());
        let inputs = self.decide(answers.clone());
        let scribe = Scribe::new(NodeId(0), self.config.subscribe(), Arc::clone(&history));
        let ports = Ports { inputs, answers, status, rules, config, history, scribe, reload, upgrade };
        ControlServer::bind(&self.socket(), Policy::system()).unwrap().start(ports).unwrap()
    }

    /// A decision of a few lines, which ends with the server. What it is told finds its way as in the daemon.
    fn decide(&self, answers: Answers) -> inputs::Inputs {
        let (inputs, commands) = inputs::channel();
        let (history, config) = (Arc::clone(&self.history), self.config.subscribe());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let (outbox, words) = outbox::channel();
                let scribe = Scribe::new(NodeId(0), config, history);
                let (hooks, _runner) = hooks::channel(scribe.clone());
                tokio::join!(words.relay(scribe, hooks, answers), core(commands, outbox));
            });
        });
        inputs
    }

    /// The daemon is gone, as after `kill -9`.
    pub(crate) fn lose_daemon(&mut self) {
        self.serving = None;
    }

    /// It is back.
    pub(crate) fn bring_daemon(&mut self) {
        self.serving = Some(self.serve());
    }

    /// The daemon's decision has brought forth another snapshot.
    pub(crate) fn tell(&self, change: impl FnOnce(&mut Status)) {
        let mut status = status::active();
        change(&mut status);
        self.status.send_replace(Arc::new(status));
    }

    /// The decision goes on: what it says stays true, however slow the machine is.
    pub(crate) fn keep_fresh(&self) {
        let (house, status) = (Arc::downgrade(&self.stands), self.status.clone());
        std::thread::spawn(move || {
            while house.upgrade().is_some() {
                status.send_modify(|status| Arc::make_mut(status).now = clock::now());
                std::thread::sleep(Duration::from_millis(250));
            }
        });
    }

    /// Something has happened.
    pub(crate) fn record(&self, text: &str) {
        self.history.record(status::entry(Fact::ArbitratorReachable, Severity::Info, text));
    }

    /// This has happened.
    pub(crate) fn remember(&self, entry: HistoryEntry) {
        self.history.record(entry);
    }

    /// A peer is silent, because its link is down.
    pub(crate) fn record_silence(&self) {
        let (link, peer) = (LinkId(0), NodeId(1));
        let down = Fact::LinkDown { link, peer, cause: LinkDownCause::NoCarrier };
        self.history.record(status::entry(down, Severity::Warning, "primary to hadev2 down: no carrier"));
        let silent = Fact::PeerSilent { peer };
        self.history.record(status::entry(silent, Severity::Alarm, "hadev2 is silent on every path"));
    }

    /// Waits until it is on disk.
    pub(crate) fn flush(&self) {
        self.history.flush(SOON);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The window is gone with everybody who looks.
    pub(crate) fn close_window(&mut self) {
        if let Some((stop, thread)) = self.window.take() {
            drop(stop);
            let ended = thread.join();
            assert!(std::thread::panicking() || ended.is_ok());
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
    }

    /// Sends this, reads until the other side has said everything, and holds that against what was promised.
    pub(crate) fn ask(&self, request: &str) -> Answer {
        let answer = self.ask_alone(request);
        let mut words = request.split(' ');
        if let (Some(method), Some(path)) = (words.next(), words.next()) {
            self.contract().hold(method, path, &answer);
        }
        answer
    }

    fn ask_alone(&self, request: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        Answer::parse(&said)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    /// Everything as it happens.
    pub(crate) fn events(&self) -> Events {
        let mut stream = self.connect();
        stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        Events(BufReader::new(stream), self.contract())
    }

    pub(crate) fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let end = clock::now() + SOON;
        while !is_so() {
            assert!(clock::now() < end, "waited {SOON:?} for {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.close_window();
    }
}

/// Knows some commands; a stop it never answers.
async fn core(mut commands: mpsc::Receiver<Input>, outbox: Outbox) {
    while let Some(Input::Command { request, who, command }) = commands.recv().await {
        let fact = Fact::Command { who: who.clone(), command: command.words(), refused: None };
        outbox.event(Event { at: clock::now(), fact });
        match command {
            Command::Switchover { dry_run: true, .. } => {
                let (steps, obstacles) = (vec!["move it".to_owned()], Vec::new());
                outbox.answer(request, control::Answer::Plan { steps, obstacles });
            }
            Command::Switchover { .. } => {
                let resource = ResourceId { group: GroupId(0), index: 0 };
                let fact = Fact::Resource { resource, change: ResourceChange::Stopped };
                outbox.event(Event { at: clock::now(), fact });
                outbox.answer(request, control::Answer::Done { text: format!("moved for {who}") });
            }
            Command::Online => outbox.answer(request, control::Answer::Refused { reason: "it is online".into() }),
            Command::Offline { .. }
            | Command::Maintenance { .. }
            | Command::Resource { .. }
            | Command::ConfirmVoters
            | Command::Upgrade { .. }
            | Command::Fence { .. }
            | Command::ResetTerm { .. } => {}
        }
    }
}

/// As the program does it.
fn open_window(
    socket: PathBuf,
    settings: Settings,
) -> (SocketAddr, (oneshot::Sender<()>, std::thread::JoinHandle<()>)) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let routes = router(Feed::start(socket), vec!["hadev1".to_owned()], settings);
            serve([listener], None, routes, async move { drop(stopped.await) }).await;
        });
    });
    (address, (stop, thread))
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// The head as it was sent.
    pub(crate) sent: String,
}

impl Answer {
    fn parse(said: &str) -> Self {
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or((said, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_lowercase(), body: body.to_owned(), sent: head.to_owned() }
    }

    /// A document in each line; between them the sender says how long each piece is.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let lines = self.body.lines().filter(|line| line.starts_with('{'));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A stream of events.
pub(crate) struct Events(BufReader<TcpStream>, &'static Contract);

impl Events {
    /// The next event: its name and its document.
    pub(crate) fn next(&mut self) -> (String, Value) {
        let mut name = String::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream has ended");
            if let Some(found) = line.strip_prefix("event: ") {
                found.trim_end().clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                let document: Value = serde_json::from_str(data).unwrap();
                self.hold(&name, &document);
                return (name, document);
            }
        }
    }

    /// It is what is promised of an event of this name.
    fn hold(&self, name: &str, document: &Value) {
        match name {
            "status" => self.1.hold_event("StatusDocument", document),
            "entry" => self.1.hold_event("HistoryEntry", document),
            "history" => document.as_array().unwrap().iter().for_each(|it| self.1.hold_event("HistoryEntry", it)),
            other => panic!("nobody has heard of {other:?}"),
        }
    }

    /// Waits for an event of this name.
    pub(crate) fn wait(&mut self, wanted: &str) -> Value {
        loop {
            let (name, document) = self.next();
            if name == wanted {
                return document;
            }
        }
    }
}
