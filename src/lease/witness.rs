//! THE WITNESS of one cluster: a voter that owns nothing. It is asked by nodes and answers at once; it never speaks first.
//!
//! A request is a heartbeat to [`NodeId::WITNESS`], and so is the answer. It believes only what proves to be new: a node has
//! to repeat the random number of this run of the witness, each run of a node counts its frames, a run that was followed by
//! another is over for good, and one that follows has been answered since the last word of the one before.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::{Incarnation, LinkId, NodeId, Term};
use crate::lease::{Asker, LONGEST, Promise, Vote, Wish, abstains_until, promised_until};
use crate::sabotage::{Rule, broken};
use crate::time::Instant;
use crate::wire::{GroupState, Heartbeat, Promised};

/// Runs of one node that are remembered as over.
const RETIRED_MAX: usize = 256;
/// Groups of one cluster that are remembered; more than a frame carries, because configs change.
const GROUPS_MAX: usize = 64;

/// Why a request was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// It was here before, or is of a run that is over.
    Replayed,
    /// It is not for a witness, or not from a node.
    Misdirected,
}

impl Refusal {
    /// For counters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Misdirected => "misdirected",
        }
    }
}

/// What is known of one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Caller {
    incarnation: Incarnation,
    retired: Vec<Incarnation>,
    sequence: u64,
    heard: Instant,
}

/// The votes of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Witness {
    incarnation: Incarnation,
    started: Instant,
    ppm: u32,
    /// No promise may be for longer: what is on disk, so that the next run knows how long to abstain.
    longest: Duration,
    /// The longest that was asked for.
    asked: Duration,
    callers: BTreeMap<NodeId, Caller>,
    votes: BTreeMap<u32, Vote>,
    answers: u64,
}

impl Witness {
    /// A witness that has just been started. `incarnation` must be new and not zero; `longest` is the longest promise that
    /// its last run may have made; `ppm` bounds the rate error of its clock.
    pub fn new(incarnation: Incarnation, longest: Duration, ppm: u32, now: Instant) -> Self {
        Self {
            incarnation,
            started: now,
            ppm,
            longest,
            asked: longest,
            callers: BTreeMap::new(),
            votes: BTreeMap::new(),
            answers: 0,
        }
    }

    /// The longest promise that was asked for. It is made only when [`Witness::allow`] says that it is on disk.
    pub fn longest_asked(&self) -> Duration {
        self.asked
    }

    /// Promises for this long may be made from now on.
    pub fn allow(&mut self, longest: Duration) {
        self.longest = self.longest.max(longest);
    }

    /// When promises begin to be made.
    pub fn abstains_until(&self) -> Instant {
        abstains_until(self.started, self.longest, self.ppm)
    }

    /// The votes that are given, by the digest of the group's name.
    pub fn promises(&self, now: Instant) -> impl Iterator<Item = (u32, Promise)> {
        self.votes.iter().filter_map(move |(group, vote)| Some((*group, vote.promise(now)?)))
    }

    /// The nodes, and when each was last heard.
    pub fn callers(&self) -> impl Iterator<Item = (NodeId, Instant)> {
        self.callers.iter().map(|(node, caller)| (*node, caller.heard))
    }

    /// A request with a good digest. The answer is to be sent at once.
    ///
    /// # Errors
    /// Why there is no answer; nothing has changed then.
    pub fn handle(&mut self, now: Instant, request: &Heartbeat) -> Result<Heartbeat, Refusal> {
        if request.to != NodeId::WITNESS || request.link != LinkId::WITNESS || request.from == NodeId::WITNESS {
            return Err(Refusal::Misdirected);
        }
        let proven = request.echo == Some(self.incarnation) && self.may_be_of_its_run(request);
        if proven {
            self.believe(now, request)?;
            for group in &request.groups {
                self.hear(now, request, group);
            }
        }
        // A stranger to this run learns its number, and nothing else.
        let groups = if proven { request.groups.as_slice() } else { &[] };
        Ok(self.answer(now, request, groups))
    }

    /// Not the recording of a run that was never heard here and may be over by now.
    fn may_be_of_its_run(&self, request: &Heartbeat) -> bool {
        self.callers.get(&request.from).is_none_or(|caller| {
            let known = caller.incarnation == request.incarnation || caller.retired.contains(&request.incarnation);
            known || Instant::from_nanos(request.echo_nanos) > caller.heard
        })
    }

    fn believe(&mut self, now: Instant, request: &Heartbeat) -> Result<(), Refusal> {
        let new = Caller { incarnation: request.incarnation, retired: Vec::new(), sequence: 0, heard: now };
        let caller = self.callers.entry(request.from).or_insert(new);
        if caller.retired.contains(&request.incarnation) {
            return Err(Refusal::Replayed);
        }
        if caller.incarnation != request.incarnation {
            if caller.retired.len() >= RETIRED_MAX {
                caller.retired.remove(0);
            }
            caller.retired.push(caller.incarnation);
            caller.incarnation = request.incarnation;
            caller.sequence = 0;
        }
        if request.sequence <= caller.sequence {
            return Err(Refusal::Replayed);
        }
        caller.sequence = request.sequence;
        caller.heard = now;
        Ok(())
    }

    fn hear(&mut self, now: Instant, request: &Heartbeat, group: &GroupState) {
        let wish = match group.wish() {
            Wish::Lease(_) if request.lease.is_zero() || request.lease > LONGEST => Wish::Wait,
            wish @ (Wish::Lease(_) | Wish::Wait | Wish::Nothing) => wish,
        };
        self.asked = self.asked.max(request.lease.min(LONGEST));
        let longest = self.longest.max(request.lease);
        let abstains = request.lease > self.longest || now < abstains_until(self.started, longest, self.ppm);
        if self.votes.len() >= GROUPS_MAX && !self.votes.contains_key(&group.digest) {
            self.votes.retain(|_, vote| vote.promise(now).is_some());
        }
        if self.votes.len() < GROUPS_MAX || self.votes.contains_key(&group.digest) {
            let claimed = broken(Rule::PromiseCountsFromReceipt).then(|| Instant::from_nanos(request.sent_nanos));
            // What runs goes on for no longer than the next run knows of.
            let until = promised_until(claimed.unwrap_or(now), request.lease.min(self.longest), self.ppm);
            let asker = Asker { node: request.from, run: request.incarnation };
            self.votes.entry(group.digest).or_default().hear(now, asker, wish, until, abstains);
        }
    }

    fn answer(&mut self, now: Instant, request: &Heartbeat, groups: &[GroupState]) -> Heartbeat {
        self.answers += 1;
        let word = |group: &GroupState| {
            let vote = self.votes.get(&group.digest);
            let promise = vote.and_then(|vote| vote.promise(now)).map(|promise| Promised {
                holder: promise.holder,
                term: promise.term,
                left: promise.until.since(now),
            });
            let term = vote.map_or(Term::default(), Vote::term);
            GroupState { term, promise, ..GroupState::nothing(group.digest) }
        };
        Heartbeat {
            from: NodeId::WITNESS,
            to: request.from,
            link: LinkId::WITNESS,
            incarnation: self.incarnation,
            echo: Some(request.incarnation),
            sequence: self.answers,
            sent_nanos: 0,
            echo_nanos: request.sent_nanos,
            echo_delay_nanos: 0,
            wall_millis: 0,
            config_digest: 0,
            hears_you: true,
            probe: false,
            leaving: false,
            revision: 0,
            seen_revision: 0,
            groups: groups.iter().map(word).collect(),
            request: None,
            lease: Duration::ZERO,
            voters: 0,
            fenced: Vec::new(),
            absence: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Incarnation = Incarnation(1);
    const DRE: u32 = 17;
    const LEASE: Duration = Duration::from_millis(300);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// A witness whose abstention is over.
    fn witness() -> Witness {
        let witness = Witness::new(OURS, LEASE, 0, Instant::BOOT);
        assert!(witness.abstains_until() < at(1_000));
        witness
    }

    /// A run of node 0 asks for the lease; `answered`: when we sent what it has heard of us last.
    fn request(run: u64, sequence: u64, answered: Option<u64>) -> Heartbeat {
        let wish = GroupState { term: Term(run), wants_lease: true, ..GroupState::nothing(DRE) };
        Heartbeat {
            from: NodeId(0),
            to: NodeId::WITNESS,
            link: LinkId::WITNESS,
            incarnation: Incarnation(run),
            echo: answered.map(|_| OURS),
            sequence,
            sent_nanos: 0,
            echo_nanos: answered.map_or(0, |millis| at(millis).as_nanos()),
            echo_delay_nanos: 0,
            wall_millis: 0,
            config_digest: 0,
            hears_you: true,
            probe: false,
            leaving: false,
            revision: 0,
            seen_revision: 0,
            groups: vec![wish],
            request: None,
            lease: LEASE,
            voters: 0,
            fenced: Vec::new(),
            absence: Duration::ZERO,
        }
    }

    /// Who has the vote after a request; `None` when the answer says nothing of it.
    fn told(witness: &mut Witness, now: u64, request: &Heartbeat) -> Option<Term> {
        let answer = witness.handle(at(now), request).ok()?;
        Some(answer.groups.first()?.promise?.term)
    }

    #[test]
    fn a_recording_of_a_run_that_was_never_heard_takes_the_vote_from_nobody() {
        let mut witness = witness();
        assert_eq!(told(&mut witness, 1_000, &request(7, 1, None)), None);
        let recorded = request(7, 2, Some(1_000));
        assert_eq!(told(&mut witness, 2_000, &request(9, 1, None)), None);
        assert_eq!(told(&mut witness, 2_001, &request(9, 2, Some(2_000))), Some(Term(9)));
        assert_eq!(told(&mut witness, 2_002, &recorded), None);
        assert_eq!(told(&mut witness, 2_101, &request(9, 3, Some(2_001))), Some(Term(9)));
    }

    #[test]
    fn a_new_run_is_believed_as_soon_as_it_was_answered_after_the_last_word_of_the_one_before() {
        let mut witness = witness();
        assert_eq!(told(&mut witness, 1_000, &request(7, 1, Some(999))), Some(Term(7)));
        assert_eq!(told(&mut witness, 1_500, &request(9, 1, Some(1_000))), None);
        assert_eq!(told(&mut witness, 1_501, &request(9, 2, Some(1_500))), Some(Term(9)));
        assert_eq!(witness.handle(at(1_502), &request(7, 2, Some(1_501))), Err(Refusal::Replayed));
    }
}
