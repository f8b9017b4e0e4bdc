//! How old things are. The clock on the wall may be set a year ahead in a moment, and what is kept must not be gone then: only time
//! that has passed while this program ran counts.

use std::collections::BTreeMap;
use std::time::Duration;

use redb::{ReadableTable as _, TableDefinition};

use super::{KEPT, NUMBERS, Store, StoreError};

/// How long this program had run when it first saw what is kept, in milliseconds, by the name of its file.
const AGES: TableDefinition<'_, &str, u64> = TableDefinition::new("ages");
/// How long it has run. No node has such a name.
const LIVED: &str = "lived/";

impl Store {
    /// So much time has passed since this was asked last, or since this run began. How old everything is that is kept, by the name
    /// of its file.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn grow_older(&self, passed: Duration) -> Result<BTreeMap<String, Duration>, StoreError> {
        let transaction = self.database.begin_write()?;
        let mut ages = BTreeMap::new();
        {
            let (kept, mut first_seen) = (transaction.open_table(KEPT)?, transaction.open_table(AGES)?);
            let mut numbers = transaction.open_table(NUMBERS)?;
            let before = numbers.get(LIVED)?.map_or(0, |lived| lived.value());
            let lived = before.saturating_add(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX));
            numbers.insert(LIVED, lived)?;
            for found in kept.iter()? {
                let name = found?.0.value().to_owned();
                let since = first_seen.get(name.as_str())?.map(|since| since.value());
                if since.is_none() {
                    first_seen.insert(name.as_str(), lived)?;
                }
                ages.insert(name, Duration::from_millis(lived.saturating_sub(since.unwrap_or(lived))));
            }
            first_seen.retain(|name, _| ages.contains_key(name))?;
        }
        transaction.commit()?;
        Ok(ages)
    }
}
