//! What becomes of the batches of a peer.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::role::{Heard, met_key};
use super::{Courier, CourierError, Moment};
use crate::compare::{Part, Sum};
use crate::manifest::{Ask, Manifest, REFUSED_MAX};
use crate::place::Place;
use crate::plan::{Item, order};
use crate::receive::{Outcome, ReceiveError, Receiver};
use crate::spool::Spool;
use crate::store::{Changes, Debt, StoreError};
use crate::version::Content;

/// What the batches of a peer have brought.
#[derive(Debug, Default)]
pub struct Taken {
    /// Paths that are as they should be now.
    pub settled: Vec<Place>,
    /// What has to be tried again, and why.
    pub later: Vec<(Place, String)>,
    /// Conflicts: what lost is kept.
    pub conflicts: Vec<Place>,
    /// What the peer knows now.
    pub confirmed: Vec<Place>,
    /// What the peer needs with its content.
    pub wanted: Vec<Place>,
    /// What the peer cannot take, and why.
    pub refused: Vec<(Place, String)>,
    /// What cannot be believed, in words.
    pub doubts: Vec<String>,
    /// The peer's store is another one than before.
    pub is_new: bool,
    /// News in it.
    pub paths: u64,
    /// Bytes of contents.
    pub bytes: u64,
    /// These are known, and what is there stays.
    left: BTreeSet<Place>,
    /// All that it holds, summed up.
    pub sum: Option<Sum>,
    /// All that it holds, or the part of it that had room in a manifest.
    pub all: Option<Part>,
}

/// A directory in one of the config, by the name of that and the way in it.
type Above = (OsString, PathBuf);

/// Where the name of a path stands.
fn above(place: &Place) -> Option<Above> {
    Some((place.directory().to_owned(), place.way().parent()?.to_owned()))
}

/// It has to be tried again.
fn leave(reply: &mut Manifest, taken: &mut Taken, place: Place, why: String) {
    if reply.refused.len() < REFUSED_MAX {
        reply.refused.push((place.clone(), why.clone()));
    }
    taken.later.push((place, why));
}

impl Courier {
    /// Does what the batches say that have come from a peer.
    ///
    /// # Errors
    /// When the store or the spool cannot be used.
    pub fn take_in(&mut self, peer: &str, spool: &Spool, moment: Moment<'_>) -> Result<Taken, CourierError> {
        let mut taken = Taken::default();
        for number in spool.batches()? {
            match spool.manifest(number, peer) {
                Ok(Ok(manifest)) => match self.take_batch(peer, spool, manifest, moment, &mut taken) {
                    // It comes again; those behind it do not wait for it.
                    Err(CourierError::Disk(error)) => {
                        taken.doubts.push(format!("a batch of {peer} could not be taken in: {error}"));
                    }
                    done => done?,
                },
                Ok(Err(error)) => taken.doubts.push(format!("a batch of {peer} is not believed: {error}")),
                // Those behind it do not wait for it either.
                Err(error) => taken.doubts.push(format!("a batch of {peer} cannot be read: {error}")),
            }
            spool.remove_until(number)?;
        }
        Ok(taken)
    }

    fn take_batch(
        &mut self,
        peer: &str,
        spool: &Spool,
        mut manifest: Manifest,
        moment: Moment<'_>,
        taken: &mut Taken,
    ) -> Result<(), CourierError> {
        self.take_words(peer, &mut manifest, moment, taken)?;
        let contents: BTreeMap<Place, u32> =
            manifest.news.iter().filter_map(|news| Some((news.item.place.clone(), news.content?))).collect();
        spool.unpack(&manifest)?;
        // All of them at once: one by one would take a turn of the disk for each.
        let numbers: Vec<u32> = contents.values().copied().collect();
        spool.sync(manifest.batch, &numbers)?;
        let mut items: Vec<Item> = manifest.news.into_iter().map(|news| news.item).collect();
        order(&mut items);
        let batch = manifest.batch;
        let content = |place: &Place| contents.get(place).map(|content| spool.content(batch, *content));
        // All of it is noted at once.
        let (reply, unsure) =
            self.store.write(|changes| self.receive_all(changes, peer, items, content, moment, taken))?;
        for item in &reply.known {
            if !taken.left.contains(&item.place) {
                self.strays.remove(&item.place);
            }
            self.unsure.remove(&item.place);
        }
        self.unsure.extend(unsure.into_iter().map(|item| (item.place, item.entry)));
        self.reply_to(peer).repeat(reply);
        Ok(())
    }

    fn receive_all(
        &self,
        changes: &mut Changes<'_>,
        peer: &str,
        items: Vec<Item>,
        content: impl Fn(&Place) -> Option<PathBuf>,
        moment: Moment<'_>,
        taken: &mut Taken,
    ) -> Result<(Manifest, Vec<Item>), StoreError> {
        let mut reply = Manifest::new(&self.me, 0);
        let mut placed = Vec::new();
        for item in items {
            if self.one_way && moment.active != Some(peer) {
                match self.hear_other(changes, peer, &item, moment)? {
                    Heard::Take => {}
                    Heard::Nothing => continue,
                    Heard::Known => {
                        reply.known.push(item);
                        continue;
                    }
                }
            }
            let before = changes.get(&item.place)?;
            match self.receive(changes, peer, &item, content(&item.place).as_deref(), moment)? {
                Outcome::Known => {}
                Outcome::Merged => taken.conflicts.push(item.place.clone()),
                Outcome::Left => drop(taken.left.insert(item.place.clone())),
                Outcome::Wanted => {
                    reply.wants.push(item.place);
                    continue;
                }
                Outcome::Later(why) => {
                    leave(&mut reply, taken, item.place, why);
                    continue;
                }
            }
            placed.push((item, before));
        }
        let unsure = self.sync(placed.iter().map(|(item, _)| &item.place));
        let mut undone = Vec::new();
        for (item, before) in placed {
            match above(&item.place).and_then(|above| unsure.get(&above)) {
                Some(why) => {
                    // After a crash it may not be there: whoever was told that it is would take that for a deletion.
                    changes.put_back(&item.place, before.as_ref(), &self.peers)?;
                    leave(&mut reply, taken, item.place.clone(), why.clone());
                    undone.push(item);
                }
                None => {
                    taken.settled.push(item.place.clone());
                    reply.known.push(item);
                }
            }
        }
        Ok((reply, undone))
    }

    /// What is noted has to be so: the names get to the disk before the store says that they are there. Returns the directories
    /// where they do not, and why.
    fn sync<'p>(&self, places: impl Iterator<Item = &'p Place>) -> BTreeMap<Above, String> {
        let (mut kept, mut unsure) = (BTreeMap::new(), BTreeMap::new());
        let touched: BTreeSet<Above> = places.filter_map(above).collect();
        for (name, way) in touched {
            let Some(directory) = name.to_str().and_then(|name| self.directories.get(name)) else { continue };
            let kept = kept.entry(name.clone()).or_insert_with(|| directory.sync_kept().map_err(|it| it.to_string()));
            let synced = kept.clone().and_then(|()| directory.sync_rules(&way).map_err(|it| it.to_string()));
            if let Err(why) = synced {
                unsure.insert((name, way), format!("nobody knows whether it has got to the disk: {why}"));
            }
        }
        unsure
    }

    fn receive(
        &self,
        changes: &mut Changes<'_>,
        peer: &str,
        item: &Item,
        content: Option<&Path>,
        moment: Moment<'_>,
    ) -> Result<Outcome, StoreError> {
        let Some(directory) = self.directory(&item.place) else {
            return Ok(Outcome::Later("the directory is not there, or not in this node's config".to_owned()));
        };
        let is_directory = matches!(item.entry.content, Content::Directory { .. });
        if !directory.scope().filter.takes(item.place.way(), is_directory) {
            return Ok(Outcome::Later("this node's config excludes it".to_owned()));
        }
        let obeys = self.one_way && moment.active == Some(peer);
        if !obeys && !self.may_change(moment) {
            return Ok(Outcome::Later(format!("{peer} is not ACTIVE, and changes come from there only")));
        }
        let learns = self.learns(peer)?;
        let (seen, peers, unsure) = (self.seen(moment), &self.peers, self.unsure.get(&item.place));
        let receiver = Receiver { directory, seen, peers, from: peer, obeys, learns, unsure };
        match receiver.receive(changes, item, content) {
            Ok(outcome) => Ok(outcome),
            Err(ReceiveError::Store(error)) => Err(error),
            Err(ReceiveError::Disk(error)) => Ok(Outcome::Later(error.to_string())),
        }
    }

    /// What a batch says besides its news.
    fn take_words(
        &mut self,
        peer: &str,
        manifest: &mut Manifest,
        moment: Moment<'_>,
        taken: &mut Taken,
    ) -> Result<(), CourierError> {
        if self.store.number_of(peer)? != Some(manifest.store) {
            taken.is_new = true;
            self.store.write(|changes| {
                changes.set_number(peer, manifest.store)?;
                changes.set_number(&met_key(peer), 0)?;
                if self.may_owe(peer, moment) { changes.offer_everything(peer, moment.millis) } else { Ok(()) }
            })?;
        }
        self.store.note(|changes| {
            manifest.known.iter().try_for_each(|item| changes.paid(peer, item, moment.millis))?;
            manifest.wants.iter().try_for_each(|place| {
                // What nobody here knows of is not owed.
                if changes.knows(place) && self.may_owe(peer, moment) {
                    changes.owe(peer, place, Debt::now(moment.millis))
                } else {
                    Ok(())
                }
            })
        })?;
        taken.paths += u64::try_from(manifest.news.len()).unwrap_or(u64::MAX);
        let with_content = manifest.news.iter().filter(|news| news.content.is_some());
        taken.bytes += with_content.map(|news| news.item.entry.content.bytes()).sum::<u64>();
        // It could not tell before what it did not know.
        let known =
            manifest.known.iter().filter(|item| moment.active == Some(peer) && self.strays.contains(&item.place));
        let again: Vec<Place> = known.map(|item| item.place.clone()).collect();
        if !again.is_empty() {
            self.reply_to(peer).wants.extend(again);
        }
        taken.confirmed.extend(manifest.known.drain(..).map(|item| item.place));
        taken.wanted.append(&mut manifest.wants);
        taken.refused.append(&mut manifest.refused);
        taken.sum = manifest.sum.take().or(taken.sum.take());
        if let Some(all) = manifest.all.take() {
            let (after, until) = (manifest.all_after.take(), manifest.all_until.take());
            taken.all = Some(Part { after, until, marks: all.into_iter().collect() });
        }
        match manifest.asks {
            None => {}
            Some(Ask::Sum) => {
                let sum = self.sum()?;
                self.reply_to(peer).sum = Some(sum);
            }
            Some(Ask::All) => {
                let Part { after, until, marks } = self.holds_after(manifest.asks_after.take())?;
                let reply = self.reply_to(peer);
                reply.all = Some(marks.into_iter().collect());
                (reply.all_after, reply.all_until) = (after, until);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::directory::Directory;
    use crate::filter::Filter;
    use crate::manifest::News;
    use crate::store::Store;
    use crate::version::{Entry, Seen};

    const NOW: Moment<'static> = Moment { active: None, millis: 9 };

    fn link(path: &str, target: &str) -> Item {
        let seen = Seen { node: "b", active: false, millis: 1 };
        let content = Content::Link { target: target.as_bytes().to_vec() };
        Item { place: Place::try_from(path.to_owned()).unwrap(), entry: Entry::first(seen, content) }
    }

    #[test]
    fn what_may_not_be_on_the_disk_is_not_noted_nor_confirmed() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir(path("rules")).unwrap();
        let directory = Directory::open(&path("rules"), &path("area"), Filter::default()).unwrap();
        let mut courier = Courier::new("a", &["b".to_owned()], Store::open(&path("store")).unwrap(), false).unwrap();
        courier.gain("re", directory).unwrap();
        let spool = Spool::open(&path("in")).unwrap();
        let first = link("re/rule", "first");
        let second = Item {
            entry: first
                .entry
                .changed(Seen { node: "b", active: false, millis: 2 }, Content::Link { target: b"second".to_vec() }),
            ..first.clone()
        };
        let mut number = 0;
        let mut hear = |courier: &mut Courier, item: &Item| {
            number += 1;
            let mut manifest = Manifest::new("b", number);
            manifest.news.push(News { item: item.clone(), content: None });
            spool.close(&manifest).unwrap();
            courier.take_in("b", &spool, NOW).unwrap()
        };
        let known = |courier: &Courier| courier.store.get(&first.place).unwrap().map(|record| record.entry);
        assert_eq!(hear(&mut courier, &first).settled.len(), 1);
        for (item, before) in [(&second, Some(first.entry.clone())), (&link("re/new", "new"), None)] {
            courier.directories["re"].refuses.store(true, Ordering::Relaxed);
            let taken = hear(&mut courier, item);
            assert_eq!((taken.settled.len(), taken.later.len()), (0, 1));
            let record = courier.store.get(&item.place).unwrap();
            assert_eq!(record.map(|record| record.entry), before);
            assert_eq!(courier.look(&[Place::root("re").unwrap()], false, NOW).unwrap().changed, 0);
            courier.directories["re"].refuses.store(false, Ordering::Relaxed);
            let taken = hear(&mut courier, item);
            assert_eq!((taken.settled.len(), taken.later.len(), taken.conflicts.len()), (1, 0, 0));
        }
        assert_eq!(known(&courier), Some(second.entry.clone()), "nobody has changed it here");
        assert_eq!(courier.store.kept().unwrap().len(), 1, "what was replaced is kept once");
        assert_eq!(courier.replies["b"].known.len(), 3);
    }
}
