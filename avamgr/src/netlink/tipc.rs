//! TIPC as the kernel tells of it over generic netlink: its network, its bearers, and its links to other nodes.
//!
//! Asking may load the kernel's module, as every use of TIPC does.

mod message;

use avamgr_core::config::TipcAddress;
use netlink_sys::protocols::NETLINK_GENERIC;
use nix::errno::Errno;

use self::message::{Request, Table};
use super::Error;
use super::transport::Transport;

/// What is set up on this node, and how it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tipc {
    /// Number of the network.
    pub network_id: Option<u32>,
    /// Bearers that are switched on.
    pub bearers: Vec<Bearer>,
    /// Links to other nodes, up or not: one for each node and bearer.
    pub links: Vec<TipcLink>,
}

/// A bearer over an Ethernet interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// Its interface.
    pub interface: String,
    /// Links that begin on it have this priority, 0..=31.
    pub priority: u32,
    /// Links that begin on it are given up after this long a silence, in milliseconds.
    pub tolerance_millis: u32,
}

/// A link of TIPC: one bearer to one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TipcLink {
    /// Its name: node and interface at our end, and at the other, as in `1001017:eth3-100101d:eth3`.
    pub name: String,
    /// It works.
    pub up: bool,
    /// It carries messages: only those of the highest priority do.
    pub active: bool,
    /// Its priority, 0..=31.
    pub priority: u32,
    /// It is given up after this long a silence, in milliseconds.
    pub tolerance_millis: u32,
    /// Packets received and sent.
    pub received: u32,
    /// Packets sent.
    pub sent: u32,
    /// Packets sent again, because the peer had missed them.
    pub retransmitted: u32,
    /// Packets that came twice.
    pub duplicates: u32,
    /// Packets that came before their turn.
    pub out_of_order: u32,
    /// Times the send queue was full.
    pub congested: u32,
}

impl TipcLink {
    /// Whether it leads over this interface to this node.
    pub fn is_over(&self, interface: &str, peer: TipcAddress) -> bool {
        // A node that was given an address and no name is called by the hexadecimal digits of its address.
        let ends = [format!(":{interface}-{:x}:", peer.bits()), format!(":{interface}-{peer}:")];
        ends.iter().any(|end| self.name.contains(end))
    }
}

/// Asks the kernel.
///
/// # Errors
/// [`Error::Refused`] with `ENOENT`: it has no TIPC.
pub async fn look() -> Result<Tipc, Error> {
    let mut transport = Transport::open(NETLINK_GENERIC)?;
    let what = "find TIPC";
    let mut family = None;
    let outcome = transport.ask(what, Request::family(), |_kind, payload| family = message::family(payload)).await?;
    outcome.map_err(|refusal| Error::Refused { what, refusal })?;
    let gone = || super::Refusal { errno: Errno::ENOENT, text: None };
    let family = family.ok_or_else(|| Error::Refused { what, refusal: gone() })?;
    let network = transport.dump("ask for TIPC's network", Request::table(family, Table::Network), |_, payload| {
        message::network_id(payload)
    });
    let network_id = network.await?.first().copied();
    let bearers = transport
        .dump("list TIPC's bearers", Request::table(family, Table::Bearers), |_, payload| message::bearer(payload))
        .await?;
    let links = transport
        .dump("list TIPC's links", Request::table(family, Table::Links), |_, payload| message::link(payload))
        .await?;
    Ok(Tipc { network_id, bearers, links })
}
