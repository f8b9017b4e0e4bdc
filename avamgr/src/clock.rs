//! The only reader of clocks.

use avamgr_core::time::Instant;
use nix::time::{ClockId, clock_gettime};

/// Now, on the clock that goes on during suspend.
///
/// # Panics
/// When the kernel has no `CLOCK_BOOTTIME` (before 2.6.39): without a clock no right can be kept.
#[expect(
    clippy::expect_used,
    reason = "without this clock no right to be ACTIVE can be kept"
)]
pub fn now() -> Instant {
    nanos(
        clock_gettime(ClockId::CLOCK_BOOTTIME).expect("CLOCK_BOOTTIME is there since Linux 2.6.39"),
    )
}

/// The wall clock in nanoseconds since 1970; only for humans, alarms and kernel receive timestamps.
#[expect(clippy::expect_used, reason = "CLOCK_REALTIME cannot be missing")]
pub fn wall_nanos() -> u64 {
    nanos(clock_gettime(ClockId::CLOCK_REALTIME).expect("CLOCK_REALTIME is always there"))
        .as_nanos()
}

fn nanos(time: nix::sys::time::TimeSpec) -> Instant {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}
