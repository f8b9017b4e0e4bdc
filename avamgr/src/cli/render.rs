//! Status as text: what needs a human first, then who is ACTIVE and why, then what that rests on.
//!
//! Pure: a status and the time in, text out. Every figure that can go stale stands with its age; a snapshot that is too
//! old makes every role UNKNOWN.

mod paths;

use std::collections::BTreeMap;
use std::time::Duration;

use avamgr_core::cluster::Role;
use avamgr_core::control::words::{self, duration};
use avamgr_core::control::{
    CheckStatus, DriverStatus, GroupStatus, HoldStatus, LeaseStatus, PeerStatus, ResourceStatus, Status,
};
use avamgr_core::time::Instant;
use serde::Serialize;

use crate::cli::output::{Columns, Styled, ago, lasting, plural, shortened};
use crate::courier::render as courier;

/// Age at which a snapshot says nothing any more: the daemon renews it every second.
pub const STALE: Duration = Duration::from_secs(5);

/// Whether a snapshot says nothing about now.
pub fn is_stale(status: &Status, now: Instant) -> bool {
    now.since(status.now) > STALE
}

/// `status --json`: the status with its age, or why there is none. A stale one is under another key, so that no script takes
/// it for the truth.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StatusDocument<'a> {
    /// `known`, `stale` or `unknown`.
    pub state: &'static str,
    /// Why it is not known.
    pub reason: Option<String>,
    /// Age of the snapshot.
    pub age_millis: Option<u64>,
    /// The status, when it is known.
    pub status: Option<&'a Status>,
    /// The last one, when it is stale.
    pub last_known: Option<&'a Status>,
}

impl<'a> StatusDocument<'a> {
    /// Of a snapshot.
    pub fn of(status: &'a Status, now: Instant) -> Self {
        let age = now.since(status.now);
        let age_millis = Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        if is_stale(status, now) {
            let reason = Some(format!("the decision loop has not run for {}", duration(age)));
            return Self { state: "stale", reason, age_millis, status: None, last_known: Some(status) };
        }
        Self { state: "known", reason: None, age_millis, status: Some(status), last_known: None }
    }

    /// Of a daemon that cannot be asked.
    pub fn unknown(reason: String) -> Self {
        Self { state: "unknown", reason: Some(reason), age_millis: None, status: None, last_known: None }
    }
}

/// The whole status for a screen.
pub fn status(status: &Status, now: Instant) -> String {
    let mut text = head(status, now);
    text.push_str(&attention(status, now));
    for group in &status.groups {
        text.push('\n');
        text.push_str(&self::group(group, status, now));
    }
    text.push('\n');
    text.push_str(&paths::peers(status, now));
    text.push_str(&paths::arbitrator(status, now));
    text.push_str(&paths::witness(status, now));
    text.push_str(&status.rules.as_ref().map(|rules| courier::line(rules, now)).unwrap_or_default());
    text.push_str(&ready(&status.ready, now));
    text.push_str(&driver(&status.driver, status.started, now));
    text
}

/// One line: `hadev1: dre ACTIVE (term 7), mysql STANDBY (term 3), offline, 1 alarm`.
pub fn short(status: &Status, now: Instant) -> String {
    let stale = is_stale(status, now);
    let role =
        |group: &GroupStatus| format!("{} {} (term {})", group.group, Styled::role(group.role, stale), group.term);
    let groups: Vec<String> = status.groups.iter().map(role).collect();
    let mut parts = groups;
    for hold in &status.holds {
        let of = hold.group.as_ref().map(|group| format!(" of {group}")).unwrap_or_default();
        parts.push(Styled::notable(format!("{}{of}", words::hold(hold.hold))).to_string());
    }
    if status.isolated {
        parts.push(Styled::bad("ISOLATED").to_string());
    }
    if !status.alarms.is_empty() {
        parts.push(Styled::bad(plural(status.alarms.len(), "alarm")).to_string());
    }
    format!("{}: {}\n", status.node, parts.join(", "))
}

fn head(status: &Status, now: Instant) -> String {
    let age = duration(now.since(status.now));
    let mut text = format!(
        "{} of cluster {}, safety class {}, as of {age} ago\n",
        Styled::strong(&status.node),
        status.cluster,
        status.safety_class
    );
    if is_stale(status, now) {
        let warning =
            format!("STALE: the decision loop of this daemon has not run for {age}; how things stand is UNKNOWN");
        text.push_str(&format!("{}\n", Styled::bad(warning)));
    }
    text
}

/// What a human must know before anything else.
fn attention(status: &Status, now: Instant) -> String {
    let mut lines = Vec::new();
    if status.isolated {
        lines.push((Styled::bad("ISOLATED"), "every link is silent and the arbitrator does not answer".to_owned()));
    }
    for alarm in &status.alarms {
        lines.push((Styled::bad("ALARM"), format!("{} ({})", alarm.text, lasting(now, alarm.since))));
    }
    for hold in &status.holds {
        lines.push((Styled::notable("HOLD"), hold_words(hold, now)));
    }
    let mut columns = Columns::default();
    for (label, text) in lines {
        columns.row([label, text.into()]);
    }
    let text = columns.lines(0);
    if text.is_empty() { text } else { format!("\n{text}") }
}

fn hold_words(hold: &HoldStatus, now: Instant) -> String {
    let of = hold.group.as_ref().map_or_else(|| "this node".to_owned(), |group| format!("group {group}"));
    let until = hold.until.map_or_else(
        || "until an operator lifts it".to_owned(),
        |until| format!("for another {}", duration(until.since(now))),
    );
    format!("{} of {of}, {}, {until}", words::hold(hold.hold), lasting(now, hold.since))
}

fn group(group: &GroupStatus, status: &Status, now: Instant) -> String {
    let stale = is_stale(status, now);
    let mut text = format!(
        "{}  {}, term {}, {}\n",
        Styled::strong(&group.group),
        Styled::role(group.role, stale),
        group.term,
        lasting(now, group.since)
    );
    let mut detail = Columns::default();
    detail.row(["because".into(), group.cause.clone().into()]);
    if group.role != Role::Active {
        detail.row(["active on".into(), owner(group, status)]);
        if group.position > 0 {
            detail.row(["position".into(), format!("{} in the order of succession", group.position).into()]);
        }
    }
    for (index, obstacle) in group.obstacles.iter().enumerate() {
        let label = if index == 0 { "in the way" } else { "" };
        detail.row([label.into(), Styled::notable(obstacle)]);
    }
    if let Some(switchover) = &group.switchover {
        detail.row(["under way".into(), Styled::notable(switchover)]);
    }
    if group.failovers > 0 {
        let count = plural(usize::try_from(group.failovers).unwrap_or(usize::MAX), "automatic takeover");
        detail.row(["lately".into(), Styled::notable(count)]);
    }
    if let Some(lease) = &group.lease {
        // A lease is renewed many times a second: what is left of it is told as of the snapshot.
        for (index, line) in lease_lines(lease, status.now).into_iter().enumerate() {
            detail.row([if index == 0 { "lease" } else { "" }.into(), line.into()]);
        }
    }
    text.push_str(&detail.lines(4));
    text.push_str(&resources(&group.resources, now));
    text
}

/// Until when this node has it, and who has promised what to whom.
fn lease_lines(lease: &LeaseStatus, now: Instant) -> Vec<String> {
    let held = match lease.held_until {
        Some(until) if until > now => format!("held here for another {}", duration(until.since(now))),
        Some(until) => format!("held here until {} ago", duration(now.since(until))),
        None => "not held here".to_owned(),
    };
    let mut lines = vec![format!("{held} (a majority is {} of {} votes)", lease.majority, lease.votes.len())];
    for vote in &lease.votes {
        let to = match (&vote.holder, vote.term, vote.until) {
            (Some(holder), Some(term), Some(until)) if until > now => {
                format!("promised to {holder}, term {term}, for another {}", duration(until.since(now)))
            }
            // Its own vote lasts as long as it wants it.
            (Some(holder), Some(term), Some(_)) if *holder == vote.voter => format!("its own, term {term}"),
            (_, _, _) => "promised to nobody, or not known here".to_owned(),
        };
        lines.push(format!("{}: {to}", vote.voter));
    }
    lines
}

/// Who has the group, as far as this node can say: a peer that is not heard has nothing for certain.
fn owner(group: &GroupStatus, status: &Status) -> Styled {
    let Some(name) = &group.active_node else { return Styled::notable("no node that is heard") };
    let heard = |peer: &PeerStatus| peer.node == *name && paths::is_heard(peer);
    if *name == status.node || status.peers.iter().any(heard) {
        Styled::strong(name)
    } else {
        Styled::notable(format!("UNKNOWN ({name} when it was last heard)"))
    }
}

fn resources(resources: &[ResourceStatus], now: Instant) -> String {
    let mut text = String::new();
    let mut columns = Columns::default();
    for resource in resources {
        columns.row([
            resource.resource.clone().into(),
            resource.kind.clone().into(),
            Styled::state(&resource.state),
            lasting(now, resource.since).into(),
            Styled::faint(shortened(&resource.what)),
        ]);
    }
    for (line, resource) in columns.lines(4).lines().zip(resources) {
        text.push_str(line);
        text.push('\n');
        for remark in remarks(resource, now) {
            text.push_str(&format!("      {remark}\n"));
        }
    }
    text
}

fn remarks(resource: &ResourceStatus, now: Instant) -> Vec<Styled> {
    let mut remarks = Vec::new();
    if let Some(failure) = &resource.failure {
        let times = plural(usize::try_from(resource.failures).unwrap_or(usize::MAX), "failure");
        let when = ago(now, resource.failed);
        remarks.push(Styled::bad(format!("last failure {when}: {failure} ({times} in its window)")));
    }
    if let Some(unable) = &resource.unable {
        remarks.push(Styled::notable(format!("could not be started here: {unable}")));
    }
    if resource.held {
        let again = format!("stopped by an operator: `avamgr resource start {}` starts it", resource.resource);
        remarks.push(Styled::notable(again));
    }
    remarks
}

fn ready(checks: &[CheckStatus], now: Instant) -> String {
    let mut columns = Columns::default();
    for check in checks {
        let (state, since) = match check.ready {
            Some(true) => (Styled::state("ok"), lasting(now, check.since)),
            Some(false) => (Styled::state("failed"), lasting(now, check.since)),
            None => (Styled::state("unknown"), "not checked yet".to_owned()),
        };
        let reason = check.reason.clone().unwrap_or_default();
        columns.row(["ready check".into(), check.check.clone().into(), state, since.into(), reason.into()]);
    }
    columns.lines(0)
}

fn driver(driver: &DriverStatus, started: Instant, now: Instant) -> String {
    let mut text = format!(
        "daemon {}, pid {}, up {}; heartbeats {}; guard {}\n",
        driver.version,
        driver.pid,
        duration(now.since(started)),
        driver.scheduling,
        driver.guard
    );
    text.push_str(&datagrams(&driver.link_counters));
    text
}

/// The driver's counters, named `LINK COUNTER`: what came and went on each link, and whatever should not have.
fn datagrams(counters: &BTreeMap<String, u64>) -> String {
    let (mut links, mut odd) = (BTreeMap::<&str, [u64; 2]>::new(), Vec::new());
    for (name, count) in counters {
        match name.rsplit_once(' ') {
            Some((link, "received")) => links.entry(link).or_default()[0] += count,
            Some((link, "sent")) => links.entry(link).or_default()[1] += count,
            Some(_) | None if *count > 0 => odd.push(format!("{name} {count}")),
            Some(_) | None => {}
        }
    }
    let mut text = String::new();
    if !links.is_empty() {
        let traffic = |(link, [received, sent]): (&&str, &[u64; 2])| format!("{link} {received} in {sent} out");
        text.push_str(&format!("datagrams: {}\n", links.iter().map(traffic).collect::<Vec<_>>().join(", ")));
    }
    if !odd.is_empty() {
        text.push_str(&format!("datagrams refused or lost: {}\n", odd.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests;
