//! Finding and removing what belongs to a resource, from /proc.
//!
//! A group is easy to signal, but a process can leave it. Three things follow it: its session, which it can leave as
//! well; its parent, until that dies; and the environment it was started with, where we leave a [`Mark`]. The mark also
//! outlives the daemon: what an earlier daemon left behind is found by it.
//!
//! What overwrites its own environment (some programs do, to change their title) *and* has left its session is not found.

mod mark;

use std::fs;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid, getsid};
use tokio::time::{Instant, sleep, timeout_at};

use super::StillThere;
use super::aside::Aside;
use mark::Bearer;
pub use mark::{MARK_VARIABLE, Mark};

/// The longest pause between two looks.
const LOOK_PACE_MAX: Duration = Duration::from_millis(50);

/// How long a process may be in the middle of an exec until a look goes on without it. Mostly that takes less than a
/// millisecond; but a processor may stand still meanwhile, and one that lives has arguments.
const EXEC_TIME_MAX: Duration = Duration::from_secs(1);

/// In the flags of a process: it ends (kernel, `include/linux/sched.h`).
const PF_EXITING: u64 = 0x4;

/// In the flags of a process: it is a thread of the kernel, and has no environment (ibidem).
const PF_KTHREAD: u64 = 0x0020_0000;

/// Looking may take this long, also when time is up. KILL has been sent in time; what is late is our knowledge of it, and
/// to say "it may still run" because the machine is busy would be worse.
pub(super) const LOOK_TIME_MIN: Duration = Duration::from_millis(250);

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
    /// The living, ourselves excepted; empty also when nobody could be seen for five seconds.
    pub async fn members(&self) -> Vec<i32> {
        self.members_by(Instant::now() + Duration::from_secs(5)).await.unwrap_or_default()
    }

    /// The same, `None` when the look takes too long: reading the environment of a process waits while that process holds
    /// its memory locked, as one does that hangs in the kernel. Therefore not on our thread.
    ///
    /// Nobody is there only when everybody could be told.
    async fn members_by(&self, by: Instant) -> Option<Vec<i32>> {
        let go_on_at = by.min(Instant::now() + EXEC_TIME_MAX);
        let mut pace = Duration::from_millis(1);
        loop {
            let family = self.clone();
            let seen = timeout_at(by, self.looks.run(move || family.look())).await.ok()?.ok()?;
            if !seen.members.is_empty() || !seen.unsure || Instant::now() >= go_on_at {
                return Some(seen.members);
            }
            sleep(pace).await;
            pace = (pace * 2).min(LOOK_PACE_MAX);
        }
    }

    fn look(&self) -> Seen {
        let mut seen = Seen::default();
        for pid in pids() {
            match self.belongs(pid) {
                Bearer::Is => seen.members.push(pid),
                Bearer::MayBe => seen.unsure = true,
                Bearer::IsNot => {}
            }
        }
        seen.members.retain(|pid| alive(*pid));
        seen
    }

    fn belongs(&self, pid: i32) -> Bearer {
        match getsid(Some(Pid::from_raw(pid))) {
            // A kernel thread, or a process whose session began outside of our container.
            Ok(session) if session.as_raw() == 0 && Process::read(pid).is_none_or(|process| process.kernel) => {
                Bearer::IsNot
            }
            Ok(session) if Some(session.as_raw()) == self.session => Bearer::Is,
            Ok(_) => self.mark.bearer(pid),
            Err(_) => Bearer::IsNot,
        }
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

/// What one look at all processes has found.
#[derive(Debug, Default)]
struct Seen {
    members: Vec<i32>,
    /// Of somebody it cannot be told now, see [`Bearer::MayBe`].
    unsure: bool,
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
    /// It is a thread of the kernel.
    kernel: bool,
    /// Number of its parent.
    pub(crate) parent: i32,
    /// It has its program, its arguments and its environment; not so in the middle of an exec.
    complete: bool,
    /// It was started without a single variable, or hides that from us.
    bare: bool,
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
        let mut number = |skip: usize| fields.nth(skip).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        let (flags, threads, code, environment, environment_end) =
            (number(4), number(10), number(5), number(23), number(0));
        Some(Self {
            name: name.to_owned(),
            alive: !is_dead || threads > 1,
            exiting: flags & PF_EXITING != 0,
            kernel: flags & PF_KTHREAD != 0,
            parent,
            // Where the code begins is noted last (kernel, `fs/binfmt_elf.c`).
            complete: code != 0,
            bare: environment == environment_end,
        })
    }
}

fn alive(pid: i32) -> bool {
    Process::read(pid).is_some_and(|process| process.alive)
}

/// Of a number that has come back into use, which is possible only after all others, we would wait for a stranger's end.
fn is_dying(pid: i32) -> bool {
    Process::read(pid).is_some_and(|process| process.alive && process.exiting)
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
