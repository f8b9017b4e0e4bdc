//! OPENS THE WORLD: from a config to two running planes.
//!
//! The calling thread becomes the hands plane: it lives as long as the daemon, so the children it forks do not lose their
//! parent. The heartbeat plane gets a thread of its own, and so do those who ask on the control socket.

mod companions;
mod end;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use avamgr_core::cluster::{CheckId, GroupId, Incarnation, NodeId, ResourceId};
use avamgr_core::config::{Config, ResourceKind};
use avamgr_core::control::{Answer, DriverStatus, Status};
use avamgr_core::courier::Watched;
use avamgr_core::node::{Durable, Input, Node, Saved};
use avamgr_core::time::Instant;
use avamgr_core::wire::seal::Keyring;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::arbitrators::ping::Pinger;
use crate::bearers::Bearers;
use crate::companion::briefing::Briefing;
use crate::control::outbox::channel as word_channel;
use crate::control::{Answers, ControlServer, Outbox, Policy, Ports, Serving};
use crate::daemon::{Daemon, End, Tune};
use crate::fencing::Fencer;
use crate::fencing::watchdog::{Keeper, Watchdog};
use crate::guard::{self, Guard, Handle};
use crate::hands::{Hands, serve_fences, serve_probes};
use crate::history::{BYTES_MAX, History};
use crate::inputs::{self, Inputs};
use crate::journal::Settings;
use crate::journal::service::{self, Pulse};
use crate::links::Links;
use crate::links::etcd::EtcdPath;
use crate::links::witness::WitnessPath;
use crate::pid_file::PidFile;
use crate::process::shim;
use crate::reload::{Reloader, keyring, witness_keyring};
use crate::resources::vip::{group, guard_description};
use crate::resources::{self, OrderSender, Place};
use crate::right::{Right, runtime_of};
use crate::scribe::Scribe;
use crate::state_file::{self, Writer};
use crate::upgrade::{Offspring, Upgrader};
use crate::{chance, checks, clock, die, hooks, realtime};
use companions::Companions;
use end::LastWords;

/// Reloads that may wait.
const RELOADS: usize = 4;
/// How long the last words may take to be written at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Turns of other tasks before another program goes on: the relay writes down what is there.
const LAST_TURNS: u32 = 8;
/// How long its last words may take to be written then.
const FAREWELL: Duration = Duration::from_millis(10);
/// How long the end of the daemon waits for hooks.
const LAST_HOOKS: Duration = Duration::from_secs(10);

/// The kernel counts the lifetime of an address in whole seconds: it may last this much longer.
const GUARD_ROUNDING: Duration = Duration::from_secs(1);

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
    /// Where to write the process number.
    pub pid_file: Option<PathBuf>,
    /// Where the log goes and what is in it.
    pub log: Settings,
    /// What the program before this one had, when it goes on with that.
    pub continued: Option<Saved>,
}

impl Start {
    /// What a companion has to be told.
    fn briefing(&self, socket: &Path) -> Briefing {
        let (file, log) = (self.file.clone(), self.log.clone());
        Briefing { file, node: self.node, socket: socket.to_owned(), log }
    }
}

/// Everything the hands plane shares with its tasks.
struct Shared {
    reloader: Arc<Reloader>,
    upgrader: Arc<Upgrader>,
    inputs: Inputs,
    history: Arc<History>,
    answers: Answers,
}

/// Runs the daemon until it has been asked to end and everything is down.
///
/// # Errors
/// When something that cannot be done without cannot be opened: key file, state, control socket, a link's socket.
pub fn run(start: &Start) -> Result<()> {
    die::of_any_panic();
    let runtime = hands_runtime()?;
    let tasks = tokio::task::LocalSet::new();
    let result = runtime.block_on(tasks.run_until(serve(start)));
    drop(tasks);
    // Not waiting for what hangs.
    runtime.shutdown_background();
    result
}

/// Its pool of threads keeps the default size, hundreds: every resource and check may leave one behind in a user database or
/// a process that hangs, and the proof that another resource is down must still find one. They are made as they are needed.
fn hands_runtime() -> io::Result<runtime::Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

async fn serve(start: &Start) -> Result<()> {
    let config = Arc::new(start.config.clone());
    let state_dir = start.state_dir.clone().unwrap_or_else(|| config.daemon.state_dir.clone());
    // What goes on knows what is on disk.
    let durable = if start.continued.is_none() { state_file::load(&state_dir)? } else { Durable::default() };
    let offspring = start.continued.as_ref().map_or_else(Offspring::default, |_| Offspring::inherited());
    let keyring = keyring(&config)?;
    let socket = start.socket.clone().unwrap_or_else(|| config.daemon.socket.clone());
    let server = ControlServer::bind(&socket, Policy::system())?;

    let (inputs, input_queue) = inputs::channel();
    let (outbox, words) = word_channel();
    let (tunes, tune_queue) = mpsc::channel(RELOADS);
    let shared = Shared {
        upgrader: Arc::new(Upgrader::new(tunes.clone(), outbox.clone())),
        reloader: Arc::new(reloader(start, &config, tunes, outbox.clone())),
        inputs: inputs.clone(),
        history: Arc::new(History::open(&state_dir, BYTES_MAX)),
        answers: Answers::default(),
    };
    let scribe = Scribe::new(start.node, shared.reloader.config(), Arc::clone(&shared.history));
    let (hooks, runner) = hooks::channel(scribe.clone());
    let runner = tokio::spawn(runner.run());
    let relay = tokio::spawn(words.relay(scribe.clone(), hooks, shared.answers.clone()));
    let writer = Writer::start(state_dir, inputs.clone()).context("cannot start the thread that writes the state")?;
    let held = start.continued.iter().flat_map(Saved::rights).collect();
    let guard = start_guard(&config, start.node, &held)?;
    let grip = guard.as_ref().map(Guard::handle);
    let runtime = runtime_of(&socket);
    let names: Vec<&str> = config.groups.iter().map(|group| group.name.as_str()).collect();
    let right = Right::open(&runtime, &names)?;
    let resources = start_resources(&config, start.node, grip.as_ref(), &runtime, &inputs);
    let (hands, probes, fences) = Hands::new(resources, writer, outbox);
    tokio::spawn(serve_probes(probes, questions(&config, start.node), inputs.clone()));
    tokio::spawn(serve_fences(fences, Fencer::new(&config), inputs.clone()));
    start_ready_checks(&config, &inputs);
    tokio::spawn(offspring.collect());

    let pulse = Pulse::default();
    tokio::spawn(pulse.clone().guard());
    tokio::spawn(pulse.clone().beat_for_hands());
    let mut plane = Plane {
        config: Arc::clone(&config),
        node: start.node,
        durable,
        continued: start.continued.clone(),
        keyring,
        guard: grip,
        inputs: inputs.clone(),
        pulse: pulse.clone(),
        right,
        bearers: Bearers::watch(Arc::clone(&config)),
    };
    let node = plane.node()?;
    let (status, snapshots) = watch::channel(Arc::new(node.status(clock::now())));
    let ended = plane.start(node, input_queue, tune_queue, hands, status)?;
    let companions = Companions::start(start.briefing(&socket), &shared.reloader.config(), &scribe);
    let (serving, orders) = serve_operators(&shared, scribe, server, snapshots, companions.rules())?;
    // Not before everything is open: the file of a daemon that runs must not be another's that cannot.
    let _pid_file = start.pid_file.as_deref().map(PidFile::write).transpose()?;
    // Last of all: what cannot be opened must end this daemon, not reset the machine.
    let watchdog = start_watchdog(&config, pulse)?;
    service::ready();
    tracing::info!(node = config.node_name(start.node), socket = %socket.display(), "avamgrd runs");
    let result = match wait_for_the_end(&shared, ended).await {
        Ok(End::Continued(state)) => return Err(hand_over(&shared, companions, &state).await),
        Ok(End::Down) => Ok(()),
        Err(error) => Err(error),
    };
    let (guard, watchdog) = (guard.filter(|_| result.is_ok()), watchdog.filter(|_| result.is_ok()));
    LastWords { guard, watchdog, companions, orders, relay, runner }.speak(shared).await?;
    drop(serving);
    result
}

fn reloader(start: &Start, config: &Arc<Config>, tunes: mpsc::Sender<Tune>, outbox: Outbox) -> Reloader {
    let again = start.clone();
    let read = Box::new(move || (again.read)(&again));
    Reloader::new(read, watch::Sender::new(Arc::clone(config)), tunes, outbox)
}

/// Under leases the kernel guards the addresses, if it can: otherwise their lifetimes do, in seconds, and whoever takes
/// over waits until they have gone.
fn start_guard(config: &Config, node: NodeId, held: &BTreeMap<GroupId, Instant>) -> Result<Option<Guard>> {
    let plan = guard::Plan::of(config, node);
    if !config.leases() || plan.groups.is_empty() {
        // An earlier daemon may have left one behind that nobody would open any more.
        return guard::clear(&plan).map(|()| None).context("what is left of an earlier guard cannot be taken away");
    }
    let notice = |text: String| tracing::warn!("guard: {text}");
    match Guard::start(&plan, held, config.daemon.realtime, notice) {
        Ok(guard) => Ok(Some(guard)),
        Err(guard::Error::Unsupported(reason)) => {
            tracing::warn!("the addresses are guarded by their lifetimes only: {reason}");
            Ok(None)
        }
        Err(error @ (guard::Error::Netlink(_) | guard::Error::Thread(_))) => Err(error.into()),
    }
}

fn start_watchdog(config: &Config, pulse: Pulse) -> Result<Option<Keeper>> {
    let Some(settings) = &config.watchdog else { return Ok(None) };
    let watchdog = Watchdog::open(&settings.device, settings.timeout)?;
    let (identity, timeout) = (watchdog.identity().to_owned(), watchdog.timeout());
    tracing::info!("watchdog {} ({identity}) resets this machine after {timeout:?}", settings.device.display());
    Keeper::start(watchdog, pulse).map(Some).context("cannot start the thread of the watchdog")
}

fn start_resources(
    config: &Arc<Config>,
    node: NodeId,
    guard: Option<&Handle>,
    runtime: &Path,
    inputs: &Inputs,
) -> BTreeMap<ResourceId, OrderSender> {
    let mut senders = BTreeMap::new();
    for id in config.group_ids() {
        let place = Place {
            cluster: config.cluster.clone(),
            node_name: config.node_name(node).to_owned(),
            node,
            group: config.group_name(id).to_owned(),
            timers: config.timers.clone(),
            guard: guard.cloned(),
            bus: None,
            runtime: runtime.to_owned(),
            shim: shim::OWN_PROGRAM.into(),
        };
        for resource in config.resource_ids(id) {
            if let Some(settings) = config.resource(resource) {
                senders.insert(resource, resources::spawn(resource, settings, &place, inputs.clone()));
            }
        }
    }
    senders
}

fn questions(config: &Config, node: NodeId) -> Vec<Vec<group::Question>> {
    config.groups.iter().map(|group| group::questions(group, node)).collect()
}

fn start_ready_checks(config: &Config, inputs: &Inputs) {
    for (index, check) in config.ready.iter().enumerate() {
        let Ok(index) = u8::try_from(index) else { break };
        tokio::spawn(checks::watch_ready(CheckId(index), check.clone(), inputs.clone()));
    }
}

/// Starts to listen to operators; the tasks that carry out what is not the decision's business must end before the daemon
/// does.
fn serve_operators(
    shared: &Shared,
    scribe: Scribe,
    server: ControlServer,
    status: watch::Receiver<Arc<Status>>,
    rules: watch::Receiver<Option<Arc<Watched>>>,
) -> Result<(Serving, [AbortHandle; 2])> {
    let (reload, reloads) = mpsc::channel(RELOADS);
    let (upgrade, upgrades) = mpsc::channel(1);
    let upgrading = tokio::spawn(Arc::clone(&shared.upgrader).serve(upgrades)).abort_handle();
    let ports = Ports {
        inputs: shared.inputs.clone(),
        answers: shared.answers.clone(),
        status,
        rules,
        config: shared.reloader.config(),
        history: Arc::clone(&shared.history),
        scribe,
        reload,
        upgrade,
    };
    let serving = server.start(ports).context("cannot start the thread of the control socket")?;
    let reloading = tokio::spawn(Arc::clone(&shared.reloader).serve(reloads)).abort_handle();
    Ok((serving, [reloading, upgrading]))
}

/// Becomes the next program, with the last words in the history, unless that takes long: everybody waits. Comes back only when
/// no program can be run.
async fn hand_over(shared: &Shared, companions: Companions, state: &[u8]) -> anyhow::Error {
    // The next program would not know them, and nobody would read what they write.
    companions.end_at_once().await;
    for _ in 0..LAST_TURNS {
        tokio::task::yield_now().await;
    }
    shared.history.close(FAREWELL);
    let error = shared.upgrader.become_next(state);
    anyhow::Error::from(error).context("no program can be run that goes on with this daemon")
}

/// Signals, and the end of the loop.
async fn wait_for_the_end(shared: &Shared, ended: oneshot::Receiver<io::Result<End>>) -> Result<End> {
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
                let answer = shared.reloader.reload("SIGHUP".to_owned()).await;
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
    continued: Option<Saved>,
    keyring: Arc<Keyring>,
    guard: Option<Handle>,
    inputs: Inputs,
    pulse: Pulse,
    right: Right,
    bearers: Bearers,
}

impl Plane {
    fn node(&mut self) -> Result<Node> {
        if let Some(saved) = self.continued.take() {
            return Ok(Node::resume(saved, Arc::clone(&self.config), clock::now()));
        }
        let incarnation = Incarnation(chance::random()?.max(1));
        Ok(Node::new(
            Arc::clone(&self.config),
            self.node,
            incarnation,
            chance::random()?,
            self.durable.clone(),
            clock::now(),
        ))
    }

    /// Starts the thread. Waits until its sockets are open, so that what cannot be opened ends the daemon with a word.
    fn start(
        self,
        node: Node,
        inputs: mpsc::Receiver<Input>,
        tunes: mpsc::Receiver<Tune>,
        hands: Hands,
        status: watch::Sender<Arc<Status>>,
    ) -> Result<oneshot::Receiver<io::Result<End>>> {
        let (opened, is_open) = std::sync::mpsc::channel::<Result<()>>();
        let (ended, end) = oneshot::channel();
        let run = move || -> io::Result<End> {
            let scheduling =
                if self.config.daemon.realtime { realtime::claim() } else { "ordinary scheduling".to_owned() };
            let runtime = runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build()?;
            runtime.block_on(async move {
                let driver = self.driver_status(scheduling);
                let (links, pinger) = match self.open() {
                    Ok(open) => open,
                    Err(error) => {
                        let _ = opened.send(Err(error));
                        return Ok(End::Down);
                    }
                };
                let _ = opened.send(Ok(()));
                let hands_patience = self.config.timers.guard_lifetime + GUARD_ROUNDING;
                let timers = &self.config.timers;
                // A lease says itself how long it lasts.
                let right_lifetime = (!self.config.leases()).then_some(timers.guard_lifetime);
                let (pulse, right, guard) = (self.pulse, self.right, self.guard);
                Daemon {
                    node,
                    links,
                    pinger,
                    guard,
                    inputs,
                    tunes,
                    hands,
                    status,
                    pulse,
                    hands_patience,
                    right,
                    right_lifetime,
                    driver,
                    bearers: self.bearers,
                }
                .run()
                .await
            })
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
        let path = match (&self.config.witness, witness_keyring(&self.config)?) {
            (Some(config), Some(keys)) => Some(WitnessPath::open(config, self.node, keys)),
            (Some(_) | None, _) => None,
        };
        let links = Links::open(configs, arbitrator, self.node, &self.keyring)?.with_witness(path);
        let etcd = EtcdPath::open(&self.config, self.node, self.inputs.clone())?;
        let links = links.with_etcd(etcd);
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
                    Some(format!("{}: {}", resource.name, guard_description(vip, &self.config.timers)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_that_hang_leave_a_thread_for_one_that_does_not() {
        let runtime = hands_runtime().unwrap();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let ended = Arc::new(std::sync::Mutex::new(ended));
        for _ in 0..64 {
            let ended = Arc::clone(&ended);
            runtime.spawn_blocking(move || ended.lock().map(|ended| ended.recv().is_err()).unwrap_or_default());
        }
        let other = runtime.spawn_blocking(|| 7);
        assert_eq!(
            runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), other).await }).unwrap().unwrap(),
            7
        );
        drop(end);
    }
}
