//! The kernel's own book of every process that has ended on a node: nothing that lives for a millisecond is missed.
//!
//! The book belongs to a PID namespace, so a program inside the node has to open it; this program does it to itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use avamgr_lab::Host;

/// Length of a record, and what is in it (`struct acct_v3` of acct(5)).
const RECORD: usize = 64;
const VERSION: u8 = 3;
const NAME: usize = 48;
/// Forked and never became another program.
const FORKED_ONLY: u8 = 1;

/// The argument by which this program opens a book.
pub(crate) const ORDER: &str = "--open-account";

/// The book of a node.
#[derive(Debug)]
pub(crate) struct Account {
    file: PathBuf,
}

/// What [`ORDER`] asks for, inside the node.
pub(crate) fn open(file: &Path) -> Result<()> {
    nix::unistd::acct::enable(file).with_context(|| format!("process accounting in {}", file.display()))
}

impl Account {
    /// Opens the book of a host; it closes with the host.
    pub(crate) fn of(host: &Host) -> Result<Self> {
        let file = host.dir().join("account");
        fs::write(&file, "").with_context(|| format!("make {}", file.display()))?;
        let us = std::env::current_exe().context("find this program")?;
        let output = host.command(us).arg(ORDER).arg(&file).output()?;
        ensure!(output.status.success(), "{}: {}", host.name(), String::from_utf8_lossy(&output.stderr).trim());
        Ok(Self { file })
    }

    /// How long the book is now, to add up from.
    pub(crate) fn mark(&self) -> usize {
        fs::metadata(&self.file).map_or(0, |found| usize::try_from(found.len()).unwrap_or(0))
    }

    /// How many rsyncs have ended since a mark.
    pub(crate) fn rsyncs_since(&self, mark: usize) -> Result<usize> {
        let book = fs::read(&self.file).with_context(|| format!("read {}", self.file.display()))?;
        Ok(rsyncs(book.get(mark..).unwrap_or_default()))
    }
}

/// Processes that became rsync; forks of one are not counted.
fn rsyncs(book: &[u8]) -> usize {
    let records = book.chunks_exact(RECORD).filter(|record| record[1] & 0x0f == VERSION);
    let became = records.filter(|record| {
        let name = record[NAME..].split(|byte| *byte == 0).next().unwrap_or_default();
        name == b"rsync" && record[0] & FORKED_ONLY == 0
    });
    became.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_became_rsync_is_counted() {
        let record = |name: &str, flag: u8| {
            let mut record = [0u8; RECORD];
            (record[0], record[1]) = (flag, VERSION);
            record[NAME..NAME + name.len()].copy_from_slice(name.as_bytes());
            record
        };
        assert_eq!(rsyncs(&[record("rsync", 0), record("rsync", FORKED_ONLY), record("sh", 0)].concat()), 1);
    }
}
