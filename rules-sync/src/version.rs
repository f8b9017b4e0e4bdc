//! What a path holds, and how that came about.
//!
//! Two nodes that change a path know nothing of each other. A [`Version`] counts the changes of each, so that of two contents it
//! can be said which one was made from the other, or that neither was. A [`Stamp`] decides then: it only grows from a content to
//! what is made from it, so whoever sees the same contents, in whatever order, ends with the same one.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Who counts: a node, and which of its stores. One that was lost has counted what nobody here remembers.
pub type NodeName = String;

/// Between the name of a node and its store's number. No name of a node has it.
const STORE: char = '@';

/// The name that a node counts its changes under.
pub fn counter(node: &str, store: u64) -> NodeName {
    format!("{node}{STORE}{store:x}")
}

/// The node that counts under this name.
pub fn node_of(counter: &str) -> &str {
    counter.split_once(STORE).map_or(counter, |(node, _)| node)
}

/// How often each node has changed a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(BTreeMap<NodeName, u64>);

/// More nodes than a cluster has had in its life.
const NODES_MAX: usize = 256;
/// More changes than anybody makes.
const COUNT_MAX: u64 = 1 << 48;

/// How two versions of a path are related.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// They are the same.
    Same,
    /// The other one was made from this one.
    Before,
    /// This one was made from the other one.
    After,
    /// Neither knew of the other.
    Concurrent,
}

impl Version {
    /// How often a node has changed it.
    pub fn count(&self, node: &str) -> u64 {
        self.0.get(node).copied().unwrap_or_default()
    }

    /// One more change by `node`.
    pub fn count_up(&mut self, node: &str) {
        let count = self.0.entry(node.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    /// Whether a courier can have counted it.
    pub fn is_sane(&self) -> bool {
        self.0.len() <= NODES_MAX && self.0.values().all(|count| *count < COUNT_MAX)
    }

    /// Knows of everything that `other` knows of.
    pub fn join(&mut self, other: &Self) {
        for (node, count) in &other.0 {
            let own = self.0.entry(node.clone()).or_default();
            *own = (*own).max(*count);
        }
    }

    /// Whether it knows of everything that `other` knows of.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(node, count)| self.count(node) >= *count)
    }

    /// How it is related to `other`.
    pub fn relation(&self, other: &Self) -> Relation {
        match (self.covers(other), other.covers(self)) {
            (true, true) => Relation::Same,
            (false, true) => Relation::Before,
            (true, false) => Relation::After,
            (false, false) => Relation::Concurrent,
        }
    }
}

/// Which of two contents wins that were made without knowing of each other: what somebody changed before what was only found, that
/// of the ACTIVE node, then the newer one. The rest of it only makes sure that there are never two of the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// It, or what it was made from, was changed on the ACTIVE node; or found there.
    pub active: bool,
    /// The `millis` of the last change on the ACTIVE node that is in it: a further one there wins against any number elsewhere.
    #[serde(default)]
    pub led: u64,
    /// When it was changed, in milliseconds since 1970 on the clock of the node; later than what it was made from.
    pub millis: u64,
    /// Who changed it.
    pub node: NodeName,
    /// The number of that change; 0 = nobody saw it change, it was found.
    pub count: u64,
}

impl Stamp {
    /// Nobody saw it change.
    fn is_found(&self) -> bool {
        self.count == 0
    }

    /// The moment of the last change on the ACTIVE node. One that does not tell it counts as changed there.
    pub(crate) fn led(&self) -> u64 {
        if self.led == 0 && self.active && !self.is_found() { self.millis } else { self.led }
    }
}

impl Ord for Stamp {
    fn cmp(&self, other: &Self) -> Ordering {
        // What the ACTIVE node found when it knew nothing may be out of an old backup: it is right only where nobody knows better.
        let rank = |it: &Self| (it.led(), !it.is_found(), it.active, it.millis);
        let own = (rank(self), &self.node, self.count, self.led);
        own.cmp(&(rank(other), &other.node, other.count, other.led))
    }
}

impl PartialOrd for Stamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a path holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Content {
    /// A file.
    File {
        /// SHA-256 of its bytes.
        digest: [u8; 32],
        /// How many there are.
        size: u64,
        /// Its permissions.
        mode: u32,
    },
    /// A symbolic link, which is never followed.
    Link {
        /// Where it points, whatever is there.
        target: Vec<u8>,
    },
    /// A directory; what is in it has paths of its own.
    Directory {
        /// Its permissions.
        mode: u32,
    },
    /// It was deleted.
    Gone,
}

impl Content {
    /// Whether it is a file.
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    /// How many bytes it has, if it is a file.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::File { size, .. } => *size,
            Self::Link { .. } | Self::Directory { .. } | Self::Gone => 0,
        }
    }

    /// Whether something would be lost that cannot be made again from what is known of it.
    pub fn has_bytes(&self) -> bool {
        match self {
            Self::File { .. } | Self::Link { .. } => true,
            Self::Directory { .. } | Self::Gone => false,
        }
    }
}

/// What is known of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// Which changes are in it.
    pub version: Version,
    /// The last of them.
    pub stamp: Stamp,
    /// What it holds since then.
    pub content: Content,
}

/// Where and when a change was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// The node.
    pub node: &'a str,
    /// It is the ACTIVE one.
    pub active: bool,
    /// Milliseconds since 1970 on its clock.
    pub millis: u64,
}

impl Entry {
    /// A path that nobody knew of.
    pub fn first(seen: Seen<'_>, content: Content) -> Self {
        let mut version = Version::default();
        version.count_up(seen.node);
        let stamp = Stamp {
            active: seen.active,
            led: if seen.active { seen.millis } else { 0 },
            millis: seen.millis,
            node: seen.node.to_owned(),
            count: 1,
        };
        Self { version, stamp, content }
    }

    /// A path that was there before anybody looked: nobody knows whether it was changed, and what it was made from.
    pub fn found(seen: Seen<'_>, content: Content) -> Self {
        let first = Self::first(seen, content);
        Self { stamp: Stamp { count: 0, led: 0, ..first.stamp }, ..first }
    }

    /// Nobody saw it change.
    pub fn is_found(&self) -> bool {
        self.stamp.is_found()
    }

    /// The same path with other content.
    #[must_use]
    pub fn changed(&self, seen: Seen<'_>, content: Content) -> Self {
        let mut version = self.version.clone();
        version.count_up(seen.node);
        // A clock that is behind does not make it older than what it was made from.
        let millis = seen.millis.max(self.stamp.millis.saturating_add(1));
        let stamp = Stamp {
            active: seen.active || (self.stamp.active && !self.is_found()),
            led: if seen.active { millis } else { self.stamp.led() },
            millis,
            node: seen.node.to_owned(),
            count: version.count(seen.node),
        };
        Self { version, stamp, content }
    }

    /// Whether it was made from `other`, or is the same.
    pub fn follows(&self, other: &Self) -> bool {
        self.version.covers(&other.version)
    }

    /// Which of the two wins.
    pub fn beats(&self, other: &Self) -> bool {
        (&self.stamp, &self.content).cmp(&(&other.stamp, &other.content)) == Ordering::Greater
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(counts: &[(&str, u64)]) -> Version {
        Version(counts.iter().map(|(node, count)| ((*node).to_owned(), *count)).collect())
    }

    fn seen(node: &str, active: bool, millis: u64) -> Seen<'_> {
        Seen { node, active, millis }
    }

    #[test]
    fn versions_know_which_was_made_from_which() {
        let one = version(&[("a", 1)]);
        let two = version(&[("a", 1), ("b", 1)]);
        let other = version(&[("a", 2)]);
        assert_eq!(one.relation(&one), Relation::Same);
        assert_eq!(one.relation(&two), Relation::Before);
        assert_eq!(two.relation(&one), Relation::After);
        assert_eq!(two.relation(&other), Relation::Concurrent);
        assert_eq!(version(&[("a", 1), ("b", 0)]).relation(&one), Relation::Same);
    }

    #[test]
    fn what_is_made_from_something_beats_it_whatever_the_clock_and_the_role() {
        let first = Entry::first(seen("a", true, 5_000), Content::Gone);
        let second = first.changed(seen("b", false, 3), Content::Gone);
        assert!(second.beats(&first) && second.follows(&first) && !first.follows(&second));
        assert_eq!(second.stamp.millis, 5_001);
    }

    #[test]
    fn the_active_nodes_content_wins_then_the_newer_one() {
        let active = Entry::first(seen("a", true, 1), Content::Gone);
        let newer = Entry::first(seen("b", false, 9), Content::Gone);
        let older = Entry::first(seen("c", false, 8), Content::Gone);
        assert!(active.beats(&newer) && newer.beats(&older) && !older.beats(&older));
    }

    #[test]
    fn the_active_nodes_content_wins_too_where_it_had_changed_the_path_before() {
        let base = Entry::first(seen("a", true, 1), Content::Gone).changed(seen("a", true, 2), Content::Gone);
        let (active, newer) =
            (base.changed(seen("a", true, 3), Content::Gone), base.changed(seen("b", false, 9), Content::Gone));
        assert!(active.beats(&newer) && newer.beats(&base));
        let next = newer.changed(seen("a", true, 10), Content::Gone);
        assert!(next.beats(&newer) && next.beats(&active));
    }

    #[test]
    fn what_was_found_is_beaten_by_every_change_and_by_what_is_made_from_it() {
        let active = Entry::found(seen("a", true, 9), Content::Gone);
        let newer = Entry::found(seen("b", false, 10), Content::Gone);
        let changed = Entry::first(seen("c", false, 1), Content::Gone);
        assert!(changed.beats(&active) && active.beats(&newer) && active.is_found() && !changed.is_found());
        let edited = active.changed(seen("b", false, 2), Content::Gone);
        assert!(edited.beats(&active) && edited.follows(&active) && !edited.stamp.active);
    }

    #[test]
    fn another_store_of_a_node_counts_under_another_name() {
        assert_ne!(counter("a", 1), counter("a", 2));
        assert_eq!((node_of(&counter("a", 1)), node_of("a")), ("a", "a"));
    }
}
