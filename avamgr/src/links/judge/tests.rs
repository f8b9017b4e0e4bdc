use std::net::IpAddr;

use avamgr_core::config::{TipcAddress, TipcConfig, UdpConfig};
use avamgr_core::wire::seal::{Key, Secret};

use super::*;

const LINK: LinkId = LinkId(1);
const PORT: u16 = 7700;
const NOW: Instant = Instant::from_millis(10_000);

fn ring(cluster: &str, number: u8) -> Arc<Keyring> {
    Arc::new(Keyring::new(cluster, &[Key { number, secret: Secret::new([7; 32]) }], number).unwrap())
}

fn judge() -> Judge {
    let addresses = vec![address(0), address(1), address(2)];
    let udp = UdpConfig { interfaces: vec!["eth3".to_owned(); 3], addresses, port: PORT };
    Judge::new(LINK, NodeId(0), &Transport::Udp(udp), ring("test", 1))
}

fn address(node: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, node + 1])
}

fn heartbeat(from: u8, to: u8, link: LinkId) -> Heartbeat {
    Heartbeat {
        from: NodeId(from),
        to: NodeId(to),
        link,
        incarnation: Incarnation(1),
        echo: None,
        sequence: 1,
        sent_nanos: 0,
        echo_nanos: 0,
        echo_delay_nanos: 0,
        wall_millis: 0,
        config_digest: 0,
        hears_you: false,
        probe: false,
        leaving: false,
        revision: 0,
        seen_revision: 0,
        groups: Vec::new(),
        request: None,
        lease: Duration::ZERO,
        voters: 0,
        fenced: Vec::new(),
        absence: Duration::ZERO,
    }
}

fn clocks(now: Instant) -> Clocks {
    Clocks { now, wall_nanos: 1_700_000_000_000_000_000, emptied: Instant::BOOT }
}

/// What becomes of a heartbeat that comes from this address and port.
fn judged(judge: &mut Judge, source: (IpAddr, u16), heartbeat: &Heartbeat) -> Option<Input> {
    let mut bytes = Vec::new();
    ring("test", 1).seal(heartbeat, &mut bytes).unwrap();
    judge
        .judge(Datagram { source: Some(Source::Udp(source.0, source.1)), wall_nanos: None, bytes: &bytes }, clocks(NOW))
}

fn bad(cause: BadDatagram) -> Option<Input> {
    Some(Input::BadDatagram { link: LINK, cause })
}

#[test]
fn a_frame_of_a_peer_is_handed_over() {
    let sent = heartbeat(1, 0, LINK);
    let input = judged(&mut judge(), (address(1), PORT), &sent);
    let expected = Input::Heartbeat { link: LINK, arrived: NOW, wall_millis: 1_700_000_000_000, heartbeat: sent };
    assert_eq!(input, Some(expected));
}

#[test]
fn only_the_address_of_the_sender_counts() {
    let cases = [
        ("another port", (address(1), PORT + 1), heartbeat(1, 0, LINK)),
        ("another node's address", (address(2), PORT), heartbeat(1, 0, LINK)),
        ("our own frame sent back", (address(1), PORT), heartbeat(0, 1, LINK)),
        ("our own address", (address(0), PORT), heartbeat(0, 0, LINK)),
        ("for another node", (address(1), PORT), heartbeat(1, 2, LINK)),
        ("sent on another link", (address(1), PORT), heartbeat(1, 0, LinkId(0))),
    ];
    for (name, source, heartbeat) in cases {
        let mut judge = judge();
        assert_eq!(judged(&mut judge, source, &heartbeat), bad(BadDatagram::Source), "{name}");
        assert_eq!(judge.counters.bad(BadDatagram::Source), 1, "{name}");
    }
}

#[test]
fn a_machine_with_our_keys_and_a_strange_address_is_a_namesake() {
    let stranger = (IpAddr::from([192, 0, 2, 77]), PORT);
    for (name, from) in [("of a peer", 1), ("of ourselves", 0)] {
        let mut judge = judge();
        let expected = Input::Namesake { link: LINK, node: NodeId(from) };
        assert_eq!(judged(&mut judge, stranger, &heartbeat(from, 0, LINK)), Some(expected), "{name}");
        assert_eq!(judge.counters.bad(BadDatagram::Source), 1, "{name}");
    }
    let mut judge = judge();
    assert_eq!(judged(&mut judge, stranger, &heartbeat(1, 2, LINK)), bad(BadDatagram::Source), "for another node");
    let noise = Datagram { source: Some(Source::Udp(stranger.0, stranger.1)), wall_nanos: None, bytes: b"noise" };
    assert_eq!(judge.judge(noise, clocks(NOW)), bad(BadDatagram::Source), "without our keys");
}

#[test]
fn other_clusters_and_keys_are_counted_by_cause() {
    let mut judge = judge();
    for (ring, cause) in [(ring("other", 1), BadDatagram::Cluster), (ring("test", 2), BadDatagram::UnknownKey)] {
        let mut bytes = Vec::new();
        ring.seal(&heartbeat(1, 0, LINK), &mut bytes).unwrap();
        let datagram = Datagram { source: Some(Source::Udp(address(1), PORT)), wall_nanos: None, bytes: &bytes };
        assert_eq!(judge.judge(datagram, clocks(NOW)), bad(cause));
        assert_eq!(judge.counters.bad(cause), 1);
    }
}

#[test]
fn a_flood_is_cut_and_leaves_the_other_peers_alone() {
    let mut judge = judge();
    let from = |judge: &mut Judge, node: u8| judged(judge, (address(node), PORT), &heartbeat(node, 0, LINK)).is_some();
    let passed = (0..PEER_BURST * 2).filter(|_| from(&mut judge, 1)).count();
    assert_eq!(passed, usize::try_from(PEER_BURST).unwrap());
    assert_eq!(judge.counters.flooded, u64::from(PEER_BURST));
    assert!(from(&mut judge, 2), "the other peer is heard");
    let stranger = (IpAddr::from([192, 0, 2, 77]), PORT);
    let told = (0..1_000).filter(|_| judged(&mut judge, stranger, &heartbeat(1, 0, LINK)).is_some()).count();
    assert_eq!(told, usize::try_from(STRANGER_BURST).unwrap());
}

#[test]
fn a_probe_storm_passes() {
    // Heartbeats and probes every millisecond with an answer to each, for ten seconds.
    let mut judge = judge();
    let mut bytes = Vec::new();
    ring("test", 1).seal(&heartbeat(1, 0, LINK), &mut bytes).unwrap();
    for milli in 0..10_000 {
        for _ in 0..3 {
            let datagram = Datagram { source: Some(Source::Udp(address(1), PORT)), wall_nanos: None, bytes: &bytes };
            assert!(judge.judge(datagram, clocks(Instant::from_millis(10_000 + milli))).is_some());
        }
    }
}

#[test]
fn an_arrival_lies_between_the_last_look_and_now() {
    const WALL: u64 = 1_700_000_000_000_000_000;
    let clocks = Clocks { now: NOW, wall_nanos: WALL, emptied: NOW - Duration::from_millis(50) };
    let arrival = |stamp| clocks.arrival(stamp);
    assert_eq!(arrival(None), NOW, "no stamp");
    assert_eq!(arrival(Some(WALL - 3_000_000)), NOW - Duration::from_millis(3));
    assert_eq!(arrival(Some(WALL + 1)), NOW, "never in the future");
    assert_eq!(arrival(Some(WALL - 3_600_000_000_000)), clocks.emptied, "the wall clock was set forward by an hour");
    assert_eq!(arrival(Some(0)), clocks.emptied);
}

#[test]
fn what_comes_over_a_second_bearer_counts_once() {
    let node_addresses: Vec<TipcAddress> = ["1.1.23", "1.1.29"].map(|text| text.parse().unwrap()).to_vec();
    let home = Source::Tipc(node_addresses[1]);
    let tipc = TipcConfig { network_id: 1983, node_addresses, bearers: vec!["eth3".to_owned(), "eth4".to_owned()] };
    let mut judge = Judge::new(LINK, NodeId(0), &Transport::Tipc(tipc), ring("test", 1));
    let mut passes = |incarnation, sequence| {
        let frame = Heartbeat { incarnation: Incarnation(incarnation), sequence, ..heartbeat(1, 0, LINK) };
        let mut bytes = Vec::new();
        ring("test", 1).seal(&frame, &mut bytes).unwrap();
        let datagram = Datagram { source: Some(home), wall_nanos: None, bytes: &bytes };
        judge.judge(datagram, clocks(NOW)).is_some()
    };
    assert!(passes(7, 1) && !passes(7, 1), "the second copy");
    assert!(passes(7, 3) && !passes(7, 2), "overtaken by a later one");
    assert!(passes(8, 1) && !passes(8, 1), "another run counts from the beginning");
    assert!(passes(7, 4) && passes(8, 2), "frames of an old run hold up none of the new one");
    assert_eq!(judge.counters.copies, 3);
}
