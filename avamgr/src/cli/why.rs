//! `avamgr why`: the role, its cause, what stands in the way, and what happened last.

mod event;

use avamgr_core::cluster::{GroupId, Role};
use avamgr_core::control::words::duration;
use avamgr_core::control::{GroupStatus, HistoryEntry, Request, Status};
use avamgr_core::node::event::{Fact, Severity};
use avamgr_core::time::Instant;
use serde::Serialize;

use crate::cli::output::{Styled, plural};
use crate::cli::session::Session;
use crate::cli::{CliError, advise, history, render, status};
use crate::clock;
use crate::exit::Exit;
use crate::history::store::Query;

/// Events that are searched for relevant ones.
const SEARCHED: usize = 500;

/// Relevant events that are shown.
const SHOWN: usize = 10;

/// `why --json`, one document per group.
#[derive(Debug, Serialize)]
struct Explanation<'a> {
    node: &'a str,
    group: &'a str,
    /// `None` = the snapshot is stale.
    role: Option<Role>,
    term: u64,
    since_millis: u128,
    /// Age of the snapshot.
    age_millis: u128,
    cause: &'a str,
    active_node: Option<&'a str>,
    able: bool,
    obstacles: &'a [String],
    events: Vec<&'a HistoryEntry>,
}

pub(super) fn run(session: &Session, what: Option<&str>) -> Result<Exit, CliError> {
    match what.map(str::parse) {
        Some(Ok(number)) => event::run(session, number),
        Some(Err(_)) | None => groups(session, what),
    }
}

fn groups(session: &Session, group: Option<&str>) -> Result<Exit, CliError> {
    let status = match session.status() {
        Ok(status) => status,
        Err(error) => return unknown(session, &error),
    };
    let now = clock::now();
    let entries = history::ask(session, &Request::last(SEARCHED))?;
    let chosen: Vec<(GroupId, &GroupStatus)> = (0..)
        .map(GroupId)
        .zip(&status.groups)
        .filter(|(_, found)| group.is_none_or(|name| found.group == name))
        .collect();
    if chosen.is_empty() {
        return Err(CliError::Refused(no_such_group(&status, group.unwrap_or("?"))));
    }
    for (id, group) in chosen {
        let events = relevant(&entries, id);
        if session.json() {
            session.print_json(&document(&status, group, events, now))?;
        } else {
            session.print(&explain(&status, group, &events, now))?;
        }
    }
    Ok(if render::is_stale(&status, now) { Exit::Unreachable } else { Exit::Done })
}

/// Why nothing is known, and what happened before: the store of a dead daemon still says that.
fn unknown(session: &Session, error: &CliError) -> Result<Exit, CliError> {
    let mut text = status::unknown(session, error);
    let entries = if session.json() { Vec::new() } else { history::on_disk(session, &Query::last(SHOWN)) };
    if !entries.is_empty() {
        text.push_str(&format!("  last {} before that:\n", plural(entries.len(), "event")));
        text.push_str(&indented(&entries));
    }
    session.print(&text)?;
    advise(error);
    Ok(error.exit())
}

fn no_such_group(status: &Status, given: &str) -> String {
    let names: Vec<&str> = status.groups.iter().map(|group| group.group.as_str()).collect();
    format!("no group `{given}`; there is: {}", names.join(", "))
}

fn document<'a>(
    status: &'a Status,
    group: &'a GroupStatus,
    events: Vec<&'a HistoryEntry>,
    now: Instant,
) -> Explanation<'a> {
    Explanation {
        node: &status.node,
        group: &group.group,
        role: (!render::is_stale(status, now)).then_some(group.role),
        term: group.term.0,
        since_millis: now.since(group.since).as_millis(),
        age_millis: now.since(status.now).as_millis(),
        cause: &group.cause,
        active_node: group.active_node.as_deref(),
        able: group.able,
        obstacles: &group.obstacles,
        events,
    }
}

fn explain(status: &Status, group: &GroupStatus, events: &[&HistoryEntry], now: Instant) -> String {
    let stale = render::is_stale(status, now);
    let mut text = format!(
        "{} is {} on {} (term {}, for {}; as of {} ago)\n  because {}\n",
        Styled::strong(&group.group),
        Styled::role(group.role, stale),
        status.node,
        group.term,
        duration(now.since(group.since)),
        duration(now.since(status.now)),
        group.cause
    );
    text.push_str(&standing(status, group));
    for alarm in &status.alarms {
        text.push_str(&format!("  {} {}\n", Styled::bad("ALARM"), alarm.text));
    }
    if !events.is_empty() {
        text.push_str(&format!("  last {} that matter here:\n", plural(events.len(), "event")));
        let owned: Vec<HistoryEntry> = events.iter().map(|event| (*event).clone()).collect();
        text.push_str(&indented(&owned));
    }
    text
}

fn indented(entries: &[HistoryEntry]) -> String {
    history::lines(entries).lines().map(|line| format!("    {line}\n")).collect()
}

/// What stands between the node and the role, or why it would not lose it.
fn standing(status: &Status, group: &GroupStatus) -> String {
    match group.role {
        Role::Active if group.obstacles.is_empty() => {
            "  nothing stands in its way; it stays here until it fails, is moved or this node is isolated\n".to_owned()
        }
        Role::Active | Role::Standby | Role::Activating | Role::Deactivating | Role::Fault => {
            let owner = group.active_node.as_deref().unwrap_or("no node that is heard");
            let mut text = format!("  active on {owner}\n");
            if group.role == Role::Deactivating {
                text.push_str("  its resources are being brought down; until they are, no node may start them\n");
            } else if group.obstacles.is_empty() {
                text.push_str(&format!("  nothing stands in the way: {} takes over when it has to\n", status.node));
            }
            for obstacle in &group.obstacles {
                text.push_str(&format!("  in the way: {}\n", Styled::notable(obstacle)));
            }
            text
        }
    }
}

/// The last events about this group, and of those about the whole node the ones that matter to every group.
fn relevant(entries: &[HistoryEntry], group: GroupId) -> Vec<&HistoryEntry> {
    let matters = |entry: &&HistoryEntry| match entry.event.fact.group() {
        Some(about) => about == group,
        None => entry.severity > Severity::Info || is_order(&entry.event.fact),
    };
    let mut last: Vec<&HistoryEntry> = entries.iter().rev().filter(matters).take(SHOWN).collect();
    last.reverse();
    last
}

fn is_order(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Command { .. }
            | Fact::Hold { .. }
            | Fact::NotIsolated
            | Fact::Started { .. }
            | Fact::Stopping { .. }
            | Fact::Upgrade { .. }
    )
}
