//! THE LEASE: what a voter promises. The same table on every node and on the witness.
//!
//! A voter gives its vote for a group to one node at a time, for a bounded time, in a term that only grows. Two majorities of
//! voters share one of them, so no two nodes hold a lease at once. Nobody compares clocks of two machines:
//!
//! * a *holder* counts its lease from the **sending** of the last renewal that a majority has acknowledged, shortened by
//!   the clock-rate bound ([`held_until`]);
//! * a *voter* counts its promise from the **receipt** of that renewal, stretched by it ([`promised_until`]);
//! * a voter that was restarted has forgotten what it promised, and *abstains* until the longest of it is over
//!   ([`abstains_until`]).

pub mod vote;
pub mod witness;

use std::time::Duration;

pub use vote::{Asker, Promise, Vote, Wish};

use crate::sabotage::{Rule, broken};
use crate::time::{Instant, shrink, stretch};

/// The longest promise anybody may ask for: a mistyped timer must not take a voter away for a day.
pub const LONGEST: Duration = Duration::from_secs(600);

/// When the lease of a holder is over whose renewal was sent at `sent`.
pub fn held_until(sent: Instant, lease: Duration, ppm: u32) -> Instant {
    sent + shrink(whole_micros(lease), believed(ppm))
}

/// As [`held_until`], for a voter that does not know the clock-rate bound and counts `lease` on its own clock from the receipt,
/// as etcd does: its clock may be too fast as ours may be too slow.
pub fn held_until_by_plain_voter(sent: Instant, lease: Duration, ppm: u32) -> Instant {
    held_until(sent, shrink(lease, ppm), ppm)
}

/// When the promise of a voter is over that got the renewal at `received`.
pub fn promised_until(received: Instant, lease: Duration, ppm: u32) -> Instant {
    received + stretch(lease, believed(ppm))
}

/// Until when a voter that was started at `started` makes no promise, if the longest it may have made before was for
/// `longest`.
pub fn abstains_until(started: Instant, longest: Duration, ppm: u32) -> Instant {
    if broken(Rule::RestartedVoterAbstains) { started } else { started + stretch(longest, ppm) }
}

fn believed(ppm: u32) -> u32 {
    if broken(Rule::ClocksAreWrong) { 0 } else { ppm }
}

/// As it travels.
fn whole_micros(time: Duration) -> Duration {
    Duration::from_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In real time, by a clock that is wrong by this much.
    fn real(by: Instant, ppm: i64) -> f64 {
        f64::from(u32::try_from(by.as_nanos() / 1_000).unwrap_or(u32::MAX))
            / (1.0 + f64::from(i32::try_from(ppm).unwrap_or(0)) / 1e6)
    }

    #[test]
    fn nobody_counts_on_a_plain_voter_for_longer_than_it_holds_whatever_the_clocks() {
        let lease = Duration::from_secs(3);
        for bound in [0, 100, 1_000, 100_000] {
            let held = held_until_by_plain_voter(Instant::BOOT, lease, bound);
            let voter = real(Instant::BOOT + lease, i64::from(bound));
            let holder = real(held, -i64::from(bound));
            assert!(holder <= voter + 1.0, "within {bound} ppm: {holder} us, and the voter {voter} us");
            // One allowance is not enough.
            let once = real(held_until(Instant::BOOT, lease, bound), -i64::from(bound));
            assert!(bound == 0 || once > voter, "within {bound} ppm: {once} us, and the voter {voter} us");
        }
    }
}
