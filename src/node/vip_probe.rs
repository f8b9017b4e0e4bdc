//! Who answers for the group's addresses on the service network: when it is asked, and what the answers are worth.
//!
//! An answer is a sign of life of an owner, like a heartbeat. One question without an answer does not undo it: on a busy
//! host the answer comes too late now and then. The owner is gone when nobody has answered for the dead time.

use std::time::Duration;

use crate::cluster::{GroupId, Role};
use crate::config::ResourceKind;
use crate::node::action::ProbeId;
use crate::node::event::Fact;
use crate::node::input::VipOwner;
use crate::node::obstacle::Obstacle;
use crate::node::peer::PeerState;
use crate::node::resources::{self, Resource, RunState};
use crate::node::{Action, Node};
use crate::time::Instant;

impl Node {
    pub(super) fn has_vips(&self, id: GroupId) -> bool {
        self.config.groups.get(id.index()).is_some_and(|group| {
            group.resources.iter().any(|resource| match resource.kind {
                ResourceKind::Vip(_) => true,
                ResourceKind::Exec(_) | ResourceKind::Lsb(_) | ResourceKind::Systemd(_) => false,
            })
        })
    }

    /// Some address of the group may be up here.
    pub(super) fn may_own_addresses(&self, id: GroupId) -> bool {
        self.addresses(id).any(|resource| match resource.state {
            RunState::Starting | RunState::Started | RunState::Stopping | RunState::Stuck(_) | RunState::Stray => true,
            RunState::Stopped | RunState::Backoff(_) => false,
        })
    }

    /// Nobody else has the addresses: every peer says so now, or the service network has just been asked. It is asked when
    /// nothing but that is missing.
    pub(super) fn secure_addresses(&mut self, id: GroupId) -> bool {
        if !self.has_vips(id) {
            return true;
        }
        // A node alone has nobody to tell it, and may not be alone.
        let mut proof_needed = self.config.standalone;
        for peer in self.peers.values() {
            match peer.state {
                PeerState::Alive | PeerState::Degraded => {
                    if peer.heard < Some(self.floor) || peer.has_addresses(id) {
                        return false;
                    }
                }
                PeerState::Left if self.has_just_left_it_to_us(id, peer) => {}
                PeerState::Unknown | PeerState::Silent | PeerState::Left => proof_needed = true,
                PeerState::OneWay if self.leases() => proof_needed = true,
                PeerState::Suspect | PeerState::OneWay => return false,
            }
        }
        let probe = &self.group(id).probe;
        // An owner that has come into sight since the last question was asked has not been asked.
        let fresh = probe.ended.is_some_and(|ended| self.now.since(ended) <= self.config.timers.vip_probe_time);
        let free = probe.owner.is_none() && probe.error.is_none() && probe.unanswered.is_some() && fresh;
        if proof_needed && !free && probe.owner.is_none() && probe.error.is_none() && probe.in_flight.is_none() {
            self.ask_who_owns(id);
        }
        free || !proof_needed
    }

    /// Why addresses that should be up here are not being put on, for humans.
    pub(super) fn withheld(&self, id: GroupId) -> Vec<String> {
        let group = self.group(id);
        if !group.serves() || !self.lacks_addresses(id) {
            return Vec::new();
        }
        let mut obstacles = Vec::new();
        for peer in self.peers.values() {
            match peer.state {
                PeerState::Alive | PeerState::Degraded if peer.has_addresses(id) => {
                    obstacles.push(Obstacle::PeerHasAddresses { peer: peer.id });
                }
                PeerState::Suspect => obstacles.push(Obstacle::PeerSuspect { peer: peer.id }),
                PeerState::OneWay => obstacles.push(Obstacle::OneWay { peer: peer.id }),
                PeerState::Alive | PeerState::Degraded => {}
                PeerState::Unknown | PeerState::Silent | PeerState::Left => {}
            }
        }
        obstacles.extend(group.probe.owner.clone().map(Obstacle::VipAnswered));
        obstacles.extend(group.probe.error.clone().map(|error| Obstacle::VipNotAsked { error: Some(error) }));
        obstacles.iter().map(|obstacle| obstacle.sentence(&self.config, self.now)).collect()
    }

    fn addresses(&self, id: GroupId) -> impl Iterator<Item = &Resource> {
        let settings = self.config.groups.get(id.index()).map_or(&[][..], |group| &group.resources);
        let resources = self.group(id).resources.iter().zip(settings);
        resources.filter(|(_, settings)| resources::is_vip(settings)).map(|(resource, _)| resource)
    }

    /// Some address that should be up here is not.
    pub(super) fn lacks_addresses(&self, id: GroupId) -> bool {
        self.addresses(id).any(|resource| resource.state != RunState::Started && !resource.held)
    }

    /// Whether it matters who owns the addresses.
    pub(super) fn wants_probe(&self, id: GroupId) -> bool {
        let group = self.group(id);
        let takes = group.role == Role::Standby || group.claim.is_some();
        // An owner that says so need not be looked for.
        let owned = self.peers.values().any(|peer| {
            let well = matches!(peer.state, PeerState::Alive | PeerState::Degraded);
            well && peer.heard >= Some(self.floor) && peer.has_addresses(id)
        });
        self.has_vips(id) && !owned && (takes || (group.serves() && self.lacks_addresses(id)))
    }

    /// The last sign of life of the peers in doubt; none while it does not matter who answers for the VIPs.
    pub(super) fn probe_basis(&self, id: GroupId) -> Option<Instant> {
        let in_doubt = self.peers.values().filter(|peer| match peer.state {
            PeerState::Unknown | PeerState::Suspect | PeerState::OneWay => true,
            PeerState::Silent | PeerState::Left => true,
            PeerState::Alive | PeerState::Degraded => false,
        });
        let basis = in_doubt.map(|peer| self.last_sign(peer)).max().or(self.config.standalone.then_some(self.started));
        basis.filter(|_| self.wants_probe(id))
    }

    /// Asks the service network who owns the VIPs, as soon as a peer is in doubt and as long as the answer matters.
    pub(super) fn probe_vips(&mut self, id: GroupId) {
        let (now, pace) = (self.now, self.config.timers.arbitrator_pace);
        let basis = self.probe_basis(id);
        let timely = self.timely_probe(id).is_some_and(|at| now >= at);
        let probe = &mut self.group_mut(id).probe;
        if probe.in_flight.is_some_and(|(_, end)| now >= end) {
            // Its prober never came back: what it saw is not known.
            probe.in_flight = None;
            probe.next = now + pace;
        }
        let Some(basis) = basis else {
            probe.owner = None;
            probe.owner_told = false;
            probe.error = None;
            return;
        };
        let stale =
            probe.unanswered.is_none_or(|asked| asked < basis) && probe.owner.is_none() && probe.error.is_none();
        if probe.in_flight.is_some() || (now < probe.next && !stale && !timely) {
            return;
        }
        self.ask_who_owns(id);
    }

    /// When a probe has to begin so that its answer is there, and new, at the moment when silence turns into a right. The
    /// usual pace would make the takeover wait for one more probe.
    pub(super) fn timely_probe(&self, id: GroupId) -> Option<Instant> {
        let timers = &self.config.timers;
        let time = timers.vip_probe_time;
        let waits = self.group(id).role == Role::Standby && self.has_vips(id);
        let silences = self.peers.values().filter(|_| waits).filter_map(|peer| match peer.state {
            PeerState::Suspect => peer.links.values().filter_map(|link| link.dead_at(self.floor, timers)).max(),
            PeerState::Silent => Some(self.last_sign(peer) + timers.hold_time),
            PeerState::Unknown => {
                Some((self.last_sign(peer) + timers.hold_time).max(self.started + timers.start_grace))
            }
            PeerState::Alive | PeerState::Degraded | PeerState::OneWay | PeerState::Left => None,
        });
        let right = if self.leases() { self.promises_end(id).filter(|_| waits) } else { silences.max() };
        let right = right.filter(|at| *at > self.now)?;
        let probe = &self.group(id).probe;
        let covered = probe.ended.is_some_and(|ended| ended + time >= right);
        // One eighth for the way to the prober and back.
        (!covered && probe.in_flight.is_none()).then(|| right - (time + time / 8))
    }

    fn ask_who_owns(&mut self, id: GroupId) {
        let name = self.next_probe_id();
        let (time, timeout) = (self.config.timers.vip_probe_time, self.config.timers.arbitrator_timeout);
        self.group_mut(id).probe.in_flight = Some((name, self.now + time * 4 + timeout));
        self.outbox.push_back(Action::ProbeVips { probe: name, group: id, time });
    }

    pub(super) fn on_vip_probe(
        &mut self,
        name: ProbeId,
        id: GroupId,
        asked: Instant,
        owner: Option<VipOwner>,
        error: Option<String>,
    ) {
        let now = self.now;
        if id.index() >= self.groups.len() {
            return;
        }
        // Whoever answers may do so until its lease is over: then it is asked again at once.
        let lease_end = self.promises_end(id).unwrap_or(Instant::NEVER);
        let next = (now + self.config.timers.arbitrator_pace).min(lease_end);
        let matters = self.probe_basis(id).is_some();
        let late = !self.config.standalone && self.peers.values().all(|peer| peer.state.is_alive());
        // Under leases an owner that answers may do so while its lease lasts, and what counts is the last answer.
        let patience = if self.leases() { Duration::ZERO } else { self.config.timers.dead_time };
        let probe = &mut self.group_mut(id).probe;
        if probe.in_flight.take_if(|(wanted, _)| *wanted == name).is_none() {
            return;
        }
        probe.next = next;
        if !matters {
            // The peer was heard again while we asked, and says itself what it owns.
            return;
        }
        if owner.is_some() {
            probe.answered = now;
        } else if probe.answered > Instant::BOOT && asked < probe.answered + patience {
            // Also when nobody wanted to know of it meanwhile.
            return;
        }
        // That the owner answers while its frames are merely late is as it should be.
        let news_owner = !late && owner.is_some() && !probe.owner_told;
        let news_error = probe.error != error;
        probe.owner_told = owner.is_some() && (probe.owner_told || news_owner);
        probe.owner.clone_from(&owner);
        probe.error.clone_from(&error);
        // What was true before the last question is true no more.
        probe.unanswered = (owner.is_none() && error.is_none()).then_some(asked);
        probe.ended = Some(now);
        match (owner, error) {
            (Some(owner), _) if news_owner => self.tell(Fact::VipAnswered { group: id, owner }),
            (None, Some(error)) if news_error => self.tell(Fact::VipProbeFailed { group: id, error }),
            (Some(_) | None, _) => {}
        }
    }
}
