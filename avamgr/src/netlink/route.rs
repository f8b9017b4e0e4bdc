//! The two kinds of route we add: a prefix whose every address is ours, and the way to the neighbours of an IPv6 address.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use avamgr_core::config::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::message::attributes;
use super::watch::{ROUTE_HEADER_LEN, RTA_DST, RTA_OIF, ip};
use super::{Error, Netlink, Outcome, PROTOCOL, Refusal, prefix};

const TABLE_LOCAL: u8 = 255;
/// Of our IPv6 routes: behind those the kernel makes for addresses (256), so that the two are never one.
const METRIC: u32 = 1024;
/// The same prefix can be there several times, with different metrics.
const COPIES_MAX: u32 = 8;

/// A route on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// Every address of this prefix is ours (`ip route add local PREFIX dev IF table local`).
    Local(IpNet),
    /// The addresses of this IPv6 prefix are neighbours on the interface. Stands beside the one that the kernel makes for
    /// the host's own address, and does not touch it.
    OnLink(IpNet),
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(net) => write!(f, "the range {}", prefix::show(*net)),
            Self::OnLink(net) => write!(f, "the route to {}", prefix::show(*net)),
        }
    }
}

impl Netlink {
    /// Adds a route, marked as ours; one that is there already is ours now.
    pub async fn put_route(&mut self, index: u32, route: Route) -> Result<Outcome, Error> {
        let request = RouteNetlinkMessage::NewRoute(message(index, route));
        self.route_request("add a route", NLM_F_CREATE | NLM_F_REPLACE, request).await
    }

    /// Adds a route, marked as ours, unless there is one of its prefix and metric; says whether it was missing.
    pub async fn put_missing_route(&mut self, index: u32, route: Route) -> Result<Result<bool, Refusal>, Error> {
        let request = RouteNetlinkMessage::NewRoute(message(index, route));
        let outcome = self.route_request("add a route", NLM_F_CREATE | NLM_F_EXCL, request).await?;
        Ok(match outcome {
            Ok(()) => Ok(true),
            Err(refusal) if refusal.errno == Errno::EEXIST => Ok(false),
            Err(refusal) => Err(refusal),
        })
    }

    /// Removes a route, for good: `Ok` means that no copy of it is left. A local one goes whoever added it.
    pub async fn remove_route(&mut self, index: u32, route: Route) -> Result<Outcome, Error> {
        for _ in 0..COPIES_MAX {
            let mut request = message(index, route);
            if let Route::Local(_) = route {
                request.header.protocol = RouteProtocol::Unspec;
                request.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Priority(_)));
            }
            let request = RouteNetlinkMessage::DelRoute(request);
            if let Err(refusal) = self.route_request("remove a route", 0, request).await? {
                let gone = matches!(refusal.errno, Errno::ESRCH | Errno::ENODEV);
                return Ok(if gone { Ok(()) } else { Err(refusal) });
            }
        }
        Ok(Err(Refusal { errno: Errno::EEXIST, text: Some(format!("still there after {COPIES_MAX} removals")) }))
    }

    /// All routes with our mark, with the numbers of their interfaces.
    pub async fn marked_routes(&mut self) -> Result<Vec<(u32, Route)>, Error> {
        // Only the tables we write to: a router's main table has a million entries.
        let tables = [
            (AddressFamily::Inet, TABLE_LOCAL),
            (AddressFamily::Inet6, TABLE_LOCAL),
            (AddressFamily::Inet6, RouteHeader::RT_TABLE_MAIN),
        ];
        let mut marked = BTreeSet::new();
        for (family, table) in tables {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            request.header.table = table;
            request.header.protocol = RouteProtocol::Other(PROTOCOL);
            let request = RouteNetlinkMessage::GetRoute(request);
            match self.transport.dump("list our routes", request, |_kind, payload| marked_route(payload)).await {
                Ok(routes) => marked.extend(routes),
                // No such table, or no such family: no such routes.
                Err(Error::Refused { refusal, .. })
                    if matches!(refusal.errno, Errno::ENOENT | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(marked.into_iter().collect())
    }

    async fn route_request(
        &mut self,
        what: &'static str,
        flags: u16,
        request: RouteNetlinkMessage,
    ) -> Result<Outcome, Error> {
        let outcomes = self.transport.exchange(what, flags, &[request], RouteNetlinkMessage::clone).await?;
        Ok(outcomes.into_iter().next().unwrap_or(Ok(())))
    }
}

/// A route of the kinds we add, with our mark; kernels before 4.20 list all of them.
fn marked_route(payload: &[u8]) -> Option<(u32, Route)> {
    let header = RouteHeader::parse(payload).ok()?;
    if header.protocol != RouteProtocol::Other(PROTOCOL) {
        return None;
    }
    let (mut destination, mut interface) = (None, None);
    for (kind, value) in attributes(payload.get(ROUTE_HEADER_LEN..)?) {
        match kind {
            RTA_DST => destination = ip(value),
            RTA_OIF => interface = value.try_into().ok().map(u32::from_ne_bytes),
            _ => {}
        }
    }
    let net = IpNet { address: destination?, prefix: header.destination_prefix_length };
    let route = match (header.table, header.kind) {
        (TABLE_LOCAL, RouteType::Local) => Route::Local(net),
        (RouteHeader::RT_TABLE_MAIN, RouteType::Unicast) if net.address.is_ipv6() => Route::OnLink(net),
        _ => return None,
    };
    Some((interface?, route))
}

fn message(index: u32, route: Route) -> RouteMessage {
    let (net, table, kind, scope) = match route {
        Route::Local(net) => (net, TABLE_LOCAL, RouteType::Local, RouteScope::Host),
        Route::OnLink(net) => (net, RouteHeader::RT_TABLE_MAIN, RouteType::Unicast, RouteScope::Universe),
    };
    let mut message = RouteMessage::default();
    message.header.address_family = match net.address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.destination_prefix_length = net.prefix;
    message.header.table = table;
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    message.header.scope = scope;
    message.header.kind = kind;
    message.attributes = vec![RouteAttribute::Destination(RouteAddress::from(net.address)), RouteAttribute::Oif(index)];
    if net.address.is_ipv6() {
        message.attributes.push(RouteAttribute::Priority(METRIC));
    }
    message
}
