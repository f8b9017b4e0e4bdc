//! HISTORY: every event, kept on disk within bounds and told live.
//!
//! ```text
//! record ─▶ held (the last ones, in memory) ─▶ followers
//!        └▶ queue ─▶ writer's thread ─▶ store ◀─ reader's thread ◀─ questions beyond what is held
//! ```
//!
//! Each entry has a number, one more than the one before it, also over restarts. Recording and following wait for nothing: a
//! disk that hangs or is full, or a file that is damaged, costs nobody anything but the file, and is reported once.

mod held;
mod legacy;
mod reader;
pub mod store;
mod telling;
pub mod why;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use avamgr_core::control::HistoryEntry;
use tokio::sync::broadcast;

use crate::history::held::Held;
use crate::history::reader::Reader;
use crate::history::writer::Writer;

pub use held::HELD_MAX;
pub use telling::Telling;

/// Live entries a slow follower may be behind before it misses some.
const LIVE_DEPTH: usize = 1024;

/// How long all entries on disk are together unless told otherwise: some 20,000, for months of a quiet cluster.
pub const BYTES_MAX: u64 = 8 * 1024 * 1024;

/// How long the store may take to be opened before recording begins without it. The numbers are in it.
const OPENING: Duration = Duration::from_secs(1);

/// The history of this node. Shared by reference; recording and following wait for nothing.
#[derive(Debug)]
pub struct History {
    held: Arc<Mutex<Held>>,
    live: broadcast::Sender<Arc<HistoryEntry>>,
    disk: Option<Disk>,
}

#[derive(Debug)]
struct Disk {
    writer: Writer,
    reader: Reader,
}

impl History {
    /// Takes up the history of `directory`. Never fails: without its store it goes on in memory and
    /// [`trouble`](Self::trouble) says why.
    pub fn open(directory: &Path, bytes_max: u64) -> Self {
        // Where there is nothing yet it begins with 1, whether a store can be made or not.
        let begins = !directory.join(store::FILE).exists() && !legacy::is_there(directory);
        let held = Arc::new(Mutex::new(Held::from(begins.then_some(1))));
        let writer = Writer::spawn(directory, bytes_max, Arc::clone(&held), OPENING);
        let reader = Reader::spawn(writer.shelf());
        Self { held, live: broadcast::Sender::new(LIVE_DEPTH), disk: Some(Disk { writer, reader }) }
    }

    /// A history without a store.
    pub fn in_memory() -> Self {
        let held = Arc::new(Mutex::new(Held::from(Some(1))));
        Self { held, live: broadcast::Sender::new(LIVE_DEPTH), disk: None }
    }

    /// Gives an entry its number, keeps it and tells it to all followers.
    pub fn record(&self, entry: HistoryEntry) {
        let mut held = lock(&self.held);
        let entry = held.record(entry);
        if let Some(disk) = self.disk.as_ref().filter(|_| held.is_numbered()) {
            disk.writer.offer(&entry);
        }
        // Under the lock, so that `follow` sees each entry once. Nobody listening is no error.
        let _ = self.live.send(entry);
    }

    /// Keeps an entry of another history, with the number it has there, and tells it to all followers.
    pub fn repeat(&self, entry: HistoryEntry) {
        let mut held = lock(&self.held);
        let entry = held.keep(entry);
        let _ = self.live.send(entry);
    }

    /// At most `count` of the last entries that are held, oldest first.
    pub fn last(&self, count: usize) -> Vec<Arc<HistoryEntry>> {
        self.follow(count).0
    }

    /// The same, and every entry after them.
    pub fn follow(&self, count: usize) -> (Vec<Arc<HistoryEntry>>, broadcast::Receiver<Arc<HistoryEntry>>) {
        let held = lock(&self.held);
        (held.last(count), self.live.subscribe())
    }

    /// Why the store is not written at present, for an alarm.
    pub fn trouble(&self) -> Option<String> {
        self.disk.as_ref().and_then(|disk| disk.writer.trouble())
    }

    /// Waits until everything recorded so far is on disk, at most this long.
    pub fn flush(&self, within: Duration) {
        if let Some(disk) = &self.disk {
            disk.writer.flush(within);
        }
    }

    /// The same for the end of the daemon: whoever opens the store next need not mend it.
    pub fn close(&self, within: Duration) {
        if let Some(disk) = &self.disk {
            disk.writer.close(within);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
