//! What the decision rests on: peers, links to them, the arbitrator.

use std::time::Duration;

use avamgr_core::control::words::{duration, micros};
use avamgr_core::control::{BearerStatus, LinkStatus, PeerGroupStatus, PeerStatus, Status};
use avamgr_core::time::Instant;

use crate::cli::output::{Columns, Styled, ago, lasting};
use crate::cli::render::is_stale;

pub(super) fn peers(status: &Status, now: Instant) -> String {
    status.peers.iter().map(|peer| self::peer(peer, status, now)).collect()
}

fn peer(peer: &PeerStatus, status: &Status, now: Instant) -> String {
    let mut text = format!(
        "peer {}  {}, heard {}{}\n",
        Styled::strong(&peer.node),
        Styled::state(&peer.state),
        ago(now, peer.heard),
        differences(peer)
    );
    let mut columns = Columns::default();
    for group in &peer.groups {
        let role = Styled::role(group.role, is_stale(status, now) || !is_heard(peer));
        columns.row([group.group.clone().into(), role, ability(group, peer).into()]);
    }
    text.push_str(&columns.lines(4));
    text.push_str(&links(&peer.links, now));
    text
}

fn differences(peer: &PeerStatus) -> String {
    let mut text = String::new();
    if peer.config_matches == Some(false) {
        text.push_str(&format!(", {}", Styled::bad("its config differs from ours")));
    }
    if let Some(offset) = peer.clock_offset_millis {
        text.push_str(&format!(", clock {offset:+} ms"));
    }
    text
}

/// A peer's role is what it said while it was heard; a silent one may be anything by now.
pub(super) fn is_heard(peer: &PeerStatus) -> bool {
    matches!(peer.state.as_str(), "alive" | "degraded")
}

fn ability(group: &PeerGroupStatus, peer: &PeerStatus) -> String {
    match (group.able, is_heard(peer)) {
        (true, true) => format!("term {}, could take over", group.term),
        (false, true) => format!("term {}, could not take over", group.term),
        (_, false) => format!("term {} when it was last heard", group.term),
    }
}

fn links(links: &[LinkStatus], now: Instant) -> String {
    let mut columns = Columns::default();
    for link in links {
        // Of a link that is down, the last measurement says nothing.
        let measured = |figure: Option<u64>| figure.filter(|_| link.state == "up" || link.state == "suspect");
        columns.row([
            link.link.clone().into(),
            Styled::state(&link.state),
            lasting(now, link.since).into(),
            format!("heard {}", ago(now, link.heard)).into(),
            format!("rtt {}", figure(measured(link.rtt_micros).map(micros))).into(),
            format!("jitter {}", figure(measured(link.jitter_micros).map(micros))).into(),
            format!(
                "loss {}",
                figure(measured(link.loss_percent.map(u64::from)).map(|percent| format!("{percent} %")))
            )
            .into(),
            Styled::notable(remarks(link)),
        ]);
    }
    let lines = columns.lines(4);
    lines.lines().zip(links).map(|(line, link)| format!("{line}\n{}", bearers(&link.bearers, now))).collect()
}

/// What carries a link over TIPC.
fn bearers(bearers: &[BearerStatus], now: Instant) -> String {
    let mut columns = Columns::default();
    for bearer in bearers {
        let tolerance = bearer.tolerance_millis.map(|millis| duration(Duration::from_millis(millis.into())));
        columns.row([
            format!("bearer {}", bearer.bearer).into(),
            Styled::state(if bearer.up { "up" } else { "down" }),
            lasting(now, bearer.since).into(),
            format!("tolerance {}", figure(tolerance)).into(),
            format!("priority {}", figure(bearer.priority.map(|priority| priority.to_string()))).into(),
            Styled::notable(trouble(bearer)),
        ]);
    }
    columns.lines(6)
}

/// What TIPC has counted that a healthy bearer has none of.
fn trouble(bearer: &BearerStatus) -> String {
    const TRAFFIC: [&str; 2] = ["received", "sent"];
    let odd = bearer.counters.iter().filter(|(name, count)| **count > 0 && !TRAFFIC.contains(&name.as_str()));
    odd.map(|(name, count)| format!("{count} {}", name.replace('_', " "))).collect::<Vec<_>>().join(", ")
}

fn remarks(link: &LinkStatus) -> String {
    let mut remarks = Vec::new();
    if let Some(cause) = &link.cause {
        remarks.push(cause.clone());
    }
    if !link.carrier && link.cause.as_deref().is_none_or(|cause| !cause.contains("carrier")) {
        remarks.push("no carrier".to_owned());
    }
    if link.state == "up" && !link.peer_hears_us {
        remarks.push("the peer does not hear us".to_owned());
    }
    let refused: Vec<String> =
        link.refused.iter().filter(|(_, count)| **count > 0).map(|(cause, count)| format!("{count} {cause}")).collect();
    if !refused.is_empty() {
        remarks.push(format!("frames refused: {}", refused.join(", ")));
    }
    remarks.join("; ")
}

pub(super) fn arbitrator(status: &Status, now: Instant) -> String {
    let Some(arbitrator) = &status.arbitrator else { return String::new() };
    let mut text = format!("arbitrator  {}, asked {}\n", Styled::state(&arbitrator.state), ago(now, arbitrator.asked));
    let mut columns = Columns::default();
    for address in &arbitrator.addresses {
        columns.row([
            address.address.to_string().into(),
            format!("answered {}", ago(now, address.answered)).into(),
            format!("rtt {}", figure(address.rtt_micros.map(micros))).into(),
        ]);
    }
    text.push_str(&columns.lines(4));
    text
}

/// A figure that has not been measured is not zero.
fn figure(measured: Option<String>) -> String {
    measured.unwrap_or_else(|| "-".to_owned())
}

/// The voter on a third site.
pub(super) fn witness(status: &Status, now: Instant) -> String {
    let Some(witness) = &status.witness else { return String::new() };
    let rtt = figure(witness.rtt_micros.map(micros));
    let state = Styled::state(&witness.state);
    format!("{} {}  {state}, heard {}, rtt {rtt}\n", witness.voter, witness.address, ago(now, witness.heard))
}
