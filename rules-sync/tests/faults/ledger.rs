//! Every content that was written and closed. Each is another one, so it can be looked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::tree::digest;

/// What was written, by digest, and what its own writer has destroyed before anybody could keep it.
#[derive(Default)]
pub(crate) struct Ledger {
    written: Mutex<BTreeMap<u64, String>>,
    excused: Mutex<BTreeSet<u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// It has been written and closed.
    pub(crate) fn add(&self, content: &[u8], what: impl Into<String>) {
        lock(&self.written).insert(digest(content), what.into());
    }

    /// Whoever wrote it has overwritten or deleted it in the same tree.
    pub(crate) fn excuse(&self, content: &[u8]) {
        lock(&self.excused).insert(digest(content));
    }

    /// What is not among these.
    pub(crate) fn lost(&self, found: &BTreeSet<u64>) -> Vec<String> {
        let excused = lock(&self.excused);
        let written = lock(&self.written);
        let lost = written.iter().filter(|(digest, _)| !found.contains(digest) && !excused.contains(digest));
        lost.map(|(_, what)| what.clone()).collect()
    }
}
