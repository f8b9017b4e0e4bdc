//! How busy the machine was with what is none of ours: figures of a busy machine are worth less.

use std::fs;
use std::time::{Duration, Instant};

use crate::bed::Bed;

/// Clock ticks per second in `/proc/stat`.
const TICKS_PER_SECOND: u64 = 100;

/// A moment to measure from.
pub(crate) struct Load {
    at: Instant,
    machine: Duration,
    ours: Duration,
}

impl Load {
    /// From now on.
    pub(crate) fn start(bed: &Bed<'_>) -> Self {
        Self { at: Instant::now(), machine: machine(), ours: ours(bed) }
    }

    /// Until now, in percent of the machine.
    pub(crate) fn others(&self, bed: &Bed<'_>) -> String {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let busy = machine().saturating_sub(self.machine).saturating_sub(ours(bed).saturating_sub(self.ours));
        let whole = self.at.elapsed().as_secs_f64() * processors as f64;
        format!("{:.0} %", 100.0 * busy.as_secs_f64() / whole.max(0.01))
    }
}

/// Time in which any processor did anything, or was taken away by a hypervisor.
fn machine() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> =
        stat.lines().next().unwrap_or_default().split(' ').filter_map(|it| it.parse().ok()).collect();
    // The fourth is idle, the fifth waits for a disk, those after the eighth are in the first two already.
    let busy = fields.iter().take(8).enumerate().filter(|(place, _)| !matches!(place, 3 | 4)).map(|(_, ticks)| ticks);
    Duration::from_millis(busy.sum::<u64>() * 1000 / TICKS_PER_SECOND)
}

/// Time of this program and of the nodes.
fn ours(bed: &Bed<'_>) -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    let nodes = bed.cpu();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND) + nodes[0] + nodes[1]
}
