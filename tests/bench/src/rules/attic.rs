//! Where the trees of measurements go that are over.
//!
//! For minutes after many files were deleted ext4 looks through them whenever a file is made: the next measurement would be
//! slowed down by the end of the one before. So nothing is deleted before the end.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// A directory that goes at the end.
#[derive(Debug)]
pub(crate) struct Attic {
    place: TempDir,
    taken: Cell<usize>,
}

impl Attic {
    /// Makes one on the file system where measurements are made.
    pub(crate) fn make() -> Result<Self> {
        let place = tempfile::Builder::new().prefix("rules-bench-").tempdir().context("make a directory")?;
        Ok(Self { place, taken: Cell::new(0) })
    }

    /// Takes a directory.
    pub(crate) fn take(&self, path: &Path) -> Result<()> {
        self.taken.set(self.taken.get() + 1);
        let to = self.place.path().join(self.taken.get().to_string());
        fs::rename(path, to).with_context(|| format!("put {} aside", path.display()))
    }
}
