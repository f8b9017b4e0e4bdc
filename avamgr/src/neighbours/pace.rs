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

/// Who waits for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Clients are in the dark until it is out.
    Urgent,
    /// Nobody: it repeats what was said. Takes a quarter of the pace, so that neither we nor the neighbours do nothing else.
    Routine,
}

impl Haste {
    fn nanos_per_frame(self) -> u64 {
        match self {
            Self::Urgent => NANOS_PER_FRAME,
            Self::Routine => NANOS_PER_FRAME * 4,
        }
    }
}

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
    pub fn allowed(&self, haste: Haste, now: Instant) -> usize {
        if now < self.blocked_until {
            return 0;
        }
        let filled = now.as_nanos().saturating_sub(self.empty_at.as_nanos()).min(BURST * NANOS_PER_FRAME);
        usize::try_from(filled / haste.nanos_per_frame()).unwrap_or(usize::MAX)
    }

    /// These many have left.
    pub fn sent(&mut self, frames: usize, haste: Haste, now: Instant) {
        let full = now - Duration::from_nanos(BURST * NANOS_PER_FRAME);
        let cost = u64::try_from(frames).unwrap_or(u64::MAX).saturating_mul(haste.nanos_per_frame());
        self.empty_at = self.empty_at.max(full) + Duration::from_nanos(cost);
    }

    /// The interface takes no more.
    pub fn refused(&mut self, now: Instant) {
        self.blocked_until = now + BACK_OFF;
    }

    /// When it pays to send again, with so many waiting.
    pub fn next(&self, waiting: usize, haste: Haste) -> Instant {
        let wanted = u64::try_from(waiting).unwrap_or(u64::MAX).min(BATCH);
        self.blocked_until.max(self.empty_at + Duration::from_nanos(wanted * haste.nanos_per_frame()))
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

    /// How long so many frames take, never more than a burst of them at once.
    fn time_for(frames: usize, haste: Haste) -> Duration {
        let start = Instant::from_millis(1_000_000);
        let (mut pace, mut now, mut left) = (Pace::new(), start, frames);
        while left > 0 {
            let batch = pace.allowed(haste, now).min(left);
            assert!(batch <= 256 && (batch >= 64 || batch == left), "{batch} of {left}");
            pace.sent(batch, haste, now);
            left -= batch;
            now = now.max(pace.next(left, haste));
        }
        now.since(start)
    }

    #[test]
    fn four_thousand_frames_take_about_25_ms_and_four_times_that_when_nobody_waits() {
        let between = |took: Duration, low: u64, high: u64| {
            assert!((Duration::from_millis(low)..Duration::from_millis(high)).contains(&took), "{took:?}");
        };
        between(time_for(4_096, Haste::Urgent), 20, 30);
        between(time_for(4_096, Haste::Routine), 85, 105);
        assert_eq!(time_for(1, Haste::Urgent), Duration::ZERO);
    }

    #[test]
    fn a_refusal_waits() {
        let now = Instant::from_millis(5_000);
        let mut pace = Pace::new();
        pace.refused(now);
        assert_eq!(pace.allowed(Haste::Urgent, now), 0);
        assert_eq!(pace.next(1, Haste::Urgent), now + BACK_OFF);
        assert_eq!(pace.allowed(Haste::Urgent, now + BACK_OFF), 256);
        assert_eq!(pace.allowed(Haste::Routine, now + BACK_OFF), 64);
    }
}
