//! The witness as seen from a node, or etcd in its place: asked with heartbeats, judged by its answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{GroupId, Incarnation, LinkId, NodeId, Role};
use crate::node::arbitration::Reachability;
use crate::node::event::Fact;
use crate::node::group::Group;
use crate::node::{Action, Node};
use crate::time::Instant;
use crate::wire::{GroupState, Heartbeat};

/// Requests in a row that are not answered before the witness counts as lost.
const MISSES: u32 = 3;
/// Its runs that are remembered as over.
const RETIRED_MAX: usize = 64;

/// What is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Witness {
    pub(super) state: Reachability,
    pub(super) since: Instant,
    incarnation: Option<Incarnation>,
    retired: Vec<Incarnation>,
    /// Highest number of an answer of its present run, and when it was sent, on its clock.
    sequence: u64,
    echo_nanos: u64,
    /// The last answer.
    pub(super) heard: Option<Instant>,
    pub(super) rtt: Option<Duration>,
    sent: u64,
    /// Requests since the last answer, and when the first of them was sent.
    unanswered: u32,
    asked_since: Instant,
    /// When the last one was sent.
    asked: Instant,
    pub(super) next: Instant,
}

impl Witness {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: Reachability::Unknown,
            since: now,
            incarnation: None,
            retired: Vec::new(),
            sequence: 0,
            echo_nanos: 0,
            heard: None,
            rtt: None,
            sent: 0,
            unanswered: 0,
            asked_since: now,
            asked: now,
            next: now,
        }
    }

    /// Whether an answer is new; takes note of the run it is of.
    fn believes(&mut self, frame: &Heartbeat) -> bool {
        if self.retired.contains(&frame.incarnation) {
            return false;
        }
        if self.incarnation != Some(frame.incarnation) {
            // A run that we never heard may be over: this answers something we asked after the last word of the one we know.
            if self.heard.is_some_and(|heard| Instant::from_nanos(frame.echo_nanos) <= heard) {
                return false;
            }
            if self.retired.len() >= RETIRED_MAX {
                self.retired.remove(0);
            }
            self.retired.extend(self.incarnation.replace(frame.incarnation));
            self.sequence = 0;
        }
        let new = frame.sequence > self.sequence;
        if new {
            (self.sequence, self.echo_nanos) = (frame.sequence, frame.sent_nanos);
        }
        new
    }

    /// After a pause of our own, unanswered requests blame nobody.
    pub(super) fn forgive(&mut self) {
        self.unanswered = 0;
    }

    fn turn(&mut self, state: Reachability, now: Instant) {
        if self.state != state {
            (self.state, self.since) = (state, now);
        }
    }
}

impl Node {
    /// An answer with a good digest; it may still be old.
    pub(super) fn on_witness_frame(&mut self, link: LinkId, arrived: Instant, frame: &Heartbeat) {
        let (now, own) = (self.now, self.incarnation);
        let Some(witness) = &mut self.witness else { return };
        let is_for_us = frame.to == self.me && link == LinkId::WITNESS && frame.link == LinkId::WITNESS;
        let known = witness.incarnation;
        if !is_for_us || frame.echo != Some(own) || !witness.believes(frame) {
            return;
        }
        witness.heard = Some(arrived);
        witness.unanswered = 0;
        let waited = Duration::from_nanos(frame.echo_delay_nanos);
        let way = || arrived.since(Instant::from_nanos(frame.echo_nanos)).saturating_sub(waited);
        witness.rtt = (frame.echo_nanos != 0).then(way);
        witness.turn(Reachability::Reachable, now);
        // It answers a stranger to its run without a word on groups: now we know its number.
        if frame.groups.is_empty() && known != witness.incarnation {
            witness.next = now;
        }
        self.learn_terms_of_witness(frame);
        self.hear_promises(NodeId::WITNESS, arrived, frame);
    }

    /// Lost when it owes several answers for the dead time. That is an alarm and nothing else.
    pub(super) fn judge_witness(&mut self) {
        let now = self.now;
        let patience = self.witness_patience();
        let Some(witness) = &mut self.witness else { return };
        // What was asked in this moment cannot have been answered: it is judged with the next request.
        if witness.unanswered >= MISSES && now >= witness.asked_since + patience && now > witness.asked {
            witness.turn(Reachability::Unreachable, now);
        }
        let lost = witness.state == Reachability::Unreachable;
        self.alarm(lost, Fact::WitnessLost, Fact::WitnessBack);
    }

    /// How long it may owe answers: a cluster of etcd that writes to its disks may need longer than a frame.
    fn witness_patience(&self) -> Duration {
        self.config.timers.dead_time.max(self.renewal_pace())
    }

    /// How often a lease is renewed: with each heartbeat, but an etcd cluster has more to do.
    fn renewal_pace(&self) -> Duration {
        let timers = &self.config.timers;
        if self.votes() { timers.heartbeat_interval } else { timers.heartbeat_interval.max(timers.lease_time / 4) }
    }

    /// How often it is asked.
    fn witness_pace(&self) -> Duration {
        let timers = &self.config.timers;
        let answers = self.witness.as_ref().is_some_and(|witness| witness.unanswered == 0);
        if self.wants_any_lease() && answers {
            self.renewal_pace()
        } else if self.wants_any_lease() || self.is_attentive() || self.awaits_a_vote() {
            timers.heartbeat_interval
        } else {
            timers.arbitrator_interval
        }
    }

    /// Nobody is heard who has a group that we could have: etcd alone knows when it is free.
    fn awaits_a_vote(&self) -> bool {
        let owned = |id: GroupId| self.peers.values().any(|peer| peer.state.is_alive() && peer.holds(id));
        let waits = |group: &Group| group.role == Role::Standby && !owned(group.id) && self.is_able(group.id);
        !self.votes() && self.groups.iter().any(waits)
    }

    /// One request, unless it is too early for it.
    pub(super) fn ask_witness(&mut self, at_once: bool) {
        let (now, pace) = (self.now, self.witness_pace());
        let name_digests: Vec<u32> = self.groups.iter().map(|group| group.name_digest).collect();
        let groups = self.told_now();
        let (lease, absence) = (self.wanted_lease(), self.absence());
        let Some(witness) = &mut self.witness else { return };
        witness.next = witness.next.min(now + pace);
        if !at_once && now < witness.next {
            return;
        }
        witness.next = now + pace;
        witness.sent += 1;
        witness.asked = now;
        witness.asked_since = if witness.unanswered == 0 { now } else { witness.asked_since };
        witness.unanswered = witness.unanswered.saturating_add(1);
        // The witness knows groups by their names: whoever means something else by one still shares its lease.
        let named = |(state, digest): (GroupState, u32)| GroupState { digest, ..state };
        let heartbeat = Heartbeat {
            from: self.me,
            to: NodeId::WITNESS,
            link: LinkId::WITNESS,
            incarnation: self.incarnation,
            echo: witness.incarnation,
            sequence: witness.sent,
            sent_nanos: 0,
            echo_nanos: witness.echo_nanos,
            echo_delay_nanos: 0,
            wall_millis: 0,
            config_digest: self.config.digest,
            hears_you: true,
            probe: false,
            leaving: false,
            revision: self.revision,
            seen_revision: 0,
            groups: groups.into_iter().zip(name_digests).map(named).collect(),
            request: None,
            lease,
            voters: self.voters,
            fenced: Vec::new(),
            absence,
        };
        self.outbox.push_back(Action::Send { link: LinkId::WITNESS, heartbeat });
    }

    /// When it is asked next, or counts as lost.
    pub(super) fn witness_deadline(&self) -> Option<Instant> {
        let witness = self.witness.as_ref()?;
        let lost = witness.asked_since + self.witness_patience();
        let waits = witness.unanswered >= MISSES && witness.state != Reachability::Unreachable;
        let next = witness.next.min(self.now + self.witness_pace());
        // What is over already is judged with the next request.
        Some(if waits && lost > self.now { next.min(lost) } else { next })
    }
}
