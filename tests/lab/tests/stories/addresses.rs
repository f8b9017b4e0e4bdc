//! Virtual addresses: kept, repaired, taken along and never left behind.

use std::net::IpAddr;
use std::time::Duration;

use avamgr_lab::{Cidr, Plan, VIP6, mark, story, wait_until};

use crate::pair::{Pair, SLEEPER, SOON, config, vip};

fn vip6() -> IpAddr {
    VIP6.parse().expect("an address")
}

fn cidr(text: &str) -> Cidr {
    text.parse().expect("an address with its prefix")
}

#[test]
fn an_address_taken_away_by_others_is_back_at_once() {
    story(|| {
        let pair = Pair::start(Plan::pair(), &config("", SLEEPER))?;
        let node = pair.node("hadev1")?;
        let gone = mark();
        node.del_addresses("eth1", &[cidr("172.16.9.61/24"), cidr("2001:db8:9::61/64")])?;
        wait_until(SOON, "both addresses to be back", || {
            pair.lab.owners().of(vip()) == ["hadev1"] && pair.lab.owners().of(vip6()) == ["hadev1"]
        })?;
        pair.wait_event("hadev1", "172.16.9.61")?;
        assert!(pair.outage(gone) < Duration::from_millis(500), "{:?}", pair.outage(gone));
        assert_eq!(pair.role("hadev1"), "active");
        pair.never_two_owners()
    });
}

#[test]
fn a_node_whose_service_network_is_gone_gives_the_group_away() {
    story(|| {
        let pair = Pair::start(Plan::pair(), &config("", SLEEPER))?;
        pair.lab.pull_at("lan", "hadev1")?;
        pair.wait_role("hadev2", "active")?;
        pair.probe.wait_for_answer(vip(), "hadev2", SOON)?;
        let status = pair.status("hadev1")?;
        assert_eq!(status["groups"][0]["able"], false, "{status}");
        pair.lab.heal_all()?;
        wait_until(SOON, "hadev1 to be able again", || {
            pair.status("hadev1").is_ok_and(|status| status["groups"][0]["able"] == true)
        })?;
        assert_eq!(pair.role("hadev2"), "active", "it stays where it is");
        pair.never_two_owners()
    });
}

#[test]
fn an_interface_that_was_down_gets_all_its_addresses_back() {
    story(|| {
        let mut pair = Pair::install_all(Plan::pair(), &config("", SLEEPER))?;
        pair.start_daemon("hadev1")?;
        pair.wait_role("hadev1", "active")?;
        let node = pair.node("hadev1")?;
        node.set_interface("eth1", false)?;
        pair.wait_event("hadev1", "eth1")?;
        std::thread::sleep(Duration::from_millis(500));
        node.set_interface("eth1", true)?;
        wait_until(SOON, "both addresses to be back", || {
            pair.lab.owners().of(vip()) == ["hadev1"] && pair.lab.owners().of(vip6()) == ["hadev1"]
        })?;
        pair.wait_role("hadev1", "active")?;
        Ok(())
    });
}

#[test]
fn leftovers_of_an_earlier_life_are_removed_at_the_start() {
    story(|| {
        let mut pair = Pair::install_all(Plan::pair(), &config("", SLEEPER))?;
        pair.start_daemon("hadev1")?;
        pair.wait_role("hadev1", "active")?;
        pair.node("hadev2")?.add_addresses("eth1", &[cidr("172.16.9.61/24")])?;
        wait_until(SOON, "two owners, by somebody's hand", || pair.lab.owners().of(vip()).len() == 2)?;
        pair.start_daemon("hadev2")?;
        wait_until(SOON, "only hadev1 to own it", || pair.lab.owners().of(vip()) == ["hadev1"])?;
        pair.wait_role("hadev2", "standby")
    });
}

#[test]
fn an_address_put_by_hand_on_the_standby_node_is_an_alarm_and_taken_off_unless_in_maintenance() {
    story(|| {
        let pair = Pair::start(Plan::pair(), &config("", SLEEPER))?;
        let node = pair.node("hadev2")?;
        let hand = "172.16.9.61/24 is on eth1 without an order";
        node.add_addresses("eth1", &[cidr("172.16.9.61/24")])?;
        pair.wait_event("hadev2", hand)?;
        wait_until(SOON, "only hadev1 to own it", || pair.lab.owners().of(vip()) == ["hadev1"])?;
        pair.wait_alarm("hadev2", hand, false)?;

        assert!(pair.avamgr("hadev2", &["maintenance", "on"])?.status.success());
        node.add_addresses("eth1", &[cidr("172.16.9.61/24")])?;
        pair.wait_alarm("hadev2", hand, true)?;
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(pair.lab.owners().of(vip()).len(), 2, "maintenance: hands off");
        assert!(pair.avamgr("hadev2", &["maintenance", "off"])?.status.success());
        wait_until(SOON, "only hadev1 to own it", || pair.lab.owners().of(vip()) == ["hadev1"])?;
        pair.wait_alarm("hadev2", hand, false)?;
        pair.probe.wait_for_answer(vip(), "hadev1", SOON)?;
        assert_eq!(pair.role("hadev1"), "active");
        pair.wait_role("hadev2", "standby")
    });
}

#[test]
fn a_whole_prefix_moves_as_one_resource() {
    story(|| {
        let range = "[[group.resource]]\nname = \"range\"\nrange = [\"172.16.9.128/26\"]\ninterface = \"eth1\"\n";
        let pair = Pair::start(Plan::pair(), &config("", range))?;
        let inside: IpAddr = "172.16.9.133".parse()?;
        assert_eq!(pair.lab.owners().of(inside), ["hadev1"]);
        let output = pair.avamgr("hadev1", &["switchover"])?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        wait_until(SOON, "the prefix on hadev2", || pair.lab.owners().of(inside) == ["hadev2"])?;
        pair.never_two_owners()
    });
}
