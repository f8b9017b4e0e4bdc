//! What a killed rsync has left in an inbox, and nobody comes back to. A running one is never silent for long: what is the same look
//! after look belongs to none. How old a file says that it is counts for nothing: clocks are set, and machines stand still.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::manifest::manifest_of;

/// From one look to the next: longer than an rsync waits for its peer before it ends by itself.
pub const PAUSE: Duration = Duration::from_secs(15);
/// So often it is seen as it was before it counts as left behind.
pub const LOOKS: u32 = 4;

/// By what it can be told that a file was written to: its inode, its size, its time.
pub type Mark = (u64, u64, Option<SystemTime>);

/// What lies in an inbox, and how often it was seen as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    seen: BTreeMap<PathBuf, (Mark, u32)>,
    /// The same for all of it.
    looks: u32,
}

/// Whether it is of a batch, by a name of ours; the rest are files that rsync has not given their name yet, and what nobody of us
/// sends.
pub fn is_of_batch(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit)
}

impl Leftovers {
    /// This lies there now; what of it nobody comes back to, what lies in a directory before the directory.
    pub fn see(&mut self, found: BTreeMap<PathBuf, Mark>) -> Vec<PathBuf> {
        let mut seen = BTreeMap::new();
        let mut is_as_before = found.len() == self.seen.len();
        for (path, mark) in found {
            let before = self.seen.get(&path).filter(|(known, _)| *known == mark);
            is_as_before &= before.is_some();
            let looks = before.map_or(0, |(_, looks)| looks.saturating_add(1));
            seen.insert(path, (mark, looks));
        }
        self.looks = if is_as_before { self.looks.saturating_add(1) } else { 0 };
        self.seen = seen;
        // A batch arrives in many files, and all of them wait for the last; a complete one is about to be taken in.
        let is_coming = self.looks < LOOKS || self.seen.keys().any(|it| manifest_of(it).is_some());
        let is_dead = |(path, (_, looks)): &(&PathBuf, &(Mark, u32))| {
            if is_of_batch(path) { !is_coming } else { *looks >= LOOKS }
        };
        self.seen.iter().rev().filter(is_dead).map(|(path, _)| path.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{content_name, manifest_name};

    fn lies(names: &[(&Path, u32)]) -> BTreeMap<PathBuf, Mark> {
        names.iter().map(|(name, size)| (name.to_path_buf(), (1, u64::from(*size), None))).collect()
    }

    #[test]
    fn what_is_written_to_stays_and_what_is_not_goes() {
        let (dead, coming) = (Path::new(".00000000000000000009.m.aBcDeF"), Path::new(".00000000000000000010.c.GhIjKl"));
        let mut leftovers = Leftovers::default();
        for look in 0..LOOKS {
            assert!(leftovers.see(lies(&[(dead, 7), (coming, look)])).is_empty());
        }
        assert_eq!(leftovers.see(lies(&[(dead, 7), (coming, LOOKS)])), [dead]);
    }

    #[test]
    fn a_batch_that_is_coming_stays_as_long_as_something_of_it_comes() {
        let (first, second) = (content_name(9, 0), PathBuf::from(".00000000000000000009.0000000001.aBcDeF"));
        let mut leftovers = Leftovers::default();
        for look in 0..100 {
            assert!(leftovers.see(lies(&[(&first, 7), (&second, look)])).is_empty(), "{look}");
        }
        for _ in 1..LOOKS {
            assert!(leftovers.see(lies(&[(&first, 7), (&second, 99)])).is_empty());
        }
        assert_eq!(leftovers.see(lies(&[(&first, 7), (&second, 99)])), [first, second]);
    }

    #[test]
    fn a_batch_that_has_come_stays_and_what_is_in_a_directory_goes_first() {
        let (content, manifest) = (content_name(9, 0), manifest_name(9));
        let (directory, inside) = (Path::new(".~tmp~"), Path::new(".~tmp~/x"));
        let mut leftovers = Leftovers::default();
        let mut look = || leftovers.see(lies(&[(&content, 7), (&manifest, 7), (directory, 7), (inside, 7)]));
        for _ in 0..LOOKS {
            assert!(look().is_empty());
        }
        assert_eq!(look(), [inside, directory]);
    }
}
