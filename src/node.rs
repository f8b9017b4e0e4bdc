//! ONE NODE'S DECISION.
//!
//! **Every input is followed by a full drain of the actions before the next input:** [`Node::handle`], then
//! [`Node::poll_action`] until it is empty, then wait until [`Node::poll_deadline`] at the latest.
//!
//! An input only changes what the node *knows*. Then every room judges the whole of it again (`evaluate`), so a decision
//! never depends on which input came last, and a late wake-up does no harm.

pub mod action;
mod arbitration;
pub mod event;
mod frames;
mod group;
mod handover;
pub mod input;
mod link;
mod operator;
mod peer;
mod persistence;
mod resources;
pub mod role;
mod status;
mod takeover;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub use action::{Action, Durable, Order};
pub use event::{Event, Fact};
pub use input::{Input, Report};

use crate::cluster::{CheckId, GroupId, Incarnation, LinkId, NodeId, ResourceId, Role, Term};
use crate::config::{Config, LinkKind};
use crate::node::action::{AskId, ProbeId};
use crate::node::arbitration::{Arbitrator, Reachability};
use crate::node::event::{Cause, HoldKind, LinkDownCause, ResourceChange};
use crate::node::group::Group;
use crate::node::input::BadDatagram;
use crate::node::link::LinkState;
use crate::node::operator::PendingRequest;
use crate::node::peer::{Peer, PeerState};
use crate::node::persistence::Persistence;
use crate::node::role::Trigger;
use crate::time::Instant;

/// The decision of one node. A plain value: clone it, compare it, hash it, run it anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    config: Arc<Config>,
    me: NodeId,
    incarnation: Incarnation,
    random: u64,
    started: Instant,
    /// The moment of the last input.
    now: Instant,
    /// Silence before this moment was our own: we did not run.
    floor: Instant,
    carriers: BTreeMap<LinkId, bool>,
    peers: BTreeMap<NodeId, Peer>,
    arbitrator: Option<Arbitrator>,
    isolated: bool,
    groups: Vec<Group>,
    ready: BTreeMap<CheckId, (Instant, Result<(), String>)>,
    offline: Option<(Instant, action::Offline)>,
    maintenance: Option<Instant>,
    /// Nodes whose name another machine uses, and when it was last heard to.
    duplicates: BTreeMap<NodeId, Instant>,
    persistence: Persistence,
    pending: Option<PendingRequest>,
    /// The daemon is asked to end.
    shutdown: Option<Shutdown>,
    /// Number of what we tell about ourselves.
    revision: u32,
    told: Vec<crate::wire::GroupState>,
    next_heartbeat: Instant,
    next_probe: Instant,
    counter: u64,
    /// Standing alarms by their key.
    alarms: BTreeMap<String, (Instant, Fact)>,
    outbox: VecDeque<Action>,
}

/// How far the daemon's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shutdown {
    since: Instant,
    /// Goodbyes still to be said, once everything is down.
    goodbyes: u32,
    next: Instant,
    /// Everything is down: every frame from now on says goodbye.
    leaving: bool,
    exited: bool,
}

/// Goodbyes said before the daemon ends: one may be lost, three hardly.
const GOODBYES: u32 = 3;

impl Node {
    /// A node that has just been started. `durable` is what its last run left on disk; `incarnation` must be new and not
    /// zero; `seed` is any random number.
    pub fn new(
        config: Arc<Config>,
        me: NodeId,
        incarnation: Incarnation,
        seed: u64,
        durable: Durable,
        now: Instant,
    ) -> Self {
        let peers = config.node_ids().filter(|id| *id != me && !config.standalone);
        let floor = |id: GroupId| durable.terms.get(&id).copied().unwrap_or_default();
        let mut node = Self {
            me,
            incarnation,
            random: seed,
            started: now,
            now,
            floor: now,
            carriers: config.link_ids().map(|id| (id, true)).collect(),
            peers: peers.map(|id| (id, Peer::new(id, &config, now))).collect(),
            arbitrator: config.arbitrator.as_ref().filter(|_| !config.standalone).map(|a| Arbitrator::new(a, now)),
            isolated: false,
            groups: config.group_ids().map(|id| Group::new(id, &config, floor(id), now)).collect(),
            ready: BTreeMap::new(),
            offline: durable.offline.map(|offline| (now, offline)),
            maintenance: durable.maintenance.then_some(now),
            duplicates: BTreeMap::new(),
            persistence: Persistence::new(durable),
            pending: None,
            shutdown: None,
            revision: 1,
            told: Vec::new(),
            next_heartbeat: now,
            next_probe: now,
            counter: 0,
            alarms: BTreeMap::new(),
            outbox: VecDeque::new(),
            config,
        };
        node.tell(Fact::Started { node: me });
        node.evaluate();
        node
    }

    /// Takes note of an input and decides again. Time must not go backwards; if it does, the earlier `now` is not believed.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.notice_stall(now);
        self.now = self.now.max(now);
        match input {
            Input::Heartbeat { link, arrived, wall_millis, heartbeat } => {
                self.on_heartbeat(link, arrived.min(self.now), wall_millis, &heartbeat);
            }
            Input::BadDatagram { link, cause } => self.on_bad_datagram(link, cause),
            Input::Namesake { link, node } => {
                self.on_bad_datagram(link, BadDatagram::Source);
                self.on_namesake(link, node);
            }
            Input::Carrier { link, up } => self.on_carrier(link, up),
            Input::Refused { link, from } => self.on_refused(link, from),
            Input::Verdict { ask, asked: _, answers } => {
                if let Some(arbitrator) = &mut self.arbitrator {
                    arbitrator.verdict(ask, self.now, &answers, &self.config.timers);
                }
            }
            Input::VipProbe { probe, group, asked, owner, error } => {
                self.on_vip_probe(probe, group, asked, owner, error);
            }
            Input::Report { resource, report } => self.on_report(resource, report),
            Input::Ready { check, result } => self.on_ready(check, result),
            Input::Persisted { order, result } => self.on_persisted(order, result),
            Input::Command { request, who, command } => self.on_command(request, &who, command),
            Input::Shutdown => self.on_shutdown(),
            Input::Deadline => {}
        }
        self.evaluate();
    }

    /// The next thing to do, in the order in which things must take effect.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.outbox.pop_front()
    }

    /// The role of a group here.
    ///
    /// # Panics
    /// When the group is not in the config.
    pub fn role(&self, group: GroupId) -> Role {
        self.group(group).role
    }

    /// The term of a group here.
    ///
    /// # Panics
    /// When the group is not in the config.
    pub fn term(&self, group: GroupId) -> Term {
        self.group(group).told_term()
    }

    /// Judges everything known, room by room, until nothing changes any more.
    fn evaluate(&mut self) {
        self.judge_links();
        self.judge_peers();
        self.judge_arbitrator();
        self.expire_holds();
        self.expire_namesakes();
        self.follow_requests();
        for id in self.config.clone().group_ids() {
            self.decide_group(id);
        }
        self.follow_pending_request();
        self.follow_shutdown();
        self.keep_durable();
        self.send_frames();
        self.assert_right();
    }

    /// ACTIVE implies a right: checked after every input, in release builds too. A daemon that dies is survivable, two
    /// owners are not.
    fn assert_right(&self) {
        for group in &self.groups {
            if group.serves() {
                assert!(!self.isolated, "group {} serves while isolated", group.id.0);
                assert!(
                    group.term <= self.persistence.ceiling(group.id),
                    "group {} serves in a term that is not on disk",
                    group.id.0
                );
            }
        }
    }

    /// Our own loop did not run for longer than the dead time: nobody is blamed for the silence of that time, and the
    /// first thing we do is to ask everybody whether we still have our right.
    fn notice_stall(&mut self, now: Instant) {
        let (deadline, _) = self.poll_deadline();
        let pause = now.since(deadline);
        if pause < self.config.timers.dead_time {
            return;
        }
        self.now = self.now.max(now);
        self.floor = self.now;
        self.next_heartbeat = self.now;
        if let Some(arbitrator) = &mut self.arbitrator {
            arbitrator.forgive();
            arbitrator.at_once(now);
        }
        for group in &mut self.groups {
            group.probe.in_flight = None;
            group.probe.unanswered = None;
        }
        self.tell(Fact::Stalled { duration: pause });
        self.judge_arbitrator();
        self.probe_everybody();
    }

    fn on_carrier(&mut self, link: LinkId, up: bool) {
        self.carriers.insert(link, up);
        if !up {
            self.links_down(link, None, LinkDownCause::NoCarrier);
        }
    }

    fn on_refused(&mut self, link: LinkId, from: NodeId) {
        self.links_down(link, Some(from), LinkDownCause::Refused);
    }

    /// Takes one link down, for one peer or for all.
    fn links_down(&mut self, id: LinkId, only: Option<NodeId>, cause: LinkDownCause) {
        let mut facts = Vec::new();
        for peer in self.peers.values_mut().filter(|peer| only.is_none_or(|only| only == peer.id)) {
            if let Some(link) = peer.links.get_mut(&id)
                && link.down(cause, self.now).is_some()
            {
                facts.push(Fact::LinkDown { link: id, peer: peer.id, cause });
            }
        }
        self.tell_all(facts);
    }

    fn on_report(&mut self, id: ResourceId, report: Report) {
        let config = self.config.clone();
        let Some(settings) = config.resource(id) else {
            return;
        };
        let now = self.now;
        let Some(group) = self.groups.get_mut(id.group.index()) else {
            return;
        };
        let wanted = group.wants_up();
        let Some(resource) = group.resources.get_mut(usize::from(id.index)) else {
            return;
        };
        if let Some(change) = resource.on_report(now, report, wanted, &settings.restart) {
            let restarting = match (&change, resource.state) {
                (ResourceChange::Stopped | ResourceChange::StartFailed { .. }, resources::RunState::Backoff(until)) => {
                    Some(ResourceChange::Restarting {
                        after: until.since(now),
                        attempt: u32::try_from(resource.failures.len()).unwrap_or(u32::MAX),
                        max: settings.restart.max,
                    })
                }
                (_, _) => None,
            };
            if let ResourceChange::StopFailed { reason } = &change {
                self.answer_stuck(id, reason);
            }
            self.tell(Fact::Resource { resource: id, change });
            if let Some(change) = restarting.filter(|_| wanted) {
                self.tell(Fact::Resource { resource: id, change });
            }
        }
    }

    fn on_ready(&mut self, check: CheckId, result: Result<(), String>) {
        if check.index() >= self.config.ready.len() {
            return;
        }
        let before = self.ready.insert(check, (self.now, result.clone()));
        if before.as_ref().map(|(_, result)| result) == Some(&result) {
            return;
        }
        self.tell(match result {
            Ok(()) => Fact::CheckReady { check },
            Err(reason) => Fact::CheckFailed { check, reason },
        });
    }

    fn judge_links(&mut self) {
        let (now, floor) = (self.now, self.floor);
        let mut facts = Vec::new();
        for peer in self.peers.values_mut() {
            for (id, link) in &mut peer.links {
                let silence = link.heard.map_or(now.since(link.since), |heard| now.since(heard));
                // The neutral path is silent by design while a dedicated link is up: nothing to tell.
                let rests = peer.state == PeerState::Alive
                    && self.config.links.get(id.index()).is_some_and(|link| link.kind == LinkKind::Neutral);
                match link.judge(now, floor, &self.config.timers) {
                    Some(LinkState::Suspect | LinkState::Down(_)) if rests => {}
                    Some(LinkState::Suspect) => facts.push(Fact::LinkSuspect { link: *id, peer: peer.id, silence }),
                    Some(LinkState::Down(cause)) => facts.push(Fact::LinkDown { link: *id, peer: peer.id, cause }),
                    Some(LinkState::Up) | None => {}
                }
            }
        }
        self.tell_all(facts);
    }

    fn judge_peers(&mut self) {
        let mut facts = Vec::new();
        let mut ask = false;
        let mut returned = false;
        for peer in self.peers.values_mut() {
            let state = peer.judge(&self.config, self.now, self.floor);
            let before = peer.state;
            if state == before {
                continue;
            }
            peer.state = state;
            peer.since = self.now;
            match state {
                PeerState::Alive if before != PeerState::Suspect => facts.push(Fact::PeerAlive { peer: peer.id }),
                PeerState::Degraded => facts.push(Fact::PeerDegraded { peer: peer.id }),
                PeerState::Silent => facts.push(Fact::PeerSilent { peer: peer.id }),
                PeerState::Left => facts.push(Fact::PeerLeft { peer: peer.id }),
                PeerState::Alive | PeerState::Suspect | PeerState::OneWay | PeerState::Unknown => {}
            }
            ask |= state != PeerState::Alive;
            returned |= state.is_alive() && !before.is_alive();
        }
        self.tell_all(facts);
        // It may have served unheard of.
        for group in self.groups.iter_mut().filter(|_| returned) {
            group.unsettled = true;
        }
        if ask && let Some(arbitrator) = &mut self.arbitrator {
            arbitrator.at_once(self.now);
        }
    }

    /// Some peer is neither well nor orderly gone.
    fn is_attentive(&self) -> bool {
        self.peers.values().any(|peer| match peer.state {
            PeerState::Unknown | PeerState::Degraded | PeerState::Suspect | PeerState::OneWay | PeerState::Silent => {
                true
            }
            PeerState::Alive | PeerState::Left => false,
        })
    }

    fn judge_arbitrator(&mut self) {
        let (now, attentive) = (self.now, self.is_attentive());
        let id = AskId(self.counter + 1);
        let timers = &self.config.timers;
        let pace = if attentive { timers.arbitrator_pace } else { timers.arbitrator_interval };
        let timeout = timers.arbitrator_timeout;
        let Some(arbitrator) = &mut self.arbitrator else {
            return;
        };
        arbitrator.give_up(now, timers);
        if attentive {
            arbitrator.hurry(now, pace);
        }
        let asks = arbitrator.ask(id, now, pace);
        let state = arbitrator.state;
        if asks {
            self.counter += 1;
            self.outbox.push_back(Action::Ask { ask: id, timeout });
        }
        self.alarm(state == Reachability::Unreachable, Fact::ArbitratorUnreachable, Fact::ArbitratorReachable);
        let alone = !self.peers.values().any(|peer| peer.state.is_alive());
        let missed = self.peers.values().any(|peer| peer.state != PeerState::Left);
        self.isolated = alone && missed && state == Reachability::Unreachable;
        self.alarm(self.isolated, Fact::Isolated, Fact::NotIsolated);
    }

    fn expire_holds(&mut self) {
        if let Some((_, offline)) = self.offline
            && offline.until.is_some_and(|until| self.now >= until)
        {
            self.offline = None;
            self.tell(Fact::Hold { hold: HoldKind::Offline, on: false, by: "its end was reached".to_owned() });
        }
    }

    /// Everything about one group, most urgent first.
    /// Until a role is where what is known wants it; each round takes one edge of the state machine at most.
    fn decide_group(&mut self, id: GroupId) {
        for _ in Role::ALL {
            let before = (self.group(id).role, self.group(id).claim, self.group(id).release.clone());
            self.decide_once(id);
            let group = self.group(id);
            if before == (group.role, group.claim, group.release.clone()) {
                break;
            }
        }
    }

    fn decide_once(&mut self, id: GroupId) {
        self.learn_terms(id);
        self.resolve_conflict(id);
        self.yield_when_isolated(id);
        self.yield_answered_addresses(id);
        self.follow_release(id);
        self.give_up_when_failed(id);
        self.fail_back(id);
        self.probe_vips(id);
        self.take_over(id);
        self.order_resources(id);
        self.settle_role(id);
    }

    /// Orders the next starts and stops.
    fn order_resources(&mut self, id: GroupId) {
        let config = self.config.clone();
        let Some(settings) = config.groups.get(id.index()) else {
            return;
        };
        let now = self.now;
        let addresses_free = self.addresses_are_free(id);
        let group = self.group_mut(id);
        if group.role == Role::Standby || group.role == Role::Fault || group.claim.is_some() {
            return;
        }
        let orders = resources::next_orders(&group.resources, settings, group.wants_up(), group.stop_within, now);
        for (index, order) in orders {
            let is_vip = settings.resources.get(index).is_some_and(resources::is_vip);
            if order == Order::Start && is_vip && !addresses_free {
                continue;
            }
            let Some(resource) = self.group_mut(id).resources.get_mut(index) else {
                continue;
            };
            resource.turn(
                if order == Order::Start { resources::RunState::Starting } else { resources::RunState::Stopping },
                now,
            );
            let resource = ResourceId { group: id, index: u16::try_from(index).unwrap_or(u16::MAX) };
            self.outbox.push_back(Action::Resource { resource, order });
        }
    }

    /// Moves on when every resource is where the role wants it.
    fn settle_role(&mut self, id: GroupId) {
        let faulty = self.is_exhausted(id);
        let group = self.group(id);
        match group.role {
            Role::Activating if group.claim.is_none() && resources::all_up(&group.resources) => {
                self.turn(id, Trigger::ResourcesUp, Cause::ResourcesUp);
                self.reclaimed(id);
            }
            Role::Deactivating if resources::all_down(&group.resources) => {
                let cause = if group.cause == Cause::Start { Cause::LeftoversRemoved } else { Cause::ResourcesDown };
                let trigger = if faulty { Trigger::ResourcesDownFaulty } else { Trigger::ResourcesDown };
                self.turn(id, trigger, cause);
                self.released(id);
            }
            Role::Fault if !faulty => self.turn(id, Trigger::Cleared, Cause::FaultCleared),
            Role::Standby | Role::Activating | Role::Active | Role::Deactivating | Role::Fault => {}
        }
    }

    /// The one place where a role changes.
    fn turn(&mut self, id: GroupId, trigger: Trigger, cause: Cause) {
        let now = self.now;
        let group = self.group_mut(id);
        let from = group.role;
        let Some(to) = role::next(from, trigger) else {
            return;
        };
        group.role = to;
        group.since = now;
        group.cause = cause.clone();
        let term = group.told_term();
        self.tell(Fact::RoleChanged { group: id, from, to, term, cause });
    }

    /// Leaves the role, whatever it is, because of `cause`; `within` bounds the stops.
    fn step_down(&mut self, id: GroupId, cause: Cause, within: Option<std::time::Duration>) {
        let now = self.now;
        let group = self.group_mut(id);
        match group.role {
            Role::Activating if group.claim.is_some() => {
                group.claim = None;
                self.turn(id, Trigger::ClaimLost, cause);
            }
            Role::Activating | Role::Active => {
                group.stop_within = within;
                group.conflict = None;
                self.turn(id, Trigger::StepDown, cause);
            }
            Role::Deactivating if within.is_some() && group.stop_within.is_none() => {
                // Time has become short: stops under way are ordered again with their bound.
                group.stop_within = within;
                for resource in &mut group.resources {
                    if resource.state == resources::RunState::Stopping {
                        resource.turn(resources::RunState::Stuck(now), now);
                    }
                }
            }
            Role::Standby | Role::Deactivating | Role::Fault => {}
        }
    }

    fn is_exhausted(&self, id: GroupId) -> bool {
        let Some(settings) = self.config.groups.get(id.index()) else {
            return false;
        };
        let group = self.group(id);
        group.resources.iter().zip(&settings.resources).any(|(resource, config)| resource.is_exhausted(&config.restart))
    }

    /// Sets or clears an alarm; tells when that is news.
    fn alarm(&mut self, on: bool, raised: Fact, cleared: Fact) {
        let key = raised.alarm_key();
        if on == self.alarms.contains_key(&key) {
            return;
        }
        if on {
            self.alarms.insert(key, (self.now, raised.clone()));
            self.tell(raised);
        } else {
            self.alarms.remove(&key);
            self.tell(cleared);
        }
    }

    fn tell(&mut self, fact: Fact) {
        self.outbox.push_back(Action::Event(Event { at: self.now, fact }));
    }

    fn tell_all(&mut self, facts: Vec<Fact>) {
        for fact in facts {
            self.tell(fact);
        }
    }

    #[expect(clippy::expect_used, reason = "a group that is not in the config is a defect that must not go on")]
    fn group(&self, id: GroupId) -> &Group {
        self.groups.get(id.index()).expect("the group is in the config")
    }

    #[expect(clippy::expect_used, reason = "a group that is not in the config is a defect that must not go on")]
    fn group_mut(&mut self, id: GroupId) -> &mut Group {
        self.groups.get_mut(id.index()).expect("the group is in the config")
    }

    fn next_probe_id(&mut self) -> ProbeId {
        self.counter += 1;
        ProbeId(self.counter)
    }

    /// The next number of our own sequence of random numbers (splitmix64). Never zero.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).max(1)
    }
}

impl Node {
    /// Takes a new config into use that differs from the present one only in timers and limits; what else differs is said
    /// and nothing is changed.
    ///
    /// # Errors
    /// The keys that need a restart of the daemon.
    pub fn reconfigure(&mut self, config: Arc<Config>) -> Result<(), String> {
        let (old, new) = (&self.config, &config);
        let parts = [
            ("cluster", old.cluster == new.cluster && old.nodes == new.nodes && old.standalone == new.standalone),
            ("link", old.links == new.links),
            ("arbitrator", old.arbitrator == new.arbitrator),
            ("group", old.groups == new.groups),
            ("ready", old.ready == new.ready),
            ("daemon", old.daemon == new.daemon),
        ];
        let differing: Vec<&str> = parts.iter().filter(|(_, same)| !same).map(|(name, _)| *name).collect();
        if !differing.is_empty() {
            return Err(differing.join(", "));
        }
        self.config = config;
        self.evaluate();
        Ok(())
    }
}
