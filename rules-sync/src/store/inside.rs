//! What lies in a directory.

use redb::ReadableTable as _;

use super::{Changes, Content, Place, Record, StoreError, inside};

impl Changes<'_> {
    /// Whether something that a peer has to be told of lies in a directory.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn owes_inside(&self, peer: &str, place: &Place) -> Result<bool, StoreError> {
        let (first, end) = inside(place);
        for found in self.owed.range((peer, first.as_slice())..(peer, end.as_slice()))? {
            let (key, _) = found?;
            let Some(bytes) = self.records.get(key.value().1)? else { continue };
            let Record { entry, .. } = serde_json::from_slice(bytes.value())?;
            if entry.content != Content::Gone {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether something is known to lie in a directory.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn holds_inside(&self, place: &Place) -> Result<bool, StoreError> {
        let (first, end) = inside(place);
        for found in self.records.range(first.as_slice()..end.as_slice())? {
            let (_, bytes) = found?;
            let Record { entry, .. } = serde_json::from_slice(bytes.value())?;
            if entry.content != Content::Gone {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
