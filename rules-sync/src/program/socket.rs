//! The socket on which operators ask and steer. It has a thread of its own: the loop may be busy with thousands of rules.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use avamgr::clock;
use avamgr::control::Policy;
use avamgr::control::policy::{Caller, Level, Trusted};
use avamgr::control::seats::{Seat, Seats};
use avamgr_core::control::frame::{FrameError, Lines, MAX_REPLY_BYTES, MAX_REQUEST_BYTES, decode, encode};
use avamgr_core::courier::{Reply, Request, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::run::Order;

/// A client that asks nothing, or takes no byte, for this long is dropped.
const IDLE: Duration = Duration::from_secs(60);

/// What a client is served with.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) orders: UnboundedSender<Order>,
    pub(super) status: watch::Receiver<Option<Arc<Status>>>,
    /// Members of this group may steer, besides root and our own account.
    pub(super) operators: Option<String>,
}

/// The socket, which is removed at the end.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    listener: Option<StdListener>,
}

impl Socket {
    /// Opens it.
    pub(super) fn bind(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot listen on {}", path.display());
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                bail!("{} exists and is not a socket: remove it or set rules.socket to another path", path.display());
            }
            // The store is locked: whoever has left this one behind runs no more.
            Ok(_) => fs::remove_file(path).with_context(cannot)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(cannot),
        }
        let listener = StdListener::bind(path).with_context(cannot)?;
        fs::set_permissions(path, Permissions::from_mode(0o666)).with_context(cannot)?;
        listener.set_nonblocking(true)?;
        Ok(Self { path: path.to_owned(), listener: Some(listener) })
    }

    /// Serves clients on a thread of its own, as long as the process lives.
    pub(super) fn serve(&mut self, service: Service) -> Result<()> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build()?;
        let serve = move || {
            if let Err(error) = runtime.block_on(accept(listener, service)) {
                tracing::error!("the control socket cannot be served any more: {error}");
            }
        };
        thread::Builder::new().name("control".to_owned()).spawn(serve).context("cannot start a thread")?;
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Gone already: nobody will find it there either way.
        let _ = fs::remove_file(&self.path);
    }
}

async fn accept(listener: StdListener, service: Service) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let (policy, seats) = (Policy::system(), Seats::default());
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a client could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let trusted = Trusted { operators: service.operators.as_deref(), relay: None };
        let caller = policy.identify(&stream, trusted);
        let Some(seat) = seats.seat(&policy, &caller) else {
            turn_away(stream);
            continue;
        };
        let client = Client { stream, caller, seat, service: service.clone(), lines: Lines::new(MAX_REQUEST_BYTES) };
        tokio::spawn(async move {
            // Every way out is an end of the connection; there is nothing to add.
            let _ = client.serve().await;
        });
    }
}

/// Tells a client that there is no room, and forgets it at once: an empty socket buffer takes one line.
fn turn_away(stream: UnixStream) {
    let reason = "too many clients of your account: close some (`status --watch`)".to_owned();
    if let (Ok(line), Ok(mut stream)) = (encode(&Reply::Refused { reason }, MAX_REPLY_BYTES), stream.into_std()) {
        // Whoever does not take it sees that the connection ends.
        let _ = stream.write_all(&line);
    }
}

struct Client {
    stream: UnixStream,
    caller: Caller,
    seat: Seat,
    service: Service,
    lines: Lines,
}

impl Client {
    async fn serve(mut self) -> io::Result<()> {
        let mut piece = vec![0; 4096];
        loop {
            while let Some(line) = self.lines.next_line() {
                tokio::time::sleep(self.seat.turn(clock::now())).await;
                match line.and_then(|line| decode::<Request>(&line)) {
                    Ok(request) => self.answer(request).await?,
                    Err(error) => self.refuse(error).await?,
                }
            }
            match timeout(IDLE, self.stream.read(&mut piece)).await?? {
                0 => return Ok(()),
                read => self.lines.push(piece.get(..read).unwrap_or_default()),
            }
        }
    }

    async fn refuse(&mut self, error: FrameError) -> io::Result<()> {
        self.say(&Reply::Refused { reason: error.to_string() }).await
    }

    async fn answer(&mut self, request: Request) -> io::Result<()> {
        if request == Request::Status {
            let status = self.service.status.borrow().clone();
            let reply = match status {
                Some(status) => Reply::Status { status: Box::new(Status::clone(&status)) },
                None => Reply::Refused { reason: "it has just been started: ask again in a moment".to_owned() },
            };
            return self.say(&reply).await;
        }
        if request.steers() {
            if self.caller.level != Level::Operator {
                let reason = format!(
                    "not permitted for {}: root, the account of rules-sync or a member of the operators' group may",
                    self.caller.who
                );
                return self.say(&Reply::Refused { reason }).await;
            }
            tracing::info!(who = self.caller.who, "control socket: {request:?}");
        }
        let (reply, mut words) = unbounded_channel();
        if self.service.orders.send(Order { request, reply }).is_err() {
            return self.say(&Reply::Refused { reason: "it is stopping".to_owned() }).await;
        }
        while let Some(word) = words.recv().await {
            self.say(&word).await?;
        }
        Ok(())
    }

    async fn say(&mut self, reply: &Reply) -> io::Result<()> {
        let line = encode(reply, MAX_REPLY_BYTES).or_else(|error| {
            encode(&Reply::Refused { reason: format!("the answer is too long: {error}") }, MAX_REPLY_BYTES)
        });
        let line = line.map_err(io::Error::other)?;
        timeout(IDLE, self.stream.write_all(&line)).await?
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as StdStream;

    use avamgr::courier::client;

    use super::*;

    #[test]
    fn a_hundred_clients_that_hang_keep_nobody_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sock");
        let mut socket = Socket::bind(&path).unwrap();
        let ((orders, _queue), (_sender, status)) = (unbounded_channel(), watch::channel(None));
        socket.serve(Service { orders, status, operators: None }).unwrap();
        let hung: Vec<StdStream> = (0..100).map(|_| StdStream::connect(&path).unwrap()).collect();
        let reply = client::ask(&path, &Request::Status).unwrap().receive(client::PATIENCE).unwrap();
        assert!(matches!(reply, Reply::Refused { reason } if reason.contains("just been started")));
        drop(hung);
    }
}
