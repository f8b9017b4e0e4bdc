//! What turned out not to be so.

use super::{Changes, Record, StoreError};
use crate::place::Place;

impl Changes<'_> {
    /// What is known of a path is what was known of it before. Whoever has to be told has to be told still, but of a path that nobody
    /// knew.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn put_back(&mut self, place: &Place, before: Option<&Record>, peers: &[String]) -> Result<(), StoreError> {
        if let Some(record) = before {
            self.records.insert(place.as_bytes(), serde_json::to_vec(record)?.as_slice())?;
            return Ok(());
        }
        self.records.remove(place.as_bytes())?;
        for peer in peers {
            self.owed.remove((peer.as_str(), place.as_bytes()))?;
        }
        Ok(())
    }
}
