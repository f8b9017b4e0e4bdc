//! What is known of every path, and what is owed to whom: on disk, so that a node that was away knows what it knew.

use std::path::Path;

use redb::{
    CommitError, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    SetDurabilityError, StorageError, Table, TableDefinition, TableError, TransactionError, WriteTransaction,
};
use serde::{Deserialize, Serialize};

use crate::place::{BadPlace, Place};
use crate::plan::Item;
use crate::tree::Trace;
use crate::version::Entry;

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
/// Who, and what.
const OWED: TableDefinition<'_, (&str, &[u8]), ()> = TableDefinition::new("owed");
/// What was replaced or lost, by the name of its file.
const KEPT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("kept");
/// Memory for what was read; the file system has its own.
const CACHE: usize = 4 * 1024 * 1024;

/// What is known of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it holds, and how that came about.
    pub entry: Entry,
    /// By what it can be told that this is so still.
    pub trace: Option<Trace>,
}

/// What was there before, and is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Where it was.
    pub place: Place,
    /// What it was.
    pub entry: Entry,
    /// Since when it is kept, in milliseconds since 1970.
    pub millis: u64,
    /// It lost against another change made at the same time; otherwise it was replaced or deleted by who knew it.
    pub conflict: bool,
}

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened, or is none of ours.
    #[error("the store cannot be opened: {0}")]
    Open(#[from] DatabaseError),
    /// It cannot be read or written.
    #[error("the store cannot be read or written: {0}")]
    Storage(#[from] StorageError),
    /// No transaction could be begun.
    #[error("the store cannot be read or written: {0}")]
    Transaction(Box<TransactionError>),
    /// A table is damaged.
    #[error("the store is damaged: {0}")]
    Table(#[from] TableError),
    /// What was changed did not get to the disk.
    #[error("the store cannot be written: {0}")]
    Commit(#[from] CommitError),
    /// The library does not do what it was asked for.
    #[error("the store cannot be written: {0}")]
    Durability(#[from] SetDurabilityError),
    /// There is something in it that we did not write.
    #[error("the store is damaged: {0}")]
    Record(#[from] serde_json::Error),
    /// There is a path in it that is none.
    #[error("the store is damaged: {0}")]
    Place(#[from] BadPlace),
}

impl From<TransactionError> for StoreError {
    fn from(error: TransactionError) -> Self {
        Self::Transaction(Box::new(error))
    }
}

/// The store of one node.
#[derive(Debug)]
pub struct Store {
    database: Database,
}

impl Store {
    /// Opens it, or makes it.
    ///
    /// # Errors
    /// When there is another program that has it open, or the file is damaged.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::builder().set_cache_size(CACHE).create(path)?;
        let store = Self { database };
        store.write(|_| Ok(()))?;
        Ok(store)
    }

    fn read(&self) -> Result<ReadTransaction, StoreError> {
        Ok(self.database.begin_read()?)
    }

    /// What is known of a path.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn get(&self, place: &Place) -> Result<Option<Record>, StoreError> {
        let records = self.read()?.open_table(RECORDS)?;
        let found = records.get(place.as_bytes())?;
        Ok(found.map(|bytes| serde_json::from_slice(bytes.value())).transpose()?)
    }

    /// What is known of a path and of everything in it, what is gone included; in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn under(&self, place: &Place) -> Result<Vec<(Place, Record)>, StoreError> {
        let records = self.read()?.open_table(RECORDS)?;
        let (mut first, mut end) = (place.as_bytes().to_vec(), place.as_bytes().to_vec());
        first.push(b'/');
        end.push(b'/' + 1);
        let inside = records.range(first.as_slice()..end.as_slice())?;
        let own = self.get(place)?.map(|record| Ok((place.clone(), record)));
        let inside = inside.map(|found| {
            let (key, value) = found?;
            Ok((Place::checked(key.value().to_vec())?, serde_json::from_slice(value.value())?))
        });
        own.into_iter().chain(inside).collect()
    }

    /// The first of what is owed to a peer, of those that are `wanted`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn owed(&self, peer: &str, at_most: usize, wanted: impl Fn(&Item) -> bool) -> Result<Vec<Item>, StoreError> {
        let read = self.read()?;
        let (owed, records) = (read.open_table(OWED)?, read.open_table(RECORDS)?);
        let mut items = Vec::new();
        for found in owed.range((peer, [].as_slice())..)? {
            let (key, _) = found?;
            let (whose, place) = key.value();
            if whose != peer || items.len() >= at_most {
                break;
            }
            if let Some(record) = records.get(place)? {
                let Record { entry, .. } = serde_json::from_slice(record.value())?;
                let item = Item { place: Place::checked(place.to_vec())?, entry };
                items.extend(Some(item).filter(&wanted));
            }
        }
        Ok(items)
    }

    /// Everything that is kept, by the name of its file, the oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn kept(&self) -> Result<Vec<(String, Kept)>, StoreError> {
        let kept = self.read()?.open_table(KEPT)?;
        let all = kept.iter()?.map(|found| {
            let (name, value) = found?;
            Ok((name.value().to_owned(), serde_json::from_slice(value.value())?))
        });
        all.collect()
    }

    /// Changes several things at once, or none of them; they are on disk then.
    ///
    /// # Errors
    /// When the store cannot be written, or `change` fails; nothing has changed then.
    pub fn write<T>(&self, change: impl FnOnce(&mut Changes<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.commit(Durability::Immediate, change)
    }

    /// As [`Self::write`], but it gets to the disk with the next write only. What is lost of it by a crash is found again by a look at
    /// the rules.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub fn note<T>(&self, change: impl FnOnce(&mut Changes<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.commit(Durability::None, change)
    }

    fn commit<T>(
        &self,
        durability: Durability,
        change: impl FnOnce(&mut Changes<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut transaction: WriteTransaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        let result = {
            let (records, owed) = (transaction.open_table(RECORDS)?, transaction.open_table(OWED)?);
            change(&mut Changes { records, owed, kept: transaction.open_table(KEPT)? })?
        };
        transaction.commit()?;
        Ok(result)
    }
}

/// Changes under way.
pub struct Changes<'a> {
    records: Table<'a, &'static [u8], &'static [u8]>,
    owed: Table<'a, (&'static str, &'static [u8]), ()>,
    kept: Table<'a, &'static str, &'static [u8]>,
}

impl Changes<'_> {
    /// What is known of a path from now on, and who has to be told.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn put<'p>(
        &mut self,
        place: &Place,
        record: &Record,
        peers: impl IntoIterator<Item = &'p str>,
    ) -> Result<(), StoreError> {
        self.records.insert(place.as_bytes(), serde_json::to_vec(record)?.as_slice())?;
        for peer in peers {
            self.owed.insert((peer, place.as_bytes()), ())?;
        }
        Ok(())
    }

    /// A peer knows `item`. What has changed since then is owed still.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn paid(&mut self, peer: &str, item: &Item) -> Result<(), StoreError> {
        let known = match self.records.get(item.place.as_bytes())? {
            Some(bytes) => {
                let Record { entry, .. } = serde_json::from_slice(bytes.value())?;
                item.entry.follows(&entry)
            }
            None => true,
        };
        if known {
            self.owed.remove((peer, item.place.as_bytes()))?;
        }
        Ok(())
    }

    /// A peer has to be told of a path, as it is.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn owe(&mut self, peer: &str, place: &Place) -> Result<(), StoreError> {
        self.owed.insert((peer, place.as_bytes()), ())?;
        Ok(())
    }

    /// Something is kept as `name`.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn keep(&mut self, name: &str, kept: &Kept) -> Result<(), StoreError> {
        self.kept.insert(name, serde_json::to_vec(kept)?.as_slice())?;
        Ok(())
    }

    /// It is kept no longer.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn forget(&mut self, name: &str) -> Result<(), StoreError> {
        self.kept.remove(name)?;
        Ok(())
    }

    /// A peer may know nothing at all: everything is owed to it.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn owe_everything(&mut self, peer: &str) -> Result<(), StoreError> {
        for found in self.records.iter()? {
            let (key, _) = found?;
            self.owed.insert((peer, key.value()), ())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::{Content, Seen};

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        (directory, store)
    }

    fn place(text: &str) -> Place {
        Place::try_from(text.to_owned()).unwrap()
    }

    fn record(byte: u8) -> Record {
        let seen = Seen { node: "a", active: true, millis: 1 };
        let content = Content::File { digest: [byte; 32], size: 1, mode: 0o644 };
        Record { entry: Entry::first(seen, content), trace: None }
    }

    fn changed(record: &Record) -> Record {
        let seen = Seen { node: "a", active: true, millis: 2 };
        Record { entry: record.entry.changed(seen, Content::Gone), trace: None }
    }

    fn item(text: &str, record: &Record) -> Item {
        Item { place: place(text), entry: record.entry.clone() }
    }

    fn owed(store: &Store, peer: &str) -> Vec<String> {
        store.owed(peer, 100, |_| true).unwrap().iter().map(|item| item.place.to_string()).collect()
    }

    #[test]
    fn what_is_known_is_known_to_the_next_run() {
        let (directory, store) = store();
        store.write(|changes| changes.put(&place("re/a"), &record(1), ["b"])).unwrap();
        drop(store);
        let store = Store::open(&directory.path().join("store")).unwrap();
        assert_eq!(store.get(&place("re/a")).unwrap(), Some(record(1)));
        assert_eq!((owed(&store, "b"), store.get(&place("re/b")).unwrap()), (vec!["re/a".to_owned()], None));
    }

    #[test]
    fn a_directory_is_what_is_in_it_and_not_what_begins_like_it() {
        let (_directory, store) = store();
        let all = ["re/a", "re/a!", "re/a-b/x", "re/a/x", "re/a/x/y", "re/ab", "re/a0"];
        store.write(|changes| all.iter().try_for_each(|text| changes.put(&place(text), &record(1), []))).unwrap();
        let under: Vec<_> = store.under(&place("re/a")).unwrap().iter().map(|(place, _)| place.to_string()).collect();
        assert_eq!(under, ["re/a", "re/a/x", "re/a/x/y"]);
    }

    #[test]
    fn what_is_owed_is_owed_to_each_until_it_knows_it_as_it_is() {
        let (_directory, store) = store();
        let (first, second) = (record(1), changed(&record(1)));
        store.write(|changes| changes.put(&place("re/a"), &first, ["b", "bc"])).unwrap();
        store.write(|changes| changes.paid("b", &item("re/a", &first))).unwrap();
        assert_eq!((owed(&store, "b"), owed(&store, "bc").len()), (vec![], 1));
        store.write(|changes| changes.put(&place("re/a"), &second, ["b"])).unwrap();
        store.write(|changes| changes.paid("b", &item("re/a", &first))).unwrap();
        assert_eq!(store.owed("b", 100, |_| true).unwrap(), [item("re/a", &second)], "it knows an older one");
        store.write(|changes| changes.paid("b", &item("re/a", &second))).unwrap();
        assert_eq!(owed(&store, "b"), [""; 0]);
        store.write(|changes| changes.owe_everything("b")).unwrap();
        assert_eq!((owed(&store, "b").len(), store.owed("b", 0, |_| true).unwrap().len()), (1, 0));
    }

    #[test]
    fn what_is_kept_is_known_by_its_name_until_it_is_forgotten() {
        let (_directory, store) = store();
        let kept = Kept { place: place("re/a"), entry: record(1).entry, millis: 7, conflict: true };
        store.write(|changes| changes.keep("2", &kept)).unwrap();
        store.write(|changes| changes.keep("1", &kept)).unwrap();
        assert_eq!(store.kept().unwrap(), [("1".to_owned(), kept.clone()), ("2".to_owned(), kept.clone())]);
        store.write(|changes| changes.forget("1")).unwrap();
        assert_eq!(store.kept().unwrap(), [("2".to_owned(), kept)]);
    }

    #[test]
    fn a_change_that_fails_changes_nothing() {
        let (_directory, store) = store();
        let failed: Result<(), _> = store.write(|changes| {
            changes.put(&place("re/a"), &record(1), ["b"])?;
            Err(StoreError::Place(BadPlace::Outside))
        });
        assert!(failed.is_err());
        assert_eq!((store.get(&place("re/a")).unwrap(), owed(&store, "b").len()), (None, 0));
    }

    #[test]
    fn a_file_that_is_no_store_is_refused_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        std::fs::write(&path, "something else").unwrap();
        assert!(Store::open(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"something else");
    }
}
