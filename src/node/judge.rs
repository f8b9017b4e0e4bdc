//! Whom we believe to be there: links, peers and the arbitrator, and our own absence.

use crate::cluster::{BearerId, LinkId, NodeId};
use crate::config::LinkKind;
use crate::node::action::AskId;
use crate::node::arbitration::Reachability;
use crate::node::event::{Fact, LinkDownCause};
use crate::node::link::{Link, LinkState};
use crate::node::peer::PeerState;
use crate::node::{Action, Node};
use crate::time::Instant;

impl Node {
    pub(super) fn on_carrier(&mut self, link: LinkId, up: bool) {
        self.carriers.insert(link, up);
        if !up {
            self.links_down(link, None, LinkDownCause::NoCarrier);
        }
    }

    /// While it is absent nobody listens there: that says nothing.
    pub(super) fn on_refused(&mut self, link: LinkId, from: NodeId) {
        let absent = |it: &Link| it.is_absent(self.now);
        if self.peers.get(&from).and_then(|peer| peer.links.get(&link)).is_some_and(absent) {
            return;
        }
        self.links_down(link, Some(from), LinkDownCause::Refused);
    }

    /// The link is down for a peer when no bearer is left that reaches it. While it is absent its kernel goes on answering.
    pub(super) fn on_bearer(&mut self, link: LinkId, peer: NodeId, bearer: BearerId, up: bool) {
        let now = self.now;
        let Some(state) = self.peers.get_mut(&peer).and_then(|peer| peer.links.get_mut(&link)) else { return };
        if !state.bearers.turn(bearer, up, now) {
            return;
        }
        let cut = state.bearers.none_reaches();
        self.tell(Fact::Bearer { link, peer, bearer, up });
        if cut {
            self.links_down(link, Some(peer), LinkDownCause::Unreachable);
        }
    }

    /// Takes one link down, for one peer or for all.
    pub(super) fn links_down(&mut self, id: LinkId, only: Option<NodeId>, cause: LinkDownCause) {
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

    pub(super) fn judge_links(&mut self) {
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

    pub(super) fn judge_peers(&mut self) {
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
    pub(super) fn is_attentive(&self) -> bool {
        self.peers.values().any(|peer| match peer.state {
            PeerState::Unknown | PeerState::Degraded | PeerState::Suspect | PeerState::OneWay | PeerState::Silent => {
                true
            }
            PeerState::Alive => !peer.absence.is_zero(),
            PeerState::Left => false,
        })
    }

    pub(super) fn judge_arbitrator(&mut self) {
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
        // Who is absent may be back unheard, and take over: that it was expected to be silent is no proof that we are not cut off.
        let (floor, dead_time) = (self.floor, self.config.timers.dead_time);
        let alone = !self.peers.values().any(|peer| peer.state.is_alive() && !peer.is_away(now, floor, dead_time));
        let missed = self.peers.values().any(|peer| peer.state != PeerState::Left);
        // Under leases it decides nothing.
        self.isolated = alone && missed && state == Reachability::Unreachable && !self.leases();
        self.alarm(self.isolated, Fact::Isolated, Fact::NotIsolated);
    }

    /// Our own loop did not run for longer than the dead time: nobody is blamed for the silence of that time, and the
    /// first thing we do is to ask everybody whether we still have our right.
    pub(super) fn notice_stall(&mut self, now: Instant) {
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
            group.probe.ended = None;
        }
        self.tell(Fact::Stalled { duration: pause });
        self.judge_arbitrator();
        // Before anything else is said: what ran out meanwhile is nobody's to renew.
        for id in self.config.clone().group_ids() {
            self.yield_when_lapsed(id);
        }
        self.take_note_of_own_state();
        self.probe_everybody();
    }
}
