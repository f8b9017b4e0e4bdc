//! The kernel takes the addresses away when nobody refreshes them.

use std::time::Duration;

use avamgr::clock;
use avamgr_core::node::Report;

use crate::in_namespaces;
use crate::space::{Space, pair};
use crate::vip::{Ear, Vip, config, timers};

const BOTH: [&str; 2] = ["172.16.9.61/24", "2001:db8:9::61/64"];

fn started(node: &Space, ranges: &[&str]) -> Vip {
    let vip = Vip::new(node, config(&BOTH, ranges));
    vip.expect(Report::Able);
    vip.start();
    vip
}

in_namespaces! {
    fn refreshed_addresses_stay_and_those_of_a_dead_daemon_go() {
        let (node, _peer) = pair();
        let vip = started(&node, &[]);
        for _ in 0..35 {
            std::thread::sleep(Duration::from_millis(100));
            assert!(BOTH.iter().all(|address| node.has("eth1", address)));
        }
        vip.silent_for(Duration::ZERO);
        vip.kill();
        let died = clock::now();
        let bound = Duration::from_secs(3);
        let mut gone = [None; 2];
        while gone.iter().any(Option::is_none) {
            let since = clock::now().since(died);
            for (address, gone) in BOTH.iter().zip(&mut gone) {
                if gone.is_none() && !node.has("eth1", address) {
                    *gone = Some(since);
                }
            }
            assert!(since < bound, "still there {since:?} after the last refresh: {gone:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        println!("gone after {gone:?}");
        assert!(gone.iter().flatten().all(|gone| *gone > Duration::from_millis(1_000)), "{gone:?}");
    }

    fn after_standing_still_for_too_long_nothing_is_put_back() {
        let (node, _peer) = pair();
        let vip = started(&node, &["10.1.16.0/20"]);
        vip.freeze(Duration::from_millis(2_500));
        let why = vip.expect_text(Report::Failed);
        assert!(why.starts_with("stood still for 2."), "{why}");
        std::thread::sleep(Duration::from_millis(200));
        assert!(!BOTH.iter().any(|address| node.has("eth1", address)));
        // The kernel knows no lifetime for a range; the task does.
        assert_eq!(node.ip("route show table local proto 167"), "");
        vip.start();
        assert!(BOTH.iter().all(|address| node.has("eth1", address)));
    }

    fn after_a_short_stall_an_order_finds_nothing_done_yet() {
        let (node, peer) = pair();
        let mut timers = timers();
        timers.announce_refresh = Duration::from_millis(700);
        let vip = Vip::with(&node, config(&BOTH, &[]), timers);
        vip.expect(Report::Able);
        vip.start();
        let ear = Ear::new(&peer);
        ear.until_quiet(Duration::from_millis(100));
        vip.freeze(Duration::from_millis(1_000));
        std::thread::sleep(Duration::from_millis(1_020));
        vip.stop();
        assert_eq!(ear.until_quiet(Duration::from_millis(100)).len(), 0, "announced before the decision could speak");
    }

    fn after_a_short_stall_all_goes_on() {
        let (node, _peer) = pair();
        let vip = started(&node, &[]);
        vip.freeze(Duration::from_millis(1_500));
        std::thread::sleep(Duration::from_millis(3_500));
        vip.silent_for(Duration::ZERO);
        assert!(BOTH.iter().all(|address| node.has("eth1", address)));
    }

    fn on_a_machine_that_is_always_late_lifetimes_are_refreshed() {
        let (node, _peer) = pair();
        let vip = started(&node, &[]);
        for _ in 0..14 {
            // Later than the time others need to take us for dead, each time.
            vip.freeze(Duration::from_millis(450));
            std::thread::sleep(Duration::from_millis(455));
            assert!(BOTH.iter().all(|address| node.has("eth1", address)));
        }
        vip.silent_for(Duration::from_millis(100));
    }

    fn a_lifetime_that_ran_out_is_said_to_be_that_and_the_address_is_put_back_and_announced() {
        let (node, peer) = pair();
        let vip = Vip::new(&node, config(&BOTH[..1], &[]));
        vip.expect(Report::Able);
        vip.start();
        let ear = Ear::new(&peer);
        ear.until_quiet(Duration::from_millis(200));
        // In the moment between the two stalls nothing is done yet; on a busy machine that moment may become too long.
        let mut said = None;
        for _ in 0..5 {
            vip.freeze(Duration::from_millis(1_600));
            std::thread::sleep(Duration::from_millis(1_605));
            vip.freeze(Duration::from_millis(1_300));
            said = vip.next_within(Duration::from_secs(3));
            if said.is_some() {
                break;
            }
        }
        let what = "172.16.9.61/24: lifetime ran out on eth1, this node was too late to refresh it; put back";
        assert_eq!(said, Some(Report::Notice(what.to_owned())));
        crate::space::eventually("put back", || node.has("eth1", BOTH[0]));
        assert!(!ear.until_quiet(Duration::from_millis(300)).is_empty(), "not announced");
        // From here on it is somebody else again.
        std::thread::sleep(Duration::from_millis(700));
        node.ip("address delete 172.16.9.61/24 dev eth1");
        let notice = vip.expect_text(Report::Notice);
        assert_eq!(notice, "172.16.9.61/24: taken off eth1 by somebody else, put back");
    }
}
