//! The first process of a host: it owns the host's namespaces and does nothing else.
//!
//! It is process 1 of a PID namespace, so its end is the end of every process of the host, whatever they did to detach
//! themselves. It reads orders from a socket and exits when the socket closes: no host survives the lab, however the
//! lab ends. Made by `clone`, not by `exec`, because a library has no program of its own to start.

#![allow(unsafe_code, reason = "clone into new namespaces and what the child may do after it have no safe form")]

use std::ffi::{CStr, CString};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::error::{Context, Result};
use crate::namespaces::Namespaces;

/// A holder that takes longer than this for an order is broken.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

const ORDER_FREEZE: u8 = b'F';
const ORDER_THAW: u8 = b'T';

/// What the child did last, so that a failure names its step.
const STEPS: [&str; 5] =
    ["ready", "set the host name", "make its mounts private", "mount its own /proc", "signal all processes"];

/// A running holder. Dropping it kills every process of the host.
#[derive(Debug)]
pub(crate) struct Holder {
    host: String,
    pid: Pid,
    control: Mutex<UnixStream>,
    namespaces: Namespaces,
    reaped: Mutex<bool>,
}

impl Holder {
    /// Makes the namespaces of a host and the process that holds them.
    pub(crate) fn start(host: &str) -> Result<Self> {
        let (control, childs_end) = UnixStream::pair().on(host, "make the control socket")?;
        control.set_read_timeout(Some(ANSWER_WITHIN)).on(host, "set up the control socket")?;
        let name = CString::new(host).map_err(io::Error::from).on(host, "use this host name")?;
        let pid = clone_holder(&name, &OwnedFd::from(childs_end)).on(host, "make namespaces (clone)")?;
        let namespaces = Namespaces::of_process(pid.as_raw());
        let holder = Self {
            host: host.to_owned(),
            pid,
            control: Mutex::new(control),
            namespaces: namespaces.on(host, "open its namespaces")?,
            reaped: Mutex::new(false),
        };
        holder.answer(&holder.control())?;
        Ok(holder)
    }

    /// The process as the lab sees it.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    pub(crate) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Stops every process of the host (SIGSTOP) and returns when the signal is on all of them.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.order(ORDER_FREEZE)
    }

    /// Lets every process of the host go on.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.order(ORDER_THAW)
    }

    /// Kills every process of the host. They are gone when [`Holder::reap`] returns.
    pub(crate) fn kill(&self) -> Result<()> {
        kill(self.pid, Signal::SIGKILL).on(&self.host, "kill its first process")
    }

    /// Waits for the end of all processes of the host. The lab's own children among them must have been waited for, or
    /// this blocks: the kernel keeps the first process until the last one is gone.
    pub(crate) fn reap(&self) -> Result<()> {
        let mut reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            waitpid(self.pid, None).on(&self.host, "wait for its first process")?;
            *reaped = true;
        }
        Ok(())
    }

    fn control(&self) -> MutexGuard<'_, UnixStream> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, order: u8) -> Result<()> {
        let mut control = self.control();
        control.write_all(&[order]).on(&self.host, "give its first process an order")?;
        self.answer(&control)
    }

    /// One byte for the step, four for the error number, zero for none.
    fn answer(&self, mut control: &UnixStream) -> Result<()> {
        let mut report = [0u8; 5];
        control.read_exact(&mut report).on(&self.host, "hear from its first process")?;
        let errno = i32::from_ne_bytes([report[1], report[2], report[3], report[4]]);
        if errno == 0 {
            return Ok(());
        }
        let step = STEPS.get(usize::from(report[0])).copied().unwrap_or("unknown step");
        Err(io::Error::from_raw_os_error(errno)).on(&self.host, step)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let reaped = self.reaped.lock().is_ok_and(|reaped| *reaped);
        if !reaped && self.kill().is_ok() {
            // A failure here has no one left to act on it; the namespaces go when the handles do.
            let _ = self.reap();
        }
    }
}

/// Forks this process into new namespaces; the child never returns from here.
fn clone_holder(name: &CStr, control: &OwnedFd) -> io::Result<Pid> {
    let flags = libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWPID;
    let flags = (flags | libc::SIGCHLD) as libc::c_ulong;
    // SAFETY: without CLONE_VM this is a fork: the child has its own copy of memory and goes on at the same stack.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => hold(name, control.as_raw_fd()),
        pid => Ok(Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?)),
    }
}

/// The child. Other threads of the lab do not exist here and may have held any lock, the allocator's too: system calls
/// only, on memory that was ready before.
fn hold(name: &CStr, control: RawFd) -> ! {
    // SAFETY: every call takes valid pointers or none; the file descriptor is this process's copy.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        libc::prctl(libc::PR_SET_NAME, c"lab-host".as_ptr());
        libc::setsid();
        let control = keep_only(control);
        let made = make_private(name);
        report(control, made);
        if made.is_err() {
            libc::_exit(1);
        }
        serve(control)
    }
}

/// Closes everything but the control socket: a copy of another host's socket would keep that host alive.
fn keep_only(control: RawFd) -> RawFd {
    // SAFETY: this process uses no descriptor but the control socket, which ends up as number 3.
    unsafe {
        if control != 3 {
            libc::dup2(control, 3);
        }
        libc::syscall(libc::SYS_close_range, 4, libc::c_uint::MAX, 0);
    }
    3
}

type Made = std::result::Result<(), (u8, i32)>;

/// What only a process inside can do: its name, and a /proc that shows its own processes.
fn make_private(name: &CStr) -> Made {
    // SAFETY: all strings are static or outlive the calls.
    unsafe {
        check(1, libc::sethostname(name.as_ptr(), name.to_bytes().len()))?;
        let private = libc::MS_REC | libc::MS_PRIVATE;
        check(2, libc::mount(c"none".as_ptr(), c"/".as_ptr(), ptr::null(), private, ptr::null()))?;
        let proc = c"proc".as_ptr();
        let safe = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        check(3, libc::mount(proc, c"/proc".as_ptr(), proc, safe, ptr::null()))
    }
}

fn check(step: u8, outcome: libc::c_int) -> Made {
    if outcome == 0 { Ok(()) } else { Err((step, nix::errno::Errno::last_raw())) }
}

fn report(control: RawFd, made: Made) {
    let (step, errno) = made.err().unwrap_or((0, 0));
    let number = errno.to_ne_bytes();
    let bytes = [step, number[0], number[1], number[2], number[3]];
    // SAFETY: the buffer is on this stack.
    unsafe { libc::write(control, bytes.as_ptr().cast(), bytes.len()) };
}

/// Obeys orders until the lab closes its end.
fn serve(control: RawFd) -> ! {
    loop {
        let mut order = 0u8;
        // SAFETY: the buffer is on this stack.
        let got = unsafe { libc::read(control, ptr::from_mut(&mut order).cast(), 1) };
        if got < 0 && nix::errno::Errno::last_raw() == libc::EINTR {
            continue;
        }
        if got <= 0 {
            // SAFETY: leaves at once; the kernel kills the rest of the namespace.
            unsafe { libc::_exit(0) };
        }
        let signal = if order == ORDER_FREEZE { libc::SIGSTOP } else { libc::SIGCONT };
        // SAFETY: -1 means every process of this PID namespace but this one.
        let sent = unsafe { libc::kill(-1, signal) };
        let alone = sent != 0 && nix::errno::Errno::last_raw() == libc::ESRCH;
        report(control, if alone { Ok(()) } else { check(4, sent) });
    }
}
