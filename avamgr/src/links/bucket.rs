//! A limit on how often something may happen.

use std::time::Duration;

use avamgr_core::time::Instant;

/// Lets `burst` events through at once and then one per `period`, kept as one number: when the bucket will be full again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    period: Duration,
    burst: u32,
    full_at: Instant,
}

impl Bucket {
    pub(crate) fn new(period: Duration, burst: u32) -> Self {
        Self { period, burst, full_at: Instant::BOOT }
    }

    /// Whether one more may pass now; `false` takes nothing.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + self.period;
        if full_at.since(now) > self.period * self.burst {
            return false;
        }
        self.full_at = full_at;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_passes_then_one_per_period() {
        let mut bucket = Bucket::new(MILLI, 10);
        let start = Instant::from_millis(1_000);
        let passed = |bucket: &mut Bucket, at| (0..100).filter(|_| bucket.take(at)).count();
        assert_eq!(passed(&mut bucket, start), 10);
        assert_eq!(passed(&mut bucket, start + MILLI), 1);
        assert_eq!(passed(&mut bucket, start + MILLI * 4), 3);
        assert_eq!(passed(&mut bucket, start + MILLI * 1_000), 10);
    }

    #[test]
    fn a_clock_that_jumps_far_ahead_does_not_overflow() {
        let mut bucket = Bucket::new(MILLI, 10);
        assert!(bucket.take(Instant::from_nanos(u64::MAX - 1)));
    }
}
