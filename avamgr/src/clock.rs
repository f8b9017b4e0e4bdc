//! The only reader of clocks, and the alarm of the loop.
#![allow(unsafe_code, reason = "the runtime must be told that a descriptor stays what it is")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use avamgr_core::time::Instant;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use tokio::io::unix::AsyncFd;

/// Now, on the clock that goes on during suspend.
///
/// # Panics
/// When the kernel has no `CLOCK_BOOTTIME` (before 2.6.39): without a clock no right can be kept.
#[expect(clippy::expect_used, reason = "without this clock no right to be ACTIVE can be kept")]
pub fn now() -> Instant {
    nanos(clock_gettime(ClockId::CLOCK_BOOTTIME).expect("CLOCK_BOOTTIME is there since Linux 2.6.39"))
}

/// The wall clock in nanoseconds since 1970; only for humans, alarms and kernel receive timestamps.
#[expect(clippy::expect_used, reason = "CLOCK_REALTIME cannot be missing")]
pub fn wall_nanos() -> u64 {
    nanos(clock_gettime(ClockId::CLOCK_REALTIME).expect("CLOCK_REALTIME is always there")).as_nanos()
}

fn nanos(time: TimeSpec) -> Instant {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Wakes at an instant of [`now`]'s clock, to the microsecond. The runtime's own timers stand still during suspend and are
/// rounded to milliseconds.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<Descriptor>,
    set: Instant,
}

/// A timer as the runtime wants it.
#[derive(Debug)]
struct Descriptor(TimerFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Alarm {
    /// An alarm that is not set. Must be called within a runtime.
    ///
    /// # Errors
    /// When the system has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(TimerClock::CLOCK_BOOTTIME, flags)?;
        // SAFETY: the descriptor is owned by the timer until it is dropped, and never swapped.
        let timer = unsafe { AsyncFd::register(Descriptor(timer)) }.map_err(io::Error::from)?;
        Ok(Self { timer, set: Instant::NEVER })
    }

    /// Sets it, unless it is set to that instant already.
    ///
    /// # Errors
    /// When the kernel refuses the time.
    pub fn set(&mut self, at: Instant) -> io::Result<()> {
        if at == self.set {
            return Ok(());
        }
        self.set = at;
        // Zero would switch it off.
        let at = TimeSpec::from_duration(Duration::from_nanos(at.as_nanos().max(1)));
        self.timer.get_ref().0.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        Ok(())
    }

    /// Ready when it has rung; then it is not set any more.
    pub fn poll_ring(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Ok(mut guard) = ready!(self.timer.poll_read_ready(cx)) else { return Poll::Ready(()) };
        // The count of expirations is of no use, so it is not read: the runtime watches for the edge, and every new ring is
        // one.
        guard.clear_ready();
        self.set = Instant::NEVER;
        Poll::Ready(())
    }
}
