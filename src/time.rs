//! Time as the decision knows it: a point on a clock somebody else reads.
//!
//! The decision never asks for the time. Every input carries it, so the same inputs give the same run in production, in
//! the simulator and in the model checker.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time: nanoseconds of `CLOCK_BOOTTIME`, which goes on while the machine is suspended. A right measured on a
/// clock that stops would stretch across a suspend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Instant(u64);

/// A `Duration` as it stands in a document.
#[cfg(feature = "schema")]
#[derive(utoipa::ToSchema)]
#[schema(as = Duration)]
pub struct DurationSchema {
    /// Whole seconds.
    pub secs: u64,
    /// Nanoseconds besides, less than a second.
    pub nanos: u32,
}

impl Instant {
    /// The moment the machine was booted.
    pub const BOOT: Self = Self(0);
    /// Later than every other instant: "never".
    pub const NEVER: Self = Self(u64::MAX);

    /// An instant from nanoseconds since boot.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// An instant from milliseconds since boot.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// `time` as it may last for somebody whose clock is slower by `ppm` parts per million: never too short.
pub fn stretch(time: Duration, ppm: u32) -> Duration {
    let nanos = time.as_nanos();
    from_nanos(nanos + (nanos * u128::from(ppm)).div_ceil(MILLION))
}

/// `time` as it may be over for somebody whose clock is faster by `ppm` parts per million: never too long.
pub fn shrink(time: Duration, ppm: u32) -> Duration {
    let nanos = time.as_nanos();
    from_nanos(nanos.saturating_sub((nanos * u128::from(ppm)).div_ceil(MILLION)))
}

const MILLION: u128 = 1_000_000;

fn from_nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

impl fmt::Display for Instant {
    /// Seconds since boot with milliseconds: `12.345`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000_000_000, self.0 / 1_000_000 % 1_000)
    }
}
