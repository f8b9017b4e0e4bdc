//! Programs that run in a host.
//!
//! A program started here is in all namespaces of its host from its first instruction, and in a session of its own, so
//! that Ctrl-C at the lab's terminal is not a fault of the nodes. It cannot outlive its host.

#![allow(unsafe_code, reason = "setsid between fork and exec has no safe form in std")]

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Context, LabError, Result};
use crate::host::Host;
use crate::seccomp::deny_nftables;
use crate::wait::wait_for;

/// A program about to be started in a host; like [`std::process::Command`].
///
/// Unless told otherwise it reads nothing, and what it prints is appended to `out/PROGRAM.log` in the host's directory.
#[derive(Debug)]
pub struct HostCommand {
    host: Host,
    program: String,
    command: Command,
    piped: bool,
}

impl HostCommand {
    pub(crate) fn new(host: Host, program: &OsStr) -> Self {
        let mut command = Command::new(program);
        command.current_dir("/").stdin(Stdio::null()).env("HOSTNAME", host.name());
        // SAFETY: one system call that neither allocates nor locks.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                Ok(())
            });
        }
        Self { host, program: program.to_string_lossy().into_owned(), command, piped: false }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = S>) -> &mut Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.command.env(key, value);
        self
    }

    /// Removes a variable of its environment.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Self {
        self.command.env_remove(key);
        self
    }

    /// Its kernel has no nftables.
    pub fn without_nftables(&mut self) -> &mut Self {
        // SAFETY: two system calls on constants that neither allocate nor lock.
        unsafe { self.command.pre_exec(deny_nftables) };
        self
    }

    /// Sets its working directory, as seen inside the host.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Self {
        self.command.current_dir(dir);
        self
    }

    /// Gives its output to [`Process::take_stdout`] and not to its log.
    pub fn piped(&mut self) -> &mut Self {
        self.piped = true;
        self
    }

    /// Starts it.
    pub fn spawn(&mut self) -> Result<Process> {
        let log = self.host.log_path(&self.program);
        let outputs = open_log(&log).on(self.host.name(), format!("open the log {}", log.display()))?;
        self.command.stdout(if self.piped { Stdio::piped() } else { outputs.0.into() });
        self.command.stderr(outputs.1);
        let (program, host) = (self.program.clone(), self.host.clone());
        let child = host.spawn_child(&program, &mut self.command)?;
        Ok(Process { host, program, child, log })
    }

    /// Runs it to its end and returns what it printed.
    pub fn output(&mut self) -> Result<Output> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let (program, host) = (self.program.clone(), self.host.clone());
        host.enter(|| self.command.output()).map_err(|error| spawn_error(host.name(), &program, error))
    }
}

/// Both streams of a program in one file, in the order they were written.
fn open_log(path: &Path) -> io::Result<(File, File)> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    Ok((file.try_clone()?, file))
}

pub(crate) fn spawn_error(host: &str, program: &str, error: LabError) -> LabError {
    if let LabError::Host { source, .. } = error {
        LabError::Spawn { host: host.to_owned(), program: program.to_owned(), source }
    } else {
        error
    }
}

/// The lab's share of a running child: the host waits for it when its power goes.
pub(crate) type SharedChild = Arc<Mutex<Child>>;

pub(crate) fn lock(child: &SharedChild) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running program of a host.
#[derive(Clone, Debug)]
pub struct Process {
    host: Host,
    program: String,
    child: SharedChild,
    log: PathBuf,
}

impl Process {
    /// Its number as seen from the lab (inside its host it has another one).
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(lock(&self.child).id()).unwrap_or(i32::MAX)
    }

    /// Kills it without warning.
    pub fn kill9(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)
    }

    /// Asks it to end.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// Hangs it: it stays, and does nothing.
    pub fn stop(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Ends the hang.
    pub fn cont(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Sends it a signal. Nothing is sent when it has ended and been waited for, so no stranger is hit.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = lock(&self.child);
        let step = || format!("send {signal} to {}", self.program);
        if child.try_wait().on(self.host.name(), step())?.is_some() {
            return Err(io::Error::from_raw_os_error(libc::ESRCH)).on(self.host.name(), step());
        }
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        kill(pid, signal).on(self.host.name(), step())
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        lock(&self.child).try_wait().on(self.host.name(), format!("look whether {} has ended", self.program))
    }

    /// Waits for its end.
    pub fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {} on {}", self.program, self.host.name());
        wait_for(limit, what, || self.ended().transpose())?
    }

    /// The stream of its output, once, if it was started with [`HostCommand::piped`].
    #[must_use]
    pub fn take_stdout(&self) -> Option<ChildStdout> {
        lock(&self.child).stdout.take()
    }

    /// What it has printed so far, with everything printed by earlier programs of the same name.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}
