//! The clock on the wall, which file systems and people go by, and the one that never goes back.

use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};

/// Since 1970.
pub(crate) fn wall() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Since 1970, in milliseconds.
pub(crate) fn wall_millis() -> u64 {
    u64::try_from(wall().as_millis()).unwrap_or(u64::MAX)
}

/// Since the machine was started, its sleep included.
pub(crate) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}
