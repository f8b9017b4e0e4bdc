//! Does the hands plane still run? Judged by the loop, from the beats it sees.

use std::time::Duration;

use avamgr_core::time::Instant;

/// The loop looks twice as often. What lies between two looks that are further apart is no silence of the hands plane: the
/// machine stood still, and both planes begin anew.
const STEP_MAX: Duration = Duration::from_secs(1);

/// What the loop remembers of the hands plane.
#[derive(Debug)]
pub(super) struct HandsWatch {
    beats: u64,
    looked: Instant,
    silent: Duration,
}

impl HandsWatch {
    pub(super) fn new(now: Instant) -> Self {
        Self { beats: 0, looked: now, silent: Duration::ZERO }
    }

    /// How long the hands plane has not beaten while the loop itself ran.
    pub(super) fn look(&mut self, now: Instant, beats: u64) -> Duration {
        let step = now.since(self.looked);
        let silent = beats == self.beats && step <= STEP_MAX;
        self.silent = if silent { self.silent + step } else { Duration::ZERO };
        (self.looked, self.beats) = (now, beats);
        self.silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The silence after looks at these moments, in milliseconds, with these counts of beats.
    fn silence(looks: &[(u64, u64)]) -> Duration {
        let mut watch = HandsWatch::new(Instant::BOOT);
        let look = |(millis, beats): &(u64, u64)| watch.look(Instant::BOOT + Duration::from_millis(*millis), *beats);
        looks.iter().map(look).last().unwrap_or_default()
    }

    #[test]
    fn who_beats_is_not_silent() {
        assert_eq!(silence(&[(500, 1), (1000, 2), (1500, 3)]), Duration::ZERO);
        assert_eq!(silence(&[(500, 1), (1000, 1), (1500, 2)]), Duration::ZERO);
    }

    #[test]
    fn silence_is_as_long_as_the_loop_ran_without_a_beat() {
        assert_eq!(silence(&[(500, 1), (1000, 1), (1500, 1), (2000, 1)]), Duration::from_millis(1500));
        assert_eq!(silence(&[(1, 1), (2, 1), (3, 1)]), Duration::from_millis(2), "looks in quick succession");
    }

    #[test]
    fn a_machine_that_stood_still_is_no_silence() {
        assert_eq!(silence(&[(500, 1), (60_000, 1)]), Duration::ZERO);
        assert_eq!(silence(&[(500, 1), (1000, 1), (1500, 1), (60_000, 1), (60_500, 1)]), Duration::from_millis(500));
    }
}
