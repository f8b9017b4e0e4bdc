//! Thousands of addresses. Times are printed; only nonsense fails.

use std::time::Duration;

use avamgr::clock;
use avamgr_core::config::{IpNet, VipConfig};
use avamgr_core::node::{Order, Report};
use avamgr_core::time::Instant;

use crate::in_namespaces;
use crate::space::{Space, pair};
use crate::vip::{Ear, Vip, config, timers};

const COUNT: usize = 4_000;

fn v4(count: usize, prefix: u8) -> VipConfig {
    let net = |place: usize| {
        let host = u32::try_from(place).unwrap();
        IpNet { address: std::net::Ipv4Addr::from_bits(0x0a01_0001 + host).into(), prefix }
    };
    VipConfig { addresses: (0..count).map(net).collect(), ..config(&[], &[]) }
}

fn v6(count: usize) -> VipConfig {
    let net = |place: usize| {
        let host = u128::try_from(place).unwrap();
        IpNet { address: std::net::Ipv6Addr::from_bits((0x2001_0db8 << 96) + 1 + host).into(), prefix: 64 }
    };
    VipConfig { addresses: (0..count).map(net).collect(), ..config(&[], &[]) }
}

/// The guard that the config derives for thousands: the cost of a refresh is in proportion.
fn vip(node: &Space, config: VipConfig) -> Vip {
    let mut timers = timers();
    timers.guard_lifetime = Duration::from_secs(20);
    timers.guard_refresh = Duration::from_secs(5);
    let vip = Vip::with(node, config, timers);
    vip.expect(Report::Able);
    vip
}

fn distinct(claims: &[(Instant, avamgr::neighbours::Claim)]) -> usize {
    claims.iter().map(|(_, claim)| claim.address).collect::<std::collections::BTreeSet<_>>().len()
}

in_namespaces! {
    fn four_thousand_ipv4_addresses() {
        for prefix in [32, 16] {
            let (node, peer) = pair();
            let ear = Ear::new(&peer);
            let vip = vip(&node, v4(COUNT, prefix));
            let ordered = vip.order(Order::Start);
            let started = vip.expect(Report::Started).since(ordered);
            let claims = ear.until_quiet(Duration::from_secs(1));
            let mut seen = std::collections::BTreeSet::new();
            let firsts: Vec<_> = claims.iter().filter(|(_, claim)| seen.insert(claim.address)).collect();
            // Once each as soon as it is on, and once more in the other form.
            assert_eq!((firsts.len(), claims.len()), (COUNT, 2 * COUNT));
            let (first, last) = (firsts[0].0.since(ordered), firsts[COUNT - 1].0.since(ordered));
            println!("/{prefix}: first announced {first:?}, last {last:?}, started {started:?}, {} frames", claims.len());
            assert_eq!(node.ip("-o -4 address show dev eth1").lines().count(), COUNT);
            let stopped = vip.stop();
            println!("/{prefix}: stopped {stopped:?}");
            assert_eq!(node.ip("-o -4 address show dev eth1"), "");
            assert!(first < Duration::from_millis(500) && last < Duration::from_secs(5) && started < Duration::from_secs(5));
        }
    }

    fn a_thousand_ipv6_addresses() {
        let (node, _peer) = pair();
        let vip = vip(&node, v6(1_000));
        println!("IPv6: started {:?}", vip.start());
        assert_eq!(node.ip("-o -6 address show dev eth1 scope global").lines().count(), 1_000);
        println!("IPv6: stopped {:?}", vip.stop());
        assert_eq!(node.ip("-o -6 address show dev eth1 scope global"), "");
    }

    fn a_range_of_4096_addresses_is_announced_at_a_pace() {
        let (node, peer) = pair();
        let ear = Ear::new(&peer);
        let vip = vip(&node, config(&[], &["10.1.16.0/20"]));
        let ordered = vip.order(Order::Start);
        let started = vip.expect(Report::Started).since(ordered);
        let claims = ear.until_quiet(Duration::from_secs(1));
        assert_eq!((distinct(&claims[..4_096]), distinct(&claims), claims.len()), (4_096, 4_096, 8_192));
        let last = claims[4_095].0.since(ordered);
        println!("range: started {started:?}, last of 4096 announced {last:?}");
        assert!(last > Duration::from_millis(15) && last < Duration::from_secs(2), "{last:?}");
    }

    fn a_stop_ends_a_start_and_leaves_nothing() {
        let (node, _peer) = pair();
        let vip = vip(&node, v4(COUNT, 24));
        for milliseconds in [0, 1, 5, 20, 50, 100] {
            vip.order(Order::Start);
            std::thread::sleep(Duration::from_millis(milliseconds));
            let ordered = vip.order(Order::Stop { within: None });
            let stopped = loop {
                match vip.next() {
                    (at, Report::Stopped) => break at,
                    (_, Report::Started) => {}
                    (_, other) => panic!("{other:?}"),
                }
            };
            println!("stop {milliseconds} ms after the start: {:?}", stopped.since(ordered));
            assert_eq!(node.ip("-o -4 address show dev eth1"), "");
        }
        vip.silent_for(Duration::from_millis(50));
        assert_eq!(node.ip("-o -4 address show dev eth1"), "");
    }

    fn thousands_are_refreshed_in_time() {
        let (node, _peer) = pair();
        let mut timers = timers();
        timers.guard_lifetime = Duration::from_secs(6);
        timers.guard_refresh = Duration::from_millis(1_500);
        let vip = Vip::with(&node, v4(COUNT, 32), timers);
        vip.expect(Report::Able);
        vip.start();
        for _ in 0..16 {
            std::thread::sleep(Duration::from_millis(500));
            let shown = node.ip("-o -4 address show dev eth1");
            assert_eq!(shown.lines().count(), COUNT);
            assert!(!shown.contains("valid_lft 0sec"));
        }
        vip.silent_for(Duration::ZERO);
    }

    fn thousands_that_vanish_at_once_are_put_back() {
        let (node, _peer) = pair();
        let vip = vip(&node, v4(COUNT, 32));
        vip.start();
        node.ip("address flush dev eth1");
        let notice = vip.expect_text(Report::Notice);
        assert!(notice.contains(" more: taken off eth1 by somebody else, put back"), "{notice}");
        let flushed = clock::now();
        crate::space::eventually("all back", || node.ip("-o -4 address show dev eth1").lines().count() == COUNT);
        println!("back {:?} after the flush, with {} more reports", clock::now().since(flushed), vip.drain());
    }

    fn a_storm_of_removals_of_thousands_ends_with_all_back_and_announced() {
        let (node, peer) = pair();
        let vip = vip(&node, v4(COUNT, 32));
        vip.start();
        let ear = Ear::new(&peer);
        ear.until_quiet(Duration::from_millis(500));
        for _ in 0..3 {
            // It may find no end, because of us.
            let _ = node.try_ip("address flush dev eth1");
        }
        let flushed = clock::now();
        crate::space::eventually("all back", || node.ip("-o -4 address show dev eth1").lines().count() == COUNT);
        println!("back {:?} after the last flush", clock::now().since(flushed));
        assert_eq!(distinct(&ear.until_quiet(Duration::from_secs(2))), COUNT);
        while let Some(report) = vip.next_within(Duration::from_millis(500)) {
            assert!(matches!(&report, Report::Notice(text) if text.contains("by somebody else")), "{report:?}");
        }
        assert_eq!(node.ip("-o -4 address show dev eth1").lines().count(), COUNT);
    }
}
