//! Whether two nodes hold the same, and where not. Only what paths hold counts, not how that came about.

use std::collections::BTreeMap;

use avamgr_core::courier::DifferenceKind;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::place::Place;
use crate::version::Content;

/// What a path holds, in eight bytes.
pub type Mark = u64;

/// All that a node holds, in a few bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// So many paths.
    pub paths: u64,
    /// SHA-256 over all of them, in order.
    pub digest: [u8; 32],
}

/// What a node holds, or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Only what lies behind this path, in order.
    pub after: Option<Place>,
    /// Only what lies before this path, and itself.
    pub until: Option<Place>,
    /// Every path of the part that holds something.
    pub marks: BTreeMap<Place, Mark>,
}

impl Part {
    /// Whether it says what a path holds, if only that it holds nothing.
    pub fn speaks_of(&self, place: &Place) -> bool {
        self.after.as_ref().is_none_or(|after| place > after) && self.until.as_ref().is_none_or(|until| place <= until)
    }
}

/// The mark of a content.
pub fn mark(content: &Content) -> Mark {
    let mut hash = Sha256::new();
    match content {
        Content::File { digest, mode, .. } => {
            hash.update(b"f");
            hash.update(mode.to_be_bytes());
            hash.update(digest);
        }
        Content::Link { target } => {
            hash.update(b"l");
            hash.update(target);
        }
        Content::Directory { mode } => {
            hash.update(b"d");
            hash.update(mode.to_be_bytes());
        }
        Content::Gone => hash.update(b"-"),
    }
    hash.finalize().iter().take(8).fold(0, |mark, byte| (mark << 8) | u64::from(*byte))
}

/// Sums up paths that come in order.
#[derive(Default)]
pub struct Summer {
    hash: Sha256,
    paths: u64,
}

impl Summer {
    /// One more path.
    pub fn add(&mut self, place: &Place, mark: Mark) {
        self.hash.update(place.as_bytes());
        // No path has this byte in it.
        self.hash.update([0]);
        self.hash.update(mark.to_be_bytes());
        self.paths += 1;
    }

    /// All of them.
    pub fn sum(self) -> Sum {
        Sum { paths: self.paths, digest: self.hash.finalize().into() }
    }
}

/// Where two nodes differ.
pub fn differences(ours: &BTreeMap<Place, Mark>, theirs: &BTreeMap<Place, Mark>) -> BTreeMap<Place, DifferenceKind> {
    let here = ours.iter().filter_map(|(place, mark)| match theirs.get(place) {
        None => Some((place.clone(), DifferenceKind::OnlyHere)),
        Some(other) => (mark != other).then(|| (place.clone(), DifferenceKind::Differs)),
    });
    let there = theirs.keys().filter(|place| !ours.contains_key(place));
    here.chain(there.map(|place| (place.clone(), DifferenceKind::OnlyThere))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(paths: &[(&str, u8)]) -> BTreeMap<Place, Mark> {
        let file = |byte: u8| Content::File { digest: [byte; 32], size: 1, mode: 0o644 };
        paths.iter().map(|(text, byte)| (Place::try_from((*text).to_owned()).unwrap(), mark(&file(*byte)))).collect()
    }

    fn sum(all: &BTreeMap<Place, Mark>) -> Sum {
        let mut summer = Summer::default();
        all.iter().for_each(|(place, mark)| summer.add(place, *mark));
        summer.sum()
    }

    #[test]
    fn what_differs_is_found_and_the_sum_tells_that_something_does() {
        let (ours, theirs) =
            (all(&[("re/a", 1), ("re/b", 1), ("re/c", 1)]), all(&[("re/b", 2), ("re/c", 1), ("re/d", 1)]));
        let found: Vec<_> =
            differences(&ours, &theirs).into_iter().map(|(place, kind)| (place.to_string(), kind)).collect();
        let expected = [
            ("re/a".to_owned(), DifferenceKind::OnlyHere),
            ("re/b".to_owned(), DifferenceKind::Differs),
            ("re/d".to_owned(), DifferenceKind::OnlyThere),
        ];
        assert_eq!(found, expected);
        assert_ne!(sum(&ours), sum(&theirs));
        assert_eq!((sum(&ours), differences(&ours, &ours).len()), (sum(&ours.clone()), 0));
    }

    #[test]
    fn each_content_has_a_mark_of_its_own() {
        let contents = [
            Content::File { digest: [1; 32], size: 1, mode: 0o644 },
            Content::File { digest: [2; 32], size: 1, mode: 0o644 },
            Content::File { digest: [1; 32], size: 1, mode: 0o600 },
            Content::Link { target: b"a".to_vec() },
            Content::Directory { mode: 0o755 },
            Content::Directory { mode: 0o700 },
            Content::Gone,
        ];
        let marks: std::collections::BTreeSet<Mark> = contents.iter().map(mark).collect();
        assert_eq!(marks.len(), contents.len());
    }
}
