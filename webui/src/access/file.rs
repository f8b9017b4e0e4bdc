//! The users file as it is now: it is read again when it has changed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use avamgr::private_file::Unfit;
use avamgr::users::{Users, UsersError};

/// What changes with a file.
type Trace = (u64, u64, i64, i64, i64, i64);

/// The file, and what it held last.
#[derive(Debug)]
pub(super) struct UsersFile {
    path: PathBuf,
    known: Option<Known>,
    /// The trouble that the log has already, however often it is met.
    logged: Option<String>,
}

/// What it held, and by what it is told whether that is so still.
#[derive(Debug)]
struct Known {
    trace: Option<Trace>,
    users: Result<Arc<Users>, String>,
}

impl UsersFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, known: None, logged: None }
    }

    /// Everybody; or why nobody is let in.
    pub(super) fn now(&mut self) -> Result<Arc<Users>, String> {
        let trace = self.trace();
        if let Some(known) = self.known.as_ref().filter(|known| known.trace == trace) {
            return known.users.clone();
        }
        let read = Users::read(&self.path).map(Arc::new);
        // What could not be read this time may be the next time; what stands there stays.
        let stays = !matches!(read, Err(UsersError::Unfit { why: Unfit::Io { .. }, .. }));
        let users = read.map_err(|error| error.to_string());
        if let Some(why) = users.as_ref().err().filter(|why| self.logged.as_ref() != Some(*why)) {
            tracing::error!("nobody is let in: {why}");
        }
        self.logged = users.as_ref().err().cloned();
        self.known = stays.then(|| Known { trace, users: users.clone() });
        users
    }

    fn trace(&self) -> Option<Trace> {
        let about = fs::metadata(&self.path).ok()?;
        Some((about.dev(), about.ino(), about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec()))
    }
}
