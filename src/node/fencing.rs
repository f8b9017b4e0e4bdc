//! FENCING: a node that is not heard is turned off from outside before anything that it may own is taken over.
//!
//! Only a confirmation counts: of every device of one level, or of an operator. It is void as soon as the node is heard again.
//! Who may shoot is decided before it shoots, so that two nodes do not shoot each other: under leases a majority has given its
//! votes; otherwise the ACTIVE node shoots at once, and everybody else waits by rank.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{GroupId, Incarnation, NodeId, Role};
use crate::config::Rejoin;
use crate::control::{Answer, FenceVerb};
use crate::node::action::{Action, FenceId, RequestId};
use crate::node::event::{AlarmKey, Fencing as Told, LinkDownCause};
use crate::node::link::LinkState;
use crate::node::obstacle::{FenceStanding, Obstacle};
use crate::node::peer::{Peer, PeerState};
use crate::node::{Fact, Node};
use crate::sabotage::{Rule, broken};
use crate::time::Instant;
use crate::wire::{Fenced, Heartbeat};

/// From a failed attempt to the next; doubles with each up to the bound.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(300);

/// What this node knows and does about turning others off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Fencing {
    /// Under way.
    shots: BTreeMap<NodeId, Shot>,
    /// Nodes known to be off, since when.
    off: BTreeMap<NodeId, Instant>,
    failures: BTreeMap<NodeId, Failure>,
    /// Nodes that may not take part again yet.
    outcasts: BTreeMap<NodeId, Option<Incarnation>>,
    /// Since when a node stands in the way of a takeover.
    wanted: BTreeMap<NodeId, Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Shot {
    fence: FenceId,
    since: Instant,
    /// Of an operator.
    request: Option<RequestId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Failure {
    reason: String,
    attempts: u32,
    next: Instant,
}

impl Fencing {
    pub(super) fn new(outcasts: BTreeMap<NodeId, Option<Incarnation>>) -> Self {
        Self { outcasts, ..Self::default() }
    }

    /// For the disk: another run of this node shall know them too.
    pub(super) fn outcasts(&self) -> &BTreeMap<NodeId, Option<Incarnation>> {
        &self.outcasts
    }

    /// For the peers and the witness.
    pub(super) fn told(&self) -> Vec<Fenced> {
        self.outcasts.iter().map(|(node, run)| Fenced { node: *node, run: *run }).collect()
    }

    pub(super) fn is_under_way(&self) -> bool {
        !self.shots.is_empty()
    }
}

/// What is known.
impl Node {
    /// It is known to be off: confirmed, and not heard since, nor so shortly before that it may have been a lie.
    pub(super) fn is_off(&self, peer: &Peer) -> bool {
        let quiet = peer.heard.is_none_or(|heard| self.now.since(heard) >= self.config.timers.dead_time);
        quiet && self.fencing.off.contains_key(&peer.id)
    }

    /// A peer that nobody hears may own anything until it is known to be off.
    fn has_to_be_off(&self, peer: &Peer) -> bool {
        let doubtful = match peer.state {
            PeerState::Unknown | PeerState::Silent | PeerState::OneWay => true,
            PeerState::Alive | PeerState::Degraded | PeerState::Suspect | PeerState::Left => false,
        };
        let asked = !broken(Rule::SilentNodesAreFenced);
        doubtful && asked && self.config.fences(peer.id) && !self.is_off(peer)
    }

    /// How far that is, where it stands in the way of a group.
    pub(super) fn fence_obstacle(&self, id: GroupId, peer: &Peer) -> Option<Obstacle> {
        if !self.has_to_be_off(peer) {
            return None;
        }
        let standing = if let Some(shot) = self.fencing.shots.get(&peer.id) {
            FenceStanding::UnderWay { since: shot.since }
        } else if self.is_strange(peer) && !self.has_vips(id) {
            FenceStanding::Unheard
        } else if let Some(failure) = self.fencing.failures.get(&peer.id) {
            FenceStanding::Failed { reason: failure.reason.clone(), next: failure.next }
        } else {
            FenceStanding::Due
        };
        Some(Obstacle::NotFenced { peer: peer.id, standing })
    }

    /// Somebody who is there has turned this node off, and has not cleared it.
    pub(super) fn is_outcast(&self) -> bool {
        self.peers.values().any(|peer| peer.state.is_alive() && peer.fenced_us)
    }
}

/// What is heard.
impl Node {
    /// A fresh frame of a peer: what it says of others and of us, and that it lives.
    pub(super) fn hear_fenced(&mut self, frame: &Heartbeat, arrived: Instant) {
        self.hear_life_of(frame.from, frame.incarnation, arrived);
        let us = frame.fenced.iter().find(|fenced| fenced.node == self.me);
        // That this very run is off is not so.
        let outcast = us.is_some_and(|fenced| fenced.run != Some(self.incarnation));
        if let Some(peer) = self.peers.get_mut(&frame.from) {
            peer.fenced_us = outcast;
        }
    }

    /// Who is there keeps this node out, or need not be turned off any more; who is gone does neither.
    pub(super) fn judge_fence_alarms(&mut self) {
        for node in self.config.clone().node_ids() {
            let Some(peer) = self.peers.get(&node) else { continue };
            let (alive, outcast) = (peer.state.is_alive(), peer.fenced_us);
            self.alarm(alive && outcast, Told::Outcast { by: node }, Told::Readmitted { by: node });
            let standing = self.alarms.get(&AlarmKey::FenceFailed(node)).map(|(_, fact)| fact.clone());
            if let Some(failed @ Fact::Fencing(Told::Failed { .. })) = standing.filter(|_| alive) {
                // Should it fall silent again, nobody waits because of this.
                self.fencing.failures.remove(&node);
                self.alarm(false, failed, Told::Recovered { node });
            }
        }
    }

    fn hear_life_of(&mut self, node: NodeId, run: Incarnation, arrived: Instant) {
        // An earlier run of ours knew since when it is off.
        let lives = self.fencing.off.get(&node).is_none_or(|since| arrived > *since);
        if lives {
            self.fencing.off.remove(&node);
            if self.fencing.outcasts.get(&node).is_some_and(|off| *off == Some(run)) {
                self.readmit(node);
                self.note_failure(node, "its device says that it is off, but it is heard".to_owned());
                self.alarm(true, Told::Lied { node }, Told::Recovered { node });
            }
        }
        let back = self.fencing.outcasts.get(&node).is_some_and(|off| *off != Some(run));
        if back && self.config.fencing.rejoin == Rejoin::Auto {
            self.readmit(node);
        }
    }

    fn readmit(&mut self, node: NodeId) {
        self.fencing.outcasts.remove(&node);
        self.alarm(false, Told::Fenced { node, how: String::new() }, Told::Cleared { node });
    }

    fn note_failure(&mut self, node: NodeId, reason: String) {
        let attempts = self.fencing.failures.get(&node).map_or(0, |failure| failure.attempts).saturating_add(1);
        let wait = (RETRY * 2u32.saturating_pow(attempts.min(10) - 1)).min(RETRY_MAX);
        self.fencing.failures.insert(node, Failure { reason, attempts, next: self.now + wait });
    }

    /// The devices have done their work, or could not.
    pub(super) fn on_fenced(&mut self, fence: FenceId, result: Result<String, String>) {
        let found = self.fencing.shots.iter().find(|(_, shot)| shot.fence == fence);
        let Some((node, request)) = found.map(|(node, shot)| (*node, shot.request)) else { return };
        self.fencing.shots.remove(&node);
        let answer = match result {
            Err(how) if broken(Rule::OnlyAProofFences) => {
                self.believe_off(node, how.clone());
                Answer::Done { text: how }
            }
            Ok(how) => {
                let name = self.config.node_name(node);
                let text = format!("{name} is off: {how}");
                self.believe_off(node, how);
                Answer::Done { text }
            }
            Err(reason) => {
                self.note_failure(node, reason.clone());
                // A new reason is news.
                self.alarms.remove(&AlarmKey::FenceFailed(node));
                let raised = Told::Failed { node, reason: reason.clone() };
                self.alarm(true, raised, Told::Recovered { node });
                Answer::Failed { reason }
            }
        };
        if let Some(request) = request {
            self.outbox.push_back(Action::Answer { request, answer });
        }
    }

    fn believe_off(&mut self, node: NodeId, how: String) {
        self.fencing.off.insert(node, self.now);
        self.fencing.failures.remove(&node);
        let run = self.peers.get(&node).and_then(|peer| peer.incarnation);
        self.fencing.outcasts.insert(node, run);
        self.next_heartbeat = self.now;
        let failed = Told::Failed { node, reason: String::new() };
        self.alarm(false, failed, Told::Recovered { node });
        self.alarm(true, Told::Fenced { node, how }, Told::Cleared { node });
    }
}

/// What is done.
impl Node {
    /// Turns off who has to be off before something can go on.
    pub(super) fn judge_fencing(&mut self) {
        if self.config.fences.is_empty() {
            return;
        }
        let targets: Vec<NodeId> = self.config.clone().node_ids().filter(|node| self.is_target(*node)).collect();
        let now = self.now;
        self.fencing.wanted.retain(|node, _| targets.contains(node));
        for node in targets {
            let since = *self.fencing.wanted.entry(node).or_insert(now);
            let due = since + self.patience(node);
            let due = self.fencing.failures.get(&node).map_or(due, |failure| due.max(failure.next));
            if now >= due && !self.fencing.shots.contains_key(&node) {
                self.shoot(node, None);
            }
        }
    }

    fn shoot(&mut self, target: NodeId, request: Option<RequestId>) {
        self.counter += 1;
        let fence = FenceId(self.counter);
        self.fencing.shots.insert(target, Shot { fence, since: self.now, request });
        self.tell(Told::Begun { node: target });
        self.outbox.push_back(Action::Fence { fence, target });
    }

    /// It is not heard, and it stands between a group and its being served, or threatens one that is.
    fn is_target(&self, node: NodeId) -> bool {
        let Some(peer) = self.peers.get(&node).filter(|peer| self.has_to_be_off(peer)) else { return false };
        if self.shutdown.is_some() || self.maintenance.is_some() || self.isolated {
            return false;
        }
        self.config.group_ids().any(|id| self.waits_for_fence(id, peer) || self.is_threatened(id, peer))
    }

    /// Nothing but fencing stands between this node and the group.
    fn waits_for_fence(&self, id: GroupId, peer: &Peer) -> bool {
        let group = self.group(id);
        let mine = match group.role {
            Role::Standby => !self.leases() && self.local_obstacles(id).is_empty() && self.may_still_fail_over(id),
            Role::Activating => group.claim.is_some() && (!self.leases() || self.has_lease(id)),
            Role::Active | Role::Deactivating | Role::Fault => false,
        };
        mine && {
            let obstacles = self.right_obstacles(id);
            obstacles.iter().all(Obstacle::waits_for_fence) && self.may_judge(id, peer, &obstacles)
        }
    }

    /// Without votes, a run that has never heard a node cannot know whether it is the other one that is cut off: it does not
    /// shoot who answers for the addresses, nor where there is nothing to ask for.
    fn may_judge(&self, id: GroupId, peer: &Peer, obstacles: &[Obstacle]) -> bool {
        let unanswered = self.has_vips(id) && !obstacles.iter().any(Obstacle::is_about_addresses);
        !self.is_strange(peer) || unanswered
    }

    /// This run has never heard it, and has no votes to go by.
    fn is_strange(&self, peer: &Peer) -> bool {
        !self.leases() && peer.state == PeerState::Unknown
    }

    /// Without votes the other one may be about to shoot at us: the ACTIVE node is first.
    fn is_threatened(&self, id: GroupId, peer: &Peer) -> bool {
        let sure = self.arbitrator.as_ref().is_none_or(|arbitrator| arbitrator.vouches_since(self.last_sign(peer)));
        // Where nobody listens there is nobody who could.
        let gone = peer.links.values().any(|link| link.state == LinkState::Down(LinkDownCause::Refused));
        let threatens = peer.state == PeerState::Silent && !gone;
        !self.leases() && sure && threatens && self.group(id).serves()
    }

    /// How long a shot at a node waits for one of its own.
    fn patience(&self, target: NodeId) -> Duration {
        if self.groups.iter().any(|group| group.serves()) {
            return Duration::ZERO;
        }
        let by_rank = u32::from(self.me.0);
        let words = || self.config.group_ids().filter_map(|id| self.peers.get(&target)?.group(id));
        let turns = if words().any(|word| word.holds() || word.addresses) {
            // It shoots at once, if it lives.
            1
        } else if words().count() == self.groups.len() {
            by_rank
        } else {
            1 + by_rank
        };
        self.config.timers.fence_delay * turns
    }

    pub(super) fn fencing_deadlines(&self) -> impl Iterator<Item = Instant> {
        let wanted = self.fencing.wanted.iter();
        wanted.filter(|(node, _)| !self.fencing.shots.contains_key(node)).map(|(node, since)| {
            let due = *since + self.patience(*node);
            self.fencing.failures.get(node).map_or(due, |failure| due.max(failure.next))
        })
    }
}

/// What an operator wants.
impl Node {
    pub(super) fn fence_command(
        &mut self,
        request: RequestId,
        who: &str,
        name: &str,
        verb: FenceVerb,
    ) -> Result<Option<Answer>, String> {
        let nodes = self.config.nodes.join(", ");
        let node = self.config.node(name).ok_or_else(|| format!("there is no node {name}; the nodes are {nodes}"))?;
        if node == self.me {
            return Err("this is the node itself: say it on another one".to_owned());
        }
        match verb {
            FenceVerb::Shoot if !self.config.fences(node) => Err(format!("no [[fence]] of the config is for {name}")),
            FenceVerb::Shoot if self.fencing.shots.contains_key(&node) => {
                Err(format!("{name} is being turned off now"))
            }
            FenceVerb::Shoot => {
                self.shoot(node, Some(request));
                Ok(None)
            }
            FenceVerb::Confirm => self.confirm_off(node, who).map(|text| Some(Answer::Done { text })),
            FenceVerb::Clear if self.fencing.outcasts.contains_key(&node) => {
                self.readmit(node);
                Ok(Some(Answer::Done { text: format!("{name} may take part again") }))
            }
            FenceVerb::Clear => {
                Err(format!("this node has not fenced {name}: say it on the node that has (its status shows it)"))
            }
        }
    }

    /// An operator vouches that a node is off.
    fn confirm_off(&mut self, node: NodeId, who: &str) -> Result<String, String> {
        let name = self.config.node_name(node).to_owned();
        let heard = self.peers.get(&node).and_then(|peer| peer.heard);
        if let Some(heard) = heard.filter(|heard| self.now.since(*heard) < self.config.timers.dead_time) {
            return Err(format!("{name} was heard {} ms ago: it is not off", self.now.since(heard).as_millis()));
        }
        self.believe_off(node, format!("{who} vouches for it"));
        Ok(format!("{name} counts as off"))
    }

    /// The alarms of nodes that an earlier run has fenced.
    pub(super) fn remember_outcasts(&mut self) {
        let nodes: Vec<NodeId> = self.fencing.outcasts.keys().copied().collect();
        for node in nodes {
            let how = "fenced before this daemon was started".to_owned();
            let raised = Fact::from(Told::Fenced { node, how });
            self.alarm(true, raised, Told::Cleared { node });
        }
    }
}
