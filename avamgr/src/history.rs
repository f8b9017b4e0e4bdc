//! HISTORY: every event, kept on disk within bounds and told live.
//!
//! Two files of JSON lines, the older one dropped when the newer is full; the last events are also held in memory, where
//! queries find them. A thread of its own does the writing: a disk that hangs or is full costs nobody anything but the
//! file, and is reported once.

pub mod files;
mod writer;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use avamgr_core::control::HistoryEntry;
use tokio::sync::broadcast;

use crate::history::files::Files;
use crate::history::writer::Writer;

/// Entries held in memory, about half a KiB each: more than an operator reads, far less than the daemon may weigh.
pub const HELD_MAX: usize = 1024;

/// Live entries a slow follower may be behind before it misses some.
const LIVE_DEPTH: usize = 1024;

/// Size of each of the two files unless told otherwise.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The history of this node. Shared by reference; recording and asking wait for nothing.
#[derive(Debug)]
pub struct History {
    held: Mutex<VecDeque<Arc<HistoryEntry>>>,
    live: broadcast::Sender<Arc<HistoryEntry>>,
    writer: Option<Writer>,
}

impl History {
    /// Takes up the history of `directory`. Never fails: without its files it goes on in memory and
    /// [`trouble`](Self::trouble) says why.
    pub fn open(directory: &Path, file_bytes_max: u64) -> Self {
        let held: VecDeque<_> = files::last(directory, HELD_MAX).into_iter().map(Arc::new).collect();
        let writer = Writer::spawn(Files::new(directory, file_bytes_max));
        Self { held: Mutex::new(held), live: broadcast::Sender::new(LIVE_DEPTH), writer: Some(writer) }
    }

    /// A history without files.
    pub fn in_memory() -> Self {
        Self { held: Mutex::default(), live: broadcast::Sender::new(LIVE_DEPTH), writer: None }
    }

    /// Keeps an entry and tells it to all followers.
    pub fn record(&self, entry: HistoryEntry) {
        if let Some(writer) = &self.writer {
            writer.offer(&entry);
        }
        let entry = Arc::new(entry);
        let mut held = self.lock();
        if held.len() == HELD_MAX {
            held.pop_front();
        }
        held.push_back(Arc::clone(&entry));
        // Told under the lock: a follower that joins now has it in its past or hears it, never both.
        let _nobody_listens = self.live.send(entry);
    }

    /// At most `count` of the last entries held in memory, oldest first.
    pub fn last(&self, count: usize) -> Vec<Arc<HistoryEntry>> {
        self.follow(count).0
    }

    /// The same, and every entry after them.
    pub fn follow(&self, count: usize) -> (Vec<Arc<HistoryEntry>>, broadcast::Receiver<Arc<HistoryEntry>>) {
        let held = self.lock();
        let skip = held.len().saturating_sub(count);
        (held.iter().skip(skip).cloned().collect(), self.live.subscribe())
    }

    /// Why the files are not written at present, for an alarm.
    pub fn trouble(&self) -> Option<String> {
        self.writer.as_ref().and_then(Writer::trouble)
    }

    /// Waits until everything recorded so far is on disk, at most this long. For the end of the daemon.
    pub fn flush(&self, within: Duration) {
        if let Some(writer) = &self.writer {
            writer.flush(within);
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<HistoryEntry>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
