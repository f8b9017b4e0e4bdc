//! A host: a machine as far as its network, files, names and processes go.
//!
//! A [`Host`] is a handle that outlives power cycles; what runs in it does not.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sched::{CloneFlags, setns};

use crate::error::{Context, LabError, Result};
use crate::files::Files;
use crate::holder::Holder;
use crate::namespaces::Namespaces;
use crate::netlink::{Carrier, Netlink, Request, add_address, add_local_prefix, del_address, del_local_prefix, set_up};
use crate::plan::{Cidr, HostKind, HostPlan};
use crate::process::{HostCommand, SharedChild, lock, spawn_error};

/// A host of the lab. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    plan: HostPlan,
    files: Files,
    running: Mutex<Option<Running>>,
}

/// What exists only while the power is on.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) holder: Arc<Holder>,
    pub(crate) netlink: Arc<Netlink>,
    children: Arc<Mutex<Vec<SharedChild>>>,
}

impl Host {
    /// A host without power.
    pub(crate) fn new(plan: HostPlan, dir: PathBuf) -> Self {
        let files = Files { dir, own_syslog: plan.own_syslog };
        Self { inner: Arc::new(Inner { plan, files, running: Mutex::new(None) }) }
    }

    /// Its host name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.plan.name
    }

    /// Whether it is a node of the cluster.
    #[must_use]
    pub fn is_node(&self) -> bool {
        self.inner.plan.kind == HostKind::Node
    }

    /// What it was made from.
    #[must_use]
    pub fn plan(&self) -> &HostPlan {
        &self.inner.plan
    }

    /// Whether it has power.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.slot().is_some()
    }

    /// Prepares a program to be started in the host.
    pub fn command(&self, program: impl AsRef<OsStr>) -> HostCommand {
        HostCommand::new(self.clone(), program.as_ref())
    }

    /// Runs `visit` on a thread that sees the host's network, for instance to open sockets, which stay in it.
    pub fn in_netns<T: Send>(&self, visit: impl FnOnce() -> io::Result<T> + Send) -> Result<T> {
        self.running()?.holder.namespaces().in_net(visit).on(self.name(), "visit its network")
    }

    /// Runs `visit` on a thread that sees the host's network, files and names. It cannot start threads, but processes.
    pub fn enter<T: Send>(&self, visit: impl FnOnce() -> io::Result<T> + Send) -> Result<T> {
        self.running()?.holder.namespaces().in_all(visit).on(self.name(), "enter its namespaces")
    }

    /// Starts a thread for good that sees the host's network. It is the caller's to end; a power-off does not end it.
    pub fn spawn_thread<T: Send + 'static>(
        &self,
        name: &str,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Result<std::thread::JoinHandle<io::Result<T>>> {
        let running = self.running()?;
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                setns(running.holder.namespaces().net(), CloneFlags::CLONE_NEWNET)?;
                drop(running);
                Ok(body())
            })
            .on(self.name(), format!("start thread {name}"))
    }

    /// Its netlink socket.
    pub fn netlink(&self) -> Result<Arc<Netlink>> {
        Ok(self.running()?.netlink)
    }

    /// What one of its interfaces says about its cable.
    pub fn carrier(&self, interface: &str) -> Result<Carrier> {
        let link = self.netlink()?.link(interface).at(self.name(), interface, "look at its carrier")?;
        Ok(link.carrier)
    }

    /// Raises one of its interfaces or takes it down, as its administrator would.
    pub fn set_interface(&self, interface: &str, up: bool) -> Result<()> {
        self.change(interface, if up { "raise it" } else { "take it down" }, |index| vec![set_up(index, up)])
    }

    /// Adds addresses to an interface, in one go.
    pub fn add_addresses(&self, interface: &str, addresses: &[Cidr]) -> Result<()> {
        self.change(interface, "add addresses", |index| {
            addresses.iter().map(|cidr| add_address(index, cidr.ip, cidr.len)).collect()
        })
    }

    /// Removes addresses from an interface, in one go.
    pub fn del_addresses(&self, interface: &str, addresses: &[Cidr]) -> Result<()> {
        self.change(interface, "remove addresses", |index| {
            addresses.iter().map(|cidr| del_address(index, cidr.ip, cidr.len)).collect()
        })
    }

    /// Makes a whole prefix the host's own.
    pub fn add_prefix(&self, interface: &str, prefix: Cidr) -> Result<()> {
        self.change(interface, "own a prefix", |index| vec![add_local_prefix(index, (prefix.ip, prefix.len))])
    }

    /// Gives a prefix up.
    pub fn del_prefix(&self, interface: &str, prefix: Cidr) -> Result<()> {
        self.change(interface, "give a prefix up", |index| vec![del_local_prefix(index, (prefix.ip, prefix.len))])
    }

    /// Whether an address is on any of its interfaces now.
    pub fn has_address(&self, ip: IpAddr) -> Result<bool> {
        let rows = self.netlink()?.addresses().on(self.name(), "list addresses")?;
        Ok(rows.iter().any(|row| row.ip == ip))
    }

    /// Its directory as seen from outside.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.files.dir
    }

    /// Where a path inside the host is found from outside. Shared paths are the same on both sides.
    #[must_use]
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        self.inner.files.outside(inside.as_ref())
    }

    /// Writes a file of the host, with the directories it needs. Only private places may be written.
    pub fn write(&self, inside: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path(inside);
        let failed = |step, source| LabError::File { host: self.name().to_owned(), step, path: path.clone(), source };
        if !path.starts_with(self.dir()) {
            let shared = io::Error::new(io::ErrorKind::PermissionDenied, "this place is shared with the machine");
            return Err(failed("write", shared));
        }
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|source| failed("make the directory of", source))?;
        }
        fs::write(&path, contents).map_err(|source| failed("write", source))
    }

    /// Reads a file of the host.
    pub fn read(&self, inside: &str) -> Result<String> {
        let path = self.path(inside);
        fs::read_to_string(&path).map_err(|source| LabError::File {
            host: self.name().to_owned(),
            step: "read",
            path,
            source,
        })
    }

    /// Where the output of a program goes that is started without a pipe.
    #[must_use]
    pub fn log_path(&self, program: &str) -> PathBuf {
        let name = Path::new(program).file_name().unwrap_or_else(|| OsStr::new("program"));
        self.dir().join("out").join(name).with_extension("log")
    }

    /// What programs of this name have printed.
    #[must_use]
    pub fn log(&self, program: &str) -> String {
        fs::read_to_string(self.log_path(program)).unwrap_or_default()
    }

    /// Hangs every process of the host.
    pub fn freeze(&self) -> Result<()> {
        self.running()?.holder.freeze()
    }

    /// Ends the hang of every process of the host.
    pub fn thaw(&self) -> Result<()> {
        self.running()?.holder.thaw()
    }

    /// The processes of the host as the lab sees them, without the one that holds it.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let holder = self.running()?.holder;
        pids_beside(holder.pid()).on(self.name(), "list its processes")
    }

    pub(crate) fn files(&self) -> &Files {
        &self.inner.files
    }

    pub(crate) fn running(&self) -> Result<Running> {
        self.slot().clone().ok_or_else(|| LabError::PoweredOff { host: self.name().to_owned() })
    }

    pub(crate) fn set_running(&self, holder: Holder, netlink: Netlink) {
        let running = Running { holder: Arc::new(holder), netlink: Arc::new(netlink), children: Arc::default() };
        *self.slot() = Some(running);
    }

    /// Kills everything in the host and waits until it is gone. Its network lives on as long as someone holds it.
    pub(crate) fn kill_all(&self) -> Result<Option<Arc<Holder>>> {
        let Some(running) = self.slot().take() else {
            return Ok(None);
        };
        running.holder.kill()?;
        running.reap_children();
        running.holder.reap()?;
        Ok(Some(running.holder))
    }

    pub(crate) fn spawn_child(&self, program: &str, command: &mut Command) -> Result<SharedChild> {
        let running = self.running()?;
        let child = running
            .holder
            .namespaces()
            .in_all(|| command.spawn())
            .on(self.name(), "start a program")
            .map_err(|error| spawn_error(self.name(), program, error))?;
        let child = Arc::new(Mutex::new(child));
        running.children().push(child.clone());
        Ok(child)
    }

    fn change(&self, interface: &str, step: &str, requests: impl FnOnce(u32) -> Vec<Request>) -> Result<()> {
        let netlink = self.netlink()?;
        let index = netlink.link(interface).at(self.name(), interface, step)?.index;
        netlink.batch(requests(index)).at(self.name(), interface, step)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Running>> {
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    pub(crate) fn namespaces(&self) -> &Namespaces {
        self.holder.namespaces()
    }

    /// The dead children of a host must be waited for before the kernel lets its first process go.
    fn reap_children(&self) {
        for child in self.children().drain(..) {
            // A child that was waited for before says so, which is as good.
            let _ = lock(&child).wait();
        }
    }

    fn children(&self) -> MutexGuard<'_, Vec<SharedChild>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All processes in the PID namespace of `holder`, except itself.
fn pids_beside(holder: i32) -> io::Result<Vec<i32>> {
    let namespace = fs::read_link(format!("/proc/{holder}/ns/pid"))?;
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // Processes end while we look; those of other accounts are not ours to see.
        if pid != holder && fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|link| link == namespace) {
            pids.push(pid);
        }
    }
    pids.sort_unstable();
    Ok(pids)
}
