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

/// The socket of the peer's daemon.
const PORT: u32 = 77;

/// What is told when a bearer changes.
fn way(topology: &mut Topology, number: u8, up: bool) -> Vec<Input> {
    let mut told = Vec::new();
    let link = u32::from(number) + 0x10000;
    if up {
        let name = format!("1001017:eth{0}-100101d:eth{0}", number + 3);
        topology.on_way(NOW, AT, link, &name, &mut |input| told.push(input));
    } else {
        topology.on_way_lost(AT, link, &mut |input| told.push(input));
    }
    told
}

fn judged(topology: &mut Topology, now: Instant) -> Vec<Input> {
    let mut told = Vec::new();
    topology.judge(now, &mut |input| told.push(input));
    told
}

#[test]
fn peers_and_bearers_are_known_by_their_names() {
    let mut topology = topology();
    assert_eq!((topology.peer(AT), topology.peer(0x0100_1017), topology.peer(5)), (Some(PEER), None, None));
    topology.bearers.push("eth3-b".to_owned());
    let names = [
        "1001017:eth3-100101d:eth4",
        "1001017:eth4-100101d:eth3",
        "1001017:eth3-b-100101d:eth3",
        "1001017:eth5-a:eth3",
    ];
    let bearers = names.map(|name| topology.bearer(name).map(|bearer| bearer.0));
    assert_eq!(bearers, [Some(0), Some(1), Some(2), None]);
}

#[test]
fn a_link_that_was_never_known_is_not_lost() {
    let mut topology = topology();
    assert_eq!(way(&mut topology, 0, false), []);
}

#[test]
fn a_daemon_listens_as_long_as_one_of_its_sockets_does() {
    let mut topology = topology();
    way(&mut topology, 0, true);
    topology.on_name(NOW, 1, PORT, AT, true);
    topology.on_name(NOW, 1, 78, AT, true);
    topology.on_name(NOW, 1, 78, AT, false);
    assert_eq!(topology.deadline(), Some(NOW + SETTLED), "nothing is withdrawn");
    topology.on_name(NOW, 1, PORT, AT, false);
    assert_eq!(judged(&mut topology, NOW + PATIENCE), [Input::Refused { link: LINK, from: PEER }]);
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
    topology.on_name(NOW, 1, PORT, AT, true);
    topology.on_name(NOW, 1, PORT, AT, false);
    assert_eq!(topology.deadline(), Some(NOW + PATIENCE));
    assert_eq!(judged(&mut topology, NOW), [], "the ways may be told in a moment");
    assert_eq!(judged(&mut topology, NOW + PATIENCE), [Input::Refused { link: LINK, from: PEER }]);
    assert_eq!(judged(&mut topology, NOW + PATIENCE), [], "once");
}

#[test]
fn a_node_that_is_cut_off_is_not_refused() {
    let mut topology = topology();
    way(&mut topology, 0, true);
    topology.on_name(NOW, 1, PORT, AT, true);
    // TIPC withdraws the names of a node before it tells of its last link.
    topology.on_name(NOW, 1, PORT, AT, false);
    way(&mut topology, 0, false);
    assert_eq!((judged(&mut topology, NOW + PATIENCE), topology.deadline()), (vec![], None));
}

#[test]
fn a_daemon_that_is_back_in_time_was_not_away() {
    let mut topology = topology();
    way(&mut topology, 0, true);
    topology.on_name(NOW, 1, PORT, AT, true);
    topology.on_name(NOW, 1, PORT, AT, false);
    topology.on_name(NOW, 1, PORT, AT, true);
    assert_eq!(judged(&mut topology, NOW + PATIENCE), []);
}

#[test]
fn names_of_strangers_say_nothing() {
    let mut topology = topology();
    way(&mut topology, 0, true);
    topology.on_name(NOW, 1, PORT, AT, true);
    topology.on_name(NOW, 1, PORT, 5, false);
    topology.on_name(NOW, 0, PORT, AT, false);
    topology.on_name(NOW, 7, PORT, AT, false);
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
