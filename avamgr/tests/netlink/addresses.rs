//! What is on the interface after a start, a stop, and what others do to it.

use std::time::Duration;

use avamgr::neighbours::{Claim, Form, Haste, Sender};
use avamgr::netlink::{Netlink, PROTOCOL};
use avamgr_core::node::{Order, Report};

use crate::in_namespaces;
use crate::space::{Space, eventually, pair};
use crate::vip::{Ear, Vip, config, timers};

const BOTH: [&str; 2] = ["172.16.9.61/24", "2001:db8:9::61/64"];

fn vip(node: &Space, addresses: &[&str]) -> Vip {
    let vip = Vip::new(node, config(addresses, &[]));
    vip.expect(Report::Able);
    vip
}

/// How many addresses carry our mark.
fn ours(node: &Space) -> usize {
    node.block_on(async {
        let mut netlink = Netlink::open().unwrap();
        let index = netlink.interface("eth1").await.unwrap().unwrap().index;
        netlink.addresses(index).await.unwrap().iter().filter(|present| present.protocol == Some(PROTOCOL)).count()
    })
}

/// More copies of a local route than one removal takes.
fn copies_of_a_route(node: &Space, route: &str) {
    for metric in 1..=12 {
        node.ip(&format!("-6 route add local {route} table local metric {metric}"));
    }
}

in_namespaces! {
    fn start_puts_addresses_on_and_stop_takes_them_off() {
        let (node, _peer) = pair();
        let vip = vip(&node, &BOTH);
        println!("start {:?}", vip.start());
        let shown = node.ip("address show dev eth1");
        for address in BOTH {
            assert!(node.has("eth1", address), "{shown}");
        }
        assert!(shown.matches("valid_lft 2sec").count() == 2, "{shown}");
        assert_eq!(ours(&node), 2);
        let line = shown.lines().find(|line| line.contains(BOTH[1])).unwrap();
        assert!(line.contains("nodad") && line.contains("noprefixroute") && !line.contains("tentative"), "{shown}");
        assert!(node.ip("-6 route show dev eth1").contains("2001:db8:9::/64 proto 167 metric 1024"));
        assert!(node.ip("route show dev eth1").contains("172.16.9.0/24"));
        println!("stop {:?}", vip.stop());
        for address in BOTH {
            assert!(!node.has("eth1", address));
        }
        assert!(!node.ip("-6 route show dev eth1").contains("2001:db8:9::/64"));
        // Once more is no mistake.
        vip.stop();
        vip.start();
        vip.start();
        assert!(BOTH.iter().all(|address| node.has("eth1", address)));
    }

    fn a_label_is_for_ipv4() {
        let (node, _peer) = pair();
        let mut config = config(&BOTH, &[]);
        config.label = Some("eth1:dre".to_owned());
        let vip = Vip::new(&node, config);
        vip.expect(Report::Able);
        vip.start();
        assert!(node.ip("-4 address show label eth1:dre").contains("172.16.9.61/24"));
        assert!(node.has("eth1", BOTH[1]));
    }

    fn a_single_address_is_taken_off_at_once() {
        let (node, _peer) = pair();
        let vip = vip(&node, &BOTH[..1]);
        let (mut starts, mut stops): (Vec<_>, Vec<_>) = (0..21).map(|_| (vip.start(), vip.stop())).unzip();
        starts.sort();
        stops.sort();
        println!("median: start {:?}, stop {:?}; worst: start {:?}, stop {:?}", starts[10], stops[10], starts[20], stops[20]);
        assert!(starts[10] < Duration::from_millis(10) && stops[10] < Duration::from_millis(10));
    }

    fn leftovers_of_an_earlier_run_go_at_the_stop_that_begins_the_next() {
        let (node, _peer) = pair();
        let earlier = vip(&node, &BOTH);
        earlier.start();
        earlier.kill();
        assert!(BOTH.iter().all(|address| node.has("eth1", address)));
        let later = vip(&node, &BOTH);
        later.stop();
        assert!(!BOTH.iter().any(|address| node.has("eth1", address)));
    }

    fn leftovers_are_adopted_by_a_start_without_a_word() {
        let (node, _peer) = pair();
        let earlier = vip(&node, &BOTH);
        earlier.start();
        earlier.kill();
        let later = vip(&node, &BOTH);
        later.start();
        assert!(BOTH.iter().all(|address| node.has("eth1", address)));
        later.silent_for(Duration::from_millis(50));
    }

    fn what_the_program_before_has_put_on_is_adopted_without_a_word_to_anybody() {
        let (node, peer) = pair();
        let earlier = vip(&node, &BOTH);
        earlier.start();
        earlier.kill();
        let ear = Ear::new(&peer);
        let later = vip(&node, &BOTH);
        later.order(Order::Adopt);
        later.expect(Report::Started);
        assert_eq!(ear.until_quiet(Duration::from_millis(300)), []);
        // Longer than their lifetime.
        later.silent_for(Duration::from_secs(3));
        assert!(BOTH.iter().all(|address| node.has("eth1", address)));
        later.stop();
        assert!(!BOTH.iter().any(|address| node.has("eth1", address)));
    }

    fn what_is_missing_at_an_adoption_is_put_back_and_only_that_is_announced() {
        let (node, peer) = pair();
        let earlier = vip(&node, &BOTH);
        earlier.start();
        earlier.kill();
        node.ip(&format!("address delete {} dev eth1", BOTH[0]));
        let ear = Ear::new(&peer);
        let later = vip(&node, &BOTH);
        later.order(Order::Adopt);
        assert_eq!(later.expect_text(Report::Notice), "172.16.9.61/24: taken off eth1 by somebody else, put back");
        later.expect(Report::Started);
        eventually("put back", || BOTH.iter().all(|address| node.has("eth1", address)));
        let claims = ear.until_quiet(Duration::from_millis(300));
        assert!(!claims.is_empty() && claims.iter().all(|(_, claim)| claim.address.is_ipv4()), "{claims:?}");
    }

    fn an_address_of_somebody_else_becomes_ours_with_a_notice() {
        let (node, _peer) = pair();
        for address in BOTH {
            node.ip(&format!("address add {address} dev eth1 nodad"));
        }
        let vip = vip(&node, &BOTH);
        vip.order(Order::Start);
        let notice = vip.expect_text(Report::Notice);
        assert_eq!(notice, "172.16.9.61/24, 2001:db8:9::61/64: already on eth1, put there by somebody else; ours now");
        vip.expect(Report::Started);
        let shown = node.ip("address show dev eth1");
        assert_eq!(ours(&node), 2);
        assert!(shown.matches("valid_lft 2sec").count() == 2, "{shown}");
        vip.stop();
        assert!(!BOTH.iter().any(|address| node.has("eth1", address)));
    }

    fn another_prefix_length_is_put_right() {
        let (node, _peer) = pair();
        node.ip("address add 172.16.9.61/32 dev eth1");
        node.ip("address add 2001:db8:9::61/128 dev eth1 nodad");
        let vip = vip(&node, &BOTH);
        vip.start();
        assert!(BOTH.iter().all(|address| node.has("eth1", address)));
        assert!(!node.has("eth1", "172.16.9.61/32") && !node.has("eth1", "2001:db8:9::61/128"));
        // A stop takes off what is there, with any length.
        node.ip("address add 172.16.9.61/32 dev eth1");
        vip.stop();
        assert!(!node.ip("address show dev eth1").contains("172.16.9.61"));
    }

    fn an_address_that_failed_duplicate_detection_is_recovered() {
        let (node, peer) = pair();
        peer.ip("address add 2001:db8:9::61/64 dev eth1 nodad");
        node.ip("address add 2001:db8:9::61/64 dev eth1");
        let failed = || node.ip("address show dev eth1").contains("dadfailed");
        eventually("duplicate address detection fails", failed);
        let vip = vip(&node, &BOTH[1..]);
        vip.start();
        assert!(node.has("eth1", BOTH[1]) && !failed());
    }

    fn what_the_kernel_refuses_fails_the_start_and_leaves_nothing() {
        let (node, _peer) = pair();
        node.sysctl("net/ipv6/conf/eth1/disable_ipv6", "1");
        let vip = vip(&node, &BOTH);
        vip.order(Order::Start);
        let why = vip.expect_text(Report::StartFailed);
        assert!(why.contains("2001:db8:9::") && why.contains("eth1"), "{why}");
        assert!(!node.has("eth1", BOTH[0]));
    }

    fn a_start_that_fails_and_leaves_something_is_not_over() {
        let (node, _peer) = pair();
        let range = "2001:db8:1::/112";
        // More copies of a route than one attempt removes, and an address that cannot be put on.
        copies_of_a_route(&node, &format!("{range} dev eth1"));
        let vip = Vip::new(&node, config(&["ff02::5/128"], &[range]));
        vip.expect(Report::Able);
        vip.order(Order::Start);
        let why = vip.expect_text(Report::StopFailed);
        assert!(why.contains("ff02::5/128 cannot be put on") && why.contains("the range 2001:db8:1::/112"), "{why}");
        vip.stop();
        assert_eq!(node.ip("-6 route show table local 2001:db8:1::/112"), "");
    }

    fn what_cannot_be_removed_does_not_keep_the_rest() {
        let (node, _peer) = pair();
        let vip = Vip::new(&node, config(&BOTH, &["10.1.16.0/20", "2001:db8:1::/112"]));
        vip.expect(Report::Able);
        // A leftover that does not go at the first attempt.
        copies_of_a_route(&node, "2001:db8:7::/112 dev eth1 proto 167");
        for address in BOTH {
            node.ip(&format!("address add {address} dev eth1 nodad"));
        }
        for range in ["10.1.16.0/20", "2001:db8:1::/112"] {
            node.ip(&format!("route add local {range} dev eth1 table local proto 167"));
        }
        vip.order(Order::Stop { within: Some(Duration::ZERO) });
        let why = vip.expect_text(Report::StopFailed);
        assert!(why.contains("the range 2001:db8:7::/112 cannot be removed from eth1"), "{why}");
        assert!(!BOTH.iter().any(|address| node.has("eth1", address)));
        let routes = node.ip("route show table local proto 167") + &node.ip("-6 route show table local proto 167");
        assert!(!routes.contains("10.1.16.0/20") && !routes.contains("2001:db8:1::/112"), "{routes}");
    }

    fn an_address_taken_away_is_put_back_and_announced() {
        let (node, client) = pair();
        client.ip("address add 172.16.9.5/24 dev eth1");
        client.ip("address add 2001:db8:9::5/64 dev eth1 nodad");
        let vip = vip(&node, &BOTH);
        vip.start();
        let mac = node.mac("eth1");
        for (address, plain) in BOTH.into_iter().zip(["172.16.9.61", "2001:db8:9::61"]) {
            eventually("announcements", || client.neighbour(plain).is_none_or(|entry| entry == mac));
            client.mislead("eth1", &[plain]);
            node.ip(&format!("address delete {address} dev eth1"));
            let notice = vip.expect_text(Report::Notice);
            assert_eq!(notice, format!("{address}: taken off eth1 by somebody else, put back"));
            eventually("put back", || node.has("eth1", address));
            eventually("announced", || client.neighbour(plain).as_deref() == Some(&mac));
        }
        vip.silent_for(Duration::from_millis(100));
    }

    fn an_address_that_somebody_else_claims_is_announced_again() {
        let (node, client) = pair();
        let vip = vip(&node, &BOTH);
        vip.start();
        let (mac, ours) = (client.mac("eth1"), node.mac("eth1"));
        for (plain, form) in [("172.16.9.61", Form::Request), ("2001:db8:9::61", Form::Reply)] {
            let ear = Ear::new(&client);
            let claim = || {
                client.block_on(async {
                    let link = Netlink::open().unwrap().interface("eth1").await.unwrap().unwrap();
                    let mut sender = Sender::open(&link).unwrap().unwrap();
                    sender.announce(&[plain.parse().unwrap()], form, Haste::Urgent).unwrap()
                })
            };
            assert_eq!(claim(), 1);
            let notice = vip.expect_text(Report::Notice);
            assert_eq!(notice, format!("{plain} is claimed by {mac} on eth1; announced again"));
            let announced = ear.until_quiet(Duration::from_millis(1500));
            let is_answer = |claim: &Claim| claim.address.to_string() == plain && claim.mac.to_string() == ours;
            assert!(announced.iter().any(|(_, claim)| is_answer(claim)), "{announced:?}");
            claim();
            vip.silent_for(Duration::from_millis(100));
            vip.stop();
            vip.start();
        }
    }

    fn an_address_that_somebody_puts_where_it_should_not_be_is_seen_until_it_is_gone() {
        let (node, _client) = pair();
        let vip = vip(&node, &BOTH);
        vip.start();
        vip.stop();
        node.ip("address add 172.16.9.5/24 dev eth1");
        vip.silent_for(timers().guard_lifetime + Duration::from_millis(500));
        node.ip("address add 172.16.9.61/24 dev eth1");
        let found = Report::Stray("172.16.9.61/24 is on eth1 without an order".to_owned());
        vip.expect(found.clone());
        vip.expect(found.clone());
        node.ip("address delete 172.16.9.61/24 dev eth1");
        let gone = Report::Gone("nothing of it is on eth1 any more".to_owned());
        let next = vip.next().1;
        // The look may have been just before.
        if next == found {
            vip.expect(gone);
        } else {
            assert_eq!(next, gone);
        }
        node.ip("address add 172.16.9.61/24 dev eth1");
        vip.expect(found);
        vip.stop();
        assert!(!node.has("eth1", BOTH[0]) && node.has("eth1", "172.16.9.5/24"));
        vip.silent_for(timers().guard_lifetime + Duration::from_millis(500));
    }

    fn a_fight_over_an_address_does_not_run_wild() {
        let (node, _client) = pair();
        let vip = vip(&node, &BOTH[..1]);
        vip.start();
        for _ in 0..100 {
            let _ = node.try_ip("address delete 172.16.9.61/24 dev eth1");
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut notices = 0;
        while let Some(report) = vip.next_within(Duration::from_millis(1_500)) {
            assert!(matches!(report, Report::Notice(_)), "{report:?}");
            notices += 1;
        }
        println!("{notices} times put back");
        assert!((3..=20).contains(&notices), "{notices}");
        assert!(node.has("eth1", BOTH[0]));
    }

    fn a_range_taken_away_is_put_back() {
        let (node, _peer) = pair();
        let vip = Vip::new(&node, config(&[], &["10.1.16.0/20", "2001:db8:1::/112"]));
        vip.expect(Report::Able);
        vip.start();
        let v4 = "route show table local proto 167";
        let v6 = "-6 route show table local proto 167";
        for list in [v4, v6] {
            let there = || node.ip(list).contains("local ");
            assert!(there(), "{list}");
            let flush = list.replace("show", "flush");
            node.ip(&flush);
            eventually("put back", there);
        }
        vip.stop();
        assert_eq!((node.ip(v4), node.ip(v6)), (String::new(), String::new()));
    }

    fn a_range_that_goes_with_the_last_address_is_put_back() {
        let (node, client) = pair();
        let vip = Vip::new(&node, config(&[], &["10.1.16.0/20", "2001:db8:1::/112"]));
        vip.expect(Report::Able);
        vip.start();
        let v4 = || node.ip("route show table local proto 167").contains("10.1.16.0/20");
        for _ in 0..3 {
            node.ip("address add 172.16.9.54/24 dev eth1");
            let ear = Ear::new(&client);
            ear.until_quiet(Duration::from_millis(100));
            node.ip("address flush dev eth1");
            eventually("put back", v4);
            assert!(!ear.until_quiet(Duration::from_millis(100)).is_empty(), "not announced");
        }
        vip.silent_for(Duration::from_millis(100));
        vip.stop();
        assert_eq!(node.ip("route show table local proto 167"), "");
    }

    fn a_range_that_goes_with_an_address_put_right_at_the_start_is_there_all_the_same() {
        let (node, _peer) = pair();
        node.ip("address add 172.16.9.61/32 dev eth1");
        let vip = Vip::new(&node, config(&BOTH[..1], &["10.1.16.0/20"]));
        vip.expect(Report::Able);
        vip.start();
        eventually("there", || node.ip("route show table local proto 167").contains("10.1.16.0/20"));
    }

    fn addresses_of_others_that_go_are_no_news_for_a_range_that_stays() {
        let (node, client) = pair();
        let vip = Vip::new(&node, config(&[], &["10.1.16.0/20"]));
        vip.expect(Report::Able);
        node.ip("address add 172.16.9.54/24 dev eth1");
        vip.start();
        for host in 1..=50 {
            node.ip(&format!("address add 10.7.0.{host}/32 dev eth1"));
        }
        let ear = Ear::new(&client);
        ear.until_quiet(Duration::from_millis(200));
        for host in 1..=50 {
            node.ip(&format!("address delete 10.7.0.{host}/32 dev eth1"));
        }
        assert_eq!(ear.until_quiet(Duration::from_millis(200)).len(), 0, "announced for nothing");
        vip.silent_for(Duration::ZERO);
        assert!(node.ip("route show table local proto 167").contains("10.1.16.0/20"));
    }

    fn an_address_of_somebody_else_that_goes_with_ours_is_put_back() {
        let (node, _peer) = pair();
        node.sysctl("net/ipv4/conf/eth1/promote_secondaries", "0");
        let vip = vip(&node, &BOTH[..1]);
        vip.start();
        node.ip("address add 172.16.9.54/24 dev eth1 label eth1:own");
        assert!(node.ip("address show dev eth1 secondary").contains("172.16.9.54"));
        vip.order(Order::Stop { within: None });
        let notice = vip.expect_text(Report::Notice);
        assert_eq!(notice, "172.16.9.54/24: went from eth1 with our address, put back");
        vip.expect(Report::Stopped);
        let shown = node.ip("address show dev eth1 permanent");
        assert!(shown.contains("172.16.9.54/24") && shown.contains("eth1:own"), "{shown}");
        assert!(!node.has("eth1", BOTH[0]));
    }

    fn what_another_resource_has_is_not_put_back_behind_its_back() {
        let (node, _peer) = pair();
        node.sysctl("net/ipv4/conf/eth1/promote_secondaries", "0");
        // It takes its address off at the same time, because the group goes to another node.
        let its = config(&["172.16.9.62/24"], &[]);
        let vip = Vip::beside(&node, config(&BOTH[..1], &[]), timers(), Some(its));
        vip.expect(Report::Able);
        vip.start();
        node.ip("address add 172.16.9.62/24 dev eth1");
        node.ip("address add 172.16.9.54/24 dev eth1");
        vip.order(Order::Stop { within: None });
        assert_eq!(vip.expect_text(Report::Notice), "172.16.9.54/24: went from eth1 with our address, put back");
        vip.expect(Report::Stopped);
        assert!(node.has("eth1", "172.16.9.54/24"));
        assert!(!node.has("eth1", "172.16.9.62/24"), "it may be on another node by now");
    }

    fn the_hosts_own_prefix_route_is_left_alone() {
        let (node, _peer) = pair();
        node.ip("address add 2001:db8:9::54/64 dev eth1 nodad");
        let vip = vip(&node, &BOTH);
        vip.start();
        std::thread::sleep(Duration::from_millis(700));
        vip.stop();
        let routes = node.ip("-6 route show dev eth1");
        let own: Vec<_> = routes.lines().filter(|line| line.starts_with("2001:db8:9::/64")).collect();
        assert_eq!(own.len(), 1, "{routes}");
        assert!(!own[0].contains("expires"), "{routes}");
    }
}
