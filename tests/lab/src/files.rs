//! The files of a host: what two machines would not share, two hosts of the lab do not share either.
//!
//! Each host has a directory of its own in the lab's scratch directory, and parts of it are mounted over the places
//! where programs keep state. Seen from outside they are ordinary files, so a story can write a config or read a log
//! without entering the host. `/tmp` and the programs of the machine stay shared.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use crate::namespaces::Namespaces;

/// Places that start empty, and are emptied by a reboot if `volatile`.
struct Fresh {
    inside: &'static str,
    outside: &'static str,
    volatile: bool,
}

const FRESH: [Fresh; 2] = [
    Fresh { inside: "/run", outside: "run", volatile: true },
    Fresh { inside: "/var/log", outside: "log", volatile: false },
];

/// Places of which only some entries are private; the others lead to the machine's own.
struct Mixed {
    inside: &'static str,
    outside: &'static str,
    private: &'static [&'static str],
}

const MIXED: [Mixed; 2] = [
    Mixed {
        inside: "/etc",
        outside: "etc",
        private: &[
            "avamgr",
            "default",
            "init.d",
            "sysconfig",
            "profile.d",
            "keepalived",
            "freeDiameter",
            "hosts",
            "hostname",
        ],
    },
    Mixed { inside: "/var/lib", outside: "lib", private: &["avamgr", "keepalived"] },
];

/// `/dev` with a syslog socket of the host's own, for hosts that ask for it.
const DEVICES: Mixed = Mixed { inside: "/dev", outside: "dev", private: &["log"] };

/// The private files of one host.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// The host's directory as seen from outside.
    pub(crate) dir: PathBuf,
    /// Whether the host has a `/dev/log` of its own.
    pub(crate) own_syslog: bool,
}

impl Files {
    /// Puts the private files in place; called at each boot.
    pub(crate) fn mount(&self, namespaces: &Namespaces) -> io::Result<()> {
        for fresh in &FRESH {
            let outside = self.dir.join(fresh.outside);
            if fresh.volatile && outside.exists() {
                fs::remove_dir_all(&outside)?;
            }
            fs::create_dir_all(&outside)?;
        }
        fs::create_dir_all(self.dir.join("run/lock"))?;
        for mixed in self.mixed() {
            fill(&self.dir, mixed)?;
        }
        namespaces.in_all(|| self.mount_inside())
    }

    /// Where a path inside the host is found from outside. Shared paths are the same on both sides.
    pub(crate) fn outside(&self, inside: &Path) -> PathBuf {
        let inside =
            inside.strip_prefix("/var/run").map_or_else(|_| inside.to_owned(), |rest| Path::new("/run").join(rest));
        for fresh in &FRESH {
            if let Ok(rest) = inside.strip_prefix(fresh.inside) {
                return self.dir.join(fresh.outside).join(rest);
            }
        }
        for mixed in self.mixed() {
            if let Ok(rest) = inside.strip_prefix(mixed.inside)
                && rest.iter().next().is_some_and(|first| mixed.private.iter().any(|name| first == *name))
            {
                return self.dir.join(mixed.outside).join(rest);
            }
        }
        inside
    }

    fn mixed(&self) -> impl Iterator<Item = &'static Mixed> {
        MIXED.iter().chain(self.own_syslog.then_some(&DEVICES))
    }

    /// Runs in the host's mounts.
    fn mount_inside(&self) -> io::Result<()> {
        for mixed in self.mixed() {
            bind(Path::new(mixed.inside), &lower(&self.dir, mixed))?;
            bind(&self.dir.join(mixed.outside), Path::new(mixed.inside))?;
        }
        for fresh in &FRESH {
            bind(&self.dir.join(fresh.outside), Path::new(fresh.inside))?;
        }
        mount_sys()
    }
}

/// Shows the host's own interfaces in `/sys`; where that is not permitted, shows nothing rather than the machine's.
fn mount_sys() -> io::Result<()> {
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("sysfs"), "/sys", Some("sysfs"), safe, None::<&str>)
        .or_else(|_| mount(Some("tmpfs"), "/sys", Some("tmpfs"), safe, None::<&str>))
        .map_err(|errno| named(errno.into(), "mount /sys", Path::new("/sys")))
}

fn bind(from: &Path, over: &Path) -> io::Result<()> {
    mount(Some(from), over, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(|errno| named(errno.into(), "bind over", over))
}

/// Where the machine's own directory stays reachable for the links of a mixed one.
fn lower(dir: &Path, mixed: &Mixed) -> PathBuf {
    dir.join("machine").join(mixed.outside)
}

/// Fills a mixed directory once: private entries as copies, all others as links to the machine's.
fn fill(dir: &Path, mixed: &Mixed) -> io::Result<()> {
    let outside = dir.join(mixed.outside);
    let lower = lower(dir, mixed);
    if outside.exists() {
        return Ok(());
    }
    fs::create_dir_all(&outside)?;
    fs::create_dir_all(&lower)?;
    for entry in fs::read_dir(mixed.inside)? {
        let entry = entry?;
        let name = entry.file_name();
        let target = outside.join(&name);
        if mixed.private.iter().any(|private| name == *private) {
            if entry.file_type()?.is_dir() {
                copy_readable(&entry.path(), &target)?;
            }
        } else if entry.file_type()?.is_symlink() {
            symlink(fs::read_link(entry.path())?, target)?;
        } else {
            symlink(lower.join(&name), target)?;
        }
    }
    Ok(())
}

/// Copies a tree as far as this account may read it: an ordinary account's hosts do without root's secrets.
fn copy_readable(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let Ok(entries) = fs::read_dir(from) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_readable(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &target)?;
        } else if kind.is_file() && fs::File::open(entry.path()).is_ok() {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn named(error: io::Error, step: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{step} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_paths_are_found_outside_and_shared_ones_stay() {
        let files = Files { dir: PathBuf::from("/scratch/a"), own_syslog: false };
        let outside = |path: &str| files.outside(Path::new(path)).display().to_string();
        assert_eq!(outside("/etc/avamgr/avamgr.toml"), "/scratch/a/etc/avamgr/avamgr.toml");
        assert_eq!(outside("/var/run/x.pid"), "/scratch/a/run/x.pid");
        assert_eq!(outside("/var/lib/avamgr/state"), "/scratch/a/lib/avamgr/state");
        assert_eq!(outside("/etc/passwd"), "/etc/passwd");
        assert_eq!(outside("/var/lib/dpkg"), "/var/lib/dpkg");
        assert_eq!(outside("/dev/log"), "/dev/log");
    }
}
