//! What has been sent to a peer and not been confirmed: how often it is offered again.
//!
//! A few are tried all the time, so that what is mended is healed soon. Of a crowd, mostly all that belongs into a directory that
//! is not there, the first of each directory is, and the rest is tried less and less until one of them could be taken.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use crate::courier::Portion;
use crate::place::Place;
use crate::plan::Item;
use crate::version::Version;

/// What has arrived and is not known there after this time is offered again.
pub(super) const UNKNOWN: Duration = Duration::from_secs(3);
/// More than these are a crowd.
pub(in crate::run) const FEW: usize = 256;
/// One of a crowd waits for so long at most.
pub(in crate::run) const CROWD_MAX: Duration = Duration::from_secs(48);

#[derive(Debug)]
struct Sent {
    version: Version,
    at: Duration,
    /// So often it has been offered again.
    again: u32,
}

/// What is on its way to a peer, or could not be taken there.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed {
    sent: BTreeMap<Place, Sent>,
    /// How many of them have been offered again.
    stuck: usize,
    /// When one that had been stuck could be taken: the others may be, too.
    hope: Duration,
}

impl Unconfirmed {
    /// It goes now, or is offered.
    pub(super) fn sent(&mut self, item: &Item, now: Duration) {
        let version = item.entry.version.clone();
        let before = self.remove(&item.place).filter(|before| before.version == version);
        let again = before.map_or(0, |before| before.again.saturating_add(1));
        self.stuck += usize::from(again > 0);
        self.sent.insert(item.place.clone(), Sent { version, at: now, again });
    }

    /// The peer knows it, or wants it with its content.
    pub(super) fn taken(&mut self, place: &Place, now: Duration) {
        if self.remove(place).is_some_and(|sent| sent.again > 0) {
            self.hope = now;
        }
    }

    /// Nobody knows what of it has arrived.
    pub(super) fn clear(&mut self) {
        (self.sent, self.stuck) = (BTreeMap::new(), 0);
    }

    fn remove(&mut self, place: &Place) -> Option<Sent> {
        let removed = self.sent.remove(place)?;
        self.stuck -= usize::from(removed.again > 0);
        Some(removed)
    }

    /// How much of it goes now.
    pub(super) fn portion(&self, item: &Item, now: Duration) -> Portion {
        match self.sent.get(&item.place) {
            Some(sent) if sent.version == item.entry.version => {
                // It has come, or not: what it is need not be sent again to know.
                let is_due = now.saturating_sub(sent.at) >= self.wait(&item.place, sent);
                if is_due { Portion::Offer } else { Portion::Nothing }
            }
            Some(_) | None => Portion::All,
        }
    }

    fn wait(&self, place: &Place, sent: &Sent) -> Duration {
        if self.stuck <= FEW || sent.at <= self.hope || self.is_first(place) {
            return UNKNOWN;
        }
        (UNKNOWN * 4u32.saturating_pow(sent.again.min(10))).min(CROWD_MAX)
    }

    /// Of those of its directory that stand together.
    fn is_first(&self, place: &Place) -> bool {
        let before = self.sent.range((Bound::Unbounded, Bound::Excluded(place))).next_back();
        before.is_none_or(|(before, _)| {
            (before.directory(), before.way().parent()) != (place.directory(), place.way().parent())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::{Content, Entry, Seen};

    fn item(path: &str) -> Item {
        let seen = Seen { node: "a", active: false, millis: 1 };
        Item { place: Place::try_from(path.to_owned()).unwrap(), entry: Entry::first(seen, Content::Gone) }
    }

    /// Offers what is due, each second of the hour that begins at `from`; how often each.
    fn an_hour(unconfirmed: &mut Unconfirmed, items: &[Item], from: u64) -> Vec<u32> {
        let mut offered = vec![0; items.len()];
        for now in (from..from + 3_600).map(Duration::from_secs) {
            for (item, offered) in items.iter().zip(&mut offered) {
                if unconfirmed.portion(item, now) == Portion::Offer {
                    unconfirmed.sent(item, now);
                    *offered += 1;
                }
            }
        }
        offered
    }

    fn all_sent(items: &[Item], now: u64) -> Unconfirmed {
        let mut unconfirmed = Unconfirmed::default();
        for item in items {
            assert_eq!(unconfirmed.portion(item, Duration::from_secs(now)), Portion::All);
            unconfirmed.sent(item, Duration::from_secs(now));
        }
        unconfirmed
    }

    #[test]
    fn a_few_are_tried_all_the_time() {
        let items: Vec<Item> = (0..FEW).map(|number| item(&format!("re/a/{number}"))).collect();
        let mut unconfirmed = all_sent(&items, 1_000);
        assert_eq!(unconfirmed.portion(&items[0], Duration::from_secs(1_002)), Portion::Nothing);
        assert!(an_hour(&mut unconfirmed, &items, 1_000).iter().all(|offered| *offered >= 1_199));
    }

    #[test]
    fn of_a_crowd_the_first_of_each_directory_is_tried_all_the_time_and_the_rest_seldom() {
        let names =
            ["a", "a/b", "c"].iter().flat_map(|way| (0..200).map(move |number| format!("re/{way}/{number:03}")));
        let items: Vec<Item> = names.map(|name| item(&name)).collect();
        let mut unconfirmed = all_sent(&items, 1_000);
        let offered = an_hour(&mut unconfirmed, &items, 1_000);
        for (item, offered) in items.iter().zip(offered) {
            let is_first = item.place.to_string().ends_with("/000");
            let wanted = if is_first { 1_195..=1_200 } else { 70..=90 };
            assert!(wanted.contains(&offered), "{} {offered}", item.place);
        }
        // One of the first can be taken: all are tried.
        unconfirmed.taken(&items[0].place, Duration::from_secs(4_603));
        let is_due = |item: &&Item| unconfirmed.portion(item, Duration::from_secs(4_603)) == Portion::Offer;
        assert_eq!(items.iter().skip(1).filter(is_due).count(), items.len() - 1);
    }

    #[test]
    fn what_has_changed_meanwhile_goes_at_once_and_is_no_longer_stuck() {
        let first = item("re/a");
        let mut unconfirmed = all_sent(std::slice::from_ref(&first), 1_000);
        unconfirmed.sent(&first, Duration::from_secs(1_010));
        let seen = Seen { node: "a", active: false, millis: 2 };
        let second = Item { entry: first.entry.changed(seen, Content::Directory { mode: 0o755 }), ..first };
        assert_eq!((unconfirmed.portion(&second, Duration::from_secs(1_010)), unconfirmed.stuck), (Portion::All, 1));
        unconfirmed.sent(&second, Duration::from_secs(1_010));
        assert_eq!(unconfirmed.stuck, 0);
        unconfirmed.clear();
        assert_eq!(unconfirmed.portion(&second, Duration::from_secs(1_010)), Portion::All);
    }
}
