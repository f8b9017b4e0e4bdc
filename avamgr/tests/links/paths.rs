//! What a link is for: frames get through, on every kind of address, and what goes wrong on one link stays there.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use avamgr::clock;
use avamgr::links::{LinkError, Links};
use avamgr_core::node::Input;
use socket2::{Domain, Socket, Type};

use crate::world::{
    A, B, FIRST, SECOND, cable, heartbeat, in_namespaces, link, number, pair, ring, two_links, usual_pair,
};

/// Sends one frame each way and looks at it.
fn frames_pass(addresses: [&str; 2]) {
    let (a, b) = pair(&["eth3"]);
    number(&a, &b, "eth3", 3);
    a.shell("ip addr add fe80::1/64 dev eth3 nodad");
    b.shell("ip addr add fe80::2/64 dev eth3 nodad");
    let config = [link("eth3", addresses)];
    a.open(A, &config);
    b.open(B, &config);
    for (from, to, sender, receiver) in [(A, B, &a, &b), (B, A, &b, &a)] {
        let before = clock::now();
        let sent = heartbeat(from, to, FIRST, 7);
        sender.send(FIRST, sent.clone());
        let (seen, got) = receiver.expect_frame(FIRST);
        assert!(got.sent_nanos >= before.as_nanos() && got.wall_millis > 0, "stamped when it was sent");
        let Input::Heartbeat { arrived, wall_millis, .. } = seen.input else { unreachable!() };
        assert!(arrived.as_nanos() >= got.sent_nanos, "arrived before it was sent");
        assert!(arrived <= seen.at, "arrived in the future");
        // The first frame may have waited a second for the peer's MAC address.
        let way = (arrived.as_nanos() - got.sent_nanos) / 1_000_000;
        assert!(wall_millis.abs_diff(got.wall_millis + way) < 500, "the wall clock and ours tell two stories");
        assert_eq!(avamgr_core::wire::Heartbeat { sent_nanos: 0, wall_millis: 0, ..got }, sent);
    }
    assert_eq!((a.counters(FIRST).sent, a.counters(FIRST).received), (1, 1));
    assert_eq!(a.trouble(FIRST), None);
}

#[test]
fn frames_pass_over_ipv4() {
    in_namespaces("paths::frames_pass_over_ipv4", || frames_pass(["10.0.3.1", "10.0.3.2"]));
}

#[test]
fn frames_pass_over_ipv6() {
    in_namespaces("paths::frames_pass_over_ipv6", || frames_pass(["fd00:3::1", "fd00:3::2"]));
}

#[test]
fn frames_pass_over_ipv6_link_local() {
    in_namespaces("paths::frames_pass_over_ipv6_link_local", || frames_pass(["fe80::1", "fe80::2"]));
}

#[test]
fn after_a_stall_frames_have_the_time_the_kernel_got_them() {
    in_namespaces("paths::after_a_stall_frames_have_the_time_the_kernel_got_them", || {
        const PACE: Duration = Duration::from_millis(10);
        const FRAMES: u64 = 30;
        let (a, b) = usual_pair();
        a.open(A, &two_links());
        b.open(B, &two_links());
        let stalled = std::thread::spawn(move || {
            // The loop stands still, and the runtime with it.
            b.run(move |side| {
                std::thread::sleep(PACE * 40);
                side.drain();
            });
            b
        });
        for sequence in 1..=FRAMES {
            std::thread::sleep(PACE);
            a.send(FIRST, heartbeat(A, B, FIRST, sequence));
        }
        let b = stalled.join().unwrap();
        for sequence in 1..=FRAMES {
            let (seen, got) = b.expect_frame(FIRST);
            let Input::Heartbeat { arrived, .. } = seen.input else { unreachable!() };
            assert_eq!(got.sequence, sequence, "in order");
            let way = arrived.as_nanos().checked_sub(got.sent_nanos).expect("arrived before it was sent");
            assert!(way < 5_000_000, "frame {sequence}: {way} ns on the way");
        }
    });
}

#[test]
fn an_address_that_comes_later_is_used() {
    in_namespaces("paths::an_address_that_comes_later_is_used", || {
        let (a, b) = pair(&["eth3"]);
        for addresses in [["10.0.3.1", "10.0.3.2"], ["fd00:3::1", "fd00:3::2"]] {
            let config = [link("eth3", addresses)];
            a.open(A, &config);
            b.open(B, &config);
            a.send(FIRST, heartbeat(A, B, FIRST, 1));
            assert!(
                a.counters(FIRST).send_failed > 0 && a.trouble(FIRST).is_some(),
                "{addresses:?}: sent from nowhere"
            );
            let length = if addresses[0].contains(':') { "64 dev eth3 nodad" } else { "24 dev eth3" };
            a.shell(&format!("ip addr add {}/{length}", addresses[0]));
            b.shell(&format!("ip addr add {}/{length}", addresses[1]));
            a.send(FIRST, heartbeat(A, B, FIRST, 2));
            assert_eq!(b.expect_frame(FIRST).1.sequence, 2);
            assert_eq!(a.trouble(FIRST), None);
            a.close();
            b.close();
        }
    });
}

#[test]
fn an_error_on_one_link_is_not_felt_on_the_other() {
    in_namespaces("paths::an_error_on_one_link_is_not_felt_on_the_other", || {
        let (a, b) = usual_pair();
        a.open(A, &two_links());
        b.open(B, &two_links());
        a.shell("ip link set eth3 down");
        for sequence in 1..=20 {
            a.send(FIRST, heartbeat(A, B, FIRST, sequence));
            a.send(SECOND, heartbeat(A, B, SECOND, sequence));
            assert_eq!(b.expect_frame(SECOND).1.sequence, sequence);
        }
        assert_eq!(a.counters(FIRST).send_failed, 20);
        assert!(a.trouble(FIRST).unwrap().starts_with("eth3: "), "{:?}", a.trouble(FIRST));
        assert_eq!((a.counters(SECOND).sent, a.counters(SECOND).send_failed), (20, 0));
    });
}

#[test]
fn what_cannot_be_sent_now_is_dropped() {
    in_namespaces("paths::what_cannot_be_sent_now_is_dropped", || {
        // Nobody answers for the peer's MAC address, so the kernel holds frames back until its buffer is full.
        let (a, b) = usual_pair();
        b.shell("ip addr del 10.0.3.2/24 dev eth3");
        a.open(A, &two_links());
        b.open(B, &two_links());
        let before = clock::now();
        for sequence in 1..=200 {
            a.send(FIRST, heartbeat(A, B, FIRST, sequence));
        }
        assert!(clock::now().since(before) < Duration::from_secs(1), "a send has waited");
        let counters = a.counters(FIRST);
        assert!(counters.send_dropped > 150, "queued: {counters:?}");
        a.send(SECOND, heartbeat(A, B, SECOND, 1));
        assert_eq!(b.expect_frame(SECOND).1.sequence, 1);
    });
}

#[test]
fn a_link_whose_interface_is_made_later_comes_up_by_itself() {
    in_namespaces("paths::a_link_whose_interface_is_made_later_comes_up_by_itself", || {
        let (a, b) = pair(&[]);
        let config = [link("eth3", ["10.0.3.1", "10.0.3.2"])];
        a.open(A, &config);
        b.open(B, &config);
        a.expect_carrier(FIRST, false);
        a.send(FIRST, heartbeat(A, B, FIRST, 1));
        assert!(a.trouble(FIRST).unwrap().contains("No such device"), "{:?}", a.trouble(FIRST));
        for round in 1..=3 {
            cable(&a, &b, "eth3");
            number(&a, &b, "eth3", 3);
            a.expect_carrier(FIRST, true);
            b.expect_carrier(FIRST, true);
            // Nothing is sent from B, as on a neutral path that is not needed: it must hear all the same.
            std::thread::sleep(Duration::from_millis(150));
            a.send(FIRST, heartbeat(A, B, FIRST, round));
            assert_eq!(b.expect_frame(FIRST).1.sequence, round);
            b.send(FIRST, heartbeat(B, A, FIRST, round));
            assert_eq!(a.expect_frame(FIRST).1.sequence, round);
            a.shell("ip link del eth3");
            a.expect_carrier(FIRST, false);
            b.expect_carrier(FIRST, false);
        }
        assert_eq!((a.counters(FIRST).reopened, b.counters(FIRST).reopened), (2, 2));
    });
}

#[test]
fn a_socket_that_cannot_be_opened_again_is_tried_until_it_can() {
    in_namespaces("paths::a_socket_that_cannot_be_opened_again_is_tried_until_it_can", || {
        let (a, b) = usual_pair();
        a.open(A, &two_links());
        b.open(B, &two_links());
        b.expect_carrier(FIRST, true);
        // B starts without its first interface; when that comes, somebody has the port.
        b.close();
        b.shell("ip link del eth3");
        b.open(B, &two_links());
        b.expect_carrier(FIRST, false);
        let squatter = b.run(|_| {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
            socket.set_freebind_v4(true).unwrap();
            socket.bind(&"10.0.3.2:7700".parse::<SocketAddr>().unwrap().into()).unwrap();
            socket
        });
        cable(&a, &b, "eth3");
        number(&a, &b, "eth3", 3);
        b.expect_carrier(FIRST, true);
        assert!(b.trouble(FIRST).unwrap().contains("in use"), "{:?}", b.trouble(FIRST));
        drop(squatter);
        // Nobody tells the node to look: it has to wake by itself.
        std::thread::sleep(Duration::from_millis(400));
        a.send(FIRST, heartbeat(A, B, FIRST, 1));
        assert_eq!(b.expect_frame(FIRST).1.sequence, 1);
    });
}

#[test]
fn a_port_that_is_taken_keeps_no_other_link_shut() {
    in_namespaces("paths::a_port_that_is_taken_keeps_no_other_link_shut", || {
        let (a, b) = usual_pair();
        let _squatter = b.run(|_| UdpSocket::bind("10.0.3.2:7700").unwrap());
        b.open(B, &two_links());
        a.open(A, &two_links());
        assert!(b.trouble(FIRST).unwrap().contains("in use"), "{:?}", b.trouble(FIRST));
        a.send(SECOND, heartbeat(A, B, SECOND, 1));
        assert_eq!(b.expect_frame(SECOND).1.sequence, 1);
    });
}

#[test]
fn a_port_that_is_taken_is_said_at_the_start() {
    in_namespaces("paths::a_port_that_is_taken_is_said_at_the_start", || {
        let (a, _b) = usual_pair();
        a.open(A, &two_links());
        let error = a.run(|_| Links::open(&two_links(), None, A, &ring("test", 1)).err().unwrap());
        assert!(matches!(error, LinkError::Open { .. }));
        let text = error.to_string();
        assert!(text.starts_with("link eth3: cannot open UDP port 7700 on 10.0.3.1 of eth3: "), "{text}");
        assert!(text.contains("is another daemon running?"), "{text}");
    });
}
