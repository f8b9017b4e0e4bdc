//! The authority `lease` on a node: as a voter it gives its vote, as a candidate it collects votes, as a holder it renews.
//!
//! Nothing travels but heartbeats. A frame says what its sender wants of each voter and whom it has promised its own vote;
//! it repeats the sending time of the last frame it has heard, and so a promise to us in it acknowledges that frame.
//!
//! With the authority `etcd` the nodes have no votes: etcd is the only voter. It is asked as a witness is, and what
//! speaks to it answers as a witness does.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{GroupId, NodeId, Role, Term};
use crate::lease::{Asker, LONGEST, Vote, Wish, abstains_until, held_until, held_until_by_plain_voter, promised_until};
use crate::node::arbitration::Reachability;
use crate::node::event::Cause;
use crate::node::group::Group;
use crate::node::obstacle::Obstacle;
use crate::node::peer::PeerState;
use crate::node::role::Trigger;
use crate::node::{Action, Node};
use crate::sabotage::{Rule, broken};
use crate::time::{Instant, shrink};
use crate::wire::{GroupState, Heartbeat};

/// A lease this node asks for or holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Tenure {
    /// Nobody asked for it: it counts towards the limit of takeovers when it is won.
    pub(super) automatic: bool,
    /// Per other voter: until when we have its vote, by the newest renewal that it has acknowledged.
    acknowledged: BTreeMap<NodeId, Instant>,
}

/// A promise of another voter, as its last word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) holder: NodeId,
    pub(super) term: Term,
    /// On our clock, at the latest.
    pub(super) until: Instant,
}

impl Group {
    /// A voter `alone` forgets nothing: what it does not hold for us any more was taken away, and nobody else's vote stands
    /// against the next holder.
    fn forget_acknowledged(&mut self, alone: bool, voter: NodeId) {
        if let Some(tenure) = self.tenure.as_mut().filter(|_| alone) {
            tenure.acknowledged.remove(&voter);
        }
    }
}

impl Node {
    /// A majority of voters decides, not the arbitrator.
    pub(super) fn leases(&self) -> bool {
        self.config.leases()
    }

    /// Our own vote counts, and so do those of the peers.
    pub(super) fn votes(&self) -> bool {
        self.leases() && self.config.nodes_vote()
    }

    /// When this node's lease of a group is over: when so many votes have run out that the rest is no majority. `None` = it
    /// has none.
    pub(super) fn lease_end(&self, id: GroupId) -> Option<Instant> {
        let tenure = self.group(id).tenure.as_ref()?;
        // Our own vote may be one of them.
        let others = self.config.majority() - usize::from(self.votes()) - usize::from(broken(Rule::MajorityDecides));
        let acknowledged = || tenure.acknowledged.values();
        let end =
            acknowledged().filter(|until| acknowledged().filter(|other| other >= until).count() >= others).max()?;
        Some(if broken(Rule::LeaseEnds) { Instant::NEVER } else { *end })
    }

    /// The lease runs.
    pub(super) fn has_lease(&self, id: GroupId) -> bool {
        self.lease_end(id).is_some_and(|end| self.now < end)
    }

    /// What we want of every voter.
    pub(super) fn wants_lease(&self, id: GroupId) -> bool {
        self.group(id).tenure.is_some()
    }

    pub(super) fn wants_any_lease(&self) -> bool {
        self.groups.iter().any(|group| group.tenure.is_some())
    }

    /// Until when our own vote is given to nobody, because an earlier run may have given it.
    pub(super) fn abstains_until(&self, longest: Duration) -> Instant {
        if !self.votes() {
            return self.started;
        }
        let longest = longest.max(self.persistence.promised()).max(self.config.timers.lease_time);
        abstains_until(self.started, longest, self.config.timers.clock_rate_ppm)
    }

    /// What a node wants of our votes, by a frame that is its newest word. A promise counts from `received`: the moment we know
    /// of the frame, never an earlier one that would have to be believed.
    pub(super) fn hear_wishes(&mut self, frame: &Heartbeat, received: Instant) {
        let (asker, lease) = (Asker { node: frame.from, run: frame.incarnation }, frame.lease);
        if !self.votes() || lease.is_zero() || lease > LONGEST {
            return;
        }
        let (now, ppm) = (self.now, self.config.timers.clock_rate_ppm);
        if lease > self.config.timers.lease_time {
            self.longest_promise = self.longest_promise.max(lease);
            self.long_promises_end = self.long_promises_end.max(promised_until(now, lease, ppm));
        }
        // What runs goes on for no longer than the next run knows of.
        let until = promised_until(received, lease.min(self.persistence.promised()), ppm);
        // How long a promise may last is on disk before it is made, so that the next run knows how long to abstain.
        let abstains =
            now < self.abstains_until(lease) || lease > self.persistence.promised() || !self.votes_for(frame);
        for index in 0..self.groups.len() {
            let Some(id) = u8::try_from(index).ok().map(GroupId) else { return };
            let Some(wish) = self.peers.get(&asker.node).and_then(|peer| peer.group(id)).map(GroupState::wish) else {
                continue;
            };
            // Our vote is ours while anything of the group may be ours.
            let busy = self.group(id).holds() && wish != Wish::Nothing;
            let implausible = match wish {
                Wish::Lease(term) => !term.is_plausible_after(self.group(id).seen_term),
                Wish::Wait | Wish::Nothing => false,
            };
            self.group_mut(id).vote.hear(now, asker, wish, until, abstains || busy || implausible);
        }
    }

    /// What a voter says of its own votes.
    pub(super) fn hear_promises(&mut self, voter: NodeId, arrived: Instant, frame: &Heartbeat) {
        let alone = !self.votes();
        // What another majority is made of counts for nothing here.
        let strange = voter != NodeId::WITNESS && (alone || frame.voters != self.voters);
        if !self.leases() || strange {
            return;
        }
        let (now, me, ppm) = (self.now, self.me, self.config.timers.clock_rate_ppm);
        let usual = self.config.timers.lease_time;
        let delay = Duration::from_nanos(frame.echo_delay_nanos);
        let sent = Instant::from_nanos(frame.echo_nanos);
        let counted = if broken(Rule::LeaseCountsFromSending) { arrived } else { sent };
        for group in &mut self.groups {
            let word = if voter == NodeId::WITNESS {
                frame.groups.iter().find(|word| word.digest == group.name_digest)
            } else {
                frame.groups.iter().find(|word| word.digest == group.digest)
            };
            let Some(word) = word else { continue };
            let Some(promise) = word.promise else {
                group.known.remove(&voter);
                group.forget_acknowledged(alone, voter);
                continue;
            };
            let known = Known { holder: promise.holder, term: promise.term, until: arrived + promise.left };
            group.known.insert(voter, known);
            let ours = (promise.holder == me || broken(Rule::PromiseIsOurs)) && promise.term == group.term;
            if !ours {
                group.forget_acknowledged(alone, voter);
            }
            // What was never sent, or not yet, is a lie.
            let is_plausible = frame.echo_nanos != 0 && sent <= now;
            if let Some(tenure) = group.tenure.as_mut().filter(|_| ours && is_plausible) {
                // A renewal asks for a lease at least. One that asked for more has got what the voter says: it counts from the
                // receipt of that renewal, which was not before its sending.
                let told = shrink(promise.left.saturating_add(delay).min(LONGEST), ppm);
                let until = match alone {
                    true => held_until_by_plain_voter(counted, usual, ppm),
                    false => held_until(counted, usual.max(told), ppm),
                };
                let newest = tenure.acknowledged.entry(voter).or_insert(until);
                *newest = until.max(*newest);
            }
        }
    }

    /// The lease is over: everything goes down at once. The kernel has closed the addresses by itself.
    pub(super) fn yield_when_lapsed(&mut self, id: GroupId) {
        let group = self.group(id);
        if group.tenure.is_none() || group.claim.is_some() || self.has_lease(id) || broken(Rule::LapsedHolderStops) {
            return;
        }
        let within = self.config.timers.stop_bound;
        if group.stop_by.is_none() {
            // The kernel may not have counted all of the time: a machine that slept has slept with its guard.
            self.outbox.push_back(Action::Right { group: id, until: group.told_right });
        }
        let group = self.group(id);
        // In maintenance nobody else takes it over: it comes back with the majority.
        let takes_back = self.maintenance.is_some() && group.serves();
        self.group_mut(id).reclaim |= takes_back;
        self.step_down(id, Cause::LeaseLost, Some(within));
    }

    /// What stands in the way of a claim because of the votes.
    pub(super) fn vote_obstacles(&self, id: GroupId) -> Vec<Obstacle> {
        let (now, me) = (self.now, self.me);
        let group = self.group(id);
        let mut obstacles = Vec::new();
        let until = self.abstains_until(self.longest_promise);
        if now < until {
            obstacles.push(Obstacle::Abstaining { until });
        }
        let own_promise = group.vote.promise(now).filter(|_| !broken(Rule::OwnVoteIsFree));
        if let Some(promise) = own_promise.filter(|promise| promise.holder != me) {
            obstacles.push(Obstacle::Promised { voter: me, holder: promise.holder, until: promise.until });
        }
        // Where there cannot be a majority it is of no use to ask for one: who is there and has not promised anything?
        // What is ours although we have not asked for it was promised to an earlier run of ours. A vote of our own abstains as long.
        let earlier = |known: &Known| known.holder == me && group.tenure.is_none() && !self.votes();
        let others = |known: &&Known| (known.holder != me || earlier(known)) && now < known.until;
        let promised = |voter: &NodeId| group.known.get(voter).filter(others);
        let present = self.voters_present();
        let free = present.iter().filter(|voter| promised(voter).is_none()).count();
        let (needed, of) = (self.config.majority(), self.config.voters());
        let own = usize::from(self.votes());
        if own + present.len() < needed {
            obstacles.push(Obstacle::TooFewVoters { present: own + present.len(), needed, of });
        } else if own + free < needed {
            let held = present.iter().filter_map(|voter| Some((*voter, promised(voter)?)));
            let first = held.min_by_key(|(_, known)| known.until);
            obstacles.extend(first.map(|(voter, known)| Obstacle::Promised {
                voter,
                holder: known.holder,
                until: known.until,
            }));
        }
        if now < group.retry {
            obstacles.push(Obstacle::NoMajority { needed: self.config.majority(), until: group.retry });
        }
        obstacles
    }

    /// The other voters that answer.
    pub(super) fn voters_present(&self) -> Vec<NodeId> {
        let peers = self.peers.values().filter(|peer| self.votes() && peer.state.is_alive()).map(|peer| peer.id);
        let witness = self.witness.iter().filter(|witness| witness.state == Reachability::Reachable);
        peers.chain(witness.map(|_| NodeId::WITNESS)).collect()
    }

    /// Asks every voter for its vote, and gives ourselves our own.
    pub(super) fn begin_tenure(&mut self, id: GroupId, automatic: bool) {
        if !self.leases() {
            return;
        }
        let (now, me) = (self.now, self.me);
        let asker = Asker { node: me, run: self.incarnation };
        let votes = self.votes();
        let group = self.group_mut(id);
        group.tenure = Some(Tenure { automatic, ..Tenure::default() });
        if !votes {
            return;
        }
        let wish = Wish::Lease(group.term);
        if broken(Rule::OwnVoteIsFree) {
            group.vote = Vote::default();
        }
        group.vote.hear(now, asker, wish, Instant::NEVER, false);
        assert!(group.vote.promise(now).is_some_and(|promise| promise.holder == me), "a claim without its own vote");
    }

    /// Gives every vote back, our own among them.
    pub(super) fn end_tenure(&mut self, id: GroupId) {
        let (now, own) = (self.now, Asker { node: self.me, run: self.incarnation });
        let group = self.group_mut(id);
        group.tenure = None;
        group.vote.release(now, own);
    }

    /// The claim of a candidate: won with a majority, given up when it takes too long. Then others may try, and the first in
    /// rank waits the shortest time before it tries again.
    pub(super) fn judge_claim(&mut self, id: GroupId) -> bool {
        if self.has_lease(id) || broken(Rule::ClaimIsGrantedFirst) {
            return true;
        }
        let timers = &self.config.timers;
        if self.now >= self.group(id).since + timers.lease_time {
            let by_rank = timers.probe_interval * (2 * (1 + u32::from(self.me.0)));
            let spread = u64::try_from(timers.heartbeat_interval.as_nanos()).unwrap_or(u64::MAX).max(1);
            let jitter = Duration::from_nanos(self.next_random() % spread);
            let retry = self.now + by_rank + jitter;
            self.group_mut(id).retry = retry;
            self.turn(id, Trigger::ClaimLost, Cause::NoMajority);
            self.group_mut(id).claim = None;
        }
        false
    }

    /// Tells the kernel's guard, and whoever ends services, how long the right to them lasts.
    pub(super) fn tell_right(&mut self, id: GroupId) {
        if !self.leases() {
            return;
        }
        let group = self.group(id);
        let until = match (group.claim, &group.tenure) {
            // What is on its way down after a lapse is not let in again by an acknowledgement that comes late.
            (None, Some(_)) if !group.serves() && group.told_right <= self.now => group.told_right,
            (None, Some(_)) => self.lease_end(id).unwrap_or(Instant::BOOT),
            (Some(_), _) | (None, None) => Instant::BOOT,
        };
        if until != group.told_right {
            self.group_mut(id).told_right = until;
            self.outbox.push_back(Action::Right { group: id, until });
        }
    }

    /// Some lease has little time left, or is asked for: every voter is asked for an answer at once.
    pub(super) fn is_urgent(&self) -> bool {
        self.groups.iter().any(|group| self.urgent_from(group.id).is_some_and(|from| self.now >= from))
    }

    /// From when on a lease is renewed at the faster pace.
    pub(super) fn urgent_from(&self, id: GroupId) -> Option<Instant> {
        let group = self.group(id);
        if group.claim.is_some() && group.tenure.is_some() {
            return Some(self.now);
        }
        // A stop in order needs its lease to the end.
        if !self.has_lease(id) {
            return None;
        }
        // Half an interval before the kernel closes the addresses: an ordinary renewal has come by then.
        let timers = &self.config.timers;
        self.lease_end(id).map(|end| end - (timers.guard_margin + timers.heartbeat_interval / 2))
    }

    /// The moments at which something about leases has to be judged again.
    pub(super) fn lease_deadlines(&self, id: GroupId) -> impl Iterator<Item = (Instant, &'static str)> {
        let group = self.group(id);
        let last_asked = group.since + self.config.timers.lease_time;
        let claims = group.claim.is_some() && group.tenure.is_some();
        let waits = group.role == Role::Standby;
        let own = group.vote.promise(self.now).map(|promise| promise.until);
        let known = group.known.values().map(|known| known.until).filter(|until| *until > self.now).min();
        let abstains = self.abstains_until(self.longest_promise);
        [
            self.lease_end(id).map(|end| (end, "lease over")),
            claims.then_some((last_asked, "no majority in time")),
            own.map(|until| (until, "own promise over")),
            known.filter(|_| waits).map(|until| (until, "promise over")),
            waits.then_some((group.retry, "claim again")),
            waits.then_some((abstains, "may vote")),
        ]
        .into_iter()
        .flatten()
    }

    /// The moment at which the promises to a silent holder are over.
    pub(super) fn promises_end(&self, id: GroupId) -> Option<Instant> {
        let group = self.group(id);
        let own = group.vote.promise(self.now).filter(|promise| promise.holder != self.me);
        let known = group.known.values().filter(|known| known.holder != self.me).map(|known| known.until);
        known.chain(own.map(|promise| promise.until)).filter(|until| *until > self.now).max()
    }

    /// How long the longest silent has been silent of the peers that are not heard both ways; `None` = all are, or have left.
    pub(super) fn silence_of_peers(&self) -> Option<Duration> {
        let silent = self.peers.values().filter(|peer| match peer.state {
            PeerState::Silent | PeerState::OneWay | PeerState::Unknown => true,
            PeerState::Alive | PeerState::Degraded | PeerState::Suspect | PeerState::Left => false,
        });
        silent.map(|peer| self.now.since(self.last_sign(peer))).max()
    }
}
