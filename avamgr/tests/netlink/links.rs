//! Interfaces that go down, lose their carrier, disappear and come back.

use std::time::Duration;

use avamgr_core::config::VipConfig;
use avamgr_core::node::{Order, Report};

use crate::in_namespaces;
use crate::space::{Space, eventually, pair};
use crate::vip::{Ear, Vip, config};

/// Long enough for everything to be looked at and put back after a change.
const SETTLED: Duration = Duration::from_millis(200);
const BOTH: [&str; 2] = ["172.16.9.61/24", "2001:db8:9::61/64"];

fn vip(node: &Space) -> Vip {
    Vip::new(node, config(&BOTH, &["10.1.16.0/20"]))
}

fn all_there(node: &Space) -> bool {
    BOTH.iter().all(|address| node.has("eth1", address))
        && node.ip("route show table local proto 167").contains("10.1.16")
}

in_namespaces! {
    fn what_a_link_takes_with_it_is_back_when_it_is() {
        let (node, peer) = pair();
        let vip = vip(&node);
        vip.expect(Report::Able);
        vip.start();
        for _ in 0..2 {
            node.ip("link set eth1 down");
            assert_eq!(vip.expect_text(Report::Failed), "interface eth1 went down");
            eventually("the kernel takes IPv6 addresses away", || !node.has("eth1", BOTH[1]));
            let ear = Ear::new(&peer);
            node.ip("link set eth1 up");
            vip.expect(Report::Able);
            assert_eq!(vip.expect_text(Report::Well), "the link of eth1");
            let notice = vip.expect_text(Report::Notice);
            assert_eq!(notice, "2001:db8:9::61/64: went with the link of eth1, put back");
            eventually("all back", || all_there(&node));
            let claims = ear.until_quiet(Duration::from_millis(300));
            for plain in ["172.16.9.61", "2001:db8:9::61", "10.1.31.255"] {
                assert!(claims.iter().any(|(_, claim)| claim.address.to_string() == plain), "{plain} not announced");
            }
        }
        vip.silent_for(Duration::from_millis(700));
        assert!(all_there(&node));
    }

    fn a_lost_carrier_fails_what_is_up_and_comes_back_announced() {
        let (node, peer) = pair();
        let vip = vip(&node);
        vip.expect(Report::Able);
        vip.start();
        peer.ip("link set eth1 down");
        assert_eq!(vip.expect_text(Report::Failed), "interface eth1 lost its carrier");
        vip.silent_for(Duration::from_millis(100));
        let ear = Ear::new(&peer);
        peer.ip("link set eth1 up");
        vip.expect(Report::Able);
        vip.expect_text(Report::Well);
        let claims = ear.until_quiet(Duration::from_millis(300));
        assert!(claims.iter().any(|(_, claim)| claim.address.to_string() == "172.16.9.61"), "not announced");
        // A stop without a carrier works, and says then that a start would not.
        peer.ip("link set eth1 down");
        vip.expect_text(Report::Failed);
        vip.stop();
        assert_eq!(vip.expect_text(Report::Unable), "interface eth1 has no carrier");
        assert!(!BOTH.iter().any(|address| node.has("eth1", address)));
        vip.order(Order::Start);
        assert_eq!(vip.expect_text(Report::StartFailed), "interface eth1 has no carrier");
        peer.ip("link set eth1 up");
        vip.expect(Report::Able);
    }

    fn without_being_up_a_link_is_only_able_or_unable() {
        let (node, peer) = pair();
        let vip = vip(&node);
        vip.expect(Report::Able);
        peer.ip("link set eth1 down");
        assert_eq!(vip.expect_text(Report::Unable), "interface eth1 has no carrier");
        node.ip("link set eth1 down");
        assert_eq!(vip.expect_text(Report::Unable), "interface eth1 is down");
        peer.ip("link set eth1 up");
        node.ip("link set eth1 up");
        loop {
            match vip.next().1 {
                Report::Able => break,
                Report::Unable(_) => {}
                other => panic!("{other:?}"),
            }
        }
        vip.silent_for(Duration::from_millis(100));
    }

    fn a_missing_interface_is_stopped_and_cannot_be_started() {
        let (node, peer) = (Space::new(), Space::new());
        let vip = vip(&node);
        assert_eq!(vip.expect_text(Report::Unable), "interface eth1 does not exist");
        vip.stop();
        vip.order(Order::Start);
        assert_eq!(vip.expect_text(Report::StartFailed), "interface eth1 does not exist");
        node.cable("eth1", &peer, "eth1");
        while vip.next().1 != Report::Able {}
        vip.start();
        assert!(all_there(&node));
    }

    fn an_interface_that_disappears_fails_and_one_of_its_name_takes_its_place() {
        let (node, peer) = pair();
        let vip = vip(&node);
        vip.expect(Report::Able);
        vip.start();
        node.ip("link delete eth1");
        let why = vip.expect_text(Report::Failed);
        assert!(why == "interface eth1 disappeared" || why == "interface eth1 went down", "{why}");
        node.cable("eth1", &peer, "eth1");
        vip.expect(Report::Able);
        vip.expect_text(Report::Well);
        assert!(vip.expect_text(Report::Notice).contains("went with the link of eth1, put back"));
        eventually("all back", || all_there(&node));
        node.ip("link delete eth1");
        vip.expect_text(Report::Failed);
        vip.stop();
        assert!(vip.expect_text(Report::Unable).contains("does not exist"));
    }

    fn a_renamed_interface_is_another_one() {
        let (node, _peer) = pair();
        let vip = vip(&node);
        vip.expect(Report::Able);
        node.ip("link set eth1 name eth7");
        assert_eq!(vip.expect_text(Report::Unable), "interface eth1 does not exist");
        node.ip("link set eth7 name eth1");
        vip.expect(Report::Able);
    }

    fn an_alternative_name_is_as_good() {
        let (node, peer) = pair();
        node.ip("link property add dev eth1 altname service");
        let vip = Vip::new(&node, VipConfig { interfaces: vec!["service".to_owned()], ..config(&BOTH, &["10.1.16.0/20"]) });
        vip.expect(Report::Able);
        vip.start();
        assert!(all_there(&node));
        peer.ip("link set eth1 down");
        assert_eq!(vip.expect_text(Report::Failed), "interface service lost its carrier");
        peer.ip("link set eth1 up");
        vip.expect(Report::Able);
        vip.expect_text(Report::Well);
        vip.silent_for(SETTLED);
        // Renamed, it has that name still; without it, it is another one.
        node.ip("link set eth1 down");
        assert_eq!(vip.expect_text(Report::Failed), "interface service went down");
        node.ip("link set eth1 name eth7");
        node.ip("link set eth7 up");
        vip.expect(Report::Able);
        vip.expect_text(Report::Well);
        vip.expect_text(Report::Notice);
        vip.silent_for(SETTLED);
        node.ip("link property del dev eth7 altname service");
        assert_eq!(vip.expect_text(Report::Failed), "interface service disappeared");
        node.ip("link property add dev eth7 altname service");
        vip.expect(Report::Able);
    }

    fn another_hardware_address_is_announced() {
        let (node, peer) = pair();
        let vip = vip(&node);
        vip.expect(Report::Able);
        vip.start();
        let ear = Ear::new(&peer);
        ear.until_quiet(Duration::from_millis(200));
        node.ip("link set eth1 address 02:00:00:00:00:42");
        let claims = ear.until_quiet(Duration::from_millis(300));
        let told = |claim: &avamgr::neighbours::Claim| {
            claim.address.to_string() == "172.16.9.61" && claim.mac.to_string() == "02:00:00:00:00:42"
        };
        assert!(claims.iter().any(|(_, claim)| told(claim)), "{} claims", claims.len());
    }
}
