//! Who may sit at the socket, and how much each may ask: limits per account, so that no crowd is anybody else's trouble.
//!
//! Three crowds have places of their own: the daemon's own account and root, operators, viewers. Within a crowd each
//! account has its share. An account that asks faster than its pace is not refused, it waits; and of what there is to say
//! about it in the log, only some is said.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use avamgr_core::time::Instant;

use crate::clock;
use crate::control::policy::{Caller, Level, Policy};
use crate::links::bucket::Bucket;

/// Accounts remembered before those that left long ago are forgotten.
const ACCOUNTS: usize = 256;

/// Words in the log about one account: some at once, then one per period.
const WORDS: u32 = 5;
const WORD_PERIOD: Duration = Duration::from_secs(10);

/// Callers that share their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Crowd {
    /// Root and the daemon's own account.
    Own,
    /// Members of the operators' group, and who steers in the name of others.
    Operators,
    /// Everybody else.
    Viewers,
}

/// What a crowd may have.
#[derive(Clone, Copy, Debug)]
struct Share {
    /// Connections of all its accounts. Each costs a file descriptor and some KiB.
    seats: usize,
    /// Connections of one account.
    seats_each: usize,
    /// Requests of one account: so many at once, then one per period.
    burst: u32,
    period: Duration,
}

impl Crowd {
    /// All seats together are half of the file descriptors a daemon has by default.
    fn share(self) -> Share {
        match self {
            Self::Own => Share { seats: 256, seats_each: 256, burst: 0, period: Duration::ZERO },
            Self::Operators => Share { seats: 128, seats_each: 64, burst: 100, period: Duration::from_millis(20) },
            Self::Viewers => Share { seats: 128, seats_each: 32, burst: 20, period: Duration::from_millis(100) },
        }
    }
}

/// An account as the kernel names it, and the crowd it belongs to.
type Key = (Crowd, Option<u32>);

/// All seats.
#[derive(Clone, Debug, Default)]
pub struct Seats(Arc<Mutex<BTreeMap<Key, Account>>>);

#[derive(Debug)]
struct Account {
    seats: usize,
    /// When the account has its whole burst again.
    rested: Instant,
    words: Bucket,
    unsaid: u64,
}

impl Account {
    fn new() -> Self {
        Self { seats: 0, rested: Instant::BOOT, words: Bucket::new(WORD_PERIOD, WORDS), unsaid: 0 }
    }
}

impl Seats {
    /// A place for the connection of a caller, unless its account or its crowd has none left.
    pub fn seat(&self, policy: &Policy, caller: &Caller) -> Option<Seat> {
        let crowd = match caller.level {
            Level::Viewer => Crowd::Viewers,
            Level::Operator if caller.uid.is_some_and(|uid| policy.is_own(uid)) => Crowd::Own,
            Level::Operator | Level::Relay => Crowd::Operators,
        };
        self.take(crowd, caller.uid)
    }

    /// A place for one connection, unless its account or its crowd has none left.
    fn take(&self, crowd: Crowd, uid: Option<u32>) -> Option<Seat> {
        let share = crowd.share();
        let mut accounts = self.lock();
        let taken: usize = accounts.iter().filter(|((of, _), _)| *of == crowd).map(|(_, account)| account.seats).sum();
        if taken >= share.seats {
            return None;
        }
        if accounts.len() >= ACCOUNTS {
            let now = clock::now();
            accounts.retain(|_, account| account.seats > 0 || account.rested > now);
        }
        let account = accounts.entry((crowd, uid)).or_insert_with(Account::new);
        if account.seats >= share.seats_each {
            return None;
        }
        account.seats += 1;
        drop(accounts);
        Some(Seat { seats: self.clone(), key: (crowd, uid) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the connections, given back when dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    key: Key,
}

impl Seat {
    pub(super) fn is_viewer(&self) -> bool {
        self.key.0 == Crowd::Viewers
    }

    /// How long the next request has to wait. It takes its turn: all connections of an account share one pace.
    pub fn turn(&self, now: Instant) -> Duration {
        let Share { burst, period, .. } = self.key.0.share();
        self.account(Duration::ZERO, |account| {
            account.rested = account.rested.max(now) + period;
            account.rested.since(now).saturating_sub(period * burst)
        })
    }

    /// Whether one more thing about this account may be logged: the number of those that were not since the last one.
    pub(super) fn word(&self, now: Instant) -> Option<u64> {
        self.account(None, |account| {
            if account.words.take(now) {
                Some(std::mem::take(&mut account.unsaid))
            } else {
                account.unsaid += 1;
                None
            }
        })
    }

    /// An account that has a seat is there.
    fn account<T>(&self, otherwise: T, work: impl FnOnce(&mut Account) -> T) -> T {
        self.seats.lock().get_mut(&self.key).map_or(otherwise, work)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.account((), |account| account.seats -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(seats: &Seats, crowd: Crowd, uid: u32) -> Vec<Seat> {
        std::iter::from_fn(|| seats.take(crowd, Some(uid))).collect()
    }

    #[test]
    fn each_account_has_its_share_and_each_crowd_its_places() {
        let seats = Seats::default();
        let crowds: Vec<Vec<Seat>> = (1000..1010).map(|uid| fill(&seats, Crowd::Viewers, uid)).collect();
        assert_eq!(crowds.iter().map(Vec::len).collect::<Vec<_>>(), [32, 32, 32, 32, 0, 0, 0, 0, 0, 0]);
        assert!(seats.take(Crowd::Viewers, None).is_none());
        let operators: Vec<Vec<Seat>> = (2000..2003).map(|uid| fill(&seats, Crowd::Operators, uid)).collect();
        assert_eq!(operators.iter().map(Vec::len).collect::<Vec<_>>(), [64, 64, 0]);
        assert_eq!(fill(&seats, Crowd::Own, 0).len(), 256);
        drop(crowds);
        assert_eq!(fill(&seats, Crowd::Viewers, 1009).len(), 32);
    }

    #[test]
    fn the_connections_of_an_account_share_one_pace_and_a_new_one_is_no_fresh_start() {
        let seats = Seats::default();
        let now = Instant::from_millis(1_000);
        let first = seats.take(Crowd::Viewers, Some(1000)).unwrap();
        assert!((0..20).all(|_| first.turn(now).is_zero()));
        drop(first);
        let (second, third) = (seats.take(Crowd::Viewers, Some(1000)).unwrap(), seats.take(Crowd::Viewers, Some(1000)));
        assert_eq!(second.turn(now), Duration::from_millis(100));
        assert_eq!(third.unwrap().turn(now), Duration::from_millis(200));
        let other = seats.take(Crowd::Viewers, Some(1001)).unwrap();
        assert!(other.turn(now).is_zero(), "another account's pace is its own");
        let root = seats.take(Crowd::Own, Some(0)).unwrap();
        assert!((0..10_000).all(|_| root.turn(now).is_zero()));
    }

    #[test]
    fn only_some_is_said_of_an_account_and_the_rest_is_counted() {
        let seats = Seats::default();
        let seat = seats.take(Crowd::Viewers, Some(1000)).unwrap();
        let now = Instant::from_millis(100_000);
        let said: Vec<u64> = (0..1_000).filter_map(|_| seat.word(now)).collect();
        assert_eq!(said, [0; 5]);
        assert_eq!(seat.word(now + WORD_PERIOD), Some(995));
    }

    #[test]
    fn accounts_that_left_are_forgotten_in_the_end() {
        let seats = Seats::default();
        for uid in 0..10_000 {
            drop(seats.take(Crowd::Viewers, Some(uid)).unwrap());
        }
        assert!(seats.lock().len() <= ACCOUNTS);
    }
}
