//! Waiting with a deadline, and with a name for what is awaited.

use std::thread;
use std::time::{Duration, Instant};

use crate::error::{LabError, Result};

/// How often a condition is looked at: fine enough for a story, coarse enough not to disturb a measurement.
const PACE: Duration = Duration::from_millis(5);

/// Waits until `condition` holds, at most for `limit`. The error names `what` was awaited.
pub fn wait_until(limit: Duration, what: impl Into<String>, mut condition: impl FnMut() -> bool) -> Result<()> {
    wait_for(limit, what, || condition().then_some(()))
}

/// Waits until `look` finds something, at most for `limit`. The error names `what` was awaited.
pub fn wait_for<T>(limit: Duration, what: impl Into<String>, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() >= end {
            return Err(LabError::Waited { what: what.into(), limit });
        }
        thread::sleep(PACE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_comes_is_named() {
        let error = wait_until(Duration::from_millis(1), "pigs to fly", || false).unwrap_err();
        assert_eq!(error.to_string(), "waited 1ms in vain for: pigs to fly");
    }
}
