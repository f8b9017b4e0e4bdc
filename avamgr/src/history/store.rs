//! The store of the history: one file with the entries by their numbers, within a bound. No thread, no memory of its own.
//!
//! What is read from a file may be anything. Every access is spared: where the library panics over damage, that is an error.

mod error;
mod query;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use avamgr_core::control::HistoryEntry;
use redb::backends::{FileBackend, InMemoryBackend};
use redb::{
    Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, StorageBackend,
    Table, TableDefinition,
};

use crate::die;

pub use error::StoreError;
pub use query::{Page, Query};

/// Name of the file.
pub const FILE: &str = "history.redb";

/// Each entry as JSON, by its number.
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
/// Under [`BYTES`]: how long all entries are together.
const FIGURES: TableDefinition<'_, &str, u64> = TableDefinition::new("figures");
const BYTES: &str = "bytes";

/// Memory for pages; the system keeps the file in its own.
const CACHE: usize = 1024 * 1024;
/// Longest file that is read as a whole: far more than the bound of any history needs.
const COPY_MAX: u64 = 64 * 1024 * 1024;
/// How often a file is copied that is written to meanwhile.
const COPIES: usize = 3;

/// A history on disk, or a copy of one in memory.
#[derive(Debug)]
pub struct Store {
    /// Gone only while the store is dropped.
    database: Option<Database>,
    bytes_max: u64,
}

impl Store {
    /// Opens the store of a directory, or makes it. All of it is checked.
    ///
    /// # Errors
    /// When it is damaged, or cannot be opened.
    pub fn open(directory: &Path, bytes_max: u64) -> Result<Self, StoreError> {
        fs::create_dir_all(directory)?;
        let path = directory.join(FILE);
        // Something else than a file (a pipe, a device) is not opened: that alone may hang.
        if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(StoreError::Unusable(format!("{} is not a file", path.display())));
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(path)?;
        let backend = die::spare(|| FileBackend::new(file)).map_err(StoreError::Damaged)??;
        Self::over(backend, bytes_max)
    }

    /// A copy of the store of a directory as it is on disk, whoever has it open and whatever became of them; `None` = there is
    /// none.
    ///
    /// # Errors
    /// When it is damaged, or cannot be read.
    pub fn copy(directory: &Path) -> Result<Option<Self>, StoreError> {
        let path = directory.join(FILE);
        let mut tries = 1;
        loop {
            let Some(bytes) = read(&path)? else { return Ok(None) };
            let memory = InMemoryBackend::new();
            memory.set_len(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
            memory.write(0, &bytes)?;
            drop(bytes);
            match Self::over(memory, u64::MAX) {
                // Somebody may have written while it was copied.
                Err(StoreError::Damaged(_)) if tries < COPIES => tries += 1,
                opened => return opened.map(Some),
            }
        }
    }

    fn over(backend: impl StorageBackend, bytes_max: u64) -> Result<Self, StoreError> {
        let open = || -> Result<Self, StoreError> {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
            let store = Self { database: Some(builder.create_with_backend(backend)?), bytes_max };
            // From now on there are both tables.
            let transaction = store.database()?.begin_write()?;
            transaction.open_table(ENTRIES)?;
            transaction.open_table(FIGURES)?;
            transaction.commit()?;
            Ok(store)
        };
        die::spare(open).map_err(StoreError::Damaged)?
    }

    /// The number of the next entry.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn next(&self) -> Result<u64, StoreError> {
        self.read(|entries| Ok(entries.last()?.map_or(1, |(number, _)| number.value().saturating_add(1))))
    }

    /// The last entries, the oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn last(&self, count: usize) -> Result<Vec<HistoryEntry>, StoreError> {
        self.read(|entries| {
            let mut last = Vec::new();
            for found in entries.iter()?.rev().take(count) {
                let (number, value) = found?;
                last.extend(decode(number.value(), value.value()));
            }
            last.reverse();
            Ok(last)
        })
    }

    /// Adds entries in the order of their numbers, and removes the oldest ones beyond the bound. They are on disk when it
    /// returns. What has a number that the store has already is passed over.
    ///
    /// # Errors
    /// When the store cannot be written; nothing has changed then.
    pub fn append<'a>(&self, news: impl Iterator<Item = &'a HistoryEntry>) -> Result<(), StoreError> {
        self.write(|entries, bytes| {
            let next = entries.last()?.map_or(1, |(number, _)| number.value().saturating_add(1));
            for entry in news.filter(|entry| entry.number >= next) {
                let Ok(text) = serde_json::to_vec(entry) else { continue };
                entries.insert(entry.number, text.as_slice())?;
                *bytes += length(&text);
            }
            // The last one stays: the next one has the number after it.
            while *bytes > self.bytes_max && entries.len()? > 1 {
                let Some((_, oldest)) = entries.pop_first()? else { break };
                *bytes = bytes.saturating_sub(length(oldest.value()));
            }
            Ok(())
        })
    }

    fn database(&self) -> Result<&Database, StoreError> {
        self.database.as_ref().ok_or_else(|| StoreError::Unusable("it is closed".to_owned()))
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&ReadOnlyTable<u64, &'static [u8]>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let read = || work(&self.database()?.begin_read()?.open_table(ENTRIES)?);
        die::spare(read).map_err(StoreError::Damaged)?
    }

    fn write(
        &self,
        work: impl FnOnce(&mut Table<'_, u64, &'static [u8]>, &mut u64) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let write = || -> Result<(), StoreError> {
            let transaction = self.database()?.begin_write()?;
            let mut entries = transaction.open_table(ENTRIES)?;
            let mut figures = transaction.open_table(FIGURES)?;
            let mut bytes = figures.get(BYTES)?.map_or(0, |bytes| bytes.value());
            work(&mut entries, &mut bytes)?;
            figures.insert(BYTES, bytes)?;
            drop((entries, figures));
            Ok(transaction.commit()?)
        };
        die::spare(write).map_err(StoreError::Damaged)?
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Closing reads and writes too.
        let _ = die::spare(|| drop(self.database.take()));
    }
}

fn length(text: &[u8]) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// What cannot be read (another version's entry) is passed over.
fn decode(number: u64, value: &[u8]) -> Option<HistoryEntry> {
    let entry: HistoryEntry = serde_json::from_slice(value).ok()?;
    Some(HistoryEntry { number, ..entry })
}

/// All of a file; `None` = there is none, or it is none.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(COPY_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests;
