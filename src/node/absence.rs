//! A short absence of this daemon, announced before it begins: its program is replaced while everything runs on.
//!
//! The peers and the witness are told how long this node may be silent. When all of them know it, and the lease lasts for as
//! long, the node is given to the next program ([`crate::node::saved`]). Until then anything that happens ends the attempt,
//! and nothing has changed.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{NodeId, Role};
use crate::control::Answer;
use crate::node::action::RequestId;
use crate::node::arbitration::Reachability;
use crate::node::event::{Fact, UpgradeStep};
use crate::node::group::Group;
use crate::node::resources::RunState;
use crate::node::{Action, Node};
use crate::time::Instant;

/// For how long the peers believe this node to be there without hearing it. A program is replaced in a fraction of it, on a
/// busy machine too; a node that dies meanwhile costs up to this much more of an outage.
pub(super) const ABSENCE: Duration = Duration::from_secs(2);
/// How long the others may take to acknowledge it: a voter writes to its disk first.
const PATIENCE: Duration = Duration::from_secs(5);

/// An absence that is announced.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Absence {
    request: RequestId,
    /// When it is given up.
    pub(super) deadline: Instant,
    /// Our revision that carries it.
    revision: u32,
    /// The peers that were there when it began: all of them must know.
    peers: Vec<NodeId>,
    /// It has begun: nothing is handled any more.
    pub(super) begun: bool,
}

impl Node {
    /// How long this node may be silent from now on.
    pub(super) fn absence(&self) -> Duration {
        if self.absence.is_some() { ABSENCE } else { Duration::ZERO }
    }

    /// How long this node counts on a promise.
    pub(super) fn wanted_lease(&self) -> Duration {
        if self.leases() { self.config.timers.lease_time + self.absence() } else { Duration::ZERO }
    }

    /// Its program is being replaced: this one does nothing any more.
    pub(super) fn has_gone(&self) -> bool {
        self.absence.as_ref().is_some_and(|absence| absence.begun)
    }

    /// An operator wants another program to go on with this node.
    pub(super) fn upgrade(&mut self, request: RequestId, binary: Option<&Path>) -> Result<Option<Answer>, String> {
        if self.absence.is_some() {
            return Err("an upgrade is under way already".to_owned());
        }
        if let Some(obstacle) = self.upgrade_obstacle() {
            return Err(format!("not now: {obstacle}"));
        }
        let peers = self.peers.values().filter(|peer| peer.state.is_alive()).map(|peer| peer.id).collect();
        let (revision, deadline) = (self.revision.wrapping_add(1), self.now + PATIENCE);
        self.absence = Some(Absence { request, deadline, revision, peers, begun: false });
        self.next_heartbeat = self.now;
        let binary = binary.map(|path| path.display().to_string());
        self.tell(Fact::Upgrade { step: UpgradeStep::Announced { binary, absence: ABSENCE } });
        Ok(None)
    }

    /// What is under way that must not be interrupted.
    fn upgrade_obstacle(&self) -> Option<String> {
        if self.shutdown.is_some() {
            return Some("the daemon is stopping".to_owned());
        }
        if self.pending.is_some() || !self.awaited.is_empty() {
            return Some("another command is under way".to_owned());
        }
        if self.fencing.is_under_way() {
            return Some("a node is being turned off".to_owned());
        }
        if self.leases() && !self.votes() {
            return Some(
                "etcd holds the lease for one process only; move the group away and restart the daemon".to_owned(),
            );
        }
        if self.isolated {
            return Some("this node is isolated".to_owned());
        }
        if !self.leases() && self.arbitrator.as_ref().is_some_and(|it| it.state == Reachability::Unreachable) {
            return Some("the arbitrator does not answer".to_owned());
        }
        self.groups.iter().find_map(|group| self.change_under_way(group)).or_else(|| self.missing_voters())
    }

    fn change_under_way(&self, group: &Group) -> Option<String> {
        let name = self.config.group_name(group.id);
        match group.role {
            Role::Activating | Role::Deactivating => return Some(format!("{name} is {} here", group.role)),
            Role::Standby | Role::Active | Role::Fault => {}
        }
        if group.release.is_some() {
            return Some(format!("{name} is being moved"));
        }
        if group.conflict.is_some() {
            return Some(format!("{name} was ACTIVE on two nodes a moment ago"));
        }
        self.config.resource_ids(group.id).zip(&group.resources).find_map(|(id, resource)| match resource.state {
            RunState::Starting | RunState::Stopping => {
                Some(format!("{} is {}", self.config.resource_name(id), resource.state.word()))
            }
            RunState::Stopped | RunState::Started | RunState::Backoff(_) => None,
            RunState::Stuck(_) | RunState::Stray => None,
        })
    }

    /// Whoever holds a lease must find a majority without us.
    fn missing_voters(&self) -> Option<String> {
        let present = self.voters_present().len();
        let needed = self.config.majority();
        let served = |group: &Group| self.peers.values().any(|peer| peer.state.is_alive() && peer.holds(group.id));
        let short = self.leases() && present < needed && self.groups.iter().any(served);
        short.then(|| {
            let of = self.config.voters();
            format!("{needed} of {of} voters are needed, and without this node {present} are there")
        })
    }

    /// Goes on with an absence that is announced.
    pub(super) fn follow_absence(&mut self) {
        let Some(absence) = self.absence.as_ref().filter(|absence| !absence.begun) else { return };
        let silent = |id: &&NodeId| !self.peers.get(*id).is_some_and(|peer| peer.state.is_alive());
        let silent = absence.peers.iter().find(silent).map(|id| format!("{} fell silent", self.config.node_name(*id)));
        if let Some(reason) = silent.or_else(|| self.upgrade_obstacle()) {
            return self.give_up_absence(reason);
        }
        match self.absence_unknown_to(absence) {
            Some(reason) if self.now >= absence.deadline => self.give_up_absence(reason),
            Some(_) => {}
            None => self.leave(),
        }
    }

    /// Who does not know yet, or has not promised enough.
    fn absence_unknown_to(&self, absence: &Absence) -> Option<String> {
        for peer in self.peers.values().filter(|peer| peer.state.is_alive()) {
            if peer.seen_revision < absence.revision {
                return Some(format!("{} has not acknowledged it", self.config.node_name(peer.id)));
            }
        }
        if self.persistence.is_writing() {
            return Some("the state of this node is being written".to_owned());
        }
        let end = self.now + ABSENCE;
        let short = |group: &&Group| group.tenure.is_some() && self.lease_end(group.id).is_none_or(|until| until < end);
        let group = self.groups.iter().find(short)?;
        Some(format!("the voters have not promised {} for so long", self.config.group_name(group.id)))
    }

    fn give_up_absence(&mut self, reason: String) {
        let Some(absence) = self.absence.take() else { return };
        self.tell(Fact::Upgrade { step: UpgradeStep::GivenUp { reason: reason.clone() } });
        let reason = format!("{reason}; nothing has changed");
        self.outbox.push_back(Action::Answer { request: absence.request, answer: Answer::Failed { reason } });
        self.send_frames();
    }

    /// The last frames, and then nothing.
    fn leave(&mut self) {
        self.send_to(|_| true, false);
        self.ask_witness(true);
        self.tell(Fact::Upgrade { step: UpgradeStep::Begun });
        if let Some(absence) = &mut self.absence {
            absence.begun = true;
        }
        self.outbox.push_back(Action::Continue);
    }
}
