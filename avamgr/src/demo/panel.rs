//! The panel: how things stand now, each figure with its age.

use std::time::Duration;

use avamgr_core::cluster::Role;
use avamgr_core::control::Status;
use avamgr_core::time::Instant;

use super::cluster::{Cluster, View};
use super::config::LINKS;
use super::expect::role_words;
use super::text::{Line, age, columns};

/// Columns of the rule above the panel.
const RULE: usize = 78;

/// A line per node under a headline.
pub(super) fn nodes(views: &[View]) -> Vec<Line> {
    let head = ["", "role", LINKS[0].0, LINKS[1].0, "neutral", "arbitrator", "service"];
    let mut rows = vec![head.map(Line::faint).to_vec()];
    rows.extend(views.iter().map(row));
    let mut lines = vec![Line::faint("-".repeat(RULE))];
    lines.extend(columns(rows));
    lines
}

fn row(view: &View) -> Vec<Line> {
    let mut cells = vec![Line::strong(&view.name), role(view)];
    let Some(status) = view.fresh() else {
        return cells;
    };
    cells.extend(LINKS.map(|(name, _)| name).into_iter().chain(["neutral"]).map(|name| link(status, view.age, name)));
    cells.push(status.arbitrator.as_ref().map_or_else(Line::default, |arbitrator| {
        let answered = arbitrator.addresses.iter().filter_map(|address| address.answered).max();
        state(&arbitrator.state).text(" ").then(aged(status.now, view.age, answered))
    }));
    let service = view.group().and_then(|group| group.resources.last());
    cells.push(service.map_or_else(Line::default, |service| state(&service.state)));
    cells
}

/// A role as it is shown everywhere in the demo.
pub(super) fn role(view: &View) -> Line {
    let words = role_words(view);
    match view.role() {
        Some(Role::Active) => Line::active(words),
        Some(Role::Standby) => Line::calm(words),
        Some(Role::Activating | Role::Deactivating) => Line::notable(words),
        Some(Role::Fault) => Line::bad(words),
        None if !view.has_power => Line::faint(words),
        None => Line::notable(words),
    }
}

fn link(status: &Status, status_age: Duration, name: &str) -> Line {
    let links = status.peers.first().map_or(&[][..], |peer| &peer.links[..]);
    let Some(link) = links.iter().find(|link| link.link == name) else {
        return Line::default();
    };
    state(&link.state).padded(4).text(" ").then(aged(status.now, status_age, link.heard))
}

/// How long ago something was heard, as far as a status of that age can tell.
fn aged(now: Instant, status_age: Duration, heard: Option<Instant>) -> Line {
    Line::faint(heard.map_or_else(|| "never".to_owned(), |at| age(now.since(at) + status_age)))
}

fn state(state: &str) -> Line {
    match state {
        "up" | "started" | "reachable" => Line::good(state),
        "down" | "failed" | "stuck" | "stray" | "unreachable" => Line::bad(state.to_uppercase()),
        "stopped" | "idle" => Line::plain(state),
        other => Line::notable(other),
    }
}

/// Where the client's addresses are, and what it last suffered.
pub(super) fn client(cluster: &Cluster, outage: &str) -> Vec<Line> {
    let owners = cluster.vips().map(|vip| {
        let owners = cluster.lab.owners().of(vip);
        let words = if owners.is_empty() {
            Line::bad("on no node")
        } else {
            Line::plain(format!("on {}", owners.join(" and ")))
        };
        Line::plain(format!("{vip} ")).then(words)
    });
    let [v4, v6] = owners;
    vec![Line::strong("client  ").then(v4).text(", ").then(v6), Line::plain(format!("        {outage}"))]
}
