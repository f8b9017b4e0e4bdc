//! What carries our mark is found wherever it is, and what another resource has is left alone.

use std::time::Duration;

use avamgr_core::config::VipConfig;
use avamgr_core::node::{Order, Report};

use crate::in_namespaces;
use crate::space::{Space, pair};
use crate::vip::{Vip, config, timers};

const BOTH: [&str; 2] = ["172.16.9.61/24", "2001:db8:9::61/64"];

fn on(interface: &str, addresses: &[&str], ranges: &[&str]) -> VipConfig {
    VipConfig { interfaces: vec![interface.to_owned()], ..config(addresses, ranges) }
}

fn started(node: &Space, config: VipConfig) -> Vip {
    let vip = Vip::new(node, config);
    vip.expect(Report::Able);
    vip.start();
    vip
}

/// Everything that carries our mark.
fn marked(node: &Space) -> String {
    let routes = ["route show table local proto 167", "-6 route show table local proto 167", "-6 route show proto 167"];
    let addresses = node.ip("-o address show");
    let ours = addresses.lines().filter(|line| line.contains("proto 167") || line.contains("valid_lft 2sec"));
    ours.map(str::to_owned).chain(routes.iter().map(|list| node.ip(list))).collect::<String>()
}

in_namespaces! {
    fn a_stop_finds_everything_under_another_name_of_the_interface() {
        let (node, _peer) = pair();
        let vip = started(&node, config(&BOTH, &["10.1.16.0/20", "2001:db8:1::/112"]));
        node.ip("link set eth1 name svc9");
        assert_eq!(vip.expect_text(Report::Failed), "interface eth1 disappeared");
        assert!(node.has("svc9", BOTH[0]) && marked(&node).contains("10.1.16.0/20"));
        vip.stop();
        assert!(!BOTH.iter().any(|address| node.has("svc9", address)));
        assert_eq!(marked(&node), "");
    }

    fn a_later_daemon_finds_them_under_another_name_too() {
        let (node, _peer) = pair();
        let earlier = started(&node, config(&BOTH, &["10.1.16.0/20"]));
        earlier.kill();
        node.ip("link set eth1 name svc9");
        let later = Vip::new(&node, config(&BOTH, &["10.1.16.0/20"]));
        later.expect_text(Report::Unable);
        later.stop();
        assert!(!BOTH.iter().any(|address| node.has("svc9", address)));
        assert_eq!(marked(&node), "");
    }

    fn leftovers_of_another_config_go_at_the_first_stop() {
        let (node, _peer) = pair();
        let other = Space::new();
        node.cable("eth2", &other, "eth2");
        let earlier = started(&node, on("eth2", &["172.16.9.71/24", "2001:db8:9::71/64"], &["10.1.16.0/26"]));
        earlier.kill();
        node.ip("address add 172.16.9.72/24 dev eth2");
        let later = Vip::new(&node, config(&BOTH, &["10.1.16.0/27"]));
        later.expect(Report::Able);
        later.order(Order::Stop { within: None });
        let notice = later.expect_text(Report::Notice);
        assert!(notice.starts_with("172.16.9.72/24: went from") || notice.starts_with("removed what"), "{notice}");
        let notice = if notice.starts_with("removed") { notice } else { later.expect_text(Report::Notice) };
        assert!(notice.starts_with("removed what an earlier daemon left with another config: "), "{notice}");
        assert!(notice.contains("the range 10.1.16.0/26 on eth2") && notice.contains("172.16.9.71/24"), "{notice}");
        later.expect(Report::Stopped);
        assert_eq!(marked(&node), "");
        assert!(node.has("eth2", "172.16.9.72/24"), "what is not ours stays");
        // Once is enough: from here on, all that is marked is of this daemon.
        later.start();
        later.stop();
        assert_eq!(marked(&node), "");
    }

    fn a_leftover_is_not_taken_for_something_of_others() {
        let (node, _peer) = pair();
        node.sysctl("net/ipv4/conf/eth1/promote_secondaries", "0");
        started(&node, config(&["172.16.9.61/24", "172.16.9.71/24"], &[])).kill();
        assert!(node.ip("address show dev eth1 secondary").contains("172.16.9.71"));
        let later = Vip::new(&node, config(&["172.16.9.61/24"], &[]));
        later.expect(Report::Able);
        later.order(Order::Stop { within: None });
        assert!(later.expect_text(Report::Notice).starts_with("removed what an earlier daemon left"));
        later.expect(Report::Stopped);
        assert_eq!(marked(&node), "");
    }

    fn a_start_without_a_stop_removes_them_too() {
        let (node, _peer) = pair();
        started(&node, config(&[], &["10.1.16.0/26"])).kill();
        let later = Vip::new(&node, config(&[], &["10.1.16.0/27"]));
        later.expect(Report::Able);
        later.order(Order::Start);
        assert!(later.expect_text(Report::Notice).contains("the range 10.1.16.0/26 on eth1"));
        later.expect(Report::Started);
        let routes = node.ip("route show table local proto 167");
        assert!(routes.contains("10.1.16.0/27") && !routes.contains("/26"), "{routes}");
    }

    fn what_another_resource_has_is_left_alone() {
        let (node, _peer) = pair();
        let other = Space::new();
        node.cable("eth2", &other, "eth2");
        // The same address on another network, and a range of its own.
        let its = on("eth2", &["172.16.9.61/24", "172.16.9.62/24"], &["10.1.16.0/20"]);
        let running = started(&node, its.clone());
        let ours = Vip::beside(&node, config(&BOTH, &[]), timers(), Some(its));
        ours.expect(Report::Able);
        ours.stop();
        ours.start();
        ours.stop();
        assert!(node.has("eth2", "172.16.9.61/24") && node.has("eth2", "172.16.9.62/24"));
        assert!(node.ip("route show table local proto 167").contains("10.1.16.0/20"));
        running.silent_for(Duration::from_millis(50));
    }
}
