//! The last entries in memory, and the number of the next one.

use std::collections::VecDeque;
use std::sync::Arc;

use avamgr_core::control::HistoryEntry;

/// Entries held in memory, about half a KiB each: more than an operator reads, far less than the daemon may weigh.
pub const HELD_MAX: usize = 1024;

/// What is held.
#[derive(Debug, Default)]
pub(super) struct Held {
    entries: VecDeque<Arc<HistoryEntry>>,
    /// `None` = the store has not told yet.
    next: Option<u64>,
}

impl Held {
    pub(super) fn from(next: Option<u64>) -> Self {
        Self { entries: VecDeque::new(), next }
    }

    /// Keeps an entry, with the next number if that is known.
    pub(super) fn record(&mut self, mut entry: HistoryEntry) -> Arc<HistoryEntry> {
        entry.number = self.next.unwrap_or_default();
        self.next = self.next.map(|next| next.saturating_add(1));
        self.keep(entry)
    }

    /// Keeps an entry that has its number.
    pub(super) fn keep(&mut self, entry: HistoryEntry) -> Arc<HistoryEntry> {
        let entry = Arc::new(entry);
        if self.entries.len() == HELD_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(Arc::clone(&entry));
        entry
    }

    pub(super) fn is_numbered(&self) -> bool {
        self.next.is_some()
    }

    /// The store is open: it has the numbers below `next`, the last of them in `stored`. Returns what has been recorded meanwhile
    /// without a number and has one now.
    pub(super) fn join(&mut self, stored: Vec<HistoryEntry>, next: u64) -> Vec<Arc<HistoryEntry>> {
        let known = self.next;
        // Whatever has happened to the file: no number is given twice.
        self.next = Some(known.unwrap_or(0).max(next));
        let recorded = std::mem::take(&mut self.entries);
        let first = recorded.iter().map(|entry| entry.number).find(|number| *number > 0).unwrap_or(u64::MAX);
        for entry in stored.into_iter().filter(|entry| entry.number < first) {
            self.keep(entry);
        }
        let mut numbered = Vec::new();
        for entry in recorded {
            if known.is_none() {
                numbered.push(self.record(entry.as_ref().clone()));
            } else {
                self.keep(entry.as_ref().clone());
            }
        }
        numbered
    }

    /// The last ones, the oldest first.
    pub(super) fn last(&self, count: usize) -> Vec<Arc<HistoryEntry>> {
        let skip = self.entries.len().saturating_sub(count);
        self.entries.iter().skip(skip).cloned().collect()
    }
}
