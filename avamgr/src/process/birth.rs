//! What a child does between fork and exec.
//!
//! It must not inherit what only the daemon needs: realtime scheduling, a blocked signal mask, ignored signals, protection
//! from the out-of-memory killer. And it must die with the process that watches it, be that the daemon or a shim: a service
//! that nobody watches is a service that two nodes may run at once.
#![allow(unsafe_code, reason = "between fork and exec there are only raw system calls")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use serde::{Deserialize, Serialize};

/// Signals are numbered from 1; 64 is the last real-time one.
const SIGNAL_MAX: libc::c_int = 64;

/// Whom to become.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) uid: libc::uid_t,
    pub(super) gid: libc::gid_t,
    pub(super) groups: Vec<libc::gid_t>,
}

/// Everything the child needs, looked up before the fork: after it, nothing may allocate or take a lock.
pub(super) struct Birth {
    parent: libc::pid_t,
    account: Option<Account>,
}

impl Birth {
    pub(super) fn new(account: Option<Account>) -> Self {
        // SAFETY: getpid has no preconditions.
        Self { parent: unsafe { libc::getpid() }, account }
    }

    /// Makes `command` take these steps.
    pub(super) fn arrange(self, command: &mut Command) {
        // SAFETY: `steps` makes async-signal-safe calls only and does not allocate.
        unsafe {
            command.pre_exec(move || self.steps());
        }
    }

    fn steps(&self) -> io::Result<()> {
        // A session of its own: own group, no terminal, and a number that all its offspring carry.
        // SAFETY: no preconditions.
        check(unsafe { libc::setsid() })?;
        reset_signals()?;
        reset_scheduling()?;
        reset_oom();
        if let Some(account) = &self.account {
            account.take_on()?;
        }
        // After the change of user, which clears it.
        self.die_with_parent()
    }

    fn die_with_parent(&self) -> io::Result<()> {
        // SAFETY: PR_SET_PDEATHSIG takes a signal number.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
        // SAFETY: no preconditions.
        if unsafe { libc::getppid() } != self.parent {
            // It died before the line above took effect: nobody would ever stop us.
            // SAFETY: ends this process without running anything of the parent's.
            unsafe { libc::_exit(1) }
        }
        Ok(())
    }
}

/// Makes `command`, a shim, begin with a session of its own and with no signal, scheduling or death of the daemon's. It
/// keeps the protection from the out-of-memory killer.
pub(super) fn arrange_shim(command: &mut Command) {
    let steps = || {
        // SAFETY: no preconditions.
        check(unsafe { libc::setsid() })?;
        reset_signals()?;
        close_at_exec();
        reset_scheduling()
    };
    // SAFETY: `steps` makes async-signal-safe calls only and does not allocate.
    unsafe {
        command.pre_exec(steps);
    }
}

impl Account {
    fn take_on(&self) -> io::Result<()> {
        // SAFETY: the list lives as long as the call; the order (groups, group, user) is the only one that works.
        unsafe {
            check(libc::setgroups(self.groups.len(), self.groups.as_ptr()))?;
            check(libc::setgid(self.gid))?;
            check(libc::setuid(self.uid))
        }
    }
}

fn reset_signals() -> io::Result<()> {
    // SAFETY: the set is initialised by sigemptyset before use.
    unsafe {
        for signal in 1..=SIGNAL_MAX {
            // Refused for KILL, STOP and the two that libc keeps for itself.
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        check(libc::sigemptyset(&raw mut none))?;
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()))
    }
}

fn reset_scheduling() -> io::Result<()> {
    // SAFETY: sched_param is plain data, all zeroes is the priority of SCHED_OTHER.
    unsafe {
        let param: libc::sched_param = std::mem::zeroed();
        check(libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const param))
    }
}

/// What the daemon itself was handed down must not stay open for as long as a service lives. Best effort: kernels before 5.11
/// refuse.
pub(crate) fn close_at_exec() {
    const FIRST: libc::c_uint = 3;
    // SAFETY: marks descriptors, closes none.
    unsafe {
        libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
}

/// Best effort: without /proc, or in a container that forbids it, a service that is killed last is no reason not to run.
fn reset_oom() {
    // SAFETY: the path ends with a zero, the descriptor is used only here.
    unsafe {
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file >= 0 {
            libc::write(file, c"0".as_ptr().cast(), 1);
            libc::close(file);
        }
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
