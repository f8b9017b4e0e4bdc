//! How fast frames may leave: a bucket that fills with time.

use std::time::Duration;

use avamgr_core::time::Instant;

/// Frames that may leave at once: switches and the receive queues of neighbours (256 entries in many network cards) hold
/// that much.
const BURST: u64 = 256;
/// One frame each 6 µs: a tenth of what 1 Gbit/s carries, and 4,096 addresses of a range in 25 ms.
const NANOS_PER_FRAME: u64 = 6_000;
/// Waiting for a single frame's time would wake us thousands of times.
const BATCH: u64 = 64;
/// How long to wait when the interface takes no more.
const BACK_OFF: Duration = Duration::from_millis(1);

/// Counts what was sent and says when the next may leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// When the bucket was empty, had it only ever filled: it is full `BURST` frames later.
    empty_at: Instant,
    /// Not before this.
    blocked_until: Instant,
}

impl Pace {
    /// A full bucket.
    pub fn new() -> Self {
        Self { empty_at: Instant::BOOT, blocked_until: Instant::BOOT }
    }

    /// How many frames may leave now.
    pub fn allowed(&self, now: Instant) -> usize {
        if now < self.blocked_until {
            return 0;
        }
        let filled = now.as_nanos().saturating_sub(self.empty_at.as_nanos()) / NANOS_PER_FRAME;
        usize::try_from(filled.min(BURST)).unwrap_or(usize::MAX)
    }

    /// These many have left.
    pub fn sent(&mut self, frames: usize, now: Instant) {
        let full = now - Duration::from_nanos(BURST * NANOS_PER_FRAME);
        let cost = u64::try_from(frames).unwrap_or(u64::MAX).saturating_mul(NANOS_PER_FRAME);
        self.empty_at = self.empty_at.max(full) + Duration::from_nanos(cost);
    }

    /// The interface takes no more.
    pub fn refused(&mut self, now: Instant) {
        self.blocked_until = now + BACK_OFF;
    }

    /// When it pays to send again, with so many waiting.
    pub fn next(&self, waiting: usize) -> Instant {
        let wanted = u64::try_from(waiting).unwrap_or(u64::MAX).min(BATCH);
        self.blocked_until.max(self.empty_at + Duration::from_nanos(wanted * NANOS_PER_FRAME))
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_thousand_frames_take_about_25_ms_and_never_more_than_a_burst_at_once() {
        let start = Instant::from_millis(1_000_000);
        let (mut pace, mut now, mut left) = (Pace::new(), start, 4096usize);
        while left > 0 {
            let batch = pace.allowed(now).min(left);
            assert!(batch <= 256 && (batch >= 64 || batch == left || now == start), "{batch} of {left}");
            pace.sent(batch, now);
            left -= batch;
            now = now.max(pace.next(left));
        }
        let took = now.since(start);
        assert!((Duration::from_millis(20)..Duration::from_millis(30)).contains(&took), "{took:?}");
    }

    #[test]
    fn a_refusal_waits() {
        let now = Instant::from_millis(5_000);
        let mut pace = Pace::new();
        pace.refused(now);
        assert_eq!(pace.allowed(now), 0);
        assert_eq!(pace.next(1), now + BACK_OFF);
        assert_eq!(pace.allowed(now + BACK_OFF), 256);
    }
}
