//! What is so on this host. Reads, changes nothing, and asks the kernel of the own network namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, io};

use avamgr_core::cluster::NodeId;
use avamgr_core::config::{Config, ResourceKind};
use avamgr_core::control::Status;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::{InterfaceFlags, if_nametoindex};

use crate::guard::{Support, earliness, support};
use crate::links::etcd::ask_endpoints;
use crate::netlink::can_destroy_connections;
use crate::preflight::route::{self, Route};
use crate::preflight::{Rules, Tipc, Web, fencing, rules, tipc, web};

/// Everything the judgement needs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Interfaces by name.
    pub interfaces: BTreeMap<String, Interface>,
    /// `net.ipv4.conf.all.arp_filter`.
    pub arp_filter_all: Option<bool>,
    /// `ip_nonlocal_bind` of both families.
    pub nonlocal_bind: bool,
    /// The kernel can destroy connections; `Err` = that cannot be found out.
    pub destroys_connections: Result<bool, String>,
    /// NetworkManager runs.
    pub network_manager: bool,
    /// The key file.
    pub key_file: Option<KeyFile>,
    /// The key file of the witness.
    pub witness_key_file: Option<KeyFile>,
    /// Each endpoint of etcd: its version, or why there is no answer.
    pub etcd: Vec<(String, Result<String, String>)>,
    /// The way to the witness.
    pub witness_route: Option<Result<Route, String>>,
    /// The kernel can hold a lease; `Err` = why not.
    pub guard: Result<Support, String>,
    /// Files with what the fence agents are told and nobody else may know.
    pub fence_secrets: Vec<(PathBuf, KeyFile)>,
    /// The device of the watchdog is there, if one is configured; `Err` = why not.
    pub watchdog: Option<Result<(), String>>,
    /// How much earlier than a lease this kernel may close the addresses.
    pub guard_earliness: Duration,
    /// The way to each address of the arbitrator.
    pub routes: BTreeMap<IpAddr, Result<Route, String>>,
    /// Programs of resources, hooks and devices.
    pub programs: Vec<Program>,
    /// What keeping rules the same needs; `None` = it is not wanted.
    pub rules: Option<Rules>,
    /// TIPC; `None` = no link runs over it.
    pub tipc: Option<Tipc>,
    /// What the page needs; `None` = there is none to be.
    pub web: Option<Web>,
    /// systemd is the init of this host.
    pub systemd: bool,
    /// The group of `daemon.operators` exists; `None` = none is configured.
    pub operators_group: Option<bool>,
    /// Wall clocks of the peers; `None` = no daemon runs that could tell.
    pub clocks: Option<Vec<PeerClock>>,
    /// Who looks.
    pub uid: u32,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Switched on.
    pub up: bool,
    /// Carrier, as far as the driver tells.
    pub running: bool,
    /// Its addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// `net.ipv4.conf.NAME.arp_filter`.
    pub arp_filter: Option<bool>,
}

/// The key file, as far as it can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFile {
    /// It is there.
    Found {
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// It is a plain file.
        is_file: bool,
    },
    /// It is not there.
    Missing,
    /// It cannot be looked at.
    Hidden(String),
}

/// A peer's wall clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerClock {
    /// The peer.
    pub node: String,
    /// Its clock minus ours; `None` = not heard yet.
    pub offset_millis: Option<i64>,
}

/// Whose program it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A resource, as `group/resource`.
    Resource(String),
    /// The hook of a group.
    Hook(String),
    /// A device that turns this node off.
    Fence(String),
}

/// A program or script of a resource, group or device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Whose it is.
    pub owner: Owner,
    /// As configured.
    pub path: String,
    /// Where it was found, or why it cannot be run.
    pub found: Result<PathBuf, String>,
}

impl Facts {
    /// Looks around. `me` is our node, `status` what the daemon says if one runs.
    pub fn gather(config: &Config, me: NodeId, status: Option<&Status>) -> Self {
        let interfaces = interfaces();
        Self {
            routes: routes(config, me, &interfaces),
            witness_route: witness_route(config, me, &interfaces),
            etcd: config.etcd.as_ref().map(ask_endpoints).unwrap_or_default(),
            witness_key_file: config.witness.as_ref().map(|witness| key_file(&witness.key_file)),
            fence_secrets: fencing::secrets(config),
            watchdog: fencing::watchdog(config),
            guard: support(),
            guard_earliness: earliness(),
            interfaces,
            arp_filter_all: switch("net/ipv4/conf/all/arp_filter"),
            nonlocal_bind: switch("net/ipv4/ip_nonlocal_bind") == Some(true)
                && switch("net/ipv6/ip_nonlocal_bind") != Some(false),
            destroys_connections: can_destroy_connections().map_err(|error| error.to_string()),
            network_manager: is_running("NetworkManager"),
            key_file: Some(key_file(&config.daemon.key_file)),
            programs: programs(config),
            rules: rules::gather(config, me),
            tipc: tipc::gather(config),
            web: web::gather(config, status.is_some()),
            systemd: Path::new("/run/systemd/system").is_dir(),
            operators_group: config.daemon.operators.as_deref().map(group_exists),
            clocks: status.map(clocks),
            uid: nix::unistd::geteuid().as_raw(),
        }
    }
}

fn interfaces() -> BTreeMap<String, Interface> {
    let mut interfaces: BTreeMap<String, Interface> = BTreeMap::new();
    for entry in getifaddrs().into_iter().flatten() {
        let address = ip_of(&entry);
        let interface = interfaces.entry(entry.interface_name).or_default();
        interface.up = entry.flags.contains(InterfaceFlags::IFF_UP);
        interface.running = entry.flags.contains(InterfaceFlags::IFF_RUNNING);
        interface.addresses.extend(address);
    }
    for (name, interface) in &mut interfaces {
        interface.arp_filter = switch(&format!("net/ipv4/conf/{name}/arp_filter"));
    }
    interfaces
}

fn ip_of(entry: &InterfaceAddress) -> Option<IpAddr> {
    let address = entry.address.as_ref()?;
    if let Some(address) = address.as_sockaddr_in() {
        return Some(address.ip().into());
    }
    address.as_sockaddr_in6().map(|address| address.ip().into())
}

fn routes(
    config: &Config,
    me: NodeId,
    interfaces: &BTreeMap<String, Interface>,
) -> BTreeMap<IpAddr, Result<Route, String>> {
    let Some(arbitrator) = &config.arbitrator else { return BTreeMap::new() };
    let way = |address: &IpAddr| (*address, find(*address, arbitrator.interfaces.as_deref(), me, interfaces));
    arbitrator.ping.iter().map(way).collect()
}

fn witness_route(
    config: &Config,
    me: NodeId,
    interfaces: &BTreeMap<String, Interface>,
) -> Option<Result<Route, String>> {
    let witness = config.witness.as_ref()?;
    Some(find(witness.address, witness.interfaces.as_deref(), me, interfaces))
}

/// The way to an address, through the interface that was chosen for this node if one was.
fn find(
    address: IpAddr,
    chosen: Option<&[String]>,
    me: NodeId,
    interfaces: &BTreeMap<String, Interface>,
) -> Result<Route, String> {
    let index = |name: &str| if_nametoindex(name).ok();
    let names = interfaces.keys().filter_map(|name| Some((index(name)?, name.clone()))).collect();
    let through = chosen.and_then(|list| list.get(me.index())).and_then(|name| index(name));
    route::find(address, through, &names).map_err(|error| error.to_string())
}

/// A sysctl that is on or off; `None` = not there.
fn switch(path: &str) -> Option<bool> {
    let text = fs::read_to_string(Path::new("/proc/sys").join(path)).ok()?;
    Some(text.trim() != "0")
}

fn is_running(name: &str) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let comm = |process: fs::DirEntry| fs::read_to_string(process.path().join("comm")).ok();
    processes.filter_map(comm).any(|comm| comm.trim_end() == name)
}

pub(super) fn key_file(path: &Path) -> KeyFile {
    match fs::metadata(path) {
        Ok(found) => KeyFile::Found { mode: found.mode() & 0o7777, uid: found.uid(), is_file: found.is_file() },
        Err(error) if error.kind() == io::ErrorKind::NotFound => KeyFile::Missing,
        Err(error) => KeyFile::Hidden(error.to_string()),
    }
}

fn programs(config: &Config) -> Vec<Program> {
    let mut programs = Vec::new();
    let mut look = |owner: Owner, path: Option<String>| {
        programs.extend(path.map(|path| Program { owner, found: find_program(&path), path }));
    };
    for group in &config.groups {
        let hook = group.hook.as_ref().and_then(|hook| hook.command.first().cloned());
        look(Owner::Hook(group.name.clone()), hook);
        for resource in &group.resources {
            let path = match &resource.kind {
                ResourceKind::Exec(exec) => exec.command.first().cloned(),
                ResourceKind::Lsb(lsb) => Some(lsb.script.display().to_string()),
                ResourceKind::Vip(_) | ResourceKind::Systemd(_) => None,
            };
            look(Owner::Resource(format!("{}/{}", group.name, resource.name)), path);
        }
    }
    for fence in &config.fences {
        let node = config.node_name(fence.node).to_owned();
        look(Owner::Fence(node), Some(fence.agent.display().to_string()));
    }
    programs
}

/// Where a program is: itself when it has a slash, else along the search path.
pub(super) fn find_program(name: &str) -> Result<PathBuf, String> {
    if name.contains('/') {
        return runnable(Path::new(name)).map(|()| PathBuf::from(name));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|directory| directory.join(name)).find(|file| runnable(file).is_ok());
    found.ok_or_else(|| format!("not found in {}", path.to_string_lossy()))
}

fn runnable(file: &Path) -> Result<(), String> {
    let found = fs::metadata(file).map_err(|error| error.to_string())?;
    match () {
        () if !found.is_file() => Err("not a file".to_owned()),
        () if found.permissions().mode() & 0o111 == 0 => Err("not executable".to_owned()),
        () => Ok(()),
    }
}

/// In the file the daemon itself looks in.
fn group_exists(name: &str) -> bool {
    let text = fs::read_to_string("/etc/group").unwrap_or_default();
    text.lines().any(|line| line.split(':').next() == Some(name))
}

fn clocks(status: &Status) -> Vec<PeerClock> {
    let clock = |peer: &avamgr_core::control::PeerStatus| PeerClock {
        node: peer.node.clone(),
        offset_millis: peer.clock_offset_millis,
    };
    status.peers.iter().map(clock).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_a_loopback_with_its_address() {
        let interfaces = interfaces();
        let loopback = &interfaces["lo"];
        assert!(loopback.up && loopback.addresses.contains(&IpAddr::from([127, 0, 0, 1])), "{loopback:?}");
    }

    #[test]
    fn programs_are_found_as_the_daemon_would_find_them() {
        assert!(find_program("sh").unwrap().is_absolute());
        assert!(find_program("no-such-program-anywhere").unwrap_err().starts_with("not found in"));
        assert_eq!(find_program("/etc").unwrap_err(), "not a file");
        assert_eq!(find_program("/etc/passwd").unwrap_err(), "not executable");
    }

    #[test]
    fn hooks_are_looked_for_like_resources() {
        let text = "[cluster]\nname = \"c\"\nnodes = [\"a\"]\nstandalone = true\n[[group]]\nname = \"g\"\n\
                    on_role_change = \"sh -c true\"\n[[group.resource]]\nname = \"r\"\nexec = \"no-such-program-anywhere\"\n";
        let config = avamgr_core::config::parse(text, "test").unwrap();
        let found: Vec<_> = programs(&config).into_iter().map(|it| (it.owner, it.path, it.found.is_ok())).collect();
        let hook = (Owner::Hook("g".to_owned()), "sh".to_owned(), true);
        let resource = (Owner::Resource("g/r".to_owned()), "no-such-program-anywhere".to_owned(), false);
        assert_eq!(found, [hook, resource]);
    }

    #[test]
    fn a_process_is_found_by_its_name() {
        let comm = fs::read_to_string("/proc/self/comm").unwrap();
        assert!(is_running(comm.trim_end()));
        assert!(!is_running("no-such-process"));
    }
}
