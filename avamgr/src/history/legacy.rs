//! The two files of lines in which older versions kept the history: taken over once, then gone.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use avamgr_core::control::HistoryEntry;

use crate::history::store::{Store, StoreError};

/// Their names, the older one first.
const FILES: [&str; 2] = ["history.1.jsonl", "history.jsonl"];

/// Most of one file that is read; older versions let none grow so long.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Whether there is anything to take over.
pub(super) fn is_there(directory: &Path) -> bool {
    FILES.iter().any(|name| fs::symlink_metadata(directory.join(name)).is_ok())
}

/// Puts what is in the files behind what the store has, and removes them when it is on disk. After a death in between it is not
/// there twice: what is no later than the last entry of the store was taken over already.
pub(super) fn take_over(directory: &Path, store: &Store) -> Result<(), StoreError> {
    if !is_there(directory) {
        return Ok(());
    }
    let last = store.last(1)?.pop().map(|entry| entry.time);
    let lines = FILES.iter().flat_map(|name| lines_of(&directory.join(name)));
    let mut news: Vec<HistoryEntry> =
        lines.filter(|entry| last.as_ref().is_none_or(|last| entry.time > *last)).collect();
    for (number, entry) in (store.next()?..).zip(&mut news) {
        entry.number = number;
    }
    store.append(news.iter())?;
    for name in FILES {
        match fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
    }
    tracing::info!(events = news.len(), "the history of an older version is taken over");
    Ok(())
}

/// What cannot be read (a torn line, another version's entry, no file) is passed over.
fn lines_of(path: &Path) -> Vec<HistoryEntry> {
    let Ok(bytes) = tail(path) else { return Vec::new() };
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// The end of a file, in bounds whatever has been put in its place.
fn tail(path: &Path) -> io::Result<Vec<u8>> {
    // Something else than a file (a pipe, a device) is not opened: that alone may hang.
    if !fs::metadata(path)?.is_file() {
        return Ok(Vec::new());
    }
    let mut file = File::open(path)?;
    let bytes = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(bytes.saturating_sub(BYTES_MAX)))?;
    let mut tail = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut tail)?;
    Ok(tail)
}
