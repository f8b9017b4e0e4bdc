//! Routes: on-link hosts, gateways, and prefixes that are ours as a whole.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use super::address::family_of;
use super::{Netlink, Request};

/// The kernel's table of what is local to this host.
pub(crate) const TABLE_LOCAL: u8 = 255;

impl Netlink {
    /// All prefixes made local by someone.
    pub fn local_prefixes(&self) -> io::Result<Vec<(IpAddr, u8)>> {
        let rows = self.dump(RouteNetlinkMessage::GetRoute(RouteMessage::default()))?;
        let prefix = |message: &RouteNetlinkMessage| {
            let RouteNetlinkMessage::NewRoute(route) = message else {
                return None;
            };
            local_prefix(route)
        };
        Ok(rows.iter().filter_map(prefix).collect())
    }
}

/// A route to a prefix: on the link of interface `index`, or through a gateway there.
#[must_use]
pub fn add_route(index: u32, prefix: (IpAddr, u8), gateway: Option<IpAddr>) -> Request {
    let mut message = route_message(index, prefix);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.kind = RouteType::Unicast;
    message.header.scope = if gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
    if let Some(gateway) = gateway {
        message.attributes.push(RouteAttribute::Gateway(gateway.into()));
    }
    Request::new(NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewRoute(message))
}

/// Makes every address of a prefix ours with one route.
#[must_use]
pub fn add_local_prefix(index: u32, prefix: (IpAddr, u8)) -> Request {
    Request::new(NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewRoute(local_message(index, prefix)))
}

/// Gives a prefix up again.
#[must_use]
pub fn del_local_prefix(index: u32, prefix: (IpAddr, u8)) -> Request {
    Request::new(0, RouteNetlinkMessage::DelRoute(local_message(index, prefix)))
}

fn local_message(index: u32, prefix: (IpAddr, u8)) -> RouteMessage {
    let mut message = route_message(index, prefix);
    message.header.table = TABLE_LOCAL;
    message.header.kind = RouteType::Local;
    message.header.scope = RouteScope::Host;
    message
}

fn route_message(index: u32, (ip, prefix_len): (IpAddr, u8)) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family_of(ip);
    message.header.destination_prefix_length = prefix_len;
    message.header.protocol = RouteProtocol::Static;
    message.attributes.push(RouteAttribute::Destination(ip.into()));
    message.attributes.push(RouteAttribute::Oif(index));
    message
}

/// A prefix made local by someone, as opposed to the routes the kernel itself keeps for each address.
pub(crate) fn local_prefix(message: &RouteMessage) -> Option<(IpAddr, u8)> {
    let header = &message.header;
    if header.table != TABLE_LOCAL || header.kind != RouteType::Local || header.protocol == RouteProtocol::Kernel {
        return None;
    }
    message.attributes.iter().find_map(|attribute| {
        let RouteAttribute::Destination(destination) = attribute else {
            return None;
        };
        if let RouteAddress::Inet(ip) = destination {
            Some((IpAddr::V4(*ip), header.destination_prefix_length))
        } else if let RouteAddress::Inet6(ip) = destination {
            Some((IpAddr::V6(*ip), header.destination_prefix_length))
        } else {
            None
        }
    })
}
