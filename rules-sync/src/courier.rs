//! The courier of one node: what was changed here becomes known, what is owed to a peer becomes a batch, and a batch that has come
//! becomes what it says.

mod audit;
pub mod keep;
mod take;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, ErrorKind};

pub use take::Taken;

use crate::directory::Directory;
use crate::manifest::{Ask, Manifest, NEWS_ROOM, News, room};
use crate::place::Place;
use crate::plan::{Item, Limits, batch};
use crate::scan::{self, Found, Scope};
use crate::spool::Spool;
use crate::store::{Debt, Store, StoreError};
use crate::version::{Content, Seen};

/// Room for the number of a content, beside its item.
const NUMBER_ROOM: u64 = 32;

/// The courier of one node.
#[derive(Debug)]
pub struct Courier {
    me: String,
    peers: Vec<String>,
    /// Changes go from the ACTIVE node only.
    one_way: bool,
    /// By the names in the config; those that are there.
    directories: BTreeMap<String, Directory>,
    store: Store,
    /// What is to be said to a peer besides what is owed.
    replies: BTreeMap<String, Manifest>,
    /// Nothing is known yet: what is found was there before us, and may be there on the other nodes too.
    is_new: bool,
    /// Paths that were changed here while nobody but the ACTIVE node may change anything.
    strays: BTreeSet<Place>,
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

impl Courier {
    /// One for a node and its peers, without any directory.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn new(me: &str, peers: &[String], store: Store, one_way: bool) -> Result<Self, StoreError> {
        Ok(Self {
            me: me.to_owned(),
            peers: peers.to_vec(),
            one_way,
            directories: BTreeMap::new(),
            is_new: store.is_empty()?,
            store,
            replies: BTreeMap::new(),
            strays: BTreeSet::new(),
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
        Seen { node: &self.me, active: moment.active == Some(self.me.as_str()), millis: moment.millis }
    }

    /// Looks at paths and everything in them; what was changed is owed to everybody from now on. `fresh`: every file is read,
    /// whatever its times say.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn look(&mut self, places: &[Place], fresh: bool, moment: Moment<'_>) -> Result<Found, CourierError> {
        let mut all = self.find(places, fresh, moment)?;
        if self.may_change(moment) {
            self.strays.clear();
        } else {
            self.note_strays(places, &mut all, moment);
        }
        for (name, missing) in &all.missing {
            self.hold(name, *missing)?;
        }
        let offer = std::mem::take(&mut self.is_new);
        if !all.changes.is_empty() || !all.traces.is_empty() {
            let debt = Debt { millis: moment.millis, offer };
            // Before anybody is told of it, it gets to the disk; until then another look would find it again.
            self.store.note(|changes| {
                for (place, record) in &all.changes {
                    changes.put(place, record, self.peers.iter().map(String::as_str), debt)?;
                }
                all.traces.iter().try_for_each(|(place, record)| changes.put(place, record, [], debt))
            })?;
        }
        Ok(all)
    }

    fn find(&self, places: &[Place], fresh: bool, moment: Moment<'_>) -> Result<Found, CourierError> {
        let mut all = Found::default();
        let seen = self.seen(moment);
        for place in places {
            let Some(directory) = self.directory(place) else { continue };
            let scope = Scope { fresh, ..directory.scope() };
            // A file may be heard of before the new directory that it lies in, and is of no use without it. When that is gone, so is
            // everything in it: it cannot go elsewhere as long as something is there.
            let mut top = place.clone();
            for above in place.above().filter(|above| above.depth() > 1) {
                let known = self.store.get(&above)?;
                let found = scan::one(scope, &above, known.as_ref(), seen);
                if found.changes.iter().any(|(_, record)| !matches!(record.entry.content, Content::Directory { .. })) {
                    top = above;
                }
                all.add(found);
            }
            let known: BTreeMap<_, _> = self.store.under(&top)?.into_iter().collect();
            all.add(scan::everything(scope, &top, &known, seen));
        }
        // A path may lie in another one that was looked at too: it has changed once.
        let changes: BTreeMap<_, _> = std::mem::take(&mut all.changes).into_iter().collect();
        all.changes = changes.into_iter().collect();
        Ok(all)
    }

    /// What was changed here and may not be counts as nothing, and is asked for as the ACTIVE node has it.
    fn note_strays(&mut self, places: &[Place], found: &mut Found, moment: Moment<'_>) {
        let strays: BTreeSet<Place> = std::mem::take(&mut found.changes).into_iter().map(|(place, _)| place).collect();
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
        if self.may_change(moment) {
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
