//! Rules over several durations: inequalities that must hold, or that an operator should know about when they do not.
//!
//! Each names both sides with their values, so `avamgr check` can print all of them and a refusal explains itself. They
//! are judged on the finished timers: it makes no difference whether a number was set or derived. Rules about names and
//! addresses are in [`super::rules`].

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::time::{shrink, stretch};

use super::derive::{HOLD_FORMULA, HOLD_FROM, hold_bound};
use super::value::format_duration;
use super::{Authority, Config, Failback, GroupConfig, ResourceConfig, ResourceKind, Timers};

/// One and a half election timeouts of etcd, in whole seconds: it holds no lease for less.
const SHORTEST_ETCD_LEASE: Duration = Duration::from_secs(2);

/// One side: an expression and what it comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Names and numbers, as in `3 x guard_refresh`.
    pub expression: String,
    /// Its value.
    pub value: Duration,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.expression, format_duration(self.value))
    }
}

/// How the sides must stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Relation {
    /// Left is smaller.
    #[serde(rename = "<")]
    Less,
    /// Left is not larger.
    #[serde(rename = "<=")]
    AtMost,
}

impl Relation {
    /// In words that follow "must be".
    pub fn words(self) -> &'static str {
        match self {
            Self::Less => "less than",
            Self::AtMost => "at most",
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Less => "<",
            Self::AtMost => "<=",
        })
    }
}

/// One rule with its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inequality {
    /// What it is about.
    pub name: String,
    /// What must be smaller.
    pub left: Side,
    /// The relation.
    pub relation: Relation,
    /// What must be larger.
    pub right: Side,
    /// Whether it holds.
    pub holds: bool,
    /// Whether a file is refused when it does not; otherwise it is good to know.
    pub required: bool,
    /// What goes wrong without it.
    pub why: &'static str,
    /// What to do when it does not hold, where that is not plain.
    pub remedy: Option<&'static str>,
    /// Paths of the keys in it; the first that is written is the one to point at.
    #[serde(skip)]
    pub(super) uses: Vec<String>,
}

impl fmt::Display for Inequality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.left, self.relation, self.right)
    }
}

impl Inequality {
    fn new(name: impl Into<String>, left: Side, relation: Relation, right: Side, why: &'static str) -> Self {
        let holds = match relation {
            Relation::Less => left.value < right.value,
            Relation::AtMost => left.value <= right.value,
        };
        Self { name: name.into(), left, relation, right, holds, required: true, why, remedy: None, uses: Vec::new() }
    }

    fn advice(mut self) -> Self {
        self.required = false;
        self
    }

    fn remedy(mut self, remedy: &'static str) -> Self {
        self.remedy = Some(remedy);
        self
    }

    fn timers(mut self, names: &[&str]) -> Self {
        self.uses.extend(names.iter().map(|name| timer_key(name)));
        self
    }

    fn key(mut self, path: String) -> Self {
        self.uses.push(path);
        self
    }
}

/// Path of a timer's key.
pub(super) fn timer_key(name: &str) -> String {
    let section = if name == "failover_budget" { "cluster" } else { "timers" };
    format!("{section}.{name}")
}

fn side(expression: impl Into<String>, value: Duration) -> Side {
    Side { expression: expression.into(), value }
}

/// Every inequality of this config, those that hold and those that do not.
pub fn inequalities(config: &Config) -> Vec<Inequality> {
    let mut list = Vec::new();
    if !config.standalone {
        list.extend(detection(&config.timers));
        list.extend(match config.authority {
            Authority::Ping => takeover(&config.timers),
            Authority::Lease => lease(&config.timers),
            Authority::Etcd => etcd(&config.timers),
        });
        list.extend(switchover(config));
        list.extend(failback(config));
    }
    list.extend(guard(config));
    list.extend(watchdog(config));
    for (group, resource) in resources(config) {
        list.extend(restart(group, resource));
        let stops = is_service(resource) && !config.standalone;
        list.extend(stops.then(|| stop(&config.timers, group, resource)));
    }
    list
}

fn detection(t: &Timers) -> Vec<Inequality> {
    use Relation::{AtMost, Less};
    let interval = || side("heartbeat_interval", t.heartbeat_interval);
    let dead = || side("dead_time", t.dead_time);
    let suspect = || side("suspect_time", t.suspect_time);
    vec![
        Inequality::new("late frame", interval(), Less, suspect(), "a link would be suspect between any two frames")
            .timers(&["suspect_time", "heartbeat_interval"]),
        Inequality::new(
            "suspect first",
            suspect(),
            Less,
            dead(),
            "a peer would be dead before anybody had asked again",
        )
        .timers(&["suspect_time", "dead_time"]),
        Inequality::new(
            "a lost frame",
            side("2 x heartbeat_interval", t.heartbeat_interval * 2),
            AtMost,
            dead(),
            "one lost frame would be a dead link",
        )
        .timers(&["dead_time", "heartbeat_interval"]),
        Inequality::new(
            "probe pace",
            side("2 x probe_interval", t.probe_interval * 2),
            AtMost,
            interval(),
            "a suspect peer would not be asked faster than a healthy one",
        )
        .timers(&["probe_interval", "heartbeat_interval"]),
        Inequality::new(
            "time to probe",
            side("suspect_time + 2 x probe_interval", t.suspect_time + t.probe_interval * 2),
            AtMost,
            dead(),
            "a suspect peer would have no time to answer a probe",
        )
        .timers(&["suspect_time", "probe_interval", "dead_time"]),
        Inequality::new(
            "start grace",
            side("2 x dead_time", t.dead_time * 2),
            AtMost,
            side("start_grace", t.start_grace),
            "two nodes booted together would not have heard each other yet",
        )
        .timers(&["start_grace", "dead_time"]),
    ]
}

fn takeover(t: &Timers) -> Vec<Inequality> {
    use Relation::AtMost;
    vec![
        Inequality::new(
            "arbitrator timeout",
            side("arbitrator_timeout", t.arbitrator_timeout),
            AtMost,
            side("arbitrator_interval", t.arbitrator_interval),
            "questions to the arbitrator would pile up",
        )
        .timers(&["arbitrator_timeout", "arbitrator_interval"]),
        Inequality::new(
            "hold time",
            side(HOLD_FORMULA, hold_bound(t)),
            AtMost,
            side("hold_time", t.hold_time),
            "an isolated ACTIVE node could still own the addresses when its peer takes them",
        )
        .remedy("leave hold_time out to have it derived")
        .timers(&["hold_time"])
        .timers(HOLD_FROM),
        Inequality::new(
            "failover budget",
            side("hold_time + vip_probe_time", t.hold_time + t.vip_probe_time),
            AtMost,
            side("failover_budget", t.failover_budget),
            "a takeover without proof would take longer than was asked for",
        )
        .remedy("raise failover_budget, or lower heartbeat_interval, arbitrator_timeout or stop_bound")
        .timers(&["hold_time", "vip_probe_time", "failover_budget"])
        .timers(HOLD_FROM),
    ]
}

fn lease(t: &Timers) -> Vec<Inequality> {
    use Relation::{AtMost, Less};
    vec![
        Inequality::new(
            "renewal",
            side("1.5 x heartbeat_interval + guard_margin", t.heartbeat_interval * 3 / 2 + t.guard_margin),
            Less,
            side("lease_time x (1 - clock_rate_ppm / 1000000)", shrink(t.lease_time, t.clock_rate_ppm)),
            "an ACTIVE node would lose its lease between two ordinary renewals",
        )
        .timers(&["lease_time", "heartbeat_interval", "guard_margin", "clock_rate_ppm"]),
        Inequality::new(
            "failover budget",
            side(
                "lease_time x (1 + clock_rate_ppm / 1000000) + heartbeat_interval + vip_probe_time",
                stretch(t.lease_time, t.clock_rate_ppm) + t.heartbeat_interval + t.vip_probe_time,
            ),
            AtMost,
            side("failover_budget", t.failover_budget),
            "a takeover from a silent peer would take longer than was asked for",
        )
        .remedy("raise failover_budget, or lower heartbeat_interval or lease_time")
        .timers(&["lease_time", "clock_rate_ppm", "heartbeat_interval", "vip_probe_time", "failover_budget"]),
    ]
}

/// How long a takeover takes is up to etcd: its seconds are as they are, so the budget is no reason to refuse a file.
fn etcd(t: &Timers) -> Vec<Inequality> {
    let least = Inequality::new(
        "lease of etcd",
        side("2s", SHORTEST_ETCD_LEASE),
        Relation::AtMost,
        side("lease_time", t.lease_time),
        "etcd would hold the lease for longer than this node counts on it: its shortest is 2s",
    );
    let mut rules = vec![least.timers(&["lease_time"])];
    rules.extend(lease(t).into_iter().map(|rule| if rule.name == "failover budget" { rule.advice() } else { rule }));
    rules
}

fn switchover(config: &Config) -> Option<Inequality> {
    let step = |resource: &ResourceConfig| resource.start_timeout.max(resource.stop_timeout);
    let (group, slowest) = resources(config).max_by_key(|(_, resource)| step(resource))?;
    let key = if slowest.start_timeout >= slowest.stop_timeout { "start_timeout" } else { "stop_timeout" };
    let left = side(format!("{key} of {}/{}", group.name, slowest.name), step(slowest));
    let right = side("switchover_timeout", config.timers.switchover_timeout);
    let why = "a switchover would be rolled back while a resource is within its time";
    let rule = Inequality::new("switchover timeout", left, Relation::Less, right, why);
    Some(rule.timers(&["switchover_timeout"]).key(path(group, slowest, key)))
}

fn failback(config: &Config) -> Option<Inequality> {
    let automatic = config.groups.iter().any(|group| group.failback == Failback::Auto);
    let t = &config.timers;
    let rule = Inequality::new(
        "failback",
        side("start_grace", t.start_grace),
        Relation::AtMost,
        side("failback_settle", t.failback_settle),
        "a group would go back to a node that has just started",
    );
    automatic.then(|| rule.timers(&["failback_settle", "start_grace"]))
}

fn guard(config: &Config) -> Vec<Inequality> {
    let t = &config.timers;
    let mut list = vec![
        Inequality::new(
            "guard refresh",
            side("3 x guard_refresh", t.guard_refresh * 3),
            Relation::AtMost,
            side("guard_lifetime", t.guard_lifetime),
            "a moment's delay would take the addresses from a healthy ACTIVE node",
        )
        .timers(&["guard_refresh", "guard_lifetime"]),
    ];
    if !config.standalone {
        let second = Duration::from_secs(1);
        let left = side("guard_lifetime + 1s", t.guard_lifetime + second);
        let why =
            "the daemon of an ACTIVE node that hangs keeps its addresses for the difference after its peer took them";
        let rule = Inequality::new("guard within hold", left, Relation::AtMost, side("hold_time", t.hold_time), why);
        list.push(rule.timers(&["guard_lifetime", "hold_time"]).advice());
    }
    list
}

/// Whole seconds are all that such a timer can count, so it goes with timers of seconds only.
fn watchdog(config: &Config) -> Option<Inequality> {
    let t = &config.timers;
    let left = side("timeout of the watchdog", config.watchdog.as_ref()?.timeout);
    let (right, names): (_, &[_]) = match config.authority {
        _ if config.standalone => return None,
        Authority::Ping => (side("dead_time", t.dead_time), &["dead_time"]),
        Authority::Lease | Authority::Etcd => {
            let right = t.lease_time.saturating_sub(t.heartbeat_interval * 2);
            (side("lease_time - 2 x heartbeat_interval", right), &["lease_time", "heartbeat_interval"])
        }
    };
    let why = "a node that hangs would be reset only after its peer has taken over";
    let rule = Inequality::new("watchdog", left, Relation::AtMost, right, why);
    let remedy = "lower `timeout`, which counts whole seconds, or raise failover_budget";
    Some(rule.key("watchdog.timeout".to_owned()).timers(names).remedy(remedy))
}

fn stop(t: &Timers, group: &GroupConfig, resource: &ResourceConfig) -> Inequality {
    let left = side("stop_timeout", resource.stop_timeout);
    let right = side("stop_bound", t.stop_bound);
    let why = "a service that needs longer to stop is killed when its node is isolated";
    let name = format!("stop of {}/{} when isolated", group.name, resource.name);
    let rule = Inequality::new(name, left, Relation::AtMost, right, why);
    rule.key(path(group, resource, "stop_timeout")).timers(&["stop_bound"]).advice()
}

fn restart(group: &GroupConfig, resource: &ResourceConfig) -> Vec<Inequality> {
    let restart = &resource.restart;
    let key = |key: &str| path(group, resource, &format!("restart.{key}"));
    let mut list = vec![
        Inequality::new(
            format!("restart pause of {}/{}", group.name, resource.name),
            side("backoff", restart.backoff),
            Relation::AtMost,
            side("backoff_max", restart.backoff_max),
            "the first pause would be longer than the longest",
        )
        .key(key("backoff"))
        .key(key("backoff_max")),
    ];
    if restart.max > 0 {
        let left = side(format!("the pauses before {} restarts", restart.max), pauses(resource));
        let why = "failures would be forgotten faster than they can happen, and it would never fail over";
        let name = format!("restart window of {}/{}", group.name, resource.name);
        let rule = Inequality::new(name, left, Relation::Less, side("window", restart.window), why);
        list.push(rule.key(key("window")).key(key("max")).key(key("backoff")).key(key("backoff_max")));
    }
    list
}

/// The pauses before all restarts in place: each twice the one before, up to the longest.
fn pauses(resource: &ResourceConfig) -> Duration {
    let restart = &resource.restart;
    let mut pause = restart.backoff.min(restart.backoff_max);
    let mut sum = Duration::ZERO;
    for _ in 0..restart.max {
        sum = sum.saturating_add(pause);
        pause = pause.saturating_mul(2).min(restart.backoff_max);
    }
    sum
}

fn resources(config: &Config) -> impl Iterator<Item = (&GroupConfig, &ResourceConfig)> {
    config.groups.iter().flat_map(|group| group.resources.iter().map(move |resource| (group, resource)))
}

fn is_service(resource: &ResourceConfig) -> bool {
    match &resource.kind {
        ResourceKind::Vip(_) => false,
        ResourceKind::Exec(_) | ResourceKind::Lsb(_) | ResourceKind::Systemd(_) => true,
    }
}

fn path(group: &GroupConfig, resource: &ResourceConfig, key: &str) -> String {
    format!("group.{}.resource.{}.{key}", group.name, resource.name)
}

#[cfg(test)]
mod tests;
