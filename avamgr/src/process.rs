//! Children: born into a group of their own, watched, and stopped with a deadline.
//!
//! [`Program`] says what to run, [`Executable`] is a program that was found on this host, [`Child`] is one that runs. A
//! stop is TERM to the whole group, a grace, KILL to the whole group, and is done only when no process of it is left.
//! What leaves its group on purpose is found by its session or by the mark in its environment, see [`family`].
//!
//! A service that is to survive its daemon has a [`shim`] between them, which is nobody's [`Child`].
//!
//! **Spawn only from the thread that lives as long as the daemon** (the hands plane). Children are killed by the kernel
//! when their parent dies (`PR_SET_PDEATHSIG`), and to the kernel the parent is the *thread* that forked: a child spawned
//! from a worker of a thread pool dies with that worker, seconds later and for no visible reason.
//!
//! Nothing here decides whether something should run; nothing here waits without a bound, except for a child's exit.

pub mod aside;
pub(crate) mod birth;
pub mod family;
mod output;
mod program;
mod run;
pub mod shim;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use avamgr_core::time::Instant as Since;
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout_at};

use crate::clock;
use birth::Birth;
use family::LOOK_TIME_MIN;
use output::Output;

pub use output::{Line, Sink, log_to, nowhere};
pub(crate) use program::DEFAULT_PATH;
pub use program::{Executable, Program, ProgramError};
pub use run::{Ended, Outcome, Rest, run_reading, run_to_end};

/// How long an exit waits for the last line of output: it is in the pipe already, unless somebody else holds the pipe.
const LAST_OUTPUT_TIME: Duration = Duration::from_millis(2);

/// The longest pause between two looks at a group that should go away.
const LOOK_PACE_MAX: Duration = Duration::from_millis(20);

/// A child, leader of its own session and group. Dropping the handle of one that still runs kills the group.
#[derive(Debug)]
pub struct Child {
    inner: tokio::process::Child,
    /// Process, group and session: all the same number.
    pid: Pid,
    born: Since,
    output: Output,
    exit: Option<Exit>,
    term_sent: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal {
        /// Its number.
        number: i32,
        /// Whether a core was written.
        core: bool,
    },
    /// Nobody knows: somebody else collected its status.
    Unknown,
    /// With its shim, or unseen after that: the shim was killed.
    ShimLost,
}

/// Every means of stopping has failed.
#[derive(Debug, Error)]
#[error("{}", left_words(.pids))]
pub struct StillThere {
    /// What is left; empty when /proc did not answer.
    pub pids: Vec<i32>,
}

impl Child {
    /// Starts it: see [`birth`] for what happens between fork and exec.
    ///
    /// # Errors
    /// When the kernel refuses; the message says what to look at.
    pub fn spawn(executable: &Executable, sink: Sink) -> Result<Self, ProgramError> {
        Self::start(executable, Stdio::null(), sink)
    }

    /// The same, with something to read. It may read it or not: nobody waits for that.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn spawn_reading(executable: &Executable, input: &[u8], sink: Sink) -> Result<Self, ProgramError> {
        let file = in_memory(input).map_err(|source| executable.spawn_error(source))?;
        Self::start(executable, Stdio::from(file), sink)
    }

    fn start(executable: &Executable, stdin: Stdio, sink: Sink) -> Result<Self, ProgramError> {
        let failed = |source| executable.spawn_error(source);
        let (reader, writer) = io::pipe().map_err(failed)?;
        let both = writer.try_clone().map_err(failed)?;
        let mut command = executable.command();
        command.stdin(stdin).stdout(writer).stderr(both);
        Birth::new(executable.account().cloned()).arrange(&mut command);
        let mut command = tokio::process::Command::from(command);
        let inner = command.spawn().map_err(failed)?;
        // The command holds our ends of the pipe: as long as they are open, the output never ends.
        drop(command);
        let pid = inner.id().and_then(|pid| i32::try_from(pid).ok()).map_or(Pid::from_raw(0), Pid::from_raw);
        let output = Output::capture(reader, sink).map_err(failed)?;
        Ok(Self { inner, pid, born: clock::now(), output, exit: None, term_sent: false })
    }

    /// Process id; also the id of its group and session.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// How long it has been there.
    pub fn age(&self) -> Duration {
        clock::now().since(self.born)
    }

    /// The last line it wrote.
    pub fn last_line(&self) -> Option<String> {
        self.output.last_line()
    }

    /// The last few lines it wrote, oldest first.
    pub fn last_lines(&self) -> Vec<String> {
        self.output.last_lines()
    }

    /// Waits for its end; answers again and again once it has come. May be dropped and called again.
    pub async fn exited(&mut self) -> Exit {
        if let Some(exit) = self.exit {
            return exit;
        }
        let exit = self.inner.wait().await.map_or(Exit::Unknown, Exit::from);
        self.exit = Some(exit);
        self.output.settle(LAST_OUTPUT_TIME).await;
        exit
    }

    /// TERM to the group, KILL to the group at `kill_at`, done when nothing of it is left, given up at `give_up_at`.
    /// May be dropped and called again with other times: TERM is sent once.
    ///
    /// # Errors
    /// When something is left at `give_up_at`, or a moment later on a busy machine.
    pub async fn stop(&mut self, kill_at: Instant, give_up_at: Instant) -> Result<(), StillThere> {
        if !self.term_sent {
            self.term_sent = true;
            self.signal(Signal::SIGTERM);
            // A group that is stopped (job control, a debugger) would not see TERM before it is continued.
            self.signal(Signal::SIGCONT);
        }
        if self.gone(kill_at.min(give_up_at)).await {
            return Ok(());
        }
        self.signal(Signal::SIGKILL);
        if self.gone(give_up_at.max(Instant::now() + LOOK_TIME_MIN)).await {
            return Ok(());
        }
        // A last look: on a starved machine the time may be up before we were told of an end that came in time.
        let pids = family::living_in_group(self.pid());
        if pids.is_empty() { Ok(()) } else { Err(StillThere { pids }) }
    }

    /// KILL to the group, without waiting.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Lets go of a child that has ended and left something behind on purpose (an init script): whoever holds its output
    /// goes on being read, so that they are not killed by a broken pipe.
    pub fn release(mut self) {
        self.output.detach();
    }

    /// Whether group and leader are gone, waiting for it until `until`.
    async fn gone(&mut self, until: Instant) -> bool {
        if timeout_at(until, self.exited()).await.is_err() {
            return false;
        }
        let mut pace = Duration::from_millis(1);
        while self.has_members() {
            let now = Instant::now();
            if now >= until {
                return false;
            }
            sleep(pace.min(until - now)).await;
            pace = (pace * 2).min(LOOK_PACE_MAX);
        }
        self.output.settle(LAST_OUTPUT_TIME).await;
        true
    }

    /// Whether a living process is in the group. Zombies do not count: where nobody collects orphans they stay for ever.
    fn has_members(&self) -> bool {
        // Orphans of the group come back to us when we are process 1 of a container; nobody else would collect them.
        while waitpid(Pid::from_raw(-self.pid()), Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status.pid().is_some())
        {
        }
        killpg(self.pid, None) != Err(Errno::ESRCH) && !family::living_in_group(self.pid()).is_empty()
    }

    fn signal(&self, signal: Signal) {
        // The number of a group comes back into use only when the group is empty and its leader collected. A process of
        // this number, after ours was collected, is therefore a stranger.
        let collected = self.exit.is_some();
        if self.pid() <= 1 || (collected && family::exists(self.pid())) {
            return;
        }
        // Nobody there any more is as good as a signal that arrived; anything else shows when the group stays.
        let _ = killpg(self.pid, signal);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.exit.is_none() {
            self.kill();
        }
    }
}

impl Exit {
    /// Whether it ended by itself with 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(number)) => Self::Signal { number, core: status.core_dumped() },
            (None, None) => Self::Unknown,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exited with status {code}"),
            Self::Signal { number, core } => {
                let name = Signal::try_from(number).map_or("unknown", Signal::as_str);
                write!(f, "was killed by signal {number} ({name}){}", if core { ", core written" } else { "" })
            }
            Self::Unknown => f.write_str("ended, its exit status was lost"),
            Self::ShimLost => f.write_str("has lost its shim, which ended or was killed, and is not watched any more"),
        }
    }
}

/// A file without a name: unlike a pipe it takes everything at once, whoever reads it, and it is never on a disk.
fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"input", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

fn left_words(pids: &[i32]) -> String {
    if pids.is_empty() {
        return "whether a process is left could not be seen in time: /proc does not answer".to_owned();
    }
    let hint = "what survives KILL waits for a device or a file system";
    format!("still there after TERM and KILL: {}; {hint}", family::list(pids))
}

/// `; last output: "…"`, or nothing.
pub fn quoted(last_line: Option<String>) -> String {
    last_line.map_or_else(String::new, |line| format!("; last output: \"{line}\""))
}
