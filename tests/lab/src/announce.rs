//! Announcements of addresses, as a client on the service network hears them: gratuitous ARP and unsolicited neighbour
//! advertisements.

#![allow(unsafe_code, reason = "the address of a packet socket has no safe constructor")]

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::error::{Context, Result};
use crate::host::Host;
use crate::worker::{Bell, PRIORITY, Worker, raise_priority};

const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Room for the burst of a node that announces thousands of addresses.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;

/// One announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// When the client heard it.
    pub at: Instant,
    /// The address.
    pub ip: IpAddr,
    /// The hardware address it is said to be at.
    pub mac: [u8; 6],
}

/// A running capture. Dropping it ends it.
#[derive(Debug)]
pub struct Announcements {
    heard: Arc<Mutex<Vec<Announcement>>>,
    _worker: Worker,
}

impl Announcements {
    /// Listens on all interfaces of a host.
    pub fn capture(client: &Host) -> Result<Self> {
        let sockets = client.in_netns(|| Ok([open(ETHERTYPE_ARP)?, open(ETHERTYPE_IPV6)?]))?;
        let heard: Arc<Mutex<Vec<Announcement>>> = Arc::default();
        let record = heard.clone();
        let worker = Worker::start("lab-announce", move |bell| run(sockets, &record, bell));
        let worker = worker.on(client.name(), "start a capture")?;
        Ok(Self { heard, _worker: worker })
    }

    /// The announcements of an address since `from`.
    #[must_use]
    pub fn of(&self, ip: IpAddr, from: Instant) -> Vec<Announcement> {
        let heard = lock(&self.heard);
        heard.iter().filter(|one| one.ip == ip && one.at >= from).copied().collect()
    }

    /// All announcements since `from`.
    #[must_use]
    pub fn since(&self, from: Instant) -> Vec<Announcement> {
        lock(&self.heard).iter().filter(|one| one.at >= from).copied().collect()
    }
}

impl Host {
    /// Announces an IPv4 address from one of its interfaces with one gratuitous ARP, as a stranger or a test would.
    pub fn announce(&self, interface: &str, ip: Ipv4Addr) -> Result<()> {
        let link = self.netlink()?.link(interface).at(self.name(), interface, "announce from it")?;
        let sent = self.in_netns(|| {
            let socket = open(ETHERTYPE_ARP)?;
            let everyone = link_address(link.index)?;
            socket.send_to(&gratuitous_frame(&link.mac, ip), &everyone)
        });
        sent.map(drop)
    }
}

/// An interface as the place to send frames from; the frame itself says where to.
pub(crate) fn link_address(index: u32) -> io::Result<SockAddr> {
    let index = i32::try_from(index).map_err(io::Error::other)?;
    // SAFETY: a packet address fits into the storage, and the length says how much of it was filled.
    let made = unsafe {
        SockAddr::try_init(|storage, length| {
            let address = storage.cast::<libc::sockaddr_ll>();
            (*address).sll_family = libc::AF_PACKET as u16;
            (*address).sll_ifindex = index;
            (*address).sll_halen = 6;
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    };
    made.map(|((), address)| address)
}

fn gratuitous_frame(mac: &[u8], ip: Ipv4Addr) -> Vec<u8> {
    let everyone = [0xff; 6];
    let ethernet_ipv4_request = [0, 1, 8, 0, 6, 4, 0, 1];
    let parts: [&[u8]; 8] = [
        &everyone,
        mac,
        &ETHERTYPE_ARP.to_be_bytes(),
        &ethernet_ipv4_request,
        mac,
        &ip.octets(),
        &everyone,
        &ip.octets(),
    ];
    parts.concat()
}

fn lock(heard: &Mutex<Vec<Announcement>>) -> MutexGuard<'_, Vec<Announcement>> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn open(ethertype: u16) -> io::Result<Socket> {
    // The kernel takes the ethertype in network order in the place of a protocol.
    let protocol = Protocol::from(i32::from(ethertype.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    Ok(socket)
}

fn run(mut sockets: [Socket; 2], heard: &Mutex<Vec<Announcement>>, bell: &Bell) {
    raise_priority(PRIORITY - 1);
    let mut frame = [0u8; 2048];
    while !bell.wait(&[sockets[0].as_fd(), sockets[1].as_fd()], None).unwrap_or(true) {
        for socket in &mut sockets {
            while let Ok(length) = socket.read(&mut frame) {
                let announced = announced(&frame[..length]);
                let at = Instant::now();
                lock(heard).extend(announced.map(|(ip, mac)| Announcement { at, ip, mac }));
            }
        }
    }
}

/// The address an Ethernet frame announces, and where; none for every other frame.
fn announced(frame: &[u8]) -> Option<(IpAddr, [u8; 6])> {
    let ethertype = u16::from_be_bytes(array(frame, 12)?);
    let payload = frame.get(14..)?;
    if ethertype == ETHERTYPE_ARP {
        gratuitous_arp(payload)
    } else {
        unsolicited_advertisement(payload, array(frame, 6)?)
    }
}

/// Sender and target are the same address; request and reply both are in use.
fn gratuitous_arp(arp: &[u8]) -> Option<(IpAddr, [u8; 6])> {
    let (sender, target): ([u8; 4], [u8; 4]) = (array(arp, 14)?, array(arp, 24)?);
    (sender == target).then_some((Ipv4Addr::from(sender).into(), array(arp, 8)?))
}

/// A neighbour advertisement to everyone.
fn unsolicited_advertisement(packet: &[u8], from: [u8; 6]) -> Option<(IpAddr, [u8; 6])> {
    const ICMPV6: u8 = 58;
    const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    const TARGET_LINK_ADDRESS: u8 = 2;
    let destination: [u8; 16] = array(packet, 24)?;
    let is_announcement = *packet.get(6)? == ICMPV6
        && *packet.get(40)? == NEIGHBOUR_ADVERTISEMENT
        && Ipv6Addr::from(destination).is_multicast();
    if !is_announcement {
        return None;
    }
    let target: [u8; 16] = array(packet, 48)?;
    let says_where = packet.get(64) == Some(&TARGET_LINK_ADDRESS);
    let mac = if says_where { array(packet, 66)? } else { from };
    Some((Ipv6Addr::from(target).into(), mac))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arp(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0xff; 12];
        frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9]);
        frame.extend(sender);
        frame.extend([0; 6]);
        frame.extend(target);
        frame
    }

    #[test]
    fn our_own_announcement_is_one() {
        let (mac, vip) = ([2, 0, 0, 0, 0, 9], Ipv4Addr::new(172, 16, 9, 61));
        assert_eq!(announced(&gratuitous_frame(&mac, vip)), Some((vip.into(), mac)));
    }

    #[test]
    fn only_a_gratuitous_arp_announces() {
        let vip = [172, 16, 9, 61];
        let want = Some((Ipv4Addr::from(vip).into(), [2, 0, 0, 0, 0, 9]));
        assert_eq!(announced(&arp(vip, vip)), want);
        assert_eq!(announced(&arp(vip, [172, 16, 9, 1])), None);
        assert_eq!(announced(&arp(vip, vip)[..30]), None);
    }
}
