//! What becomes of the batches of a peer.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::role::{Heard, met_key};
use super::{Courier, CourierError, Moment};
use crate::compare::{Mark, Sum};
use crate::manifest::{Ask, Manifest, REFUSED_MAX};
use crate::place::Place;
use crate::plan::{Item, order};
use crate::receive::{Outcome, ReceiveError, Receiver};
use crate::spool::Spool;
use crate::store::{Changes, Debt};
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
    /// All that it holds, summed up.
    pub sum: Option<Sum>,
    /// All that it holds.
    pub all: Option<BTreeMap<Place, Mark>>,
}

impl Courier {
    /// Does what the batches say that have come from a peer.
    ///
    /// # Errors
    /// When the store or the spool cannot be used.
    pub fn take_in(&mut self, peer: &str, spool: &Spool, moment: Moment<'_>) -> Result<Taken, CourierError> {
        let mut taken = Taken::default();
        for number in spool.batches()? {
            match spool.manifest(number, peer)? {
                Ok(manifest) => match self.take_batch(peer, spool, manifest, moment, &mut taken) {
                    // It comes again; those behind it do not wait for it.
                    Err(CourierError::Disk(error)) => {
                        taken.doubts.push(format!("a batch of {peer} could not be taken in: {error}"));
                    }
                    done => done?,
                },
                Err(error) => taken.doubts.push(format!("a batch of {peer} is not believed: {error}")),
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
        // All of it is noted at once, and what was done before an error too.
        let done = self.store.write(|changes| Ok(self.receive_all(changes, peer, items, content, moment, taken)))?;
        let reply = done?;
        for item in &reply.known {
            self.strays.remove(&item.place);
        }
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
    ) -> Result<Manifest, CourierError> {
        let mut reply = Manifest::new(&self.me, 0);
        let mut touched = BTreeSet::new();
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
            match self.receive(changes, peer, &item, content(&item.place).as_deref(), moment)? {
                Outcome::Known => {}
                Outcome::Merged => taken.conflicts.push(item.place.clone()),
                Outcome::Wanted => {
                    reply.wants.push(item.place);
                    continue;
                }
                Outcome::Later(why) => {
                    if reply.refused.len() < REFUSED_MAX {
                        reply.refused.push((item.place.clone(), why.clone()));
                    }
                    taken.later.push((item.place, why));
                    continue;
                }
            }
            let above = item.place.way().parent().map(Path::to_owned);
            touched.extend(above.map(|above| (item.place.directory().to_owned(), above)));
            taken.settled.push(item.place.clone());
            reply.known.push(item);
        }
        self.sync(&touched)?;
        Ok(reply)
    }

    /// What is noted has to be so: the names get to the disk before the store says that they are there.
    fn sync(&self, touched: &BTreeSet<(OsString, PathBuf)>) -> Result<(), CourierError> {
        let mut names = BTreeSet::new();
        for (name, way) in touched {
            if let Some(directory) = name.to_str().and_then(|name| self.directories.get(name)) {
                directory.tree().sync(way)?;
                if names.insert(name) {
                    directory.sync_kept()?;
                }
            }
        }
        Ok(())
    }

    fn receive(
        &self,
        changes: &mut Changes<'_>,
        peer: &str,
        item: &Item,
        content: Option<&Path>,
        moment: Moment<'_>,
    ) -> Result<Outcome, CourierError> {
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
        let receiver = Receiver { directory, seen: self.seen(moment), peers: &self.peers, from: peer, obeys, learns };
        match receiver.receive(changes, item, content) {
            Ok(outcome) => Ok(outcome),
            Err(ReceiveError::Store(error)) => Err(error.into()),
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
        taken.all = manifest.all.take().map(|all| all.into_iter().collect()).or(taken.all.take());
        match manifest.asks {
            None => {}
            Some(Ask::Sum) => {
                let sum = self.sum()?;
                self.reply_to(peer).sum = Some(sum);
            }
            Some(Ask::All) => {
                let all = self.all()?;
                self.reply_to(peer).all = Some(all.into_iter().collect());
            }
        }
        Ok(())
    }
}
