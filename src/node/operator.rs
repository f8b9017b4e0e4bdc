//! Operator commands applied to the node: move, hold, maintenance, and the daemon's end.
//!
//! What is refused says why; what is accepted is answered when it has ended, not when it has begun.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{GroupId, NodeId, Role};
use crate::control::{Answer, Command};
use crate::node::action::{Offline, RequestId};
use crate::node::event::{Cause, Fact, HoldKind};
use crate::node::obstacle::Obstacle;
use crate::node::peer::PeerState;
use crate::node::resources::{Resource, RunState};
use crate::node::{Action, GOODBYES, Node, Shutdown};
use crate::time::Instant;
use crate::wire::{Handover, HandoverStage, SwitchoverRequest};

/// An operator's wish that another node has to carry out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct PendingRequest {
    request: RequestId,
    wish: SwitchoverRequest,
    pub(super) deadline: Instant,
}

impl PendingRequest {
    pub(super) fn wire(&self) -> Option<SwitchoverRequest> {
        Some(self.wish)
    }
}

impl Node {
    pub(super) fn on_command(&mut self, request: RequestId, who: &str, command: Command) {
        let words = command.words();
        let result = match command {
            Command::Switchover { group, to, dry_run } => {
                self.switchover(request, who, group.as_deref(), to.as_deref(), dry_run)
            }
            Command::Offline { duration } => self.go_offline(request, who, duration),
            Command::Online => Ok(Some(self.go_online(who))),
            Command::Maintenance { on } => Ok(Some(self.set_maintenance(who, on))),
            Command::Fence { node, verb } => self.fence_command(request, who, &node, verb),
            Command::ConfirmVoters => self.confirm_voters().map(|text| Some(Answer::Done { text })),
            Command::ResetTerm { group } => {
                let done = self.find_group(group.as_deref()).and_then(|id| self.reset_term(id));
                done.map(|text| Some(Answer::Done { text }))
            }
            Command::Resource { resource, verb } => self.steer_resource(request, &resource, verb),
            Command::Upgrade { binary } => self.upgrade(request, binary.as_deref()),
        };
        let refused = result.as_ref().err().cloned();
        self.tell(Fact::Command { who: who.to_owned(), command: words, refused });
        let answer = match result {
            Ok(answer) => answer,
            Err(reason) => Some(Answer::Refused { reason }),
        };
        if let Some(answer) = answer {
            self.outbox.push_back(Action::Answer { request, answer });
        }
    }

    fn switchover(
        &mut self,
        request: RequestId,
        who: &str,
        group: Option<&str>,
        to: Option<&str>,
        dry_run: bool,
    ) -> Result<Option<Answer>, String> {
        let id = self.find_group(group)?;
        let from = self.holder(id)?;
        let to = self.find_target(id, from, to)?;
        let obstacles = self.switchover_obstacles(id, from, to);
        if dry_run {
            return Ok(Some(Answer::Plan { steps: self.switchover_steps(id, from, to), obstacles }));
        }
        if !obstacles.is_empty() {
            return Err(obstacles.join("; "));
        }
        let nonce = self.next_random();
        if from == self.me {
            self.begin_release(id, to, nonce, Some(request), Cause::Operator { who: who.to_owned() });
            return Ok(None);
        }
        if self.pending.is_some() {
            return Err("another switchover asked for here is still under way".to_owned());
        }
        let deadline = self.now + self.config.timers.switchover_timeout * 2;
        let wish = SwitchoverRequest { nonce, group: id, to };
        self.pending = Some(PendingRequest { request, wish, deadline });
        self.next_heartbeat = self.now;
        Ok(None)
    }

    fn find_group(&self, name: Option<&str>) -> Result<GroupId, String> {
        let names: Vec<&str> = self.config.groups.iter().map(|group| group.name.as_str()).collect();
        match name {
            Some(name) => {
                let found = self.config.group_ids().find(|id| self.config.group_name(*id) == name);
                found.ok_or_else(|| format!("there is no group {name}; the groups are {}", names.join(", ")))
            }
            None if names.len() == 1 => Ok(GroupId(0)),
            None => Err(format!("name the group: {}", names.join(", "))),
        }
    }

    /// The node that is ACTIVE for the group now.
    fn holder(&self, id: GroupId) -> Result<NodeId, String> {
        if self.group(id).role == Role::Active {
            return Ok(self.me);
        }
        let alive = || self.peers.values().filter(|peer| peer.state.is_alive());
        let holder = alive().find(|peer| peer.role(id) == Role::Active).map(|peer| peer.id);
        holder.ok_or_else(|| {
            if let Some(peer) = alive().find(|peer| peer.group(id).is_none()) {
                return Obstacle::OtherConfig { peer: peer.id }.sentence(&self.config, self.now);
            }
            let name = self.config.group_name(id);
            let mut roles = alive().map(|peer| (peer.id, peer.role(id))).chain([(self.me, self.group(id).role)]);
            match roles.find(|(_, role)| matches!(role, Role::Activating | Role::Deactivating)) {
                Some((node, role)) => format!("{name} is changing already: {} is {role}", self.config.node_name(node)),
                None => format!("no node is known to be ACTIVE for {name}"),
            }
        })
    }

    fn find_target(&self, id: GroupId, from: NodeId, to: Option<&str>) -> Result<NodeId, String> {
        if let Some(name) = to {
            let nodes = self.config.nodes.join(", ");
            let to = self.config.node(name).ok_or_else(|| format!("there is no node {name}; the nodes are {nodes}"))?;
            let group = self.config.group_name(id);
            return if to == from { Err(format!("{group} is ACTIVE on {name} already")) } else { Ok(to) };
        }
        if from != self.me {
            return Ok(self.me);
        }
        self.best_target(id)
            .or_else(|| self.peers.keys().next().copied())
            .ok_or_else(|| "there is no other node".to_owned())
    }

    /// What stands in the way of a switchover.
    fn switchover_obstacles(&self, id: GroupId, from: NodeId, to: NodeId) -> Vec<String> {
        let mut obstacles = Vec::new();
        let name = self.config.node_name(to);
        if self.maintenance.is_some() {
            obstacles.push("maintenance is on (maintenance off ends it)".to_owned());
        }
        if self.shutdown.is_some() {
            obstacles.push("the daemon is stopping".to_owned());
        }
        if from == self.me && self.group(id).release.is_some() {
            obstacles.push("another move of the group is under way".to_owned());
        }
        if to == self.me {
            let local = self.local_obstacles(id);
            obstacles.extend(local.iter().map(|obstacle| obstacle.sentence(&self.config, self.now)));
        } else if let Some(peer) = self.peers.get(&to) {
            if !peer.state.is_alive() || peer.state == PeerState::Suspect {
                obstacles.push(format!("{name} is {}", peer.state.word()));
            } else if peer.group(id).is_none() {
                obstacles.push(Obstacle::OtherConfig { peer: to }.sentence(&self.config, self.now));
            } else if peer.voters_match == Some(false) {
                obstacles.push(Obstacle::OtherVoters { peer: to }.sentence(&self.config, self.now));
            } else if peer.holds(id) {
                obstacles.push(format!("{name} is {} still", peer.role(id)));
            } else if peer.has_addresses(id) {
                obstacles.push(Obstacle::PeerHasAddresses { peer: to }.sentence(&self.config, self.now));
            } else if !peer.is_able(id) {
                obstacles.push(format!("{name} says it is not able (avamgr why there tells the reason)"));
            }
        }
        obstacles
    }

    fn switchover_steps(&self, id: GroupId, from: NodeId, to: NodeId) -> Vec<String> {
        let (from, to) = (self.config.node_name(from), self.config.node_name(to));
        let Some(group) = self.config.groups.get(id.index()) else {
            return Vec::new();
        };
        let names: Vec<&str> = group.resources.iter().map(|resource| resource.name.as_str()).collect();
        let backwards: Vec<&str> = names.iter().rev().copied().collect();
        vec![
            format!("{from}: stop {} (addresses first)", backwards.join(", ")),
            format!("{from}: release {} to {to}", group.name),
            format!("{to}: start {} and announce the addresses", names.join(", ")),
            format!("if {to} fails, {from} takes {} back", group.name),
        ]
    }

    /// Requests of operators on other nodes, carried out where the group is ACTIVE.
    pub(super) fn follow_requests(&mut self) {
        let wishes: Vec<(NodeId, SwitchoverRequest)> = self
            .peers
            .values()
            .filter_map(|peer| Some((peer.id, peer.request.filter(|wish| wish.nonce != peer.handled_nonce)?)))
            .collect();
        for (from, wish) in wishes {
            if wish.group.index() >= self.groups.len() || self.group(wish.group).role != Role::Active {
                continue;
            }
            if let Some(peer) = self.peers.get_mut(&from) {
                peer.handled_nonce = wish.nonce;
            }
            let obstacles = self.switchover_obstacles(wish.group, self.me, wish.to);
            let who = format!("an operator on {}", self.config.node_name(from));
            let name = self.config.group_name(wish.group).to_owned();
            let command = format!("switchover {name} --to {}", self.config.node_name(wish.to));
            let refused = (wish.to == self.me || !obstacles.is_empty()).then(|| obstacles.join("; "));
            self.tell(Fact::Command { who, command, refused: refused.clone() });
            if refused.is_some() {
                let word = Handover { nonce: wish.nonce, to: wish.to, stage: HandoverStage::Refused };
                self.group_mut(wish.group).word = Some(word);
            } else {
                self.begin_release(wish.group, wish.to, wish.nonce, None, Cause::Switchover { to: wish.to });
            }
        }
    }

    /// What became of the wish we sent to another node.
    pub(super) fn follow_pending_request(&mut self) {
        let Some(pending) = self.pending.clone() else {
            return;
        };
        let group = self.config.group_name(pending.wish.group).to_owned();
        let to = self.config.node_name(pending.wish.to).to_owned();
        let word = self
            .peers
            .values()
            .filter_map(|peer| peer.group(pending.wish.group)?.handover)
            .find(|word| word.nonce == pending.wish.nonce);
        let own = pending.wish.to == self.me && self.group(pending.wish.group).role == Role::Active;
        let answer = match word.map(|word| word.stage) {
            _ if own => Answer::Done { text: format!("{group} is ACTIVE on {to}") },
            Some(HandoverStage::Done) => Answer::Done { text: format!("{group} is ACTIVE on {to}") },
            Some(HandoverStage::RolledBack) => {
                Answer::Failed { reason: format!("{to} could not take {group}; the old owner takes it back") }
            }
            Some(HandoverStage::Refused) => {
                Answer::Refused { reason: format!("the ACTIVE node of {group} refused (its history tells why)") }
            }
            Some(HandoverStage::Stopping | HandoverStage::Released) | None if self.now < pending.deadline => {
                return;
            }
            Some(HandoverStage::Stopping | HandoverStage::Released) => {
                Answer::Failed { reason: format!("no end of the switchover of {group} was seen in time") }
            }
            None => Answer::Failed { reason: format!("the ACTIVE node of {group} did not react") },
        };
        self.pending = None;
        self.outbox.push_back(Action::Answer { request: pending.request, answer });
    }

    /// Hands over what it has and takes nothing over until `online`.
    fn go_offline(
        &mut self,
        request: RequestId,
        who: &str,
        duration: Option<Duration>,
    ) -> Result<Option<Answer>, String> {
        // What is on its way down goes on its way.
        let active: Vec<GroupId> = self.config.group_ids().filter(|id| self.group(*id).serves()).collect();
        for id in &active {
            if self.best_target(*id).is_none() {
                let name = self.config.group_name(*id);
                return Err(format!(
                    "{name} is ACTIVE here and no other node is able to take it; stop the daemon to take it down"
                ));
            }
        }
        let until = duration.map(|duration| self.now + duration);
        self.offline = Some((self.now, Offline { until }));
        self.tell(Fact::Hold { hold: HoldKind::Offline, on: true, by: who.to_owned() });
        let mut waits = false;
        for id in active {
            if let Some(to) = self.best_target(id) {
                let request = (!waits).then_some(request);
                waits = true;
                let nonce = self.next_random();
                self.begin_release(id, to, nonce, request, Cause::Held { hold: HoldKind::Offline });
            }
        }
        Ok((!waits).then(|| Answer::Done { text: "this node is offline".to_owned() }))
    }

    fn go_online(&mut self, who: &str) -> Answer {
        let mut lifted = Vec::new();
        if self.offline.take().is_some() {
            lifted.push(HoldKind::Offline);
        }
        for group in &mut self.groups {
            if group.flap_hold.take().is_some() {
                group.failovers.clear();
                lifted.push(HoldKind::Flap);
            }
        }
        for hold in &lifted {
            self.tell(Fact::Hold { hold: *hold, on: false, by: who.to_owned() });
        }
        let text = if lifted.is_empty() { "this node was not held" } else { "this node takes part again" };
        Answer::Done { text: text.to_owned() }
    }

    fn set_maintenance(&mut self, who: &str, on: bool) -> Answer {
        if on != self.maintenance.is_some() {
            self.maintenance = on.then_some(self.now);
            self.tell(Fact::Hold { hold: HoldKind::Maintenance, on, by: who.to_owned() });
        }
        let word = if on { "on" } else { "off" };
        Answer::Done { text: format!("maintenance is {word} on this node") }
    }

    /// The daemon shall end: everything is handed over or brought down first.
    pub(super) fn on_shutdown(&mut self) {
        if self.shutdown.is_some() {
            return;
        }
        let now = self.now;
        self.shutdown = Some(Shutdown { since: now, goodbyes: GOODBYES, next: now, leaving: false, exited: false });
        self.tell(Fact::Stopping { reason: "the daemon was asked to stop".to_owned() });
        for id in self.config.clone().group_ids() {
            if !self.group(id).serves() && self.group(id).claim.is_none() {
                continue;
            }
            match self.best_target(id).filter(|_| self.group(id).claim.is_none()) {
                Some(to) => {
                    let nonce = self.next_random();
                    self.begin_release(id, to, nonce, None, Cause::Shutdown);
                }
                None => self.step_down(id, Cause::Shutdown, None),
            }
        }
    }

    /// Says goodbye when everything is down, then ends.
    pub(super) fn follow_shutdown(&mut self) {
        let Some(mut shutdown) = self.shutdown else {
            return;
        };
        // What somebody else has put here, where the group is not, is not ours to wait for.
        let ends_a_stop = |resource: &Resource| resource.state == RunState::Stopping;
        let down = self.groups.iter().all(|group| !group.holds() && !group.resources.iter().any(ends_a_stop));
        if !down || shutdown.exited || self.now < shutdown.next {
            return;
        }
        if shutdown.goodbyes > 0 {
            shutdown.goodbyes -= 1;
            shutdown.leaving = true;
            shutdown.next = self.now + self.config.timers.probe_interval;
            self.next_heartbeat = self.now;
        } else {
            shutdown.exited = true;
            self.outbox.push_back(Action::Exit);
        }
        self.shutdown = Some(shutdown);
    }

    pub(super) fn shutdown_deadline(&self) -> Option<Instant> {
        let shutdown = self.shutdown.filter(|shutdown| !shutdown.exited)?;
        (shutdown.next > self.now).then_some(shutdown.next)
    }
}
