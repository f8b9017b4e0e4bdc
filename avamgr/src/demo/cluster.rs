//! The cluster of the demo: two nodes of the lab with a real daemon each, an arbitrator, and a client that measures.

use std::cell::RefCell;
use std::fs;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use avamgr_core::cluster::Role;
use avamgr_core::control::{GroupStatus, Status};
use avamgr_lab::{ARBITRATOR, Host, Lab, LabError, Plan, Probe, Process, VIP, VIP6};

use super::config::{self, NODES};
use super::program::{Programs, SERVICE_PORT};
use super::watch::Watch;
use crate::{clock, keys};

const CONFIG_FILE: &str = "/etc/avamgr/avamgr.toml";
const KEY_FILE: &str = "/etc/avamgr/keys";
const SOCKET: &str = "/run/avamgr/avamgr.sock";

/// The daemon renews its status twice a second; older than this, nothing in it is known to be so.
const STALE: Duration = Duration::from_secs(2);

/// A service on the same machine accepts at once or not at all.
const CALL_PATIENCE: Duration = Duration::from_millis(300);

/// Everything that runs.
#[derive(Debug)]
pub(super) struct Cluster {
    // Dropped in this order: what asks, before what answers.
    probe: RefCell<Probe>,
    nodes: Vec<Node>,
    client: Host,
    programs: Programs,
    vips: [IpAddr; 2],
    pub(super) lab: Lab,
}

/// A node and the program on it.
#[derive(Debug)]
pub(super) struct Node {
    watch: Watch,
    pub(super) host: Host,
    daemon: RefCell<Option<Process>>,
}

/// A node as it is seen now.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) name: String,
    pub(super) has_power: bool,
    pub(super) daemon_runs: bool,
    /// The last status, however old.
    pub(super) status: Option<Arc<Status>>,
    /// How old it is.
    pub(super) age: Duration,
}

impl View {
    /// The status, if it says how things are now.
    pub(super) fn fresh(&self) -> Option<&Status> {
        self.status.as_deref().filter(|_| self.has_power && self.daemon_runs && self.age < STALE)
    }

    /// What the node says of the group, if it is known now.
    pub(super) fn group(&self) -> Option<&GroupStatus> {
        self.fresh()?.groups.first()
    }

    pub(super) fn role(&self) -> Option<Role> {
        self.group().map(|group| group.role)
    }

    /// The state of a link to the peer.
    pub(super) fn link(&self, name: &str) -> Option<&str> {
        let links = &self.fresh()?.peers.first()?.links;
        links.iter().find(|link| link.link == name).map(|link| link.state.as_str())
    }
}

impl Cluster {
    /// Builds hosts and cables and puts the programs in place; nothing is started yet.
    pub(super) fn build() -> Result<Self> {
        let lab = Lab::start(Plan::pair())?;
        let programs = Programs::install(&lab.scratch())?;
        let vips: [IpAddr; 2] = [VIP.parse()?, VIP6.parse()?];
        let text = config::text(VIP, VIP6, ARBITRATOR, &programs.service);
        let mut nodes = Vec::new();
        for name in NODES {
            let host = lab.host(name)?;
            host.write(CONFIG_FILE, &text)?;
            let watch = Watch::start(name, &host.path(SOCKET)).context("cannot watch a node")?;
            nodes.push(Node { watch, host, daemon: RefCell::new(None) });
        }
        share_key(&nodes)?;
        let client = lab.host("client")?;
        let probe = RefCell::new(Probe::start(&client, &vips)?);
        Ok(Self { probe, nodes, client, programs, vips, lab })
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(super) fn node(&self, name: &str) -> Result<&Node> {
        let found = self.nodes.iter().find(|node| node.host.name() == name);
        found.with_context(|| format!("the demo has no node {name}"))
    }

    /// The virtual addresses, IPv4 and IPv6.
    pub(super) fn vips(&self) -> [IpAddr; 2] {
        self.vips
    }

    pub(super) fn views(&self) -> Vec<View> {
        self.nodes.iter().map(Node::view).collect()
    }

    /// The one node that is ACTIVE; none if there are none or two.
    pub(super) fn active(&self) -> Option<String> {
        let mut active = self.views().into_iter().filter(|view| view.role() == Some(Role::Active));
        active.next().filter(|_| active.next().is_none()).map(|view| view.name)
    }

    pub(super) fn start_daemon(&self, name: &str) -> Result<()> {
        let node = self.node(name)?;
        let mut command = node.host.command(&self.programs.daemon);
        command.args(["--config", CONFIG_FILE, "--node", name, "--log-target", "stderr"]);
        // Meant for other daemons than those of the demo.
        for variable in ["AVAMGR_CONFDIR", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "JOURNAL_STREAM"] {
            command.env_remove(variable);
        }
        *node.daemon.borrow_mut() = Some(command.spawn()?);
        Ok(())
    }

    /// What has to be started on a node, if anything.
    pub(super) fn missing(&self, name: &str) -> Result<Option<&'static str>> {
        let node = self.node(name)?;
        Ok(match (node.host.is_on(), node.daemon_runs()) {
            (false, _) => Some("boot of"),
            (true, false) => Some("start of avamgrd on"),
            (true, true) => None,
        })
    }

    /// Starts whatever is not running on a node: power, daemon.
    pub(super) fn boot(&self, name: &str) -> Result<()> {
        let node = self.node(name)?;
        self.lab.power_on(name)?;
        if node.daemon_runs() { Ok(()) } else { self.start_daemon(name) }
    }

    /// Kills the daemon of a node without a word.
    pub(super) fn kill_daemon(&self, name: &str) -> Result<(), LabError> {
        let daemon = self.nodes.iter().find(|node| node.host.name() == name).map(|node| node.daemon.borrow());
        daemon.and_then(|daemon| daemon.as_ref().map(Process::kill9)).unwrap_or(Ok(()))
    }

    /// What the client has measured and measures.
    pub(super) fn probe(&self) -> std::cell::Ref<'_, Probe> {
        self.probe.borrow()
    }

    /// Begins a new record of the client, so that the old one does not fill the memory.
    pub(super) fn renew_probe(&self) -> Result<()> {
        self.probe.replace(Probe::start(&self.client, &self.vips)?);
        Ok(())
    }

    /// Which node the service answers from at a virtual address.
    pub(super) fn call(&self, vip: IpAddr) -> Option<String> {
        let answer = self.client.in_netns(|| {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::from((vip, SERVICE_PORT)), CALL_PATIENCE)?;
            stream.set_read_timeout(Some(CALL_PATIENCE))?;
            let mut name = String::new();
            stream.read_to_string(&mut name)?;
            Ok(name)
        });
        answer.ok()
    }
}

impl Node {
    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.host.path(SOCKET)
    }

    pub(super) fn view(&self) -> View {
        let status = self.watch.status();
        let age = status.as_ref().map_or(Duration::MAX, |status| clock::now().since(status.now));
        View {
            name: self.host.name().to_owned(),
            has_power: self.host.is_on(),
            daemon_runs: self.daemon_runs(),
            status,
            age,
        }
    }

    pub(super) fn daemon_runs(&self) -> bool {
        self.host.is_on() && self.daemon.borrow().as_ref().is_some_and(|daemon| matches!(daemon.ended(), Ok(None)))
    }

    /// How the daemon ended, if it ended under power.
    pub(super) fn daemon_ended(&self) -> Option<ExitStatus> {
        let ended = self.daemon.borrow().as_ref().and_then(|daemon| daemon.ended().ok().flatten());
        ended.filter(|_| self.host.is_on())
    }

    /// What the daemon wrote.
    pub(super) fn log_file(&self) -> PathBuf {
        self.host.log_path("avamgrd")
    }
}

/// Gives all nodes the same key file, as an operator would: made on one node, copied to the others.
fn share_key(nodes: &[Node]) -> Result<()> {
    let mut files = nodes.iter().map(|node| node.host.path(KEY_FILE));
    let first = files.next().context("the demo has no nodes")?;
    keys::generate(&first)?;
    for other in files {
        // The mode goes with it.
        fs::copy(&first, &other).with_context(|| format!("cannot copy the key file to {}", other.display()))?;
    }
    Ok(())
}
