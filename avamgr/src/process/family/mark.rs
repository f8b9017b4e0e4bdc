//! MARK: the name of a resource in the environment of its processes.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::Process;

/// The variable that names the resource in the environment of every process of it.
pub const MARK_VARIABLE: &str = "AVAMGR_RESOURCE";

/// Few environments are larger.
const USUAL_SIZE: usize = 16 * 1024;

/// Names one resource on one node, the same in every life of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(String);

/// Whether a process carries a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bearer {
    Is,
    IsNot,
    /// It goes from one program to the next, and has no environment at this moment.
    MayBe,
}

impl Mark {
    /// The node belongs to the name: two nodes of a cluster may run on one machine and see each other's processes.
    pub fn new(cluster: &str, node: &str, group: &str, resource: &str) -> Self {
        Self(format!("{cluster}/{node}/{group}/{resource}"))
    }

    /// The value of [`MARK_VARIABLE`].
    pub fn value(&self) -> &str {
        &self.0
    }

    /// Who cannot be looked at, or is gone, does not carry it.
    pub(super) fn bearer(&self, pid: i32) -> Bearer {
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let (environment, thread) = match environment(pid, directory) {
            Environment::Known(bytes, thread) => (bytes, thread),
            Environment::Changing => return Bearer::MayBe,
            Environment::None => return Bearer::IsNot,
        };
        let wanted = format!("{MARK_VARIABLE}={self}").into_bytes();
        let is = environment.split(|byte| *byte == 0).any(|variable| variable == wanted) && same_host(&thread);
        if is { Bearer::Is } else { Bearer::IsNot }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a process was started with.
enum Environment {
    /// And the directory of a thread that has it still, in /proc.
    Known(Vec<u8>, PathBuf),
    Changing,
    None,
}

/// The kernel puts a new program's memory in the place of the old one's first, and its environment there later.
fn environment(pid: i32, directory: PathBuf) -> Environment {
    let found = read_at_once(&directory).unwrap_or_default();
    if !found.is_empty() {
        return Environment::Known(found, directory);
    }
    match Process::read(pid) {
        Some(process) if process.alive && process.exiting => environment_of_a_thread(&directory),
        Some(process) if process.alive && process.complete && process.bare => Environment::None,
        Some(process) if process.alive => Environment::Changing,
        Some(_) | None => Environment::None,
    }
}

/// When the first thread has ended the process is asked for in vain, and the others still have everything.
fn environment_of_a_thread(process: &Path) -> Environment {
    let threads = fs::read_dir(process.join("task")).into_iter().flatten().flatten().map(|thread| thread.path());
    let mut environments = threads.filter_map(|thread| Some((read_at_once(&thread).ok()?, thread)));
    let found = environments.find(|(environment, _)| !environment.is_empty());
    found.map_or(Environment::None, |(environment, thread)| Environment::Known(environment, thread))
}

/// In pieces, a file of a process would end where another program begins.
fn read_at_once(thread: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(thread.join("environ"))?;
    let mut bytes = vec![0; USUAL_SIZE];
    let length = file.read(&mut bytes)?;
    bytes.truncate(length);
    if length == USUAL_SIZE {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Whether it lives under the same host name as we do: several hosts of one name may be played on one machine.
fn same_host(thread: &Path) -> bool {
    let host = |thread: &Path| fs::read_link(thread.join("ns/uts")).ok();
    host(Path::new("/proc/self")).is_some_and(|own| host(thread) == Some(own))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn who_has_no_variable_at_all_is_nobodys() {
        let mut child = Command::new("sleep").arg("60").env_clear().spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // It has to get so far first.
        while fs::read(format!("/proc/{pid}/cmdline")).unwrap() != b"sleep\x0060\x00" {
            std::thread::yield_now();
        }
        assert_eq!(Mark::new("c", "n", "g", "r").bearer(pid), Bearer::IsNot);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
