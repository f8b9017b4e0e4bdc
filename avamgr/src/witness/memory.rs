//! What a witness must know after a restart: how long the longest promise may last that it has made.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// The file in the state directory.
const FILE: &str = "witness.json";

#[derive(Serialize, Deserialize)]
struct Document {
    longest_promise_micros: u64,
}

/// The file and what is in it.
#[derive(Debug)]
pub(super) struct Memory {
    directory: PathBuf,
    longest: Duration,
}

impl Memory {
    /// Reads what the last run left. Nothing yet means that it promised nothing.
    pub(super) fn open(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let path = directory.join(FILE);
        let longest = match fs::read_to_string(&path) {
            Ok(text) => {
                let damaged =
                    || format!("{} is damaged: remove it, and wait a minute before the next start", path.display());
                let document: Document = serde_json::from_str(&text).with_context(damaged)?;
                Duration::from_micros(document.longest_promise_micros)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Duration::ZERO,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        Ok(Self { directory: directory.to_owned(), longest })
    }

    /// The longest promise that may have been made.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// Remembers a longer one. When it returns without an error, the next run will know of it.
    pub(super) fn remember(&mut self, longest: Duration) -> Result<()> {
        if longest <= self.longest {
            return Ok(());
        }
        let micros = u64::try_from(longest.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX);
        let text = serde_json::to_string(&Document { longest_promise_micros: micros })?;
        let (new, path) = (self.directory.join("witness.json.new"), self.directory.join(FILE));
        let mut file = File::create(&new).with_context(|| format!("cannot create {}", new.display()))?;
        file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", new.display()))?;
        file.sync_all().with_context(|| format!("cannot flush {}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("cannot replace {}", path.display()))?;
        File::open(&self.directory).and_then(|directory| directory.sync_all()).context("cannot flush the directory")?;
        self.longest = longest;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_promise_survives_a_restart_and_never_shrinks() {
        let directory = tempfile::tempdir().unwrap();
        let mut memory = Memory::open(directory.path()).unwrap();
        assert_eq!(memory.longest(), Duration::ZERO);
        memory.remember(Duration::from_micros(325_001)).unwrap();
        memory.remember(Duration::from_millis(1)).unwrap();
        assert_eq!(Memory::open(directory.path()).unwrap().longest(), Duration::from_micros(325_001));
    }

    #[test]
    fn a_damaged_file_is_no_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), "{").unwrap();
        assert!(format!("{:#}", Memory::open(directory.path()).unwrap_err()).contains("damaged"));
    }
}
