//! What others may throw at a link: each is counted by its cause, changes nothing, and holds nothing up.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use avamgr::clock;
use avamgr::links::Links;
use avamgr_core::cluster::LinkId;
use avamgr_core::node::Input;
use avamgr_core::node::input::BadDatagram;
use avamgr_core::wire::Heartbeat;
use avamgr_core::wire::seal::Keyring;
use socket2::{Domain, Protocol, Socket, Type};

use crate::world::{
    A, B, FIRST, Node, SECOND, heartbeat, in_namespaces, link, number, pair, ring, ring_of, two_links, usual_pair,
};

fn sealed(ring: &Keyring, heartbeat: &Heartbeat) -> Vec<u8> {
    let mut datagram = Vec::new();
    ring.seal(heartbeat, &mut datagram).unwrap();
    datagram
}

/// A socket on a node that sends whatever it is given to a fixed place.
fn thrower(node: &Node, from: &'static str, to: &'static str) -> UdpSocket {
    node.run(move |_| {
        let socket = UdpSocket::bind(from).unwrap();
        socket.connect(to).unwrap();
        socket
    })
}

fn expect_bad(node: &Node, on: LinkId, expected: BadDatagram) {
    node.expect(&format!("{expected:?}"), |seen| {
        let bad = matches!(seen.input, Input::BadDatagram { link, cause } if link == on && cause == expected);
        let strange =
            expected == BadDatagram::Source && matches!(seen.input, Input::Namesake { link, .. } if link == on);
        (bad || strange).then_some(())
    });
}

#[test]
fn every_refusal_is_counted_by_its_cause() {
    in_namespaces("hostile::every_refusal_is_counted_by_its_cause", || {
        let (a, b) = usual_pair();
        a.open(A, &two_links());
        let peer = thrower(&b, "10.0.3.2:7700", "10.0.3.1:7700");
        let stranger = thrower(&b, "10.0.3.2:7701", "10.0.3.1:7700");
        let good = sealed(&ring("test", 1), &heartbeat(B, A, FIRST, 1));
        let mut version = good.clone();
        version[2] = 2;
        let mut digest = good.clone();
        digest[30] ^= 1;
        let mut long = good.clone();
        long.resize(1_400, 0);
        let cases = [
            (&peer, good[..good.len() - 1].to_vec(), BadDatagram::Truncated),
            (&peer, Vec::new(), BadDatagram::Truncated),
            (&peer, b"GET / HTTP/1.1\r\n\r\n".repeat(3), BadDatagram::Malformed),
            (&peer, long, BadDatagram::Malformed),
            (&peer, version, BadDatagram::Version),
            (&peer, sealed(&ring("other", 1), &heartbeat(B, A, FIRST, 1)), BadDatagram::Cluster),
            (&peer, sealed(&ring("test", 9), &heartbeat(B, A, FIRST, 1)), BadDatagram::UnknownKey),
            (&peer, digest, BadDatagram::Digest),
            (&stranger, good.clone(), BadDatagram::Source),
            (&peer, sealed(&ring("test", 1), &heartbeat(A, B, FIRST, 1)), BadDatagram::Source),
            (&peer, sealed(&ring("test", 1), &heartbeat(B, A, SECOND, 1)), BadDatagram::Source),
        ];
        let mut expected = std::collections::BTreeMap::new();
        for (socket, bytes, cause) in cases {
            socket.send(&bytes).unwrap();
            expect_bad(&a, FIRST, cause);
            *expected.entry(cause).or_insert(0) += 1;
        }
        let counters = a.counters(FIRST);
        for cause in BadDatagram::ALL {
            assert_eq!(counters.bad(cause), expected[&cause], "{cause:?}");
        }
        assert_eq!(counters.received, 0);
        peer.send(&good).unwrap();
        assert_eq!(a.expect_frame(FIRST).1.sequence, 1, "a good frame passes as before");
    });
}

/// The link cannot know what is fresh: it hands the same bytes over twice, and the decision sees the same sequence. On any
/// other path they do not even get that far.
#[test]
fn replayed_bytes_are_recognised_by_their_sequence_and_refused_elsewhere() {
    in_namespaces("hostile::replayed_bytes_are_recognised_by_their_sequence_and_refused_elsewhere", || {
        let (a, b) = usual_pair();
        a.open(A, &two_links());
        let recorded = sealed(&ring("test", 1), &heartbeat(B, A, FIRST, 5));
        let peer = thrower(&b, "10.0.3.2:7700", "10.0.3.1:7700");
        peer.send(&recorded).unwrap();
        peer.send(&recorded).unwrap();
        let (first, second) = (a.expect_frame(FIRST), a.expect_frame(FIRST));
        assert_eq!(first.1, second.1, "the same incarnation and sequence");
        thrower(&b, "10.0.4.2:7700", "10.0.4.1:7700").send(&recorded).unwrap();
        expect_bad(&a, SECOND, BadDatagram::Source);
    });
}

#[test]
fn keys_are_changed_without_losing_a_frame() {
    in_namespaces("hostile::keys_are_changed_without_losing_a_frame", || {
        let (a, b) = usual_pair();
        a.open(A, &two_links());
        b.open(B, &two_links());
        let mut sequence = 0;
        let mut exchange = |step: &str| {
            sequence += 1;
            a.send(FIRST, heartbeat(A, B, FIRST, sequence));
            b.send(FIRST, heartbeat(B, A, FIRST, sequence));
            assert_eq!(b.expect_frame(FIRST).1.sequence, sequence, "{step}");
            assert_eq!(a.expect_frame(FIRST).1.sequence, sequence, "{step}");
        };
        let set = |node: &Node, numbers: &'static [u8], sending: u8| {
            node.run(move |side| side.links.as_mut().unwrap().set_keys(&ring_of("test", numbers, sending)));
        };
        exchange("before");
        for (step, numbers, sending) in
            [("add the new key", &[1, 2][..], 1), ("send with it", &[1, 2], 2), ("remove the old key", &[2], 2)]
        {
            set(&a, numbers, sending);
            exchange(&format!("{step}: one node"));
            set(&b, numbers, sending);
            exchange(&format!("{step}: both nodes"));
        }
        let counters = (a.counters(FIRST), b.counters(FIRST));
        assert!(BadDatagram::ALL.iter().all(|cause| counters.0.bad(*cause) + counters.1.bad(*cause) == 0));
        b.send(FIRST, heartbeat(B, A, FIRST, 100));
        a.expect_frame(FIRST);
        set(&b, &[1], 1);
        b.send(FIRST, heartbeat(B, A, FIRST, 101));
        expect_bad(&a, FIRST, BadDatagram::UnknownKey);
    });
}

fn refused(addresses: [&'static str; 2]) {
    let (a, b) = pair(&["eth3", "eth4"]);
    number(&a, &b, "eth3", 3);
    number(&a, &b, "eth4", 4);
    let mut config = two_links();
    config[0] = link("eth3", addresses);
    a.open(A, &config);
    // Nobody listens on B.
    a.send(FIRST, heartbeat(A, B, FIRST, 1));
    let (link, from) = a.expect("refused", |seen| match seen.input {
        Input::Refused { link, from } => Some((link, from)),
        _ => None,
    });
    assert_eq!((link, from), (FIRST, B));
    assert_eq!((a.counters(FIRST).refused, a.counters(SECOND).refused), (1, 0));
    // The next frame is not lost to the error of the one before.
    b.open(B, &config);
    a.send(FIRST, heartbeat(A, B, FIRST, 2));
    assert_eq!(b.expect_frame(FIRST).1.sequence, 2);
}

#[test]
fn a_closed_port_is_noticed_over_ipv4() {
    in_namespaces("hostile::a_closed_port_is_noticed_over_ipv4", || refused(["10.0.3.1", "10.0.3.2"]));
}

#[test]
fn a_closed_port_is_noticed_over_ipv6() {
    in_namespaces("hostile::a_closed_port_is_noticed_over_ipv6", || refused(["fd00:3::1", "fd00:3::2"]));
}

#[test]
fn an_error_waiting_on_the_socket_costs_no_frame() {
    in_namespaces("hostile::an_error_waiting_on_the_socket_costs_no_frame", || {
        let (a, b) = usual_pair();
        a.open(A, &two_links());
        // The loop is busy while the refusal of the first frame comes in; then it sends.
        a.run(|side| {
            side.links.as_mut().unwrap().send(FIRST, heartbeat(A, B, FIRST, 1));
            std::thread::sleep(Duration::from_millis(100));
        });
        let receiver = b.run(|_| UdpSocket::bind("10.0.3.2:7700").unwrap());
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        a.run(|side| {
            let links = side.links.as_mut().unwrap();
            links.send(FIRST, heartbeat(A, B, FIRST, 2));
        });
        let mut buffer = [0; 2_000];
        let length = receiver.recv(&mut buffer).expect("the frame was lost");
        assert_eq!(ring("test", 1).open(&buffer[..length]).unwrap().sequence, 2);
        assert_eq!((a.counters(FIRST).sent, a.counters(FIRST).send_failed), (2, 0));
        a.expect("refused", |seen| matches!(seen.input, Input::Refused { .. }).then_some(()));
    });
}

/// An ICMP "port unreachable" about a datagram from A's port to B's, which quotes `payload`.
fn forged_refusal(payload: &[u8]) -> Vec<u8> {
    let mut quoted = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 3, 1, 10, 0, 3, 2];
    quoted.extend_from_slice(&7700u16.to_be_bytes());
    quoted.extend_from_slice(&7700u16.to_be_bytes());
    quoted.extend_from_slice(&u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    quoted.extend_from_slice(&[0, 0]);
    quoted.extend_from_slice(payload);
    let length = u16::try_from(quoted.len()).unwrap();
    quoted[2..4].copy_from_slice(&length.to_be_bytes());
    let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&quoted);
    let sum: u32 = message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

#[test]
fn a_forged_refusal_is_not_believed() {
    in_namespaces("hostile::a_forged_refusal_is_not_believed", || {
        let (a, b) = usual_pair();
        a.open(A, &two_links());
        let receiver = b.run(|_| UdpSocket::bind("10.0.3.2:7700").unwrap());
        a.send(FIRST, heartbeat(A, B, FIRST, 1));
        let mut buffer = [0; 2_000];
        let length = receiver.recv(&mut buffer).unwrap();
        let throw = move |payload: Vec<u8>| {
            b.run(move |_| {
                let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
                let to = SocketAddr::new(IpAddr::from([10, 0, 3, 1]), 0);
                socket.send_to(&forged_refusal(&payload), &to.into()).unwrap();
            });
        };
        let guess = sealed(&ring("other", 1), &heartbeat(A, B, FIRST, 1));
        for payload in [Vec::new(), vec![0; 200], guess] {
            throw(payload);
        }
        assert!(a.everything().iter().all(|seen| matches!(seen.input, Input::Carrier { .. })));
        assert_eq!((a.counters(FIRST).refused, a.counters(FIRST).icmp_ignored), (0, 3));
        // The same with a frame that was sent shows that the forgery is well made.
        throw(buffer[..length].to_vec());
        a.expect("refused", |seen| matches!(seen.input, Input::Refused { .. }).then_some(()));
    });
}

/// Throws datagrams at A's first link for a while: from the peer's own address and port, or a stranger's.
fn flood(b: &Node, from: &'static str) -> (Arc<AtomicBool>, std::thread::JoinHandle<u64>) {
    let socket = thrower(b, from, "10.0.3.1:7700");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let mut junk = sealed(&ring("test", 1), &heartbeat(B, A, FIRST, 1));
    junk[30] ^= 1;
    let thread = std::thread::spawn(move || {
        let mut thrown = 0;
        while !stopped.load(Ordering::Relaxed) {
            thrown += u64::from(socket.send(&junk).is_ok());
        }
        thrown
    });
    (stop, thread)
}

fn flooded(from: &'static str) {
    const PACE: Duration = Duration::from_millis(5);
    const FRAMES: u64 = 200;
    let (a, b) = usual_pair();
    a.open(A, &two_links());
    let friend = thrower(&b, "10.0.4.2:7700", "10.0.4.1:7700");
    let (stop, thread) = flood(&b, from);
    let mut delays = Vec::new();
    for sequence in 1..=FRAMES {
        std::thread::sleep(PACE);
        let mut frame = heartbeat(B, A, SECOND, sequence);
        frame.sent_nanos = clock::now().as_nanos();
        friend.send(&sealed(&ring("test", 1), &frame)).unwrap();
        let (seen, got) = a.expect_frame(SECOND);
        assert_eq!(got.sequence, sequence, "a frame of the other link was lost");
        let Input::Heartbeat { arrived, .. } = seen.input else { unreachable!() };
        delays.push((seen.at.since(arrived), arrived.as_nanos() - got.sent_nanos));
    }
    stop.store(true, Ordering::Relaxed);
    let thrown = thread.join().unwrap();
    delays.sort();
    let counters = a.counters(FIRST);
    println!(
        "flood from {from}: {thrown} thrown; the other link's frames after: median {:?}, worst {:?}; {counters:?}",
        delays[100], delays[199]
    );
    assert!(delays[100].0 < Duration::from_millis(50), "median {:?}", delays[100]);
    assert!(counters.flooded > 0, "nothing was cut: {counters:?}");
    let looked_at = counters.bad(BadDatagram::Digest) + counters.bad(BadDatagram::Source);
    assert!(looked_at < thrown / 2, "{looked_at} of {thrown} were looked at");
}

/// The same without a clock: whatever waits on the first link, a frame of the second has its turn.
#[test]
fn each_link_has_its_turn() {
    in_namespaces("hostile::each_link_has_its_turn", || {
        let (a, b) = usual_pair();
        a.open(A, &two_links());
        let thrower_of = |from, to| thrower(&b, from, to);
        let (peer, friend) =
            (thrower_of("10.0.3.2:7700", "10.0.3.1:7700"), thrower_of("10.0.4.2:7700", "10.0.4.1:7700"));
        a.everything();
        a.run(move |_| {
            let frame = |link| sealed(&ring("test", 1), &heartbeat(B, A, link, 1));
            for _ in 0..400 {
                peer.send(&frame(FIRST)).unwrap();
            }
            friend.send(&frame(SECOND)).unwrap();
            // All of them wait while the loop stands still.
            std::thread::sleep(Duration::from_millis(50));
        });
        let mut before = 0;
        a.expect("the frame of the second link", |seen| match seen.input {
            Input::Heartbeat { link, .. } if link == SECOND => Some(()),
            _ => {
                before += 1;
                None
            }
        });
        assert!(before <= 64, "{before} datagrams of the first link came first");
    });
}

/// A flood is read in pieces with a pause after each, which leaves the processor to the other links.
#[test]
fn a_flood_is_read_with_pauses() {
    in_namespaces("hostile::a_flood_is_read_with_pauses", || {
        const THROWN: u64 = 1_100;
        let (a, b) = usual_pair();
        let stranger = thrower(&b, "10.0.3.2:9", "10.0.3.1:7700");
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut links = Links::open(&two_links(), None, A, &ring("test", 1)).unwrap();
                for _ in 0..THROWN {
                    stranger.send(b"junk").unwrap();
                }
                let seen = |links: &Links| {
                    let counters = links.iter().next().unwrap().counters();
                    counters.flooded + counters.bad(BadDatagram::Source)
                };
                while seen(&links) == 0 {
                    links.readable().await;
                    while links.receive(&mut |_| {}) {}
                }
                let before_the_pause = seen(&links);
                while seen(&links) < THROWN {
                    links.readable().await;
                    links.receive(&mut |_| {});
                }
                before_the_pause
            })
        };
        let before_the_pause = a.thread(work).join().unwrap();
        assert!((512..THROWN).contains(&before_the_pause), "{before_the_pause} of {THROWN} were read without a pause");
    });
}

#[test]
fn a_flood_from_the_peers_address_is_not_felt_on_the_other_link() {
    in_namespaces("hostile::a_flood_from_the_peers_address_is_not_felt_on_the_other_link", || flooded("10.0.3.2:7700"));
}

#[test]
fn a_flood_of_strangers_is_not_felt_on_the_other_link() {
    in_namespaces("hostile::a_flood_of_strangers_is_not_felt_on_the_other_link", || flooded("10.0.3.2:9"));
}
