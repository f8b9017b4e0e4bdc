//! Where changes come from the ACTIVE node only: what the others make of its word, and what it makes of theirs.

use crate::merge::{Verdict, merge};
use crate::version::{Content, Entry, Relation, Seen, Stamp, node_of};

/// Decides what becomes of `theirs`, which the ACTIVE node `from` says: what was known is `ours`, and the path holds `here`. Its
/// word counts, whatever was changed here. That is kept as a conflict, unless `from` knew it when it changed the path. `learns`:
/// one of the two has not heard yet what the other one knows.
pub fn obey(ours: Option<&Entry>, here: &Content, theirs: &Entry, seen: Seen<'_>, from: &str, learns: bool) -> Verdict {
    let Some(ours) = ours else {
        return take(here, theirs.clone(), false, *here != Content::Gone);
    };
    if learns && theirs.is_found() && !ours.is_found() {
        // It has lost what it knew, and what it has found may be old.
        let verdict = merge(Some(ours), theirs);
        // It has to be told.
        let is_news = verdict == Verdict::Known && !theirs.follows(ours);
        return if is_news { Verdict::Note(ours.clone()) } else { verdict };
    }
    let (follows, same) = (theirs.follows(ours), ours.content == theirs.content);
    let entry = if follows {
        theirs.clone()
    } else if same {
        let mut version = ours.version.clone();
        version.join(&theirs.version);
        Entry { version, ..if theirs.beats(ours) { theirs.clone() } else { ours.clone() } }
    } else {
        undone(ours, theirs, seen)
    };
    let is_as_known = entry == *ours;
    // What it has made itself is not lost because it hears late that we know it.
    let is_unknown = !follows && !same && node_of(&ours.stamp.node) != from;
    take(here, entry, is_as_known, is_unknown || *here != ours.content)
}

fn take(here: &Content, entry: Entry, is_as_known: bool, is_conflict: bool) -> Verdict {
    match (*here == entry.content, is_as_known) {
        (true, true) => Verdict::Known,
        (true, false) => Verdict::Note(entry),
        (false, _) if is_conflict && here.has_bytes() => Verdict::TakeAndKeepOurs(entry),
        (false, _) => Verdict::Take(entry),
    }
}

/// The content of `theirs` in the place of `ours`, which it was not made from: a change of its own, for a version has one content.
fn undone(ours: &Entry, theirs: &Entry, seen: Seen<'_>) -> Entry {
    let mut version = ours.version.clone();
    version.join(&theirs.version);
    version.count_up(seen.node);
    let stamp = Stamp {
        active: ours.stamp.active || theirs.stamp.active,
        led: ours.stamp.led().max(theirs.stamp.led()),
        millis: theirs.stamp.millis.max(ours.stamp.millis.saturating_add(1)),
        node: theirs.stamp.node.clone(),
        count: theirs.stamp.count.max(1),
    };
    Entry { version, stamp, content: theirs.content.clone() }
}

/// What the ACTIVE node answers to what another one says of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is known.
    Known,
    /// It counts like any other change: there is nothing that it would undo.
    Merge,
    /// It does not count: the other one is told what is right.
    Told,
    /// So it is, and this has to be known of the path before: what is right knows nothing of what is not.
    Overruled(Entry),
}

/// Decides what this node, which is ACTIVE, answers to `theirs`. `learns`: as for [`obey`].
pub fn answer(ours: Option<&Entry>, theirs: &Entry, seen: Seen<'_>, learns: bool) -> Answer {
    let Some(ours) = ours else {
        // A deletion undoes nothing.
        let is_nothing = theirs.content == Content::Gone;
        return if learns || is_nothing { Answer::Merge } else { Answer::Overruled(Entry::first(seen, Content::Gone)) };
    };
    let same = ours.content == theirs.content;
    match ours.version.relation(&theirs.version) {
        Relation::After => Answer::Known,
        Relation::Same if same => Answer::Known,
        Relation::Before | Relation::Concurrent if same || (learns && ours.is_found() && !theirs.is_found()) => {
            Answer::Merge
        }
        // What was only found becomes what this node has decided: the other one may not take it otherwise.
        Relation::Concurrent if ours.is_found() => Answer::Overruled(ours.changed(seen, ours.content.clone())),
        Relation::Before | Relation::Same => Answer::Overruled(ours.changed(seen, ours.content.clone())),
        Relation::Concurrent => Answer::Told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(byte: u8) -> Content {
        Content::File { digest: [byte; 32], size: 1, mode: 0o644 }
    }

    fn seen(node: &str, active: bool, millis: u64) -> Seen<'_> {
        Seen { node, active, millis }
    }

    fn obeyed(ours: Option<&Entry>, here: u8, theirs: &Entry) -> Verdict {
        obey(ours, &if here == 0 { Content::Gone } else { file(here) }, theirs, seen("b@1", false, 50), "a", true)
    }

    #[test]
    fn the_active_nodes_word_counts_and_what_was_changed_here_is_kept() {
        let base = Entry::first(seen("a@1", true, 1), file(1));
        let next = base.changed(seen("a@1", true, 2), file(2));
        assert_eq!(obeyed(None, 0, &base), Verdict::Take(base.clone()));
        assert_eq!(obeyed(None, 1, &base), Verdict::Note(base.clone()));
        assert_eq!(obeyed(None, 9, &base), Verdict::TakeAndKeepOurs(base.clone()), "it was there before");
        assert_eq!(obeyed(Some(&base), 1, &base), Verdict::Known);
        assert_eq!(obeyed(Some(&base), 1, &next), Verdict::Take(next.clone()));
        assert_eq!(obeyed(Some(&base), 9, &base), Verdict::TakeAndKeepOurs(base.clone()), "changed here");
        assert_eq!(obeyed(Some(&base), 0, &base), Verdict::Take(base.clone()), "deleted here");
    }

    #[test]
    fn what_the_active_node_never_heard_of_is_a_conflict_and_so_is_known_again() {
        let base = Entry::first(seen("a@1", true, 1), file(1));
        let own = base.changed(seen("b@1", true, 9), file(3));
        for theirs in [base.clone(), base.changed(seen("a@1", true, 2), file(2))] {
            let Verdict::TakeAndKeepOurs(entry) = obeyed(Some(&own), 3, &theirs) else { panic!("{theirs:?}") };
            assert!(entry.follows(&own) && entry.follows(&theirs) && entry.beats(&own));
            assert!(!own.follows(&entry) && !theirs.follows(&entry), "no version has two contents");
            assert_eq!(entry.content, theirs.content);
            let next = theirs.changed(seen("a@1", true, 10), file(4));
            assert!(matches!(obeyed(Some(&entry), 9, &next), Verdict::TakeAndKeepOurs(_)), "changed here");
            let here = if theirs == base { 1 } else { 2 };
            assert!(matches!(obeyed(Some(&entry), here, &next), Verdict::Take(_)), "it is its own");
        }
    }

    #[test]
    fn what_the_active_node_has_only_found_undoes_no_change() {
        let found = Entry::found(seen("a@2", true, 99), file(1));
        let changed = Entry::first(seen("b@1", true, 1), file(2));
        let also_found = Entry::found(seen("b@1", false, 100), file(2));
        assert!(matches!(obeyed(Some(&changed), 2, &found), Verdict::KeepTheirs(_)));
        assert!(matches!(obeyed(Some(&also_found), 2, &found), Verdict::TakeAndKeepOurs(_)));
        let known = obey(Some(&changed), &file(2), &found, seen("b@1", false, 50), "a", false);
        assert!(matches!(known, Verdict::TakeAndKeepOurs(_)), "both have known the same since then");
        let made_from_it = found.changed(seen("b@1", true, 100), file(2));
        assert_eq!(obeyed(Some(&made_from_it), 2, &found), Verdict::Note(made_from_it), "it has to be told");
    }

    #[test]
    fn the_active_node_answers_with_what_is_right() {
        let me = seen("a@1", true, 20);
        let base = Entry::first(seen("a@1", true, 1), file(1));
        let theirs = base.changed(seen("b@1", true, 9), file(3));
        assert_eq!(answer(Some(&theirs), &base, me, false), Answer::Known);
        let Answer::Overruled(right) = answer(Some(&base), &theirs, me, false) else { panic!("it would count") };
        assert_eq!(right.version.relation(&theirs.version), Relation::Concurrent);
        assert_eq!((&right.content, answer(Some(&right), &theirs, me, false)), (&base.content, Answer::Told));
        let undone = undone(&theirs, &right, seen("b@1", false, 21));
        assert_eq!(answer(Some(&right), &undone, me, false), Answer::Merge, "it holds the same");
        assert_eq!(answer(None, &theirs, me, false), Answer::Overruled(Entry::first(me, Content::Gone)));
    }

    #[test]
    fn who_knows_nothing_yet_learns() {
        let me = seen("a@2", true, 20);
        let theirs = Entry::first(seen("b@1", true, 9), file(3));
        let found = Entry::found(me, file(1));
        assert_eq!(
            (answer(None, &theirs, me, true), answer(Some(&found), &theirs, me, true)),
            (Answer::Merge, Answer::Merge)
        );
        let Answer::Overruled(decided) = answer(Some(&found), &theirs, me, false) else { panic!("it is only found") };
        assert!(!decided.is_found() && decided.content == found.content);
        let changed = found.changed(me, file(2));
        assert_eq!(answer(Some(&changed), &theirs, me, true), Answer::Told);
    }
}
