//! What is left of a unit in its control group: systemd calls a unit inactive or failed also when processes of it remain.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use tokio::time::timeout;

use crate::process::aside::Aside;

/// Where the kernel shows control groups.
const ROOT: &str = "/sys/fs/cgroup";

/// The kernel answers within microseconds, or hangs.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// Where systemd's own hierarchy is below the root: alone (v2), or beside those of the controllers (hybrid).
const UNIFIED: [&str; 2] = ["", "unified"];

/// The same in v1, which does not say whether a group is populated.
const LEGACY: &str = "systemd";

/// The kernel's control groups.
#[derive(Clone, Debug)]
pub(super) struct ControlGroups {
    root: PathBuf,
    looks: Aside,
}

impl Default for ControlGroups {
    fn default() -> Self {
        Self::at(PathBuf::from(ROOT))
    }
}

impl ControlGroups {
    pub(super) fn at(root: PathBuf) -> Self {
        Self { root, looks: Aside::default() }
    }

    /// The first of these groups that still holds processes. They are paths as systemd says them; empty = no group.
    pub(super) async fn populated(&self, groups: [String; 2]) -> io::Result<Option<PathBuf>> {
        let root = self.root.clone();
        let look = self.looks.run(move || {
            let named = groups.iter().filter(|group| !group.is_empty());
            named.map(|group| populated(&root, group)).find(|found| !matches!(found, Ok(None))).unwrap_or(Ok(None))
        });
        timeout(LOOK_TIME, look).await.map_err(|_| io::ErrorKind::TimedOut)?.map_err(io::Error::other)?
    }
}

/// Where a unit's control group still holds processes. May block.
fn populated(root: &Path, group: &str) -> io::Result<Option<PathBuf>> {
    let below = |hierarchy: &str| root.join(hierarchy).join(group.trim_start_matches('/'));
    for path in UNIFIED.map(below) {
        let events = unless_gone(fs::read_to_string(path.join("cgroup.events")))?.unwrap_or_default();
        if events.lines().any(|line| line == "populated 1") {
            return Ok(Some(path));
        }
    }
    let path = below(LEGACY);
    Ok(any_process(&path)?.then_some(path))
}

/// The processes directly in a group, as far as they can be read.
pub(super) fn processes(path: &Path) -> Vec<i32> {
    let pids = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    pids.lines().filter_map(|pid| pid.parse().ok()).collect()
}

/// Whether there is a process in this group or in one below it.
fn any_process(path: &Path) -> io::Result<bool> {
    let own = unless_gone(fs::read_to_string(path.join("cgroup.procs")))?.unwrap_or_default();
    if !own.trim().is_empty() {
        return Ok(true);
    }
    let Some(entries) = unless_gone(fs::read_dir(path))? else { return Ok(false) };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() && any_process(&entry.path())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A group that does not exist, or that went away while it was read, holds nothing.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const GROUP: &str = "/system.slice/dre.service";

    /// What is found where only this file exists, as a path below the root; empty = nothing.
    fn with(file: &str, content: &str) -> PathBuf {
        let root = TempDir::new().unwrap();
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let found = populated(root.path(), GROUP).unwrap();
        found.map(|found| found.strip_prefix(root.path()).unwrap().to_owned()).unwrap_or_default()
    }

    #[test]
    fn a_group_is_populated_in_every_kind_of_hierarchy() {
        for (file, content, group) in [
            ("system.slice/dre.service/cgroup.events", "populated 1\nfrozen 0\n", "system.slice/dre.service"),
            ("unified/system.slice/dre.service/cgroup.events", "populated 1\n", "unified/system.slice/dre.service"),
            ("systemd/system.slice/dre.service/cgroup.procs", "12\n", "systemd/system.slice/dre.service"),
            ("systemd/system.slice/dre.service/below/cgroup.procs", "12\n", "systemd/system.slice/dre.service"),
        ] {
            assert_eq!(with(file, content), PathBuf::from(group), "{file}");
        }
    }

    #[test]
    fn an_empty_group_and_one_that_is_not_there_hold_nothing() {
        for (file, content) in [
            ("system.slice/dre.service/cgroup.events", "populated 0\nfrozen 0\n"),
            ("systemd/system.slice/dre.service/cgroup.procs", ""),
            ("system.slice/other.service/cgroup.events", "populated 1\n"),
        ] {
            assert_eq!(with(file, content), PathBuf::new(), "{file}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_called_empty() {
        let root = TempDir::new().unwrap();
        fs::create_dir_all(root.path().join("system.slice/dre.service/cgroup.events")).unwrap();
        assert!(populated(root.path(), GROUP).is_err());
    }
}
