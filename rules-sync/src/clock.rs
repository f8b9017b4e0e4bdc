//! The clock on the wall: the one that file systems and people go by.

use std::time::{Duration, SystemTime};

/// Since 1970.
pub(crate) fn wall() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
