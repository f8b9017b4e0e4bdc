//! Threads of the lab that wait on sockets and end when told to.

#![allow(unsafe_code, reason = "scheduling of a single thread has no safe wrapper")]

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// Above the daemons under test, so that measuring is not what is measured.
pub(crate) const PRIORITY: i32 = 40;

/// A thread with a bell. Dropping it rings the bell and waits for the end of the thread.
#[derive(Debug)]
pub(crate) struct Worker {
    rope: UnixStream,
    thread: Option<JoinHandle<()>>,
}

/// Rings when the other end of the rope is let go.
#[derive(Debug)]
pub(crate) struct Bell(UnixStream);

impl Worker {
    /// Starts a thread; `body` must return soon after its bell rang.
    pub(crate) fn start(name: &str, body: impl FnOnce(&Bell) + Send + 'static) -> io::Result<Self> {
        let (rope, bell) = UnixStream::pair()?;
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || body(&Bell(bell)))?;
        Ok(Self { rope, thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A copy of the rope may be in a child that has not reached its exec yet, so letting go is not enough.
        let _ = self.rope.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            // A worker that panicked has said so on stderr.
            let _ = thread.join();
        }
    }
}

impl Bell {
    /// Waits for the bell or for one of `sockets`, at most for `limit` if there is one; returns whether the bell rang.
    pub(crate) fn wait(&self, sockets: &[BorrowedFd<'_>], limit: Option<Duration>) -> io::Result<bool> {
        let mut fds = vec![PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        fds.extend(sockets.iter().map(|socket| PollFd::new(*socket, PollFlags::POLLIN)));
        match ppoll(&mut fds, limit.map(TimeSpec::from), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(fds[0].any().unwrap_or(true))
    }
}

/// Asks for a fixed priority for the calling thread. An ordinary account may not have it; returns whether it has.
pub(crate) fn raise_priority(priority: i32) -> bool {
    let param = libc::sched_param { sched_priority: priority };
    // SAFETY: takes a pointer to a value on this stack; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const param) == 0 }
}
