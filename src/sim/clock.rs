//! The clock of one host: it starts at zero with each boot and runs a little fast or slow.

use crate::time::Instant;

/// Parts per million of one.
const MILLION: u128 = 1_000_000;

/// Wall clock of the world's first moment, in milliseconds since 1970: the spring of 2026.
const WALL_START_MILLIS: i64 = 1_775_000_000_000;

/// A host's clock against the world's time.
#[derive(Clone, Debug, Hash)]
pub(super) struct Clock {
    /// The world's time at which the host was booted.
    booted: Instant,
    /// Rate error; +100 gains 100 µs each second.
    rate_ppm: i32,
    /// Error of the wall clock.
    pub(super) wall_error_millis: i64,
}

impl Clock {
    pub(super) fn new(rate_ppm: i32) -> Self {
        Self { booted: Instant::BOOT, rate_ppm, wall_error_millis: 0 }
    }

    /// Starts again from zero.
    pub(super) fn boot(&mut self, world: Instant) {
        self.booted = world;
    }

    /// What this clock shows at a moment of the world.
    pub(super) fn local(&self, world: Instant) -> Instant {
        let passed = u128::from(world.as_nanos().saturating_sub(self.booted.as_nanos()));
        instant(passed * self.rate() / MILLION)
    }

    /// The first moment of the world at which this clock shows `local` or later.
    pub(super) fn world(&self, local: Instant) -> Instant {
        if local == Instant::NEVER {
            return Instant::NEVER;
        }
        let passed = (u128::from(local.as_nanos()) * MILLION).div_ceil(self.rate());
        instant(u128::from(self.booted.as_nanos()) + passed)
    }

    /// The wall clock, in milliseconds since 1970.
    pub(super) fn wall_millis(&self, world: Instant) -> u64 {
        let millis = i64::try_from(world.as_nanos() / 1_000_000).unwrap_or(i64::MAX);
        u64::try_from(WALL_START_MILLIS + millis + self.wall_error_millis).unwrap_or(0)
    }

    fn rate(&self) -> u128 {
        u128::try_from(1_000_000 + i64::from(self.rate_ppm)).unwrap_or(MILLION)
    }
}

fn instant(nanos: u128) -> Instant {
    Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_reached_early_at_any_rate() {
        for rate_ppm in [-200_000, -1_000, -3, 0, 7, 1_000, 200_000] {
            let mut clock = Clock::new(rate_ppm);
            clock.boot(Instant::from_nanos(1_234_567));
            for nanos in [0, 1, 2, 3, 999, 1_000_003, 77_777_777_777] {
                let local = Instant::from_nanos(nanos);
                assert!(clock.local(clock.world(local)) >= local, "{rate_ppm} {nanos}");
            }
        }
    }
}
