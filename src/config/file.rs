//! The file as it is written: one struct for each table, every value with its place.
//!
//! What cannot be read is reported where it stands and left out here, so that the rules over several fields
//! ([`super::rules`]) still see all the rest. Only a file without any error becomes a `Config` ([`super::build`]).

mod fence;
mod group;
mod link;
mod replication;
mod web;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

pub(super) use fence::{Fence, Fencing, Watchdog};
pub(super) use group::{Group, Kind, Resource, Vip};
pub(super) use link::{Link, Path};
pub(super) use replication::Rules;

use super::derive::TimerValue;
use super::error::{Finding, Findings, Place};
use super::keys::{self, Takes};
use super::reader::{Nodes, PerNode, Placed, Table};
use super::{Authority, Check, DaemonConfig, Limits, MonitorConfig, WebConfig};

/// The whole file.
pub(super) struct File {
    pub(super) cluster: Cluster,
    pub(super) timers: GivenTimers,
    pub(super) limits: Limits,
    pub(super) links: Vec<Link>,
    pub(super) arbitrator: Option<Arbitrator>,
    pub(super) witness: Option<Witness>,
    pub(super) fencing: Fencing,
    pub(super) fences: Vec<Fence>,
    pub(super) watchdog: Option<Watchdog>,
    pub(super) etcd: Option<Etcd>,
    pub(super) groups: Vec<Group>,
    pub(super) ready: Vec<Ready>,
    pub(super) rules: Option<Rules>,
    pub(super) web: Option<WebConfig>,
    pub(super) daemon: DaemonConfig,
}

impl File {
    /// What gives the right to be ACTIVE: what is written, or what the tables call for.
    pub(super) fn authority(&self) -> Authority {
        match &self.cluster.authority {
            _ if self.cluster.standalone => Authority::Ping,
            Some(written) => written.value,
            None if self.etcd.is_some() => Authority::Etcd,
            None if self.witness.is_some() => Authority::Lease,
            None => Authority::Ping,
        }
    }
}

/// `[cluster]`
pub(super) struct Cluster {
    pub(super) place: Place,
    pub(super) name: Option<Placed<String>>,
    pub(super) nodes: Vec<Placed<String>>,
    /// Where the list of nodes stands, and whether all of it could be read.
    pub(super) nodes_place: Place,
    pub(super) nodes_good: bool,
    pub(super) authority: Option<Placed<Authority>>,
    pub(super) standalone: bool,
    pub(super) standalone_place: Place,
}

impl Cluster {
    pub(super) fn node_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for node in &self.nodes {
            // One that is there twice is reported once, and not at every table for each node.
            if !names.iter().any(|name| name.eq_ignore_ascii_case(node)) {
                names.push(node.value.clone());
            }
        }
        names
    }
}

/// Timers set by hand, the failover budget among them.
#[derive(Default)]
pub(super) struct GivenTimers {
    pub(super) values: BTreeMap<&'static str, Placed<TimerValue>>,
    /// Those that are written but could not be read: what follows from them is not judged.
    pub(super) bad: BTreeSet<&'static str>,
}

/// `[arbitrator]`
pub(super) struct Arbitrator {
    pub(super) place: Place,
    pub(super) ping: Vec<Placed<IpAddr>>,
    pub(super) interfaces: Option<PerNode<String>>,
    /// Our own addresses on the way to it: the neutral path.
    pub(super) neutral: Option<PerNode<IpAddr>>,
    pub(super) port: u16,
}

/// `[witness]`
pub(super) struct Witness {
    pub(super) place: Place,
    pub(super) address: Option<Placed<IpAddr>>,
    pub(super) port: u16,
    pub(super) interfaces: Option<PerNode<String>>,
    pub(super) key_file: PathBuf,
}

/// `[etcd]`
pub(super) struct Etcd {
    pub(super) place: Place,
    pub(super) endpoints: Vec<Placed<String>>,
    pub(super) prefix: String,
    pub(super) ca_file: Option<Placed<String>>,
    pub(super) cert_file: Option<Placed<String>>,
    pub(super) key_file: Option<Placed<String>>,
}

/// `[[ready]]`
pub(super) struct Ready {
    pub(super) name: Option<Placed<String>>,
    pub(super) monitor: Option<MonitorConfig>,
}

/// `link.primary` is "link primary" in a sentence, `group.dre.resource.ip` is "resource ip of group dre".
pub(super) fn called(place: &Place) -> String {
    let spaced = |key: &str| key.replacen('.', " ", 1);
    match place.key.split_once(".resource.") {
        Some((group, resource)) => format!("resource {resource} of {}", spaced(group)),
        None => spaced(&place.key),
    }
}

/// Reads the whole file; everything that is wrong is on the tray.
pub(super) fn read(entries: &DeTable<'_>, findings: &Findings<'_>) -> File {
    let top = Table::top(&keys::TOP, entries, findings);
    let cluster_table = top.table("cluster", &keys::CLUSTER);
    // Without the table one finding says it all.
    let cluster_table = Some(cluster_table).filter(Table::is_written);
    let cluster = read_cluster(cluster_table.as_ref(), &top);
    let nodes = Nodes { names: cluster.node_names(), sure: cluster.nodes_good };
    let timers = read_timers(cluster_table.as_ref(), &top.table("timers", &keys::TIMERS));
    let limits = read_limits(&top.table("limits", &keys::LIMITS));
    let links = top.tables("link", &keys::LINK).iter().map(|table| link::read(table, &nodes)).collect();
    let arbitrator = Some(top.table("arbitrator", &keys::ARBITRATOR)).filter(Table::is_written);
    let arbitrator = arbitrator.map(|table| read_arbitrator(&table, &nodes));
    let witness = Some(top.table("witness", &keys::WITNESS)).filter(Table::is_written);
    let witness = witness.map(|table| read_witness(&table, &nodes));
    let fencing = fence::read_fencing(&top.table("fencing", &keys::FENCING));
    let fences = top.tables("fence", &keys::FENCE).iter().map(|table| fence::read_fence(table, &nodes)).collect();
    let watchdog = Some(top.table("watchdog", &keys::WATCHDOG)).filter(Table::is_written);
    let watchdog = watchdog.map(|table| fence::read_watchdog(&table));
    let etcd = Some(top.table("etcd", &keys::ETCD)).filter(Table::is_written).map(|table| read_etcd(&table));
    let groups = top.tables("group", &keys::GROUP).iter().map(|table| group::read(table, &nodes)).collect();
    let ready = top.tables("ready", &keys::READY).iter().map(read_ready).collect();
    let rules = Some(top.table("rules", &keys::RULES)).filter(Table::is_written);
    let rules = rules.map(|table| replication::read_rules(&table));
    let web = Some(top.table("web", &keys::WEB)).filter(Table::is_written).map(|table| web::read(&table));
    let daemon = read_daemon(&top.table("daemon", &keys::DAEMON));
    File {
        cluster,
        timers,
        limits,
        links,
        arbitrator,
        witness,
        etcd,
        fencing,
        fences,
        watchdog,
        groups,
        ready,
        rules,
        web,
        daemon,
    }
}

fn read_cluster(table: Option<&Table<'_>>, top: &Table<'_>) -> Cluster {
    let Some(table) = table else {
        return Cluster {
            place: top.place.clone(),
            name: None,
            nodes: Vec::new(),
            nodes_place: top.place.clone(),
            nodes_good: false,
            authority: None,
            standalone: false,
            standalone_place: top.place.clone(),
        };
    };
    let before = table.findings.errors();
    let nodes = table.list("nodes");
    Cluster {
        place: table.place.clone(),
        name: table.text("name"),
        nodes_good: table.findings.errors() == before,
        nodes,
        nodes_place: table.place_of("nodes"),
        authority: table.text("authority").map(|word| {
            let value = match word.value.as_str() {
                "lease" => Authority::Lease,
                "etcd" => Authority::Etcd,
                _ => Authority::Ping,
            };
            Placed { value, place: word.place }
        }),
        standalone: table.flag("standalone").is_some_and(|flag| *flag),
        standalone_place: table.place_of("standalone"),
    }
}

fn read_timers(cluster: Option<&Table<'_>>, table: &Table<'_>) -> GivenTimers {
    let mut given = GivenTimers::default();
    if let Some(cluster) = cluster {
        read_timer(cluster, "failover_budget", true, &mut given);
    }
    for key in keys::TIMERS.keys {
        read_timer(table, key.name, !matches!(key.takes, Takes::Integer(..)), &mut given);
    }
    given
}

fn read_timer(table: &Table<'_>, name: &'static str, is_time: bool, given: &mut GivenTimers) {
    if !table.has(name) {
        return;
    }
    let value = if is_time {
        table.time(name).and_then(|timed| timed.and_then(|time| Some(TimerValue::Time(time))))
    } else {
        table.integer(name).and_then(|counted| counted.and_then(|count| Some(TimerValue::Count(count))))
    };
    match value {
        Some(value) => {
            given.values.insert(name, value);
        }
        None => {
            given.bad.insert(name);
        }
    }
}

fn read_limits(table: &Table<'_>) -> Limits {
    Limits {
        failovers: table.integer("failovers").map_or(1, |count| *count),
        failover_window: time(table, "failover_window"),
        clock_offset: time(table, "clock_offset"),
    }
}

/// A duration with a preset; zero stands only where an error has been reported.
fn time(table: &Table<'_>, name: &str) -> Duration {
    table.time(name).map_or(Duration::ZERO, |time| *time)
}

fn port(table: &Table<'_>) -> u16 {
    table.integer("port").and_then(|port| u16::try_from(*port).ok()).unwrap_or(0)
}

/// The text has passed its check, so it parses.
fn parsed<T: std::str::FromStr>(text: Option<Placed<String>>) -> Option<Placed<T>> {
    text?.and_then(|text| text.parse().ok())
}

/// Index of the node that a key names.
fn node(table: &Table<'_>, name: &str, nodes: &Nodes) -> Option<usize> {
    let named = table.text(name)?;
    let index = nodes.names.iter().position(|node| *node == named.value);
    if index.is_none() && nodes.sure {
        let finding = Finding::conflict(&named.place, "must be a node of [cluster]");
        table.findings.put(finding.hint(nodes.nearest(&named)));
    }
    index
}

fn per_node_addresses(table: &Table<'_>, nodes: &Nodes) -> Option<PerNode<IpAddr>> {
    Some(table.per_node("address", nodes)?.into_iter().map(parsed).collect())
}

fn read_arbitrator(table: &Table<'_>, nodes: &Nodes) -> Arbitrator {
    let arbitrator = Arbitrator {
        place: table.place.clone(),
        ping: table.list("ping").into_iter().filter_map(|text| parsed(Some(text))).collect(),
        interfaces: table.per_node("interface", nodes),
        neutral: per_node_addresses(table, nodes),
        port: port(table),
    };
    if table.has("address") && !table.has("interface") {
        let rule = "names our addresses on the neutral path, so the interface it uses must be named as well";
        let finding = Finding::conflict(&table.place_of("address"), rule).without_value();
        table.findings.put(finding.hint("add interface = \"...\" to [arbitrator]"));
    }
    arbitrator
}

fn read_witness(table: &Table<'_>, nodes: &Nodes) -> Witness {
    Witness {
        place: table.place.clone(),
        address: parsed(table.text("address")),
        port: port(table),
        interfaces: table.per_node("interface", nodes),
        key_file: table.text("key_file").map(|path| path.value.into()).unwrap_or_default(),
    }
}

fn read_etcd(table: &Table<'_>) -> Etcd {
    Etcd {
        place: table.place.clone(),
        endpoints: table.list("endpoints"),
        prefix: table.text("prefix").map(|prefix| prefix.value).unwrap_or_default(),
        ca_file: table.text("ca_file"),
        cert_file: table.text("cert_file"),
        key_file: table.text("key_file"),
    }
}

fn read_ready(table: &Table<'_>) -> Ready {
    Ready { name: table.text("name"), monitor: read_monitor(table) }
}

fn read_daemon(table: &Table<'_>) -> DaemonConfig {
    let path = |name| table.text(name).map(|path| path.value.into()).unwrap_or_default();
    DaemonConfig {
        key_file: path("key_file"),
        state_dir: path("state_dir"),
        socket: path("socket"),
        operators: table.text("operators").map(|name| name.value),
        realtime: table.flag("realtime").is_some_and(|flag| *flag),
    }
}

/// The one check of a table that names it by its kind.
fn read_check(table: &Table<'_>) -> Option<Check> {
    const KINDS: [&str; 4] = ["process", "tcp", "http", "script"];
    exactly_one(table, &KINDS, "process, tcp, http and script")?;
    let process = table.text("process").map(|name| Check::Process(name.value));
    let tcp = table.text("tcp").map(|address| Check::Tcp(address.value));
    let http = table.text("http").map(|url| Check::Http(url.value));
    let script = table.command("script").map(|command| Check::Script(command.value));
    process.or(tcp).or(http).or(script)
}

fn read_monitor(table: &Table<'_>) -> Option<MonitorConfig> {
    let check = read_check(table);
    let (interval, timeout) = (table.time("interval"), table.time("timeout"));
    let (fall, rise) = (table.integer("fall"), table.integer("rise"));
    Some(MonitorConfig { check: check?, interval: *interval?, timeout: *timeout?, fall: *fall?, rise: *rise? })
}

/// Says so unless exactly one of the keys is written.
fn exactly_one(table: &Table<'_>, names: &[&'static str], list: &str) -> Option<&'static str> {
    let written: Vec<&'static str> = names.iter().copied().filter(|name| table.has(name)).collect();
    match written.as_slice() {
        [one] => Some(one),
        [] => {
            let rule = format!("needs exactly one of {list}");
            table.findings.put(Finding::conflict(&table.place, rule).without_value());
            None
        }
        [first, second, ..] => {
            let rule = format!("cannot stand beside `{first}`: exactly one of {list} is needed");
            let finding = Finding::conflict(&table.place_of(second), rule);
            table.findings.put(finding.related(&table.place_of(first), "the other one"));
            None
        }
    }
}
