//! The SHIM of a service: a small process between the daemon and the service, which lives as long as the service's right.
//!
//! ```text
//!  avamgrd ──starts──▶ shim ──starts──▶ service ─▶ its offspring
//!     │  ◀─ socket ─▶   │ ◀─ output, exit ──┘
//!     └──▶ right ──────▶│ at its end: TERM, KILL
//! ```
//!
//! The daemon may be killed, stopped or restarted: the service neither notices nor outlives its right (see
//! [`crate::right`]). A daemon that comes back in time attaches to the socket and goes on. The shim adopts every orphan of
//! the service (`PR_SET_CHILD_SUBREAPER`), so "nothing of it is left" is the kernel's own word: no child to wait for.
//!
//! When the shim itself is killed, the kernel kills the service's first process, and the rest is found by its mark.
//!
//! * [`attached`]: the daemon's side of the conversation.
//! * `keeper`: the process itself, one thread around `poll`.

pub mod attached;
mod backlog;
mod keeper;
mod service;
mod wire;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use nix::unistd::{dup2_stdin, dup2_stdout};
use serde::{Deserialize, Serialize};

use super::Executable;

pub use attached::Attached;

/// The first argument that makes the daemon's program a shim. Not for people, so no help mentions it.
pub const ARGUMENT: &str = "--shim";

/// The daemon's own program, also when its file has been replaced since.
pub const OWN_PROGRAM: &str = "/proc/self/exe";

/// Directory of the sockets in the runtime directory.
const SOCKETS: &str = "shim";

/// Where a service's shim is, and how long it may keep the service beyond its right.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Post {
    /// The daemon's program.
    pub program: PathBuf,
    /// The daemon's runtime directory, where the right and the sockets are.
    pub runtime: PathBuf,
    /// Name of the group, whose right it is.
    pub group: String,
    /// Name of the resource.
    pub resource: String,
    /// From the end of the right to the end of the service: half of it to come back, half of it for a gentle end.
    pub grace: Duration,
}

impl Post {
    /// Name of the socket; neither name can hold a colon.
    fn socket(&self) -> String {
        format!("{}:{}", self.group, self.resource)
    }

    /// The directory of the sockets; `None` before the first shim.
    fn sockets(&self) -> io::Result<Option<File>> {
        match File::open(self.runtime.join(SOCKETS)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// The directory of the sockets, made if it is not there.
    fn make_sockets(&self) -> io::Result<File> {
        let path = self.runtime.join(SOCKETS);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => File::open(path),
        }
    }
}

/// All a shim is told: it asks nobody.
#[derive(Debug, Serialize, Deserialize)]
struct Spec {
    post: Post,
    executable: Executable,
    /// Names what is run, see [`Attached::digest`].
    digest: u64,
}

/// The program: the conversation with the daemon is its standard input, what to do its standard output.
pub fn main() -> ExitCode {
    match inherited().and_then(|(peer, spec)| keeper::keep(spec, peer)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::complain(&format!("avamgr-shim: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Takes over what the daemon has handed down, and gives up what would tie us to it.
fn inherited() -> io::Result<(OwnedFd, Spec)> {
    let peer = io::stdin().as_fd().try_clone_to_owned()?;
    let spec = serde_json::from_slice(&fs::read("/proc/self/fd/1")?)?;
    let nowhere = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&nowhere)?;
    dup2_stdout(&nowhere)?;
    Ok((peer, spec))
}
