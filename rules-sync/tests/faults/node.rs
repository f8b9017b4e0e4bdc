//! A node: its tree, its program, and what can be asked of it.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use avamgr::courier::client;
use avamgr_core::courier::{KeptStatus, Status};
use avamgr_lab::{Host, Process, wait_until};

use crate::tree::{Snapshot, snapshot};

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_rules-sync");

/// For what takes a moment on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A node.
pub(crate) struct Node {
    pub(crate) host: Host,
    pub(crate) name: String,
    /// Set for the program.
    pub(crate) environment: Mutex<Vec<(String, String)>>,
    process: Mutex<Option<Process>>,
    disk: PathBuf,
}

impl Node {
    pub(crate) fn new(host: Host, disk: Option<PathBuf>) -> Self {
        let (name, disk) = (host.name().to_owned(), disk.unwrap_or_else(|| host.dir().join("disk")));
        Self { host, name, environment: Mutex::default(), process: Mutex::default(), disk }
    }

    /// Where its rules and its state are: a file system of its own, if a story makes one.
    pub(crate) fn disk(&self) -> &Path {
        &self.disk
    }

    pub(crate) fn rules(&self) -> PathBuf {
        self.disk().join("rules")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.disk().join("state")
    }

    /// A path of its tree.
    pub(crate) fn path(&self, way: impl AsRef<Path>) -> PathBuf {
        self.rules().join(way)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.host.dir().join("rules-sync.toml")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.host.dir().join("keys")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.host.dir().join("sock/rules.sock")
    }

    /// Where its daemon would say who is ACTIVE.
    pub(crate) fn daemon_socket(&self) -> PathBuf {
        self.host.dir().join("daemon.sock")
    }

    /// Sees its mounts.
    pub(crate) fn visit<T: Send>(&self, visit: impl FnOnce() -> io::Result<T> + Send) -> T {
        self.host.enter(visit).unwrap()
    }

    /// Makes its directories.
    pub(crate) fn prepare(&self, owner: Option<u32>) {
        let (rules, sock) = (self.rules(), self.host.dir().join("sock"));
        self.visit(|| {
            fs::create_dir_all(&rules)?;
            fs::create_dir_all(&sock)?;
            chown(&sock, owner, owner)?;
            chown(&rules, owner, owner)
        });
    }

    pub(crate) fn start(&self) {
        let mut command = self.host.command(PROGRAM);
        command.arg("run").arg("--config").arg(self.config()).args(["--node", &self.name]);
        for (key, value) in self.environment.lock().unwrap().iter() {
            command.env(key, value);
        }
        *self.slot() = Some(command.spawn().unwrap());
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn process(&self) -> Process {
        self.slot().clone().unwrap()
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.slot().as_ref().is_some_and(|process| process.ended().unwrap().is_none())
    }

    /// Ends it in peace.
    pub(crate) fn stop(&self) {
        let process = self.process();
        process.terminate().unwrap();
        process.wait(SOON).unwrap();
    }

    /// Ends it, and its rsyncs with it or not, without a word.
    pub(crate) fn kill(&self) {
        let process = self.process();
        process.kill9().unwrap();
        process.wait(SOON).unwrap();
    }

    /// The rsyncs of the node, as seen from here.
    pub(crate) fn rsyncs(&self) -> Vec<i32> {
        let is_rsync = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|it| it.trim() == "rsync");
        self.host.pids().unwrap().into_iter().filter(is_rsync).collect()
    }

    pub(crate) fn status(&self) -> Option<Status> {
        client::status(&self.socket()).ok()
    }

    /// Its status, for whoever looks for what went wrong.
    pub(crate) fn facts(&self) -> String {
        let tree: Vec<_> = self.snapshot().into_keys().take(20).collect();
        let status = self.status().map(|it| serde_json::to_string(&it).unwrap());
        format!("{tree:?}\n{}", status.as_deref().unwrap_or("it does not answer"))
    }

    pub(crate) fn wait_status(&self, what: &str, is_so: impl Fn(&Status) -> bool) {
        let waited =
            wait_until(SOON, format!("{what} on {}", self.name), || self.status().is_some_and(|it| is_so(&it)));
        waited.unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.facts(), self.log()));
    }

    /// Something was said in the notices.
    pub(crate) fn wait_notice(&self, part: &str) {
        self.wait_status(part, |status| status.notices.iter().any(|notice| notice.text.contains(part)));
    }

    /// The program on the command line.
    pub(crate) fn ask(&self, args: &[&str]) -> Output {
        let mut command = self.host.command(PROGRAM);
        command.arg("--config").arg(self.config()).args(["--node", &self.name]).args(args).output().unwrap()
    }

    /// `conflicts` or `trash`.
    pub(crate) fn kept(&self, which: &str) -> Vec<KeptStatus> {
        let output = self.ask(&[which, "list", "--json"]);
        assert!(output.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        let log = self.host.log(PROGRAM);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let rules = self.rules();
        self.visit(|| snapshot(&rules))
    }

    pub(crate) fn read(&self, way: impl AsRef<Path>) -> Option<Vec<u8>> {
        let path = self.path(way);
        self.visit(|| Ok(fs::read(path).ok()))
    }

    /// Waits until a path holds this.
    pub(crate) fn wait_holds(&self, way: impl AsRef<Path>, content: &[u8]) {
        let way = way.as_ref();
        let waited = wait_until(SOON, format!("{way:?} on {}", self.name), || {
            self.read(way).is_some_and(|found| found == content)
        });
        waited.unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.facts(), self.log()));
    }

    /// Waits until a path holds nothing.
    pub(crate) fn wait_gone(&self, way: impl AsRef<Path>) {
        let path = self.path(way);
        let is_gone = || self.visit(|| Ok(fs::symlink_metadata(&path).is_err()));
        let waited = wait_until(SOON, format!("{path:?} to go on {}", self.name), is_gone);
        waited.unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.facts(), self.log()));
    }

    pub(crate) fn chmod(&self, way: impl AsRef<Path>, mode: u32) {
        let path = self.path(way);
        self.visit(|| fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
    }

    pub(crate) fn remove(&self, way: impl AsRef<Path>) {
        let path = self.path(way);
        self.visit(|| if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) });
    }
}
