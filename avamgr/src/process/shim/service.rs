//! The service as its shim has it: started, collected, signalled.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use avamgr_core::time::Instant;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};

use super::backlog::Backlog;
use super::wire::{Kept, PACKET_MAX};
use crate::clock;
use crate::process::birth::Birth;
use crate::process::{Executable, Exit, family};

/// A service and all its offspring, which are this process's offspring too.
#[derive(Debug)]
pub(super) struct Service {
    pid: Pid,
    born: Instant,
    exit: Option<Exit>,
    /// Standard output and error, until nobody holds the other end.
    output: Option<PipeReader>,
    /// Who has been sent TERM.
    asked: Vec<i32>,
}

impl Service {
    pub(super) fn start(executable: &Executable) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
        let mut command = executable.command();
        command.stdin(Stdio::null()).stderr(writer.try_clone()?).stdout(writer);
        Birth::new(executable.account().cloned()).arrange(&mut command);
        let child = command.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        Ok(Self { pid, born: clock::now(), exit: None, output: Some(reader), asked: Vec::new() })
    }

    pub(super) fn kept(&self, digest: u64) -> Kept {
        Kept { pid: self.pid.as_raw(), born: self.born, digest, exit: self.exit }
    }

    pub(super) fn exit(&self) -> Option<Exit> {
        self.exit
    }

    pub(super) fn output(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(AsFd::as_fd)
    }

    /// Reads one piece of the output; answers whether there may be more.
    pub(super) fn read(&mut self, backlog: &mut Backlog) -> bool {
        let mut piece = [0; PACKET_MAX / 2];
        let Some(output) = &mut self.output else { return false };
        match output.read(&mut piece) {
            Ok(0) => {
                backlog.end();
                self.output = None;
                false
            }
            Ok(count) => {
                backlog.take(&piece[..count]);
                true
            }
            Err(_) => false,
        }
    }

    /// Collects who has ended; answers whether anybody is left.
    pub(super) fn collect(&mut self) -> bool {
        loop {
            let mut status = 0;
            #[expect(unsafe_code, reason = "the safe form does not know the end by a real-time signal")]
            // SAFETY: the status is ours, and written before the call returns.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            match pid {
                0 => return true,
                // No child, which is what this is about: every orphan of the service is ours.
                pid if pid < 0 => return false,
                pid if pid == self.pid.as_raw() => self.exit = Some(ExitStatus::from_raw(status).into()),
                _ => {}
            }
        }
    }

    /// TERM, once for each: first to the group, then, when the first process has ended, to those who have left it.
    pub(super) fn ask(&mut self) {
        if self.exit.is_none() {
            if self.asked.is_empty() {
                let in_group = |pid: &i32| getpgid(Some(Pid::from_raw(*pid))) == Ok(self.pid);
                self.asked = family::offspring().into_iter().filter(in_group).chain([self.pid.as_raw()]).collect();
                // Its number stays ours until it is collected. One that is stopped would not see TERM before it goes on.
                let _ = killpg(self.pid, Signal::SIGTERM);
                let _ = killpg(self.pid, Signal::SIGCONT);
            }
            return;
        }
        for pid in family::offspring() {
            if !self.asked.contains(&pid) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
                let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
                self.asked.push(pid);
            }
        }
    }

    /// KILL to everybody. Who is born meanwhile needs another.
    pub(super) fn kill(&self) {
        if self.exit.is_none() {
            let _ = killpg(self.pid, Signal::SIGKILL);
        }
        for pid in family::offspring() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
