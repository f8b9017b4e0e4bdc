//! The courier of one node: what was changed here becomes known, what is owed to a peer becomes a batch, and a batch that has come
//! becomes what it says.

use std::collections::BTreeMap;
use std::io;

use crate::manifest::{Manifest, News};
use crate::place::Place;
use crate::plan::{Item, Limits, batch, order};
use crate::receive::{Directory, Outcome, ReceiveError, Receiver};
use crate::scan::{self, Found};
use crate::spool::Spool;
use crate::store::{Store, StoreError};
use crate::version::{Content, Seen};

/// One batch: enough that a burst needs few of them, and little enough that the first files of one are soon there.
const LIMITS: Limits = Limits { items: 4_096, bytes: 64 * 1024 * 1024 };

/// The courier of one node.
#[derive(Debug)]
pub struct Courier {
    me: String,
    peers: Vec<String>,
    /// By the names in the config.
    directories: BTreeMap<String, Directory>,
    store: Store,
    /// What is to be said to a peer besides what is owed.
    replies: BTreeMap<String, Manifest>,
}

/// Something cannot be done; other things may go on.
#[derive(Debug, thiserror::Error)]
pub enum CourierError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A spool cannot be used.
    #[error("{0}")]
    Disk(#[from] io::Error),
}

impl Courier {
    /// One for a node and its peers.
    pub fn new(me: &str, peers: &[String], directories: BTreeMap<String, Directory>, store: Store) -> Self {
        Self { me: me.to_owned(), peers: peers.to_vec(), directories, store, replies: BTreeMap::new() }
    }

    /// What is known.
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn directory(&self, place: &Place) -> Option<&Directory> {
        self.directories.get(place.directory().to_str()?)
    }

    /// Looks at paths and everything in them; what was changed is owed to everybody from now on.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn look(&self, places: &[Place], active: bool, millis: u64) -> Result<Found, CourierError> {
        let mut all = Found::default();
        let seen = Seen { node: &self.me, active, millis };
        for place in places {
            let Some(directory) = self.directory(place) else { continue };
            // A file may be heard of before the new directory that it lies in, and is of no use without it.
            for above in place.above().filter(|above| above.depth() > 1) {
                let known = self.store.get(&above)?;
                all.add(scan::one(directory.tree(), &above, known.as_ref(), seen));
            }
            let known: BTreeMap<_, _> = self.store.under(place)?.into_iter().collect();
            all.add(scan::everything(directory.tree(), place, &known, seen));
        }
        // A path may lie in another one that was looked at too: it has changed once.
        let changes: BTreeMap<_, _> = std::mem::take(&mut all.changes).into_iter().collect();
        all.changes = changes.into_iter().collect();
        if !all.changes.is_empty() || !all.traces.is_empty() {
            self.store.write(|changes| {
                for (place, record) in &all.changes {
                    changes.put(place, record, self.peers.iter().map(String::as_str))?;
                }
                all.traces.iter().try_for_each(|(place, record)| changes.put(place, record, []))
            })?;
        }
        Ok(all)
    }

    /// Makes the next batch for a peer in its spool, of what is owed and `wanted`; `None` when there is nothing to say.
    ///
    /// # Errors
    /// When the store or the spool cannot be used.
    pub fn compose(
        &mut self,
        peer: &str,
        number: u64,
        spool: &Spool,
        wanted: impl Fn(&Item) -> bool,
    ) -> Result<Option<Manifest>, CourierError> {
        let owed = batch(self.store.owed(peer, LIMITS.items, wanted)?, LIMITS);
        let mut manifest = self.replies.remove(peer).unwrap_or_else(|| Manifest::new(&self.me, number));
        manifest.batch = number;
        for item in owed {
            let mut content = None;
            if matches!(item.entry.content, Content::File { .. }) {
                let next = u32::try_from(manifest.news.len()).unwrap_or(u32::MAX);
                let Some(directory) = self.directory(&item.place) else { continue };
                // One that cannot be read is looked at again, and the others go on.
                let Ok(Some(mut file)) = directory.tree().file(item.place.way()) else { continue };
                // It is being changed: what it becomes will be owed.
                if !spool.add(number, next, &mut file, &item.entry.content)? {
                    continue;
                }
                content = Some(next);
            }
            manifest.news.push(News { item, content });
        }
        if manifest.is_empty() {
            return Ok(None);
        }
        spool.close(&manifest)?;
        Ok(Some(manifest))
    }

    /// A batch did not arrive: what it said besides what is owed is said again.
    pub fn take_back(&mut self, peer: &str, lost: Manifest) {
        let reply = self.replies.entry(peer.to_owned()).or_insert_with(|| Manifest::new(&self.me, 0));
        reply.known.extend(lost.known);
        reply.wants.extend(lost.wants);
    }

    /// Does what the batches say that have come from a peer. Returns what has to be tried again, in words.
    ///
    /// # Errors
    /// When the store or the spool cannot be used.
    pub fn take_in(
        &mut self,
        peer: &str,
        spool: &Spool,
        active: bool,
        millis: u64,
    ) -> Result<Vec<String>, CourierError> {
        let mut later = Vec::new();
        for number in spool.batches()? {
            match spool.manifest(number, peer)? {
                Ok(manifest) => self.take_batch(peer, spool, manifest, active, millis, &mut later)?,
                Err(error) => later.push(format!("a batch of {peer} is not believed: {error}")),
            }
            spool.remove_until(number)?;
        }
        Ok(later)
    }

    fn take_batch(
        &mut self,
        peer: &str,
        spool: &Spool,
        manifest: Manifest,
        active: bool,
        millis: u64,
        later: &mut Vec<String>,
    ) -> Result<(), CourierError> {
        self.store.note(|changes| {
            manifest.known.iter().try_for_each(|item| changes.paid(peer, item))?;
            manifest.wants.iter().try_for_each(|place| changes.owe(peer, place))
        })?;
        let contents: BTreeMap<Place, u32> =
            manifest.news.iter().filter_map(|news| Some((news.item.place.clone(), news.content?))).collect();
        if !contents.is_empty() {
            // All of them at once: one by one would take a turn of the disk for each.
            spool.sync()?;
        }
        let mut items: Vec<Item> = manifest.news.into_iter().map(|news| news.item).collect();
        order(&mut items);
        let mut reply = self.replies.remove(peer).unwrap_or_else(|| Manifest::new(&self.me, 0));
        for item in items {
            let Some(directory) = self.directory(&item.place) else {
                later.push(format!("{}: this node has no such directory in its config", item.place));
                continue;
            };
            let (store, peers) = (&self.store, self.peers.as_slice());
            let seen = Seen { node: &self.me, active, millis };
            let receiver = Receiver { directory, store, seen, peers, from: peer };
            let content = contents.get(&item.place).map(|content| spool.content(manifest.batch, *content));
            match receiver.receive(&item, content.as_deref()) {
                Ok(Outcome::Known) => reply.known.push(item),
                Ok(Outcome::Wanted) => reply.wants.push(item.place),
                Ok(Outcome::Later(why)) => later.push(why),
                Err(ReceiveError::Store(error)) => return Err(error.into()),
                Err(ReceiveError::Disk(error)) => later.push(format!("{}: {error}", item.place)),
            }
        }
        // What the sender is told that we know has to outlast us.
        self.store.write(|_| Ok(()))?;
        self.replies.insert(peer.to_owned(), reply);
        Ok(())
    }
}
