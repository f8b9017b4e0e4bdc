//! Interfaces: bridges, virtual cables, up and down, and what carrier they see.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use super::{Netlink, Request};

/// What an interface says about its cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The interface is administratively down.
    Down,
    /// Up, but no carrier: the cable is out, or the other end is off.
    NoCarrier,
    /// Up, with carrier.
    Up,
}

/// An interface as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRow {
    /// The kernel's number of the interface.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Administrative state and carrier in one.
    pub carrier: Carrier,
    /// The hardware address.
    pub mac: Vec<u8>,
}

/// The end of a virtual cable in a host.
#[derive(Clone, Debug)]
pub struct Nic<'a> {
    /// The interface's name in the host.
    pub name: &'a str,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The network namespace of the host.
    pub netns: BorrowedFd<'a>,
}

impl Netlink {
    /// All interfaces of the namespace.
    pub fn links(&self) -> io::Result<Vec<LinkRow>> {
        let rows = self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(rows.iter().filter_map(LinkRow::from_message).collect())
    }

    /// The interface of this name.
    pub fn link(&self, name: &str) -> io::Result<LinkRow> {
        self.links()?
            .into_iter()
            .find(|row| row.name == name)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no interface named {name}")))
    }
}

impl Netlink {
    /// A change that changes nothing: it returns when every change before it, by whomever, is complete.
    pub(crate) fn barrier(&self) -> io::Result<()> {
        let loopback = self.link("lo")?;
        self.request(set_up(loopback.index, loopback.carrier != Carrier::Down))
    }
}

impl LinkRow {
    pub(crate) fn from_message(message: &RouteNetlinkMessage) -> Option<Self> {
        let RouteNetlinkMessage::NewLink(link) = message else {
            return None;
        };
        let mut row = Self { index: link.header.index, name: String::new(), carrier: carrier(link), mac: Vec::new() };
        for attribute in &link.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                row.name.clone_from(name);
            } else if let LinkAttribute::Address(mac) = attribute {
                row.mac.clone_from(mac);
            }
        }
        Some(row)
    }
}

fn carrier(link: &LinkMessage) -> Carrier {
    if !link.header.flags.contains(LinkFlags::Up) {
        Carrier::Down
    } else if link.header.flags.contains(LinkFlags::LowerUp | LinkFlags::Running) {
        Carrier::Up
    } else {
        Carrier::NoCarrier
    }
}

/// A bridge that forwards from the first frame: no spanning tree, no delay, and multicast (neighbour discovery) flooded.
pub(crate) fn new_bridge(name: &str) -> Request {
    let mut link = LinkMessage::default();
    raise(&mut link, true);
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(vec![
            InfoBridge::StpState(BridgeStpState::Disabled),
            InfoBridge::ForwardDelay(0),
            InfoBridge::MulticastSnooping(false),
        ])),
    ]));
    Request::new(NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewLink(link))
}

/// A virtual cable from a port of bridge `bridge_index` here to an interface of a host. Both ends start down.
pub(crate) fn new_veth(port: &str, bridge_index: u32, nic: &Nic<'_>) -> Request {
    let mut peer = LinkMessage::default();
    peer.attributes.push(LinkAttribute::IfName(nic.name.to_owned()));
    peer.attributes.push(LinkAttribute::Address(nic.mac.to_vec()));
    peer.attributes.push(LinkAttribute::NetNsFd(nic.netns.as_raw_fd()));
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(port.to_owned()));
    link.attributes.push(LinkAttribute::Controller(bridge_index));
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    Request::new(NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewLink(link))
}

/// Raises an interface or takes it down.
pub(crate) fn set_up(index: u32, up: bool) -> Request {
    let mut link = LinkMessage::default();
    link.header.index = index;
    raise(&mut link, up);
    Request::new(0, RouteNetlinkMessage::SetLink(link))
}

/// Moves an interface to another network namespace, where it arrives down and without addresses.
pub(crate) fn move_link(index: u32, netns: BorrowedFd<'_>) -> Request {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.attributes.push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
    Request::new(0, RouteNetlinkMessage::SetLink(link))
}

/// Puts an interface on a bridge, or takes it off (`bridge_index` 0) without touching its carrier.
pub(crate) fn set_controller(index: u32, bridge_index: u32) -> Request {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.attributes.push(LinkAttribute::Controller(bridge_index));
    Request::new(0, RouteNetlinkMessage::SetLink(link))
}

fn raise(link: &mut LinkMessage, up: bool) {
    link.header.change_mask = LinkFlags::Up;
    link.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
}
