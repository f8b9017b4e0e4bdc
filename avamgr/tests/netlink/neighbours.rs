//! Announcing and probing.

use std::net::IpAddr;
use std::time::Duration;

use avamgr::clock;
use avamgr::neighbours::{Error, probe};
use avamgr::resources::vip::{Question, probe_group};
use avamgr_core::node::Order;
use avamgr_core::node::input::VipOwner;

use crate::in_namespaces;
use crate::space::{NOBODY, Space, eventually, pair};
use crate::vip::{Ear, Vip, config, timers};

const V4: &str = "172.16.9.61";
const V6: &str = "2001:db8:9::61";
const ENOUGH: Duration = Duration::from_millis(10);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A node that owns both addresses, and a peer that asks.
fn owner_and_asker() -> (Space, Space) {
    let (owner, asker) = pair();
    owner.ip(&format!("address add {V4}/24 dev eth1"));
    owner.ip(&format!("address add {V6}/64 dev eth1 nodad"));
    (owner, asker)
}

fn ask(space: &Space, addresses: &[&str], time: Duration) -> (Result<Option<VipOwner>, Error>, Duration) {
    let addresses: Vec<_> = addresses.iter().copied().map(ip).collect();
    space.block_on(async {
        let before = clock::now();
        let answer = probe("eth1", &addresses, time).await;
        (answer, clock::now().since(before))
    })
}

in_namespaces! {
    fn the_neighbours_tables_change_at_the_announcement() {
        let (node, client) = pair();
        client.ip("address add 172.16.9.5/24 dev eth1");
        client.ip("address add 2001:db8:9::5/64 dev eth1 nodad");
        client.mislead("eth1", &[V4, V6]);
        let vip = Vip::new(&node, config(&["172.16.9.61/24", "2001:db8:9::61/64"], &[]));
        vip.expect(avamgr_core::node::Report::Able);
        vip.start();
        let mac = node.mac("eth1");
        for address in [V4, V6] {
            eventually(address, || client.neighbour(address).as_deref() == Some(&mac));
        }
        // And again when it is ordered.
        client.mislead("eth1", &[V4, V6]);
        vip.order(Order::Announce);
        for address in [V4, V6] {
            eventually(address, || client.neighbour(address).as_deref() == Some(&mac));
        }
    }

    fn there_is_a_second_burst_and_a_slow_repetition() {
        let (node, client) = pair();
        let mut timers = timers();
        timers.announce_delay = Duration::from_millis(300);
        timers.announce_refresh = Duration::from_millis(1_000);
        let ear = Ear::new(&client);
        let vip = Vip::with(&node, config(&["172.16.9.61/24"], &[]), timers);
        vip.expect(avamgr_core::node::Report::Able);
        let ordered = vip.order(Order::Start);
        std::thread::sleep(Duration::from_millis(2_900));
        vip.expect(avamgr_core::node::Report::Started);
        vip.stop();
        let claims = ear.until_quiet(Duration::from_millis(1_000));
        let at: Vec<_> = claims.iter().map(|(at, _)| at.since(ordered).as_millis() / 100).collect();
        // Both forms in a burst; one form each time in the slow repetition, whose pauses grow to the one asked for; nothing
        // after the stop.
        assert_eq!(at, [0, 0, 3, 3, 6, 16, 26]);
    }

    fn an_owner_answers_a_probe_in_both_families() {
        let (owner, asker) = owner_and_asker();
        for address in [V4, V6] {
            for time in [Duration::from_millis(2), ENOUGH] {
                let expected = VipOwner { address: ip(address), mac: owner.mac("eth1") };
                // A busy machine does not have 2 ms for us each time.
                let answered = (0..50).any(|_| {
                    let (answer, took) = ask(&asker, &["172.16.9.7", "2001:db8:9::7", address], time);
                    println!("{address}: answer after {took:?}");
                    answer.unwrap().is_some_and(|owner| owner == expected)
                });
                assert!(answered, "{address} within {time:?}");
            }
        }
    }

    fn a_probe_without_an_owner_ends_in_time_and_changes_nothing() {
        let (owner, asker) = owner_and_asker();
        for milliseconds in [2, 10] {
            let time = Duration::from_millis(milliseconds);
            let (answer, took) = ask(&asker, &["172.16.9.62", "2001:db8:9::62"], time);
            println!("nobody: {took:?} of {time:?}");
            assert_eq!(answer.unwrap(), None);
            assert!(took >= time && took < time + Duration::from_millis(100), "{took:?}");
        }
        assert_eq!(owner.ip("neighbour show"), "");
        assert_eq!(asker.ip("neighbour show"), "");
    }

    fn an_owner_who_answers_late_is_asked_again() {
        let (owner, asker) = owner_and_asker();
        // The owner's interface hears nothing at first.
        owner.ip("link set eth1 arp off");
        let late = std::thread::scope(|scope| {
            let answer = scope.spawn(|| ask(&asker, &[V4], Duration::from_millis(900)));
            std::thread::sleep(Duration::from_millis(150));
            owner.ip("link set eth1 arp on");
            answer.join().unwrap()
        });
        assert!(late.0.unwrap().is_some(), "asked once only");
        assert!(late.1 >= Duration::from_millis(150));
    }

    fn answers_of_this_host_do_not_count() {
        // Two interfaces of one host on one network: the second one answers for the address on the first.
        let (lan, host) = (Space::new(), Space::new());
        lan.ip("link add br0 type bridge");
        lan.ip("link set br0 up");
        for port in ["1", "2"] {
            host.cable(&format!("eth{port}"), &lan, &format!("port{port}"));
            lan.ip(&format!("link set port{port} master br0"));
        }
        host.ip(&format!("address add {V4}/24 dev eth2"));
        eventually("the bridge forwards", || lan.ip("-d link show port2").contains("state forwarding"));
        let (answer, _) = ask(&host, &[V4], ENOUGH);
        assert_eq!(answer.unwrap(), None);
        // Somebody else is heard all the same.
        let other = Space::new();
        other.cable("eth1", &lan, "port3");
        lan.ip("link set port3 master br0");
        other.ip(&format!("address add {V4}/24 dev eth1"));
        eventually("the bridge forwards", || lan.ip("-d link show port3").contains("state forwarding"));
        let (answer, _) = ask(&host, &[V4], ENOUGH);
        assert_eq!(answer.unwrap().unwrap().mac, other.mac("eth1"));
    }

    fn an_interface_that_cannot_ask_says_why() {
        let (node, peer) = pair();
        let why = |space: &Space| ask(space, &[V4], ENOUGH).0.unwrap_err().to_string();
        peer.ip("link set eth1 down");
        eventually("no carrier", || why(&node) == "interface eth1 has no carrier");
        node.ip("link set eth1 down");
        assert_eq!(why(&node), "interface eth1 is down");
        node.ip("link delete eth1");
        assert_eq!(why(&node), "interface eth1 does not exist");
    }

    fn questions_that_do_not_leave_this_host_are_no_answer() {
        let (_owner, asker) = owner_and_asker();
        // A queue that takes nothing.
        let queue = asker.run(|| {
            std::process::Command::new("tc").args(["qdisc", "add", "dev", "eth1", "root", "bfifo", "limit", "1"]).output()
        });
        assert!(queue.as_ref().is_ok_and(|queue| queue.status.success()), "{queue:?}");
        for address in [V4, V6] {
            let (answer, took) = ask(&asker, &[address], ENOUGH);
            let why = answer.unwrap_err().to_string();
            assert_eq!(why, "nothing is known about eth1: it does not take the questions, its queue is full");
            assert!(took < ENOUGH * 20, "{took:?}");
        }
    }

    fn a_group_is_asked_on_all_interfaces_at_once() {
        let (owner, asker) = owner_and_asker();
        asker.cable("eth2", &owner, "eth2");
        let question = |interface: &str, address: &str| {
            Question { interface: interface.to_owned(), addresses: vec![ip(address)] }
        };
        let time = Duration::from_millis(50);
        let group = |questions: Vec<Question>| asker.block_on(async move {
            let before = clock::now();
            let answer = probe_group(&questions, time).await;
            assert!(answer.asked >= before);
            (answer, clock::now().since(before))
        });
        let (answer, took) = group(vec![question("eth2", V4), question("eth1", "172.16.9.62")]);
        assert_eq!(answer.owner.unwrap().mac, owner.mac("eth2"));
        assert!(took < time, "{took:?}");
        let (answer, took) = group(vec![question("eth2", "172.16.9.63"), question("eth1", "172.16.9.62")]);
        assert_eq!((answer.owner, answer.error), (None, None));
        assert!(took >= time && took < time * 2, "{took:?}");
        let (answer, _) = group(vec![question("eth9", V4), question("eth1", "172.16.9.62")]);
        assert_eq!((answer.owner, answer.error.as_deref()), (None, Some("interface eth9 does not exist")));
        let (answer, _) = group(vec![question("eth9", V4), question("eth1", V6)]);
        assert_eq!((answer.owner.unwrap().address, answer.error), (ip(V6), None));
        let (answer, took) = group(Vec::new());
        assert_eq!((answer.owner, answer.error), (None, None));
        assert!(took < time);
    }

    fn every_address_of_a_range_answers() {
        let (node, client) = pair();
        client.ip("address add 10.1.0.1/16 dev eth1");
        node.ip("address add 10.1.0.2/16 dev eth1");
        node.ip("address add 2001:db8:1::1:2/96 dev eth1 nodad");
        client.mislead("eth1", &["10.1.31.7"]);
        let vip = Vip::new(&node, config(&[], &["10.1.16.0/20", "2001:db8:1::/116"]));
        vip.expect(avamgr_core::node::Report::Able);
        vip.start();
        let mac = node.mac("eth1");
        // Announced.
        eventually("announcement", || client.neighbour("10.1.31.7").as_deref() == Some(&mac));
        // Answered, the one for ARP by the kernel, the other by us.
        for address in ["10.1.16.0", "10.1.24.200", "10.1.31.255", "2001:db8:1::", "2001:db8:1::bee"] {
            let (answer, _) = ask(&client, &[address], Duration::from_millis(200));
            assert_eq!(answer.unwrap().map(|owner| owner.mac), Some(mac.clone()), "{address}");
        }
        // Without a link-local address the node's own kernel asks nobody on behalf of a range.
        eventually("the link-local address", || node.ip("-6 address show dev eth1 tentative").is_empty());
        // Found and reached by a neighbour's kernel.
        client.ip("address add 2001:db8:1::1:1/96 dev eth1 nodad");
        for address in ["10.1.20.3", "2001:db8:1::42"] {
            // Nobody listens there: being refused is being reached.
            let socket = std::net::SocketAddr::new(ip(address), 9);
            let connected = client.run(|| std::net::TcpStream::connect_timeout(&socket, Duration::from_secs(2)));
            assert_eq!(connected.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused, "{address}");
        }
        // Not answered: outside.
        for address in ["10.1.32.0", "2001:db8:1::1000"] {
            assert_eq!(ask(&client, &[address], ENOUGH).0.unwrap(), None, "{address}");
        }
        vip.stop();
        for address in ["10.1.24.200", "2001:db8:1::bee"] {
            assert_eq!(ask(&client, &[address], ENOUGH).0.unwrap(), None, "{address}");
        }
        assert_ne!(client.neighbour("10.1.31.7").as_deref(), Some(NOBODY));
    }
}
