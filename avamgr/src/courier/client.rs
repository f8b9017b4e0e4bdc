//! Asks the courier over its socket, and waits for the answers.

use std::path::Path;
use std::time::Duration;

use avamgr_core::courier::{Reply, Request, Status};
use thiserror::Error;

use super::keep::PROGRAM;
use crate::control::connection::{Connection, Unreachable};

/// For the next word of an answer. Long work says how far it is several times a second.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The courier does not tell its status.
#[derive(Debug, Error)]
pub enum NoStatus {
    /// It cannot be asked.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// It says why not.
    #[error("rules-sync does not do that now: {0}")]
    Refused(String),
    /// It is another program, or of another version.
    #[error("rules-sync answered something else than was asked")]
    Other,
}

/// Asks; the answers are to be received.
///
/// # Errors
/// When it cannot be asked.
pub fn ask(socket: &Path, request: &Request) -> Result<Connection, Unreachable> {
    let mut connection = Connection::open(PROGRAM, socket)?;
    connection.send(request)?;
    Ok(connection)
}

/// How everything stands.
///
/// # Errors
/// When it does not say so.
pub fn status(socket: &Path) -> Result<Status, NoStatus> {
    match ask(socket, &Request::Status)?.receive(PATIENCE)? {
        Reply::Status { status } => Ok(*status),
        Reply::Refused { reason } => Err(NoStatus::Refused(reason)),
        Reply::Differences { .. } | Reply::Kept { .. } | Reply::Progress { .. } | Reply::Done { .. } => {
            Err(NoStatus::Other)
        }
    }
}
