//! Asks the courier over its socket, and waits for the answers.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use avamgr_core::control::frame::{FrameError, Lines, MAX_REPLY_BYTES, MAX_REQUEST_BYTES, decode, encode};
use avamgr_core::courier::{Reply, Request, Status};
use thiserror::Error;

/// For the next word of an answer. Long work says how far it is several times a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// The courier cannot be asked.
#[derive(Debug, Error)]
pub enum CourierUnreachable {
    /// Nobody listens.
    #[error(
        "rules-sync does not answer on {path}: {reason} (is it running? `rules-sync run`, or the daemon starts it)"
    )]
    Connect {
        /// Its socket.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// The connection broke, or no answer came.
    #[error("rules-sync was asked and has not answered: {0}")]
    Lost(#[from] io::Error),
    /// It says why not.
    #[error("rules-sync does not do that now: {0}")]
    Refused(String),
    /// It is another program, or of another version.
    #[error("rules-sync was not understood: {0}")]
    Answer(#[from] FrameError),
}

/// A connection with one request under way.
#[derive(Debug)]
pub struct Asked {
    stream: UnixStream,
    lines: Lines,
}

/// Asks.
///
/// # Errors
/// When nobody listens.
pub fn ask(socket: &Path, request: &Request) -> Result<Asked, CourierUnreachable> {
    let connect = |reason| CourierUnreachable::Connect { path: socket.to_owned(), reason };
    let mut stream = UnixStream::connect(socket).map_err(connect)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&encode(request, MAX_REQUEST_BYTES)?)?;
    Ok(Asked { stream, lines: Lines::new(MAX_REPLY_BYTES) })
}

/// How everything stands.
///
/// # Errors
/// When it cannot be asked.
pub fn status(socket: &Path) -> Result<Status, CourierUnreachable> {
    match ask(socket, &Request::Status)?.receive()? {
        Reply::Status { status } => Ok(*status),
        Reply::Refused { reason } => Err(CourierUnreachable::Refused(reason)),
        other @ (Reply::Differences { .. } | Reply::Kept { .. } | Reply::Progress { .. } | Reply::Done { .. }) => {
            Err(io::Error::other(format!("it answered {other:?}")).into())
        }
    }
}

impl Asked {
    /// The next answer.
    ///
    /// # Errors
    /// When none comes, or it is none.
    pub fn receive(&mut self) -> Result<Reply, CourierUnreachable> {
        let mut piece = [0; 16 * 1024];
        loop {
            if let Some(line) = self.lines.next_line() {
                return Ok(decode(&line?)?);
            }
            match self.stream.read(&mut piece)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                read => self.lines.push(piece.get(..read).unwrap_or_default()),
            }
        }
    }
}
