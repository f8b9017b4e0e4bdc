//! Frames in and out: freshness, what is learned from them, and when the next ones are sent.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::{LinkId, NodeId, Role};
use crate::config::LinkKind;
use crate::node::event::{Fact, LinkDownCause};
use crate::node::group::Group;
use crate::node::input::BadDatagram;
use crate::node::link::LinkState;
use crate::node::peer::{Peer, PeerState};
use crate::node::{Action, Node};
use crate::sabotage::{Rule, broken};
use crate::time::Instant;
use crate::wire::{GroupState, Heartbeat, Promised};

/// For how long two runs of one name must be heard side by side, neither of them ever silent for a dead time: a restart,
/// or several of them with frames that were delayed, is over before.
const NAMESAKE_PROOF: Duration = Duration::from_secs(2);
/// How long a machine that uses the name of a node is remembered.
const NAMESAKE_MEMORY: Duration = Duration::from_secs(5);

impl Node {
    pub(super) fn on_bad_datagram(&mut self, link: LinkId, cause: BadDatagram) {
        // Nobody knows who sent it: it is counted on the link towards every peer, and that is all it does.
        for peer in self.peers.values_mut() {
            if let Some(link) = peer.links.get_mut(&link) {
                link.refuse(cause.word());
            }
        }
    }

    /// Another machine has our keys and the name of one of us. Its frames are not believed; somebody has to stop it.
    pub(super) fn on_namesake(&mut self, link: LinkId, node: NodeId) {
        self.duplicates.insert(node, self.now);
        self.alarm(true, Fact::DuplicateNode { link, node }, Fact::NodeUnique { node });
    }

    /// A frame of another run than the one of the peer that is alive. The end of one run and the begin of the next bring
    /// some; when they do not end, there are two machines of one name.
    fn on_strange_run(&mut self, link: LinkId, frame: &Heartbeat) {
        let (now, gap) = (self.now, self.config.timers.dead_time);
        let Some(peer) = self.peers.get_mut(&frame.from) else {
            return;
        };
        if peer.incarnation == Some(frame.incarnation) || !peer.state.is_alive() {
            return;
        }
        let goes_on = |(_, last): &(Instant, Instant)| now.since(*last) < gap;
        let since = peer.strange.filter(goes_on).map_or(now, |(since, _)| since);
        peer.strange = Some((since, now));
        if now.since(since) >= NAMESAKE_PROOF {
            self.on_namesake(link, frame.from);
        }
    }

    /// A namesake that has not been heard for a while is gone.
    pub(super) fn expire_namesakes(&mut self) {
        let (now, memory) = (self.now, NAMESAKE_MEMORY.max(self.config.timers.dead_time));
        let gone: Vec<_> = self.duplicates.extract_if(.., |_, heard| now.since(*heard) > memory).collect();
        for (node, _) in gone {
            // Any link will do to find the alarm again.
            self.alarm(false, Fact::DuplicateNode { link: LinkId(0), node }, Fact::NodeUnique { node });
        }
    }

    /// A frame with a good digest: it may still be old, replayed, for somebody else or by a namesake.
    pub(super) fn on_heartbeat(&mut self, id: LinkId, arrived: Instant, wall_millis: u64, frame: &Heartbeat) {
        if frame.from == NodeId::WITNESS {
            return self.on_witness_frame(id, arrived, frame);
        }
        if frame.from == self.me {
            if frame.incarnation != self.incarnation {
                self.on_namesake(id, self.me);
            }
            return;
        }
        let own = self.incarnation;
        let now = self.now;
        let me = self.me;
        let pace = self.config.timers.probe_interval;
        let Some(peer) = self.peers.get_mut(&frame.from) else {
            return;
        };
        let retired = peer.retired.contains(&frame.incarnation);
        let proven = frame.echo == Some(own) && peer.may_be_of_its_run(frame);
        let Some(link) = peer.links.get_mut(&id) else {
            return;
        };
        if frame.to != me || frame.link != id {
            link.refuse("misdirected");
            return;
        }
        if retired {
            link.refuse("replayed");
            self.on_strange_run(id, frame);
            return;
        }
        if !proven {
            // It does not know this run of ours yet, or is a recording: show our number and see whether it comes back.
            link.refuse("unproven");
            if now.since(link.extra_sent) >= pace {
                link.extra_sent = now;
                self.send_frame(frame.from, id, Some(frame), true);
            }
            self.on_strange_run(id, frame);
            return;
        }
        if peer.incarnation == Some(frame.incarnation) && !link.is_new(frame.sequence) {
            link.refuse("replayed");
            return;
        }
        self.on_fresh_frame(id, arrived, wall_millis, frame);
    }

    fn on_fresh_frame(&mut self, id: LinkId, arrived: Instant, wall_millis: u64, frame: &Heartbeat) {
        let now = self.now;
        let config = self.config.clone();
        let mut facts = Vec::new();
        let Some(peer) = self.peers.get_mut(&frame.from) else {
            return;
        };
        if peer.incarnation != Some(frame.incarnation) {
            if let Some(old) = peer.incarnation {
                facts.push(Fact::PeerRestarted { peer: peer.id });
                peer.retire(old);
                for (id, link) in &mut peer.links {
                    if link.down(LinkDownCause::Restarted, now).is_some() {
                        facts.push(Fact::LinkDown { link: *id, peer: peer.id, cause: LinkDownCause::Restarted });
                    }
                }
            }
            peer.restart(frame.incarnation);
        }
        let Some(link) = peer.links.get_mut(&id) else {
            return;
        };
        match link.on_frame(arrived, frame, &config.timers) {
            Some(LinkState::Up) => facts.push(Fact::LinkUp { link: id, peer: peer.id }),
            Some(LinkState::Down(cause)) => facts.push(Fact::LinkDown { link: id, peer: peer.id, cause }),
            Some(LinkState::Suspect) | None => {}
        }
        let (rtt, extra_sent) = (link.rtt, link.extra_sent);
        peer.heard = Some(peer.heard.map_or(arrived, |heard| heard.max(arrived)));
        // A claim is a wish, not a role.
        let told = |peer: &Peer, group: &Group| {
            let state = peer.group(group.id)?;
            Some((if state.claim { Role::Standby } else { state.role }, state.term))
        };
        // Most frames say nothing new.
        let news = if frame.revision > peer.revision { self.groups.as_slice() } else { &[] };
        let before: Vec<_> = news.iter().map(|group| told(peer, group).map(|(role, _)| role)).collect();
        let was_absent = !peer.absence.is_zero();
        let newer = peer.learn(frame, &self.groups);
        if was_absent && peer.absence.is_zero() {
            // It is back: on the other links its frames are on their way.
            peer.links.values_mut().for_each(|link| link.excuse(now));
        }
        for (group, before) in news.iter().zip(before) {
            if let Some((role, term)) = told(peer, group).filter(|(role, _)| Some(*role) != before) {
                facts.push(Fact::PeerRole { group: group.id, peer: peer.id, role, term });
            }
        }
        // A goodbye is the last word of a run: what arrives after it was sent before it.
        peer.left |= frame.leaving && !config.group_ids().any(|group| peer.holds(group));
        if peer.left {
            for link in peer.links.values_mut() {
                let _ = link.down(LinkDownCause::Left, now);
            }
        }
        let state = peer.judge(&config, now, self.floor);
        let is_newest = frame.revision == peer.revision;
        self.tell_all(facts);
        self.hear_voters(frame);
        self.hear_fenced(frame, arrived);
        self.hear_promises(frame.from, arrived, frame);
        if is_newest {
            let claimed = broken(Rule::PromiseCountsFromReceipt).then(|| Instant::from_nanos(frame.sent_nanos));
            self.hear_wishes(frame, claimed.unwrap_or(now));
        }
        self.compare(frame, wall_millis, rtt.unwrap_or_default());
        // A peer that is not alive yet is asked for more at once: the links come up as fast as frames travel.
        let rising = !state.is_alive() && state != PeerState::Left;
        let timers = &config.timers;
        let asked = (frame.probe || rising) && now.since(extra_sent) >= timers.probe_interval / 2;
        if newer || asked {
            if let Some(link) = self.peers.get_mut(&frame.from).and_then(|peer| peer.links.get_mut(&id)) {
                link.extra_sent = now;
            }
            self.send_frame(frame.from, id, None, rising);
        }
    }

    /// Config and wall clock against the peer's.
    fn compare(&mut self, frame: &Heartbeat, wall_millis: u64, rtt: Duration) {
        let matches = frame.config_digest == self.config.digest;
        let limit = i64::try_from(self.config.limits.clock_offset.as_millis()).unwrap_or(i64::MAX);
        let Some(peer) = self.peers.get_mut(&frame.from) else {
            return;
        };
        let id = peer.id;
        let half_trip = i64::try_from(rtt.as_millis() / 2).unwrap_or(0);
        let offset = i64::try_from(i128::from(frame.wall_millis) - i128::from(wall_millis)).unwrap_or(i64::MAX);
        let offset = offset.saturating_add(half_trip);
        peer.config_matches = Some(matches);
        peer.clock_offset_millis = Some(offset);
        // Ten percent of hysteresis, so that a clock at the limit does not ring at every frame.
        let alarm = match offset.saturating_abs().cmp(&limit) {
            Ordering::Greater => true,
            Ordering::Less | Ordering::Equal => peer.clock_alarm && offset.saturating_abs() > limit / 10 * 9,
        };
        peer.clock_alarm = alarm;
        self.alarm(!matches, Fact::ConfigMismatch { peer: id }, Fact::ConfigMatches { peer: id });
        let raised = Fact::ClockOffset { peer: id, offset_millis: offset };
        self.alarm(alarm, raised, Fact::ClockAgrees { peer: id });
    }

    /// Sends what is due: on change at once, otherwise by the interval, faster while a peer is in doubt.
    pub(super) fn send_frames(&mut self) {
        let now = self.now;
        let changed = self.take_note_of_own_state();
        let due = now >= self.next_heartbeat;
        if due {
            let interval = self.config.timers.heartbeat_interval;
            self.next_heartbeat += interval;
            if self.next_heartbeat <= now {
                self.next_heartbeat = now + interval;
            }
        }
        if due || changed {
            self.send_to(|_| true, false);
        }
        let urgent = self.is_urgent();
        let probes = now >= self.next_probe && (urgent || self.peers_in_doubt().next().is_some());
        if probes && urgent {
            self.next_probe = now + self.config.timers.probe_interval;
            self.probe_everybody();
        } else if probes {
            self.probe_peers(now);
        }
        self.ask_witness(changed || (probes && urgent) || (due && self.votes() && self.wants_any_lease()));
    }

    /// Whether there is something new to tell of ourselves.
    pub(super) fn take_note_of_own_state(&mut self) -> bool {
        let absence = self.absence();
        let changed = !self.own_state().eq(self.told.iter().copied()) || self.told_absence != absence;
        if changed {
            self.told_absence = absence;
            self.told = self.own_state().collect();
            self.revision = self.revision.wrapping_add(1);
        }
        changed
    }

    /// Peers whose silence is young enough to be probed at the fast pace.
    pub(super) fn peers_in_doubt(&self) -> impl Iterator<Item = NodeId> {
        let limit = self.config.timers.dead_time;
        self.peers
            .values()
            .filter(move |peer| match peer.state {
                PeerState::Suspect => true,
                PeerState::OneWay | PeerState::Silent => self.now.since(peer.since) < limit,
                PeerState::Unknown | PeerState::Alive | PeerState::Degraded | PeerState::Left => false,
            })
            .map(|peer| peer.id)
    }

    /// Asks every peer, on every path, for an answer at once.
    pub(super) fn probe_everybody(&mut self) {
        self.send_to(|_| true, true);
    }

    /// Asks every peer in doubt, on every path, for an answer at once.
    pub(super) fn probe_peers(&mut self, now: Instant) {
        self.next_probe = now + self.config.timers.probe_interval;
        let doubtful: Vec<NodeId> = self.peers_in_doubt().collect();
        self.send_to(|peer| doubtful.contains(&peer), true);
    }

    /// One frame to each of these peers on each link that can be used.
    pub(super) fn send_to(&mut self, wanted: impl Fn(NodeId) -> bool, probe: bool) {
        let config = Arc::clone(&self.config);
        for peer in config.node_ids().filter(|peer| wanted(*peer)) {
            for link in config.link_ids() {
                if self.is_usable(peer, link) {
                    self.send_frame(peer, link, None, probe);
                }
            }
        }
    }

    /// It has a carrier; the neutral path is used only for peers to which every dedicated link is late or down.
    fn is_usable(&self, peer: NodeId, id: LinkId) -> bool {
        let kind = |id: LinkId| self.config.links.get(id.index()).map(|link| link.kind);
        let carrier = self.carriers.get(&id).copied().unwrap_or(true);
        let Some(peer) = self.peers.get(&peer).filter(|_| carrier) else {
            return false;
        };
        match kind(id) {
            Some(LinkKind::Dedicated) => true,
            Some(LinkKind::Neutral) => {
                let mut links = peer.links.iter();
                !links.any(|(id, link)| link.state == LinkState::Up && kind(*id) == Some(LinkKind::Dedicated))
            }
            None => false,
        }
    }

    /// One frame. `proof`: an unproven frame whose sender shall see its own number come back.
    fn send_frame(&mut self, to: NodeId, id: LinkId, proof: Option<&Heartbeat>, probe: bool) {
        let now = self.now;
        let leaving = self.shutdown.is_some_and(|shutdown| shutdown.leaving);
        let request = self.pending.as_ref().and_then(|pending| pending.wire());
        let mut groups = self.told_now();
        if proof.is_some() {
            groups.iter_mut().for_each(|group| group.promise = None);
        }
        let (lease, absence) = (self.wanted_lease(), self.absence());
        let Some(peer) = self.peers.get_mut(&to) else {
            return;
        };
        let (run, revision) = (peer.incarnation, peer.revision);
        let Some(link) = peer.links.get_mut(&id) else {
            return;
        };
        // A proof answers a frame that is not believed yet: what was heard of another run, or promised to it, says nothing of this
        // one.
        let (echo, echo_nanos, seen_revision) = match proof {
            Some(frame) => (Some(frame.incarnation), frame.sent_nanos, 0),
            None => (run, link.echo_nanos, revision),
        };
        let since_heard = link.heard.filter(|_| proof.is_none()).map_or(Duration::ZERO, |heard| now.since(heard));
        link.sent += 1;
        if probe && link.probing_since.is_none() {
            link.probing_since = Some(now);
        }
        let heartbeat = Heartbeat {
            from: self.me,
            to,
            link: id,
            incarnation: self.incarnation,
            echo,
            sequence: link.sent,
            sent_nanos: 0,
            echo_nanos,
            echo_delay_nanos: u64::try_from(since_heard.as_nanos()).unwrap_or(u64::MAX),
            wall_millis: 0,
            config_digest: self.config.digest,
            hears_you: proof.is_none() && link.hears(now, &self.config.timers),
            probe,
            leaving,
            revision: self.revision,
            seen_revision,
            groups,
            request,
            lease,
            voters: self.voters,
            fenced: self.fencing.told(),
            absence,
        };
        self.outbox.push_back(Action::Send { link: id, heartbeat });
    }

    /// What was told last, with how long each promise lasts as of this moment.
    pub(super) fn told_now(&self) -> Vec<GroupState> {
        let left = |state: &GroupState, group: &Group| {
            let promise = group.vote.promise(self.now).filter(|promise| promise.holder != self.me);
            let told = state.promise.and_then(|told| {
                let running = promise.filter(|promise| (promise.holder, promise.term) == (told.holder, told.term))?;
                Some(Promised { left: running.until.since(self.now), ..told })
            });
            GroupState { promise: told, ..*state }
        };
        self.told.iter().zip(&self.groups).map(|(state, group)| left(state, group)).collect()
    }

    /// A promise that is told is told as long as it lasts; how long is not news.
    fn told_promise(&self, group: &Group) -> Option<Promised> {
        let promise = group.vote.promise(self.now).filter(|promise| promise.holder != self.me)?;
        Some(Promised { holder: promise.holder, term: promise.term, left: Duration::ZERO })
    }

    fn own_state(&self) -> impl Iterator<Item = GroupState> {
        self.groups.iter().map(|group| GroupState {
            digest: group.digest,
            role: group.role,
            term: group.told_term(),
            claim: group.claim.is_some(),
            able: self.is_able(group.id),
            addresses: self.may_own_addresses(group.id),
            released_to: group.released_to(),
            handover: group.word,
            wants_lease: self.wants_lease(group.id),
            promise: self.told_promise(group),
        })
    }
}
