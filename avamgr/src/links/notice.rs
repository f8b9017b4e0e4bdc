//! What the kernel says about interfaces, read from its messages.
//!
//! Only what the carrier watch needs is read: a full parser would take in every attribute of every interface of the machine
//! and stumble over those it does not know yet.

use netlink_packet_core::{NlaBuffer, NlasIterator};

// Of Linux's netlink.h, rtnetlink.h and if.h.
const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const IFLA_IFNAME: u16 = 3;
const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 1 << 16;
const IFF_DORMANT: u32 = 1 << 17;

/// Length of a message's header and of the fixed part of a link message.
const HEADER: usize = 16;
const LINK_HEADER: usize = 16;

/// One thing the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice<'a> {
    /// There is an interface.
    Link {
        /// The number of the question this answers; 0 = nobody asked, it has changed.
        question: u32,
        /// Its number.
        index: u32,
        /// Its name. A question by one of its other names is answered with this one.
        name: &'a str,
        /// Whether frames can pass.
        up: bool,
    },
    /// An interface is gone.
    Gone {
        /// Its number.
        index: u32,
    },
    /// The answer to the question of this number: there is no such interface.
    NoSuchInterface {
        /// The number.
        question: u32,
    },
}

impl Notice<'_> {
    /// Whether something has happened, and this is not an answer.
    pub(super) fn is_change(&self) -> bool {
        match self {
            Self::Link { question, .. } => *question == 0,
            Self::Gone { .. } => true,
            Self::NoSuchInterface { .. } => false,
        }
    }
}

/// The notices in the bytes of one datagram of the kernel, sent to the socket with this port; what is none is skipped.
pub(super) fn notices(port: u32, bytes: &[u8]) -> impl Iterator<Item = Notice<'_>> {
    messages(port, bytes).filter_map(|(kind, question, payload)| match kind {
        RTM_NEWLINK => link(question, payload),
        RTM_DELLINK => head(payload).map(|(index, _)| Notice::Gone { index }),
        // Any other error says nothing about the interface.
        NLMSG_ERROR if payload.first_chunk() == Some(&(-libc::ENODEV).to_ne_bytes()) => {
            Some(Notice::NoSuchInterface { question })
        }
        _other => None,
    })
}

/// Kind, question answered (0 = none) and payload of each message. A change that another program has caused may carry the
/// number of that program's question.
fn messages(port: u32, mut bytes: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
        let question = if u32_at(bytes, 12)? == port { u32_at(bytes, 8)? } else { 0 };
        let payload = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, question, payload))
    })
}

fn link(question: u32, payload: &[u8]) -> Option<Notice<'_>> {
    let (index, flags) = head(payload)?;
    let attributes = NlasIterator::new(payload.get(LINK_HEADER..)?);
    let name = attributes.filter_map(Result::ok).find(|attribute| attribute.kind() == IFLA_IFNAME)?;
    let name = std::str::from_utf8(value(&name)).ok()?.trim_end_matches('\0');
    Some(Notice::Link { question, index, name, up: passes(flags) })
}

/// Whether frames can pass: switched on, carrier there, not held back. `IFF_RUNNING` and the operational state say the same,
/// but up to a second later: the kernel computes them when it gets around to it.
fn passes(flags: u32) -> bool {
    flags & (IFF_UP | IFF_LOWER_UP | IFF_DORMANT) == IFF_UP | IFF_LOWER_UP
}

/// Index and flags; `None` for messages of another family: a bridge tells about its ports with the same kinds, and
/// taking a port off a bridge does not delete the interface.
fn head(payload: &[u8]) -> Option<(u32, u32)> {
    if *payload.first()? != 0 {
        return None;
    }
    Some((u32_at(payload, 4)?, u32_at(payload, 8)?))
}

fn value<'a>(attribute: &NlaBuffer<&'a [u8]>) -> &'a [u8] {
    attribute.into_inner().get(4..usize::from(attribute.length())).unwrap_or_default()
}

fn u32_at(bytes: &[u8], place: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(place..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: u32 = 77;

    /// A message of the kernel, aligned.
    fn message(kind: u16, (port, sequence): (u32, u32), payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + payload.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&port.to_ne_bytes());
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn link_payload(family: u8, index: u32, flags: u32, name: &str) -> Vec<u8> {
        let mut payload = vec![family, 0, 0, 0];
        payload.extend_from_slice(&index.to_ne_bytes());
        payload.extend_from_slice(&flags.to_ne_bytes());
        payload.extend_from_slice(&[0; 4]);
        // An attribute nobody knows, then the name.
        payload.extend_from_slice(&[8, 0, 0xff, 0x3f, 1, 2, 3, 4]);
        payload.extend_from_slice(&u16::try_from(4 + name.len() + 1).unwrap().to_ne_bytes());
        payload.extend_from_slice(&IFLA_IFNAME.to_ne_bytes());
        payload.extend_from_slice(name.as_bytes());
        payload.push(0);
        payload
    }

    #[test]
    fn every_kind_of_notice_is_read() {
        let mut bytes = message(RTM_NEWLINK, (0, 0), &link_payload(0, 7, IFF_UP | IFF_LOWER_UP, "eth3"));
        bytes.extend(message(
            RTM_NEWLINK,
            (PORT + 1, 2),
            &link_payload(0, 8, IFF_UP | IFF_LOWER_UP | IFF_DORMANT, "e"),
        ));
        bytes.extend(message(RTM_NEWLINK, (PORT, 2), &link_payload(0, 8, IFF_UP, "e")));
        bytes.extend(message(RTM_NEWLINK, (0, 0), &link_payload(7, 9, 0, "port")));
        bytes.extend(message(RTM_DELLINK, (0, 0), &link_payload(7, 9, 0, "port")));
        bytes.extend(message(RTM_DELLINK, (0, 0), &link_payload(0, 7, 0, "eth3")));
        bytes.extend(message(NLMSG_ERROR, (PORT, 2), &(-libc::ENODEV).to_ne_bytes()));
        bytes.extend(message(NLMSG_ERROR, (PORT, 2), &(-libc::ENOMEM).to_ne_bytes()));
        bytes.extend(message(NLMSG_ERROR, (PORT, 3), &0i32.to_ne_bytes()));
        bytes.extend(message(99, (0, 0), b"whatever"));
        let expected = [
            Notice::Link { question: 0, index: 7, name: "eth3", up: true },
            Notice::Link { question: 0, index: 8, name: "e", up: false },
            Notice::Link { question: 2, index: 8, name: "e", up: false },
            Notice::Gone { index: 7 },
            Notice::NoSuchInterface { question: 2 },
        ];
        assert_eq!(notices(PORT, &bytes).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn no_cut_and_no_flipped_bit_panics() {
        let bytes = message(RTM_NEWLINK, (0, 0), &link_payload(0, 7, IFF_UP | IFF_LOWER_UP, "eth3"));
        for length in 0..bytes.len() {
            assert!(notices(PORT, &bytes[..length]).count() <= 1);
        }
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(notices(PORT, &broken).count() <= 2);
        }
    }
}
