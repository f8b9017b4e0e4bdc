//! Hears who claims some addresses: answers to our questions, and announcements that nobody asked for.

use std::net::IpAddr;

use super::packet::{FRAME_BYTES, Hears, PacketSocket};
use super::{ASKED_MAX, Claim, Error, claim, filter, spread};
use crate::netlink::{Interface, Mac};

const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Sockets on one interface, one for each family that is listened for.
pub(super) struct Ear {
    addresses: Vec<IpAddr>,
    own: Mac,
    arp: Option<PacketSocket>,
    ipv6: Option<PacketSocket>,
}

impl Ear {
    /// Listens for the addresses, as many as are asked for at most.
    pub(super) fn open(link: &Interface, own: Mac, addresses: Vec<IpAddr>) -> Result<Self, Error> {
        let arp = if addresses.iter().any(IpAddr::is_ipv4) {
            Some(PacketSocket::open(link, Hears::Frames(ETHERTYPE_ARP, filter::arp_from(&addresses, own)))?)
        } else {
            None
        };
        let ipv6 = if addresses.iter().any(IpAddr::is_ipv6) {
            Some(PacketSocket::open(link, Hears::Frames(ETHERTYPE_IPV6, filter::advertisements_of(&addresses)))?)
        } else {
            None
        };
        Ok(Self { addresses, own, arp, ipv6 })
    }

    /// What is sent from here comes before other traffic.
    pub(super) fn go_first(&self) {
        self.arp.iter().chain(&self.ipv6).for_each(PacketSocket::go_first);
    }

    /// Sends frames; returns how many found room.
    pub(super) fn send(&self, frames: &[Vec<u8>]) -> Result<usize, Error> {
        self.arp.as_ref().or(self.ipv6.as_ref()).map_or(Ok(frames.len()), |socket| socket.send(frames))
    }

    /// The next claim to one of the addresses by another hardware address. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<Claim, Error> {
        let (mut arp, mut ipv6) = ([0; FRAME_BYTES], [0; FRAME_BYTES]);
        loop {
            let frame = tokio::select! {
                biased;
                length = receive(self.arp.as_ref(), &mut arp) => arp.get(..length?),
                length = receive(self.ipv6.as_ref(), &mut ipv6) => ipv6.get(..length?),
            };
            let meant = |claim: &Claim| claim.mac != self.own && self.addresses.contains(&claim.address);
            if let Some(claim) = frame.and_then(claim).filter(meant) {
                return Ok(claim);
            }
        }
    }
}

async fn receive(socket: Option<&PacketSocket>, frame: &mut [u8]) -> Result<usize, Error> {
    match socket {
        Some(socket) => socket.receive(frame).await,
        None => std::future::pending().await,
    }
}

/// Hears whether somebody else claims what is ours. Of many addresses, a few are listened for: who takes one of them by
/// mistake is not told from who takes another, and a busy network must not wake us.
pub struct Rivals(Ear);

impl Rivals {
    /// `None` where there is nothing to listen for.
    pub fn open(interface: &Interface, addresses: &[IpAddr]) -> Result<Option<Self>, Error> {
        let Some(own) = interface.mac.filter(|_| !addresses.is_empty()) else { return Ok(None) };
        Ok(Some(Self(Ear::open(interface, own, spread(addresses, ASKED_MAX))?)))
    }

    /// The next claim. May be dropped while it waits; nothing is lost.
    pub async fn next(&mut self) -> Result<Claim, Error> {
        self.0.next().await
    }
}
