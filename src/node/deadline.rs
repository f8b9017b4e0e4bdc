//! When the node wants to be woken although nothing happens.
//!
//! This is asked twice for every input: it allocates nothing.

use std::time::Duration;

use crate::cluster::{GroupId, Role};
use crate::node::Node;
use crate::node::peer::PeerState;
use crate::node::resources::RunState;
use crate::time::Instant;

/// A node with nothing to do looks after itself at least this often.
const IDLE: Duration = Duration::from_secs(3600);

/// The earliest of several moments, and what it is for.
struct Earliest {
    now: Instant,
    at: Instant,
    reason: &'static str,
}

impl Earliest {
    fn offer(&mut self, at: Instant, reason: &'static str) {
        if at < self.at {
            (self.at, self.reason) = (at, reason);
        }
    }

    /// What is due already waits for something else that happens.
    fn offer_future(&mut self, at: Instant, reason: &'static str) {
        if at > self.now {
            self.offer(at, reason);
        }
    }
}

impl Node {
    /// When `Input::Deadline` is due at the latest, and why. Never before the last input.
    pub fn poll_deadline(&self) -> (Instant, &'static str) {
        let mut earliest = Earliest { now: self.now, at: self.now + IDLE, reason: "idle" };
        if self.shutdown.is_some_and(|shutdown| shutdown.exited) {
            return (earliest.at, "ended");
        }
        if self.has_gone() {
            return (earliest.at, "another program goes on");
        }
        self.offer_peers(&mut earliest);
        if let Some(at) = self.witness_deadline() {
            earliest.offer(at, "witness");
        }
        if let Some(arbitrator) = &self.arbitrator {
            let (at, reason) = arbitrator.deadline(&self.config.timers);
            earliest.offer(at, reason);
        }
        for group in &self.groups {
            self.offer_takeover(group.id, &mut earliest);
            self.offer_group(group.id, &mut earliest);
            self.offer_lease(group.id, &mut earliest);
        }
        for at in self.fencing_deadlines() {
            earliest.offer_future(at, "fence");
        }
        if let Some(until) = self.offline.and_then(|(_, offline)| offline.until) {
            earliest.offer(until, "offline ends");
        }
        for awaited in &self.awaited {
            earliest.offer(awaited.deadline, "order to a resource overdue");
        }
        if let Some(pending) = &self.pending {
            earliest.offer(pending.deadline, "switchover overdue");
        }
        if let Some(absence) = &self.absence {
            earliest.offer(absence.deadline, "absence not acknowledged");
        }
        if let Some(at) = self.persistence.deadline() {
            earliest.offer(at, "write again");
        }
        if let Some(at) = self.shutdown_deadline() {
            earliest.offer(at, "goodbye");
        }
        (earliest.at.max(self.now), earliest.reason)
    }

    fn offer_peers(&self, earliest: &mut Earliest) {
        let timers = &self.config.timers;
        if !self.peers.is_empty() {
            earliest.offer(self.next_heartbeat, "heartbeat");
        }
        if self.is_urgent() || self.peers_in_doubt().next().is_some() {
            earliest.offer(self.next_probe, "probe");
        }
        for peer in self.peers.values() {
            for (at, reason) in peer.links.values().filter_map(|link| link.deadline(self.floor, timers)) {
                earliest.offer(at, reason);
            }
            if peer.state == PeerState::OneWay {
                earliest.offer(self.last_sign(peer) + timers.dead_time, "peer silent");
            }
        }
    }

    fn offer_lease(&self, id: GroupId, earliest: &mut Earliest) {
        if !self.leases() {
            return;
        }
        for (at, reason) in self.lease_deadlines(id) {
            earliest.offer_future(at, reason);
        }
        if let Some(at) = self.urgent_from(id) {
            earliest.offer_future(at, "renew urgently");
        }
    }

    /// When a takeover that waits for time alone may go on.
    fn offer_takeover(&self, id: GroupId, earliest: &mut Earliest) {
        let group = self.group(id);
        let timers = &self.config.timers;
        if let Some((_, end)) = group.probe.in_flight {
            earliest.offer_future(end, "VIP probe overdue");
        }
        if let Some(at) = self.timely_probe(id) {
            earliest.offer_future(at, "probe VIPs in time");
        }
        if group.claim.is_some() {
            earliest.offer_future(group.since + timers.switchover_timeout, "claim overdue");
        }
        let probes = self.probe_basis(id).is_some();
        if probes && group.probe.in_flight.is_none() {
            earliest.offer_future(group.probe.next, "probe VIPs again");
        }
        let waits = group.role == Role::Standby || group.claim.is_some() || probes;
        for peer in self.peers.values().filter(|_| waits) {
            match peer.state {
                PeerState::Unknown | PeerState::Silent => {
                    earliest.offer_future(self.last_sign(peer) + timers.hold_time, "hold time over");
                    if let Some(at) = self.neutral_deadline(peer) {
                        earliest.offer_future(at, "neutral path asked");
                    }
                }
                PeerState::Alive | PeerState::Degraded | PeerState::Suspect | PeerState::OneWay | PeerState::Left => {}
            }
        }
    }

    fn offer_group(&self, id: GroupId, earliest: &mut Earliest) {
        let group = self.group(id);
        let Some(settings) = self.config.groups.get(id.index()) else {
            return;
        };
        for (resource, settings) in group.resources.iter().zip(&settings.resources) {
            match resource.state {
                RunState::Backoff(until) if group.serves() && self.maintenance.is_none() => {
                    earliest.offer_future(until, "restart");
                }
                RunState::Stuck(retry) if self.maintenance.is_none() || group.role != Role::Active => {
                    earliest.offer_future(retry, "stop again");
                }
                RunState::Stopped | RunState::Starting | RunState::Started | RunState::Stopping => {}
                RunState::Backoff(_) | RunState::Stuck(_) | RunState::Stray => {}
            }
            if let Some(oldest) = resource.failures.first() {
                earliest.offer_future(*oldest + settings.restart.window, "failures forgotten");
            }
        }
        if let Some(release) = &group.release {
            earliest.offer_future(release.deadline, "handover overdue");
        }
        if let Some(since) = group.failback_since {
            earliest.offer_future(since + self.config.timers.failback_settle, "failback");
        }
        earliest.offer_future(self.started + self.config.timers.start_grace, "start grace over");
        earliest.offer_future(self.grace_end(group.id), "grace for a peer never heard over");
    }
}
