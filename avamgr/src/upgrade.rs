//! UPGRADE: another program goes on with this daemon, in the same process.
//!
//! ```text
//!  operator ─▶ the new program tries to read the state ─▶ the decision tells everybody ─▶ state ─▶ memory ─▶ exec
//! ```
//!
//! Nothing is stopped: addresses, shims, the kernel's guard and the right to run are where the next program looks for them.
//! Everything of this one ends with the exec: threads, sockets, locks. The process number stays, and so do the children.

mod offspring;

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use avamgr_core::control::words::duration;
use avamgr_core::node::event::Fact;
use avamgr_core::node::{Event, SavedError};
use nix::sys::memfd::{MFdFlags, memfd_create};
use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::control::Outbox;
use crate::daemon::Tune;
use crate::process::birth;
pub use offspring::Offspring;

/// The option of the daemon that names the memory in which the state is.
pub const CONTINUE: &str = "--continue-from";
/// The option that makes a program read a state from its standard input, and say whether it could go on with it.
pub const TRY: &str = "--try-continue";

/// This program, whatever has become of its file.
const SELF: &str = "/proc/self/exe";
/// What the kernel adds to the name of a program whose file was replaced.
const DELETED: &[u8] = b" (deleted)";
/// The new program reads a file or two.
const TRY_TIME: Duration = Duration::from_secs(10);

/// An operator's order to go on with another program.
#[derive(Debug)]
pub struct Order {
    /// Who asks.
    pub who: String,
    /// The program; this daemon's own file if not named.
    pub binary: Option<PathBuf>,
    /// The order in words, for the history.
    pub words: String,
    /// Whether it could; if not, why.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// Why another program cannot go on. Nothing has changed then.
#[derive(Debug, Error)]
pub enum UpgradeError {
    /// There is no such program.
    #[error("{path} cannot be run: {source}; install the new program there, or name it with --binary")]
    Missing {
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no program.
    #[error("{0} cannot be run: it is no executable file; name the new avamgrd with --binary")]
    NoProgram(PathBuf),
    /// It says no.
    #[error("{path} cannot go on with this daemon: {reason}")]
    Unfit {
        /// The program.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// It says nothing.
    #[error("{path} did not say within {} whether it can go on with this daemon", duration(TRY_TIME))]
    Silent {
        /// The program.
        path: PathBuf,
    },
    /// The state cannot be had.
    #[error("the state of this daemon cannot be written down: {0}")]
    State(String),
}

/// Whoever looks at the new program first, and becomes it in the end.
#[derive(Debug)]
pub struct Upgrader {
    tunes: mpsc::Sender<Tune>,
    outbox: Outbox,
    /// The program that was found to be fit last.
    fit: Mutex<Option<PathBuf>>,
}

impl Upgrader {
    /// With the ways to the state and to the history.
    pub fn new(tunes: mpsc::Sender<Tune>, outbox: Outbox) -> Self {
        Self { tunes, outbox, fit: Mutex::new(None) }
    }

    /// Looks at a program whenever an operator asks for an upgrade.
    pub async fn serve(self: Arc<Self>, mut orders: mpsc::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            let result = self.look(order.binary.as_deref()).await.map_err(|error| error.to_string());
            if let Err(reason) = &result {
                let refused = reason.lines().next().map(str::to_owned);
                let fact = Fact::Command { who: order.who, command: order.words, refused };
                self.outbox.event(Event { at: clock::now(), fact });
            }
            let _ = order.answer.send(result);
        }
    }

    async fn look(&self, binary: Option<&Path>) -> Result<(), UpgradeError> {
        let path = match binary {
            Some(path) => path.to_owned(),
            None => own_file().map_err(|source| UpgradeError::Missing { path: SELF.into(), source })?,
        };
        let metadata = fs::metadata(&path).map_err(|source| UpgradeError::Missing { path: path.clone(), source })?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
            return Err(UpgradeError::NoProgram(path));
        }
        let state = self.state().await?;
        try_out(&path, state).await?;
        *self.fit.lock().unwrap_or_else(PoisonError::into_inner) = Some(path);
        Ok(())
    }

    async fn state(&self) -> Result<Vec<u8>, UpgradeError> {
        let (sender, state) = oneshot::channel();
        let ended = || UpgradeError::State("the daemon is stopping".to_owned());
        self.tunes.send(Tune::Save(sender)).await.map_err(|_| ended())?;
        let state: Result<Vec<u8>, SavedError> = state.await.map_err(|_| ended())?;
        state.map_err(|error| UpgradeError::State(error.to_string()))
    }

    /// Becomes the new program, or, if that fails, this one anew. Returns only when neither can be run.
    pub fn become_next(&self, state: &[u8]) -> io::Error {
        let fit = self.fit.lock().unwrap_or_else(PoisonError::into_inner).take();
        let paper = match paper(state) {
            Ok(paper) => paper,
            Err(error) => return error,
        };
        let new = fit.map(|path| exec(&path, &paper));
        if let Some(error) = &new {
            tracing::error!("the new program cannot be run: {error}; the old one goes on");
        }
        exec(Path::new(SELF), &paper)
    }
}

/// The file this program was started from, as it is now.
///
/// # Errors
/// Without /proc.
pub fn own_file() -> io::Result<PathBuf> {
    let name = fs::read_link(SELF)?.into_os_string().into_vec();
    Ok(OsString::from_vec(name.strip_suffix(DELETED).unwrap_or(&name).to_vec()).into())
}

/// The arguments of this process, without those of an upgrade before.
fn arguments() -> Vec<OsString> {
    let mut all = std::env::args_os().skip(1);
    let mut kept = Vec::new();
    while let Some(argument) = all.next() {
        if argument == CONTINUE {
            all.next();
        } else {
            kept.push(argument);
        }
    }
    kept
}

async fn try_out(path: &Path, state: Vec<u8>) -> Result<(), UpgradeError> {
    let missing = |source| UpgradeError::Missing { path: path.to_owned(), source };
    let mut command = Command::new(path);
    // It is no service of anybody's, and speaks to nobody but us.
    command.args(arguments()).arg(TRY).env_remove("NOTIFY_SOCKET").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(missing)?;
    let input = child.stdin.take();
    let feed = async {
        if let Some(mut input) = input {
            // One that does not read to the end says why by its exit.
            let _ = input.write_all(&state).await;
        }
    };
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    let Ok(output) = tokio::time::timeout(TRY_TIME, both).await else {
        return Err(UpgradeError::Silent { path: path.to_owned() });
    };
    let output = output.map_err(missing)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = match said.trim() {
        "" => output.status.to_string(),
        said => said.to_owned(),
    };
    Err(UpgradeError::Unfit { path: path.to_owned(), reason })
}

/// The state in memory that outlives this program; of all that is open, only this and the standard streams do.
fn paper(state: &[u8]) -> io::Result<File> {
    birth::close_at_exec();
    let paper = File::from(memfd_create(c"avamgr-state", MFdFlags::empty())?);
    io::Write::write_all(&mut &paper, state)?;
    (&paper).flush()?;
    Ok(paper)
}

fn exec(path: &Path, paper: &File) -> io::Error {
    let text = |text: &OsStr| CString::new(text.as_bytes()).unwrap_or_default();
    let name = std::env::args_os().next().unwrap_or_else(|| "avamgrd".into());
    let number = OsString::from(paper.as_raw_fd().to_string());
    let arguments: Vec<CString> =
        [name].into_iter().chain(arguments()).chain([CONTINUE.into(), number]).map(|it| text(&it)).collect();
    match nix::unistd::execv(&text(path.as_os_str()), &arguments) {
        Ok(never) => match never {},
        Err(errno) => errno.into(),
    }
}

/// Reads what the program before has left in memory, and gives the memory back.
///
/// # Errors
/// When it is not there.
pub fn inherited(number: i32) -> io::Result<Vec<u8>> {
    let state = fs::read(format!("/proc/self/fd/{number}"))?;
    nix::unistd::close(number)?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_paper_can_be_read_by_its_number() {
        let paper = paper(b"state").unwrap();
        let number = std::os::fd::IntoRawFd::into_raw_fd(paper);
        assert_eq!(inherited(number).unwrap(), b"state");
        assert!(inherited(number).is_err(), "it is given back");
    }

    #[tokio::test]
    async fn a_program_that_says_no_is_unfit_and_one_that_is_none_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new");
        let script = |text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        script("#!/bin/sh\necho 'too old' >&2\nexit 1\n");
        let error = try_out(&path, vec![0; 1 << 20]).await.unwrap_err().to_string();
        assert!(error.ends_with("cannot go on with this daemon: too old"), "{error}");
        script("#!/bin/sh\ntest \"$(cat)\" = state\n");
        try_out(&path, b"state".to_vec()).await.unwrap();
        let error = try_out(&path, b"other".to_vec()).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 1"), "{error}");
    }
}
