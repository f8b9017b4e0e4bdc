//! What becomes of a content that another node has sent.

use crate::version::{Entry, Relation};

/// What is to be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is nothing new in it.
    Known,
    /// The path holds what it should. Only this is known of it from now on.
    Note(Entry),
    /// It follows what is here: it takes its place.
    Take(Entry),
    /// Both were changed, and it wins: it takes the place of what is here, which is kept aside.
    TakeAndKeepOurs(Entry),
    /// Both were changed, and what is here wins: it is kept aside.
    KeepTheirs(Entry),
}

impl Verdict {
    /// What is known of the path afterwards; `None` = as before.
    pub fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Known => None,
            Self::Note(entry) | Self::Take(entry) | Self::TakeAndKeepOurs(entry) | Self::KeepTheirs(entry) => {
                Some(entry)
            }
        }
    }

    /// Whether two nodes have changed it without knowing of each other, and a content has lost.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Known | Self::Note(_) | Self::Take(_) => false,
            Self::TakeAndKeepOurs(_) | Self::KeepTheirs(_) => true,
        }
    }

    /// Whether the content itself is needed.
    pub fn needs_content(&self) -> bool {
        match self {
            Self::Known | Self::Note(_) => false,
            Self::Take(entry) | Self::TakeAndKeepOurs(entry) => entry.content.has_bytes(),
            Self::KeepTheirs(_) => true,
        }
    }
}

/// Decides what becomes of `theirs`. Whoever has merged the same contents, in whatever order, knows the same of the path.
pub fn merge(ours: Option<&Entry>, theirs: &Entry) -> Verdict {
    let Some(ours) = ours else { return Verdict::Take(theirs.clone()) };
    let differs = ours.content != theirs.content;
    match ours.version.relation(&theirs.version) {
        Relation::After => Verdict::Known,
        Relation::Same if !differs => Verdict::Known,
        Relation::Before if !differs => Verdict::Note(theirs.clone()),
        Relation::Before => Verdict::Take(theirs.clone()),
        // One version of two contents there should not be: a store was damaged.
        Relation::Concurrent | Relation::Same => {
            let (winner, loser) = if theirs.beats(ours) { (theirs, ours) } else { (ours, theirs) };
            let mut version = winner.version.clone();
            version.join(&loser.version);
            let joined = Entry { version, ..winner.clone() };
            match (theirs.beats(ours), loser.content.has_bytes()) {
                _ if !differs => Verdict::Note(joined),
                (false, false) => Verdict::Note(joined),
                (true, false) => Verdict::Take(joined),
                (true, true) => Verdict::TakeAndKeepOurs(joined),
                (false, true) => Verdict::KeepTheirs(joined),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::{Content, Seen};

    fn file(byte: u8) -> Content {
        Content::File { digest: [byte; 32], size: 1, mode: 0o644 }
    }

    fn seen(node: &str, active: bool, millis: u64) -> Seen<'_> {
        Seen { node, active, millis }
    }

    fn joined(winner: &Entry, loser: &Entry) -> Entry {
        let mut joined = winner.clone();
        joined.version.join(&loser.version);
        joined
    }

    #[test]
    fn what_is_unknown_or_follows_is_taken_and_what_was_here_before_is_not() {
        let first = Entry::first(seen("a", false, 1), file(1));
        let second = first.changed(seen("b", false, 2), file(2));
        assert_eq!(merge(None, &first), Verdict::Take(first.clone()));
        assert_eq!(merge(Some(&first), &second), Verdict::Take(second.clone()));
        assert_eq!(merge(Some(&second), &first), Verdict::Known);
        assert_eq!(merge(Some(&second), &second), Verdict::Known);
    }

    #[test]
    fn of_two_that_were_made_at_once_one_wins_everywhere_and_the_other_is_kept() {
        let here = Entry::first(seen("a", true, 1), file(1));
        let there = Entry::first(seen("b", false, 2), file(2));
        assert_eq!(merge(Some(&here), &there), Verdict::KeepTheirs(joined(&here, &there)));
        assert_eq!(merge(Some(&there), &here), Verdict::TakeAndKeepOurs(joined(&here, &there)));
    }

    #[test]
    fn the_same_change_made_twice_is_no_conflict() {
        let here = Entry::first(seen("a", false, 1), file(1));
        let there = Entry::first(seen("b", false, 2), file(1));
        assert_eq!(merge(Some(&here), &there), Verdict::Note(joined(&there, &here)));
        assert_eq!(merge(Some(&there), &here), Verdict::Note(joined(&there, &here)));
    }

    #[test]
    fn a_deletion_keeps_nothing_aside_and_loses_without_a_word() {
        let base = Entry::first(seen("a", false, 1), file(1));
        let gone = base.changed(seen("a", false, 2), Content::Gone);
        let edited = base.changed(seen("b", false, 3), file(2));
        assert_eq!(merge(Some(&gone), &edited), Verdict::Take(joined(&edited, &gone)));
        assert_eq!(merge(Some(&edited), &gone), Verdict::Note(joined(&edited, &gone)));
        let later = base.changed(seen("a", true, 2), Content::Gone);
        assert_eq!(merge(Some(&edited), &later), Verdict::TakeAndKeepOurs(joined(&later, &edited)));
        assert_eq!(merge(Some(&later), &edited), Verdict::KeepTheirs(joined(&later, &edited)));
    }
}
