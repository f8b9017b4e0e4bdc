//! Things a group owns: one task each, one order at a time.
//!
//! ```text
//!  loop ── Order ──▶ task of a resource ── Report ──▶ loop
//!                      │ start, stop, watch
//!                      ▼
//!              a child, an init script, a unit, addresses
//! ```
//!
//! Every kind of service is a [`Service`]; the [`Driver`] is the same for all: it takes orders, lets a new one replace the
//! one under way, and says what came of it. It never decides: after `Failed` it waits to be told to stop and start.
//!
//! All tasks live on the one long-living thread of the hands plane (see [`crate::process`] for why), so nothing here blocks.

pub mod exec;
pub mod lsb;
pub mod systemd;
pub mod vip;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use avamgr_core::cluster::{NodeId, ResourceId};
use avamgr_core::config::{ResourceConfig, ResourceKind, Timers};
use avamgr_core::node::{Order, Report};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::inputs::Inputs;
use crate::process::family::Mark;
use crate::process::shim::Post;

/// Orders that may wait for a task. It reads them also while it works, so more than a few never wait.
const DEPTH: usize = 16;

/// How often what a resource needs is looked at again, while it is not started.
const ABLE_INTERVAL: Duration = Duration::from_secs(5);

/// Something that was started by the program before is gone.
const LOST: &str = "it ended while the daemon was being replaced";

/// How long the first look may keep the first order waiting.
const FIRST_LOOK_TIME: Duration = Duration::from_millis(500);

/// Of a bounded stop, this part is kept for KILL to work and to be seen, within limits: when time is short, being gone for
/// certain is worth more than a gentle end.
const KILL_SHARE: u32 = 2;
const KILL_RESERVE_MIN: Duration = Duration::from_millis(10);
const KILL_RESERVE_MAX: Duration = Duration::from_secs(1);

/// Where a resource is.
#[derive(Clone, Debug)]
pub struct Place {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of this node.
    pub node_name: String,
    /// This node.
    pub node: NodeId,
    /// Name of the group.
    pub group: String,
    /// All durations of the cluster.
    pub timers: Timers,
    /// The kernel's copy of the leases, if there is one.
    pub guard: Option<crate::guard::Handle>,
    /// D-Bus address of systemd's bus; the system bus unless set (tests).
    pub bus: Option<String>,
    /// The daemon's runtime directory, where the right to run and the sockets of the shims are.
    pub runtime: PathBuf,
    /// The program of the shims, the daemon's own.
    pub shim: PathBuf,
}

/// What a service is called.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// In the log: `group/name`.
    pub(crate) label: String,
    /// In the environment of its processes.
    pub(crate) mark: Mark,
}

/// The way to a resource's task.
#[derive(Clone, Debug)]
pub struct OrderSender(mpsc::Sender<Order>);

impl OrderSender {
    /// Hands over an order without waiting. `false` = the task does not read, or is gone: nothing will come of the order.
    #[must_use]
    pub fn give(&self, order: Order) -> bool {
        self.0.try_send(order).is_ok()
    }
}

/// Starts the task of a resource on the current runtime, which must be the hands plane's. It first reports whether the
/// resource could be started here, then follows orders until the sender is gone.
pub fn spawn(id: ResourceId, config: &ResourceConfig, place: &Place, inputs: Inputs) -> OrderSender {
    let (sender, orders) = mpsc::channel(DEPTH);
    let identity = Identity {
        label: format!("{}/{}", place.group, config.name),
        mark: Mark::new(&place.cluster, &place.node_name, &place.group, &config.name),
    };
    match &config.kind {
        ResourceKind::Vip(vip) => {
            let (timers, guard) = (place.timers.clone(), place.guard.clone());
            let task = vip::run(id, vip.clone(), place.node, timers, guard, orders, inputs);
            tokio::task::spawn_local(task);
        }
        ResourceKind::Exec(exec) => {
            let post = Post {
                program: place.shim.clone(),
                runtime: place.runtime.clone(),
                group: place.group.clone(),
                resource: config.name.clone(),
                grace: place.timers.stop_bound,
            };
            drive(id, exec::Exec::new(config, exec, identity, post), orders, inputs);
        }
        ResourceKind::Lsb(lsb) => drive(id, lsb::Lsb::new(config, lsb, identity), orders, inputs),
        ResourceKind::Systemd(unit) => {
            drive(id, systemd::Systemd::new(config, unit, place.bus.clone()), orders, inputs);
        }
    }
    OrderSender(sender)
}

fn drive<S: Service + 'static>(id: ResourceId, service: S, orders: mpsc::Receiver<Order>, inputs: Inputs) {
    let mouth = Mouth { id, inputs };
    let driver = Driver { service, orders, mouth, phase: Phase::Down, able: None, look_at: Instant::now() };
    tokio::spawn(driver.run());
}

/// What can be started, stopped and watched. All futures may be dropped at any point: what is under way is then either
/// ended or found again by the next `stop`.
pub(crate) trait Service: Send {
    /// Whether what it needs is here; the error says what is missing, where, and what to do.
    fn able(&mut self) -> impl Future<Output = Result<(), String>> + Send;

    /// Goes on with what an earlier daemon has started and keeps running, so that it counts as started; answers whether it
    /// does. What was started otherwise than it would be today is ended. After an error, parts of it may run.
    fn adopt(&mut self) -> impl Future<Output = Result<bool, String>> + Send;

    /// Brings it up until ready. After an error, parts of it may run.
    fn start(&mut self) -> impl Future<Output = Result<(), String>> + Send;

    /// Brings it down, leftovers of earlier lives included; `by` bounds everything. An error means that it may still run.
    fn stop(&mut self, by: Option<Instant>) -> impl Future<Output = Result<(), String>> + Send;

    /// Waits until something is to be said about a started one.
    fn watch(&mut self) -> impl Future<Output = Seen> + Send;
}

/// What was seen of something that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It does not run, or not as it should.
    Failed(String),
    /// It works again, without having been started again.
    Well(String),
    /// Worth telling.
    Notice(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not started by us: stopped, or not looked at yet.
    Down,
    Started,
    /// Started, and reported as failed since.
    Failed,
    /// Could not be stopped: some of it may run.
    Stuck,
}

/// Says things in the resource's name.
struct Mouth {
    id: ResourceId,
    inputs: Inputs,
}

impl Mouth {
    async fn say(&self, report: Report) {
        self.inputs.report(self.id, report).await;
    }
}

/// Drives one service.
struct Driver<S> {
    service: S,
    orders: mpsc::Receiver<Order>,
    mouth: Mouth,
    phase: Phase,
    /// What was said last about being able.
    able: Option<Result<(), String>>,
    look_at: Instant,
}

/// What there is to see without an order.
enum Sight {
    Able(Result<(), String>),
    Seen(Seen),
}

/// What ended a step.
enum Step<T> {
    Done(T),
    Ordered(Order),
    /// The daemon has let go of us.
    Closed,
}

impl<T> Step<T> {
    fn map<U>(self, map: impl FnOnce(T) -> U) -> Step<U> {
        match self {
            Self::Done(done) => Step::Done(map(done)),
            Self::Ordered(order) => Step::Ordered(order),
            Self::Closed => Step::Closed,
        }
    }
}

/// The daemon has let go of us: nobody is left to order or to tell.
struct Gone;

impl<S: Service> Driver<S> {
    async fn run(mut self) {
        // Nothing that hangs may keep us from the first order, which usually is to remove leftovers.
        if let Ok(able) = timeout(FIRST_LOOK_TIME, self.service.able()).await {
            self.tell_able(able).await;
        }
        while let Ok(order) = self.idle().await {
            let mut next = Some(order);
            while let Some(order) = next {
                let Ok(then) = self.obey(order).await else { return };
                next = then;
            }
        }
    }

    /// Goes on with what the program before has started. What is not there has failed meanwhile.
    async fn adopt(&mut self) -> Result<Option<Order>, Gone> {
        let replaces = |order: &Order| *order != Order::Announce;
        let (phase, report) = match until_ordered(self.service.adopt(), &mut self.orders, replaces).await {
            Step::Done(Ok(true)) => (Phase::Started, Report::Started),
            Step::Done(Ok(false)) => (Phase::Failed, Report::Failed(LOST.to_owned())),
            Step::Done(Err(reason)) => (Phase::Failed, Report::Failed(reason)),
            Step::Ordered(order) => return Ok(Some(order)),
            Step::Closed => return Err(Gone),
        };
        self.phase = phase;
        self.mouth.say(report).await;
        Ok(None)
    }

    /// Looks at what there is to see until an order comes.
    async fn idle(&mut self) -> Result<Order, Gone> {
        loop {
            let step = match self.phase {
                Phase::Down | Phase::Stuck => {
                    let look = async {
                        sleep_until(self.look_at).await;
                        self.service.able().await
                    };
                    until_ordered(look, &mut self.orders, |_| true).await.map(Sight::Able)
                }
                Phase::Started | Phase::Failed => {
                    until_ordered(self.service.watch(), &mut self.orders, |_| true).await.map(Sight::Seen)
                }
            };
            match step {
                Step::Done(Sight::Able(able)) => self.tell_able(able).await,
                Step::Done(Sight::Seen(seen)) => self.tell_seen(seen).await,
                Step::Ordered(order) => return Ok(order),
                Step::Closed => return Err(Gone),
            }
        }
    }

    /// Follows an order to its end; answers with what is to be done after that.
    async fn obey(&mut self, order: Order) -> Result<Option<Order>, Gone> {
        match (order, self.phase) {
            (Order::Announce, _) => Ok(None),
            (Order::Adopt, _) => self.adopt().await,
            (Order::Stop { within }, _) => self.bring_down(Report::Stopped, deadline(within), false).await,
            (Order::Start, Phase::Down) => self.start().await,
            // Some of it may run. The answer is that of the start that follows.
            (Order::Start, Phase::Failed | Phase::Stuck) => self.bring_down(Report::Stopped, None, true).await,
            (Order::Start, Phase::Started) => {
                self.mouth.say(Report::Started).await;
                Ok(None)
            }
        }
    }

    async fn start(&mut self) -> Result<Option<Order>, Gone> {
        let replaces = |order: &Order| matches!(order, Order::Stop { .. });
        match until_ordered(self.service.start(), &mut self.orders, replaces).await {
            Step::Done(Ok(())) => {
                self.phase = Phase::Started;
                self.mouth.say(Report::Started).await;
                Ok(None)
            }
            Step::Done(Err(reason)) => self.bring_down(Report::StartFailed(reason), None, false).await,
            Step::Ordered(order) => Ok(Some(order)),
            Step::Closed => Err(Gone),
        }
    }

    /// Stops it and answers with `answer`, or, if it is to `start` again, leaves the answer to that. A stop is never cut
    /// short: an order to stop can only tighten its bound, and an order to start waits for its end.
    async fn bring_down(
        &mut self,
        mut answer: Report,
        mut by: Option<Instant>,
        mut start: bool,
    ) -> Result<Option<Order>, Gone> {
        let replaces = |order: &Order| *order != Order::Announce;
        let result = loop {
            match until_ordered(self.service.stop(by), &mut self.orders, replaces).await {
                Step::Done(result) => break result,
                Step::Ordered(Order::Stop { within }) => {
                    answer = Report::Stopped;
                    start = false;
                    by = by.into_iter().chain(deadline(within)).min();
                }
                Step::Ordered(Order::Start | Order::Announce | Order::Adopt) => start = true,
                Step::Closed => return Err(Gone),
            }
        };
        self.phase = if result.is_ok() { Phase::Down } else { Phase::Stuck };
        // What made a start fail may be something that is missing.
        let pause = if matches!(answer, Report::StartFailed(_)) { Duration::ZERO } else { ABLE_INTERVAL };
        self.look_at = Instant::now() + pause;
        match result {
            Err(reason) => self.mouth.say(Report::StopFailed(reason)).await,
            Ok(()) if start => return Ok(Some(Order::Start)),
            Ok(()) => self.mouth.say(answer).await,
        }
        Ok(None)
    }

    async fn tell_able(&mut self, able: Result<(), String>) {
        self.look_at = Instant::now() + ABLE_INTERVAL;
        if self.able.as_ref() == Some(&able) {
            return;
        }
        self.able = Some(able.clone());
        self.mouth.say(able.map_or_else(Report::Unable, |()| Report::Able)).await;
    }

    /// One `Failed` for each failure; what is seen until it is over is a notice.
    async fn tell_seen(&mut self, seen: Seen) {
        let report = match seen {
            Seen::Failed(reason) if self.phase == Phase::Started => {
                self.phase = Phase::Failed;
                Report::Failed(reason)
            }
            Seen::Well(what) => {
                self.phase = Phase::Started;
                Report::Well(what)
            }
            Seen::Failed(reason) | Seen::Notice(reason) => Report::Notice(reason),
        };
        self.mouth.say(report).await;
    }
}

/// When a stop that must be over `by` then has to end in KILL.
pub(crate) fn kill_time(now: Instant, by: Instant) -> Instant {
    let left = by.saturating_duration_since(now);
    by - (left / KILL_SHARE).clamp(KILL_RESERVE_MIN, KILL_RESERVE_MAX).min(left)
}

fn deadline(within: Option<Duration>) -> Option<Instant> {
    within.map(|time| Instant::now() + time)
}

/// Works until done or until an order comes that `replaces` the work; the others have nothing to add to it.
async fn until_ordered<T>(
    work: impl Future<Output = T>,
    orders: &mut mpsc::Receiver<Order>,
    replaces: impl Fn(&Order) -> bool,
) -> Step<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(order) if replaces(&order) => return Step::Ordered(order),
                Some(_) => {}
                None => return Step::Closed,
            },
            done = &mut work => return Step::Done(done),
        }
    }
}
