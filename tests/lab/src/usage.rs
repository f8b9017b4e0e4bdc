//! What the processes of a host cost.

use std::fs;
use std::ops::Sub;
use std::time::Duration;

use crate::error::Result;
use crate::host::Host;

/// Clock ticks per second in `/proc/PID/stat`: fixed by the kernel's interface on every platform we run on.
const TICKS_PER_SECOND: u64 = 100;

/// Cost of all processes of a host, or the difference between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a processor, in nanoseconds' resolution, of the threads alive now.
    pub run: Duration,
    /// Time on a processor in clock ticks, with the children they have waited for.
    pub ticks: Duration,
    /// Resident memory, KiB. Shared pages count for everyone.
    pub rss_kib: u64,
    /// Resident memory, KiB, with shared pages divided among their sharers.
    pub pss_kib: u64,
    /// How many processes.
    pub processes: usize,
}

impl Host {
    /// What all processes of the host have cost so far.
    pub fn usage(&self) -> Result<Usage> {
        let pids = self.pids()?;
        let mut sum = Usage { processes: pids.len(), ..Usage::default() };
        for pid in pids {
            sum.run += run_time(pid);
            sum.ticks += tick_time(pid);
            sum.rss_kib += kib(&format!("/proc/{pid}/status"), "VmRSS:");
            sum.pss_kib += kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:");
        }
        Ok(sum)
    }
}

impl Sub for Usage {
    type Output = Self;

    /// The time between two moments, with the memory of the later one.
    fn sub(self, earlier: Self) -> Self {
        Self { run: self.run.saturating_sub(earlier.run), ticks: self.ticks.saturating_sub(earlier.ticks), ..self }
    }
}

/// A process that ends while we look has cost nothing that we can know.
fn run_time(pid: i32) -> Duration {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Duration::ZERO;
    };
    let of_task = |path: std::path::PathBuf| -> Option<u64> {
        fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    let nanos = tasks.flatten().filter_map(|task| of_task(task.path())).sum();
    Duration::from_nanos(nanos)
}

fn tick_time(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    Duration::from_millis(ticks(&stat) * 1000 / TICKS_PER_SECOND)
}

/// User and system time, own and of children: fields 14 to 17. The name before them may hold spaces and brackets.
fn ticks(stat: &str) -> u64 {
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn kib(path: &str, key: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_a_hostile_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 7 3 20 30 20 0 1 0 100";
        assert_eq!(ticks(stat), 60);
    }
}
