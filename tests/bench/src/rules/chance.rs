//! Chance, so that changes meet every phase of what a system does by the clock.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::thread;
use std::time::Duration;

/// A number below `limit`.
pub(crate) fn below(limit: u64) -> u64 {
    RandomState::new().build_hasher().finish() % limit.max(1)
}

/// Waits for at least `least`, and by chance for up to `more` longer.
pub(crate) fn pause(least: Duration, more: Duration) {
    thread::sleep(least + Duration::from_micros(below(u64::try_from(more.as_micros()).unwrap_or(u64::MAX))));
}

/// Puts things into a random order.
pub(crate) fn shuffle<T>(things: &mut [T]) {
    for place in (1..things.len()).rev() {
        let other = usize::try_from(below(place as u64 + 1)).unwrap_or(0);
        things.swap(place, other);
    }
}
