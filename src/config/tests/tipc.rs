//! Links over TIPC, where more than one table of the file is concerned.

use super::{PAIR, findings, good};
use crate::cluster::{BearerId, NodeId};
use crate::config::{LinkKind, parse_replication};

/// The pair with these links instead of its own.
fn with_links(links: &str) -> String {
    let (begin, rest) = PAIR.split_once("[[link]]").unwrap();
    let (_, end) = rest.split_once("[arbitrator]").unwrap();
    format!("{begin}{links}\n[arbitrator]{end}")
}

fn tipc(name: &str, addresses: [&str; 2], bearers: &str) -> String {
    let [a1, b2] = addresses;
    let addresses = format!("node_address = {{ a1 = \"{a1}\", b2 = \"{b2}\" }}");
    format!("[[link]]\nname = \"{name}\"\ntransport = \"tipc\"\n{addresses}\nbearers = {bearers}\n")
}

const RULES: &str = "[rules]\ndirectories = { re = \"/etc/re\" }\n";

#[test]
fn one_link_with_two_bearers_is_enough() {
    let text = with_links(&tipc("one", ["1.1.23", "1.1.29"], "[\"eth3\", \"eth4\"]"));
    assert_eq!(findings(&text), [""; 0]);
    let config = good(&text);
    let link = &config.links[0];
    let tipc = link.tipc().unwrap();
    let addresses: Vec<String> = tipc.node_addresses.iter().map(ToString::to_string).collect();
    assert_eq!((tipc.network_id, addresses), (4711, vec!["1.1.23".to_owned(), "1.1.29".to_owned()]));
    assert_eq!((link.interfaces(NodeId(1)), link.address(NodeId(1))), (vec!["eth3", "eth4"], None));
    assert_eq!((link.bearer_name(BearerId(1)), link.bearer_name(BearerId(2))), ("eth4", "?"));
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<crate::config::Config>(&text).unwrap(), config);
}

#[test]
fn one_link_with_one_bearer_is_one_cable() {
    let text = with_links(&tipc("one", ["1.1.23", "1.1.29"], "\"eth3\""));
    let expected = "line 5, column 1: `link.one.bearers` must not be the only interface of the only dedicated link: one cable \
                    would decide who is alive (name a second bearer on another cable, or add a [[link]] over UDP)";
    assert_eq!(findings(&text), [expected]);
}

#[test]
fn a_node_has_one_address_in_tipc() {
    let both = tipc("one", ["1.1.23", "1.1.29"], "\"eth3\"") + &tipc("two", ["1.1.24", "1.1.30"], "\"eth4\"");
    let expected = "line 10, column 1: `link.two` must not be a second link over TIPC: a node has one address there (name its \
                    interface among the `bearers` of the first)";
    assert_eq!(findings(&with_links(&both)), [expected]);
}

#[test]
fn rules_travel_over_the_neutral_path_where_every_link_is_over_tipc() {
    let text = with_links(&tipc("one", ["1.1.23", "1.1.29"], "[\"eth3\", \"eth4\"]")) + RULES;
    assert_eq!(findings(&text), [""; 0]);
    let (replication, _) = parse_replication(&text, "x").unwrap();
    let links: Vec<LinkKind> = replication.links.iter().map(|link| link.kind).collect();
    assert_eq!(links, [LinkKind::Neutral]);
    let without = text.replace("address = { a1 = \"10.0.0.1\", b2 = \"10.0.0.2\" }", "");
    assert!(findings(&without).iter().any(|line| line.contains("`rules` needs a way with IP addresses")), "{without}");
    let mixed = PAIR.replace(
        "[[link]]\nname = \"one\"\ninterface = \"eth3\"\naddress = { a1 = \"10.1.0.1\", b2 = \"10.1.0.2\" }\n",
        &tipc("one", ["1.1.23", "1.1.29"], "\"eth3\""),
    );
    let (replication, _) = parse_replication(&(mixed + RULES), "x").unwrap();
    let names: Vec<&str> = replication.links.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(names, ["two"], "the link over UDP alone");
}
