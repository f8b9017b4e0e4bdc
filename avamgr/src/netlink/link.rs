//! Interfaces: do they exist, are they up, do they have a carrier, which is their hardware address.

use std::fmt;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkHeader, LinkLayerType, LinkMessage};
use nix::errno::Errno;

use super::message::{attributes, text};
use super::{Error, Netlink};

const LINK_HEADER_LEN: usize = 16;
const NEW_LINK: u16 = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;

/// A hardware address of an Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A network interface at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number in the kernel; another one when it went away and came back.
    pub index: u32,
    /// An administrator (or a tool) has switched it on.
    pub up: bool,
    /// Frames can pass: the cable is in.
    pub carrier: bool,
    /// Its hardware address; `None` where neighbours are not found by ARP or neighbour discovery.
    pub mac: Option<Mac>,
    /// Its hardware address for traffic, whether it takes part in ARP or not.
    pub hardware: Option<Mac>,
}

impl Interface {
    /// Frames can pass now.
    pub fn is_ready(&self) -> bool {
        self.up && self.carrier
    }

    /// Reads only the header and the two attributes we need: the others grow with every kernel.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let header = LinkHeader::parse(payload).ok()?;
        let (mut name, mut hardware) = (None, None);
        for (kind, value) in attributes(payload.get(LINK_HEADER_LEN..)?) {
            match kind {
                IFLA_IFNAME => name = text(value),
                IFLA_ADDRESS => hardware = value.try_into().ok().map(Mac),
                _ => {}
            }
        }
        let ethernet = header.link_layer_type == LinkLayerType::Ether;
        let silent = header.flags.contains(LinkFlags::Noarp);
        Some(Self {
            name: name?,
            index: header.index,
            up: header.flags.contains(LinkFlags::Up),
            carrier: header.flags.contains(LinkFlags::LowerUp),
            mac: hardware.filter(|_| ethernet && !silent),
            hardware,
        })
    }
}

impl Netlink {
    /// The interface of this name.
    pub async fn interface(&mut self, name: &str) -> Result<Option<Interface>, Error> {
        let what = "look an interface up";
        let mut request = LinkMessage::default();
        request.attributes = vec![LinkAttribute::IfName(name.to_owned()), without_statistics()];
        let mut found = None;
        let request = RouteNetlinkMessage::GetLink(request);
        let outcome = self.transport.ask(what, request, |kind, payload| {
            if kind == NEW_LINK {
                found = Interface::parse(payload);
            }
        });
        match outcome.await? {
            // A name that is too long for an interface is not the name of one.
            Err(refusal) if matches!(refusal.errno, Errno::ENODEV | Errno::ERANGE) => Ok(None),
            Err(refusal) => Err(Error::Refused { what, refusal }),
            Ok(()) => Ok(found),
        }
    }

    /// All interfaces.
    pub async fn interfaces(&mut self) -> Result<Vec<Interface>, Error> {
        let mut request = LinkMessage::default();
        request.attributes = vec![without_statistics()];
        let request = RouteNetlinkMessage::GetLink(request);
        self.transport.dump("list the interfaces", request, |_kind, payload| Interface::parse(payload)).await
    }
}

/// Statistics are the expensive part of an answer.
fn without_statistics() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}
