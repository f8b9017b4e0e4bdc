//! THE CONFIG: one file, the same on every node.
//!
//! [`parse`] turns the text into a [`Config`] or into *all* its errors at once. A `Config` can only exist checked: whoever
//! holds one need not check again.
//!
//! ```text
//! text --toml--> tree --reader, file--> File (all values with their places)
//!                        keys, value        | rules, check      | build, derive
//!                                           v                   v
//!                                        findings             Config
//! ```
//!
//! [`parse_replication`] reads the same text for the program that replicates rules, which needs less of it.
//!
//! Nothing here opens a file, resolves a name or looks at the host: that is `avamgr check`'s preflight.

mod authority;
mod build;
mod check;
mod derive;
mod error;
mod fence;
mod file;
mod hook;
mod keys;
mod reader;
mod replication;
mod rules;
mod syntax;
mod timers;
mod transport;
mod value;
mod web;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{CheckId, GroupId, LinkId, NodeId, ResourceId, SafetyClass};

pub use authority::{Authority, EtcdConfig, WitnessConfig};
pub use check::{Inequality, Relation, Side, inequalities};
pub use derive::{TimerLine, TimerValue, describe_timers};
pub use error::{ConfigError, ConfigErrors, FINDINGS_MAX, Problem, Severity};
pub use fence::{FenceAction, FenceConfig, FencingConfig, Rejoin, WatchdogConfig};
pub use hook::{HookConfig, HookStyle};
pub use keys::{Key, Preset, SECTIONS, Section, Takes};
pub use replication::{Direction, Replication, RulesConfig, parse_replication, ways as ways_of_rules};
pub use timers::{Limits, Timers};
pub use transport::{TipcAddress, TipcConfig, Transport, UdpConfig};
pub use value::{DurationError, Grammar, command_words, format_duration, parse_duration, split_variable};
pub use web::WebConfig;

/// Longest text that is looked at: a cluster with every limit reached fits several times.
pub const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The config a text describes, or everything that is wrong with it. `source` is the name of the file, for humans.
pub fn parse(text: &str, source: &str) -> Result<Config, ConfigErrors> {
    parse_with_warnings(text, source).map(|(config, _)| config)
}

/// Like [`parse`], with what is allowed but worth knowing.
pub fn parse_with_warnings(text: &str, source: &str) -> Result<(Config, ConfigErrors), ConfigErrors> {
    let findings = error::Findings::new(text);
    let config = read_file(text, &findings).map(|file| {
        rules::check(&file, &findings);
        let config = build::build(&file);
        rules::durations(&file, &config, &findings);
        config
    });
    judged(config, findings, source)
}

/// What was read, unless there is an error among the findings.
fn judged<T>(read: Option<T>, findings: error::Findings<'_>, source: &str) -> Result<(T, ConfigErrors), ConfigErrors> {
    let failed = findings.errors() > 0;
    let list = findings.into_errors(source);
    match read {
        Some(read) if !failed => Ok((read, list)),
        Some(_) | None => Err(list),
    }
}

fn read_file(text: &str, findings: &error::Findings<'_>) -> Option<file::File> {
    if text.len() > TEXT_BYTES_MAX {
        let rule = format!("is longer than {} MiB", TEXT_BYTES_MAX / 1024 / 1024);
        findings.put(error::Finding::conflict(&error::Place::default(), rule).without_value());
        return None;
    }
    let (tree, syntax) = toml::de::DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        syntax::report(&tree, &syntax, findings);
        return None;
    }
    Some(file::read(tree.get_ref(), findings))
}

/// A checked config. Lists are indexed by the ids of [`crate::cluster`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Config {
    /// Name of the cluster; frames of other clusters are refused.
    pub cluster: String,
    /// Node names; the order is the rank.
    pub nodes: Vec<String>,
    /// One node alone, without peer or arbitrator.
    pub standalone: bool,
    /// All durations, derived or set by hand.
    pub timers: Timers,
    /// Limits on what may happen automatically.
    pub limits: Limits,
    /// Dedicated links in the order of the file, then the neutral path if one is configured.
    pub links: Vec<LinkConfig>,
    /// What gives the right to be ACTIVE.
    pub authority: Authority,
    /// Who is asked when every link is silent; always there when the authority is `ping`.
    pub arbitrator: Option<ArbitratorConfig>,
    /// The voter on a third site, if there is one; never without the authority `lease`.
    pub witness: Option<WitnessConfig>,
    /// What holds for all devices that turn nodes off.
    pub fencing: FencingConfig,
    /// Devices that turn nodes off, in the order of the file: for every node at least one, or none at all.
    pub fences: Vec<FenceConfig>,
    /// The timer that resets this machine when the daemon does not feed it.
    pub watchdog: Option<WatchdogConfig>,
    /// The etcd that holds the leases; there when the authority is `etcd`, and never otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdConfig>,
    /// Groups in the order of the file.
    pub groups: Vec<GroupConfig>,
    /// What must be up on every node but is not ours to start (`[[ready]]`).
    pub ready: Vec<ReadyConfig>,
    /// Directories of rules that another program (`rules-sync`) keeps the same on every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<RulesConfig>,
    /// A page that shows the node to browsers, made by another program (`avamgr-webui`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web: Option<WebConfig>,
    /// Settings of the daemon itself.
    pub daemon: DaemonConfig,
    /// Names of the timers that were set by hand; the others follow by their formulas.
    pub by_hand: BTreeSet<String>,
    /// Digest of the meaning of everything above (not of `web`, `by_hand`, comments or layout): the same on two nodes if and only
    /// if the nodes agree.
    pub digest: u64,
}

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    /// Carries heartbeats all the time.
    Dedicated,
    /// The neutral network: carries heartbeats only while every dedicated link is suspect.
    Neutral,
}

/// One heartbeat path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LinkConfig {
    /// Name for humans.
    pub name: String,
    /// Dedicated or neutral.
    pub kind: LinkKind,
    /// What carries its frames.
    #[serde(flatten)]
    pub transport: Transport,
}

/// The neutral party that decides who is isolated.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ArbitratorConfig {
    /// Addresses to ping; one answer is enough.
    pub ping: Vec<IpAddr>,
    /// Interface of each node the pings leave through; `None` lets the routing table decide.
    pub interfaces: Option<Vec<String>>,
}

/// The unit that is ACTIVE on one node at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GroupConfig {
    /// Name for humans.
    pub name: String,
    /// Whether the group goes back to `preferred` by itself after that node has been healthy for the settle time.
    pub failback: Failback,
    /// The node the group should be on, when all are healthy; the first in rank unless set.
    pub preferred: NodeId,
    /// What is run on every change of its role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<HookConfig>,
    /// Resources in start order; stop goes backwards.
    pub resources: Vec<ResourceConfig>,
}

impl GroupConfig {
    /// Names what the group is: its name and its resources, in their order. Two nodes whose digests differ do not mean the
    /// same by it, and neither may believe what the other says about it. Times, limits and monitors may differ.
    pub fn digest(&self) -> u32 {
        build::group_digest(self)
    }

    /// Names the group to the witness, whatever the nodes mean by it: two nodes that differ still share one lease.
    pub fn name_digest(&self) -> u32 {
        build::name_digest(&self.name)
    }
}

/// Whether a group returns to its preferred node by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Failback {
    /// It stays where it is (non-revertive).
    Manual,
    /// It returns after the settle time.
    Auto,
}

/// Something a group owns while it is ACTIVE.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ResourceConfig {
    /// Name, unique within the group.
    pub name: String,
    /// What it is.
    pub kind: ResourceKind,
    /// How its health is watched while it runs, besides what its kind watches by itself.
    pub monitors: Vec<MonitorConfig>,
    /// How long a start may take until ready.
    #[serde(with = "value::as_text")]
    pub start_timeout: Duration,
    /// From TERM (or the script's stop) to KILL.
    #[serde(with = "value::as_text")]
    pub stop_timeout: Duration,
    /// Restarts in place before the group gives up on this node.
    pub restart: RestartConfig,
}

/// Restarts in place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RestartConfig {
    /// Restarts within `window` before failover; zero = fail over at the first failure.
    pub max: u32,
    /// Failures older than this are forgotten.
    #[serde(with = "value::as_text")]
    pub window: Duration,
    /// Wait before the first restart; doubles with each failure in the window, up to `backoff_max`.
    #[serde(with = "value::as_text")]
    pub backoff: Duration,
    /// The longest wait.
    #[serde(with = "value::as_text")]
    pub backoff_max: Duration,
}

/// The kinds of resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResourceKind {
    /// Virtual addresses.
    Vip(VipConfig),
    /// A child process that we supervise.
    Exec(ExecConfig),
    /// An init script with LSB verbs.
    Lsb(LsbConfig),
    /// A systemd unit.
    Systemd(SystemdConfig),
}

/// Virtual addresses on one interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VipConfig {
    /// Interface of each node, in the order of the nodes.
    pub interfaces: Vec<String>,
    /// Single addresses with their prefix length.
    pub addresses: Vec<IpNet>,
    /// Whole prefixes as one resource each: every address in them is ours.
    pub ranges: Vec<IpNet>,
    /// Label of the IPv4 addresses, as in `eth2:0`.
    pub label: Option<String>,
}

/// An address with its prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IpNet {
    /// The address.
    pub address: IpAddr,
    /// 0..=32 or 0..=128.
    pub prefix: u8,
}

/// A child process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExecConfig {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Variables added to the environment.
    pub environment: BTreeMap<String, String>,
    /// Working directory.
    pub directory: Option<PathBuf>,
    /// User to run as; the daemon's own unless set.
    pub user: Option<String>,
    /// What must hold before it counts as started; without it, staying alive for a moment.
    pub ready: Option<Check>,
}

/// An init script.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LsbConfig {
    /// The script: called with `start`, `stop`, `status`.
    pub script: PathBuf,
}

/// A systemd unit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SystemdConfig {
    /// Unit name with its suffix.
    pub unit: String,
}

/// One way to see whether something works.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// A process of this name exists.
    Process(String),
    /// A TCP connection to `address:port` is accepted.
    Tcp(String),
    /// `GET` of this `http://` URL answers 2xx or 3xx.
    Http(String),
    /// This command exits with 0.
    Script(Vec<String>),
}

/// A check that is repeated.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MonitorConfig {
    /// What is checked.
    pub check: Check,
    /// From the end of one check to the next.
    #[serde(with = "value::as_text")]
    pub interval: Duration,
    /// When one check counts as failed.
    #[serde(with = "value::as_text")]
    pub timeout: Duration,
    /// Failures in a row before it is reported.
    pub fall: u32,
    /// Successes in a row before it is well again.
    pub rise: u32,
}

/// Something we only watch, and that must be up on every node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReadyConfig {
    /// Name for humans.
    pub name: String,
    /// How it is watched.
    pub monitor: MonitorConfig,
}

/// Settings of the daemon itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DaemonConfig {
    /// Keys of the heartbeats.
    pub key_file: PathBuf,
    /// Where terms, holds and history live.
    pub state_dir: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Members of this unix group may steer; root always may. Everybody else may look.
    pub operators: Option<String>,
    /// Run the heartbeat thread with SCHED_RR and locked memory.
    pub realtime: bool,
}

impl Config {
    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<NodeId> {
        let index = self.nodes.iter().position(|node| node == name)?;
        u8::try_from(index).ok().map(NodeId)
    }

    /// Name of a node.
    pub fn node_name(&self, node: NodeId) -> &str {
        if node == NodeId::WITNESS {
            return if self.etcd.is_some() { "etcd" } else { "the witness" };
        }
        self.nodes.get(node.index()).map_or("?", String::as_str)
    }

    /// Name of a link.
    pub fn link_name(&self, link: LinkId) -> &str {
        self.links.get(link.index()).map_or("?", |link| link.name.as_str())
    }

    /// Name of a group.
    pub fn group_name(&self, group: GroupId) -> &str {
        self.groups.get(group.index()).map_or("?", |group| group.name.as_str())
    }

    /// Name of a ready check.
    pub fn check_name(&self, check: CheckId) -> &str {
        self.ready.get(check.index()).map_or("?", |ready| ready.name.as_str())
    }

    /// A resource.
    pub fn resource(&self, id: ResourceId) -> Option<&ResourceConfig> {
        self.groups.get(id.group.index())?.resources.get(usize::from(id.index))
    }

    /// Name of a resource.
    pub fn resource_name(&self, id: ResourceId) -> &str {
        self.resource(id).map_or("?", |resource| resource.name.as_str())
    }

    /// All nodes in rank order.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..u8::try_from(self.nodes.len()).unwrap_or(u8::MAX)).map(NodeId)
    }

    /// All groups.
    pub fn group_ids(&self) -> impl Iterator<Item = GroupId> + use<> {
        (0..u8::try_from(self.groups.len()).unwrap_or(u8::MAX)).map(GroupId)
    }

    /// All links, the neutral path last.
    pub fn link_ids(&self) -> impl Iterator<Item = LinkId> + use<> {
        (0..u8::try_from(self.links.len()).unwrap_or(u8::MAX)).map(LinkId)
    }

    /// All resources of a group in start order.
    pub fn resource_ids(&self, group: GroupId) -> impl Iterator<Item = ResourceId> + use<> {
        let count = self.groups.get(group.index()).map_or(0, |group| group.resources.len());
        (0..u16::try_from(count).unwrap_or(u16::MAX)).map(move |index| ResourceId { group, index })
    }

    /// The same config for one node alone: no peer, no arbitrator (`STANDALONE` in the settings of the service).
    pub fn alone(mut self) -> Self {
        self.standalone = true;
        self.links.clear();
        self.arbitrator = None;
        self.witness = None;
        self.fences.clear();
        self.etcd = None;
        self.rules = None;
        self.authority = Authority::Ping;
        self.digest = build::digest(&self);
        self
    }

    /// What this config can guarantee.
    pub fn safety_class(&self) -> SafetyClass {
        match self.authority {
            _ if self.standalone => SafetyClass::Standalone,
            Authority::Ping if self.fences_all() => SafetyClass::PingFencing,
            Authority::Ping => SafetyClass::Ping,
            Authority::Lease | Authority::Etcd if self.fences_all() => SafetyClass::LeaseFencing,
            Authority::Lease | Authority::Etcd => SafetyClass::Lease,
        }
    }
}

#[cfg(test)]
mod tests;
