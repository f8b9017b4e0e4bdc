//! OPENS THE WORLD: from a config to two running planes.
//!
//! The calling thread becomes the hands plane: it lives as long as the daemon, so the children it forks do not lose their
//! parent. The heartbeat plane gets a thread of its own.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use avamgr_core::cluster::{CheckId, Incarnation, NodeId, ResourceId};
use avamgr_core::config::{Config, ResourceKind};
use avamgr_core::control::{Answer, DriverStatus, Status};
use avamgr_core::node::event::Fact;
use avamgr_core::node::{Durable, Event, Input, Node};
use avamgr_core::wire::seal::{Key, Keyring, Secret};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::arbitrators::ping::Pinger;
use crate::control::outbox::channel as word_channel;
use crate::control::{Answers, ControlServer, Outbox, Policy, Ports, Reload};
use crate::daemon::{Daemon, Tune};
use crate::hands::{Hands, serve_probes};
use crate::history::History;
use crate::inputs::{self, Inputs};
use crate::journal::service::{self, Pulse};
use crate::links::Links;
use crate::resources::vip::{group, guard};
use crate::resources::{self, OrderSender, Place};
use crate::state_file::{self, Writer};
use crate::{checks, clock, keys, realtime};

/// Size of one history file; two are kept.
const HISTORY_BYTES: u64 = 4 * 1024 * 1024;
/// Reloads that may wait.
const RELOADS: usize = 4;
/// How long the last words may take to be written at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What the daemon is started with.
#[derive(Clone, Debug)]
pub struct Start {
    /// The config file, for reloads and messages.
    pub file: PathBuf,
    /// Its content, checked.
    pub config: Config,
    /// Which node of it we are.
    pub node: NodeId,
    /// How the config is read again.
    pub read: fn(&Self) -> Result<Config>,
    /// The state directory instead of the config's.
    pub state_dir: Option<PathBuf>,
    /// The control socket instead of the config's.
    pub socket: Option<PathBuf>,
    /// One node alone, whatever the file says.
    pub standalone: bool,
}

/// Everything the hands plane shares with its tasks.
struct Shared {
    config: watch::Sender<Arc<Config>>,
    inputs: Inputs,
    history: Arc<History>,
    answers: Answers,
    outbox: Outbox,
    tunes: mpsc::Sender<Tune>,
}

/// Runs the daemon until it has been asked to end and everything is down.
///
/// # Errors
/// When something that cannot be done without cannot be opened: key file, state, control socket, a link's socket.
pub fn run(start: &Start) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    let tasks = tokio::task::LocalSet::new();
    runtime.block_on(tasks.run_until(serve(start)))
}

async fn serve(start: &Start) -> Result<()> {
    let config = Arc::new(start.config.clone());
    let state_dir = start.state_dir.clone().unwrap_or_else(|| config.daemon.state_dir.clone());
    let durable = state_file::load(&state_dir)?;
    let keyring = keyring(&config)?;
    let socket = start.socket.clone().unwrap_or_else(|| config.daemon.socket.clone());
    let server = ControlServer::bind(&socket, Policy::system())?;

    let (inputs, input_queue) = inputs::channel();
    let (outbox, words) = word_channel();
    let (tunes, tune_queue) = mpsc::channel(RELOADS);
    let shared = Shared {
        config: watch::Sender::new(Arc::clone(&config)),
        inputs: inputs.clone(),
        history: Arc::new(History::open(&state_dir, HISTORY_BYTES)),
        answers: Answers::default(),
        outbox,
        tunes,
    };
    let relay = tokio::spawn(words.relay(
        start.node,
        shared.config.subscribe(),
        Arc::clone(&shared.history),
        shared.answers.clone(),
    ));
    let writer = Writer::start(state_dir, inputs.clone()).context("cannot start the thread that writes the state")?;
    let (hands, probes) = Hands::new(start_resources(&config, start.node, &inputs), writer, shared.outbox.clone());
    let questions = config.groups.iter().map(|group| group::questions(group, start.node)).collect();
    tokio::spawn(serve_probes(probes, questions, inputs.clone()));
    start_ready_checks(&config, &inputs);

    let pulse = Pulse::default();
    tokio::spawn(pulse.clone().guard());
    let plane =
        Plane { config: Arc::clone(&config), node: start.node, durable, keyring, inputs: inputs.clone(), pulse };
    let node = plane.node()?;
    let (status, snapshots) = watch::channel(Arc::new(node.status(clock::now())));
    let ended = plane.start(node, input_queue, tune_queue, hands, status)?;
    let reloads = serve_operators(start, &shared, server, snapshots);
    service::ready();
    tracing::info!(node = config.node_name(start.node), socket = %socket.display(), "avamgrd runs");
    let result = wait_for_the_end(start, &shared, ended).await;
    service::stopping(LAST_WORDS);
    // The relay ends with the last end of its queue.
    reloads.abort();
    drop(shared.outbox);
    let _ = tokio::time::timeout(LAST_WORDS, relay).await;
    shared.history.flush(LAST_WORDS);
    result
}

/// Keys of the heartbeats; one node alone has no links and needs none.
fn keyring(config: &Config) -> Result<Arc<Keyring>> {
    if config.standalone {
        let unused = Key { number: 1, secret: Secret::new([0; 32]) };
        return Ok(Arc::new(Keyring::new(&config.cluster, &[unused], 1)?));
    }
    Ok(Arc::new(keys::keyring(&config.daemon.key_file, &config.cluster)?))
}

fn start_resources(config: &Arc<Config>, node: NodeId, inputs: &Inputs) -> BTreeMap<ResourceId, OrderSender> {
    let mut senders = BTreeMap::new();
    for id in config.group_ids() {
        let place = Place {
            cluster: config.cluster.clone(),
            node_name: config.node_name(node).to_owned(),
            node,
            group: config.group_name(id).to_owned(),
            timers: config.timers.clone(),
            bus: None,
        };
        for resource in config.resource_ids(id) {
            if let Some(settings) = config.resource(resource) {
                senders.insert(resource, resources::spawn(resource, settings, &place, inputs.clone()));
            }
        }
    }
    senders
}

fn start_ready_checks(config: &Config, inputs: &Inputs) {
    for (index, check) in config.ready.iter().enumerate() {
        let Ok(index) = u8::try_from(index) else { break };
        tokio::spawn(checks::watch_ready(CheckId(index), check.clone(), inputs.clone()));
    }
}

/// Starts to listen to operators; the task that reads the config again must end before the daemon does.
fn serve_operators(
    start: &Start,
    shared: &Shared,
    server: ControlServer,
    status: watch::Receiver<Arc<Status>>,
) -> AbortHandle {
    let (reload, reloads) = mpsc::channel(RELOADS);
    let ports = Ports {
        inputs: shared.inputs.clone(),
        answers: shared.answers.clone(),
        status,
        config: shared.config.subscribe(),
        history: Arc::clone(&shared.history),
        reload,
    };
    tokio::spawn(async move {
        if let Err(error) = server.serve(ports).await {
            tracing::error!(%error, "the control socket cannot be served any more: restart the daemon to steer it");
        }
    });
    let (start, config, tunes) = (start.clone(), shared.config.clone(), shared.tunes.clone());
    tokio::spawn(serve_reloads(start, config, tunes, shared.outbox.clone(), reloads)).abort_handle()
}

/// Reads the config again whenever an operator asks.
async fn serve_reloads(
    start: Start,
    config: watch::Sender<Arc<Config>>,
    tunes: mpsc::Sender<Tune>,
    outbox: Outbox,
    mut orders: mpsc::Receiver<Reload>,
) {
    while let Some(order) = orders.recv().await {
        let answer = reload(&start, &config, &tunes).await;
        tell_reload(&outbox, order.who, &answer);
        let _ = order.answer.send(answer);
    }
}

/// A reload is an order like any other: the history says who gave it and why it was refused. All that is wrong with a file
/// is in the answer; one line of it is enough here.
fn tell_reload(outbox: &Outbox, who: String, answer: &Answer) {
    let refused = match answer {
        Answer::Refused { reason } | Answer::Failed { reason } => reason.lines().next().map(str::to_owned),
        Answer::Done { .. } | Answer::Plan { .. } => None,
    };
    let fact = Fact::Command { who, command: "reload".to_owned(), refused };
    outbox.event(Event { at: clock::now(), fact });
}

/// A bad file changes nothing; nor does one that needs a restart.
async fn reload(start: &Start, config: &watch::Sender<Arc<Config>>, tunes: &mpsc::Sender<Tune>) -> Answer {
    service::reloading();
    let answer = try_reload(start, config, tunes).await;
    service::ready();
    match answer {
        Ok(text) => Answer::Done { text },
        Err(error) => Answer::Refused { reason: format!("the running config stays in force: {error:#}") },
    }
}

async fn try_reload(start: &Start, config: &watch::Sender<Arc<Config>>, tunes: &mpsc::Sender<Tune>) -> Result<String> {
    let new = Arc::new((start.read)(start)?);
    tunes.send(Tune::Keys(keyring(&new)?)).await?;
    if new.digest == config.borrow().digest {
        return Ok("the keys were read again; the config has not changed".to_owned());
    }
    let (sender, answer) = oneshot::channel();
    tunes.send(Tune::Config(Arc::clone(&new), sender)).await?;
    if let Err(parts) = answer.await? {
        bail!("changes of {parts} need a restart of the daemon");
    }
    config.send_replace(new);
    Ok("the new config is in force; load it on the other nodes too".to_owned())
}

/// Signals, and the end of the loop.
async fn wait_for_the_end(start: &Start, shared: &Shared, ended: oneshot::Receiver<io::Result<()>>) -> Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut ended = ended;
    loop {
        tokio::select! {
            result = &mut ended => {
                return result.context("the heartbeat plane has ended without a word")?.context("the loop has failed");
            }
            Some(()) = term.recv() => shared.inputs.send(Input::Shutdown).await,
            Some(()) = interrupt.recv() => shared.inputs.send(Input::Shutdown).await,
            Some(()) = hangup.recv() => {
                let answer = reload(start, &shared.config, &shared.tunes).await;
                tell_reload(&shared.outbox, "SIGHUP".to_owned(), &answer);
                // Nobody waits for this answer: the log has all of it.
                match answer {
                    Answer::Refused { reason } => tracing::error!("reload: {reason}"),
                    answer @ (Answer::Done { .. } | Answer::Plan { .. } | Answer::Failed { .. }) => {
                        tracing::info!("reload: {answer:?}");
                    }
                }
            }
        }
    }
}

/// What the heartbeat plane is made of.
struct Plane {
    config: Arc<Config>,
    node: NodeId,
    durable: Durable,
    keyring: Arc<Keyring>,
    inputs: Inputs,
    pulse: Pulse,
}

impl Plane {
    fn node(&self) -> Result<Node> {
        let incarnation = Incarnation(random()?.max(1));
        Ok(Node::new(Arc::clone(&self.config), self.node, incarnation, random()?, self.durable.clone(), clock::now()))
    }

    /// Starts the thread. Waits until its sockets are open, so that what cannot be opened ends the daemon with a word.
    fn start(
        self,
        node: Node,
        inputs: mpsc::Receiver<Input>,
        tunes: mpsc::Receiver<Tune>,
        hands: Hands,
        status: watch::Sender<Arc<Status>>,
    ) -> Result<oneshot::Receiver<io::Result<()>>> {
        let (opened, is_open) = std::sync::mpsc::channel::<Result<()>>();
        let (ended, end) = oneshot::channel();
        let run = move || -> io::Result<()> {
            let scheduling =
                if self.config.daemon.realtime { realtime::claim() } else { "ordinary scheduling".to_owned() };
            let runtime = runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build()?;
            let tasks = tokio::task::LocalSet::new();
            runtime.block_on(tasks.run_until(async move {
                let driver = self.driver_status(scheduling);
                let (links, pinger) = match self.open() {
                    Ok(open) => open,
                    Err(error) => {
                        let _ = opened.send(Err(error));
                        return Ok(());
                    }
                };
                let _ = opened.send(Ok(()));
                let pulse = self.pulse;
                Daemon { node, links, pinger, inputs, tunes, hands, status, pulse, driver }.run().await
            }))
        };
        let thread = thread::Builder::new().name("heartbeat".into()).spawn(move || {
            // The other plane waits for it until the very end.
            let _ = ended.send(run());
        });
        thread.context("cannot start the heartbeat thread")?;
        is_open.recv().context("the heartbeat thread has died")??;
        Ok(end)
    }

    fn open(&self) -> Result<(Links, Option<Pinger>)> {
        let alone = self.config.standalone;
        let configs = if alone { &[][..] } else { &self.config.links };
        let arbitrator = self.config.arbitrator.as_ref().filter(|_| !alone);
        let links = Links::open(configs, arbitrator, self.node, &self.keyring)?;
        let pinger = arbitrator.map(|config| {
            let name = config.interfaces.as_ref().and_then(|names| names.get(self.node.index()));
            let interface = name.and_then(|name| links.interface(name));
            Pinger::new(config, interface, self.inputs.clone())
        });
        Ok((links, pinger))
    }

    fn driver_status(&self, scheduling: String) -> DriverStatus {
        let vips =
            self.config.groups.iter().flat_map(|group| &group.resources).filter_map(|resource| match &resource.kind {
                ResourceKind::Vip(vip) => {
                    Some(format!("{}: {}", resource.name, guard::guard_description(vip, &self.config.timers)))
                }
                ResourceKind::Exec(_) | ResourceKind::Lsb(_) | ResourceKind::Systemd(_) => None,
            });
        DriverStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            scheduling,
            guard: vips.collect::<Vec<_>>().join("; "),
            link_counters: BTreeMap::new(),
        }
    }
}

fn random() -> Result<u64> {
    getrandom::u64().map_err(|error| anyhow::anyhow!("the kernel gives no random numbers: {error}"))
}
