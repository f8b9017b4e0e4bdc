//! The paths between the nodes: of one family only, and with interfaces that vanish and come back.

use std::net::IpAddr;
use std::time::Duration;

use avamgr_lab::{Plan, Probe, VIP6, mark, story, wait_until};

use crate::pair::{GROUP, Outcome, PAIR, Pair, Paths, SLEEPER, SOON, cluster, config, text};

/// Not one IPv4 address.
const V6_ONLY: Paths = Paths {
    primary: "fd00:11::",
    secondary: "fd00:13::",
    neutral: "2001:db8:8::",
    arbitrators: r#""2001:db8:8::250""#,
};

/// What the node says of a link to its peer.
fn link(pair: &Pair, name: &str, link: &str) -> String {
    let status = pair.status(name).unwrap_or_default();
    let links = status["peers"][0]["links"].as_array().cloned().unwrap_or_default();
    links.iter().find(|one| one["link"] == link).map_or_else(String::new, |one| text(&one["state"]))
}

fn wait_link(pair: &Pair, name: &str, which: &str, state: &str) -> Outcome {
    let waited = wait_until(SOON, format!("{which} of {name} to be {state}"), || link(pair, name, which) == state);
    if waited.is_err() {
        pair.tell();
    }
    Ok(waited?)
}

#[test]
fn a_cluster_without_any_ipv4_fails_over_and_knows_who_is_isolated() {
    story(|| {
        let group = GROUP.replace("\"172.16.9.61/24\", ", "");
        let config = format!("{}{group}{SLEEPER}", cluster(PAIR, "", &V6_ONLY));
        let vip6: IpAddr = VIP6.parse()?;
        let mut pair = Pair::install_all(without_ipv4(Plan::pair()), &config)?;
        let probe = Probe::start(&pair.node("client")?, &[vip6])?;
        for name in PAIR {
            pair.start_daemon(name)?;
        }
        pair.wait_role("hadev1", "active")?;
        pair.wait_role("hadev2", "standby")?;
        probe.wait_for_answer(vip6, "hadev1", SOON)?;
        for which in ["primary", "secondary"] {
            wait_link(&pair, "hadev2", which, "up")?;
        }
        std::thread::sleep(Duration::from_millis(1200));
        let off = mark();
        pair.lab.power_off("hadev1")?;
        pair.wait_role("hadev2", "active")?;
        probe.wait_for_answer(vip6, "hadev2", SOON)?;
        println!("outage after power-off, IPv6 only: {:?}", probe.outage_since(vip6, off).longest);
        // Alone and without its arbitrator it is isolated.
        pair.lab.silence_at("neutral", "hadev2")?;
        pair.wait_event("hadev2", "isolated")?;
        pair.wait_role("hadev2", "standby")?;
        pair.never_two_owners()
    });
}

/// Takes every IPv4 address and route out of a plan.
fn without_ipv4(mut plan: Plan) -> Plan {
    for nic in plan.hosts.iter_mut().flat_map(|host| &mut host.nics) {
        nic.addresses.retain(|cidr| cidr.ip.is_ipv6());
        nic.on_link.retain(|cidr| cidr.ip.is_ipv6());
    }
    plan
}

/// Runs `ip` in a node.
fn ip(pair: &Pair, name: &str, arguments: &str) -> Outcome {
    let output = pair.node(name)?.command("ip").args(arguments.split(' ')).output()?;
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn the_interface_of_a_link_is_deleted_and_made_again_and_the_link_is_up_by_itself() {
    story(|| {
        // A bridge with the cable as its only port is what an administrator can delete and make again.
        let config = config("", SLEEPER).replace("\"eth3\"", "\"br3\"");
        let make = |pair: &Pair, name: &str, address: &str| -> Outcome {
            ip(pair, name, "link add br3 type bridge")?;
            ip(pair, name, "link set eth3 master br3")?;
            ip(pair, name, &format!("address add {address}/24 dev br3"))?;
            ip(pair, name, "link set br3 up")
        };
        let mut plan = Plan::pair();
        for nic in plan.hosts.iter_mut().flat_map(|host| &mut host.nics).filter(|nic| nic.name == "eth3") {
            nic.addresses.clear();
        }
        let address = |name: &str| if name == "hadev1" { "172.16.11.54" } else { "172.16.11.55" };
        let pair = Pair::start_with(plan, &config, |pair, name| make(pair, name, address(name)))?;
        let before = pair.all_role_changes();
        for name in PAIR {
            for which in ["primary", "secondary"] {
                wait_link(&pair, name, which, "up")?;
            }
        }
        for name in ["hadev2", "hadev1"] {
            ip(&pair, name, "link del br3")?;
            wait_link(&pair, name, "primary", "down")?;
            pair.wait_alarm(name, "is down: our interface has no carrier, is switched off or missing", true)?;
            std::thread::sleep(Duration::from_secs(1));
            make(&pair, name, address(name))?;
            let made = mark();
            for seen in PAIR {
                wait_link(&pair, seen, "primary", "up")?;
                pair.wait_alarm(seen, "link primary", false)?;
            }
            println!("the link was up {:?} after its interface was made again on {name}", made.elapsed());
        }
        assert_eq!(pair.all_role_changes(), before, "nothing moved");
        pair.never_two_owners()
    });
}
