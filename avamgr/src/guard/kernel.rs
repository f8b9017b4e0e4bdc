//! The table in the kernel, and the time that each group has there.

use std::time::Duration;

use avamgr_core::time::Instant;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::time::{ClockId, clock_getres};

use super::ruleset::Ruleset;
use crate::clock;
use crate::netlink::Error;
use crate::netlink::nft::{Message, Nft, Refused};

/// How long a request may take from the look at the clock until the kernel carries it out, in ticks: the kernel counts it,
/// and the first one has already begun. One that takes longer is refused by the kernel, and done once more.
const REQUEST_TICKS: u32 = 1;
/// Each one allows twice as long as the one before.
const TAKE_OVER_ATTEMPTS: u32 = 5;
/// The element of the lease that counts it; no group has this number.
const COUNTDOWN: u32 = 0;
/// The kernel takes a time of less than a tick for a whole one; a lease that short is over.
const LEAST: Duration = Duration::from_millis(1);
/// A tick of the kernel where it does not say how long one is (100 Hz).
const LONGEST_TICK: Duration = Duration::from_millis(10);

/// What became of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grip {
    /// It passes until its lease ends, and not longer.
    Held,
    /// Its lease is over, or was before it could be renewed. It does not pass.
    Over,
}

/// How an element gets its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Whatever was before.
    Open,
    /// Only if it has some left.
    Prolong,
}

pub(super) struct Kernel {
    nft: Nft,
    ruleset: Ruleset,
    /// Those on which the table is, with their numbers.
    interfaces: Vec<(String, u32)>,
    /// Of the ruleset of this namespace after the last transaction of ours.
    generation: u32,
    tick: Duration,
}

impl Kernel {
    /// Puts the table there, all groups closed but those that are `held` until then. Answers whether these pass on without a
    /// gap: they are closed too where there is no such table yet.
    pub(super) fn install(ruleset: Ruleset, wanted: &[String], held: &[(u32, Instant)]) -> Result<(Self, bool), Error> {
        let mut kernel = Self { nft: Nft::open()?, ruleset, interfaces: Vec::new(), generation: 0, tick: tick() };
        let taken = !held.is_empty() && kernel.take_over(wanted, held)?;
        if !taken {
            kernel.reinstall(wanted)?;
        }
        Ok((kernel, taken))
    }

    /// Puts the table in the place of the one that is there, in one step, if that is one of ours. As in [`Self::give`], the
    /// kernel refuses a request that it comes to late.
    fn take_over(&mut self, wanted: &[String], held: &[(u32, Instant)]) -> Result<bool, Error> {
        let what = "take the table of the guard over";
        let mut allowance = self.tick * REQUEST_TICKS;
        for _ in 0..TAKE_OVER_ATTEMPTS {
            self.generation = self.nft.generation()?;
            if self.commit(what, self.ruleset.open(COUNTDOWN, allowance))?.is_err() {
                return Ok(false);
            }
            let interfaces = existing(wanted);
            let now = clock::now();
            let mut transaction = self.ruleset.close(COUNTDOWN);
            transaction.extend(self.ruleset.installation(&names(&interfaces)));
            for (number, until) in held {
                let time = until.since(now + self.tick + allowance);
                if time >= LEAST {
                    transaction.extend(self.ruleset.open(*number, time));
                }
            }
            match self.commit(what, transaction)? {
                Ok(()) => {
                    self.interfaces = interfaces;
                    return Ok(true);
                }
                Err(Refused { place: 0, .. }) => allowance *= 2,
                Err(Refused { place: _, refusal }) => return Err(Error::Refused { what, refusal }),
            }
        }
        Ok(false)
    }

    /// Puts the table there once more, all groups closed, on those of the interfaces that exist.
    pub(super) fn reinstall(&mut self, wanted: &[String]) -> Result<(), Error> {
        // A change by somebody else that is hidden by ours would be found at the next one.
        self.generation = self.nft.generation()?;
        let interfaces = existing(wanted);
        let names = names(&interfaces);
        let what = "install the table of the guard";
        self.commit(what, self.ruleset.installation(&names))?
            .map_err(|refused| Error::Refused { what, refusal: refused.refusal })?;
        self.interfaces = interfaces;
        Ok(())
    }

    /// Gives a group time until `until` and not longer. `None` = there was no time left that could be prolonged, or there is
    /// no table.
    ///
    /// The kernel knows only how long from now on, and may come to it late: we may stand still after the look at the clock,
    /// or somebody else's transaction be under way. So there is a countdown in the kernel, begun before the look at the clock,
    /// and the request is refused when that is over. What is allowed for the request is taken from the time, and one that was
    /// refused for it is done once more with twice the allowance.
    pub(super) fn give(&mut self, number: u32, until: Instant, way: Way) -> Result<Option<Grip>, Error> {
        let what = "prolong a lease in the guard";
        let mut allowance = self.tick * REQUEST_TICKS;
        loop {
            let countdown = self.ruleset.open(COUNTDOWN, allowance);
            match self.commit(what, countdown)? {
                Err(refused) if refused.refusal.errno == Errno::ENOENT => return Ok(None),
                begun => begun.map_err(|refused| Error::Refused { what, refusal: refused.refusal })?,
            }
            let time = until.since(clock::now() + self.tick + allowance);
            if time < LEAST {
                self.take(number)?;
                return Ok(Some(Grip::Over));
            }
            let mut transaction = self.ruleset.close(COUNTDOWN);
            transaction.extend(match way {
                Way::Open => self.ruleset.open(number, time),
                Way::Prolong => self.ruleset.prolong(number, time),
            });
            match self.commit(what, transaction)? {
                Ok(()) => return Ok(Some(Grip::Held)),
                Err(Refused { place: 0, refusal }) if refusal.errno == Errno::ENOENT => allowance *= 2,
                Err(Refused { place: _, refusal }) if refusal.errno == Errno::ENOENT => return Ok(None),
                Err(Refused { place: _, refusal }) => return Err(Error::Refused { what, refusal }),
            }
        }
    }

    /// Takes all of its time from a group.
    pub(super) fn take(&mut self, number: u32) -> Result<(), Error> {
        let what = "end a lease in the guard";
        match self.commit(what, self.ruleset.close(number))? {
            Err(Refused { place: _, refusal }) if refusal.errno != Errno::ENOENT => {
                Err(Error::Refused { what, refusal })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether somebody else has changed our table; only looked at when somebody has changed anything.
    pub(super) fn is_damaged(&mut self) -> Result<bool, Error> {
        let generation = self.nft.generation()?;
        if generation == self.generation {
            return Ok(false);
        }
        let (objects, rules) = self.ruleset.size(&names(&self.interfaces));
        let table = self.ruleset.table.clone();
        let damaged = self.nft.table_use(&table)? != Some(objects) || self.nft.rules(&table)? != rules;
        if !damaged {
            self.generation = generation;
        }
        Ok(damaged)
    }

    /// Whether the interfaces are other ones than when the table was installed.
    pub(super) fn has_moved(&self, wanted: &[String]) -> bool {
        existing(wanted) != self.interfaces
    }

    /// Deletes the table: everything passes.
    pub(super) fn remove(&mut self) -> Result<(), Error> {
        delete(&mut self.nft, &self.ruleset)
    }

    fn commit(&mut self, what: &'static str, transaction: Vec<Message>) -> Result<Result<(), Refused>, Error> {
        let outcome = self.nft.commit(what, transaction)?;
        if outcome.is_ok() {
            // The kernel leaves out zero.
            self.generation = self.generation.wrapping_add(1).max(1);
        }
        Ok(outcome)
    }
}

/// Deletes the table of an earlier daemon, if there is one.
pub(super) fn clear(ruleset: &Ruleset) -> Result<(), Error> {
    match Nft::open() {
        Ok(mut nft) => delete(&mut nft, ruleset),
        // Where there is no netfilter there is no table.
        Err(_) => Ok(()),
    }
}

fn delete(nft: &mut Nft, ruleset: &Ruleset) -> Result<(), Error> {
    let what = "delete the table of the guard";
    match nft.commit(what, ruleset.removal())? {
        Err(Refused { place: _, refusal })
            if !matches!(refusal.errno, Errno::ENOENT | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EINVAL) =>
        {
            Err(Error::Refused { what, refusal })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// How much earlier than its lease a group may end: what [`Kernel::give`] takes off, for the
/// request and for a tick that comes late, what the kernel cuts off to get whole
/// milliseconds and ticks, and the tick that has already begun.
pub fn earliness() -> Duration {
    LEAST + tick() * (REQUEST_TICKS + 3)
}

/// How long the kernel's tick is, in which it counts the time of elements.
fn tick() -> Duration {
    clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_or(LONGEST_TICK, Duration::from)
}

fn existing(wanted: &[String]) -> Vec<(String, u32)> {
    let number = |name: &String| if_nametoindex(name.as_str()).ok().map(|index| (name.clone(), index));
    wanted.iter().filter_map(number).collect()
}

fn names(interfaces: &[(String, u32)]) -> Vec<String> {
    interfaces.iter().map(|(name, _)| name.clone()).collect()
}
