//! The courier of one node: what was changed here becomes known, what is owed to a peer becomes a batch, and a batch that has come
//! becomes what it says.

mod audit;
pub mod keep;
mod role;
mod take;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};

pub use take::Taken;

use crate::directory::Directory;
use crate::manifest::{Ask, Manifest, NEWS_ROOM, News, room};
use crate::place::Place;
use crate::plan::{Item, Limits, batch};
use crate::scan::{self, Found, Scope, Walk};
use crate::spool::Spool;
use crate::store::{Debt, Record, Store, StoreError};
use crate::version::{Content, Entry, NodeName, Seen, counter};

/// Room for the number of a content, beside its item.
const NUMBER_ROOM: u64 = 32;

/// The courier of one node.
#[derive(Debug)]
pub struct Courier {
    me: String,
    /// The name that changes made here are counted under.
    counter: NodeName,
    peers: Vec<String>,
    /// Changes go from the ACTIVE node only.
    one_way: bool,
    /// By the names in the config; those that are there.
    directories: BTreeMap<String, Directory>,
    store: Store,
    /// What is to be said to a peer besides what is owed.
    replies: BTreeMap<String, Manifest>,
    /// Paths that were changed here while nobody but the ACTIVE node may change anything.
    strays: BTreeSet<Place>,
    /// What has been placed and may not be on the disk, so that it is not noted; whoever sent it sends it again.
    unsure: BTreeMap<Place, Entry>,
}

/// Who is ACTIVE, and what time it is.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The ACTIVE node, as far as anybody knows.
    pub active: Option<&'a str>,
    /// Milliseconds since 1970.
    pub millis: u64,
}

/// What a peer may be sent of a path that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portion {
    /// It with its content.
    All,
    /// That it has changed.
    Offer,
    /// Nothing now.
    Nothing,
}

/// How paths are looked at.
#[derive(Clone, Copy)]
struct How<'a> {
    /// Every file is read, whatever its times say.
    fresh: bool,
    /// Which paths are not at rest: what is in a file then may be half of it, and it is looked at later.
    restless: &'a dyn Fn(&Place) -> bool,
    /// What is missing is gone, and be it everything.
    conceding: bool,
}

/// What a look has found.
#[derive(Debug, Default)]
pub struct Looked {
    /// So many paths hold something else now, and the others have to be told.
    pub changed: usize,
    /// Files that were being written.
    pub busy: Vec<Place>,
    /// What could not be looked at, and so may be as it was.
    pub troubles: Vec<(Place, io::Error)>,
    /// Directories of the config that have lost everything at once, or had and have not got it back: so many paths are missing,
    /// and count as they were.
    pub missing: BTreeMap<OsString, usize>,
    /// What was changed here and may not be.
    strays: BTreeSet<Place>,
}

/// A batch that lies in the spool.
#[derive(Debug)]
pub struct Composed {
    /// What it says; `None` when there is nothing to say.
    pub manifest: Option<Manifest>,
    /// What cannot be had now: they must not keep the others from being sent.
    pub left: Vec<Item>,
}

/// Something cannot be done; other things may go on.
#[derive(Debug, thiserror::Error)]
pub enum CourierError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A spool or a directory cannot be used.
    #[error("{0}")]
    Disk(#[from] io::Error),
}

/// Under which the store knows that a directory was looked at. No node has such a name.
fn looked_key(directory: &str) -> String {
    format!("looked/{directory}")
}

impl Courier {
    /// One for a node and its peers, without any directory.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn new(me: &str, peers: &[String], store: Store, one_way: bool) -> Result<Self, StoreError> {
        Ok(Self {
            me: me.to_owned(),
            counter: counter(me, store.number()?),
            peers: peers.to_vec(),
            one_way,
            directories: BTreeMap::new(),
            store,
            replies: BTreeMap::new(),
            strays: BTreeSet::new(),
            unsure: BTreeMap::new(),
        })
    }

    /// What is known.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// A directory is there.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn gain(&mut self, name: &str, directory: Directory) -> Result<(), StoreError> {
        directory.hold(self.store.held(name)?.is_some());
        directory.expect(self.store.number_of(&looked_key(name))?.is_none());
        self.directories.insert(name.to_owned(), directory);
        Ok(())
    }

    /// A directory is not there: nothing is known of what it holds, and least of all that it holds nothing.
    pub fn lose(&mut self, name: &str) {
        self.directories.remove(name);
    }

    /// So many paths a directory has lost at once, when it is held.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn held(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.store.held(name)
    }

    /// What lies in a directory of the config.
    pub fn inside(&self, root: &Place) -> Vec<Place> {
        let names = self.directory(root).and_then(|directory| directory.tree().names(root.way()).ok().flatten());
        names.unwrap_or_default().iter().filter_map(|name| root.child(name).ok()).collect()
    }

    /// Paths that were changed here while nobody but the ACTIVE node may change anything.
    pub fn strays(&self) -> &BTreeSet<Place> {
        &self.strays
    }

    fn directory(&self, place: &Place) -> Option<&Directory> {
        self.directories.get(place.directory().to_str()?)
    }

    /// What is changed here counts.
    fn may_change(&self, moment: Moment<'_>) -> bool {
        !self.one_way || moment.active == Some(self.me.as_str())
    }

    fn seen<'a>(&'a self, moment: Moment<'_>) -> Seen<'a> {
        Seen { node: &self.counter, active: moment.active == Some(self.me.as_str()), millis: moment.millis }
    }

    /// Looks at paths and everything in them; what was changed is owed to everybody from now on. `fresh`: every file is read,
    /// whatever its times say.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn look(&mut self, places: &[Place], fresh: bool, moment: Moment<'_>) -> Result<Looked, CourierError> {
        self.look_beside(places, fresh, &|_| false, moment)
    }

    /// The same, but for files that are not at rest: whoever says so has these looked at later.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn look_beside(
        &mut self,
        places: &[Place],
        fresh: bool,
        restless: &dyn Fn(&Place) -> bool,
        moment: Moment<'_>,
    ) -> Result<Looked, CourierError> {
        self.look_as(How { fresh, restless, conceding: false }, places, moment)
    }

    /// An operator says that what is missing in a directory of the config is gone, and be it everything. Looks at it.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn concede(&mut self, root: &Place, moment: Moment<'_>) -> Result<Looked, CourierError> {
        if let Some(name) = root.directory().to_str() {
            self.release(name)?;
        }
        self.look_as(How { fresh: false, restless: &|_| false, conceding: true }, std::slice::from_ref(root), moment)
    }

    fn look_as(&mut self, how: How<'_>, places: &[Place], moment: Moment<'_>) -> Result<Looked, CourierError> {
        let mut looked = Looked::default();
        for place in places {
            let Some(directory) = self.directory(place) else { continue };
            let scope = Scope { fresh: how.fresh, ..directory.scope() };
            let seen = self.seen(moment);
            let top = self.look_above(scope, place, seen, moment, &mut looked)?;
            let walk = Walk::new(scope, top, seen);
            let mut walk = if how.conceding { walk.conceding() } else { walk };
            while let Some(mut found) = walk.next(&self.store.view()?)? {
                found.changes.retain(|(place, record)| !record.entry.content.is_file() || !(how.restless)(place));
                self.note(place, found, moment, &mut looked)?;
            }
        }
        if self.may_change(moment) {
            self.strays.clear();
        } else {
            self.note_strays(places, std::mem::take(&mut looked.strays), moment);
        }
        for (name, missing) in &looked.missing {
            self.hold(name, *missing)?;
        }
        if self.may_change(moment) {
            self.note_first_look(places)?;
        }
        Ok(looked)
    }

    /// The directories of the config among these are not new any more. One that is empty may still be waiting for its disk: that is
    /// new then.
    fn note_first_look(&self, places: &[Place]) -> Result<(), StoreError> {
        for place in places.iter().filter(|place| place.depth() == 1) {
            let (Some(directory), Some(name)) = (self.directory(place), place.directory().to_str()) else { continue };
            directory.expect(false);
            if self.store.number_of(&looked_key(name))?.is_none() && !self.inside(place).is_empty() {
                self.store.note(|changes| changes.set_number(&looked_key(name), 1))?;
            }
        }
        Ok(())
    }

    /// A file may be heard of before the new directory that it lies in, and is of no use without it. When that is gone, so is
    /// everything in it: it cannot go elsewhere as long as something is there. Answers from where on everything is to be looked at.
    fn look_above(
        &self,
        scope: Scope<'_>,
        place: &Place,
        seen: Seen<'_>,
        moment: Moment<'_>,
        looked: &mut Looked,
    ) -> Result<Place, CourierError> {
        let mut top = place.clone();
        for above in place.above().filter(|above| above.depth() > 1) {
            let known = self.store.get(&above)?;
            let found = scan::one(scope, &above, known.as_ref(), seen);
            if found.changes.iter().any(|(_, record)| !matches!(record.entry.content, Content::Directory { .. })) {
                // The look from there finds it itself.
                top = above;
                continue;
            }
            self.note(place, found, moment, looked)?;
        }
        Ok(top)
    }

    /// What was found is known from now on; before anybody is told of it, it gets to the disk. Until then another look would find it
    /// again.
    fn note(
        &self,
        place: &Place,
        mut found: Found,
        moment: Moment<'_>,
        looked: &mut Looked,
    ) -> Result<(), CourierError> {
        let is_unsure = |place: &Place, record: &Record| {
            self.unsure.get(place).is_some_and(|unsure| unsure.content == record.entry.content)
        };
        found.changes.retain(|(place, record)| !is_unsure(place, record));
        if !self.may_change(moment) {
            looked.strays.extend(std::mem::take(&mut found.changes).into_iter().map(|(place, _)| place));
        }
        if !found.changes.is_empty() || !found.traces.is_empty() {
            self.store.note(|changes| {
                for (place, record) in &found.changes {
                    // What was found may be there on the other nodes too.
                    let debt = Debt { millis: moment.millis, offer: record.entry.is_found() };
                    changes.put(place, record, self.peers.iter().map(String::as_str), debt)?;
                }
                let debt = Debt::now(moment.millis);
                found.traces.iter().try_for_each(|(place, record)| changes.put(place, record, [], debt))
            })?;
        }
        looked.changed += found.changes.len();
        looked.busy.extend(found.busy);
        looked.troubles.extend(found.troubles);
        // How much it is is seen from above only.
        if found.missing > 0 && place.depth() == 1 {
            *looked.missing.entry(place.directory().to_owned()).or_default() += found.missing;
        }
        Ok(())
    }

    /// What was changed here and may not be counts as nothing, and is asked for as the ACTIVE node has it.
    fn note_strays(&mut self, places: &[Place], strays: BTreeSet<Place>, moment: Moment<'_>) {
        let new: Vec<Place> = strays.difference(&self.strays).cloned().collect();
        let is_in = |stray: &Place| places.iter().any(|place| stray.as_path().starts_with(place.as_path()));
        self.strays.retain(|stray| !is_in(stray));
        self.strays.extend(strays);
        if let (Some(active), false) = (moment.active.filter(|active| *active != self.me), new.is_empty()) {
            self.reply_to(active).wants.extend(new);
        }
    }

    fn hold(&self, name: &OsStr, missing: usize) -> Result<(), CourierError> {
        let found = name.to_str().and_then(|name| self.directories.get_key_value(name));
        if let Some((name, directory)) = found {
            directory.hold(true);
            self.store.write(|changes| changes.hold(name, Some(u64::try_from(missing).unwrap_or(u64::MAX))))?;
        }
        Ok(())
    }

    /// A directory that had lost everything is no longer held: it was found whole again, or an operator says that what is missing
    /// is gone.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn release(&self, name: &str) -> Result<(), CourierError> {
        if let Some(directory) = self.directories.get(name) {
            directory.hold(false);
            self.store.write(|changes| changes.hold(name, None))?;
        }
        Ok(())
    }

    /// What is to be said to a peer besides what is owed.
    fn reply_to(&mut self, peer: &str) -> &mut Manifest {
        let me = &self.me;
        self.replies.entry(peer.to_owned()).or_insert_with(|| Manifest::new(me, 0))
    }

    /// Something is to be asked with the next batch.
    pub fn ask(&mut self, peer: &str, ask: Ask) {
        self.reply_to(peer).ask(ask, None);
    }

    /// A peer had no room for all that it holds: what lies behind `after` is to be asked with the next batch.
    pub fn ask_for_more(&mut self, peer: &str, after: Place) {
        self.reply_to(peer).ask(Ask::All, Some(after));
    }

    /// Whether there is something to be said to a peer besides what is owed.
    pub fn has_words(&self, peer: &str) -> bool {
        self.replies.get(peer).is_some_and(|reply| !reply.is_empty())
    }

    /// Makes the next batch for a peer in its spool, of what is owed.
    ///
    /// # Errors
    /// When the store or the spool cannot be used.
    pub fn compose(
        &mut self,
        peer: &str,
        number: u64,
        spool: &Spool,
        limits: Limits,
        moment: Moment<'_>,
        portion: impl Fn(&Item) -> Portion,
    ) -> Result<Composed, CourierError> {
        let mut left = Vec::new();
        let mut owed = Vec::new();
        if self.tells(peer, moment) {
            // A number that a peer has seen must never be used for another content.
            self.store.write(|_| Ok(()))?;
            owed = self.store.owed(peer, limits.items, |item| portion(item) != Portion::Nothing)?;
        }
        let offers: BTreeSet<Place> =
            owed.iter().filter(|owed| owed.offer).map(|owed| owed.item.place.clone()).collect();
        let mut manifest = self.replies.remove(peer).unwrap_or_else(|| Manifest::new(&self.me, number));
        (manifest.batch, manifest.store) = (number, self.store.number()?);
        self.replies.insert(peer.to_owned(), manifest.cut());
        let mut taken = 0u64;
        for item in batch(owed.into_iter().map(|owed| owed.item), limits) {
            taken = taken.saturating_add(room(&item).saturating_add(NUMBER_ROOM));
            if taken > NEWS_ROOM {
                break;
            }
            let is_file = matches!(item.entry.content, Content::File { .. });
            if !is_file || offers.contains(&item.place) || portion(&item) == Portion::Offer {
                manifest.news.push(News { item, content: None });
                continue;
            }
            let next = u32::try_from(manifest.news.len()).unwrap_or(u32::MAX);
            match self.copy(&item, spool, number, next) {
                Ok(true) => manifest.news.push(News { item, content: Some(next) }),
                Ok(false) => left.push(item),
                Err(error) => {
                    // What was to be said is said with the next one.
                    self.take_back(peer, manifest);
                    return Err(error.into());
                }
            }
        }
        if manifest.is_empty() {
            return Ok(Composed { manifest: None, left });
        }
        if let Err(error) = spool.close(&manifest) {
            self.take_back(peer, manifest);
            return Err(error.into());
        }
        Ok(Composed { manifest: Some(manifest), left })
    }

    /// Whether a content could be put into the spool. One that cannot be read is looked at again, one that is being changed will be
    /// owed as what it becomes; the others go on.
    fn copy(&self, item: &Item, spool: &Spool, number: u64, next: u32) -> io::Result<bool> {
        let Some(directory) = self.directory(&item.place) else { return Ok(false) };
        let Ok(Some(mut file)) = directory.tree().file(item.place.way()) else { return Ok(false) };
        match spool.add(number, next, &mut file, &item.entry.content) {
            // The spool's disk, and not this file.
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Err(error),
            added => Ok(added.unwrap_or(false)),
        }
    }

    /// A batch did not arrive: what it said besides what is owed is said again.
    pub fn take_back(&mut self, peer: &str, lost: Manifest) {
        self.reply_to(peer).repeat(lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;

    #[test]
    fn a_file_that_is_not_at_rest_is_left_out_where_a_directory_is_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        std::fs::create_dir_all(path("rules/new/sub")).unwrap();
        std::fs::write(path("rules/new/half"), "half").unwrap();
        std::fs::write(path("rules/new/rule"), "rule").unwrap();
        let directory = Directory::open(&path("rules"), &path("area"), Filter::default()).unwrap();
        let mut courier = Courier::new("a", &["b".to_owned()], Store::open(&path("store")).unwrap(), false).unwrap();
        courier.gain("re", directory).unwrap();
        let place = |text: &str| Place::try_from(text.to_owned()).unwrap();
        let restless = |found: &Place| *found == place("re/new/half") || *found == place("re/new/sub");
        let moment = Moment { active: None, millis: 9 };
        let known = |courier: &Courier, text: &str| courier.store().get(&place(text)).unwrap().is_some();
        courier.look_beside(&[place("re/new")], false, &restless, moment).unwrap();
        let all = ["re/new", "re/new/half", "re/new/rule", "re/new/sub"];
        assert_eq!(all.map(|text| known(&courier, text)), [true, false, true, true]);
        courier.look(&[place("re/new/half")], false, moment).unwrap();
        assert!(known(&courier, "re/new/half"));
    }
}
