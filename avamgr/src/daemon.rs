//! THE LOOP of the heartbeat plane: wait, handle one input, drain its actions, set the next deadline.
//!
//! ```text
//!  links ─┐                       ┌─► links, arbitrator        (here, nothing waits)
//!  carrier├─► Node::handle ─► actions
//!  inputs ┘        ▲              └─► hands: resources, disk, operators   (bounded channels)
//!                  └── reports, verdicts, commands ◄──────┘
//! ```
//!
//! It holds no policy. After every wake-up the sockets are drained before any deadline is judged, so that silence is
//! believed only when nothing is waiting to be read.

mod hands_watch;

use std::collections::BTreeMap;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use avamgr_core::cluster::{GroupId, Role};
use avamgr_core::config::Config;
use avamgr_core::control::{DriverStatus, Status};
use avamgr_core::node::{Action, Input, Node, Order, Report, SavedError};
use avamgr_core::time::Instant;
use avamgr_core::wire::seal::Keyring;
use tokio::sync::{mpsc, watch};

use crate::arbitrators::ping::Pinger;
use crate::bearers::Bearers;
use crate::clock::{self, Alarm};
use crate::die::die;
use crate::guard::{Gate, Handle};
use crate::hands::Hands;
use crate::journal::service::Pulse;
use crate::links::Links;
use crate::right::Right;
use hands_watch::HandsWatch;

/// Inputs of other tasks handled before the sockets are looked at again.
const INPUTS: usize = 64;
/// Longest age of the published status: twice as often as its readers may expect.
const PUBLISH: Duration = Duration::from_millis(500);

/// Orders to the loop that are not the decision's business.
#[derive(Debug)]
pub enum Tune {
    /// Take these keys into use, and those that are shared with the witness if there is one.
    Keys(Arc<Keyring>, Option<Arc<Keyring>>),
    /// Take this config into use, if it differs only in what can change while running. Answered with what stands in the way.
    Config(Arc<Config>, tokio::sync::oneshot::Sender<Result<(), String>>),
    /// Write the state of the decision down, for a look at it.
    Save(tokio::sync::oneshot::Sender<Result<Vec<u8>, SavedError>>),
}

/// How the loop ends.
#[derive(Debug)]
pub enum End {
    /// Everything is down.
    Down,
    /// Another program goes on with this state.
    Continued(Vec<u8>),
}

/// What the loop owns.
pub struct Daemon {
    /// The decision.
    pub node: Node,
    /// Heartbeat paths and the carrier of their interfaces.
    pub links: Links,
    /// The arbitrator, if there is one.
    pub pinger: Option<Pinger>,
    /// What other tasks report.
    pub inputs: mpsc::Receiver<Input>,
    /// Orders from outside the decision.
    pub tunes: mpsc::Receiver<Tune>,
    /// The kernel's copy of the leases, if there is one.
    pub guard: Option<Handle>,
    /// The other plane.
    pub hands: Hands,
    /// Where the status is published.
    pub status: watch::Sender<Arc<Status>>,
    /// Proof of life, for the service manager and of the other plane.
    pub pulse: Pulse,
    /// How long the other plane may be silent while this node serves: after that, nothing that it keeps up is there.
    pub hands_patience: Duration,
    /// Until when the services of a group may run here, in memory that outlives this daemon.
    pub right: Right,
    /// How long a right lasts that is not renewed; `None` = the lease says until when.
    pub right_lifetime: Option<Duration>,
    /// What the status says of the daemon itself.
    pub driver: DriverStatus,
    /// What TIPC has counted.
    pub bearers: Bearers,
}

/// The loop and what it has under way.
struct Loop {
    daemon: Daemon,
    alarm: Alarm,
    waiting: Vec<Input>,
    tune: Option<Tune>,
    /// The node's next deadline, while nothing has happened since it was asked.
    deadline: Option<Instant>,
    published: Instant,
    hands_watch: HandsWatch,
    news: bool,
    ended: Option<End>,
}

impl Daemon {
    /// Runs until the node says that the daemon may end.
    ///
    /// # Errors
    /// When the kernel gives no timer.
    pub async fn run(self) -> io::Result<End> {
        let alarm = Alarm::new()?;
        let published = Instant::BOOT;
        let mut this = Loop {
            daemon: self,
            alarm,
            waiting: Vec::new(),
            tune: None,
            deadline: None,
            published,
            hands_watch: HandsWatch::new(clock::now()),
            news: true,
            ended: None,
        };
        this.drain();
        loop {
            if let Some(end) = this.ended.take() {
                this.publish(clock::now());
                return Ok(end);
            }
            this.turn();
            if this.ended.is_none() {
                this.wait().await?;
            }
        }
    }
}

impl Loop {
    async fn wait(&mut self) -> io::Result<()> {
        let deadline = self.deadline();
        self.alarm.set(deadline.min(self.published + PUBLISH))?;
        let Self { daemon, alarm, waiting, tune, .. } = self;
        tokio::select! {
            biased;
            () = daemon.links.readable() => {}
            Some(input) = daemon.inputs.recv() => waiting.push(input),
            () = poll_fn(|cx| alarm.poll_ring(cx)) => {}
            Some(order) = daemon.tunes.recv() => *tune = Some(order),
        }
        Ok(())
    }

    /// Sockets first, then what others report, then the clock.
    fn turn(&mut self) {
        self.renew_right(clock::now());
        let waiting = &mut self.waiting;
        self.daemon.links.receive(&mut |input| waiting.push(input));
        self.handle_waiting();
        self.read_inputs();
        if let Some(tune) = self.tune.take() {
            self.tune_in(tune);
        }
        if self.is_due() {
            self.empty_sockets();
            if self.is_due() {
                self.handle(Input::Deadline);
            }
        }
        self.daemon.pulse.beat();
        if self.daemon.node.feeds_watchdog() {
            self.daemon.pulse.beat_for_machine();
        }
        let now = clock::now();
        if self.news || now >= self.published + PUBLISH {
            self.publish(now);
        }
    }

    /// Before anybody is held to be silent, every socket is emptied.
    fn empty_sockets(&mut self) {
        let waiting = &mut self.waiting;
        self.daemon.links.drain(&mut |input| waiting.push(input));
        self.handle_waiting();
    }

    fn tune_in(&mut self, tune: Tune) {
        match tune {
            Tune::Keys(keys, witness) => {
                self.daemon.links.set_keys(&keys);
                if let Some(keys) = witness {
                    self.daemon.links.set_witness_keys(&keys);
                }
            }
            Tune::Config(config, answer) => {
                // A new config is judged as of this moment, with all that has been heard until now.
                self.empty_sockets();
                self.handle(Input::Deadline);
                let word = self.daemon.node.reconfigure(config);
                self.deadline = None;
                self.drain();
                // Who asked may have left.
                let _ = answer.send(word);
            }
            Tune::Save(answer) => {
                let _ = answer.send(self.daemon.node.save());
            }
        }
    }

    fn deadline(&mut self) -> Instant {
        *self.deadline.get_or_insert_with(|| self.daemon.node.poll_deadline().0)
    }

    fn is_due(&mut self) -> bool {
        clock::now() >= self.deadline()
    }

    fn handle_waiting(&mut self) {
        while !self.waiting.is_empty() {
            let mut inputs = std::mem::take(&mut self.waiting);
            inputs.drain(..).for_each(|input| self.handle(input));
            inputs.append(&mut self.waiting);
            // Its room is used again.
            self.waiting = inputs;
        }
    }

    fn read_inputs(&mut self) {
        for _ in 0..INPUTS {
            let Ok(input) = self.daemon.inputs.try_recv() else { return };
            self.handle(input);
        }
    }

    /// One input, then every action it leads to.
    fn handle(&mut self, input: Input) {
        let now = clock::now();
        self.daemon.node.handle(now, input);
        self.deadline = None;
        self.renew_right(now);
        self.drain();
    }

    /// Before an order to start leaves, and with every turn: what is served here may go on for a while. Without leases this is
    /// the only place where a right is given. What is not served here needs none, and an order to stop does not wait for one.
    fn renew_right(&self, now: Instant) {
        let daemon = &self.daemon;
        let Some(lifetime) = daemon.right_lifetime else { return };
        for group in daemon.right.groups() {
            if may_run(daemon.node.role(group)) {
                daemon.right.extend(group, now + lifetime);
            }
        }
    }

    fn drain(&mut self) {
        while let Some(action) = self.daemon.node.poll_action() {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        let daemon = &mut self.daemon;
        match action {
            Action::Send { link, heartbeat } => daemon.links.send(link, heartbeat),
            Action::Ask { ask, timeout } => {
                if let Some(pinger) = &daemon.pinger {
                    pinger.ask(ask, timeout);
                }
            }
            Action::ProbeVips { probe, group, time } => daemon.hands.probe(probe, group, time),
            Action::Persist { order, durable } => daemon.hands.write(order, durable),
            Action::Resource { resource, order } => {
                if !daemon.hands.order(resource, order) {
                    let report = refused(order);
                    self.waiting.extend(report.map(|report| Input::Report { resource, report }));
                }
            }
            Action::Right { group, until } => {
                daemon.right.extend(group, until);
                if let Some(guard) = &daemon.guard {
                    follow_right(guard, group, until);
                }
            }
            Action::Fence { fence, target } => {
                if !daemon.hands.fence(fence, target) {
                    let result = Err("too many nodes are being turned off at once".to_owned());
                    self.waiting.push(Input::Fenced { fence, result });
                }
            }
            Action::Answer { request, answer } => daemon.hands.answer(request, answer),
            Action::Event(event) => {
                daemon.hands.event(event);
                self.news = true;
            }
            Action::Exit => self.ended = Some(End::Down),
            Action::Continue => self.ended = Some(continued(&daemon.node)),
        }
    }

    fn publish(&mut self, now: Instant) {
        let mut status = self.daemon.node.status(now);
        if let Some(silent) = self.hands_silence(now, &status) {
            die(&hands_hang(silent));
        }
        let daemon = &self.daemon;
        status.driver.clone_from(&daemon.driver);
        status.driver.link_counters = counters(&daemon.links);
        daemon.bearers.fill(&mut status);
        if let Some(guard) = &daemon.guard {
            status.driver.guard = describe_guard(guard, &status);
        }
        // Nobody reads it when the other plane has ended.
        let _ = daemon.status.send(Arc::new(status));
        self.published = now;
        self.news = false;
    }

    /// How long the other plane has been silent, when that is too long for what this node serves.
    fn hands_silence(&mut self, now: Instant, status: &Status) -> Option<Duration> {
        let silent = self.hands_watch.look(now, self.daemon.pulse.hands_beats());
        (silent > self.daemon.hands_patience && serves(status)).then_some(silent)
    }
}

/// A state that cannot be written down is a defect: nothing may run on without a daemon.
fn continued(node: &Node) -> End {
    match node.save() {
        Ok(state) => End::Continued(state),
        Err(error) => die(&error.to_string()),
    }
}

/// Whether something of a group may run here.
fn serves(status: &Status) -> bool {
    status.groups.iter().any(|group| may_run(group.role))
}

fn may_run(role: Role) -> bool {
    match role {
        Role::Activating | Role::Active | Role::Deactivating => true,
        Role::Standby | Role::Fault => false,
    }
}

/// The hands plane is the first thread of the process, so what the kernel says of the process it says of that.
fn hands_hang(silent: Duration) -> String {
    let place = fs::read_to_string("/proc/self/wchan").unwrap_or_default();
    let place = if matches!(place.as_str(), "" | "0") { "not in the kernel" } else { place.as_str() };
    format!(
        "the thread that runs resources, checks and addresses has hung for {silent:.1?} ({place}): this daemon ends, so \
         that another node may take over"
    )
}

/// The decision owns the lease: what it says is so, also after the kernel has closed the addresses a moment too early.
fn follow_right(guard: &Handle, group: GroupId, until: Instant) {
    match guard.gate(group) {
        _ if until <= clock::now() => guard.close(group),
        Gate::Open | Gate::Opening => {
            let _ = guard.hold(group, until);
        }
        Gate::Closed | Gate::Lapsed => guard.open(group, until),
    }
}

/// What guards the addresses, and where each group stands there.
fn describe_guard(guard: &Handle, status: &Status) -> String {
    let mut words = vec![guard.bound().to_owned()];
    for (group, id) in status.groups.iter().zip((0..).map(GroupId)) {
        let Some(state) = guard.state(id) else { continue };
        let gate = match state.gate {
            Gate::Closed => "closed",
            Gate::Opening => "opening",
            Gate::Open => "open",
            Gate::Lapsed => "dark: not renewed in time",
        };
        let error = state.error.map(|error| format!(" ({error})")).unwrap_or_default();
        words.push(format!("{} {gate}{error}", group.group));
    }
    words.join("; ")
}

/// A resource whose task takes no order cannot be steered any more.
fn refused(order: Order) -> Option<Report> {
    let reason = || "its task takes no orders (a defect: restart the daemon)".to_owned();
    match order {
        Order::Start => Some(Report::StartFailed(reason())),
        Order::Stop { .. } => Some(Report::StopFailed(reason())),
        Order::Adopt => Some(Report::Failed(reason())),
        Order::Announce => None,
    }
}

fn counters(links: &Links) -> BTreeMap<String, u64> {
    let witness = links.witness();
    let links = || links.iter().map(|link| (link.name(), link.counters()));
    let witness = witness.map(|witness| ("witness", witness.counters()));
    let named = links().chain(witness).flat_map(|(name, counters)| {
        counters.named().into_iter().map(move |(counter, count)| (format!("{name} {counter}"), count))
    });
    named.filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests;
