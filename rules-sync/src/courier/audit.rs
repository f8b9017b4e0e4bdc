//! Compares all that is held here with what a peer holds, and lets both tell each other of what differs.

use std::collections::BTreeMap;

use avamgr_core::courier::DifferenceKind;

use super::{Courier, CourierError, Moment};
use crate::compare::{self, Part, Sum, Summer, mark};
use crate::directory::Directory;
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

    /// Whether a path can be here at all: its directory may be missing, or the config of this node exclude it.
    pub fn can_hold(&self, place: &Place) -> bool {
        let takes = |directory: &Directory, is_directory| directory.scope().filter.takes(place.way(), is_directory);
        self.directory(place).is_some_and(|directory| takes(directory, false) || takes(directory, true))
    }

    /// Both tell each other of these paths: what is right is decided then as always. What cannot be here is not asked for.
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
        let wants: Vec<Place> = places.filter(|place| self.can_hold(place)).cloned().collect();
        self.reply_to(peer).wants.extend(wants);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;
    use crate::store::Store;

    const NOW: Moment<'static> = Moment { active: None, millis: 9 };

    #[test]
    fn what_cannot_be_here_is_not_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        std::fs::create_dir(path("rules")).unwrap();
        let filter = Filter::new(&[], &["*.bak".to_owned()]).unwrap();
        let directory = Directory::open(&path("rules"), &path("area"), filter).unwrap();
        let mut courier = Courier::new("a", &["b".to_owned()], Store::open(&path("store")).unwrap(), false).unwrap();
        courier.gain("re", directory).unwrap();
        let places = ["re/rule", "re/rule.bak", "missing/rule"].map(|text| Place::try_from(text.to_owned()).unwrap());
        courier.repair("b", places.iter(), NOW).unwrap();
        assert_eq!(courier.reply_to("b").wants.iter().collect::<Vec<_>>(), [&places[0]]);
    }
}
