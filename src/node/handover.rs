//! Giving a group to another node: by an operator's wish, after a failure, back to the preferred node, or at the end.
//!
//! The old owner brings everything down first and then *releases* the group to one node; only that node may start. If it
//! cannot, the old owner takes the group back: never both, and never neither beyond the bound.

use crate::cluster::{GroupId, NodeId, ResourceId, Role};
use crate::config::Failback;
use crate::control::Answer;
use crate::node::action::RequestId;
use crate::node::event::{Cause, Fact, SwitchoverStep};
use crate::node::group::Release;
use crate::node::peer::{Peer, PeerState};
use crate::node::{Action, Node, resources};
use crate::time::Instant;
use crate::wire::{Handover, HandoverStage};

impl Node {
    /// The best node to give the group to: alive, able, preferred first, then by rank.
    pub(super) fn best_target(&self, id: GroupId) -> Option<NodeId> {
        let preferred = self.config.groups.get(id.index()).map(|group| group.preferred);
        let free = |peer: &&Peer| !peer.holds(id) && !peer.has_addresses(id);
        let able = self.peers.values().filter(|peer| peer.is_able(id) && peer.state != PeerState::Suspect).filter(free);
        able.map(|peer| peer.id).min_by_key(|peer| (Some(*peer) != preferred, *peer))
    }

    /// Starts to give the group to `to`. `nonce` names the operator's request, 0 = nobody asked.
    pub(super) fn begin_release(
        &mut self,
        id: GroupId,
        to: NodeId,
        nonce: u64,
        request: Option<RequestId>,
        cause: Cause,
    ) {
        let me = self.me;
        let group = self.group_mut(id);
        let stage = HandoverStage::Stopping;
        group.release =
            Some(Release { to, nonce, stage, request, deadline: Instant::NEVER, revision: 0, begun: false });
        group.word = (nonce != 0).then_some(Handover { nonce, to, stage });
        self.tell(Fact::Switchover { group: id, from: me, to, step: SwitchoverStep::Begun });
        self.step_down(id, cause, None);
    }

    /// Everything is down: the target may start.
    pub(super) fn released(&mut self, id: GroupId) {
        let (me, deadline) = (self.me, self.now + self.config.timers.switchover_timeout);
        let revision = self.revision.wrapping_add(1);
        let group = self.group_mut(id);
        let Some(release) = &mut group.release else {
            return;
        };
        release.stage = HandoverStage::Released;
        release.deadline = deadline;
        release.revision = revision;
        let to = release.to;
        self.word(id, HandoverStage::Released);
        self.tell(Fact::Switchover { group: id, from: me, to, step: SwitchoverStep::Released });
    }

    /// Follows what the target makes of it.
    pub(super) fn follow_release(&mut self, id: GroupId) {
        let group = self.group(id);
        let Some(release) = group.release.clone().filter(|release| release.stage == HandoverStage::Released) else {
            return;
        };
        let Some(peer) = self.peers.get(&release.to) else {
            return;
        };
        let name = self.config.node_name(release.to).to_owned();
        let ended = match (peer.state, peer.role(id)) {
            (PeerState::Left | PeerState::Silent | PeerState::Unknown, _) => Some(format!("{name} fell silent")),
            (_, Role::Active) => return self.handed_over(id, &release),
            (_, Role::Activating | Role::Deactivating) => {
                if let Some(release) = &mut self.group_mut(id).release {
                    release.begun = true;
                }
                None
            }
            (_, Role::Standby | Role::Fault) if release.begun => Some(format!("{name} could not bring it up")),
            (_, Role::Standby | Role::Fault) => {
                let knows = peer.seen_revision >= release.revision;
                if knows && !peer.is_able(id) {
                    Some(format!("{name} is not able to take it any more"))
                } else if self.now >= release.deadline {
                    Some(format!("{name} did not begin in time"))
                } else {
                    None
                }
            }
        };
        if let Some(reason) = ended {
            self.roll_back(id, &release, reason);
        }
    }

    fn handed_over(&mut self, id: GroupId, release: &Release) {
        self.word(id, HandoverStage::Done);
        self.group_mut(id).release = None;
        let (from, to) = (self.me, release.to);
        self.tell(Fact::Switchover { group: id, from, to, step: SwitchoverStep::Done });
        if let Some(request) = release.request {
            let text = format!("{} is ACTIVE on {}", self.config.group_name(id), self.config.node_name(to));
            self.outbox.push_back(Action::Answer { request, answer: Answer::Done { text } });
        }
    }

    fn roll_back(&mut self, id: GroupId, release: &Release, reason: String) {
        self.word(id, HandoverStage::RolledBack);
        let (from, to) = (self.me, release.to);
        let group = self.group_mut(id);
        group.release = None;
        group.reclaim = group.role == Role::Standby;
        self.tell(Fact::Switchover {
            group: id,
            from,
            to,
            step: SwitchoverStep::RolledBack { reason: reason.clone() },
        });
        if let Some(request) = release.request {
            let name = self.config.group_name(id);
            let reason = format!("{reason}; {} takes {name} back", self.config.node_name(from));
            self.outbox.push_back(Action::Answer { request, answer: Answer::Failed { reason } });
        }
    }

    /// The operator who waits is told that it does not go on; what could not be stopped is tried again and again.
    pub(super) fn answer_stuck(&mut self, resource: ResourceId, reason: &str) {
        let Some(request) = self.group_mut(resource.group).release.as_mut().and_then(|release| release.request.take())
        else {
            return;
        };
        let name = self.config.resource_name(resource);
        let reason = format!("{name} could not be stopped, so nobody else may start it: {reason}");
        self.outbox.push_back(Action::Answer { request, answer: Answer::Failed { reason } });
    }

    /// ACTIVE (again): an unfinished wish to have the group back is fulfilled.
    pub(super) fn reclaimed(&mut self, id: GroupId) {
        let group = self.group_mut(id);
        group.reclaim = false;
        group.release = None;
    }

    fn word(&mut self, id: GroupId, stage: HandoverStage) {
        if let Some(word) = &mut self.group_mut(id).word {
            word.stage = stage;
        }
    }

    /// A node that cannot do it any more gives the group to one that can. While nobody can, it goes on trying.
    pub(super) fn give_up_when_failed(&mut self, id: GroupId) {
        let (config, now) = (self.config.clone(), self.now);
        let Some(settings) = config.groups.get(id.index()) else {
            return;
        };
        let group = self.group_mut(id);
        for (resource, settings) in group.resources.iter_mut().zip(&settings.resources) {
            resource.forget_failures(now, &settings.restart);
        }
        // Somebody else has it: there is nothing to take back any more.
        let taken = self.peers.values().any(|peer| peer.state.is_alive() && peer.holds(id));
        let group = self.group_mut(id);
        group.reclaim &= !taken;
        // What an operator stopped here was stopped for as long as the group was here. Of two owners each still is one.
        if taken && !group.holds() {
            group.resources.iter_mut().for_each(|resource| resource.held = false);
        }
        if !self.group(id).serves() || self.maintenance.is_some() {
            return;
        }
        let Some(cause) = self.failure(id) else {
            return;
        };
        if let Some(to) = self.best_target(id) {
            self.begin_release(id, to, 0, None, cause);
        }
    }

    /// Why this node should not have the group.
    fn failure(&self, id: GroupId) -> Option<Cause> {
        let settings = self.config.groups.get(id.index())?;
        let group = self.group(id);
        for ((resource, state), settings) in self.config.resource_ids(id).zip(&group.resources).zip(&settings.resources)
        {
            let broken = state.state != resources::RunState::Started && !state.held;
            if broken && (state.is_exhausted(&settings.restart) || (state.is_unable() && state.failure.is_some())) {
                let reason = state.failure.clone().unwrap_or_default();
                return Some(Cause::ResourceFailed { resource, reason });
            }
        }
        let failing = self.ready.iter().find(|(_, (_, result))| result.is_err());
        failing.map(|(check, _)| Cause::NotReady { check: *check })
    }

    /// Back to the preferred node, once it has been well for the settle time.
    pub(super) fn fail_back(&mut self, id: GroupId) {
        let Some(settings) = self.config.groups.get(id.index()) else {
            return;
        };
        let (preferred, automatic) = (settings.preferred, settings.failback == Failback::Auto);
        let well = automatic
            && self.group(id).role == Role::Active
            && self.maintenance.is_none()
            && self
                .peers
                .get(&preferred)
                .is_some_and(|peer| peer.is_able(id) && peer.state == PeerState::Alive && !peer.has_addresses(id));
        let now = self.now;
        let since = &mut self.group_mut(id).failback_since;
        *since = if well { since.or(Some(now)) } else { None };
        if since.is_some_and(|since| now >= since + self.config.timers.failback_settle) {
            self.begin_release(id, preferred, 0, None, Cause::Failback);
        }
    }
}
