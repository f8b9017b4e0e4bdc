//! Addresses on interfaces.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Netlink, Request};

/// An address as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRow {
    /// The kernel's number of the interface.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// The length of its prefix.
    pub prefix_len: u8,
}

impl AddressRow {
    pub(crate) fn from_message(message: &AddressMessage) -> Option<Self> {
        // IPv4 says in LOCAL which address is ours; IPv6 has only ADDRESS.
        let mut local = None;
        let mut address = None;
        for attribute in &message.attributes {
            if let AddressAttribute::Local(ip) = attribute {
                local = Some(*ip);
            } else if let AddressAttribute::Address(ip) = attribute {
                address = Some(*ip);
            }
        }
        let ip = local.or(address)?;
        Some(Self { index: message.header.index, ip, prefix_len: message.header.prefix_len })
    }
}

impl Netlink {
    /// All addresses of the namespace.
    pub fn addresses(&self) -> io::Result<Vec<AddressRow>> {
        let rows = self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let row = |message: &RouteNetlinkMessage| {
            let RouteNetlinkMessage::NewAddress(address) = message else {
                return None;
            };
            AddressRow::from_message(address)
        };
        Ok(rows.iter().filter_map(row).collect())
    }
}

/// Adds an address, without duplicate address detection: it answers at once.
#[must_use]
pub fn add_address(index: u32, ip: IpAddr, prefix_len: u8) -> Request {
    let mut message = address_message(index, ip, prefix_len);
    message.header.flags = AddressHeaderFlags::Nodad;
    message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    Request::new(NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewAddress(message))
}

/// Removes an address.
#[must_use]
pub fn del_address(index: u32, ip: IpAddr, prefix_len: u8) -> Request {
    Request::new(0, RouteNetlinkMessage::DelAddress(address_message(index, ip, prefix_len)))
}

fn address_message(index: u32, ip: IpAddr, prefix_len: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family_of(ip);
    message.header.prefix_len = prefix_len;
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(ip));
    message.attributes.push(AddressAttribute::Address(ip));
    message
}

pub(super) fn family_of(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet }
}
