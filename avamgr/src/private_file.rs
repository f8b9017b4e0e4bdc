//! Files that only we may read: keys and passwords. Looked at before they are believed.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use thiserror::Error;

/// A file of more bytes than this is not one of ours.
pub const BYTES_MAX: u64 = 64 * 1024;
/// Everybody but the owner.
pub const OTHERS: u32 = 0o077;

/// Why a file is not used; whoever asked says which one it is, and what to do about it.
#[derive(Debug, Error)]
pub enum Unfit {
    /// It cannot be read.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// Others may read or write it.
    #[error("mode {0:04o} lets others at it")]
    Mode(u32),
    /// It belongs to this user, who is neither root nor we.
    #[error("it belongs to user {0}, who can change it")]
    Owner(u32),
    /// Not a file, or far too long.
    #[error("it is not a regular file of at most {BYTES_MAX} bytes")]
    NotAFile,
}

/// Its text, after a look at who else could read or write it.
///
/// # Errors
/// When it cannot be read, or not by us alone.
pub fn read(path: &Path) -> Result<String, Unfit> {
    let failed = |action| move |source| Unfit::Io { action, source };
    // Not to hang on what is not a file.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed("open it"))?;
    // Of the open file, so that nobody can exchange it after the look.
    let about = file.metadata().map_err(failed("look at it"))?;
    if !about.is_file() || about.len() > BYTES_MAX {
        return Err(Unfit::NotAFile);
    }
    let mode = about.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(Unfit::Mode(mode));
    }
    if about.uid() != 0 && about.uid() != nix::unistd::geteuid().as_raw() {
        return Err(Unfit::Owner(about.uid()));
    }
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(failed("read it"))?;
    Ok(text)
}
