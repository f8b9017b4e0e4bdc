//! The programs of the demo's nodes, all out of our own file: found by the name they are called by.
//!
//! So one `cargo run` builds everything that is shown, and nothing that lies beside us from an earlier build is shown.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::net::{Ipv6Addr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::avamgrd;

/// The daemon under the name it has everywhere.
const DAEMON: &str = "avamgrd";
/// What stands in for the Diameter router.
const SERVICE: &str = "demo-dre";

/// Where the service listens: the port of Diameter.
pub(super) const SERVICE_PORT: u16 = 3868;

/// A caller that does not read is not waited for.
const CALLER_PATIENCE: Duration = Duration::from_secs(1);

/// If this process was called by the name of a program of the demo, runs that and returns how it ended.
pub fn called_by_name() -> Option<ExitCode> {
    let called = std::env::args_os().next()?;
    let name = Path::new(&called).file_name().unwrap_or_default();
    if name == OsStr::new(DAEMON) {
        Some(avamgrd::main())
    } else if name == OsStr::new(SERVICE) {
        Some(serve().unwrap_or_else(|error| {
            crate::complain(&format!("{SERVICE}: {error}"));
            ExitCode::FAILURE
        }))
    } else {
        None
    }
}

/// Paths of the programs.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) daemon: PathBuf,
    pub(super) service: PathBuf,
}

impl Programs {
    /// Gives our own file its other names, in a directory of the demo.
    pub(super) fn install(dir: &Path) -> Result<Self> {
        let own = std::env::current_exe().context("cannot find the file of this program")?;
        let programs = Self { daemon: dir.join(DAEMON), service: dir.join(SERVICE) };
        for name in [&programs.daemon, &programs.service] {
            symlink(&own, name).with_context(|| format!("cannot make {}", name.display()))?;
        }
        Ok(programs)
    }
}

/// Tells every caller on which node it runs.
fn serve() -> io::Result<ExitCode> {
    let node = hostname::get()?;
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, SERVICE_PORT))?;
    loop {
        let (mut caller, _) = listener.accept()?;
        caller.set_write_timeout(Some(CALLER_PATIENCE))?;
        // A caller that has left already has no use for an answer.
        let _ = caller.write_all(node.as_encoded_bytes());
    }
}
