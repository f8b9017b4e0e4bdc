//! ONE NODE'S DECISION.
//!
//! **Every input is followed by a full drain of the actions before the next input:** [`Node::handle`], then
//! [`Node::poll_action`] until it is empty, then wait until [`Node::poll_deadline`] at the latest.
//!
//! An input only changes what the node *knows*. Then every room judges the whole of it again (`evaluate`), so a decision
//! never depends on which input came last, and a late wake-up does no harm.

mod absence;
pub mod action;
mod arbitration;
mod bearers;
mod conflict;
mod deadline;
mod decide;
pub mod event;
mod fencing;
mod frames;
mod group;
mod handover;
pub mod input;
mod judge;
mod lease;
mod link;
mod obstacle;
mod operator;
mod peer;
mod persistence;
mod resources;
pub mod role;
mod saved;
mod status;
mod steer;
mod takeover;
mod terms;
mod vip_probe;
mod voters;
mod watchdog;
mod witness;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use action::{Action, Durable, Order};
pub use event::{Event, Fact};
pub use input::{Input, Report};
pub use saved::{Saved, SavedError};

use serde::{Deserialize, Serialize};

use crate::cluster::{CheckId, GroupId, Incarnation, LinkId, NodeId, Role, Term};
use crate::config::{Authority, Config};
use crate::lease::promised_until;
use crate::node::absence::Absence;
use crate::node::action::ProbeId;
use crate::node::arbitration::Arbitrator;
use crate::node::event::{AlarmKey, HoldKind};
use crate::node::fencing::Fencing;
use crate::node::group::Group;
use crate::node::input::BadDatagram;
use crate::node::operator::PendingRequest;
use crate::node::peer::Peer;
use crate::node::persistence::Persistence;
use crate::node::saved::Return;
use crate::node::steer::Awaited;
use crate::node::witness::Witness;
use crate::sabotage::{Rule, broken};
use crate::time::Instant;
use crate::wire::GroupState;

/// The decision of one node. A plain value: clone it, compare it, hash it, run it anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    witness: Option<Witness>,
    /// Who votes, by our config, and whether that may be counted on.
    voters: u32,
    voters_settled: bool,
    /// The longest promise anybody has asked us for.
    longest_promise: Duration,
    /// No promise for longer than usual lasts beyond this.
    long_promises_end: Instant,
    isolated: bool,
    groups: Vec<Group>,
    ready: BTreeMap<CheckId, (Instant, Result<(), String>)>,
    offline: Option<(Instant, action::Offline)>,
    maintenance: Option<Instant>,
    /// Nodes whose name another machine uses, and when it was last heard to.
    duplicates: BTreeMap<NodeId, Instant>,
    persistence: Persistence,
    fencing: Fencing,
    pending: Option<PendingRequest>,
    awaited: Vec<Awaited>,
    /// The daemon is asked to end.
    shutdown: Option<Shutdown>,
    /// Another program is to go on with this node.
    absence: Option<Absence>,
    /// This program goes on with what another one had.
    returned: Option<Return>,
    /// Number of what we tell about ourselves.
    revision: u32,
    told: Vec<GroupState>,
    told_absence: Duration,
    next_heartbeat: Instant,
    next_probe: Instant,
    counter: u64,
    /// Standing alarms.
    #[serde(with = "event::standing")]
    alarms: BTreeMap<AlarmKey, (Instant, Fact)>,
    #[serde(skip)]
    outbox: VecDeque<Action>,
}

/// How far the daemon's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
        let known_voters = durable.voters.is_none_or(|voters| voters == config.voters_digest());
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
            witness: config.has_voter_outside().then(|| Witness::new(now)),
            voters: config.voters_digest(),
            voters_settled: config.standalone || known_voters,
            longest_promise: config.timers.lease_time.max(durable.promised),
            long_promises_end: promised_until(
                now,
                config.timers.lease_time.max(durable.promised),
                config.timers.clock_rate_ppm,
            ),
            isolated: false,
            groups: config.group_ids().map(|id| Group::new(id, &config, floor(id), now)).collect(),
            ready: BTreeMap::new(),
            offline: durable.offline.map(|offline| (now, offline)),
            maintenance: durable.maintenance.then_some(now),
            duplicates: BTreeMap::new(),
            fencing: Fencing::new(durable.fenced.clone()),
            persistence: Persistence::new(durable),
            pending: None,
            awaited: Vec::new(),
            shutdown: None,
            absence: None,
            returned: None,
            revision: 1,
            told: Vec::new(),
            told_absence: Duration::ZERO,
            next_heartbeat: now,
            next_probe: now,
            counter: 0,
            alarms: BTreeMap::new(),
            outbox: VecDeque::new(),
            config,
        };
        node.tell(Fact::Started { node: me });
        node.remember_outcasts();
        node.evaluate();
        node
    }

    /// Takes note of an input and decides again. Time must not go backwards; if it does, the earlier `now` is not believed.
    pub fn handle(&mut self, now: Instant, input: Input) {
        if self.has_gone() {
            return;
        }
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
            Input::Bearer { link, peer, bearer, up } => self.on_bearer(link, peer, bearer, up),
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
            Input::Fenced { fence, result } => self.on_fenced(fence, result),
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

    /// The config in force.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
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
        self.judge_witness();
        self.judge_voters();
        self.expire_holds();
        self.expire_namesakes();
        self.follow_requests();
        for id in self.config.clone().group_ids() {
            self.decide_group(id);
        }
        self.judge_fence_alarms();
        self.judge_watchdog();
        self.judge_fencing();
        self.follow_pending_request();
        self.follow_awaited();
        self.follow_shutdown();
        self.keep_durable();
        self.send_frames();
        self.follow_absence();
        self.follow_return();
        self.assert_right();
    }

    /// ACTIVE implies a right: checked after every input, in release builds too. A daemon that dies is survivable, two
    /// owners are not.
    fn assert_right(&self) {
        for group in &self.groups {
            if group.serves() {
                assert!(!self.isolated, "group {} serves while isolated", group.id.0);
                let leased = self.has_lease(group.id) || broken(Rule::LapsedHolderStops);
                assert!(!self.leases() || leased, "group {} serves without a lease", group.id.0);
                assert!(
                    group.term <= self.persistence.ceiling(group.id),
                    "group {} serves in a term that is not on disk",
                    group.id.0
                );
            }
        }
    }

    fn expire_holds(&mut self) {
        if let Some((_, offline)) = self.offline
            && offline.until.is_some_and(|until| self.now >= until)
        {
            self.offline = None;
            self.tell(Fact::Hold { hold: HoldKind::Offline, on: false, by: "its end was reached".to_owned() });
        }
    }

    /// Sets or clears an alarm; tells when that is news.
    fn alarm(&mut self, on: bool, raised: impl Into<Fact>, cleared: impl Into<Fact>) {
        let (raised, cleared) = (raised.into(), cleared.into());
        let Some(key) = raised.alarm_key().filter(|key| on != self.alarms.contains_key(key)) else {
            return;
        };
        if on {
            self.alarms.insert(key, (self.now, raised.clone()));
            self.tell(raised);
        } else {
            self.alarms.remove(&key);
            self.tell(cleared);
        }
    }

    fn tell(&mut self, fact: impl Into<Fact>) {
        self.outbox.push_back(Action::Event(Event { at: self.now, fact: fact.into() }));
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
            ("authority", old.authority == new.authority),
            ("witness", old.witness == new.witness),
            ("etcd", old.etcd == new.etcd),
            // What was promised for the old time, or is counted on, would be judged by the new one.
            ("timers.lease_time", old.authority == Authority::Ping || old.timers.lease_time == new.timers.lease_time),
            ("fence", old.fences == new.fences && old.fencing == new.fencing),
            ("watchdog", old.watchdog == new.watchdog),
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
