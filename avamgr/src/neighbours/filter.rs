//! Programs that let the kernel drop the frames that we would only throw away: a busy network must not wake us.

use std::net::IpAddr;

use socket2::SockFilter;

use crate::netlink::Mac;

const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const ALL: u32 = u32::MAX;

/// Offsets into the frames; see `frame`.
const ARP_SENDER_MAC: u32 = 22;
const ARP_SENDER: u32 = 28;
const IPV6_NEXT_HEADER: u32 = 20;
const ICMPV6_TYPE: u32 = 54;
const ND_TARGET_END: u32 = 74;

const ICMPV6: u32 = 58;
const ADVERTISEMENT: u32 = 136;
const SOLICITATION: u32 = 135;

/// ARP frames whose sender has one of these addresses and is not `own`.
pub(super) fn arp_from(addresses: &[IpAddr], own: Mac) -> Vec<SockFilter> {
    let wanted = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(address.to_bits()),
        IpAddr::V6(_) => None,
    });
    let [a, b, c, d, e, f] = own.0;
    let mut program = vec![SockFilter::new(LOAD_WORD, 0, 0, ARP_SENDER)];
    one_of(&mut program, wanted.collect());
    program.extend([
        SockFilter::new(LOAD_WORD, 0, 0, ARP_SENDER_MAC),
        SockFilter::new(JUMP_EQUAL, 0, 2, u32::from_be_bytes([a, b, c, d])),
        SockFilter::new(LOAD_HALF, 0, 0, ARP_SENDER_MAC + 4),
        SockFilter::new(JUMP_EQUAL, 1, 0, u32::from_be_bytes([0, 0, e, f])),
        SockFilter::new(RETURN, 0, 0, ALL),
        SockFilter::new(RETURN, 0, 0, 0),
    ]);
    program
}

/// Neighbour advertisements for addresses that end like one of these.
pub(super) fn advertisements_of(addresses: &[IpAddr]) -> Vec<SockFilter> {
    let wanted = addresses.iter().filter_map(|address| match address {
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            Some(u32::from_be_bytes([a, b, c, d]))
        }
        IpAddr::V4(_) => None,
    });
    let mut program = neighbour_discovery(ADVERTISEMENT);
    program.push(SockFilter::new(LOAD_WORD, 0, 0, ND_TARGET_END));
    one_of(&mut program, wanted.collect());
    program.push(SockFilter::new(RETURN, 0, 0, ALL));
    program
}

/// Neighbour solicitations.
pub(super) fn solicitations() -> Vec<SockFilter> {
    let mut program = neighbour_discovery(SOLICITATION);
    program.push(SockFilter::new(RETURN, 0, 0, ALL));
    program
}

fn neighbour_discovery(kind: u32) -> Vec<SockFilter> {
    vec![
        SockFilter::new(LOAD_BYTE, 0, 0, IPV6_NEXT_HEADER),
        SockFilter::new(JUMP_EQUAL, 1, 0, ICMPV6),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(LOAD_BYTE, 0, 0, ICMPV6_TYPE),
        SockFilter::new(JUMP_EQUAL, 1, 0, kind),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

/// Goes on behind itself when the loaded word is one of these, and drops the frame otherwise.
fn one_of(program: &mut Vec<SockFilter>, wanted: Vec<u32>) {
    // Jumps reach 255 instructions; more are never asked for at once (`ASKED_MAX`).
    for (distance, word) in (1..=wanted.len()).rev().zip(wanted) {
        let over_the_rest = u8::try_from(distance).unwrap_or(u8::MAX);
        program.push(SockFilter::new(JUMP_EQUAL, over_the_rest, 0, word));
    }
    program.push(SockFilter::new(RETURN, 0, 0, 0));
}
