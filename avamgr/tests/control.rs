//! The control socket's server against real clients: who may do what, what bad input does, and that no client can hurt
//! another one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

// Where the shared fixture looks for the core's modules.
use avamgr_core::{cluster, config};

#[path = "operator/courier.rs"]
mod courier;
#[path = "../../src/control/sentence/fixture.rs"]
mod fixture;
#[path = "operator/status.rs"]
mod status;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use avamgr::control::{Answers, BindError, ControlServer, Outbox, Policy, Ports, Reload, outbox};
use avamgr::history::History;
use avamgr::scribe::Scribe;
use avamgr::{clock, hooks, inputs};
use avamgr_core::cluster::NodeId;
use avamgr_core::control::{Answer, Command, Errand, Filter, Reply, Request, Status};
use avamgr_core::courier as courier_words;
use avamgr_core::node::Input;
use avamgr_core::node::event::{Event, Fact, ResourceChange, Severity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot, watch};

/// How long anything may take that does not wait on purpose.
const SOON: Duration = Duration::from_secs(3);

/// Group of the operators in the tests' own group file.
const OPERATORS_GID: u32 = 4242;

/// A server in a thread of its own, as in the daemon, with a core that is a few lines.
struct Daemon {
    directory: TempDir,
    history: Arc<History>,
    status: watch::Sender<Arc<Status>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Daemon {
    fn start() -> Self {
        Self::with(Policy::system().daemon_uid, OPERATORS_GID)
    }

    /// Members of this group may steer, and the daemon is root's: an account that runs the tests is a stranger to it.
    fn for_operators(gid: u32) -> Self {
        Self::with(0, gid)
    }

    fn with(daemon_uid: u32, gid: u32) -> Self {
        let mut config = fixture::pair();
        config.daemon.operators = Some("dreops".to_owned());
        Self::run(daemon_uid, gid, config)
    }

    fn run(daemon_uid: u32, gid: u32, config: config::Config) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(directory.path().join("group"), format!("dreops:x:{gid}:\n")).unwrap();
        let policy = Policy { daemon_uid, group_file: directory.path().join("group"), ..Policy::system() };
        let server = ControlServer::bind(&directory.path().join("run/avamgr.sock"), policy).unwrap();
        let history = Arc::new(History::in_memory());
        let (status, snapshots) = watch::channel(Arc::new(status::active()));
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&history);
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                tokio::select! {
                    result = serve(server, config, shared, snapshots) => panic!("the server ended: {result:?}"),
                    _ = stopped => {}
                }
            });
        });
        Self { directory, history, status, stop: Some(stop), thread: Some(thread) }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("run/avamgr.sock")
    }

    fn client(&self) -> Client {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client(BufReader::new(stream))
    }

    fn ask(&self, request: &Request) -> Reply {
        let mut client = self.client();
        client.send(request);
        client.reply().unwrap()
    }

    fn record(&self, text: &str) {
        self.history.record(status::entry(Fact::ArbitratorReachable, Severity::Info, text));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        assert!(thread::panicking() || ended.is_ok());
    }
}

async fn serve(
    server: ControlServer,
    config: config::Config,
    history: Arc<History>,
    status: watch::Receiver<Arc<Status>>,
) -> std::io::Result<()> {
    let (_config_stays, config) = watch::channel(Arc::new(config));
    let (inputs, commands) = inputs::channel();
    let (outbox, words) = outbox::channel();
    let (reload, reloads) = mpsc::channel(1);
    let answers = Answers::default();
    let scribe = Scribe::new(NodeId(0), config.clone(), Arc::clone(&history));
    let (hooks, _runner) = hooks::channel(scribe.clone());
    tokio::spawn(words.relay(scribe.clone(), hooks, answers.clone()));
    tokio::spawn(core(commands, outbox));
    tokio::spawn(reloader(reloads));
    let (upgrade, _upgrades) = mpsc::channel(1);
    let (_, rules) = watch::channel(None);
    server.serve(Ports { inputs, answers, status, rules, config, history, scribe, reload, upgrade }).await
}

/// Knows four commands; one of them it never answers.
async fn core(mut commands: mpsc::Receiver<Input>, outbox: Outbox) {
    while let Some(Input::Command { request, who, command }) = commands.recv().await {
        match command {
            Command::Online => outbox.answer(request, Answer::Done { text: format!("online for {who}") }),
            Command::Offline { .. } => outbox.answer(request, Answer::Refused { reason: "no peer".into() }),
            Command::Switchover { .. } => {
                for change in [ResourceChange::Stopped, ResourceChange::Started] {
                    let resource = cluster::ResourceId { group: cluster::GroupId(0), index: 0 };
                    outbox.event(Event { at: clock::now(), fact: Fact::Resource { resource, change } });
                }
                outbox.answer(request, Answer::Done { text: "moved".into() });
            }
            Command::Maintenance { .. }
            | Command::Resource { .. }
            | Command::ConfirmVoters
            | Command::Upgrade { .. }
            | Command::Fence { .. }
            | Command::ResetTerm { .. } => {}
        }
    }
}

async fn reloader(mut reloads: mpsc::Receiver<Reload>) {
    while let Some(reload) = reloads.recv().await {
        let _ = reload.answer.send(Answer::Refused { reason: format!("line 3: bad, {}", reload.who) });
    }
}

struct Client(BufReader<UnixStream>);

impl Client {
    fn send(&mut self, request: &Request) {
        self.raw(format!("{}\n", serde_json::to_string(request).unwrap()).as_bytes());
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// The next reply; `None` at the end of the connection.
    fn reply(&mut self) -> Option<Reply> {
        let mut line = String::new();
        let count = self.0.read_line(&mut line).unwrap();
        (count > 0).then(|| serde_json::from_str(&line).unwrap())
    }

    fn error(&mut self) -> String {
        match self.reply() {
            Some(Reply::Error { reason }) => reason,
            other => panic!("no error: {other:?}"),
        }
    }

    fn event(&mut self) -> String {
        match self.reply() {
            Some(Reply::Event { entry }) => entry.text,
            other => panic!("no event: {other:?}"),
        }
    }
}

fn follow(daemon: &Daemon) -> Client {
    let mut client = daemon.client();
    client.send(&Request::follow(0));
    assert_eq!(client.reply(), Some(Reply::EndOfHistory));
    client
}

#[test]
fn the_history_is_told_from_page_to_page_and_as_it_is_wanted() {
    let daemon = Daemon::start();
    (1..=9).for_each(|number| daemon.record(&format!("event {number}")));
    let ask = |last, before, filter: Filter| {
        let mut client = daemon.client();
        client.send(&Request::History { last, follow: false, before, filter });
        let mut numbers = Vec::new();
        while let Some(Reply::Event { entry }) = client.reply() {
            numbers.push(entry.number);
        }
        numbers
    };
    assert_eq!(ask(3, None, Filter::default()), [7, 8, 9]);
    assert_eq!(ask(3, Some(7), Filter::default()), [4, 5, 6]);
    assert_eq!(ask(usize::MAX, Some(4), Filter::default()), [1, 2, 3]);
    let seven = Filter { text: Some("event 7".to_owned()), ..Filter::default() };
    assert_eq!(ask(3, None, seven.clone()), [7]);
    assert_eq!(ask(3, None, Filter { group: Some("dre".to_owned()), ..Filter::default() }), [0; 0]);
    let unknown = Filter { group: Some("dra".to_owned()), ..Filter::default() };
    let answer = daemon.ask(&Request::History { last: 3, follow: false, before: None, filter: unknown });
    assert_eq!(answer, Reply::Error { reason: "there is no group `dra`".to_owned() });
    let mut client = daemon.client();
    client.send(&Request::History { last: 0, follow: true, before: None, filter: seven });
    assert_eq!(client.reply(), Some(Reply::EndOfHistory));
    ["event 8", "event 71"].iter().for_each(|text| daemon.record(text));
    let Some(Reply::Event { entry }) = client.reply() else { panic!("no event") };
    assert_eq!((entry.number, entry.text.as_str()), (11, "event 71"));
}

#[test]
fn status_config_and_history_are_told() {
    let daemon = Daemon::start();
    (1..=3).for_each(|number| daemon.record(&format!("event {number}")));
    let mut client = daemon.client();
    client.send(&Request::Status);
    let Some(Reply::Status { status }) = client.reply() else { panic!("no status") };
    assert_eq!(*status, **daemon.status.borrow());
    client.send(&Request::Config);
    let Some(Reply::Config { config }) = client.reply() else { panic!("no config") };
    assert_eq!(config.nodes, ["hadev1", "hadev2"]);
    client.send(&Request::last(2));
    assert_eq!((client.event(), client.event()), ("event 2".to_owned(), "event 3".to_owned()));
    assert_eq!(client.reply(), Some(Reply::EndOfHistory));
    // A follower gets its next request answered too.
    let mut follower = follow(&daemon);
    daemon.record("event 4");
    assert_eq!(follower.event(), "event 4");
    follower.send(&Request::Status);
    assert!(matches!(follower.reply(), Some(Reply::Status { .. })));
}

#[test]
fn a_command_is_told_with_its_events_before_the_last_word() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    client.send(&Request::Command(Command::Switchover { group: None, to: None, dry_run: false }));
    let mut replies = Vec::new();
    while replies.len() < 3 {
        match client.reply() {
            Some(Reply::Event { entry }) => replies.push(entry.text),
            Some(Reply::Answer { answer: Answer::Done { text } }) => replies.push(text),
            Some(Reply::Pending { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(replies, ["dre/traffic: stopped", "dre/traffic: started", "moved"]);
    // The same events are in the history, with sentence and severity.
    assert_eq!(daemon.history.last(9).len(), 2);
}

#[test]
fn reload_is_answered_by_the_daemon() {
    let daemon = Daemon::start();
    let reply = daemon.ask(&Request::Reload);
    assert!(
        matches!(reply, Reply::Answer { answer: Answer::Refused { reason } } if reason.starts_with("line 3: bad, "))
    );
}

#[test]
fn a_core_that_hangs_is_named_and_waiting_ends() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let begun = clock::now();
    client.send(&Request::Command(Command::Maintenance { on: true }));
    let mut pending = 0;
    let reason = loop {
        match client.reply() {
            Some(Reply::Pending { .. }) => pending += 1,
            Some(Reply::Answer { answer: Answer::Failed { reason } }) => break reason,
            other => panic!("{other:?}"),
        }
    };
    assert!(reason.contains("maintenance on: the decision loop has not run for"), "{reason}");
    assert!(pending >= 2 && clock::now().since(begun) < Duration::from_secs(10));
}

#[test]
fn bad_lines_are_answered_and_the_connection_stays_good() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    client.raw(b"hello\n{\"request\":\"fly\"}\n\n\xff\xfe\n");
    for _ in 0..3 {
        assert!(client.error().starts_with("not understood: "));
    }
    client.raw(&vec![b'x'; 200_000]);
    client.raw(b"\n");
    assert_eq!(client.error(), "line longer than 16384 bytes");
    client.send(&Request::Status);
    assert!(matches!(client.reply(), Some(Reply::Status { .. })));
    // Half a line and a hang-up leave nothing behind.
    client.raw(b"{\"request\":");
    drop(client);
    assert!(matches!(daemon.ask(&Request::Status), Reply::Status { .. }));
}

#[test]
fn two_hundred_followers_hear_everything() {
    let daemon = Daemon::start();
    let mut followers: Vec<Client> = (0..200).map(|_| follow(&daemon)).collect();
    (0..50).for_each(|number| daemon.record(&number.to_string()));
    for follower in &mut followers {
        let heard: Vec<String> = (0..50).map(|_| follower.event()).collect();
        assert_eq!(heard, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn a_slow_follower_is_dropped_with_a_word_and_nobody_else_notices() {
    let daemon = Daemon::start();
    let mut slow = follow(&daemon);
    let mut quick = follow(&daemon);
    let text = "x".repeat(1000);
    for _ in 0..1_500 {
        daemon.record(&text);
        assert_eq!(quick.event(), text);
    }
    let begun = clock::now();
    assert!(matches!(daemon.ask(&Request::Status), Reply::Status { .. }));
    assert!(clock::now().since(begun) < SOON);
    // It wakes up after a while: what fits the socket's buffer is there, then it is told how much it missed.
    let mut heard = 0;
    let last = loop {
        match slow.reply() {
            Some(Reply::Event { .. }) => heard += 1,
            Some(Reply::Error { reason }) => break reason,
            other => panic!("{heard} events, then {other:?}"),
        }
    };
    assert!(last.starts_with("too slow: ") && last.contains("events went by unread"), "{last}");
    assert_eq!(slow.reply(), None);
}

#[test]
fn a_dead_reader_is_dropped_within_its_patience() {
    let daemon = Daemon::start();
    let mut dead = follow(&daemon);
    (0..3_000).for_each(|_| daemon.record(&"x".repeat(1000)));
    // Longer than the server waits for a byte to be taken.
    thread::sleep(Duration::from_secs(7));
    let mut rest = Vec::new();
    // The last line is torn: the server gave up in the middle of it. The end comes at once.
    let begun = clock::now();
    dead.0.read_to_end(&mut rest).unwrap();
    assert!(clock::now().since(begun) < SOON && rest.len() < 1_000_000, "{}", rest.len());
}

/// Runs on a thread that belongs to another account; what it connects, that account has connected.
fn as_account<T: Send>(uid: u32, group: u32, work: impl FnOnce() -> T + Send) -> T {
    assert!(
        nix::unistd::geteuid().is_root(),
        "only root can be several accounts: as any other, the limits on viewers cannot be seen. Run this test as root"
    );
    let become_it = || {
        let groups = [group];
        let ids = [(libc::SYS_setresgid, uid), (libc::SYS_setresuid, uid)];
        #[expect(unsafe_code, reason = "the library's own calls would change every thread of the tests")]
        // SAFETY: plain numbers, and a list that lives until the call returns; these calls concern this thread alone.
        unsafe {
            assert_eq!(libc::syscall(libc::SYS_setgroups, 1, groups.as_ptr()), 0);
            ids.iter().for_each(|(call, id)| assert_eq!(libc::syscall(*call, *id, *id, *id), 0));
        }
        work()
    };
    thread::scope(|scope| scope.spawn(become_it).join().unwrap())
}

/// Clients of one account that ask for the status: those who got a seat, and those who were told that there is none. All
/// of them stay.
fn crowd(daemon: &Daemon, uid: u32, count: usize) -> (Vec<Client>, Vec<Client>) {
    let mut all: Vec<Client> = as_account(uid, uid, || (0..count).map(|_| daemon.client()).collect());
    let asked = format!("{}\n", serde_json::to_string(&Request::Status).unwrap());
    for client in &mut all {
        // Who was turned away cannot ask any more.
        let _ = client.0.get_mut().write_all(asked.as_bytes());
    }
    all.into_iter().map(|mut client| (client.reply(), client)).fold((Vec::new(), Vec::new()), |mut lists, one| {
        match one {
            (Some(Reply::Status { .. }), client) => lists.0.push(client),
            (Some(Reply::Error { reason }), client) if reason.starts_with("too many clients") => lists.1.push(client),
            (other, _) => panic!("{other:?}"),
        }
        lists
    })
}

#[test]
fn no_crowd_locks_anybody_out_for_good() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(8192), hard).unwrap();
    let daemon = Daemon::start();
    let crowds: Vec<_> = (60_001..60_006).map(|uid| crowd(&daemon, uid, 200)).collect();
    let seated: Vec<usize> = crowds.iter().map(|(seated, _)| seated.len()).collect();
    assert_eq!(seated, [32, 32, 32, 32, 0], "of each account some, of all viewers some");
    // Not one of them is in the way of those who steer.
    let steer = || daemon.ask(&Request::Command(Command::Online));
    let done = |answer| matches!(answer, Reply::Answer { answer: Answer::Done { .. } } | Reply::Pending { .. });
    for _ in 0..20 {
        assert!(done(as_account(60_100, OPERATORS_GID, steer)));
        assert!(done(steer()));
    }
    let roots: Vec<Client> = (0..200).map(|_| follow(&daemon)).collect();
    drop((crowds, roots));
    thread::sleep(Duration::from_millis(200));
    assert_eq!(crowd(&daemon, 60_005, 32).0.len(), 32, "seats are given back");
}

#[test]
fn a_viewer_is_answered_at_its_own_pace_and_nobody_else_waits() {
    let daemon = Daemon::start();
    let mut greedy = as_account(60_201, 60_201, || daemon.client());
    let line = format!("{}\n", serde_json::to_string(&Request::Config).unwrap());
    greedy.raw(line.repeat(400).as_bytes());
    let begun = clock::now();
    for _ in 0..40 {
        assert!(matches!(greedy.reply(), Some(Reply::Config { .. })));
    }
    let took = clock::now().since(begun);
    assert!(took >= Duration::from_millis(1_800), "20 at once, then ten a second: {took:?}");
    let begun = clock::now();
    let mut root = daemon.client();
    root.raw(line.repeat(400).as_bytes());
    (0..400).for_each(|_| assert!(matches!(root.reply(), Some(Reply::Config { .. }))));
    assert!(clock::now().since(begun) < SOON);
}

#[test]
fn names_that_steer_terminals_reach_neither_the_decision_nor_the_history() {
    let daemon = Daemon::start();
    for name in ["\u{1b}[2J", &"x".repeat(10_000)] {
        let command = Command::Switchover { group: Some(name.to_owned()), to: None, dry_run: false };
        let Reply::Answer { answer: Answer::Refused { reason } } = daemon.ask(&Request::Command(command)) else {
            panic!("not refused");
        };
        assert!(reason.starts_with("switchover: a name is longer") && !reason.contains(name), "{reason}");
    }
    assert!(daemon.history.last(9).is_empty(), "{:?}", daemon.history.last(9));
}

#[test]
fn of_servers_that_begin_at_the_same_moment_one_has_the_socket() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let barrier = std::sync::Barrier::new(8);
        let bind = || {
            barrier.wait();
            ControlServer::bind(&path, Policy::system())
        };
        let servers: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(bind)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(servers.iter().filter(|server| server.is_ok()).count(), 1);
        assert!(path.exists() && UnixStream::connect(&path).is_ok());
    }
}

#[test]
fn the_socket_of_a_dead_daemon_is_replaced_and_that_of_a_living_one_is_not() {
    let daemon = Daemon::start();
    let path = daemon.socket();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o666, 0o755));
    assert!(matches!(ControlServer::bind(&path, Policy::system()), Err(BindError::Running { .. })));
    let directory = tempfile::tempdir().unwrap();
    let dead = directory.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let server = ControlServer::bind(&dead, Policy::system()).unwrap();
    drop(server);
    assert!(!dead.exists(), "removed at the end");
    std::fs::write(&dead, "precious").unwrap();
    assert!(matches!(ControlServer::bind(&dead, Policy::system()), Err(BindError::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(&dead).unwrap(), "precious");
}

/// The account of somebody without rights.
const STRANGER: u32 = 65_534;

/// What a daemon answers to a line of somebody without rights.
fn say_as_stranger(daemon: &Daemon, line: &str) -> String {
    const TALK: &str = r#"socket(S, PF_UNIX, SOCK_STREAM, 0) || die; connect(S, sockaddr_un($ARGV[0])) || die $!; alarm 10;
        select S; $| = 1; print "$ARGV[1]\n"; select STDOUT; while (<S>) { print; last if /"reply":"(answer|error)"|"reply":"(kept|done|refused)"/ }"#;
    assert!(nix::unistd::geteuid().is_root(), "run this test as root: nobody else can be somebody else");
    let mut process = Process::new("setpriv");
    let (id, socket) = (STRANGER.to_string(), daemon.socket());
    process
        .args(["--reuid", &id, "--regid", &id, "--clear-groups", "perl", "-MSocket", "-e", TALK])
        .arg(socket)
        .arg(line);
    let output = process.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The command line as somebody without rights: the tests' own account, or nobody where that is root.
fn as_stranger(daemon: &Daemon, groups: &str, verb: &str) -> Output {
    // The build directory may be closed to others.
    let program = daemon.directory.path().join("avamgr");
    std::fs::copy(env!("CARGO_BIN_EXE_avamgr"), &program).unwrap();
    let mut process = Process::new(&program);
    if nix::unistd::geteuid().is_root() {
        process = Process::new("setpriv");
        process.args(["--reuid", &STRANGER.to_string(), "--regid", &STRANGER.to_string(), groups]).arg(&program);
    }
    process.arg("--socket").arg(daemon.socket()).arg(verb).output().unwrap()
}

#[test]
fn everybody_may_look_and_only_operators_steer() {
    let daemon = Daemon::for_operators(OPERATORS_GID);
    let status = as_stranger(&daemon, "--clear-groups", "status");
    assert_eq!(status.status.code(), Some(0), "{status:?}");
    assert!(String::from_utf8_lossy(&status.stdout).contains("ACTIVE"));
    for verb in ["online", "reload"] {
        let refused = as_stranger(&daemon, "--clear-groups", verb);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(3), "{text}");
        assert!(text.contains(&format!("not permitted: {verb} needs root or a member of group dreops")), "{text}");
    }
}

#[test]
fn the_account_of_the_page_steers_in_the_name_of_its_users_and_not_in_its_own() {
    let mut web = fixture::pair();
    web.daemon.operators = Some("dreops".to_owned());
    web.web = Some(page_of_the_stranger());
    let daemon = Daemon::run(0, OPERATORS_GID, web);
    let on_behalf = |order| on_behalf(Errand::Command(order));
    let own = serde_json::to_string(&Request::Command(Command::Online)).unwrap();
    assert!(say_as_stranger(&daemon, &own).contains("not permitted: online"));
    let done = say_as_stranger(&daemon, &on_behalf(Command::Online));
    assert!(done.contains("online for alice at 192.0.2.7 through "), "{done}");
    let order = Errand::Command(Command::Online);
    let nonsense = Request::OnBehalf { user: "a\u{1b}b".to_owned(), address: "::1".parse().unwrap(), order };
    assert!(say_as_stranger(&daemon, &serde_json::to_string(&nonsense).unwrap()).contains("cannot be printed"));
    for order in [
        Command::Upgrade { binary: Some("/tmp/other".into()) },
        Command::Fence { node: "hadev2".to_owned(), verb: avamgr_core::control::FenceVerb::Shoot },
        Command::ConfirmVoters,
        Command::ResetTerm { group: None },
    ] {
        assert!(say_as_stranger(&daemon, &on_behalf(order)).contains("not permitted"), "the page does not do that");
    }
    let other = Daemon::for_operators(OPERATORS_GID);
    assert!(say_as_stranger(&other, &on_behalf(Command::Online)).contains("not permitted"), "it is nobody's page");
}

/// A page that runs as the account that is a stranger to everybody else.
fn page_of_the_stranger() -> config::WebConfig {
    let stranger = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(STRANGER)).unwrap().expect("an account");
    let (names, idle_time) = (Vec::new(), Duration::from_secs(60));
    let listen = "127.0.0.1:1".parse().unwrap();
    let users = Some(PathBuf::from("/etc/avamgr/users"));
    config::WebConfig { start: true, listen, user: stranger.name, names, users, idle_time, certificate: None }
}

/// What the page says for one of its users.
fn on_behalf(order: Errand) -> String {
    let (user, address) = ("alice".to_owned(), "192.0.2.7".parse().unwrap());
    serde_json::to_string(&Request::OnBehalf { user, address, order }).unwrap()
}

fn about_rules(order: courier_words::Request) -> Request {
    Request::Rules { order }
}

#[test]
fn orders_about_the_rules_are_carried_there_and_back_and_are_in_the_history() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rules.sock");
    let asked = courier::courier(&socket);
    let mut config = fixture::pair();
    (config.web, config.rules) = (Some(page_of_the_stranger()), Some(courier::rules(&socket)));
    let daemon = Daemon::run(0, OPERATORS_GID, config);
    let say = |request: &Request| say_as_stranger(&daemon, &serde_json::to_string(request).unwrap());

    let listed = say(&about_rules(courier_words::Request::Kept { conflicts: true }));
    assert!(listed.contains(courier::LOST) && listed.contains("\"omitted\":51"), "the youngest of them: {listed}");
    assert!(!listed.contains("\\u001b") && listed.contains("re/\u{fffd}[2Jroute.conf"), "{listed}");
    let resync = |force| Errand::Rules(courier_words::Request::Resync { force });
    let own = about_rules(courier_words::Request::Resync { force: false });
    assert!(say(&own).contains("not permitted: rules-sync"), "not in its own name");
    let told = say_as_stranger(&daemon, &on_behalf(resync(false)));
    assert!(told.contains("\"done\":1,\"total\":4") && told.contains("4 paths were read"), "{told}");
    assert!(say_as_stranger(&daemon, &on_behalf(resync(true))).contains("not permitted"), "not through a page");
    let settle = |name: &str| Errand::Rules(courier_words::Request::Settle { name: Some(name.to_owned()) });
    assert!(say_as_stranger(&daemon, &on_behalf(settle(courier::LOST))).contains("is settled"));
    assert!(say_as_stranger(&daemon, &on_behalf(settle("7"))).contains("there is no such version"));
    assert!(say_as_stranger(&daemon, &on_behalf(settle("a\nb"))).contains("cannot be printed"));

    let deadly = courier_words::Request::Restore { name: courier::DEADLY.to_owned() };
    let unknown = say_as_stranger(&daemon, &on_behalf(Errand::Rules(deadly)));
    assert!(unknown.contains("\"answer\":\"failed\"") && unknown.contains("it is unknown how it ends"), "{unknown}");

    let asked: Vec<_> = asked.try_iter().map(|request| request.words()).collect();
    let lost = format!("rules-sync conflicts settle {}", courier::LOST);
    let expected = ["rules-sync conflicts list", "rules-sync resync", &lost, "rules-sync conflicts settle 7"];
    assert_eq!(asked, expected, "nothing else got through");
    let told: Vec<_> = daemon.history.last(99).iter().map(|entry| entry.text.clone()).collect();
    let has = |words: &str| told.iter().filter(|text| text.contains(words)).count();
    assert_eq!((has("alice at 192.0.2.7 through "), has("rules-sync resync")), (6, 1), "{told:?}");
    assert_eq!(has("there is no such version"), 1, "{told:?}");
}

#[test]
fn where_nobody_answers_for_the_rules_it_is_said() {
    let order = || about_rules(courier_words::Request::Resync { force: false });
    let refused = |daemon: &Daemon| {
        let reply = daemon.ask(&order());
        let Reply::Rules { said: courier_words::Reply::Refused { reason } } = reply else { panic!("{reply:?}") };
        reason
    };
    assert_eq!(refused(&Daemon::start()), "no rules are replicated: the config has no [rules]");
    let mut config = fixture::pair();
    config.rules = Some(courier::rules(Path::new("/nonexistent/rules.sock")));
    let daemon = Daemon::run(Policy::system().daemon_uid, OPERATORS_GID, config);
    let why = refused(&daemon);
    assert!(why.starts_with("rules-sync does not answer on /nonexistent/rules.sock: No such file"), "{why}");
}

#[test]
fn members_of_the_operators_group_steer() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can choose its groups; of an ordinary account, each one it has is tried.
        let mut groups = nix::unistd::getgroups().unwrap();
        groups.push(nix::unistd::getegid());
        for gid in groups {
            let member = as_stranger(&Daemon::for_operators(gid.as_raw()), "", "online");
            assert_eq!(member.status.code(), Some(0), "{gid}: {member:?}");
        }
        return;
    }
    let daemon = Daemon::start();
    let member = as_stranger(&daemon, &format!("--groups={OPERATORS_GID}"), "online");
    assert_eq!(member.status.code(), Some(0), "{member:?}");
    // Many groups: more than the server expects at first.
    let many: Vec<String> = (5000..5100).map(|gid| gid.to_string()).collect();
    let stranger = as_stranger(&daemon, &format!("--groups={}", many.join(",")), "online");
    assert_eq!(stranger.status.code(), Some(3), "{stranger:?}");
    let member = as_stranger(&daemon, &format!("--groups={},{OPERATORS_GID}", many.join(",")), "online");
    assert_eq!(member.status.code(), Some(0), "{member:?}");
}

#[test]
fn an_order_whose_caller_has_left_is_not_carried_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sock");
    // The daemon is stopped: it takes the order out of its socket later.
    let server = ControlServer::bind(&path, Policy::system()).unwrap();
    for request in [Request::Command(Command::Online), Request::Reload] {
        let mut gone = Client(BufReader::new(UnixStream::connect(&path).unwrap()));
        gone.send(&request);
    }
    let (inputs, mut commands) = inputs::channel();
    let (reload, mut reloads) = mpsc::channel(1);
    let (_status, status) = watch::channel(Arc::new(status::active()));
    let (_config, config) = watch::channel(Arc::new(fixture::pair()));
    let history = Arc::new(History::in_memory());
    let (upgrade, _upgrades) = mpsc::channel(1);
    let (_, rules) = watch::channel(None);
    let (answers, scribe) = (Answers::default(), Scribe::new(NodeId(0), config.clone(), Arc::clone(&history)));
    let ports = Ports { inputs, answers, status, rules, config, history, scribe, reload, upgrade };
    runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
        let patient = async {
            let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
            let line = serde_json::to_string(&Request::Command(Command::Maintenance { on: true })).unwrap() + "\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, line.as_bytes()).await.unwrap();
            // Behind the two others in the queue, so that what is heard first says whether they were heard at all.
            let first = commands.recv().await;
            assert!(matches!(first, Some(Input::Command { command: Command::Maintenance { .. }, .. })), "{first:?}");
            assert!(reloads.try_recv().is_err(), "nobody waits for this reload");
        };
        tokio::select! {
            ended = server.serve(ports) => panic!("the server ended: {ended:?}"),
            () = patient => {}
        }
    });
}
