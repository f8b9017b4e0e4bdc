//! What is asked of the daemon for one viewer alone, as opposed to what all of them see ([`crate::daemon`]).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use avamgr::control::exchange::{exchange, next};
use avamgr_core::control::frame::{Lines, MAX_REPLY_BYTES};
use avamgr_core::control::{Reply, Request};
use axum::http::StatusCode;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::problem::Problem;

/// Questions at once: the daemon has few places for viewers.
const AT_ONCE: usize = 4;
/// The daemon says every two seconds that it is still at it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whoever asks. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Questions {
    socket: Arc<Path>,
    room: Arc<Semaphore>,
}

/// A question that is being answered.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    stream: UnixStream,
    lines: Lines,
    first: Option<Reply>,
    _room: SemaphorePermit<'a>,
}

impl Questions {
    pub(crate) fn to(socket: PathBuf) -> Self {
        Self { socket: socket.into(), room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Asks, as soon as there is room for one more question.
    ///
    /// # Errors
    /// When the daemon cannot be asked.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Asked<'_>, Problem> {
        let room = timeout(PATIENCE, self.room.acquire()).await.map(Result::ok).ok().flatten();
        let full = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "many ask at once: ask again").retry_after(2);
        let room = room.ok_or_else(full)?;
        let silent = |error: &io::Error| self.silent(error);
        let mut stream = UnixStream::connect(&*self.socket).await.map_err(|error| silent(&error))?;
        let mut lines = Lines::new(MAX_REPLY_BYTES);
        let first = timeout(PATIENCE, exchange(&mut stream, &mut lines, request)).await;
        let first = first.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|error| silent(&error))?;
        Ok(Asked { stream, lines, first: Some(first), _room: room })
    }

    fn silent(&self, error: &io::Error) -> Problem {
        let why = format!("avamgrd does not answer on {}: {error}", self.socket.display());
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)
    }
}

impl Asked<'_> {
    /// The next thing it says, other than that it is still at it.
    ///
    /// # Errors
    /// When it says nothing more, or refuses.
    pub(crate) async fn next(&mut self) -> Result<Reply, Problem> {
        loop {
            let reply = match self.first.take() {
                Some(reply) => Ok(reply),
                None => timeout(PATIENCE, next(&mut self.stream, &mut self.lines))
                    .await
                    .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into())),
            };
            match reply {
                Ok(Reply::Pending { .. }) => {}
                Ok(Reply::Error { reason }) => return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason)),
                Ok(reply) => return Ok(reply),
                Err(error) => {
                    let why = format!("avamgrd has not said everything: {error}");
                    return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why));
                }
            }
        }
    }
}
