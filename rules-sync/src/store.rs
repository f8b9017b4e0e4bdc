//! What is known of every path, and what is owed to whom: on disk, so that a node that was away knows what it knew.

mod age;
mod inside;
mod undo;
mod view;

use std::path::Path;

use redb::{
    CommitError, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    SetDurabilityError, StorageError, Table, TableDefinition, TableError, TransactionError, WriteTransaction,
};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::place::{BadPlace, Place};
use crate::plan::Item;
use crate::tree::Trace;
use crate::version::{Content, Entry};

pub use view::View;

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
/// Who, and what; since when, and whether the content goes without being asked for.
const OWED: TableDefinition<'_, (&str, &[u8]), (u64, bool)> = TableDefinition::new("owed");
/// What was replaced or lost, by the name of its file.
const KEPT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("kept");
/// The number of this store, and those of the peers; how much a directory that is held has lost.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// Whose number that of this store is.
const OWN: &str = "";
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

/// A path that a peer has to be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// It.
    pub item: Item,
    /// Its content goes when the peer has asked for it: it may have the same.
    pub offer: bool,
}

/// How much a peer has to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// So many paths.
    pub paths: u64,
    /// The first of them since then, in milliseconds since 1970.
    pub since: Option<u64>,
}

/// How a path is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debt {
    /// Since when, in milliseconds since 1970.
    pub millis: u64,
    /// Its content goes when the peer has asked for it.
    pub offer: bool,
}

impl Debt {
    /// The content goes at once.
    pub fn now(millis: u64) -> Self {
        Self { millis, offer: false }
    }
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
        // The moment it is made tells it from one that was lost.
        let number = u64::try_from(clock::wall().as_nanos()).unwrap_or(u64::MAX);
        store.write(|changes| {
            let known = changes.numbers.get(OWN)?.is_some();
            if !known {
                changes.numbers.insert(OWN, number)?;
            }
            Ok(())
        })?;
        Ok(store)
    }

    /// The number of this store: another one after it was lost.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn number(&self) -> Result<u64, StoreError> {
        Ok(self.number_of(OWN)?.unwrap_or_default())
    }

    /// The number of a peer's store when it was heard last.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn number_of(&self, peer: &str) -> Result<Option<u64>, StoreError> {
        let numbers = self.read()?.open_table(NUMBERS)?;
        let number = numbers.get(peer)?;
        Ok(number.map(|number| number.value()))
    }

    /// How many paths a directory of the config had lost at once, when it is held.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn held(&self, directory: &str) -> Result<Option<u64>, StoreError> {
        self.number_of(&held_key(directory))
    }

    /// Shows every path that holds something, in order, with what it holds.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn each(&self, mut show: impl FnMut(Place, Entry)) -> Result<(), StoreError> {
        let records = self.read()?.open_table(RECORDS)?;
        for found in records.iter()? {
            let (key, value) = found?;
            let Record { entry, .. } = serde_json::from_slice(value.value())?;
            if entry.content != Content::Gone {
                show(Place::checked(key.value().to_vec())?, entry);
            }
        }
        Ok(())
    }

    /// How much a peer has to be told.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn backlog(&self, peer: &str) -> Result<Backlog, StoreError> {
        let owed = self.read()?.open_table(OWED)?;
        let mut backlog = Backlog::default();
        for found in owed.range((peer, [].as_slice())..)? {
            let (key, value) = found?;
            if key.value().0 != peer {
                break;
            }
            let (millis, _) = value.value();
            backlog.paths += 1;
            backlog.since = Some(backlog.since.map_or(millis, |since| since.min(millis)));
        }
        Ok(backlog)
    }

    /// Whether a peer has to be told of a path.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn owes(&self, peer: &str, place: &Place) -> Result<bool, StoreError> {
        Ok(self.read()?.open_table(OWED)?.get((peer, place.as_bytes()))?.is_some())
    }

    fn read(&self) -> Result<ReadTransaction, StoreError> {
        Ok(self.database.begin_read()?)
    }

    /// What is known of a path.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn get(&self, place: &Place) -> Result<Option<Record>, StoreError> {
        self.view()?.get(place)
    }

    /// The first of what is owed to a peer, of those that are `wanted`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn owed(&self, peer: &str, at_most: usize, wanted: impl Fn(&Item) -> bool) -> Result<Vec<Owed>, StoreError> {
        let read = self.read()?;
        let (owed, records) = (read.open_table(OWED)?, read.open_table(RECORDS)?);
        let mut items = Vec::new();
        for found in owed.range((peer, [].as_slice())..)? {
            let (key, value) = found?;
            let ((whose, place), (_, offer)) = (key.value(), value.value());
            if whose != peer || items.len() >= at_most {
                break;
            }
            if let Some(record) = records.get(place)? {
                let Record { entry, .. } = serde_json::from_slice(record.value())?;
                let item = Item { place: Place::checked(place.to_vec())?, entry };
                items.extend(Some(item).filter(&wanted).map(|item| Owed { item, offer }));
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
            let (kept, numbers) = (transaction.open_table(KEPT)?, transaction.open_table(NUMBERS)?);
            change(&mut Changes { records, owed, kept, numbers })?
        };
        transaction.commit()?;
        Ok(result)
    }
}

/// The first key of what lies in a place, and the first behind it.
fn inside(place: &Place) -> (Vec<u8>, Vec<u8>) {
    let (mut first, mut end) = (place.as_bytes().to_vec(), place.as_bytes().to_vec());
    first.push(b'/');
    end.push(b'/' + 1);
    (first, end)
}

/// No node has such a name.
fn held_key(directory: &str) -> String {
    format!("held/{directory}")
}

/// Changes under way.
pub struct Changes<'a> {
    records: Table<'a, &'static [u8], &'static [u8]>,
    owed: Table<'a, (&'static str, &'static [u8]), (u64, bool)>,
    kept: Table<'a, &'static str, &'static [u8]>,
    numbers: Table<'a, &'static str, u64>,
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
        debt: Debt,
    ) -> Result<(), StoreError> {
        self.records.insert(place.as_bytes(), serde_json::to_vec(record)?.as_slice())?;
        peers.into_iter().try_for_each(|peer| self.owe(peer, place, debt))
    }

    /// A peer knows `item`. What has changed since then is owed still, since `millis`.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn paid(&mut self, peer: &str, item: &Item, millis: u64) -> Result<(), StoreError> {
        let known = match self.records.get(item.place.as_bytes())? {
            Some(bytes) => {
                let Record { entry, .. } = serde_json::from_slice(bytes.value())?;
                item.entry.follows(&entry)
            }
            None => true,
        };
        let key = (peer, item.place.as_bytes());
        let owed = self.owed.remove(key)?.map(|owed| owed.value());
        if let (Some((_, offer)), false) = (owed, known) {
            self.owed.insert(key, (millis, offer))?;
        }
        Ok(())
    }

    /// A peer has to be told of a path, as it is.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn owe(&mut self, peer: &str, place: &Place, debt: Debt) -> Result<(), StoreError> {
        let key = (peer, place.as_bytes());
        let owed = self.owed.get(key)?.map(|owed| owed.value());
        // It waits since it was owed first. What was only offered goes when it is wanted or changed.
        let since = owed.map_or(debt.millis, |(millis, _)| millis.min(debt.millis));
        let offer = debt.offer && owed.is_none_or(|(_, offer)| offer);
        self.owed.insert(key, (since, offer))?;
        Ok(())
    }

    /// What was owed to anybody is owed to `peer`, and to nobody else.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn owe_only(&mut self, peer: &str) -> Result<(), StoreError> {
        let mut others = Vec::new();
        self.owed.retain(|(whose, place), value| {
            others.extend((whose != peer).then(|| (place.to_vec(), value)));
            whose == peer
        })?;
        for (place, (millis, offer)) in others {
            self.owe(peer, &Place::checked(place)?, Debt { millis, offer })?;
        }
        Ok(())
    }

    /// The number of a peer's store.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn set_number(&mut self, peer: &str, number: u64) -> Result<(), StoreError> {
        self.numbers.insert(peer, number)?;
        Ok(())
    }

    /// What is known of a path.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn get(&self, place: &Place) -> Result<Option<Record>, StoreError> {
        let found = self.records.get(place.as_bytes())?;
        Ok(found.map(|bytes| serde_json::from_slice(bytes.value())).transpose()?)
    }

    /// Whether something is known of a path.
    pub fn knows(&self, place: &Place) -> bool {
        matches!(self.records.get(place.as_bytes()), Ok(Some(_)))
    }

    /// A directory of the config is held, because it has lost so many paths at once, or no longer.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn hold(&mut self, directory: &str, lost: Option<u64>) -> Result<(), StoreError> {
        match lost {
            Some(lost) => drop(self.numbers.insert(held_key(directory).as_str(), lost)?),
            None => drop(self.numbers.remove(held_key(directory).as_str())?),
        }
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

    /// A peer may know nothing at all, or the same: everything is offered to it.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn offer_everything(&mut self, peer: &str, millis: u64) -> Result<(), StoreError> {
        for found in self.records.iter()? {
            let (place, _) = found?;
            let key = (peer, place.value());
            if self.owed.get(key)?.is_none() {
                self.owed.insert(key, (millis, true))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
