//! What is asked of the daemon for one viewer alone, as opposed to what all of them see ([`crate::daemon`]): each question on a
//! connection of its own, and not many at once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use avamgr::control::exchange::{exchange, next};
use avamgr_core::control::frame::{Lines, MAX_REPLY_BYTES};
use avamgr_core::control::{HistoryEntry, Reply, Request};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::daemon::words;

/// Answers under way at once. One costs the daemon a connection and a tenth of a second at most, and us the memory for what its
/// reader has not taken yet.
const AT_ONCE: usize = 4;
/// How long one waits for its turn.
const TURN: Duration = Duration::from_secs(3);
/// Exports under way at once, each as long as its reader takes.
const EXPORTS: usize = 2;
/// For the next piece of an answer; a disk that hangs is told sooner than that.
const PATIENCE: Duration = Duration::from_secs(8);

/// Whom to ask, and room for answers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Questions {
    socket: Arc<Path>,
    room: Arc<Semaphore>,
    exports: Arc<Semaphore>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// Too many ask.
    Full,
    /// The daemon cannot be asked, in words.
    Unknown(String),
    /// It says no, in words.
    Refused(String),
}

impl NoAnswer {
    /// What came is no answer to what was asked.
    pub(crate) fn other() -> Self {
        Self::Unknown("the daemon answered something else than was asked".to_owned())
    }
}

/// An answer, piece by piece.
#[derive(Debug)]
pub(crate) struct Answer {
    socket: Arc<Path>,
    stream: UnixStream,
    lines: Lines,
    first: Option<Reply>,
    /// Its place among those under way.
    _room: OwnedSemaphorePermit,
}

impl Questions {
    pub(crate) fn to(socket: PathBuf) -> Self {
        Self {
            socket: socket.into(),
            room: Arc::new(Semaphore::new(AT_ONCE)),
            exports: Arc::new(Semaphore::new(EXPORTS)),
        }
    }

    /// Asks. What the daemon refuses at once is an error already.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Answer, NoAnswer> {
        let room = timeout(TURN, Arc::clone(&self.room).acquire_owned()).await;
        let room = room.ok().and_then(Result::ok).ok_or(NoAnswer::Full)?;
        let unknown = |error: io::Error| NoAnswer::Unknown(words(&self.socket, &error));
        let mut stream = UnixStream::connect(&self.socket).await.map_err(unknown)?;
        let mut lines = Lines::new(MAX_REPLY_BYTES);
        let first = timeout(PATIENCE, exchange(&mut stream, &mut lines, request)).await;
        let first = first.map_err(|elapsed| unknown(elapsed.into()))?.map_err(unknown)?;
        if let Reply::Error { reason } = first {
            return Err(NoAnswer::Refused(reason));
        }
        Ok(Answer { socket: Arc::clone(&self.socket), stream, lines, first: Some(first), _room: room })
    }

    /// A place for an export, until its reader has all of it.
    pub(crate) fn export(&self) -> Result<OwnedSemaphorePermit, NoAnswer> {
        Arc::clone(&self.exports).try_acquire_owned().map_err(|_full| NoAnswer::Full)
    }

    /// Asks, and waits for all of the answer.
    pub(crate) async fn ask_all(&self, request: &Request) -> Result<Vec<HistoryEntry>, NoAnswer> {
        let mut answer = self.ask(request).await?;
        let mut entries = Vec::new();
        while let Some(entry) = answer.next().await? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

impl Answer {
    /// The next thing the daemon says, other than that it is still at it.
    pub(crate) async fn reply(&mut self) -> Result<Reply, NoAnswer> {
        loop {
            let reply = match self.first.take() {
                Some(reply) => reply,
                None => {
                    let unknown = |error: io::Error| NoAnswer::Unknown(words(&self.socket, &error));
                    let reply = timeout(PATIENCE, next(&mut self.stream, &mut self.lines)).await;
                    reply.map_err(|elapsed| unknown(elapsed.into()))?.map_err(unknown)?
                }
            };
            match reply {
                Reply::Pending { .. } => {}
                Reply::Error { reason } => return Err(NoAnswer::Unknown(reason)),
                Reply::Status { .. }
                | Reply::Event { .. }
                | Reply::EndOfHistory
                | Reply::Answer { .. }
                | Reply::Config { .. }
                | Reply::Rules { .. } => return Ok(reply),
            }
        }
    }

    /// The next entry of the history; `None` = that was all.
    pub(crate) async fn next(&mut self) -> Result<Option<HistoryEntry>, NoAnswer> {
        match self.reply().await? {
            Reply::Event { entry } => Ok(Some(entry)),
            Reply::EndOfHistory => Ok(None),
            Reply::Status { .. }
            | Reply::Pending { .. }
            | Reply::Answer { .. }
            | Reply::Config { .. }
            | Reply::Rules { .. }
            | Reply::Error { .. } => Err(NoAnswer::other()),
        }
    }
}
