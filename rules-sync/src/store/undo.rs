//! What turned out not to be so.

use super::{Changes, Record, StoreError};
use crate::place::Place;

impl Changes<'_> {
    /// What is known of a path is what was known of it before. Whoever has to be told has to be told still.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn put_back(&mut self, place: &Place, before: Option<&Record>) -> Result<(), StoreError> {
        match before {
            Some(record) => drop(self.records.insert(place.as_bytes(), serde_json::to_vec(record)?.as_slice())?),
            None => drop(self.records.remove(place.as_bytes())?),
        }
        Ok(())
    }
}
