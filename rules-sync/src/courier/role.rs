//! Where changes come from the ACTIVE node only: who tells whom, and what the ACTIVE node answers to the others.

use super::{Courier, CourierError, Moment};
use crate::obey::{Answer, answer};
use crate::place::Place;
use crate::plan::Item;
use crate::store::{Changes, Debt, Record, StoreError};

/// Under which the store knows whether this node was ACTIVE last. No node has such a name.
const ROLE: &str = "role/active";

/// Under which the store knows that a peer has held the same.
pub(super) fn met_key(peer: &str) -> String {
    format!("met/{peer}")
}

/// What is to be done with the news of a node that is not ACTIVE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is known.
    Known,
    /// It is received like any other, or refused.
    Take,
    /// Nothing.
    Nothing,
}

impl Courier {
    /// Somebody else is ACTIVE, or nobody is any more. Where only the ACTIVE node may change anything, it tells everybody, and
    /// the others tell it alone: what they had not told when they were ACTIVE themselves.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn follow_role(&mut self, moment: Moment<'_>) -> Result<(), CourierError> {
        let Some(active) = moment.active.filter(|_| self.one_way) else { return Ok(()) };
        let is_me = active == self.me;
        if self.store.number_of(ROLE)? != Some(u64::from(is_me)) {
            self.store.write(|changes| {
                changes.set_number(ROLE, u64::from(is_me))?;
                // Whoever was ACTIVE before may have told some of them, and not the others.
                let peers = self.peers.iter().filter(|_| is_me);
                peers.into_iter().try_for_each(|peer| changes.offer_everything(peer, moment.millis))
            })?;
        }
        if !is_me {
            self.store.write(|changes| changes.owe_only(active))?;
            let strays: Vec<Place> = self.strays.iter().cloned().collect();
            if !strays.is_empty() {
                self.reply_to(active).wants.extend(strays);
            }
        }
        Ok(())
    }

    /// A peer has been found to hold the same: whatever it knew before is known here.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn met(&self, peer: &str) -> Result<(), CourierError> {
        if self.learns(peer)? {
            self.store.write(|changes| changes.set_number(&met_key(peer), 1))?;
        }
        Ok(())
    }

    /// Whether one of us has not heard yet what the other one knows.
    pub(super) fn learns(&self, peer: &str) -> Result<bool, StoreError> {
        Ok(self.store.number_of(&met_key(peer))? != Some(1))
    }

    /// Whether a peer is told what is known here.
    pub(super) fn tells(&self, peer: &str, moment: Moment<'_>) -> bool {
        self.may_change(moment) || moment.active == Some(peer)
    }

    /// Whether a peer may be owed something: not when it is known that the ACTIVE node tells it.
    pub(super) fn may_owe(&self, peer: &str, moment: Moment<'_>) -> bool {
        self.tells(peer, moment) || moment.active.is_none()
    }

    /// What becomes of the news of a node that may change nothing. It was ACTIVE, or does not know yet that somebody else is.
    pub(super) fn hear_other(
        &self,
        changes: &mut Changes<'_>,
        peer: &str,
        item: &Item,
        moment: Moment<'_>,
    ) -> Result<Heard, StoreError> {
        let known = changes.get(&item.place)?;
        let ours = known.as_ref().map(|record| &record.entry);
        if !self.may_change(moment) {
            // It is not for us to say what is right.
            let is_known = ours.is_some_and(|ours| ours.follows(&item.entry));
            return Ok(if is_known { Heard::Known } else { Heard::Take });
        }
        match answer(ours, &item.entry, self.seen(moment), self.learns(peer)?) {
            Answer::Known => return Ok(Heard::Known),
            Answer::Merge => return Ok(Heard::Take),
            Answer::Told => changes.owe(peer, &item.place, Debt::now(moment.millis))?,
            Answer::Overruled(entry) => {
                let record = Record { entry, trace: known.and_then(|record| record.trace) };
                let peers = self.peers.iter().map(String::as_str);
                changes.put(&item.place, &record, peers, Debt::now(moment.millis))?;
            }
        }
        Ok(Heard::Nothing)
    }
}
