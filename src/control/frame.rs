//! Framing on the control socket: one JSON document a line, encode and decode only.
//!
//! JSON escapes every control character inside strings, so a newline is always the end of a document and a reader that
//! lost its way finds the next one.

use std::collections::VecDeque;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Longest line a client may send: a command with names, nothing else.
pub const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// Longest line the daemon may send: a config or a status with thousands of addresses is a few hundred KiB.
pub const MAX_REPLY_BYTES: usize = 4 * 1024 * 1024;

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// It does not end within the limit.
    #[error("line longer than {max} bytes")]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// It is not a document of the expected kind.
    #[error("not understood: {reason}")]
    Malformed {
        /// What the parser says.
        reason: String,
    },
}

/// One document as a line with its newline.
pub fn encode<T: Serialize>(document: &T, max: usize) -> Result<Vec<u8>, FrameError> {
    let mut line = serde_json::to_vec(document).map_err(malformed)?;
    if line.len() > max {
        return Err(FrameError::TooLong { max });
    }
    line.push(b'\n');
    Ok(line)
}

/// The document of one line, with or without its newline.
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(line).map_err(malformed)
}

/// Cuts a stream of bytes into lines, whatever pieces it comes in. Never holds more than one line's limit plus the last
/// piece; a line beyond the limit is reported once and skipped to its end.
#[derive(Clone, Debug)]
pub struct Lines {
    max: usize,
    partial: Vec<u8>,
    /// The rest of a line that was too long is still coming.
    skipping: bool,
    ready: VecDeque<Result<Vec<u8>, FrameError>>,
}

impl Lines {
    /// For lines of at most `max` bytes, the newline not counted.
    pub fn new(max: usize) -> Self {
        Self { max, partial: Vec::new(), skipping: false, ready: VecDeque::new() }
    }

    /// Takes the next piece of the stream.
    pub fn push(&mut self, mut piece: &[u8]) {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = piece.split_at(end);
            self.extend(line);
            self.finish();
            piece = &rest[1..];
        }
        self.extend(piece);
    }

    /// The next complete line without its newline, or the report of one that was too long. Empty lines are passed over.
    pub fn next_line(&mut self) -> Option<Result<Vec<u8>, FrameError>> {
        self.ready.pop_front()
    }

    fn extend(&mut self, piece: &[u8]) {
        if self.skipping {
            return;
        }
        if self.partial.len().saturating_add(piece.len()) > self.max {
            self.partial = Vec::new();
            self.skipping = true;
            self.ready.push_back(Err(FrameError::TooLong { max: self.max }));
            return;
        }
        self.partial.extend_from_slice(piece);
    }

    fn finish(&mut self) {
        if self.skipping {
            self.skipping = false;
            return;
        }
        let mut line = std::mem::take(&mut self.partial);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if !line.is_empty() {
            self.ready.push_back(Ok(line));
        }
    }
}

fn malformed(error: serde_json::Error) -> FrameError {
    FrameError::Malformed { reason: error.to_string() }
}

#[cfg(test)]
mod tests;
