//! Links over TIPC, as the original has them: network 1983, addresses 1.1.23 and 1.1.29, bearers eth3 and eth4 without any IP
//! address.

use std::error::Error;
use std::time::Duration;

use avamgr_lab::{Plan, mark, on_a_steady_machine, story, wait_until};

use crate::pair::{GROUP, Outcome, PAIR, Pair, SLEEPER, SOON, V4_AND_V6, cluster, text, vip};
use crate::tools::run;

/// The link over both bearers.
const BOTH: &str = r#"
[[link]]
name = "dedicated"
transport = "tipc"
network_id = 1983
node_address = { hadev1 = "1.1.23", hadev2 = "1.1.29" }
bearers = ["eth3", "eth4"]
"#;

/// TIPC on the first cable, UDP on the second.
const MIXED: &str = r#"
[[link]]
name = "primary"
transport = "tipc"
network_id = 1983
node_address = { hadev1 = "1.1.23", hadev2 = "1.1.29" }
bearers = ["eth3"]

[[link]]
name = "secondary"
interface = "eth4"
address = { hadev1 = "172.16.13.54", hadev2 = "172.16.13.55" }
"#;

/// The pair of the stories with these links instead of its own.
fn config(links: &str) -> String {
    // The machine is emulated, and stalls. The dead time, 900 ms, stays shorter than the tolerance of TIPC.
    let usual = cluster(PAIR, "", &V4_AND_V6).replace("failover_budget = \"1s\"", "failover_budget = \"3s\"");
    let (head, rest) = usual.split_once("[[link]]").expect("links");
    let (_, arbitrator) = rest.split_once("[arbitrator]").expect("an arbitrator");
    format!("{head}{links}\n[arbitrator]{arbitrator}{GROUP}{SLEEPER}")
}

/// The plan of the pair without IP addresses on these interfaces.
fn without_ip(mut plan: Plan, interfaces: &[&str]) -> Plan {
    for nic in plan.hosts.iter_mut().flat_map(|host| &mut host.nics) {
        if interfaces.contains(&nic.name.as_str()) {
            nic.addresses.clear();
        }
    }
    plan
}

/// What whoever runs the machine does at boot.
fn set_up(pair: &Pair, node: &str) -> Outcome {
    for bearer in ["eth3", "eth4"] {
        no_wormhole(pair, node, bearer)?;
    }
    let output = pair.avamgr(node, &["check", "--set-up-tipc"])?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// TIPC finds out when a peer is another namespace of the same kernel, and hands messages over without any bearer from then on.
/// It knows the peer by a number in the message that announces a node (user 13, word 13), so that is taken out of it.
fn no_wormhole(pair: &Pair, node: &str, bearer: &str) -> Outcome {
    run(pair, node, &format!("tc qdisc add dev {bearer} ingress"))?;
    let announcements = "protocol 0x88ca u32 match u8 0x5a 0xfe at 0";
    let blank = "action pedit munge offset 52 u32 set 0";
    run(pair, node, &format!("tc filter add dev {bearer} parent ffff: {announcements} {blank}"))
}

fn tipc(pair: &Pair, node: &str, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let output = pair.node(node)?.command("tipc").args(arguments).output()?;
    if !output.status.success() {
        return Err(format!("tipc {arguments:?} on {node}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn both() -> Result<Pair, Box<dyn Error>> {
    both_in(Plan::pair())
}

/// A pair with one link over both cables of the plan.
pub(crate) fn both_in(plan: Plan) -> Result<Pair, Box<dyn Error>> {
    let plan = without_ip(plan, &["eth3", "eth4"]);
    Pair::start_with(plan, &config(BOTH), set_up)
}

/// Whether each bearer reaches the other node, as this one tells.
fn bearers(pair: &Pair, node: &str) -> Vec<(String, bool)> {
    let Ok(status) = pair.status(node) else { return Vec::new() };
    let bearers = status["peers"][0]["links"][0]["bearers"].as_array().cloned().unwrap_or_default();
    bearers.iter().map(|bearer| (text(&bearer["bearer"]), bearer["up"] == true)).collect()
}

/// Waits until both nodes tell so.
fn wait_bearers(pair: &Pair, states: [bool; 2]) -> Outcome {
    let expected = vec![("eth3".to_owned(), states[0]), ("eth4".to_owned(), states[1])];
    for node in PAIR {
        let told = || bearers(pair, node) == expected;
        let waited = wait_until(SOON, format!("bearers at {node} to be {states:?}"), told);
        if waited.is_err() {
            pair.tell();
            println!("{:?}\n{}", bearers(pair, node), tipc(pair, node, &["link", "list"])?);
        }
        waited?;
    }
    Ok(())
}

/// How much has happened on each node.
fn so_far(pair: &Pair) -> Result<Vec<usize>, Box<dyn Error>> {
    PAIR.iter().map(|node| Ok(pair.events(node)?.len())).collect()
}

/// Since then, nothing has been told but the bearers.
fn only_bearers_since(pair: &Pair, begin: &[usize]) -> Outcome {
    for (node, begin) in PAIR.iter().zip(begin) {
        let events = pair.events(node)?;
        let other: Vec<&String> = events.iter().skip(*begin).filter(|event| !event.starts_with("bearer ")).collect();
        assert!(other.is_empty(), "{node}: {other:?}");
    }
    Ok(())
}

/// Each frame came twice and counted once, nothing was refused, and TIPC's own numbers are there.
fn counted(pair: &Pair) -> Outcome {
    let status = pair.status("hadev2")?;
    let counters = &status["driver"]["link_counters"];
    let number = |name: &str| counters[format!("dedicated {name}")].as_u64().unwrap_or(0);
    let (received, copies) = (number("received"), number("copies"));
    assert!(received > 20 && copies > received / 2 && copies <= received, "{counters}");
    let refused: Vec<&String> =
        counters.as_object().ok_or("no counters")?.keys().filter(|name| name.contains(" bad_")).collect();
    assert!(refused.is_empty(), "{counters}");
    let bearers = status["peers"][0]["links"][0]["bearers"].as_array().ok_or("no bearers")?;
    for bearer in bearers {
        assert_eq!((&bearer["tolerance_millis"], &bearer["priority"]), (&1500.into(), &10.into()), "{bearer}");
        // Some of them were sent before the bearer was cut, which TIPC has forgotten.
        assert!(bearer["counters"]["sent"].as_u64() > Some(5), "{bearer}");
    }
    Ok(())
}

/// Between an interval and the time at which a frame is late: on a machine that stands still for longer one is.
const SPARE: Duration = Duration::from_millis(100);

/// A story of a machine that runs.
fn steady(body: impl FnMut() -> Outcome) {
    story(|| on_a_steady_machine(SPARE, body));
}

#[test]
fn each_bearer_may_be_cut_and_the_link_does_not_notice() {
    steady(|| {
        let pair = both()?;
        wait_bearers(&pair, [true, true])?;
        let begin = so_far(&pair)?;
        for (network, states) in [("hb1", [false, true]), ("hb2", [true, false])] {
            pair.lab.pull(network)?;
            wait_bearers(&pair, states)?;
            pair.wait_alarm("hadev2", "does not reach hadev1 any more", true)?;
            std::thread::sleep(Duration::from_secs(2));
            pair.lab.plug(network)?;
            wait_bearers(&pair, [true, true])?;
        }
        std::thread::sleep(Duration::from_secs(4));
        only_bearers_since(&pair, &begin)?;
        counted(&pair)?;
        pair.never_two_owners()
    });
}

#[test]
fn a_bearer_that_falls_silent_with_its_carrier_on_loses_no_frame() {
    steady(|| {
        let pair = both()?;
        wait_bearers(&pair, [true, true])?;
        let begin = so_far(&pair)?;
        // A bearer that is back takes over half of the sockets: cut so, each of them loses the one it uses, odd or even.
        for network in ["hb1", "hb2", "hb2"] {
            pair.lab.silence(network)?;
            // TIPC takes its tolerance of 1.5 s to notice, which is longer than the dead time.
            std::thread::sleep(Duration::from_secs(4));
            wait_bearers(&pair, if network == "hb1" { [false, true] } else { [true, false] })?;
            pair.lab.heal(network)?;
            wait_bearers(&pair, [true, true])?;
        }
        only_bearers_since(&pair, &begin)?;
        pair.never_two_owners()
    });
}

#[test]
fn both_bearers_cut_and_an_isolated_node_end_in_a_takeover() {
    story(|| {
        let pair = both()?;
        wait_bearers(&pair, [true, true])?;
        let changes = pair.all_role_changes();
        pair.lab.pull_all(&["hb1", "hb2"])?;
        for (node, other) in [("hadev1", "hadev2"), ("hadev2", "hadev1")] {
            pair.wait_event(node, &format!("link dedicated to {other} is down: "))?;
        }
        let blamed = PAIR.iter().filter(|node| {
            pair.events(node).is_ok_and(|events| events.iter().any(|event| event.contains("no daemon listens")))
        });
        assert_eq!(blamed.count(), 0, "cables are no dead daemon");
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(pair.all_role_changes(), changes, "the address answers, and the arbitrator");
        let cut = mark();
        pair.lab.pull_at("neutral", "hadev1")?;
        pair.lab.pull_at("lan", "hadev1")?;
        pair.wait_role("hadev1", "standby")?;
        pair.wait_role("hadev2", "active")?;
        pair.probe.wait_for_answer(vip(), "hadev2", SOON)?;
        println!("outage of an isolated node behind two dead bearers: {:?}", pair.outage(cut));
        for network in ["hb1", "hb2", "neutral", "lan"] {
            pair.lab.plug(network)?;
        }
        wait_bearers(&pair, [true, true])?;
        pair.wait_event("hadev2", "link dedicated to hadev1 is up in both directions")?;
        pair.never_two_owners()
    });
}

#[test]
fn a_daemon_that_dies_is_missed_at_once() {
    story(|| {
        let pair = both()?;
        let killed = mark();
        pair.daemon("hadev1").kill9()?;
        pair.wait_event("hadev2", "hadev1 answers that no daemon listens there")?;
        pair.wait_role("hadev2", "active")?;
        pair.probe.wait_for_answer(vip(), "hadev2", SOON)?;
        println!("outage after the daemon's death over TIPC: {:?}", pair.outage(killed));
        assert_eq!(bearers(&pair, "hadev2"), [("eth3".to_owned(), true), ("eth4".to_owned(), true)]);
        pair.never_two_owners()
    });
}

#[test]
fn a_link_over_tipc_and_one_over_udp_stand_in_for_each_other() {
    story(|| {
        let plan = without_ip(Plan::pair(), &["eth3"]);
        let pair = Pair::start_with(plan, &config(MIXED), set_up)?;
        let changes = pair.all_role_changes();
        for (network, link) in [("hb1", "primary"), ("hb2", "secondary")] {
            pair.lab.pull(network)?;
            pair.wait_event("hadev2", &format!("link {link} to hadev1 is down"))?;
            std::thread::sleep(Duration::from_secs(1));
            assert_eq!(pair.all_role_changes(), changes, "{network}");
            pair.lab.plug(network)?;
            pair.wait_alarm("hadev2", &format!("link {link}"), false)?;
        }
        pair.never_two_owners()
    });
}

#[test]
fn what_is_set_up_after_the_daemon_is_used() {
    story(|| {
        let plan = without_ip(Plan::pair(), &["eth3"]);
        let pair = Pair::start_with(plan, &config(MIXED), |_, _| Ok(()))?;
        pair.wait_alarm("hadev2", "link primary", true)?;
        for node in PAIR {
            set_up(&pair, node)?;
        }
        pair.wait_event("hadev2", "link primary to hadev1 is up in both directions")?;
        pair.wait_alarm("hadev2", "link primary", false)?;
        Ok(())
    });
}

#[test]
fn an_upgrade_in_place_is_an_announced_absence_and_no_dead_daemon() {
    steady(|| {
        let pair = both()?;
        wait_bearers(&pair, [true, true])?;
        let begin = so_far(&pair)?;
        for node in PAIR {
            let output = pair.avamgr(node, &["upgrade"])?;
            assert!(output.status.success(), "{node}: {}", String::from_utf8_lossy(&output.stderr));
            wait_bearers(&pair, [true, true])?;
        }
        std::thread::sleep(Duration::from_secs(3));
        for (node, begin) in PAIR.iter().zip(&begin) {
            let events = pair.events(node)?;
            let is_bad = |event: &&String| [" is down", " -> ", "bearer "].iter().any(|word| event.contains(word));
            let bad: Vec<&String> = events.iter().skip(*begin).filter(is_bad).collect();
            assert!(bad.is_empty(), "{node}: {bad:?}");
        }
        pair.never_two_owners()
    });
}

#[test]
fn a_bearer_that_is_switched_off_by_hand_is_told_on_both_nodes() {
    story(|| {
        let pair = both()?;
        wait_bearers(&pair, [true, true])?;
        tipc(&pair, "hadev1", &["bearer", "disable", "media", "eth", "device", "eth3"])?;
        wait_bearers(&pair, [false, true])?;
        for node in PAIR {
            pair.wait_alarm(node, "bearer eth3 of link dedicated does not reach", true)?;
        }
        set_up_again(&pair)?;
        wait_bearers(&pair, [true, true])?;
        pair.never_two_owners()
    });
}

/// What an operator does: the check says what is missing, and this does it.
fn set_up_again(pair: &Pair) -> Outcome {
    let check = pair.avamgr("hadev1", &["check"])?;
    let told = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(!check.status.success() && told.contains("tipc bearer enable media eth device eth3"), "{told}");
    let output = pair.avamgr("hadev1", &["check", "--set-up-tipc"])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}
