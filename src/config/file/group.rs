//! `[[group]]` and what stands below it.

use std::time::Duration;

use crate::config::error::{Finding, Place};
use crate::config::keys;
use crate::config::reader::{Nodes, PerNode, Placed, Table};
use crate::config::value::{VARIABLE_LETTERS, is_variable};
use crate::config::{ExecConfig, Failback, HookConfig, HookStyle, IpNet, MonitorConfig};

use super::{node, parsed, read_check, read_monitor};

/// `[[group]]`
pub(in crate::config) struct Group {
    pub(in crate::config) place: Place,
    pub(in crate::config) name: Option<Placed<String>>,
    pub(in crate::config) preferred: Option<usize>,
    pub(in crate::config) failback: Failback,
    pub(in crate::config) hook: Option<HookConfig>,
    pub(in crate::config) resources: Vec<Resource>,
}

/// `[[group.resource]]`
pub(in crate::config) struct Resource {
    pub(in crate::config) place: Place,
    pub(in crate::config) name: Option<Placed<String>>,
    pub(in crate::config) kind: Option<Kind>,
    pub(in crate::config) monitors: Vec<MonitorConfig>,
    pub(in crate::config) start_timeout: Option<Placed<Duration>>,
    pub(in crate::config) stop_timeout: Option<Placed<Duration>>,
    pub(in crate::config) restart: Restart,
}

/// What a resource is.
pub(in crate::config) enum Kind {
    Vip(Vip),
    Exec(ExecConfig),
    Lsb(Placed<String>),
    Systemd(Placed<String>),
}

/// Virtual addresses.
pub(in crate::config) struct Vip {
    pub(in crate::config) interfaces: PerNode<String>,
    pub(in crate::config) addresses: Vec<Placed<IpNet>>,
    pub(in crate::config) ranges: Vec<Placed<IpNet>>,
    pub(in crate::config) label: Option<Placed<String>>,
}

/// `group.resource.restart`
pub(in crate::config) struct Restart {
    pub(in crate::config) max: Option<Placed<u32>>,
    pub(in crate::config) window: Option<Placed<Duration>>,
    pub(in crate::config) backoff: Option<Placed<Duration>>,
    pub(in crate::config) backoff_max: Option<Placed<Duration>>,
}

pub(super) fn read(table: &Table<'_>, nodes: &Nodes) -> Group {
    let auto = table.text("failback").is_some_and(|word| word.as_str() == "auto");
    let resources = table.tables("resource", &keys::RESOURCE);
    if table.has("resource") && resources.is_empty() {
        let finding = Finding::conflict(&table.place_of("resource"), "must hold at least one resource");
        table.findings.put(finding.without_value());
    }
    Group {
        place: table.place.clone(),
        name: table.text("name"),
        preferred: node(table, "preferred", nodes),
        failback: if auto { Failback::Auto } else { Failback::Manual },
        hook: read_hook(table),
        resources: resources.iter().map(|resource| read_resource(resource, nodes)).collect(),
    }
}

fn read_hook(table: &Table<'_>) -> Option<HookConfig> {
    let command = table.command("on_role_change");
    let timeout = table.time("hook_timeout");
    let keepalived = table.text("hook_style").is_some_and(|word| word.as_str() == "keepalived");
    let style = if keepalived { HookStyle::Keepalived } else { HookStyle::Environment };
    Some(HookConfig { command: command?.value, timeout: timeout?.value, style })
}

fn read_resource(table: &Table<'_>, nodes: &Nodes) -> Resource {
    Resource {
        place: table.place.clone(),
        name: table.text("name"),
        kind: read_kind(table, nodes),
        monitors: table.tables("monitor", &keys::MONITOR).iter().filter_map(read_monitor).collect(),
        start_timeout: table.time("start_timeout"),
        stop_timeout: table.time("stop_timeout"),
        restart: read_restart(&table.table("restart", &keys::RESTART)),
    }
}

fn read_restart(table: &Table<'_>) -> Restart {
    Restart {
        max: table.integer("max"),
        window: table.time("window"),
        backoff: table.time("backoff"),
        backoff_max: table.time("backoff_max"),
    }
}

/// Exactly one kind; addresses and ranges may stand together. Every kind that is written is read, so that two mistakes in
/// one resource are both seen.
fn read_kind(table: &Table<'_>, nodes: &Nodes) -> Option<Kind> {
    let vip = if table.has("vip") { "vip" } else { "range" };
    let kind = super::exactly_one(table, &[vip, "exec", "lsb", "systemd"], "vip (or range), exec, lsb and systemd");
    let addresses = table.list("vip").into_iter().filter_map(|text| parsed(Some(text))).collect();
    let ranges = table.list("range").into_iter().filter_map(|text| parsed(Some(text))).collect();
    let interfaces = table.per_node("interface", nodes);
    let label = table.text("label");
    let command = table.command("exec");
    let (lsb, systemd) = (table.text("lsb"), table.text("systemd"));
    let environment = table.strings("environment", is_variable, VARIABLE_LETTERS);
    let environment = environment.into_iter().map(|(name, text)| (name, text.value)).collect();
    let ready = Some(table.table("ready", &keys::CHECK)).filter(Table::is_written);
    let ready = ready.and_then(|table| read_check(&table));
    let directory = table.text("directory").map(|path| path.value.into());
    let user = table.text("user").map(|user| user.value);
    belongs(table, kind?);
    match kind? {
        "exec" => Some(Kind::Exec(ExecConfig { command: command?.value, environment, directory, user, ready })),
        "lsb" => lsb.map(Kind::Lsb),
        "systemd" => systemd.map(Kind::Systemd),
        _ => {
            if interfaces.is_none() {
                table.missing("interface");
            }
            Some(Kind::Vip(Vip { interfaces: interfaces?, addresses, ranges, label }))
        }
    }
}

/// Refuses keys of another kind: they would be read by nobody.
fn belongs(table: &Table<'_>, kind: &str) {
    const OF_VIPS: [&str; 2] = ["interface", "label"];
    const OF_EXEC: [&str; 4] = ["environment", "directory", "user", "ready"];
    let (is_vip, is_exec) = (kind == "vip" || kind == "range", kind == "exec");
    let strangers = OF_VIPS.iter().filter(|_| !is_vip).map(|key| (key, "`vip` and `range`"));
    let strangers = strangers.chain(OF_EXEC.iter().filter(|_| !is_exec).map(|key| (key, "`exec`")));
    for (key, owner) in strangers.filter(|(key, _)| table.has(key)) {
        let rule = format!("goes with {owner}, not with `{kind}`");
        let finding = Finding::conflict(&table.place_of(key), rule);
        table.findings.put(finding.related(&table.place_of(kind), "the resource is this"));
    }
}
