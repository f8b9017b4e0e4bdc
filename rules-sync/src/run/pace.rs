//! How hurriedly batches follow each other: a single change goes at once, and in a burst each batch waits for what comes next, so
//! that the burst needs few of them.

use std::time::Duration;

/// For each path of a burst the next batch waits so long,
const GATHER: Duration = Duration::from_micros(300);
/// but not longer than this.
const GATHER_MAX: Duration = Duration::from_millis(600);
/// From so many paths on.
const PATHS_MAX: u32 = 2_000;
/// So many paths a second are no burst, however long they keep coming.
const EVERYDAY: u32 = 20;

/// When nothing was to be sent for so long, although it could have been, a burst is over.
const REST: Duration = Duration::from_millis(100);

/// How much has gone lately.
#[derive(Debug, Default)]
pub(super) struct Pace {
    paths: u32,
    at: Duration,
}

impl Pace {
    /// So many paths go `now`, after nothing was to be sent for `idle`; how long the next batch waits.
    pub(super) fn after(&mut self, now: Duration, idle: Duration, paths: usize) -> Duration {
        let since = now.saturating_sub(self.at);
        let millis = u32::try_from(since.as_millis()).unwrap_or(u32::MAX);
        let is_over = idle >= REST;
        let forgotten = if is_over { PATHS_MAX } else { millis.saturating_mul(EVERYDAY) / 1_000 };
        let paths = u32::try_from(paths).unwrap_or(u32::MAX);
        // More would wait no longer.
        self.paths = self.paths.saturating_sub(forgotten).saturating_add(paths).min(PATHS_MAX);
        self.at = now;
        self.wait()
    }

    fn wait(&self) -> Duration {
        GATHER.saturating_mul(self.paths).min(GATHER_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many batches carry so many paths that come at a steady rate, and the longest wait between two of them.
    fn batches(paths: u32, a_second: u32) -> (u32, Duration) {
        let (mut pace, mut now, mut sent) = (Pace::default(), Duration::ZERO, 0);
        let (mut batches, mut longest, mut free) = (0, Duration::ZERO, Duration::ZERO);
        while sent < paths {
            // Half of it is what the batch itself takes.
            now += Duration::from_millis(10);
            let there = paths.min(u32::try_from(now.as_micros() * u128::from(a_second) / 1_000_000).unwrap());
            if there == sent {
                continue;
            }
            let wait = pace.after(now, now - free, usize::try_from(there - sent).unwrap());
            (sent, batches, longest) = (there, batches + 1, longest.max(wait));
            now += wait;
            free = now;
        }
        (batches, longest)
    }

    #[test]
    fn a_burst_needs_few_batches_however_fast_it_comes() {
        let needed = [1_500, 3_000, 10_000].map(|a_second| batches(10_000, a_second).0);
        assert!(needed.iter().all(|batches| *batches <= 20), "{needed:?}");
    }

    #[test]
    fn what_people_do_goes_at_once() {
        let mut pace = Pace::default();
        assert!(pace.after(Duration::from_secs(9), Duration::ZERO, 1) < Duration::from_millis(1));
        let (_, longest) = batches(600, 10);
        assert!(longest < Duration::from_millis(20), "for a minute: {longest:?}");
    }

    #[test]
    fn what_goes_on_for_long_does_not_cost_a_batch_each() {
        let (batches, longest) = batches(6_000, 100);
        assert!(batches < 600 && longest <= GATHER_MAX, "{batches}, {longest:?}");
    }

    #[test]
    fn after_a_burst_all_is_as_before() {
        let mut pace = Pace::default();
        assert_eq!(pace.after(Duration::from_secs(1), Duration::ZERO, 100_000), GATHER_MAX);
        assert!(
            pace.after(Duration::from_millis(2_500), Duration::ZERO, 1) > GATHER_MAX / 2,
            "it was busy all the time"
        );
        assert!(pace.after(Duration::from_secs(3), REST, 1) < Duration::from_millis(1), "there was nothing to send");
    }
}
