//! When a path that changes has come to rest. Whoever copies a file in the middle of its being written shows a half of it to the
//! other nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What was seen of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hint {
    /// Whoever changed it is done with it: it was closed after writing, moved, deleted.
    Done,
    /// It is there, and nobody saw how it came about.
    Found,
    /// It is open, and somebody writes.
    Writing,
}

impl Hint {
    /// How long nothing may happen to it before it counts as at rest.
    pub fn quiet(self) -> Duration {
        match self {
            // Saving through a second file is several such steps.
            Self::Done => Duration::from_millis(3),
            Self::Found => Duration::from_millis(100),
            Self::Writing => Duration::from_secs(1),
        }
    }
}

/// Paths that have changed and are not at rest yet. Times are those of a clock that never goes back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settle<K> {
    due: BTreeMap<K, Duration>,
    /// The same, in the order of the times.
    order: BTreeSet<(Duration, K)>,
}

impl<K> Default for Settle<K> {
    fn default() -> Self {
        Self { due: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Settle<K> {
    /// Something was seen of a path.
    pub fn see(&mut self, now: Duration, path: K, hint: Hint) {
        let due = now + hint.quiet();
        if let Some(before) = self.due.get_mut(&path) {
            // To be found says nothing of what was seen to happen.
            if hint == Hint::Found || *before == due {
                return;
            }
            let before = std::mem::replace(before, due);
            self.order.remove(&(before, path.clone()));
        } else {
            self.due.insert(path.clone(), due);
        }
        self.order.insert((due, path));
    }

    /// Takes what is at rest, so much at most; what has been at rest for longest comes first.
    pub fn take(&mut self, now: Duration, at_most: usize) -> Vec<K> {
        let mut taken = Vec::new();
        while taken.len() < at_most && self.deadline().is_some_and(|due| due <= now) {
            if let Some((_, path)) = self.order.pop_first() {
                self.due.remove(&path);
                taken.push(path);
            }
        }
        taken
    }

    /// When something is at rest unless it changes again.
    pub fn deadline(&self) -> Option<Duration> {
        self.order.first().map(|(due, _)| *due)
    }

    /// Whether a path is not at rest.
    pub fn has(&self, path: &K) -> bool {
        self.due.contains_key(path)
    }

    /// How many are not at rest.
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether everything is.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn what_is_closed_is_taken_at_once_and_what_is_written_when_nothing_happens_any_more() {
        let mut settle = Settle::default();
        settle.see(at(0), "a", Hint::Writing);
        settle.see(at(900), "a", Hint::Writing);
        assert_eq!((settle.deadline(), settle.take(at(1_899), 100)), (Some(at(1_900)), vec![]));
        settle.see(at(1_899), "a", Hint::Done);
        assert_eq!((settle.deadline(), settle.take(at(1_902), 100)), (Some(at(1_902)), vec!["a"]));
        assert!(settle.is_empty() && settle.deadline().is_none());
    }

    #[test]
    fn a_file_that_is_opened_again_is_waited_for() {
        let mut settle = Settle::default();
        settle.see(at(0), "a", Hint::Done);
        settle.see(at(1), "a", Hint::Writing);
        assert_eq!(settle.take(at(1_000), 100), [""; 0]);
        assert_eq!(settle.take(at(1_001), 100), ["a"]);
    }

    #[test]
    fn to_be_found_changes_nothing_for_what_was_seen() {
        for (hint, due) in [(Hint::Done, 3), (Hint::Writing, 1_000), (Hint::Found, 100)] {
            let mut settle = Settle::default();
            settle.see(at(0), "a", hint);
            settle.see(at(1), "a", Hint::Found);
            assert_eq!(settle.deadline(), Some(at(due)), "{hint:?}");
        }
    }
}
