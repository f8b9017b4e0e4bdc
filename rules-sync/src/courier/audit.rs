//! Compares all that is held here with what a peer holds, and lets both tell each other of what differs.

use std::collections::BTreeMap;

use avamgr_core::courier::DifferenceKind;

use super::{Courier, CourierError, Moment};
use crate::compare::{self, Part, Sum, Summer, mark};
use crate::manifest::{ALL_ROOM, room};
use crate::place::Place;
use crate::store::Debt;

impl Courier {
    /// All that is known to be held here, summed up.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn sum(&self) -> Result<Sum, CourierError> {
        let mut summer = Summer::default();
        self.store.each(|place, entry| summer.add(&place, mark(&entry.content)))?;
        Ok(summer.sum())
    }

    /// The paths behind `after` that are known to hold something, with a mark of what: so many as have room in a manifest.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn holds_after(&self, after: Option<Place>) -> Result<Part, CourierError> {
        let mut part = Part { after, ..Part::default() };
        let (mut taken, mut is_full) = (0u64, false);
        self.store.each(|place, entry| {
            if is_full || !part.speaks_of(&place) {
                return;
            }
            let mark = mark(&entry.content);
            taken = taken.saturating_add(room(&(&place, mark)));
            is_full = taken > ALL_ROOM;
            if is_full {
                part.until = part.marks.last_key_value().map(|(last, _)| last.clone());
            } else {
                part.marks.insert(place, mark);
            }
        })?;
        Ok(part)
    }

    /// Where this node differs from one that holds `theirs`, as far as that says.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn differences(&self, theirs: &Part) -> Result<BTreeMap<Place, DifferenceKind>, CourierError> {
        let mut ours = BTreeMap::new();
        self.store.each(|place, entry| {
            if theirs.speaks_of(&place) {
                ours.insert(place, mark(&entry.content));
            }
        })?;
        Ok(compare::differences(&ours, &theirs.marks))
    }

    /// Both tell each other of these paths: what is right is decided then as always.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn repair<'p>(
        &mut self,
        peer: &str,
        places: impl Iterator<Item = &'p Place> + Clone,
        moment: Moment<'_>,
    ) -> Result<(), CourierError> {
        let debt = Debt { millis: moment.millis, offer: true };
        self.store.write(|changes| {
            places.clone().try_for_each(|place| {
                if changes.knows(place) && self.may_owe(peer, moment) { changes.owe(peer, place, debt) } else { Ok(()) }
            })
        })?;
        self.reply_to(peer).wants.extend(places.cloned());
        Ok(())
    }
}
