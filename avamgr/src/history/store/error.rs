//! What is wrong with a store.

use std::io;

use thiserror::Error;

/// Why a store cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// What is in the file is none, or not all of one: another try will find the same.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// Not now: no space, no permission, somebody else has it open.
    #[error("{0}")]
    Unusable(String),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        if is_damage(&error) { Self::Damaged(error.to_string()) } else { Self::Unusable(error.to_string()) }
    }
}

/// What the system says of a file that is shorter than it should be, or is none of ours.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof)
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        let passes = if let redb::Error::Io(error) = &error {
            !is_damage(error)
        } else {
            matches!(
                error,
                redb::Error::DatabaseAlreadyOpen
                    | redb::Error::PreviousIo
                    | redb::Error::DatabaseClosed
                    | redb::Error::LockPoisoned(_)
                    | redb::Error::Unsupported
            )
        };
        if passes { Self::Unusable(error.to_string()) } else { Self::Damaged(error.to_string()) }
    }
}

/// Each call of the library has errors of its own.
macro_rules! from_redb {
    ($($kind:ident),*) => {$(
        impl From<redb::$kind> for StoreError {
            fn from(error: redb::$kind) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}

from_redb!(CommitError, DatabaseError, StorageError, TableError, TransactionError);
