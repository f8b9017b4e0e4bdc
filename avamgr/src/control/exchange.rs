//! One question and its answer on a control socket, for programs that must not wait in a thread: the daemon that asks the courier,
//! the courier and the web page that ask the daemon.

use std::io;

use avamgr_core::control::frame::{Lines, MAX_REQUEST_BYTES, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Bytes read at once.
const PIECE: usize = 16 * 1024;

/// Asks, and waits for the next document. Sets no limit to the time.
///
/// # Errors
/// When the connection breaks or ends, or what comes is no document of this kind.
pub async fn exchange<Q: Serialize, R: DeserializeOwned>(
    stream: &mut UnixStream,
    lines: &mut Lines,
    request: &Q,
) -> io::Result<R> {
    let request = encode(request, MAX_REQUEST_BYTES).map_err(io::Error::other)?;
    stream.write_all(&request).await?;
    next(stream, lines).await
}

/// Waits for the next document of an answer that has many. Sets no limit to the time.
///
/// # Errors
/// When the connection breaks or ends, or what comes is no document of this kind.
pub async fn next<R: DeserializeOwned>(stream: &mut UnixStream, lines: &mut Lines) -> io::Result<R> {
    let mut piece = vec![0; PIECE];
    loop {
        if let Some(line) = lines.next_line() {
            return line.and_then(|line| decode(&line)).map_err(io::Error::other);
        }
        match stream.read(&mut piece).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => lines.push(piece.get(..read).unwrap_or_default()),
        }
    }
}
