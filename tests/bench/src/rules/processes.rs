//! What runs on a node now, seen through the node's own list of processes: nobody else's are read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use avamgr_lab::Host;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Between two looks at least, and at least so many times what a look takes.
const PACE: Duration = Duration::from_millis(3);
const REST: u32 = 15;

/// More processes than this on both nodes are a runaway: they are killed before they take the machine down.
const PROCESSES_MAX: usize = 2000;

/// Clock ticks per second in `/proc/PID/stat`.
const TICKS_PER_SECOND: u64 = 100;

/// The list of processes of a node.
#[derive(Debug)]
pub(crate) struct Processes {
    proc: File,
}

/// A process as its `stat` tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    pid: i32,
    parent: i32,
    name: String,
    /// Its own and those of its children that have ended.
    ticks: u64,
    pages: u64,
}

impl Processes {
    /// Those of a host, as long as it lives.
    pub(crate) fn of(host: &Host) -> Result<Self> {
        Ok(Self { proc: host.enter(|| File::open("/proc"))? })
    }

    /// Processor time of all that live, and of the children they have waited for: to the nanosecond until it is added up.
    pub(crate) fn cpu(&self) -> Duration {
        let ticks: u64 = self.look().iter().map(|process| process.ticks).sum();
        Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
    }

    fn dir(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.proc.as_raw_fd()).into()
    }

    /// A process that ends while we look is not there.
    fn look(&self) -> Vec<Found> {
        let entries = fs::read_dir(self.dir()).into_iter().flatten().flatten();
        let numbered =
            entries.filter(|entry| entry.file_name().to_string_lossy().parse::<i32>().is_ok_and(|pid| pid > 1));
        let stats = numbered.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
        stats.filter_map(|stat| parse(&stat)).collect()
    }

    /// The rsyncs that were started to send or fetch: no daemons, and no forks of one of them.
    fn clients(&self, all: &[Found], known: &mut BTreeMap<i32, bool>) -> usize {
        let mut is_client = |process: &Found| {
            process.name == "rsync"
                && *known.entry(process.pid).or_insert_with(|| {
                    let line = fs::read(self.dir().join(process.pid.to_string()).join("cmdline")).unwrap_or_default();
                    !line.is_empty() && !line.split(|byte| *byte == 0).any(|word| word == b"--daemon")
                })
        };
        let clients: Vec<&Found> = all.iter().filter(|process| is_client(process)).collect();
        clients.iter().filter(|one| !clients.iter().any(|other| other.pid == one.parent)).count()
    }
}

/// The most there was at one moment, per node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peak {
    /// rsyncs that send or fetch.
    pub(crate) clients: usize,
    /// Resident memory of all rsyncs, KiB; pages that forks share count for each.
    pub(crate) rsync_kib: u64,
    /// Processes.
    pub(crate) processes: usize,
}

/// A thread that looks at both nodes again and again.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    runaway: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

/// What a watch has seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// The most of each node.
    pub(crate) peaks: [Peak; 2],
    /// When a client was seen last.
    pub(crate) busy_until: Instant,
}

impl Watch {
    /// Looks from now on.
    pub(crate) fn start(hosts: [Host; 2]) -> Result<Self> {
        let lists = [Processes::of(&hosts[0])?, Processes::of(&hosts[1])?];
        let (stop, runaway): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
        let flags = (stop.clone(), runaway.clone());
        let body = move || watch(&hosts, &lists, &flags.0, &flags.1);
        let thread = thread::Builder::new().name("watch".into()).spawn(body).context("start a thread")?;
        Ok(Self { stop, runaway, thread: Some(thread) })
    }

    /// Whether everything had to be killed.
    pub(crate) fn runaway(&self) -> bool {
        self.runaway.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub(crate) fn end(mut self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("a watch ends once")?;
        thread.join().map_err(|_| anyhow::anyhow!("the watch has panicked"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn watch(hosts: &[Host; 2], lists: &[Processes; 2], stop: &AtomicBool, runaway: &AtomicBool) -> Seen {
    let mut seen = Seen { peaks: [Peak::default(); 2], busy_until: Instant::now() };
    let mut known: [BTreeMap<i32, bool>; 2] = Default::default();
    let page_kib = 4;
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let mut processes = 0;
        for ((list, peak), known) in lists.iter().zip(&mut seen.peaks).zip(&mut known) {
            let all = list.look();
            let clients = list.clients(&all, known);
            let pages: u64 = all.iter().filter(|process| process.name == "rsync").map(|process| process.pages).sum();
            peak.clients = peak.clients.max(clients);
            peak.rsync_kib = peak.rsync_kib.max(pages * page_kib);
            peak.processes = peak.processes.max(all.len());
            processes += all.len();
            if clients > 0 {
                seen.busy_until = begin;
            }
        }
        if processes > PROCESSES_MAX {
            runaway.store(true, Ordering::Relaxed);
            hosts.iter().for_each(kill_everything);
        }
        thread::sleep((begin.elapsed() * REST).clamp(PACE, Duration::from_millis(500)));
    }
    seen
}

/// Kills every process of a host, also those that are born meanwhile.
fn kill_everything(host: &Host) {
    for _ in 0..100 {
        let pids = host.pids().unwrap_or_default();
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            // One that has ended by itself needs nothing.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// The name before the fields may hold spaces and brackets.
fn parse(stat: &str) -> Option<Found> {
    let (head, tail) = stat.rsplit_once(") ")?;
    let (pid, name) = head.split_once(" (")?;
    let fields: Vec<&str> = tail.split(' ').collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some(Found {
        pid: pid.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        name: name.to_owned(),
        ticks: number(11)? + number(12)? + number(13)? + number(14)?,
        pages: number(21)?,
    })
}

/// The most memory a process has ever had, KiB.
pub(crate) fn most_memory_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_a_hostile_name_is_read() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 7 3 20 30 20 0 1 0 100 5000 250 1 1";
        let found = Found { pid: 42, parent: 7, name: "a) b (c".into(), ticks: 60, pages: 250 };
        assert_eq!(parse(stat), Some(found));
    }
}
