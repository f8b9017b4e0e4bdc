//! The directory of everything a lab writes.
//!
//! It goes with its lab. A lab that is killed cannot tidy up, so the next one does: a directory whose lock nobody holds
//! is nobody's.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

use crate::error::{Context, Result};

/// Short, because a control socket below it must stay within the 107 bytes of its address.
const PREFIX: &str = "avlab-";

const LOCK: &str = "lock";

/// A directory that every host may enter.
#[derive(Debug)]
pub struct Scratch {
    dir: TempDir,
    _lock: Flock<File>,
}

impl Scratch {
    /// Makes one below `dir`, and removes those whose lab is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn below(dir: &Path) -> Result<Self> {
        sweep(dir);
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(dir);
        let made = made.on("lab", format!("make a scratch directory in {}", dir.display()))?;
        // Services that give up root must still reach their files.
        let open = fs::set_permissions(made.path(), fs::Permissions::from_mode(0o755));
        open.on("lab", "open the scratch directory")?;
        let lock = lock_new(made.path()).on("lab", "lock the scratch directory")?;
        Ok(Self { dir: made, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// The lock appears under its name only when it is held, or a sweeping lab might take it for a dead one's.
fn lock_new(dir: &Path) -> io::Result<Flock<File>> {
    let unnamed = dir.join("lock.new");
    let lock = Flock::lock(File::create(&unnamed)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    fs::rename(unnamed, dir.join(LOCK))?;
    Ok(lock)
}

/// Removes the directories of labs that were killed. What cannot be removed, say another account's, stays.
fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(LOCK)) else {
            continue;
        };
        if Flock::lock(lock, FlockArg::LockExclusiveNonblock).is_ok() {
            // A leftover is a nuisance and no reason to fail.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
