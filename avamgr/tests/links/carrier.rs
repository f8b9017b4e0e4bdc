//! How fast the end of a cable is noticed.
#![allow(unsafe_code, reason = "the carrier of a tap device is set with an ioctl")]

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::time::Duration;

use avamgr::clock;
use avamgr_core::node::Input;
use avamgr_core::time::Instant;

use crate::world::{A, B, FIRST, Node, SECOND, in_namespaces, link, switch, two_links, usual_pair};

// Of Linux's if_tun.h.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETCARRIER: libc::c_ulong = 0x4004_54e2;
const IFF_TAP: libc::c_short = 2;
const IFF_NO_PI: libc::c_short = 0x1000;

#[test]
fn a_pulled_cable_is_noticed_at_once() {
    in_namespaces("carrier::a_pulled_cable_is_noticed_at_once", || {
        let (a, b) = usual_pair();
        a.open(A, &two_links());
        b.open(B, &two_links());
        a.expect_carrier(FIRST, true);
        a.expect_carrier(SECOND, true);
        let mut delays = Vec::new();
        for _ in 0..20 {
            let off = b.run(|_| switch("eth3", false));
            delays.push(a.expect_carrier(FIRST, false).at.since(off));
            b.run(|_| switch("eth3", true));
            a.expect_carrier(FIRST, true);
        }
        delays.sort();
        println!("carrier loss known after: median {:?}, worst {:?}", delays[10], delays[19]);
        assert!(delays[10] < Duration::from_millis(5), "median {:?}", delays[10]);
        let others = a.everything();
        assert!(others.is_empty(), "the other link has not changed: {others:?}");
    });
}

#[test]
fn our_own_end_switched_off_is_noticed() {
    in_namespaces("carrier::our_own_end_switched_off_is_noticed", || {
        let (a, _b) = usual_pair();
        a.open(A, &two_links());
        a.expect_carrier(FIRST, true);
        a.run(|_| switch("eth3", false));
        a.expect_carrier(FIRST, false);
        a.run(|_| switch("eth3", true));
        a.expect_carrier(FIRST, true);
    });
}

#[test]
fn a_renamed_interface_is_gone_and_an_alternative_name_is_as_good() {
    in_namespaces("carrier::a_renamed_interface_is_gone_and_an_alternative_name_is_as_good", || {
        let (a, _b) = usual_pair();
        a.shell("ip link property add dev eth4 altname heartbeat2");
        a.open(A, &[link("eth3", ["10.0.3.1", "10.0.3.2"]), link("heartbeat2", ["10.0.4.1", "10.0.4.2"])]);
        a.expect_carrier(FIRST, true);
        a.expect_carrier(SECOND, true);
        a.run(|_| switch("eth4", false));
        a.expect_carrier(SECOND, false);
        a.run(|_| switch("eth3", false));
        a.expect_carrier(FIRST, false);
        a.shell("ip link set eth3 name other");
        a.run(|_| switch("other", true));
        assert!(a.everything().is_empty(), "an interface of another name is not ours");
    });
}

#[test]
fn a_bridge_port_taken_off_its_bridge_is_not_gone() {
    in_namespaces("carrier::a_bridge_port_taken_off_its_bridge_is_not_gone", || {
        let (a, _b) = usual_pair();
        a.shell("ip link add br0 type bridge");
        a.open(A, &two_links());
        a.expect_carrier(FIRST, true);
        a.shell("ip link set eth3 master br0");
        a.shell("ip link set eth3 nomaster");
        let lost = |input: &Input| matches!(input, Input::Carrier { link, up: false } if *link == FIRST);
        assert!(!a.everything().iter().any(|seen| lost(&seen.input)));
    });
}

/// A power-off takes the carrier of both links. The kernel announces the first loss at once and may keep the second to itself for
/// a second when the devices are physical; tap devices are treated the same way.
#[test]
fn two_cables_that_go_together_are_both_noticed_at_once() {
    in_namespaces("carrier::two_cables_that_go_together_are_both_noticed_at_once", || {
        let a = Node::start();
        let taps: Vec<File> = ["eth3", "eth4"].iter().map(|name| a.run(|_| tap(name))).collect();
        a.shell("ip link set eth3 up");
        a.shell("ip link set eth4 up");
        a.open(A, &two_links());
        a.expect_carrier(FIRST, true);
        a.expect_carrier(SECOND, true);
        let mut delays = Vec::new();
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(1_500));
            set_carrier(&taps[0], false);
            a.expect_carrier(FIRST, false);
            let second = set_carrier(&taps[1], false);
            delays.push(a.expect_carrier(SECOND, false).at.since(second));
            set_carrier(&taps[0], true);
            set_carrier(&taps[1], true);
            a.expect_carrier(FIRST, true);
            a.expect_carrier(SECOND, true);
        }
        delays.sort();
        println!("second carrier loss known after: median {:?}, worst {:?}", delays[2], delays[4]);
        assert!(delays[2] < Duration::from_millis(200), "{delays:?}");
    });
}

fn tap(name: &str) -> File {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    // SAFETY: all-zero bytes are a valid ifreq, which the call reads and writes.
    let result = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *place = byte as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = IFF_TAP | IFF_NO_PI;
        libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request)
    };
    assert_eq!(result, 0, "no tap device: {}", std::io::Error::last_os_error());
    file
}

fn set_carrier(tap: &File, on: bool) -> Instant {
    let value = libc::c_int::from(on);
    // SAFETY: the call reads the number given.
    let result = unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETCARRIER, &raw const value) };
    assert_eq!(result, 0, "cannot set the carrier: {}", std::io::Error::last_os_error());
    clock::now()
}
