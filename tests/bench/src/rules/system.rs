//! What the bench asks of a program that replicates a directory from node `a` to node `b`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use avamgr_lab::{Host, Process};

/// The nodes' names and addresses, on the link between them.
pub(crate) const NODES: [&str; 2] = ["a", "b"];
pub(crate) const ADDRESSES: [&str; 2] = ["10.78.1.1", "10.78.1.2"];
pub(crate) const INTERFACE: &str = "hb1";

/// Where a system is put.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// Both nodes; changes are made on the first.
    pub(crate) hosts: [Host; 2],
    /// The directory of rules of each.
    pub(crate) rules: [PathBuf; 2],
}

impl Site {
    /// A place of a node for files that are no rules, on the same file system as them.
    pub(crate) fn private(&self, node: usize, name: &str) -> PathBuf {
        self.hosts[node].dir().join(name)
    }
}

/// A program, or several, under test.
pub(crate) trait System {
    /// Its name for the tables.
    fn name(&self) -> &'static str;

    /// What it says of its version.
    fn version(&self) -> String;

    /// Beyond so many changes in one go it endangers the machine it is measured on.
    fn most_changes(&self) -> usize {
        usize::MAX
    }

    /// Whether the targets are meant for it.
    fn is_ours(&self) -> bool {
        false
    }

    /// Writes its config and starts it on both nodes; returns the main process of each.
    fn start(&self, site: &Site) -> Result<[Process; 2]>;

    /// Ends it. What does not end by itself is killed with its node.
    fn stop(&self, daemons: &[Process; 2]) {
        for daemon in daemons {
            // One that has ended already needs no order.
            let _ = daemon.terminate();
        }
    }
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let failed = || format!("write {}", path.display());
    std::fs::write(path, text).with_context(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(failed)
}

/// The first line a program prints when asked for its version.
pub(crate) fn version_of(program: &Path, option: &str) -> Result<String> {
    let failed = || format!("run {} {option}", program.display());
    let output = Command::new(program).arg(option).output().with_context(failed)?;
    let both = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&both).lines().next().unwrap_or_default().trim().to_owned())
}
