//! Terms and holds on disk.
//!
//! One small JSON file, replaced as a whole (write, fsync, rename, fsync of the directory), by a thread of its own: a disk
//! that hangs delays the next write and nothing else.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use avamgr_core::cluster::Term;
use avamgr_core::node::{Durable, Input};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::inputs::Inputs;

/// The file in the state directory.
const FILE: &str = "state.json";
/// Names this boot of the kernel: instants of another boot mean nothing.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Why the state cannot be read or written.
#[derive(Debug, Error)]
pub enum StateError {
    /// The system refused.
    #[error("cannot {step} {path}: {source}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The content is not ours.
    #[error(
        "{path} is damaged: {source}; it holds the highest term this node has used. Restore it, or remove it when the other node runs \
         (its terms are learned from there)"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct Document {
    boot_id: String,
    durable: Durable,
}

/// Reads what the last run left; nothing yet is an empty state.
///
/// # Errors
/// When the directory cannot be made or the file cannot be read or is damaged.
pub fn load(directory: &Path) -> Result<Durable, StateError> {
    fs::create_dir_all(directory).map_err(|source| error("create", directory, source))?;
    let path = directory.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Durable::default()),
        Err(source) => return Err(error("read", &path, source)),
    };
    let read = serde_json::from_str(&text).and_then(|document: Document| match document.durable.terms.values().max() {
        Some(term) if *term > Term::MAX => Err(serde_json::Error::custom(format!("no node has ever used term {term}"))),
        Some(_) | None => Ok(document),
    });
    let document = read.map_err(|source| StateError::Damaged { path, source })?;
    let mut durable = document.durable;
    if document.boot_id != boot_id() {
        // The end was an instant of another boot: the machine was down since, the time is over.
        durable.offline = durable.offline.filter(|offline| offline.until.is_none());
    }
    Ok(durable)
}

/// Writes the state so that it is there after a power failure.
///
/// # Errors
/// When any step fails; the old state is then still there, or the new one already.
pub fn store(directory: &Path, durable: &Durable) -> Result<(), StateError> {
    let path = directory.join(FILE);
    let new = directory.join("state.json.new");
    let document = Document { boot_id: boot_id(), durable: durable.clone() };
    let text = serde_json::to_string(&document).unwrap_or_default();
    let mut file = File::create(&new).map_err(|source| error("create", &new, source))?;
    file.write_all(text.as_bytes()).map_err(|source| error("write", &new, source))?;
    file.sync_all().map_err(|source| error("flush", &new, source))?;
    fs::rename(&new, &path).map_err(|source| error("replace", &path, source))?;
    let parent = File::open(directory).map_err(|source| error("open", directory, source))?;
    parent.sync_all().map_err(|source| error("flush", directory, source))
}

/// The thread that writes.
#[derive(Clone, Debug)]
pub struct Writer(Sender<(u64, Durable)>);

impl Writer {
    /// Starts the thread; its answers become inputs.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(directory: PathBuf, inputs: Inputs) -> io::Result<Self> {
        let (sender, orders) = channel();
        thread::Builder::new().name("disk".into()).spawn(move || write_all(&directory, &orders, &inputs))?;
        Ok(Self(sender))
    }

    /// Orders a write; answered by `Input::Persisted`. The core has at most one under way.
    pub fn write(&self, order: u64, durable: Durable) {
        // The thread ends only with the daemon.
        let _ = self.0.send((order, durable));
    }
}

fn write_all(directory: &Path, orders: &Receiver<(u64, Durable)>, inputs: &Inputs) {
    while let Ok((order, durable)) = orders.recv() {
        let result = store(directory, &durable).map_err(|error| error.to_string());
        inputs.send_blocking(Input::Persisted { order, result });
    }
}

fn boot_id() -> String {
    fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned()).unwrap_or_default()
}

fn error(step: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError::Io { step, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use avamgr_core::cluster::{GroupId, Term};
    use avamgr_core::node::action::Offline;
    use avamgr_core::time::Instant;

    use super::*;

    fn sample() -> Durable {
        let mut durable = Durable { maintenance: true, ..Durable::default() };
        durable.terms.insert(GroupId(0), Term(7));
        durable.offline = Some(Offline { until: Some(Instant::from_millis(5)) });
        durable
    }

    #[test]
    fn what_was_stored_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        store(directory.path(), &sample()).unwrap();
        assert_eq!(load(directory.path()).unwrap(), sample());
    }

    #[test]
    fn the_end_of_an_offline_hold_does_not_outlive_the_boot() {
        let directory = tempfile::tempdir().unwrap();
        store(directory.path(), &sample()).unwrap();
        let path = directory.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap().replace(&boot_id(), "another boot");
        fs::write(&path, text).unwrap();
        assert_eq!(load(directory.path()).unwrap(), Durable { offline: None, ..sample() });
    }

    #[test]
    fn nothing_there_is_an_empty_state_and_damage_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(load(directory.path()).unwrap(), Durable::default());
        fs::write(directory.path().join(FILE), "{").unwrap();
        assert!(load(directory.path()).unwrap_err().to_string().contains("is damaged"));
        store(directory.path(), &Durable { terms: [(GroupId(0), Term(u64::MAX))].into(), ..sample() }).unwrap();
        assert!(load(directory.path()).unwrap_err().to_string().contains("no node has ever used"));
    }
}
