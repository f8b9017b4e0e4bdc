//! One question to the kernel: which way would a packet to this address go?

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// The kernel's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The interface it leaves through.
    pub interface: String,
    /// The next hop, when the address is not on the wire itself.
    pub gateway: Option<IpAddr>,
}

/// The way to an address, through a certain interface if one is given. `names` are the interfaces by number.
pub(super) fn find(address: IpAddr, through: Option<u32>, names: &BTreeMap<u32, String>) -> io::Result<Route> {
    let answer = ask(request(address, through))?;
    let mut route = Route { interface: "?".to_owned(), gateway: None };
    for attribute in answer.attributes {
        if let RouteAttribute::Oif(index) = attribute {
            route.interface = names.get(&index).cloned().unwrap_or_else(|| format!("number {index}"));
        } else if let RouteAttribute::Gateway(RouteAddress::Inet(gateway)) = attribute {
            route.gateway = Some(gateway.into());
        } else if let RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) = attribute {
            route.gateway = Some(gateway.into());
        }
    }
    Ok(route)
}

fn request(address: IpAddr, through: Option<u32>) -> NetlinkMessage<RouteNetlinkMessage> {
    let mut route = RouteMessage::default();
    (route.header.address_family, route.header.destination_prefix_length) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    route.attributes.push(RouteAttribute::Destination(address.into()));
    route.attributes.extend(through.map(RouteAttribute::Oif));
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetRoute(route));
    message.header.flags = NLM_F_REQUEST;
    message.finalize();
    message
}

fn ask(message: NetlinkMessage<RouteNetlinkMessage>) -> io::Result<RouteMessage> {
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    if let NetlinkPayload::Error(error) = answer.payload {
        return Err(error.to_io());
    }
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) = answer.payload else {
        return Err(io::Error::other("the kernel did not answer with a route"));
    };
    Ok(route)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_ourselves_is_the_loopback() {
        let names = BTreeMap::from([(1, "lo".to_owned())]);
        let route = find(IpAddr::from([127, 0, 0, 1]), None, &names).unwrap();
        assert_eq!(route, Route { interface: "lo".to_owned(), gateway: None });
    }
}
