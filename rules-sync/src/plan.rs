//! What goes to a peer in one go, and in which order it gets into its place there.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::place::Place;
use crate::version::{Content, Entry};

/// A path, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Where.
    pub place: Place,
    /// What.
    pub entry: Entry,
}

/// How much goes in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So many paths at most.
    pub items: usize,
    /// So many bytes of contents, but one path always.
    pub bytes: u64,
}

/// The first of what is owed that goes in one go.
pub fn batch(owed: impl IntoIterator<Item = Item>, limits: Limits) -> Vec<Item> {
    let mut bytes = 0u64;
    let mut batch: Vec<Item> = Vec::new();
    for item in owed.into_iter().take(limits.items) {
        bytes = bytes.saturating_add(item.entry.content.bytes());
        if bytes > limits.bytes && !batch.is_empty() {
            break;
        }
        batch.push(item);
    }
    batch
}

/// Which step of the order below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    MakeRoom,
    Directories,
    Contents,
    Deletions,
}

/// The order in which items get into their place: what has to go because something that is no directory comes in the place of
/// a directory of its path; directories before what is in them; contents; and deletions at last, what is in a directory before
/// the directory, so that what was renamed is never gone altogether.
pub fn order(items: &mut [Item]) {
    let contents = items.iter().filter(|item| item.entry.content.has_bytes());
    let contents: BTreeSet<Place> = contents.map(|item| item.place.clone()).collect();
    let makes_room = |place: &Place| place.above().any(|above| contents.contains(&above));
    items.sort_by_cached_key(|item| {
        let depth = item.place.depth();
        let upwards = usize::MAX - depth;
        let (step, depth) = match &item.entry.content {
            Content::Gone if makes_room(&item.place) => (Step::MakeRoom, upwards),
            Content::Gone => (Step::Deletions, upwards),
            Content::Directory { .. } => (Step::Directories, depth),
            Content::File { .. } | Content::Link { .. } => (Step::Contents, depth),
        };
        (step, depth, item.place.clone())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Seen;

    const FILE: Content = Content::File { digest: [1; 32], size: 10, mode: 0o644 };
    const DIRECTORY: Content = Content::Directory { mode: 0o755 };

    fn item(path: &str, content: Content) -> Item {
        let seen = Seen { node: "a", active: false, millis: 1 };
        Item { place: Place::try_from(path.to_owned()).unwrap(), entry: Entry::first(seen, content) }
    }

    fn paths(items: &[Item]) -> Vec<&str> {
        items.iter().map(|item| item.place.as_path().to_str().unwrap()).collect()
    }

    #[test]
    fn a_batch_ends_at_its_limits_and_is_never_empty() {
        let owed = || ["a", "b", "c"].map(|path| item(path, FILE));
        let limits = |items, bytes| Limits { items, bytes };
        assert_eq!(paths(&batch(owed(), limits(2, 1_000))), ["a", "b"]);
        assert_eq!(paths(&batch(owed(), limits(9, 20))), ["a", "b"]);
        assert_eq!(paths(&batch(owed(), limits(9, 5))), ["a"]);
        assert_eq!(batch([], limits(9, 5)), []);
    }

    #[test]
    fn directories_come_first_and_deletions_last_the_deepest_first() {
        let mut items = [
            item("old", Content::Gone),
            item("old/x", Content::Gone),
            item("new/sub/y", FILE),
            item("new/sub", DIRECTORY),
            item("new", DIRECTORY),
        ];
        order(&mut items);
        assert_eq!(paths(&items), ["new", "new/sub", "new/sub/y", "old/x", "old"]);
    }

    #[test]
    fn what_is_in_a_directory_goes_before_a_file_comes_in_its_place() {
        let mut items = [item("rules", FILE), item("rules/a/x", Content::Gone), item("rules/a", Content::Gone)];
        order(&mut items);
        assert_eq!(paths(&items), ["rules/a/x", "rules/a", "rules"]);
    }
}
