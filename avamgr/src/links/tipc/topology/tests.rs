use super::*;

const LINK: LinkId = LinkId(0);
const PEER: NodeId = NodeId(1);
const AT: u32 = 0x0100_101d;
const NOW: Instant = Instant::from_millis(1_000);

fn topology() -> Topology {
    let addresses = ["1.1.23", "1.1.29"].map(|text| text.parse().unwrap());
    let config = TipcConfig {
        network_id: 1983,
        node_addresses: addresses.to_vec(),
        bearers: vec!["eth3".to_owned(), "eth4".to_owned()],
    };
    Topology::new(LINK, NodeId(0), &config)
}

fn bearer(number: u8, up: bool) -> Input {
    Input::Bearer { link: LINK, peer: PEER, bearer: BearerId(number), up }
}

/// What is told when a bearer changes.
fn way(topology: &mut Topology, number: u8, up: bool) -> Vec<Input> {
    let mut told = Vec::new();
    topology.on_way(NOW, PEER, BearerId(number), up, &mut |input| told.push(input));
    told
}

fn judged(topology: &mut Topology, now: Instant) -> Vec<Input> {
    let mut told = Vec::new();
    topology.judge(now, &mut |input| told.push(input));
    told
}

#[test]
fn peers_and_bearers_are_known_by_their_names() {
    let topology = topology();
    assert_eq!((topology.peer(AT), topology.peer(0x0100_1017), topology.peer(5)), (Some(PEER), None, None));
    let bearers = ["1.1.23:eth3-1.1.29:eth4", "1.1.23:eth4-1.1.29:eth3", "1.1.23:eth5-1.1.29:eth3"];
    assert_eq!(bearers.map(|name| topology.bearer(name)), [Some(BearerId(0)), Some(BearerId(1)), None]);
}

#[test]
fn a_bearer_is_told_at_once() {
    let mut topology = topology();
    assert_eq!(way(&mut topology, 0, true), [bearer(0, true)]);
    assert_eq!(way(&mut topology, 0, false), [bearer(0, false)]);
}

#[test]
fn a_daemon_that_ends_where_the_node_is_reached_is_refused() {
    let mut topology = topology();
    way(&mut topology, 0, true);
    topology.on_name(NOW, 1, AT, true);
    topology.on_name(NOW, 1, AT, false);
    assert_eq!(topology.deadline(), Some(NOW + PATIENCE));
    assert_eq!(judged(&mut topology, NOW), [], "the ways may be told in a moment");
    assert_eq!(judged(&mut topology, NOW + PATIENCE), [Input::Refused { link: LINK, from: PEER }]);
    assert_eq!(judged(&mut topology, NOW + PATIENCE), [], "once");
}

#[test]
fn a_node_that_is_cut_off_is_not_refused() {
    let mut topology = topology();
    way(&mut topology, 0, true);
    topology.on_name(NOW, 1, AT, true);
    // TIPC withdraws the names of a node before it tells of its last link.
    topology.on_name(NOW, 1, AT, false);
    way(&mut topology, 0, false);
    assert_eq!((judged(&mut topology, NOW + PATIENCE), topology.deadline()), (vec![], None));
}

#[test]
fn a_daemon_that_is_back_in_time_was_not_away() {
    let mut topology = topology();
    way(&mut topology, 0, true);
    topology.on_name(NOW, 1, AT, true);
    topology.on_name(NOW, 1, AT, false);
    topology.on_name(NOW, 1, AT, true);
    assert_eq!(judged(&mut topology, NOW + PATIENCE), []);
}

#[test]
fn names_of_strangers_say_nothing() {
    let mut topology = topology();
    way(&mut topology, 0, true);
    topology.on_name(NOW, 1, AT, true);
    topology.on_name(NOW, 1, 5, false);
    topology.on_name(NOW, 0, AT, false);
    topology.on_name(NOW, 7, AT, false);
    assert_eq!(judged(&mut topology, NOW + PATIENCE), []);
}

#[test]
fn a_bearer_that_never_reaches_a_peer_is_told_when_another_has_for_a_while() {
    let mut topology = topology();
    assert_eq!(judged(&mut topology, NOW + SETTLED), [], "the peer may be off");
    way(&mut topology, 1, true);
    assert_eq!(judged(&mut topology, NOW), []);
    assert_eq!(judged(&mut topology, NOW + SETTLED), [bearer(0, false)]);
    assert_eq!((judged(&mut topology, NOW + SETTLED), topology.deadline()), (vec![], None));
}
