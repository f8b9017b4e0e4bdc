//! May this node be ACTIVE? Everything that stands in the way, as a list: empty = take over.
//!
//! The same list decides and explains: `avamgr why` prints it. Living peers must consent to a claim (they say that they
//! have seen it and hold nothing); for silent ones the `ping` authority speaks: the arbitrator answers, nobody
//! answers for the VIPs, and the hold time is over or was not needed.

use std::time::Duration;

use crate::cluster::{CheckId, GroupId, NodeId, Role};
use crate::config::LinkKind;
use crate::node::Node;
use crate::node::absence::ABSENCE;
use crate::node::arbitration::Reachability;
use crate::node::event::{Cause, Fact, HoldKind};
use crate::node::obstacle::Obstacle;
use crate::node::peer::{Peer, PeerState};
use crate::node::resources::RunState;
use crate::node::role::Trigger;
use crate::time::Instant;

/// The right to take over when nothing stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Right {
    cause: Cause,
    /// Living peers that have to consent first.
    needs_consent: bool,
}

impl Node {
    /// It could take the group over, as far as this node alone is concerned. Just started, what is only not known yet is
    /// no reason to let a node of lower rank go first.
    pub(super) fn is_able(&self, id: GroupId) -> bool {
        let starting = self.now < self.started + self.config.timers.start_grace;
        self.local_obstacles(id).iter().all(|obstacle| starting && obstacle.is_passing())
    }

    /// What stands in the way on this node.
    pub(super) fn local_obstacles(&self, id: GroupId) -> Vec<Obstacle> {
        let group = self.group(id);
        let mut obstacles = Vec::new();
        if self.is_exhausted(id) || group.role == Role::Fault {
            obstacles.push(Obstacle::Faulty);
        }
        if self.shutdown.is_some() {
            obstacles.push(Obstacle::ShuttingDown);
        }
        if self.absence.is_some() {
            obstacles.push(Obstacle::Leaving);
        }
        let holds = [
            (HoldKind::Offline, self.offline.is_some()),
            // What this node gives back to itself is nothing that maintenance is to prevent.
            (HoldKind::Maintenance, self.maintenance.is_some() && !group.reclaim),
            (HoldKind::Flap, group.flap_hold.is_some()),
            (HoldKind::Fenced, self.is_outcast()),
        ];
        obstacles.extend(holds.into_iter().filter(|(_, on)| *on).map(|(hold, _)| Obstacle::Held(hold)));
        for (resource, state) in self.config.resource_ids(id).zip(&group.resources) {
            match &state.able {
                Some(Ok(())) => {}
                Some(Err(reason)) => obstacles.push(Obstacle::ResourceUnable { resource, reason: reason.clone() }),
                None => obstacles.push(Obstacle::ResourceNotSeen { resource }),
            }
            // What cannot be stopped cannot be started either. Where the group is, it is for the group to see to.
            if let (RunState::Stuck(_), Some(reason), false) = (state.state, &state.stop_failure, group.holds()) {
                obstacles.push(Obstacle::ResourceStuck { resource, reason: reason.clone() });
            }
        }
        for check in (0..self.config.ready.len()).filter_map(|index| u8::try_from(index).ok()).map(CheckId) {
            match self.ready.get(&check) {
                Some((_, Ok(()))) => {}
                Some((_, Err(reason))) => obstacles.push(Obstacle::CheckNotReady { check, reason: reason.clone() }),
                None => obstacles.push(Obstacle::CheckNotSeen { check }),
            }
        }
        obstacles.extend(self.voters_obstacles());
        obstacles.extend(self.term_obstacle(id));
        if group.seen_term >= self.persistence.ceiling(id) {
            obstacles.push(Obstacle::TermNotOnDisk { error: self.persistence.failed.clone() });
        }
        obstacles
    }

    /// What stands in the way because of the peers.
    pub(super) fn right_obstacles(&self, id: GroupId) -> Vec<Obstacle> {
        self.judge(id).0
    }

    /// The right we have when nothing stands in the way. Under leases the votes decide who may fence, so they come first.
    fn judge_right(&self, id: GroupId) -> Result<Right, Vec<Obstacle>> {
        let (mut obstacles, right) = self.judge(id);
        let due = |it: &Obstacle| matches!(it, Obstacle::NotFenced { .. }) && !it.has_failed(self.now);
        obstacles.retain(|obstacle| !(self.leases() && due(obstacle)));
        if obstacles.is_empty() { Ok(right) } else { Err(obstacles) }
    }

    /// What stands in the way because of the peers, and the right we have when nothing does.
    fn judge(&self, id: GroupId) -> (Vec<Obstacle>, Right) {
        let mut obstacles = Vec::new();
        let mut needs_consent = false;
        let mut silence: Option<(Duration, bool)> = None;
        let mut released_by = None;
        for peer in self.peers.values() {
            obstacles.extend(self.fence_obstacle(id, peer));
            match peer.state {
                // After standing still we have only old words of it: the next frame says how it is now.
                PeerState::Alive | PeerState::Degraded if peer.heard < Some(self.floor) => {
                    obstacles.push(Obstacle::PeerSuspect { peer: peer.id });
                }
                // What it owns under another config nobody here can know. Once it is gone, the service network knows.
                PeerState::Alive | PeerState::Degraded if peer.group(id).is_none() => {
                    obstacles.push(Obstacle::OtherConfig { peer: peer.id });
                }
                PeerState::Alive | PeerState::Degraded => {
                    if peer.holds(id) {
                        obstacles.push(Obstacle::PeerHolds { peer: peer.id, role: peer.role(id) });
                    } else if self.group(id).claim.is_none() && peer.claims(id) {
                        // Its claim is older than ours would be; two that outbid each other would never end.
                        obstacles.push(Obstacle::PeerHolds { peer: peer.id, role: peer.role(id) });
                    } else if peer.has_addresses(id) {
                        obstacles.push(Obstacle::PeerHasAddresses { peer: peer.id });
                    } else if peer.group(id).and_then(|state| state.released_to) == Some(self.me) {
                        released_by = Some(peer);
                    } else {
                        needs_consent = true;
                    }
                }
                PeerState::Suspect => obstacles.push(Obstacle::PeerSuspect { peer: peer.id }),
                PeerState::OneWay if peer.holds(id) => {
                    obstacles.push(Obstacle::PeerHolds { peer: peer.id, role: peer.role(id) });
                }
                PeerState::OneWay if !self.leases() => obstacles.push(Obstacle::OneWay { peer: peer.id }),
                PeerState::Left if self.has_just_left_it_to_us(id, peer) => released_by = Some(peer),
                // It owned nothing when it left, but it may have come back unheard of. No hold time: it said goodbye.
                PeerState::Left if !self.leases() => obstacles.extend(self.silent_obstacles(id, peer, true)),
                PeerState::Unknown if self.now < self.grace_end(id) => {
                    let until = self.grace_end(id);
                    obstacles.push(Obstacle::WaitingForPeer { peer: peer.id, until });
                }
                // What it may own was promised to it: its voters say until when.
                PeerState::Unknown | PeerState::Silent | PeerState::OneWay | PeerState::Left if self.leases() => {}
                PeerState::Unknown | PeerState::Silent | PeerState::OneWay | PeerState::Left => {
                    let asked_all = self.asked_all(id, peer);
                    obstacles.extend(self.silent_obstacles(id, peer, asked_all));
                    let this = self.now.since(self.last_sign(peer));
                    silence =
                        Some(silence.map_or((this, asked_all), |(other, all)| (other.max(this), all && asked_all)));
                }
            }
        }
        if self.config.standalone {
            obstacles.extend(self.vip_obstacle(id, self.started));
        }
        if self.leases() {
            obstacles.extend(self.vote_obstacles(id));
            obstacles.extend(self.group(id).probe.owner.clone().map(Obstacle::VipAnswered));
            needs_consent = true;
        }
        obstacles.extend(self.rank_obstacle(id));
        let cause = self.takeover_cause(id, released_by.map(|peer| peer.id), silence);
        (obstacles, Right { cause, needs_consent })
    }

    /// Until then a peer that this run has never heard may be about to speak. Without addresses there is no other sign of one
    /// that changes its program.
    pub(super) fn grace_end(&self, id: GroupId) -> Instant {
        let timers = &self.config.timers;
        let unseen = !self.leases() && !self.has_vips(id);
        let absent = if unseen { ABSENCE + timers.dead_time } else { Duration::ZERO };
        self.started + timers.start_grace.max(absent)
    }

    fn takeover_cause(&self, id: GroupId, released_by: Option<NodeId>, silence: Option<(Duration, bool)>) -> Cause {
        if let Some(by) = released_by {
            Cause::ReleasedToUs { by }
        } else if self.group(id).reclaim {
            Cause::Rollback
        } else if self.leases() {
            Cause::Lease { silence: self.silence_of_peers() }
        } else if let Some((silence, asked_all)) = silence {
            Cause::PeerSilent { silence, asked_all }
        } else if self.config.standalone {
            Cause::Standalone
        } else {
            Cause::FirstInRank
        }
    }

    /// Its last word, a moment ago, was that the group is ours.
    pub(super) fn has_just_left_it_to_us(&self, id: GroupId, peer: &Peer) -> bool {
        let recent =
            peer.heard.is_some_and(|heard| heard >= self.floor && self.now.since(heard) < self.config.timers.dead_time);
        recent && peer.group(id).and_then(|state| state.released_to) == Some(self.me)
    }

    /// The `ping` authority's conditions for a silent peer.
    fn silent_obstacles(&self, id: GroupId, peer: &Peer, asked_all: bool) -> Vec<Obstacle> {
        let basis = self.last_sign(peer);
        let mut obstacles = Vec::new();
        match &self.arbitrator {
            Some(arbitrator) if arbitrator.state == Reachability::Unreachable => obstacles.push(Obstacle::Isolated),
            Some(arbitrator) if !arbitrator.vouches_since(basis) => obstacles.push(Obstacle::ArbitratorNotAsked),
            Some(_) | None => {}
        }
        obstacles.extend(self.vip_obstacle(id, basis));
        let until = basis + self.config.timers.hold_time;
        if self.now < until && !asked_all && !self.is_off(peer) {
            obstacles.push(Obstacle::HoldTime { peer: peer.id, until });
        }
        obstacles
    }

    /// Somebody answers for the group's addresses, or has not been asked since `basis`.
    fn vip_obstacle(&self, id: GroupId, basis: Instant) -> Option<Obstacle> {
        let probe = &self.group(id).probe;
        if !self.has_vips(id) {
            None
        } else if let Some(owner) = &probe.owner {
            Some(Obstacle::VipAnswered(owner.clone()))
        } else {
            let asked = probe.unanswered.is_some_and(|asked| asked >= basis);
            (!asked).then(|| Obstacle::VipNotAsked { error: probe.error.clone() })
        }
    }

    /// VIPs, neutral path and arbitrator have all been asked after the last sign of life: an ACTIVE node that no client
    /// can reach owns nothing that matters, so the hold time is not needed.
    fn asked_all(&self, id: GroupId, peer: &Peer) -> bool {
        let basis = self.last_sign(peer);
        let patience = self.neutral_patience(peer);
        let neutral = peer.links.iter().any(|(link, state)| {
            let carrier = self.carriers.get(link).copied().unwrap_or(true);
            let kind = self.config.links.get(link.index()).map(|link| link.kind);
            kind == Some(LinkKind::Neutral)
                && carrier
                && state.probing_since.is_some_and(|since| since >= basis && self.now >= since + patience)
        });
        neutral && self.has_vips(id)
    }

    /// How long an answer on the neutral path may take: never less than twice the longest way that has been measured, to
    /// the peer or to the arbitrator, whatever the config hopes for.
    fn neutral_patience(&self, peer: &Peer) -> Duration {
        let to_arbitrator = self.arbitrator.iter().flat_map(|arbitrator| &arbitrator.addresses);
        let ways =
            to_arbitrator.filter_map(|address| address.rtt).chain(peer.links.values().filter_map(|link| link.rtt));
        ways.max().map_or(Duration::ZERO, |way| way * 2).max(self.config.timers.vip_probe_time)
    }

    /// When the neutral path will have been asked for long enough.
    pub(super) fn neutral_deadline(&self, peer: &Peer) -> Option<Instant> {
        let patience = self.neutral_patience(peer);
        let since = peer.links.iter().filter(|(link, _)| {
            self.config.links.get(link.index()).is_some_and(|config| config.kind == LinkKind::Neutral)
        });
        since.filter_map(|(_, state)| state.probing_since).map(|since| since + patience).max()
    }

    /// The group belongs to somebody who comes before us.
    fn rank_obstacle(&self, id: GroupId) -> Option<Obstacle> {
        let group = self.group(id);
        if group.reclaim {
            return None;
        }
        if let Some(to) = group.released_to() {
            return Some(Obstacle::LeftTo { peer: to });
        }
        for peer in self.peers.values().filter(|peer| peer.state.is_alive()) {
            match peer.group(id).and_then(|state| state.released_to) {
                Some(to) if to == self.me => return None,
                Some(to) => return Some(Obstacle::LeftTo { peer: to }),
                None => {}
            }
        }
        let preferred = self.config.groups.get(id.index()).map(|group| group.preferred);
        let order = |node: NodeId| (Some(node) != preferred, node);
        self.peers
            .values()
            .filter(|peer| peer.is_able(id) && order(peer.id) < order(self.me))
            .min_by_key(|peer| order(peer.id))
            .map(|peer| Obstacle::PeerFirst { peer: peer.id })
    }

    /// The last moment at which a peer may have been well: silence that was our own fault does not count.
    pub(super) fn last_sign(&self, peer: &Peer) -> Instant {
        peer.heard.map_or(self.started, |heard| heard + peer.absence).max(self.floor)
    }

    /// Everything that stands in the way, for humans.
    pub(super) fn obstacles(&self, id: GroupId) -> Vec<Obstacle> {
        let mut obstacles = self.local_obstacles(id);
        obstacles.extend(self.right_obstacles(id));
        obstacles
    }

    /// Takes the group over, or goes on with a claim.
    pub(super) fn take_over(&mut self, id: GroupId) {
        match (self.group(id).role, self.group(id).claim) {
            (Role::Standby, _) => self.begin_takeover(id),
            (Role::Activating, Some(revision)) => self.pursue_claim(id, revision),
            (Role::Activating | Role::Active | Role::Deactivating | Role::Fault, _) => {}
        }
    }

    fn begin_takeover(&mut self, id: GroupId) {
        // Most of the time there is an owner, and nothing to think about.
        let owned = self.peers.values().any(|peer| peer.state.is_alive() && peer.holds(id));
        if owned || !self.local_obstacles(id).is_empty() {
            return;
        }
        let Ok(right) = self.judge_right(id) else {
            return;
        };
        // What is granted by others is proven when they have granted it.
        if !right.needs_consent && !self.secure_addresses(id) {
            return;
        }
        let automatic = self.is_automatic(id, &right.cause);
        if automatic && !self.may_fail_over(id) {
            return;
        }
        // A claim that finds no majority is no takeover.
        if automatic && !self.leases() {
            self.count_failover(id);
        }
        let revision = self.revision.wrapping_add(1);
        let group = self.group_mut(id);
        group.seen_term = group.seen_term.next();
        group.term = group.seen_term;
        group.claim = right.needs_consent.then_some(revision);
        group.stop_by = None;
        self.begin_tenure(id, automatic);
        self.turn(id, Trigger::TakeOver, right.cause);
    }

    /// The claim is granted when every living peer has seen it and holds nothing, and nothing else stands in the way.
    fn pursue_claim(&mut self, id: GroupId, revision: u32) {
        let term = self.group(id).term;
        let mut consent = true;
        for peer in self.peers.values().filter(|peer| peer.state.is_alive()) {
            let Some(state) = peer.group(id) else {
                consent = false;
                continue;
            };
            // A claim in a term that is not the newest any more is made again in a newer one.
            let outbid = state.term > term || (state.claim && state.term == term && peer.id < self.me);
            if peer.holds(id) || outbid {
                let cause = Cause::ClaimLost { peer: peer.id };
                return self.step_down(id, cause, None);
            }
            consent &= !state.claim && peer.seen_revision >= revision;
        }
        if self.leases() {
            if self.group(id).seen_term > term {
                return self.step_down(id, Cause::NoMajority, None);
            }
            consent = self.judge_claim(id);
            if self.group(id).claim.is_none() {
                return;
            }
        }
        let overdue = self.now >= self.group(id).since + self.config.timers.switchover_timeout;
        let overdue = overdue && !self.fencing.is_under_way();
        if !self.local_obstacles_to_claim(id).is_empty() || overdue {
            return self.step_down(id, Cause::RightLost, None);
        }
        // Rank decides who begins. A claim goes on when somebody who comes first is able by now: he waits for its end.
        // Votes are being asked for.
        let obstacles = self.right_obstacles(id);
        if obstacles.iter().any(|obstacle| obstacle.has_failed(self.now)) {
            return self.step_down(id, Cause::RightLost, None);
        }
        let has_right = obstacles.iter().all(Obstacle::is_rank);
        if consent && has_right && self.secure_addresses(id) {
            self.group_mut(id).claim = None;
            if self.group(id).tenure.as_ref().is_some_and(|tenure| tenure.automatic) {
                self.count_failover(id);
            }
        }
    }

    /// A claim has used up its term already: that the next one is not on disk yet is no obstacle to it.
    fn local_obstacles_to_claim(&self, id: GroupId) -> Vec<Obstacle> {
        let mut obstacles = self.local_obstacles(id);
        let on_disk = self.group(id).term <= self.persistence.ceiling(id);
        obstacles.retain(|obstacle| !(on_disk && matches!(obstacle, Obstacle::TermNotOnDisk { .. })));
        obstacles
    }

    /// Nobody asked for this takeover: it counts towards the limit.
    fn is_automatic(&self, id: GroupId, cause: &Cause) -> bool {
        if let Cause::ReleasedToUs { by } = cause {
            let word = self.peers.get(by).and_then(|peer| peer.group(id)).and_then(|state| state.handover);
            return word.is_none_or(|word| word.to != self.me);
        }
        matches!(cause, Cause::PeerSilent { .. } | Cause::Lease { silence: Some(_) })
    }

    /// An automatic takeover would not be one too many.
    pub(super) fn may_still_fail_over(&self, id: GroupId) -> bool {
        let (now, window) = (self.now, self.config.limits.failover_window);
        let recent = self.group(id).failovers.iter().filter(|at| now.since(**at) < window).count();
        u32::try_from(recent).unwrap_or(u32::MAX) < self.config.limits.failovers
    }

    /// Whether an automatic takeover would not be one too many; if it is, the group is held.
    fn may_fail_over(&mut self, id: GroupId) -> bool {
        let (now, window, limit) = (self.now, self.config.limits.failover_window, self.config.limits.failovers);
        let group = self.group_mut(id);
        group.failovers.retain(|at| now.since(*at) < window);
        let count = u32::try_from(group.failovers.len()).unwrap_or(u32::MAX);
        if count < limit {
            return true;
        }
        group.flap_hold = Some(now);
        self.tell(Fact::FlapLimit { group: id, count });
        false
    }

    fn count_failover(&mut self, id: GroupId) {
        let now = self.now;
        self.group_mut(id).failovers.push(now);
    }
}
