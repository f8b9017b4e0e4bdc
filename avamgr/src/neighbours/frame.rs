//! The frames, byte by byte: RFC 826 and 5227 (ARP), RFC 4861 and 4862 (neighbour discovery).
//!
//! ```text
//! ARP, 42 bytes                                 ND, 78 or 86 bytes
//!  0 Ethernet: to, from, 0x0806                  0 Ethernet: to, from, 0x86dd
//! 14 hardware 1, protocol 0x0800, 6, 4          14 IPv6: version, payload length, 58, hop limit 255
//! 20 operation: 1 request, 2 reply              22 source, 38 destination
//! 22 sender: hardware, protocol address         54 ICMPv6: 135 NS or 136 NA, 0, checksum, flags
//! 32 target: hardware, protocol address         62 target
//!                                               78 option: 1 or 2, 1, hardware address (NA, and NS with a source)
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netlink::Mac;

const BROADCAST: Mac = Mac([0xff; 6]);
const NOBODY: Mac = Mac([0; 6]);
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// Ethernet, IPv4, lengths 6 and 4.
const ARP_PREFIX: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const ARP_REQUEST: u8 = 1;
const ARP_REPLY: u8 = 2;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// A router has decremented the hop limit of anything that does not come from the link itself.
const HOP_LIMIT: u8 = 255;
const FLAG_ROUTER: u8 = 0x80;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;
const OPTION_TARGET: u8 = 2;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

const ETHERNET_LEN: usize = 14;
const IPV6_LEN: usize = 40;
/// From the ICMPv6 type to the end of the target address.
const ND_LEN: usize = 24;

/// The two ways of an ARP announcement. Most listen to either; some devices only to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// "Who has my address?", as RFC 5227 wants it.
    Request,
    /// "My address is at …", an answer that nobody asked for.
    Reply,
}

/// Somebody says that an address is theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The address.
    pub address: IpAddr,
    /// Where it is.
    pub mac: Mac,
}

/// A question for an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Solicitation {
    pub(super) target: Ipv6Addr,
    /// Who asks; unspecified when they want to know before they take the address.
    pub(super) source: Ipv6Addr,
    pub(super) mac: Mac,
}

/// Tells everybody that `address` is at `mac`: gratuitous ARP in one of its forms, or an unsolicited neighbour
/// advertisement that overrides what was known (with one form only). `router`: this host forwards IPv6; hosts that use the
/// address as their router drop it when an advertisement says that it is none.
pub fn announcement(mac: Mac, address: IpAddr, form: Form, router: bool) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => match form {
            // "Target hardware" is ignored in a request; a gratuitous reply carries the sender's there.
            Form::Request => arp(BROADCAST, mac, ARP_REQUEST, address, (NOBODY, address)),
            Form::Reply => arp(BROADCAST, mac, ARP_REPLY, address, (mac, address)),
        },
        IpAddr::V6(address) => {
            let flags = FLAG_OVERRIDE | if router { FLAG_ROUTER } else { 0 };
            advertisement((mac, multicast_mac(ALL_NODES)), (address, ALL_NODES), flags, address)
        }
    }
}

/// Asks everybody who has `address` without claiming to have one: an ARP probe, or the solicitation of duplicate address
/// detection. No neighbour's table changes.
pub fn question(mac: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp(BROADCAST, mac, ARP_REQUEST, Ipv4Addr::UNSPECIFIED, (NOBODY, address)),
        IpAddr::V6(address) => {
            let everybody_like_it = solicited_node(address);
            let icmp = neighbour_discovery(SOLICITATION, 0, address, None);
            ipv6((mac, multicast_mac(everybody_like_it)), (Ipv6Addr::UNSPECIFIED, everybody_like_it), icmp)
        }
    }
}

/// Answers a solicitation.
pub(super) fn answer(mac: Mac, question: &Solicitation, router: bool) -> Vec<u8> {
    let flags = FLAG_OVERRIDE | if router { FLAG_ROUTER } else { 0 };
    let target = question.target;
    if question.source.is_unspecified() {
        return advertisement((mac, multicast_mac(ALL_NODES)), (target, ALL_NODES), flags, target);
    }
    advertisement((mac, question.mac), (target, question.source), flags | FLAG_SOLICITED, target)
}

/// Who claims what with this frame; `None` for anything else. An ARP probe claims nothing: its sender asks, as we do.
pub fn claim(frame: &[u8]) -> Option<Claim> {
    match ethertype(frame)? {
        ETHERTYPE_ARP => {
            if frame.get(14..20)? != ARP_PREFIX || !matches!(frame.get(20..22)?, [0, ARP_REQUEST | ARP_REPLY]) {
                return None;
            }
            let address = Ipv4Addr::from(*frame.get(28..32)?.first_chunk::<4>()?);
            let mac = Mac(*frame.get(22..28)?.first_chunk()?);
            (!address.is_unspecified()).then_some(Claim { address: IpAddr::V4(address), mac })
        }
        ETHERTYPE_IPV6 => {
            let icmp = verified_icmp(frame)?;
            if icmp.first() != Some(&ADVERTISEMENT) {
                return None;
            }
            let address = Ipv6Addr::from(*icmp.get(8..24)?.first_chunk::<16>()?);
            // Without the option the sender of the frame is the owner.
            let mac = option(icmp.get(ND_LEN..)?, OPTION_TARGET).or_else(|| source(frame))?;
            Some(Claim { address: IpAddr::V6(address), mac })
        }
        _ => None,
    }
}

/// What is asked with this frame; `None` for anything else.
pub(super) fn solicitation(frame: &[u8]) -> Option<Solicitation> {
    if ethertype(frame)? != ETHERTYPE_IPV6 {
        return None;
    }
    let icmp = verified_icmp(frame)?;
    if icmp.first() != Some(&SOLICITATION) {
        return None;
    }
    Some(Solicitation {
        target: Ipv6Addr::from(*icmp.get(8..24)?.first_chunk::<16>()?),
        source: Ipv6Addr::from(*frame.get(22..38)?.first_chunk::<16>()?),
        mac: source(frame)?,
    })
}

fn arp(to: Mac, from: Mac, operation: u8, sender: Ipv4Addr, target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = ethernet(to, from, ETHERTYPE_ARP, 28);
    frame.extend(ARP_PREFIX);
    frame.extend([0, operation]);
    frame.extend(from.0);
    frame.extend(sender.octets());
    frame.extend(target.0.0);
    frame.extend(target.1.octets());
    frame
}

fn advertisement(macs: (Mac, Mac), addresses: (Ipv6Addr, Ipv6Addr), flags: u8, target: Ipv6Addr) -> Vec<u8> {
    ipv6(macs, addresses, neighbour_discovery(ADVERTISEMENT, flags, target, Some(macs.0)))
}

fn neighbour_discovery(kind: u8, flags: u8, target: Ipv6Addr, target_mac: Option<Mac>) -> Vec<u8> {
    let mut icmp = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    icmp.extend(target.octets());
    if let Some(mac) = target_mac {
        icmp.extend([OPTION_TARGET, 1]);
        icmp.extend(mac.0);
    }
    icmp
}

/// `(from, to)` of both layers.
fn ipv6(macs: (Mac, Mac), addresses: (Ipv6Addr, Ipv6Addr), mut icmp: Vec<u8>) -> Vec<u8> {
    let sum = checksum(addresses.0, addresses.1, &icmp).to_be_bytes();
    if let Some(place) = icmp.get_mut(2..4) {
        place.copy_from_slice(&sum);
    }
    let mut frame = ethernet(macs.1, macs.0, ETHERTYPE_IPV6, IPV6_LEN + icmp.len());
    let length = u16::try_from(icmp.len()).unwrap_or(u16::MAX).to_be_bytes();
    frame.extend([0x60, 0, 0, 0, length[0], length[1], ICMPV6, HOP_LIMIT]);
    frame.extend(addresses.0.octets());
    frame.extend(addresses.1.octets());
    frame.extend(icmp);
    frame
}

fn ethernet(to: Mac, from: Mac, ethertype: [u8; 2], payload: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET_LEN + payload);
    frame.extend(to.0);
    frame.extend(from.0);
    frame.extend(ethertype);
    frame
}

fn ethertype(frame: &[u8]) -> Option<[u8; 2]> {
    frame.get(12..14)?.first_chunk().copied()
}

fn source(frame: &[u8]) -> Option<Mac> {
    frame.get(6..12)?.first_chunk().copied().map(Mac)
}

/// The neighbour discovery message of a frame that is one, from this link, and whole.
fn verified_icmp(frame: &[u8]) -> Option<&[u8]> {
    if frame.get(14)? >> 4 != 6 || frame.get(20..22)? != [ICMPV6, HOP_LIMIT] {
        return None;
    }
    let length = usize::from(u16::from_be_bytes(*frame.get(18..20)?.first_chunk()?));
    // Short frames are padded behind their end.
    let icmp = frame.get(54..54 + length)?;
    let source = Ipv6Addr::from(*frame.get(22..38)?.first_chunk::<16>()?);
    let destination = Ipv6Addr::from(*frame.get(38..54)?.first_chunk::<16>()?);
    (length >= ND_LEN && checksum(source, destination, icmp) == 0).then_some(icmp)
}

/// The hardware address in an option of this type.
fn option(mut options: &[u8], wanted: u8) -> Option<Mac> {
    loop {
        let length = usize::from(*options.get(1)?) * 8;
        // RFC 4861: an option of length zero makes the whole message bad; without this it would be read for ever.
        if length == 0 {
            return None;
        }
        if options.first() == Some(&wanted) {
            return options.get(2..8)?.first_chunk().copied().map(Mac);
        }
        options = options.get(length..)?;
    }
}

/// ICMPv6 over the pseudo header; zero for a message that carries the right one.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, icmp: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        let pairs = bytes.chunks(2).map(|pair| {
            let high = pair.first().copied().unwrap_or(0);
            let low = pair.get(1).copied().unwrap_or(0);
            u32::from(u16::from_be_bytes([high, low]))
        });
        pairs.sum()
    };
    let length = u32::try_from(icmp.len()).unwrap_or(u32::MAX);
    let mut sum = words(&source.octets()) + words(&destination.octets()) + words(icmp) + length + u32::from(ICMPV6);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// RFC 2464: the group as an Ethernet address.
fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

/// The group that everybody with an address like this one listens to.
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, u16::from_be_bytes([0xff, a]), u16::from_be_bytes([b, c]))
}

#[cfg(test)]
mod tests;
