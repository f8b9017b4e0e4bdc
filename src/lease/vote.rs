//! One voter's vote for one group: at most one promise at a time.

use serde::{Deserialize, Serialize};

use crate::cluster::{Incarnation, NodeId, Term};
use crate::sabotage::{Rule, broken};
use crate::time::Instant;

/// Who asks: one run of a node. Another run under the same name, be it after a restart or on another machine, is somebody else:
/// what the first was promised it may still be using.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Asker {
    /// The node.
    pub node: NodeId,
    /// Its run.
    pub run: Incarnation,
}

/// A vote given to a node for a bounded time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Promise {
    /// Who has it.
    pub holder: NodeId,
    /// The run of it that was promised.
    pub run: Incarnation,
    /// For which term.
    pub term: Term,
    /// Until when, on the voter's clock.
    pub until: Instant,
}

impl Promise {
    fn is_of(&self, asker: Asker) -> bool {
        (self.holder, self.run) == (asker.node, asker.run)
    }
}

/// What a node wants of a voter, as its last word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    /// The lease in this term, or its renewal.
    Lease(Term),
    /// Nothing, but it may still own something: what it was promised runs out by itself.
    Wait,
    /// Nothing, and it owns nothing: what it was promised is given back.
    Nothing,
}

/// The vote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Vote {
    /// The last promise, over or not.
    last: Option<Promise>,
}

impl Vote {
    /// The promise that runs.
    pub fn promise(&self, now: Instant) -> Option<Promise> {
        self.last.filter(|promise| now < promise.until)
    }

    /// The highest term that was ever promised.
    pub fn term(&self) -> Term {
        self.last.map_or(Term::default(), |last| last.term)
    }

    /// Takes note of what `asker` wants. What is promised lasts until `until`; while the voter `abstains` it makes no new
    /// promise. A promise is never broken: it ends when it is given back, or by itself. A new one is in a higher term, or goes
    /// on with the last.
    pub fn hear(&mut self, now: Instant, asker: Asker, wish: Wish, until: Instant, abstains: bool) {
        let running = self.promise(now).filter(|it| it.is_of(asker) || !broken(Rule::OnePromiseAtATime));
        let promised = |term, until| Some(Promise { holder: asker.node, run: asker.run, term, until });
        match (running, wish) {
            (Some(running), Wish::Lease(term))
                if running.is_of(asker) && term >= running.term && term.is_plausible_after(running.term) =>
            {
                self.last = promised(term, until.max(running.until));
            }
            (Some(running), Wish::Nothing) if running.is_of(asker) || broken(Rule::OnlyTheHolderGivesBack) => {
                self.give_back(now);
            }
            // Refused: it is another's, or the asker speaks of an older term than it was promised.
            (Some(_), Wish::Lease(_) | Wish::Nothing | Wish::Wait) => {}
            (None, Wish::Lease(term)) => {
                let goes_on = self.last.is_some_and(|last| last.is_of(asker) && last.term == term);
                // One from the far future would leave no term for anybody else.
                let plausible = self.last.is_none_or(|last| term.is_plausible_after(last.term));
                if !abstains && plausible && (goes_on || term > self.term()) {
                    self.last = promised(term, until);
                }
            }
            (None, Wish::Nothing | Wish::Wait) => {}
        }
    }

    /// Ends what one run of a node was promised: it gives it back.
    pub fn release(&mut self, now: Instant, whose: Asker) {
        if self.promise(now).is_some_and(|promise| promise.is_of(whose)) {
            self.give_back(now);
        }
    }

    fn give_back(&mut self, now: Instant) {
        if let Some(last) = &mut self.last {
            last.until = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Asker = Asker { node: NodeId(0), run: Incarnation(7) };
    const B: Asker = Asker { node: NodeId(1), run: Incarnation(7) };

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn held(vote: &Vote, now: u64) -> Option<(Asker, u64)> {
        vote.promise(at(now)).map(|promise| (Asker { node: promise.holder, run: promise.run }, promise.term.0))
    }

    /// A vote that A has until 30 in term 5.
    fn promised() -> Vote {
        let mut vote = Vote::default();
        vote.hear(at(0), A, Wish::Lease(Term(5)), at(30), false);
        assert_eq!(held(&vote, 0), Some((A, 5)));
        vote
    }

    #[test]
    fn a_promise_is_nobody_elses_until_it_is_over() {
        let mut vote = promised();
        vote.hear(at(29), B, Wish::Lease(Term(6)), at(59), false);
        assert_eq!(held(&vote, 29), Some((A, 5)));
        vote.hear(at(30), B, Wish::Lease(Term(6)), at(60), false);
        assert_eq!(held(&vote, 30), Some((B, 6)));
    }

    #[test]
    fn a_promise_given_back_is_free_at_once_and_only_its_holder_gives_it_back() {
        let mut vote = promised();
        vote.hear(at(1), B, Wish::Nothing, at(31), false);
        vote.release(at(1), B);
        vote.hear(at(2), A, Wish::Wait, at(32), false);
        assert_eq!(held(&vote, 2), Some((A, 5)));
        vote.hear(at(3), A, Wish::Nothing, at(33), false);
        assert_eq!(held(&vote, 3), None);
        vote.hear(at(3), B, Wish::Lease(Term(6)), at(33), false);
        assert_eq!(held(&vote, 3), Some((B, 6)));
    }

    #[test]
    fn a_run_gives_back_only_what_it_was_promised_itself() {
        let mut vote = promised();
        vote.release(at(1), Asker { run: Incarnation(8), ..A });
        vote.release(at(1), B);
        assert_eq!(held(&vote, 1), Some((A, 5)));
        vote.release(at(1), A);
        assert_eq!(held(&vote, 1), None);
    }

    #[test]
    fn a_renewal_never_shortens() {
        let mut vote = promised();
        vote.hear(at(10), A, Wish::Lease(Term(5)), at(20), false);
        assert_eq!(held(&vote, 29), Some((A, 5)));
        vote.hear(at(10), A, Wish::Lease(Term(5)), at(40), false);
        assert_eq!(held(&vote, 39), Some((A, 5)));
    }

    #[test]
    fn terms_only_grow() {
        let mut vote = promised();
        for term in [0, 4, 5] {
            vote.hear(at(30), B, Wish::Lease(Term(term)), at(60), false);
            assert_eq!(held(&vote, 30), None, "term {term} is not higher than 5");
        }
        vote.hear(at(31), A, Wish::Lease(Term(4)), at(61), false);
        assert_eq!(held(&vote, 31), None, "an older term of its own");
        vote.hear(at(31), A, Wish::Lease(Term(5)), at(61), false);
        assert_eq!(held(&vote, 31), Some((A, 5)), "nobody else had it meanwhile: it goes on");
        vote.hear(at(32), A, Wish::Lease(Term(4)), at(62), false);
        assert_eq!(held(&vote, 32), Some((A, 5)));
        vote.hear(at(33), A, Wish::Lease(Term(9)), at(63), false);
        assert_eq!(held(&vote, 33), Some((A, 9)));
    }

    #[test]
    fn a_term_from_the_far_future_is_not_promised() {
        let far = Term(5 + u64::from(u32::MAX) + 1);
        let mut vote = promised();
        vote.hear(at(1), A, Wish::Lease(far), at(31), false);
        assert_eq!(held(&vote, 1), Some((A, 5)));
        vote.hear(at(30), B, Wish::Lease(far), at(60), false);
        assert_eq!(held(&vote, 30), None);
        vote.hear(at(30), B, Wish::Lease(Term(far.0 - 1)), at(60), false);
        assert_eq!(held(&vote, 30), Some((B, far.0 - 1)), "the last one that is believed");
    }

    #[test]
    fn who_abstains_promises_nothing_new() {
        let mut vote = Vote::default();
        vote.hear(at(0), A, Wish::Lease(Term(5)), at(30), true);
        assert_eq!(held(&vote, 0), None);
        let mut vote = promised();
        vote.hear(at(40), A, Wish::Lease(Term(5)), at(70), true);
        assert_eq!(held(&vote, 40), None);
    }

    #[test]
    fn another_run_of_the_same_node_is_somebody_else() {
        let again = Asker { run: Incarnation(8), ..A };
        let mut vote = promised();
        vote.hear(at(1), again, Wish::Nothing, at(31), false);
        vote.hear(at(1), again, Wish::Lease(Term(9)), at(31), false);
        assert_eq!(held(&vote, 1), Some((A, 5)));
        vote.hear(at(30), again, Wish::Lease(Term(5)), at(60), false);
        assert_eq!(held(&vote, 30), None, "a term that was another run's");
        vote.hear(at(30), again, Wish::Lease(Term(6)), at(60), false);
        assert_eq!(held(&vote, 30), Some((again, 6)));
    }
}
