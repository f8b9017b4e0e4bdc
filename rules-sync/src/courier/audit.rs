//! Compares all that is held here with what a peer holds, and lets both tell each other of what differs.

use std::collections::BTreeMap;

use avamgr_core::courier::DifferenceKind;

use super::{Courier, CourierError, Moment};
use crate::compare::{self, Mark, Sum, Summer, mark};
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

    /// Every path that is known to hold something, with a mark of what.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn all(&self) -> Result<BTreeMap<Place, Mark>, CourierError> {
        let mut all = BTreeMap::new();
        self.store.each(|place, entry| {
            all.insert(place, mark(&entry.content));
        })?;
        Ok(all)
    }

    /// Where this node differs from one that holds `theirs`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn differences(&self, theirs: &BTreeMap<Place, Mark>) -> Result<BTreeMap<Place, DifferenceKind>, CourierError> {
        Ok(compare::differences(&self.all()?, theirs))
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
