//! Finding and removing what belongs to a resource, from /proc.
//!
//! A group is easy to signal, but a process can leave it. Three things follow it: its session, which it can leave as
//! well; its parent, until that dies; and the environment it was started with, where we leave a [`Mark`]. The mark also
//! outlives the daemon: what an earlier daemon left behind is found by it.
//!
//! What overwrites its own environment (some programs do, to change their title) *and* has left its session is not found.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid, getsid};
use tokio::time::{Instant, sleep, timeout_at};

use super::StillThere;
use super::aside::Aside;

/// The variable that names the resource in the environment of every process of it.
pub const MARK_VARIABLE: &str = "AVAMGR_RESOURCE";

/// The longest pause between two looks.
const LOOK_PACE_MAX: Duration = Duration::from_millis(50);

/// How often a process in the middle of an exec is looked at, and how long between two looks. On a busy machine it may stay there;
/// one that lives has arguments.
const LOOKS_AT_CHANGE: u32 = 100;
const CHANGE_PACE: Duration = Duration::from_millis(1);

/// In the flags of a process: it ends (kernel, `include/linux/sched.h`).
const PF_EXITING: u32 = 0x4;

/// Few environments are larger.
const USUAL_SIZE: usize = 16 * 1024;

/// Looking may take this long, also when time is up. KILL has been sent in time; what is late is our knowledge of it, and
/// to say "it may still run" because the machine is busy would be worse.
pub(super) const LOOK_TIME_MIN: Duration = Duration::from_millis(250);

/// Names one resource on one node, the same in every life of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(String);

impl Mark {
    /// The node belongs to the name: two nodes of a cluster may run on one machine and see each other's processes.
    pub fn new(cluster: &str, node: &str, group: &str, resource: &str) -> Self {
        Self(format!("{cluster}/{node}/{group}/{resource}"))
    }

    /// The value of [`MARK_VARIABLE`].
    pub fn value(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that belongs to a resource.
#[derive(Clone, Debug)]
pub struct Family {
    /// What carries this mark.
    pub mark: Mark,
    /// What is in this session: the number of a child of ours that has not been collected before the last look.
    pub session: Option<i32>,
    /// Where it is looked for.
    pub looks: Aside,
}

impl Family {
    /// The living, ourselves excepted; empty also when nobody could be seen.
    pub async fn members(&self) -> Vec<i32> {
        self.members_by(Instant::now() + LOOK_TIME_MIN).await.unwrap_or_default()
    }

    /// The same, `None` when the look takes too long: reading the environment of a process waits while that process holds
    /// its memory locked, as one does that hangs in the kernel. Therefore not on our thread.
    async fn members_by(&self, by: Instant) -> Option<Vec<i32>> {
        let family = self.clone();
        timeout_at(by, self.looks.run(move || family.look())).await.ok()?.ok()
    }

    /// Reading an environment takes 5 µs, so kernel threads, which have no session, are left out.
    fn look(&self) -> Vec<i32> {
        let belongs = |pid: &i32| match getsid(Some(Pid::from_raw(*pid))) {
            Ok(session) if session.as_raw() == 0 => false,
            Ok(session) => Some(session.as_raw()) == self.session || carries(*pid, &self.mark),
            Err(_) => false,
        };
        pids().filter(belongs).filter(|pid| alive(*pid)).collect()
    }

    /// Waits until nobody is left, at most until `until`; answers whether that came true.
    pub async fn gone(&self, until: Instant) -> bool {
        let mut pace = Duration::from_millis(1);
        let mut seen: Vec<i32> = Vec::new();
        loop {
            if let Some(pids) = self.members_by(until).await {
                if pids.is_empty() && !seen.iter().any(|pid| is_dying(*pid)) {
                    return true;
                }
                seen.extend(pids);
                seen.sort_unstable();
                seen.dedup();
            }
            let now = Instant::now();
            if now >= until {
                return false;
            }
            sleep(pace.min(until - now)).await;
            pace = (pace * 2).min(LOOK_PACE_MAX);
        }
    }

    /// Stops them: TERM, from `kill_at` on KILL, until nobody is left. Answers how many there were.
    ///
    /// # Errors
    /// With those who are left at `give_up_at`, or a moment later on a busy machine.
    pub async fn clear(&self, kill_at: Instant, give_up_at: Instant) -> Result<usize, StillThere> {
        let give_up_at = give_up_at.max(Instant::now() + LOOK_TIME_MIN);
        let mut asked: Vec<i32> = Vec::new();
        let mut pace = Duration::from_millis(1);
        loop {
            let Some(mut pids) = self.members_by(give_up_at).await else {
                return Err(StillThere { pids: asked });
            };
            let now = Instant::now();
            let dying: Vec<i32> = asked.iter().copied().filter(|pid| !pids.contains(pid) && is_dying(*pid)).collect();
            if pids.is_empty() && dying.is_empty() {
                return Ok(asked.len());
            }
            // Of one whose first thread has ended the others may go on.
            for pid in dying.iter().filter(|_| now >= kill_at) {
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            for pid in &pids {
                // Between looking and signalling are microseconds; a number comes back only after all others were used.
                if now >= kill_at {
                    let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
                } else if !asked.contains(pid) {
                    let _ = kill(Pid::from_raw(*pid), Signal::SIGTERM);
                    let _ = kill(Pid::from_raw(*pid), Signal::SIGCONT);
                }
                if !asked.contains(pid) {
                    asked.push(*pid);
                }
            }
            if now >= give_up_at {
                pids.extend(dying);
                return Err(StillThere { pids });
            }
            sleep(pace.min(give_up_at - now)).await;
            pace = (pace * 2).min(LOOK_PACE_MAX);
        }
    }
}

/// Whether a process of this number exists, dead or alive.
pub(super) fn exists(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

/// The living of a process group. Costs two system calls for each process of the host, and never hangs.
pub(super) fn living_in_group(group: i32) -> Vec<i32> {
    let in_group = |pid: &i32| getpgid(Some(Pid::from_raw(*pid))).is_ok_and(|found| found.as_raw() == group);
    pids().filter(in_group).filter(|pid| alive(*pid)).collect()
}

/// The living offspring of this process, over all generations.
pub(super) fn offspring() -> Vec<i32> {
    let processes: Vec<(i32, Process)> = pids().filter_map(|pid| Some((pid, Process::read(pid)?))).collect();
    let mut found = vec![Pid::this().as_raw()];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(processes.iter().filter(|(_, process)| process.parent == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    let living = |pid: &i32| processes.iter().any(|(other, process)| other == pid && process.alive);
    found.into_iter().filter(living).collect()
}

/// `process 123 (dre), process 124 (dre)`.
pub(crate) fn list(pids: &[i32]) -> String {
    let names = pids
        .iter()
        .map(|pid| format!("process {pid} ({})", Process::read(*pid).map_or_else(|| "?".to_owned(), |p| p.name)));
    names.collect::<Vec<_>>().join(", ")
}

/// All process numbers but our own.
pub(crate) fn pids() -> impl Iterator<Item = i32> {
    let own = Pid::this().as_raw();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(move |pid| *pid != own)
}

/// What /proc says about a process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    /// Name of its program, cut to 15 bytes by the kernel.
    pub(crate) name: String,
    /// No zombie; one whose first thread has ended lives as long as another one goes on.
    pub(crate) alive: bool,
    /// It gives back what it has: its environment first, its sockets later, and nothing can keep it from that.
    exiting: bool,
    /// Number of its parent.
    pub(crate) parent: i32,
}

impl Process {
    /// `None` when it is gone.
    pub(crate) fn read(pid: i32) -> Option<Self> {
        Self::parse(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))
    }

    /// `pid (name) state parent …`, see proc_pid_stat(5); the name may hold spaces and parentheses.
    fn parse(stat: &str) -> Option<Self> {
        let (_pid, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let is_dead = matches!(fields.next()?, "Z" | "X" | "x");
        let parent = fields.next()?.parse().ok()?;
        let mut number = |skip: usize| fields.nth(skip).and_then(|field| field.parse::<u32>().ok()).unwrap_or(0);
        let (flags, threads) = (number(4), number(10));
        Some(Self { name: name.to_owned(), alive: !is_dead || threads > 1, exiting: flags & PF_EXITING != 0, parent })
    }
}

fn alive(pid: i32) -> bool {
    Process::read(pid).is_some_and(|process| process.alive)
}

/// Of a number that has come back into use, which is possible only after all others, we would wait for a stranger's end.
fn is_dying(pid: i32) -> bool {
    Process::read(pid).is_some_and(|process| process.alive && process.exiting)
}

fn carries(pid: i32, mark: &Mark) -> bool {
    let Some(environment) = environment(pid) else {
        return false;
    };
    let mut variables = environment.split(|byte| *byte == 0);
    let value = |variable: &[u8]| -> Option<Vec<u8>> {
        Some(variable.strip_prefix(MARK_VARIABLE.as_bytes())?.strip_prefix(b"=")?.to_vec())
    };
    variables.any(|variable| value(variable).as_deref() == Some(mark.value().as_bytes())) && same_host(pid)
}

/// A process that goes from one program to the next has no environment for a moment, and no arguments either; what is read of
/// the program before is empty, too. Who is never seen with one has none.
fn environment(pid: i32) -> Option<Vec<u8>> {
    let read = |what: &str| read_at_once(&format!("/proc/{pid}/{what}")).ok();
    for _ in 0..LOOKS_AT_CHANGE {
        let found = read("environ")?;
        if !found.is_empty() || !alive(pid) {
            return Some(found);
        }
        if read("cmdline")?.is_empty() {
            std::thread::sleep(CHANGE_PACE);
        }
    }
    None
}

/// In pieces, a file of a process would end where another program begins.
fn read_at_once(path: &str) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; USUAL_SIZE];
    let length = file.read(&mut bytes)?;
    bytes.truncate(length);
    if length == USUAL_SIZE {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Whether it lives under the same host name as we do: several hosts of one name may be played on one machine.
fn same_host(pid: i32) -> bool {
    let host = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/uts")).ok();
    host("self").is_some_and(|own| host(&pid.to_string()) == Some(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_read() {
        let process = Process::parse("12 (a) b (c) S 1 34 56 0 -1").unwrap();
        assert_eq!(process.name, "a) b (c");
        assert!(process.alive);
        assert_eq!(process.parent, 1);
    }

    #[test]
    fn the_dead_and_the_malformed_do_not_count() {
        assert!(!Process::parse("12 (x) Z 1 34 56 0").unwrap().alive);
        assert!(Process::parse("12 x S 1").is_none());
        let first_thread_ended = "12 (x) Z 1 34 56 0 -1 4227084 0 0 0 0 0 0 0 0 20 0 2 0 99";
        let process = Process::parse(first_thread_ended).unwrap();
        assert!(process.alive && process.exiting);
        let runs = Process::parse("12 (x) S 1 34 56 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 99").unwrap();
        assert!(runs.alive && !runs.exiting);
        assert!(!Process::parse("12 (x) Z 1 34 56 0 -1 4227084 0 0 0 0 0 0 0 0 20 0 1 0 99").unwrap().alive);
        assert!(Process::parse("").is_none());
    }
}
