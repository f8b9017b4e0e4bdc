//! Hard times without a fault: nothing may move.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::bed::Bed;
use crate::grip::lose_heartbeats;
use crate::measure::{Run, ms};

/// What makes it hard.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hardship {
    /// Other programs want all the machine has.
    Hogs,
    /// So many percent of the heartbeats are lost.
    LossPercent(u32),
    /// Nothing gets from node to node, except over the service network.
    Parted,
}

/// Processes that burn a processor, and that write and flush a disk.
const CPU_HOGS: usize = 8;
const DISK_HOGS: usize = 2;

/// How long.
const HOGS: Duration = Duration::from_secs(60);
const LOSS: Duration = Duration::from_secs(30);

/// Watches a pair through one of them.
pub(crate) fn run(bed: &Bed<'_>, hardship: Hardship) -> Result<Run> {
    bed.calm()?;
    let probe = bed.probe()?;
    let from = Instant::now();
    match hardship {
        Hardship::Hogs => {
            let hogs = Hogs::start(&bed.lab.scratch())?;
            thread::sleep(HOGS);
            drop(hogs);
        }
        Hardship::LossPercent(percent) => lossy(bed, percent)?,
        Hardship::Parted => {
            bed.lab.pull_all(&["hb1", "hb2"])?;
            lossy(bed, 100)?;
            bed.lab.heal_all()?;
        }
    }
    let to = Instant::now();
    let changes = bed.lab.owners().changes_since(from);
    let moves = changes.iter().filter(|change| change.gained && bed.probed.contains(&change.what.ip)).count();
    let dual = bed.probed.iter().map(|ip| bed.lab.owners().between(*ip, from, to).dual).max();
    let outage = probe.sightings().worst_outage(from, to).map(|(_, outage)| outage.longest);
    Ok(vec![
        ("moves", moves as f64),
        ("dual_ms", ms(dual.unwrap_or_default())),
        ("outage_ms", ms(outage.unwrap_or_default())),
    ])
}

fn lossy(bed: &Bed<'_>, percent: u32) -> Result<()> {
    lose_heartbeats(bed.peer, bed.lab.nodes(), percent)?;
    thread::sleep(LOSS);
    lose_heartbeats(bed.peer, bed.lab.nodes(), 0)
}

/// Processes that take all there is; killed when dropped.
struct Hogs(Vec<Child>);

impl Hogs {
    fn start(scratch: &Path) -> Result<Self> {
        let mut hogs = Self(Vec::new());
        for _ in 0..CPU_HOGS {
            hogs.spawn("while :; do :; done", scratch)?;
        }
        for number in 0..DISK_HOGS {
            let write = format!("while :; do dd if=/dev/zero of=hog{number} bs=1M count=64 conv=fsync 2>&-; done");
            hogs.spawn(&write, scratch)?;
        }
        Ok(hogs)
    }

    fn spawn(&mut self, script: &str, directory: &Path) -> Result<()> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null());
        self.0.push(command.process_group(0).spawn().context("start a hog")?);
        Ok(())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let group = i32::try_from(hog.id()).unwrap_or_default();
            // One that has ended is what we want.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            let _ = hog.wait();
        }
    }
}
