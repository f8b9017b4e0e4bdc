//! Virtual addresses of one resource: put on their interface, announced, guarded, mended and taken off again.
//!
//! One task for each resource ([`run`]). It never blocks: the kernel is asked in batches that take milliseconds, and
//! everything that takes longer (4,000 additions, their announcement, a refresh of all lifetimes) is done in steps, with
//! a look at the orders between two of them. So a stop waits for one step, not for the work it ends.
//!
//! * *Start*: routes of ranges, then the addresses, IPv4 first; each batch is announced as soon as it is on. Then all are
//!   listed, and those the kernel does not answer for (duplicates, undecided ones) are removed and put on once more. An
//!   address that is there already becomes ours, with a notice when somebody else had put it there. A start that fails
//!   takes everything off again; where that fails too, it says that it could not be stopped.
//! * *Adopt*: the program before this one has put them on. They are looked for and looked after from then on; what is missing is
//!   put back, and only that is announced.
//! * *Stop*: takes off every address of the config, whoever put it there, looks whether they are gone, and only then says
//!   so; under another name of the interface, and on every other one, it takes off what carries our mark ([`everywhere`]).
//!   A stop is always carried through. Addresses of others that go with ours are put back. Connections to the addresses
//!   end with them ([`connections`]).
//! * While it is up: lifetimes are refreshed ([`guard`]), addresses and routes that somebody takes away are put back, a
//!   link that comes back finds everything as before. All of it is announced.
//! * A lifetime that ran out because we were late is said to be that; the address is put back and announced.
//! * While it is down: a look now and then finds what somebody else puts here ([`patrol`]).
//! * After standing still for longer than the guard's lifetime it gives the addresses up instead of refreshing them: the
//!   kernel has withdrawn them, or should have, and who owns them now is not for this task to say.
//!
//! It never takes an address on its own account: only between `Start` and `Stop`. It never touches an address that is not
//! in its config, but to put one back, or to remove what an earlier daemon left ([`everywhere`]).

mod announcer;
mod claims;
mod connections;
mod everywhere;
mod fill;
pub mod group;
pub mod guard;
mod link;
mod patrol;
mod plan;
mod refresh;
mod senses;
mod stall;
mod withdraw;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use avamgr_core::cluster::{NodeId, ResourceId};
use avamgr_core::config::{Timers, VipConfig};
use avamgr_core::node::{Order, Report};
use avamgr_core::time::Instant;
use tokio::sync::mpsc;

pub use group::{Answer, Question, probe_group, questions};
pub use guard::guard_description;

use crate::clock;
use crate::guard::Handle;
use crate::inputs::Inputs;
use crate::neighbours::{self, Form, Haste, Responder, Rivals};
use crate::netlink::{self, Change, Interface, Netlink, Scope, Watcher};
use announcer::Announcer;
use claims::Claims;
use fill::Filling;
use guard::Rhythm;
use plan::Wanted;
use refresh::{Life, Refresh};
use senses::{listen, rival, serve};
use stall::{Plan, Stall};

/// Before trying again what the system refused (sockets, listening).
const RETRY: Duration = Duration::from_secs(1);

/// Looks after the addresses of one resource until its orders end. Then it leaves everything as it is: the guard takes the
/// addresses away unless a new daemon adopts them.
///
/// To be called for all resources of a daemon on one thread before the first of the tasks runs: from then on each knows
/// what the others have.
pub fn run(
    id: ResourceId,
    config: VipConfig,
    node: NodeId,
    timers: Timers,
    guard: Option<Handle>,
    orders: mpsc::Receiver<Order>,
    inputs: Inputs,
) -> impl Future<Output = ()> + Send {
    let claims = Claims::of_this_thread();
    claims.enter(id, &group::interface_name(&config, node), &Wanted::new(&config));
    let basis = Basis { id, config, node, timers, guard, inputs, claims };
    serve_orders(basis, orders)
}

/// What a task is made from.
#[derive(Clone)]
struct Basis {
    id: ResourceId,
    config: VipConfig,
    node: NodeId,
    timers: Timers,
    /// What lets the addresses answer only while the lease lasts.
    guard: Option<Handle>,
    inputs: Inputs,
    claims: Claims,
}

async fn serve_orders(basis: Basis, mut orders: mpsc::Receiver<Order>) {
    let (id, inputs) = (basis.id, basis.inputs.clone());
    loop {
        let error = match Task::open(basis.clone()).await {
            Ok(mut task) => return task.live(&mut orders).await,
            Err(error) => error.to_string(),
        };
        inputs.report(id, Report::Unable(error.clone())).await;
        let refuse = async {
            while let Some(order) = orders.recv().await {
                match order {
                    Order::Start => inputs.report(id, Report::StartFailed(error.clone())).await,
                    Order::Stop { within: _ } => inputs.report(id, Report::StopFailed(error.clone())).await,
                    Order::Adopt => inputs.report(id, Report::Failed(error.clone())).await,
                    Order::Announce => {}
                }
            }
        };
        if tokio::time::timeout(RETRY, refuse).await.is_ok() {
            return;
        }
    }
}

/// Where the resource stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing of it should be here.
    Down,
    /// On its way up.
    Starting,
    /// All of it is here.
    Up,
}

struct Task {
    id: ResourceId,
    timers: Timers,
    guard: Option<Handle>,
    inputs: Inputs,
    claims: Claims,
    wanted: Wanted,
    /// Name of the interface.
    name: String,
    /// Numbers of the interfaces on which something was put since the last stop: a name may be given to another one.
    put_on: BTreeSet<u32>,
    netlink: Netlink,
    /// `None` while the kernel cannot be listened to.
    watcher: Option<Watcher>,
    listen_again: Option<Instant>,
    link: Option<Interface>,
    phase: Phase,
    /// What was said last about being able to start.
    said: Option<Result<(), String>>,
    announcer: Announcer,
    responder: Option<Responder>,
    rivals: Option<Rivals>,
    /// Since when nobody is told again that somebody else claims an address.
    defended: Option<Instant>,
    /// Addresses on their way to the interface.
    filling: Option<Filling>,
    v4: Refresh,
    v6: Refresh,
    /// The second burst, and the next slow repetition.
    second_burst: Option<Instant>,
    slow_round: Option<Instant>,
    /// From one slow repetition to the next. It grows: a network that was broken when the addresses came is told soon
    /// after it is mended, although nothing here tells us that it was either.
    slow_pause: Duration,
    mending: Mending,
    /// Taken off by ourselves: the kernel's word about it is still to come.
    own_removals: BTreeSet<IpAddr>,
    /// A refresh or a look has failed, and that was said.
    in_trouble: bool,
    /// When to look next whether something of it is here that should not be.
    patrol: Instant,
    /// The last look found something.
    has_strays: bool,
    /// Connections to the addresses could not be ended, and that was said.
    connections_stay: bool,
    /// Since when each address lives.
    lives: BTreeMap<IpAddr, Life>,
    stall: Stall,
}

/// What may be missing, and when to look.
#[derive(Default)]
struct Mending {
    due: Option<Instant>,
    last: Option<Instant>,
    /// Grows while somebody takes away again and again what was put back.
    pause: Duration,
    lost: BTreeSet<IpAddr>,
    /// Those of them whose lifetime we let run out.
    expired: BTreeSet<IpAddr>,
    /// Routes may be missing: when to look.
    routes_due: Option<Instant>,
    /// The link was away: everybody is told everything, and nobody is to blame.
    link_was_away: bool,
    /// It failed, and that was said.
    failed: bool,
}

enum Event {
    Order(Option<Order>),
    Change(Result<Change, netlink::Error>),
    Responder(neighbours::Error),
    Rival(Result<neighbours::Claim, neighbours::Error>),
    Due,
}

impl Task {
    async fn open(basis: Basis) -> Result<Self, netlink::Error> {
        let Basis { id, config, node, timers, guard, inputs, claims } = basis;
        let wanted = Wanted::new(&config);
        let name = group::interface_name(&config, node);
        let watcher = Watcher::open(&name, Scope::Everything).await?;
        let v6 = wanted.addresses.len() - wanted.v4;
        Ok(Self {
            id,
            guard,
            inputs,
            claims,
            put_on: BTreeSet::new(),
            v4: Refresh::new(0..wanted.v4, Rhythm::v4(&timers)),
            v6: Refresh::new(wanted.v4..wanted.addresses.len(), Rhythm::v6(v6, &timers)),
            patrol: clock::now() + timers.guard_lifetime,
            timers,
            wanted,
            name,
            netlink: Netlink::open()?,
            link: watcher.link().cloned(),
            watcher: Some(watcher),
            listen_again: None,
            phase: Phase::Down,
            said: None,
            announcer: Announcer::default(),
            responder: None,
            rivals: None,
            defended: None,
            filling: None,
            second_burst: None,
            slow_round: None,
            slow_pause: Duration::ZERO,
            mending: Mending::default(),
            own_removals: BTreeSet::new(),
            in_trouble: false,
            has_strays: false,
            connections_stay: false,
            lives: BTreeMap::new(),
            stall: Stall::new(clock::now()),
        })
    }

    async fn live(&mut self, orders: &mut mpsc::Receiver<Order>) {
        self.say_ability().await;
        loop {
            let made = clock::now();
            let plan = Plan { made, due: self.due().max(made) };
            let event = tokio::select! {
                biased;
                order = orders.recv() => Event::Order(order),
                change = listen(self.watcher.as_mut()) => Event::Change(change),
                error = serve(self.responder.as_ref()) => Event::Responder(error),
                claim = rival(self.rivals.as_mut()) => Event::Rival(claim),
                () = sleep_until(plan.due) => Event::Due,
            };
            self.woke(plan).await;
            match event {
                Event::Order(None) => return,
                Event::Order(Some(Order::Start)) => self.start().await,
                Event::Order(Some(Order::Adopt)) => self.adopt().await,
                Event::Order(Some(Order::Stop { within })) => self.stop(within).await,
                Event::Order(Some(Order::Announce)) => {
                    self.announce_all();
                    self.begin_slow_rounds();
                }
                Event::Change(Ok(change)) => self.changed(change).await,
                Event::Change(Err(error)) => self.deaf(&error).await,
                Event::Responder(error) => self.mute(&error).await,
                Event::Rival(Ok(claim)) => self.claimed(claim).await,
                Event::Rival(Err(error)) => self.mute(&error).await,
                Event::Due => self.step().await,
            }
        }
    }

    /// When there is something to do.
    fn due(&self) -> Instant {
        let mut due = self.listen_again;
        let mut consider = |other: Option<Instant>| due = due.into_iter().chain(other).min();
        if self.phase == Phase::Down {
            consider(Some(self.patrol));
        } else {
            let held = |instant: Instant| instant.max(self.stall.hold_until);
            consider(self.filling.as_ref().map(|filling| held(filling.not_before)));
            consider(self.announcer.due().map(held));
            consider(self.v4.due.map(held));
            consider(self.v6.due.map(held));
            consider(self.second_burst.map(held));
            consider(self.slow_round.map(held));
            consider(self.mending.routes_due.map(held));
            consider(self.mending.due.map(held));
            // Only to notice when we stand still.
            consider(Some(self.stall.last_turn + self.v4.rhythm.refresh));
        }
        due.unwrap_or(Instant::NEVER)
    }

    /// Does one of the things that are due; what keeps an address alive comes first, what takes long last.
    async fn step(&mut self) {
        let now = clock::now();
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if is_due(self.listen_again) {
            return self.listen_again().await;
        }
        if self.phase == Phase::Down {
            if now >= self.patrol {
                self.look_for_strays().await;
            }
            return;
        }
        if now < self.stall.hold_until {
            return;
        }
        if is_due(self.v4.due) {
            self.refresh_v4().await;
        } else if is_due(self.announcer.due()) {
            self.announce_some().await;
        } else if is_due(self.filling.as_ref().map(|filling| filling.not_before)) {
            self.fill().await;
        } else if is_due(self.mending.routes_due) {
            self.mend_routes().await;
        } else if is_due(self.mending.due) {
            self.mend().await;
        } else if is_due(self.second_burst) {
            self.second_burst = None;
            self.announce_all();
        } else if is_due(self.slow_round) {
            self.slow_pause = (self.slow_pause * 2).min(self.timers.announce_refresh);
            self.slow_round = Some(now + self.slow_pause);
            self.announcer.round(&self.wanted.addresses, &self.wanted.ranges, Form::Request, Haste::Routine);
        } else if is_due(self.v6.due) {
            self.refresh_v6().await;
        }
    }

    fn announce_all(&mut self) {
        if self.phase == Phase::Up {
            self.announcer.burst(&self.wanted.addresses, &self.wanted.ranges);
        }
    }

    /// Slow repetitions from now on, the first ones soon.
    fn begin_slow_rounds(&mut self) {
        if self.phase == Phase::Up && !self.timers.announce_refresh.is_zero() {
            self.slow_pause = (self.timers.announce_delay * 2).min(self.timers.announce_refresh);
            self.slow_round = Some(clock::now() + self.slow_pause);
        }
    }

    async fn announce_some(&mut self) {
        if let Err(error) = self.announcer.turn() {
            // An interface that is gone or down is told about by the watcher.
            if !matches!(error, neighbours::Error::Down { .. } | neighbours::Error::Missing { .. }) {
                self.report(Report::Notice(format!("could not announce: {error}"))).await;
            }
        }
    }

    async fn changed(&mut self, change: Change) {
        match change {
            Change::Link(link) => {
                self.link = link;
                self.link_changed().await;
            }
            Change::AddressRemoved(_) | Change::RouteRemoved(_) | Change::Missed if self.phase == Phase::Down => {}
            Change::AddressRemoved(address) => self.address_removed(address),
            Change::RouteRemoved(_) => self.mend_routes_soon(),
            Change::Missed => {
                self.mend_routes_soon();
                self.mend_soon();
            }
        }
    }

    fn address_removed(&mut self, address: IpAddr) {
        // With the last IPv4 address of an interface, whoever had it, the kernel takes all IPv4 routes, without a word.
        if address.is_ipv4() && self.wanted.has_v4_routes() {
            self.mend_routes_soon();
        }
        if self.wanted.has(address) && !self.own_removals.remove(&address) {
            if self.ran_out(address) {
                self.mending.expired.insert(address);
            }
            self.mending.lost.insert(address);
            self.mend_soon();
        }
    }

    async fn report(&self, report: Report) {
        self.inputs.report(self.id, report).await;
    }
}

/// Lets the other tasks of the thread have their turn even when it is late.
async fn sleep_until(due: Instant) {
    let left = due.since(clock::now());
    if left.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(left).await;
    }
}
