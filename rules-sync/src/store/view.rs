//! What is known at one moment, whatever is written after it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use redb::ReadOnlyTable;

use super::{Place, RECORDS, Record, Store, StoreError, inside};

/// What is known of every path.
pub struct View {
    records: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl Store {
    /// What is known now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn view(&self) -> Result<View, StoreError> {
        Ok(View { records: self.read()?.open_table(RECORDS)? })
    }
}

impl View {
    /// What is known of a path.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn get(&self, place: &Place) -> Result<Option<Record>, StoreError> {
        let found = self.records.get(place.as_bytes())?;
        Ok(found.map(|bytes| serde_json::from_slice(bytes.value())).transpose()?)
    }

    /// What lies right in a place, as far as anything is or was known of it or of what lies in it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn children(&self, place: &Place) -> Result<BTreeSet<Place>, StoreError> {
        let (mut first, end) = inside(place);
        let depth = first.len();
        let mut children = BTreeSet::new();
        'behind: loop {
            for found in self.records.range(first.as_slice()..end.as_slice())? {
                let (key, _) = found?;
                let below = key.value().get(depth..).unwrap_or_default();
                let name = below.split(|byte| *byte == b'/').next().unwrap_or_default();
                let child = place.child(OsStr::from_bytes(name))?;
                let is_deeper = name.len() < below.len();
                if is_deeper {
                    // A directory is passed over, however much lies in it.
                    (_, first) = inside(&child);
                    children.insert(child);
                    continue 'behind;
                }
                children.insert(child);
            }
            return Ok(children);
        }
    }
}
