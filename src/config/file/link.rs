//! `[[link]]`

use std::net::IpAddr;

use crate::config::TipcAddress;
use crate::config::error::{Finding, Place};
use crate::config::reader::{Nodes, PerNode, Placed, Table};

use super::{called, parsed, per_node_addresses, port};

/// `[[link]]`
pub(in crate::config) struct Link {
    pub(in crate::config) place: Place,
    pub(in crate::config) name: Option<Placed<String>>,
    pub(in crate::config) path: Path,
}

/// What carries the frames of a link.
pub(in crate::config) enum Path {
    Udp { interfaces: PerNode<String>, addresses: PerNode<IpAddr>, port: u16 },
    Tipc { network_id: u32, node_addresses: PerNode<TipcAddress>, bearers: Vec<Placed<String>> },
}

impl Link {
    /// As it is called in sentences.
    pub(in crate::config) fn called(&self) -> String {
        called(&self.place)
    }

    /// The addresses of the nodes; a link over TIPC has none.
    pub(in crate::config) fn addresses(&self) -> Option<&PerNode<IpAddr>> {
        match &self.path {
            Path::Udp { addresses, .. } => Some(addresses),
            Path::Tipc { .. } => None,
        }
    }

    /// Whether it runs over TIPC.
    pub(in crate::config) fn is_tipc(&self) -> bool {
        match &self.path {
            Path::Udp { .. } => false,
            Path::Tipc { .. } => true,
        }
    }
}

/// Keys of both transports are read whichever it is, so that two mistakes in one link are both seen.
pub(super) fn read(table: &Table<'_>, nodes: &Nodes) -> Link {
    let transport = table.text("transport");
    let interfaces = table.per_node("interface", nodes);
    let addresses = per_node_addresses(table, nodes);
    let port = port(table);
    let network_id = table.integer("network_id").map_or(0, |number| *number);
    let node_addresses = table.per_node("node_address", nodes);
    let bearers = table.list("bearers");
    let path = match transport.as_ref().map(|word| word.as_str()) {
        Some("tipc") => {
            needs(table, &["node_address", "bearers"]);
            let node_addresses = node_addresses.unwrap_or_default().into_iter().map(parsed).collect();
            Path::Tipc { network_id, node_addresses, bearers }
        }
        Some(_) => {
            needs(table, &["interface", "address"]);
            Path::Udp { interfaces: interfaces.unwrap_or_default(), addresses: addresses.unwrap_or_default(), port }
        }
        // Which keys belong to it is not known.
        None => Path::Udp { interfaces: Vec::new(), addresses: Vec::new(), port },
    };
    if transport.is_some() {
        belongs(table, &path);
    }
    Link { place: table.place.clone(), name: table.text("name"), path }
}

fn needs(table: &Table<'_>, names: &[&str]) {
    for name in names.iter().filter(|name| !table.has(name)) {
        table.missing(name);
    }
}

/// Refuses keys of the other transport: they would be read by nobody.
fn belongs(table: &Table<'_>, path: &Path) {
    let (strangers, owner): (&[&str], &str) = match path {
        Path::Udp { .. } => (&["network_id", "node_address", "bearers"], "tipc"),
        Path::Tipc { .. } => (&["interface", "address", "port"], "udp"),
    };
    for key in strangers.iter().filter(|key| table.has(key)) {
        let rule = format!("goes with transport = \"{owner}\"");
        let finding = Finding::conflict(&table.place_of(key), rule).without_value();
        table.findings.put(finding.related(&table.place_of("transport"), "the transport"));
    }
}
