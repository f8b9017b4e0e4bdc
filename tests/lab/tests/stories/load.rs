//! Much at once: thousands of addresses, and processors that others keep busy. Nobody's heart misses a beat.

use std::time::{Duration, Instant};

use avamgr_lab::{Plan, Process, mark, story, wait_until};

use crate::pair::{Outcome, PAIR, Pair, SLEEPER, config};

/// Programs that want a processor for themselves.
const HOGS: usize = 8;

/// Role changes and links down, on both nodes, since the beginning.
fn unrest(pair: &Pair) -> usize {
    let is_unrest = |event: &&String| event.contains(" -> ") || event.contains(" is down");
    PAIR.iter().flat_map(|name| pair.events(name).ok()).map(|events| events.iter().filter(is_unrest).count()).sum()
}

/// Hogs on both nodes for ten seconds, at the priority of everybody.
fn hogs_move_nothing(timers: &str) -> Outcome {
    let pair = Pair::start(Plan::pair().switched(), &config(timers, SLEEPER))?;
    let before = pair.all_role_changes();
    let begin = mark();
    let mut hogs: Vec<Process> = Vec::new();
    for name in PAIR.iter().cycle().take(HOGS) {
        hogs.push(pair.node(name)?.command("sh").args(["-c", "while :; do :; done"]).spawn()?);
    }
    std::thread::sleep(Duration::from_secs(10));
    for hog in &hogs {
        assert!(hog.ended()?.is_none(), "a hog that ended proves nothing");
        hog.kill9()?;
    }
    println!("with hogs, {timers}: outage {:?}", pair.outage(begin));
    if pair.all_role_changes() != before {
        pair.tell();
    }
    assert_eq!(pair.all_role_changes(), before, "{timers}");
    pair.never_two_owners()
}

#[test]
fn busy_processors_move_nothing_at_100_ms() {
    story(|| hogs_move_nothing("heartbeat_interval = \"100ms\""));
}

#[test]
fn busy_processors_move_nothing_at_10_ms() {
    story(|| hogs_move_nothing("heartbeat_interval = \"10ms\""));
}

/// Many single addresses as one resource.
fn many(count: u32) -> String {
    let base = u32::from(std::net::Ipv4Addr::new(10, 20, 0, 1));
    let addresses: Vec<String> =
        (base..base + count).map(|bits| format!("\"{}/16\"", std::net::Ipv4Addr::from(bits))).collect();
    format!("[[group.resource]]\nname = \"many\"\nvip = [{}]\ninterface = \"eth1\"\n", addresses.join(", "))
}

/// The resources start on hadev1, move to hadev2 and are lost with it; the last of `last` tells that all are there.
fn moves_without_a_missed_heartbeat(resources: &str, last: &str) -> Outcome {
    let last = last.parse()?;
    let patience = Duration::from_secs(60);
    let mut pair = Pair::install_all(Plan::pair().switched(), &config("", resources))?;
    for name in PAIR {
        pair.start_daemon(name)?;
    }
    let owned_by = |pair: &Pair, node: &str, since: Instant, what: &str| -> Outcome {
        wait_until(patience, format!("all addresses on {node}"), || {
            pair.lab.owners().of(last) == [node] && pair.role(node) == "active"
        })?;
        println!("{what}: all addresses on {node} after {:?}", since.elapsed());
        Ok(())
    };
    owned_by(&pair, "hadev1", mark(), "start")?;
    pair.wait_role("hadev2", "standby")?;
    std::thread::sleep(Duration::from_secs(2));
    let before = unrest(&pair);
    let begin = mark();
    let output = pair.avamgr("hadev1", &["switchover"])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    owned_by(&pair, "hadev2", begin, "switchover")?;
    std::thread::sleep(Duration::from_secs(5));
    // ACTIVE to STANDBY takes two changes on one node, STANDBY to ACTIVE two on the other.
    assert_eq!(unrest(&pair), before + 4, "a switchover and no link down");
    let off = mark();
    pair.lab.power_off("hadev2")?;
    owned_by(&pair, "hadev1", off, "power-off")?;
    println!("{}", pair.wait_event("hadev1", "silent for")?);
    pair.never_two_owners()
}

#[test]
fn four_thousand_addresses_move_and_no_link_is_late() {
    story(|| moves_without_a_missed_heartbeat(&many(4000), "10.20.15.160"));
}

#[test]
fn a_slash_112_moves_as_one_resource_and_no_link_is_late() {
    story(|| {
        let range = "[[group.resource]]\nname = \"range\"\nrange = [\"2001:db8:9:1::/112\"]\ninterface = \"eth1\"\n";
        moves_without_a_missed_heartbeat(range, "2001:db8:9:1::abcd")
    });
}
