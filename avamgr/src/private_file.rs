//! Files that only we may read: keys and passwords. Looked at before they are believed.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt as _};
use std::path::{Path, PathBuf};

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
    read_closed(path, OTHERS)
}

/// Its text, where its mode has none of `closed`.
///
/// # Errors
/// When it cannot be read, or somebody else could change it or may what is `closed`.
pub fn read_closed(path: &Path, closed: u32) -> Result<String, Unfit> {
    let failed = |action| move |source| Unfit::Io { action, source };
    // Not to hang on what is not a file.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed("open it"))?;
    // Of the open file, so that nobody can exchange it after the look.
    let about = file.metadata().map_err(failed("look at it"))?;
    if !about.is_file() || about.len() > BYTES_MAX {
        return Err(Unfit::NotAFile);
    }
    let mode = about.mode() & 0o7777;
    if mode & closed != 0 {
        return Err(Unfit::Mode(mode));
    }
    if about.uid() != 0 && about.uid() != nix::unistd::geteuid().as_raw() {
        return Err(Unfit::Owner(about.uid()));
    }
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(failed("read it"))?;
    Ok(text)
}

/// What a file is like that is written.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Its mode, whatever the umask says.
    pub mode: u32,
    /// Owner and group; `None` = ours.
    pub owner: Option<(u32, u32)>,
}

/// Writes a file as a whole: beside it first, then over it. `is_new`: one that somebody else made meanwhile is not overwritten.
///
/// # Errors
/// When the system refuses; the file is as it was then.
pub fn replace(path: &Path, bytes: impl AsRef<[u8]>, access: Access, is_new: bool) -> io::Result<()> {
    // A link to the file stays a link.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut beside = target.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = write_beside(&target, &beside, bytes.as_ref(), access, is_new);
    if written.is_err() {
        // It holds secrets; if it cannot even be removed, the error below is the one that matters.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

fn write_beside(path: &Path, beside: &Path, bytes: &[u8], access: Access, is_new: bool) -> io::Result<()> {
    // Closed until it is who it should be.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    if let Some((uid, gid)) = access.owner {
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    file.set_permissions(Permissions::from_mode(access.mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    if is_new {
        std::fs::hard_link(beside, path)?;
        std::fs::remove_file(beside)?;
    } else {
        std::fs::rename(beside, path)?;
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}
