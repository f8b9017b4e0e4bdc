//! Children of the program before: the process is the same, so they are ours to collect, and nobody else knows of them.

use std::fs;
use std::time::Duration;

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, gettid};

/// How often they are looked at. A shim tells of its service itself; this only keeps the dead from staying.
const PACE: Duration = Duration::from_secs(1);

/// Their numbers.
#[derive(Debug, Default)]
pub struct Offspring(Vec<Pid>);

impl Offspring {
    /// All children of this thread; to be called before it has made any of its own.
    pub fn inherited() -> Self {
        let list = fs::read_to_string(format!("/proc/self/task/{}/children", gettid())).unwrap_or_default();
        Self(list.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect())
    }

    /// Collects each of them when it has ended.
    pub async fn collect(mut self) {
        while !self.0.is_empty() {
            let lives = |pid: &Pid| matches!(waitpid(*pid, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive));
            self.0.retain(lives);
            tokio::time::sleep(PACE).await;
        }
    }
}
