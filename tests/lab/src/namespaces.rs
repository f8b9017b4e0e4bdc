//! The namespaces of a host, and threads that step into them.
//!
//! A thread that has changed its namespaces is never reused: each visit gets a thread of its own, which ends with it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// Handles of one host's namespaces. They keep the namespaces alive, also after all processes of the host are gone.
#[derive(Debug)]
pub(crate) struct Namespaces {
    net: OwnedFd,
    mnt: OwnedFd,
    uts: OwnedFd,
    ipc: OwnedFd,
    pid: OwnedFd,
}

impl Namespaces {
    /// The namespaces that process `pid` is in.
    pub(crate) fn of_process(pid: i32) -> io::Result<Self> {
        let open = |name: &str| File::open(format!("/proc/{pid}/ns/{name}")).map(OwnedFd::from);
        Ok(Self { net: open("net")?, mnt: open("mnt")?, uts: open("uts")?, ipc: open("ipc")?, pid: open("pid")? })
    }

    /// The network namespace.
    pub(crate) fn net(&self) -> BorrowedFd<'_> {
        self.net.as_fd()
    }

    /// Runs `visit` on a thread that sees the host's network and nothing else of it. Sockets made there stay there.
    pub(crate) fn in_net<T: Send>(&self, visit: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        in_net_of(self.net.as_fd(), visit)
    }

    /// Runs `visit` on a thread that sees the host's network, files and names. Processes it starts are the host's.
    pub(crate) fn in_all<T: Send>(&self, visit: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        visit_on_thread(|| {
            // A thread shares its root and working directory with the process until it gives that up.
            unshare(CloneFlags::CLONE_FS)?;
            setns(&self.net, CloneFlags::CLONE_NEWNET)?;
            setns(&self.uts, CloneFlags::CLONE_NEWUTS)?;
            setns(&self.ipc, CloneFlags::CLONE_NEWIPC)?;
            setns(&self.mnt, CloneFlags::CLONE_NEWNS)?;
            setns(&self.pid, CloneFlags::CLONE_NEWPID)?;
            visit()
        })
    }
}

/// Runs `visit` on a thread in a network namespace.
pub(crate) fn in_net_of<T: Send>(net: BorrowedFd<'_>, visit: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    visit_on_thread(|| {
        setns(net, CloneFlags::CLONE_NEWNET)?;
        visit()
    })
}

fn visit_on_thread<T: Send>(visit: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let visitor = thread::Builder::new().name("lab-visit".to_owned()).spawn_scoped(scope, visit)?;
        match visitor.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
