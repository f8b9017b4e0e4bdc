//! CONTROL: the socket on which operators ask and steer.
//!
//! [`ControlServer`] has a thread of its own with ordinary scheduling: anybody on this machine may ask, and what they ask
//! must not take time from those who keep addresses alive. One task per client, so a slow or dead reader stalls nobody but
//! itself; [`seats`] limits what an account may have and ask. The kernel says who calls; [`policy`] decides what they may
//! do. A command goes to the decision as an input, the events it causes and its last word come back through the
//! [`outbox`]. The decision never waits for a client.

mod client;
pub mod connection;
pub mod exchange;
pub mod outbox;
pub mod policy;
pub mod seats;
mod shelf;
pub(crate) mod wording;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use avamgr_core::config::Config;
use avamgr_core::control::frame::{MAX_REPLY_BYTES, encode};
use avamgr_core::control::{Answer, Reply, Status};
use avamgr_core::courier::Watched;
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::control::client::Client;
pub use crate::control::outbox::{Answers, Outbox};
pub use crate::control::policy::Policy;
use crate::control::policy::Trusted;
use crate::control::seats::Seats;
use crate::control::shelf::Shelf;
use crate::history::History;
use crate::inputs::Inputs;
use crate::scribe::Scribe;
use crate::upgrade;

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
    /// How the program stands that keeps the rules the same; `None` = there is none to run.
    pub rules: watch::Receiver<Option<Arc<Watched>>>,
    /// The config in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Past events, and live ones.
    pub history: Arc<History>,
    /// Writes down what is ordered of others than the decision.
    pub scribe: Scribe,
    /// Where orders to read the config file again go.
    pub reload: mpsc::Sender<Reload>,
    /// Where the program of an upgrade is looked at first.
    pub upgrade: mpsc::Sender<upgrade::Order>,
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
        let lock = claim(path)?;
        remove_stale(path)?;
        let listener = StdListener::bind(path).map_err(io)?;
        let file = SocketFile { path: path.to_owned(), _lock: lock };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        Ok(Self { listener, file, policy })
    }

    /// Serves clients on a thread of its own, until what this returns is dropped.
    pub fn start(self, ports: Ports) -> io::Result<Serving> {
        let runtime = runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("control".to_owned()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    Err(error) = self.serve(ports) => {
                        tracing::error!(
                            %error,
                            "the control socket cannot be served any more: restart the daemon to steer it"
                        );
                    }
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Serving { stop: Some(stop), thread: Some(thread) })
    }

    /// Serves clients until the future is dropped; returns only when the socket cannot be waited for at all.
    pub async fn serve(self, ports: Ports) -> io::Result<()> {
        let Self { listener, file, policy } = self;
        let _removed_at_the_end = file;
        let listener = UnixListener::from_std(listener)?;
        let (seats, shelf) = (Seats::default(), Arc::new(Shelf::default()));
        let mut clients = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let caller = policy.identify(&stream, Trusted::by(&ports.config.borrow()));
                        match seats.seat(&policy, &caller) {
                            Some(seat) => {
                                let client = Client::new(stream, caller, seat, ports.clone(), Arc::clone(&shelf));
                                clients.spawn(client.serve());
                            }
                            None => turn_away(stream),
                        }
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

/// Tells a client that there is no room, and forgets it at once: an empty socket buffer takes one line.
fn turn_away(stream: UnixStream) {
    let reason = "too many clients: close some (`history --follow`, `status --watch`)".to_owned();
    if let (Ok(line), Ok(mut stream)) = (encode(&Reply::Error { reason }, MAX_REPLY_BYTES), stream.into_std()) {
        let _ = stream.write_all(&line);
    }
}

/// The thread that serves; dropping this ends it and removes the socket.
#[derive(Debug)]
pub struct Serving {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was told when it happened.
            let _ = thread.join();
        }
    }
}

/// Makes sure that of two daemons that start at the same moment one has the socket: each would find it stale, and the
/// second would remove the first one's. The kernel forgets the lock when its holder dies, the file may stay.
fn claim(path: &Path) -> Result<File, BindError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let lock = options.open(&name).map_err(|source| BindError::Io { path: PathBuf::from(name), source })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(BindError::Running { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(BindError::Io { path: path.to_owned(), source }),
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

/// The socket's file, removed when dropped; the right to it goes after that.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    _lock: File,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already, or the directory is: either way nobody will find a socket there.
        let _ = std::fs::remove_file(&self.path);
    }
}
