//! What a step must lead to and must not do on the way, and what was seen instead.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use avamgr_core::cluster::Role;
use avamgr_core::node::event::Fact;
use avamgr_core::time::Instant;
use avamgr_lab::mark;

use super::cluster::{Cluster, View};
use super::config::LINKS;
use super::text::millis;
use crate::clock;

/// Two ends of the lab write down who owns an address, each when it gets a processor. What overlaps less is no overlap:
/// a real conflict lasts at least until the next heartbeat.
const RECORD_BLUR: Duration = Duration::from_millis(20);

/// How long the record of owners may be behind the kernels.
const RECORD_LAG: Duration = Duration::from_secs(1);

/// The last answer before a fault is found within this.
const BEFORE: Duration = Duration::from_millis(50);

/// A moment on both clocks: that of the lab and that of the daemons.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) lab: std::time::Instant,
    pub(super) node: Instant,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { lab: mark(), node: clock::now() }
    }

    pub(super) fn elapsed(self) -> Duration {
        self.lab.elapsed()
    }
}

/// What a step must lead to.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    /// The node that is ACTIVE at the end.
    pub(super) active: String,
    /// The node that is STANDBY; none if it has no power.
    pub(super) standby: Option<String>,
    /// The dedicated links, as every node with power sees them.
    pub(super) links_up: [bool; 2],
    /// Whether the group changes its node.
    pub(super) moves: bool,
    /// How long the virtual addresses may be silent; none before they exist.
    pub(super) silence_max: Option<Duration>,
}

/// One expectation and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) expected: String,
    pub(super) seen: String,
    pub(super) ok: bool,
}

impl Finding {
    pub(super) fn new(expected: impl Into<String>, seen: impl Into<String>, ok: bool) -> Self {
        Self { expected: expected.into(), seen: seen.into(), ok }
    }
}

/// How things stand, against how they should stand. The service is called only when all else is well.
pub(super) fn state(cluster: &Cluster, expected: &Expected) -> Vec<Finding> {
    let views = cluster.views();
    let mut findings = vec![roles(&views, expected), links(&views, expected), arbitrator(&views)];
    findings.extend(cluster.vips().map(|vip| owner(cluster, vip, expected)));
    if findings.iter().all(|finding| finding.ok) {
        findings.push(service(cluster, expected));
    }
    findings
}

fn roles(views: &[View], expected: &Expected) -> Finding {
    let wanted = |view: &View| {
        if view.name == expected.active {
            Some(Role::Active)
        } else {
            expected.standby.as_ref().filter(|name| **name == view.name).map(|_| Role::Standby)
        }
    };
    let words = |of: &dyn Fn(&View) -> String| {
        let words: Vec<String> = views.iter().map(|view| format!("{} {}", view.name, of(view))).collect();
        words.join(", ")
    };
    let ok = views.iter().all(|view| if view.has_power { view.role() == wanted(view) } else { wanted(view).is_none() });
    let expected = words(&|view| wanted(view).map_or_else(|| "without power".to_owned(), |role| role.to_string()));
    Finding::new(expected, words(&role_words), ok)
}

/// The role of a node, or why it is not known.
pub(super) fn role_words(view: &View) -> String {
    match (view.role(), &view.status) {
        (Some(role), _) => role.to_string(),
        (None, _) if !view.has_power => "without power".to_owned(),
        (None, _) if !view.daemon_runs => "UNKNOWN (its daemon does not run)".to_owned(),
        (None, None) => "UNKNOWN (its daemon has not answered yet)".to_owned(),
        (None, Some(_)) => format!("UNKNOWN (last heard {} ago)", millis(view.age)),
    }
}

fn links(views: &[View], expected: &Expected) -> Finding {
    let state = |up: bool| if up { "up" } else { "down" };
    let mut ok = true;
    let mut seen = Vec::new();
    for view in views.iter().filter(|view| view.has_power) {
        for ((name, _), up) in LINKS.iter().zip(expected.links_up) {
            let link = view.link(name).unwrap_or("unknown");
            ok &= link == state(up);
            seen.push(format!("{name} {link} ({})", view.name));
        }
    }
    let wanted = LINKS.iter().zip(expected.links_up).map(|((name, _), up)| format!("{name} {}", state(up)));
    Finding::new(wanted.collect::<Vec<_>>().join(", "), seen.join(", "), ok)
}

/// Each dedicated link in one word, or in several where the nodes differ.
pub(super) fn links_seen(views: &[View]) -> [String; 2] {
    LINKS.map(|(name, _)| {
        let powered = views.iter().filter(|view| view.has_power);
        let states: BTreeSet<&str> = powered.map(|view| view.link(name).unwrap_or("unknown")).collect();
        states.into_iter().collect::<Vec<_>>().join("/")
    })
}

fn arbitrator(views: &[View]) -> Finding {
    let mut ok = true;
    let mut seen = Vec::new();
    for view in views.iter().filter(|view| view.has_power) {
        let arbitrator = view.fresh().and_then(|status| status.arbitrator.as_ref());
        let state = arbitrator.map_or("unknown", |arbitrator| arbitrator.state.as_str());
        ok &= state == "reachable";
        seen.push(format!("{state} ({})", view.name));
    }
    Finding::new("arbitrator reachable", format!("arbitrator {}", seen.join(", ")), ok)
}

fn owner(cluster: &Cluster, vip: IpAddr, expected: &Expected) -> Finding {
    let owners = cluster.lab.owners().of(vip);
    let seen = if owners.is_empty() { "no node".to_owned() } else { owners.join(" and ") };
    let ok = owners == [expected.active.as_str()];
    Finding::new(format!("{vip} on {}", expected.active), format!("{vip} on {seen}"), ok)
}

fn service(cluster: &Cluster, expected: &Expected) -> Finding {
    let answers = cluster.vips().map(|vip| cluster.call(vip));
    let ok = answers.iter().all(|answer| answer.as_deref() == Some(expected.active.as_str()));
    let words: Vec<String> = cluster
        .vips()
        .iter()
        .zip(&answers)
        .map(|(vip, answer)| format!("{vip} {}", answer.as_deref().map_or("nobody".to_owned(), |node| format!("from {node}"))))
        .collect();
    Finding::new(
        format!("the service answers at both VIPs from {}", expected.active),
        format!("the service answers at {}", words.join(", ")),
        ok,
    )
}

/// What the client measured at both addresses.
pub(super) fn silences(cluster: &Cluster, begin: Moment) -> [Duration; 2] {
    let from = begin.lab.checked_sub(BEFORE).unwrap_or(begin.lab);
    cluster.vips().map(|vip| cluster.probe().outage_since(vip, from).longest)
}

/// What happened on the way, against what must not happen.
pub(super) fn course(cluster: &Cluster, expected: &Expected, begin: Moment, silences: Option<[Duration; 2]>) -> Vec<Finding> {
    let mut findings = vec![one_owner(cluster, begin)];
    if !expected.moves {
        findings.push(nobody_moved(cluster, begin));
    }
    if let (Some(max), Some(silences)) = (expected.silence_max, silences) {
        let longest = silences.into_iter().max().unwrap_or_default();
        let seen = format!("silent for {}", millis(longest));
        findings.push(Finding::new(format!("VIPs silent for at most {}", millis(max)), seen, longest <= max));
    }
    let record = cluster.lab.cross_check_owners(RECORD_LAG);
    let ok = record.is_ok();
    let seen = record.err().map_or_else(|| "it does".to_owned(), |error| error.to_string());
    findings.push(Finding::new("the record of owners agrees with the kernels", seen, ok));
    findings
}

fn one_owner(cluster: &Cluster, begin: Moment) -> Finding {
    let owners = cluster.lab.owners();
    let now = mark();
    let dual = cluster.vips().map(|vip| owners.between(vip, begin.lab, now).dual).into_iter().max().unwrap_or_default();
    let complete = !owners.overrun_since(begin.lab);
    let seen = match complete {
        true => format!("on two nodes for {}", millis(dual)),
        false => "the record has gaps: the machine is too busy".to_owned(),
    };
    let ok = complete && dual <= RECORD_BLUR && conflicts(cluster, begin) == 0;
    Finding::new("no VIP ever on two nodes", seen, ok)
}

/// How often a node noticed that two were ACTIVE.
fn conflicts(cluster: &Cluster, begin: Moment) -> usize {
    let events = cluster.nodes().iter().flat_map(|node| node.watch().events_since(begin.node));
    events.filter(|entry| matches!(entry.event.fact, Fact::DualActive { .. })).count()
}

fn nobody_moved(cluster: &Cluster, begin: Moment) -> Finding {
    let mut seen = Vec::new();
    for entry in cluster.nodes().iter().flat_map(|node| node.watch().events_since(begin.node)) {
        // A daemon that starts goes to STANDBY, which concerns nobody else.
        if let Fact::RoleChanged { from, to, .. } = &entry.event.fact
            && [*from, *to].iter().any(|role| matches!(role, Role::Active | Role::Activating))
        {
            seen.push(format!("{}: {}", entry.node, entry.text));
        }
    }
    let ok = seen.is_empty();
    Finding::new("no change of the ACTIVE node", if ok { "none".to_owned() } else { seen.join("; ") }, ok)
}
