//! How many stories run beside each other: those that measure a time run alone.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// More would measure the machine.
const SEATS: usize = 3;

static FREE: Mutex<usize> = Mutex::new(SEATS);
static LEFT: Condvar = Condvar::new();
/// Two that want all of them would wait for each other.
static ALL: Mutex<()> = Mutex::new(());

/// Seats, until it is dropped.
pub(crate) struct Seats(usize);

fn free() -> MutexGuard<'static, usize> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for one seat.
pub(crate) fn one() -> Seats {
    take(1)
}

/// Waits until nobody else runs.
pub(crate) fn all() -> Seats {
    let _turn = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    take(SEATS)
}

fn take(count: usize) -> Seats {
    let mut taken = Seats(0);
    while taken.0 < count {
        let mut free = LEFT.wait_while(free(), |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        taken.0 += 1;
    }
    taken
}

impl Drop for Seats {
    fn drop(&mut self) {
        *free() += self.0;
        LEFT.notify_all();
    }
}
