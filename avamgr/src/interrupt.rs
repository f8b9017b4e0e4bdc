//! Ctrl-C ends what is being waited for, not the program around it (the shell, or the last word on a switchover).

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::clock;

/// While it lives, Ctrl-C is an event to wait for instead of the end of the process.
pub struct Interrupt {
    mask: SigSet,
    signals: SignalFd,
}

/// What came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// There is something to read.
    Readable,
    /// Ctrl-C.
    Interrupted,
    /// The time is over.
    Elapsed,
}

impl Interrupt {
    /// Takes Ctrl-C over; `None` where the system does not permit it, then it works as usual.
    pub fn catch() -> Option<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGINT);
        mask.thread_block().ok()?;
        let Ok(signals) = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC) else {
            // Nothing can be done about it if this fails too.
            let _ = mask.thread_unblock();
            return None;
        };
        Some(Self { mask, signals })
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        // One that came at the very end has ended what it was meant for.
        while matches!(self.signals.read_signal(), Ok(Some(_))) {}
        let _ = self.mask.thread_unblock();
    }
}

/// Waits for something to read, Ctrl-C (where caught) or the end of the time.
pub fn wait(readable: Option<BorrowedFd<'_>>, interrupt: Option<&Interrupt>, time: Duration) -> Woken {
    let mut fds = Vec::with_capacity(2);
    fds.extend(interrupt.map(|interrupt| PollFd::new(interrupt.signals.as_fd(), PollFlags::POLLIN)));
    fds.extend(readable.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    // Rounded up: waking a moment early would make a caller spin.
    let millis = u16::try_from(time.as_millis().saturating_add(1)).unwrap_or(u16::MAX);
    let woken = poll(&mut fds, PollTimeout::from(millis));
    let ready = |at: usize| fds.get(at).and_then(PollFd::any).unwrap_or(false);
    match woken {
        Ok(0) => Woken::Elapsed,
        Ok(_) if interrupt.is_some() && ready(0) => Woken::Interrupted,
        Ok(_) => Woken::Readable,
        // A signal that is not ours: the caller looks at its clock and comes again.
        Err(_) => Woken::Elapsed,
    }
}

/// Waits; `true` = Ctrl-C.
pub fn pause(interrupt: Option<&Interrupt>, time: Duration) -> bool {
    let end = clock::now() + time;
    loop {
        let left = end.since(clock::now());
        if left.is_zero() {
            return false;
        }
        match wait(None, interrupt, left) {
            Woken::Interrupted => return true,
            Woken::Readable | Woken::Elapsed => {}
        }
    }
}
