//! The link over TIPC, as far as a kernel without it can tell; `tests/vm/run tipc` has the rest.

use avamgr::links::own_tipc_address;
use avamgr_core::config::{LinkConfig, LinkKind, TipcConfig, Transport};

use crate::world::{A, Node, in_namespaces, link, ring};

fn over_tipc() -> LinkConfig {
    let tipc = TipcConfig {
        network_id: 1983,
        node_addresses: ["1.1.23", "1.1.29"].map(|text| text.parse().unwrap()).to_vec(),
        bearers: vec!["eth3".to_owned(), "eth4".to_owned()],
    };
    LinkConfig { name: "dedicated".to_owned(), kind: LinkKind::Dedicated, transport: Transport::Tipc(tipc) }
}

/// What opening these links comes to: why it fails, or what troubles each of them.
fn opened(config: Vec<LinkConfig>) -> Result<Vec<Option<String>>, String> {
    Node::start().run(move |_| {
        let links =
            avamgr::links::Links::open(&config, None, A, &ring("test", 1)).map_err(|error| error.to_string())?;
        Ok(links.iter().map(|link| link.trouble()).collect())
    })
}

#[test]
fn a_kernel_without_tipc_is_said_once_and_harms_no_other_link() {
    in_namespaces("tipc::a_kernel_without_tipc_is_said_once_and_harms_no_other_link", || {
        if own_tipc_address().is_ok() {
            // Without an address and bearers the sockets can be opened all the same.
            assert_eq!(opened(vec![over_tipc()]), Ok(vec![None]));
            return;
        }
        let why = "Address family not supported by protocol (os error 97)";
        // It may be loaded in a moment: the daemon does not end for it.
        assert_eq!(opened(vec![over_tipc()]), Ok(vec![Some(format!("eth3, eth4: {why}"))]));
        let both = opened(vec![over_tipc(), link("lo", ["127.0.0.1", "127.0.0.2"])]);
        assert_eq!(both, Ok(vec![Some(format!("eth3, eth4: {why}")), None]));
    });
}
