//! Answers neighbour solicitations for IPv6 ranges.
//!
//! A local route makes every address of a prefix ours, and the kernel answers ARP for them; solicitations it answers only
//! for addresses that are on an interface. So we answer them. The answers end with the daemon: what neighbours know of
//! the range then runs out by itself.
//!
//! A switch that forwards multicast only to who asked for it (MLD snooping) does not let the questions through: no host
//! joins the groups of a whole prefix. There the range needs a route on the neighbours.

use avamgr_core::config::IpNet;
use std::net::IpAddr;

use super::frame::{answer, solicitation};
use super::packet::{FRAME_BYTES, Hears, PacketSocket};
use super::sender::is_router;
use super::{Error, filter};
use crate::netlink::{Interface, Mac, prefix};

const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Answers for some prefixes on one interface.
pub struct Responder {
    socket: PacketSocket,
    ranges: Vec<IpNet>,
    mac: Mac,
    router: bool,
}

impl Responder {
    /// Listens for the IPv6 ones of these prefixes; `None` where there is nothing to answer.
    pub fn open(interface: &Interface, ranges: &[IpNet]) -> Result<Option<Self>, Error> {
        let ranges: Vec<_> = ranges.iter().copied().filter(|range| range.address.is_ipv6()).collect();
        let Some(mac) = interface.mac.filter(|_| !ranges.is_empty()) else { return Ok(None) };
        let socket = PacketSocket::open(interface, Hears::AllGroups(ETHERTYPE_IPV6, filter::solicitations()))?;
        Ok(Some(Self { socket, ranges, mac, router: is_router(&interface.name) }))
    }

    /// Answers until the socket fails. May be dropped while it waits; what was asked meanwhile is then asked again.
    pub async fn serve(&self) -> Error {
        let mut frame = [0; FRAME_BYTES];
        loop {
            let length = match self.socket.receive(&mut frame).await {
                Ok(length) => length,
                Err(error) => return error,
            };
            let Some(question) = frame.get(..length).and_then(solicitation) else { continue };
            let ours = self.ranges.iter().any(|range| prefix::contains(*range, IpAddr::V6(question.target)));
            if ours && question.mac != self.mac {
                // A lost answer is asked for again.
                let _ = self.socket.send(&[answer(self.mac, &question, self.router)]);
            }
        }
    }
}
