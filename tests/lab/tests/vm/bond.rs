//! Dedicated links over bonds of two cables each: a cable that fails is the bond's business, and no link hears of it.

use std::time::Duration;

use avamgr_lab::{HostKind, NetworkPlan, NicPlan, Plan, Wiring, mark, on_a_steady_machine, story, wait_until};

use crate::pair::{GROUP, Outcome, PAIR, Pair, Paths, SLEEPER, SOON, cluster};
use crate::tools::{links, run, told_since, told_so_far};

/// From the failure of a cable to its bond's use of the other one, in milliseconds, at most.
const MIIMON: u32 = 50;

/// Half of what is left of the dead time after a heartbeat interval and that: a machine that stands still for longer takes a link
/// down, as it must.
const SPARE: Duration = Duration::from_millis(75);

/// A bond, its two cables, and its prefixes; the number of the node follows.
const BONDS: [(&str, [&str; 2], &str, &str); 2] =
    [("bond0", ["eth3", "eth4"], "172.16.21.", "/24"), ("bond1", ["eth5", "eth6"], "fd00:23::", "/64")];

const OVER_BONDS: Paths =
    Paths { primary: "172.16.21.", secondary: "fd00:23::", neutral: "172.16.8.", arbitrators: "\"172.16.6.250\"" };

/// The pair with four cables between the nodes.
fn plan() -> Plan {
    let mut plan = Plan::pair();
    for (network, nic) in [("hb3", "eth5"), ("hb4", "eth6")] {
        plan.networks.push(NetworkPlan { name: network.to_owned(), wiring: Wiring::Direct });
        for host in plan.hosts.iter_mut().filter(|host| host.kind == HostKind::Node) {
            let nic = NicPlan { name: nic.to_owned(), network: network.to_owned(), addresses: vec![], on_link: vec![] };
            host.nics.push(nic);
        }
    }
    plan
}

fn config() -> String {
    let links = cluster(PAIR, "", &OVER_BONDS).replace("\"eth3\"", "\"bond0\"").replace("\"eth4\"", "\"bond1\"");
    format!("{links}{GROUP}{SLEEPER}")
}

/// As an administrator makes them by hand.
fn make_bonds(pair: &Pair, node: &str) -> Outcome {
    let number = if node == PAIR[0] { 54 } else { 55 };
    for (bond, cables, prefix, length) in BONDS {
        run(pair, node, &format!("ip link add {bond} type bond mode active-backup miimon {MIIMON}"))?;
        for cable in cables {
            run(pair, node, &format!("ip address flush dev {cable}"))?;
            run(pair, node, &format!("ip link set {cable} down"))?;
            run(pair, node, &format!("ip link set {cable} master {bond}"))?;
        }
        // Cables that lead straight to the other node: both ends have to prefer the same one.
        run(pair, node, &format!("ip link set {bond} type bond primary {}", cables[0]))?;
        run(pair, node, &format!("ip link set {bond} up"))?;
        run(pair, node, &format!("ip address add {prefix}{number}{length} dev {bond}"))?;
    }
    Ok(())
}

/// The cable a bond sends through.
fn active_cable(pair: &Pair, node: &str, bond: &str) -> String {
    let asked = pair.node(node).and_then(|host| {
        Ok(host.command("cat").arg(format!("/sys/class/net/{bond}/bonding/active_slave")).output()?)
    });
    asked.map_or_else(|error| error.to_string(), |said| String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// Both ends of a bond send through this cable.
fn wait_cable(pair: &Pair, bond: &str, cable: &str) -> Outcome {
    for node in PAIR {
        let what = format!("{bond} of {node} to use {cable}");
        wait_until(SOON, what, || active_cable(pair, node, bond) == cable)?;
    }
    Ok(())
}

fn wait_links(pair: &Pair) -> Outcome {
    let waited = wait_until(SOON, "both links to be up", || {
        links(pair).is_ok_and(|links| links.iter().all(|link| link["state"] == "up"))
    });
    if waited.is_err() {
        let cables =
            |node: &&str| BONDS.map(|(bond, ..)| format!("{bond} of {node}: {}", active_cable(pair, node, bond)));
        println!("{:?}, {:#?}", PAIR.iter().flat_map(cables).collect::<Vec<_>>(), links(pair)?);
    }
    Ok(waited?)
}

fn bonded() -> Result<Pair, Box<dyn std::error::Error>> {
    let mut pair = Pair::install_all(plan(), &config())?;
    for node in PAIR {
        make_bonds(&pair, node)?;
    }
    for node in PAIR {
        pair.start_daemon(node)?;
    }
    pair.wait_role("hadev1", "active")?;
    pair.wait_role("hadev2", "standby")?;
    wait_links(&pair)?;
    Ok(pair)
}

#[test]
fn a_cable_of_a_bond_fails_and_comes_back_and_no_link_is_lost() {
    story(|| {
        on_a_steady_machine(SPARE, || {
            let pair = bonded()?;
            let (changes, told) = (pair.all_role_changes(), told_so_far(&pair)?);
            let begin = mark();
            // One cable after the other: each bond has to change over, and back, and one that is not in use is not missed.
            for (fails, bond, stays) in
                [("hb1", "bond0", "eth4"), ("hb2", "bond0", "eth3"), ("hb3", "bond1", "eth6"), ("hb4", "bond1", "eth5")]
            {
                pair.lab.pull(fails)?;
                wait_cable(&pair, bond, stays)?;
                std::thread::sleep(Duration::from_secs(1));
                pair.lab.plug(fails)?;
                pair.lab.settle()?;
                wait_cable(&pair, bond, if bond == "bond0" { "eth3" } else { "eth5" })?;
                std::thread::sleep(Duration::from_secs(1));
            }
            let told = told_since(&pair, &told)?;
            println!("outage {:?}, {told:#?}", pair.outage(begin));
            assert!(!told.iter().any(|sentence| sentence.contains(" is down: ")), "a link was lost: {told:#?}");
            assert_eq!(pair.all_role_changes(), changes, "{told:#?}");
            pair.never_two_owners()
        })
    });
}

#[test]
fn a_bond_without_a_cable_is_a_link_lost_and_moves_nothing() {
    story(|| {
        let pair = bonded()?;
        let changes = pair.all_role_changes();
        pair.lab.pull_all(&["hb1", "hb2"])?;
        for node in PAIR {
            pair.wait_event(node, "link primary to ")?;
            wait_until(SOON, format!("the primary link of {node} to be down"), || {
                pair.status(node).is_ok_and(|status| status["peers"][0]["links"][0]["state"] == "down")
            })?;
        }
        pair.lab.heal_all()?;
        wait_links(&pair)?;
        assert_eq!(pair.all_role_changes(), changes);
        pair.never_two_owners()
    });
}
