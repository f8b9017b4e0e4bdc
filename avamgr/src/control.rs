//! CONTROL: the socket on which operators ask and steer.
//!
//! [`ControlServer`] lives in the hands plane: one task per client, so a slow or dead reader stalls nobody but itself. The
//! kernel says who calls; `policy` decides what they may do. A command goes to the decision as an input, the events it
//! causes and its last word come back through the [`outbox`]. The decision never waits for a client.

mod client;
pub mod outbox;
pub mod policy;

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use avamgr_core::config::Config;
use avamgr_core::control::frame::{MAX_REPLY_BYTES, encode};
use avamgr_core::control::{Answer, Reply, Status};
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::control::client::Client;
pub use crate::control::outbox::{Answers, Outbox};
pub use crate::control::policy::Policy;
use crate::control::policy::{Caller, Level};
use crate::history::History;
use crate::inputs::Inputs;

/// Connections at the same time. Each costs a file descriptor and some KiB.
const CLIENTS_MAX: usize = 512;

/// Connections of viewers at the same time: the difference is kept for operators, whom no crowd may lock out.
const VIEWERS_MAX: usize = 448;

/// Pause after a failed accept (no file descriptors left): the next one would fail at once too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the server needs from the daemon.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Where commands go.
    pub inputs: Inputs,
    /// Where their answers come from.
    pub answers: Answers,
    /// The last snapshot. It must be renewed at least once a second, changed or not: its age tells a hung loop.
    pub status: watch::Receiver<Arc<Status>>,
    /// The config in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Past events, and live ones.
    pub history: Arc<History>,
    /// Where orders to read the config file again go.
    pub reload: mpsc::Sender<Reload>,
}

/// An operator's order to read the config file again.
#[derive(Debug)]
pub struct Reload {
    /// Who asks.
    pub who: String,
    /// `Done`, or `Refused` with all that is wrong with the file.
    pub answer: oneshot::Sender<Answer>,
}

/// Why the control socket cannot be opened.
#[derive(Debug, Error)]
pub enum BindError {
    /// A daemon answers there.
    #[error("another daemon is running: it answers on {path}")]
    Running {
        /// The socket.
        path: PathBuf,
    },
    /// Something else is there; it is not ours to remove.
    #[error("{path} exists and is not a socket: remove it or set daemon.socket to another path")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot open control socket {path}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The listening socket. Dropping it, or the future of [`Self::serve`], removes the file and ends every connection.
#[derive(Debug)]
pub struct ControlServer {
    listener: StdListener,
    file: SocketFile,
    policy: Policy,
}

impl ControlServer {
    /// Opens the socket: makes its directory, removes the file a dead daemon left. Everybody may connect, the caller's
    /// credentials decide the rest.
    pub fn bind(path: &Path, policy: Policy) -> Result<Self, BindError> {
        let io = |source| BindError::Io { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(io)?;
        }
        remove_stale(path)?;
        let listener = StdListener::bind(path).map_err(io)?;
        let file = SocketFile(path.to_owned());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        Ok(Self { listener, file, policy })
    }

    /// Serves clients until the future is dropped; returns only when the socket cannot be waited for at all.
    pub async fn serve(self, ports: Ports) -> io::Result<()> {
        let Self { listener, file, policy } = self;
        let _removed_at_the_end = file;
        let listener = UnixListener::from_std(listener)?;
        let viewers = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let operators = ports.config.borrow().daemon.operators.clone();
                        let caller = policy.identify(&stream, operators.as_deref());
                        let seat = Seat::take(caller.level, clients.len(), &viewers);
                        let ports = ports.clone();
                        clients.spawn(attend(stream, caller, seat, ports));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "control socket: a client could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_ended) = clients.join_next(), if !clients.is_empty() => {}
            }
        }
    }
}

async fn attend(stream: UnixStream, caller: Caller, seat: Option<Seat>, ports: Ports) {
    match seat {
        Some(_held) => Client::new(stream, caller, ports).serve().await,
        None => turn_away(stream).await,
    }
}

/// Tells a client that there is no room, without waiting for it: an empty socket buffer takes one line.
async fn turn_away(mut stream: UnixStream) {
    let reply =
        Reply::Error { reason: "too many clients: close some (`history --follow`, `status --watch`)".to_owned() };
    if let Ok(line) = encode(&reply, MAX_REPLY_BYTES) {
        let _ = tokio::time::timeout(ACCEPT_PAUSE, stream.write_all(&line)).await;
    }
}

/// A place among the connections, given back when dropped.
struct Seat(Option<Arc<AtomicUsize>>);

impl Seat {
    fn take(level: Level, clients: usize, viewers: &Arc<AtomicUsize>) -> Option<Self> {
        match level {
            _ if clients >= CLIENTS_MAX => None,
            Level::Operator => Some(Self(None)),
            Level::Viewer if viewers.load(Ordering::Relaxed) >= VIEWERS_MAX => None,
            Level::Viewer => {
                viewers.fetch_add(1, Ordering::Relaxed);
                Some(Self(Some(Arc::clone(viewers))))
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(viewers) = &self.0 {
            viewers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Removes the file of a socket nobody listens on.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let io = |source| BindError::Io { path: path.to_owned(), source };
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_somebody_listens) => Err(BindError::Running { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(io),
        Err(error) => Err(io(error)),
    }
}

/// The socket's file, removed when dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already, or the directory is: either way nobody will find a socket there.
        let _ = std::fs::remove_file(&self.0);
    }
}
