//! Requests and answers of `linux/genetlink.h` and `linux/tipc_netlink.h` as bytes.

use netlink_packet_core::NetlinkSerializable;

use super::{Bearer, TipcLink};
use crate::netlink::message::{attributes, text};

/// The family that knows the others, and what is asked of it.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const TIPC: &[u8; 7] = b"TIPCv2\0";
/// Length of the header behind that of netlink.
const HEADER_LEN: usize = 4;

/// The nest each object of TIPC comes in.
const BEARER: u16 = 1;
const LINK: u16 = 4;
const NET: u16 = 7;
/// Bits of an attribute's type that say how its value is to be read.
const TYPE: u16 = 0x3fff;

/// Something TIPC lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Table {
    Bearers = 4,
    Links = 8,
    Network = 14,
}

#[derive(Clone, Debug)]
pub(super) struct Request {
    kind: u16,
    bytes: Vec<u8>,
}

impl Request {
    /// The number of TIPC's family.
    pub(super) fn family() -> Self {
        let mut bytes = vec![GET_FAMILY, 1, 0, 0];
        let length = u16::try_from(HEADER_LEN + TIPC.len()).unwrap_or_default();
        bytes.extend(length.to_ne_bytes());
        bytes.extend(FAMILY_NAME.to_ne_bytes());
        bytes.extend(TIPC);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        Self { kind: CONTROL, bytes }
    }

    pub(super) fn table(family: u16, table: Table) -> Self {
        Self { kind: family, bytes: vec![table as u8, 1, 0, 0] }
    }
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.bytes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.iter_mut().zip(&self.bytes).for_each(|(room, byte)| *room = *byte);
    }
}

pub(super) fn family(payload: &[u8]) -> Option<u16> {
    let value = find(payload.get(HEADER_LEN..)?, FAMILY_ID)?;
    value.try_into().ok().map(u16::from_ne_bytes)
}

pub(super) fn network_id(payload: &[u8]) -> Option<u32> {
    const ID: u16 = 1;
    number(find(payload.get(HEADER_LEN..)?, NET)?, ID)
}

/// A bearer over Ethernet; others are none of ours.
pub(super) fn bearer(payload: &[u8]) -> Option<Bearer> {
    const NAME: u16 = 1;
    const PROPERTIES: u16 = 2;
    let bearer = find(payload.get(HEADER_LEN..)?, BEARER)?;
    let name = text(find(bearer, NAME)?)?;
    let properties = find(bearer, PROPERTIES)?;
    Some(Bearer {
        interface: name.strip_prefix("eth:")?.to_owned(),
        priority: number(properties, PRIORITY)?,
        tolerance_millis: number(properties, TOLERANCE)?,
    })
}

/// Of the properties of bearers and links.
const PRIORITY: u16 = 1;
const TOLERANCE: u16 = 2;

/// A link to a node; the one for broadcasts is none.
pub(super) fn link(payload: &[u8]) -> Option<TipcLink> {
    const NAME: u16 = 1;
    const BROADCAST: u16 = 4;
    const UP: u16 = 5;
    const ACTIVE: u16 = 6;
    const PROPERTIES: u16 = 7;
    const STATISTICS: u16 = 8;
    const RECEIVED: u16 = 9;
    const SENT: u16 = 10;
    let link = find(payload.get(HEADER_LEN..)?, LINK)?;
    if find(link, BROADCAST).is_some() {
        return None;
    }
    let (properties, statistics) = (find(link, PROPERTIES)?, find(link, STATISTICS)?);
    let count = |kind: u16| number(statistics, kind).unwrap_or(0);
    // The numbers run on over a reset of the statistics, which says where it was.
    let since = |total: u16, begin: u16| number(link, total).unwrap_or(0).wrapping_sub(count(begin));
    Some(TipcLink {
        name: text(find(link, NAME)?)?,
        up: find(link, UP).is_some(),
        active: find(link, ACTIVE).is_some(),
        priority: number(properties, PRIORITY)?,
        tolerance_millis: number(properties, TOLERANCE)?,
        received: since(RECEIVED, 1),
        sent: since(SENT, 6),
        retransmitted: count(29),
        duplicates: count(30),
        out_of_order: count(24),
        congested: count(31),
    })
}

fn find(buffer: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(buffer).find(|(kind, _)| kind & TYPE == wanted).map(|(_, value)| value)
}

fn number(buffer: &[u8], wanted: u16) -> Option<u32> {
    find(buffer, wanted)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(HEADER_LEN + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn number(kind: u16, value: u32) -> Vec<u8> {
        attribute(kind, &value.to_ne_bytes())
    }

    /// An object as the kernel nests it.
    fn object(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
        [vec![0; HEADER_LEN], attribute(kind | 0x8000, &parts.concat())].concat()
    }

    #[test]
    fn the_network_a_bearer_and_a_link_are_read() {
        assert_eq!(family(&[vec![0; 4], attribute(FAMILY_ID, &33_u16.to_ne_bytes())].concat()), Some(33));
        assert_eq!(network_id(&object(NET, &[number(1, 1983)])), Some(1983));
        let properties = |kind| attribute(kind, &[number(PRIORITY, 10), number(TOLERANCE, 1500)].concat());
        let eth3 = |name: &[u8]| bearer(&object(BEARER, &[attribute(1, name), properties(2)]));
        let expected = Bearer { interface: "eth3".to_owned(), priority: 10, tolerance_millis: 1500 };
        assert_eq!((eth3(b"eth:eth3\0"), eth3(b"udp:udp0\0")), (Some(expected), None));
        let statistics =
            attribute(8, &[number(1, 5), number(6, 40), number(24, 3), number(29, 2), number(30, 4)].concat());
        let name = attribute(1, b"1001017:eth3-100101d:eth3\0");
        let parts = [name, attribute(5, &[]), properties(7), statistics, number(9, 25), number(10, 100)];
        let found = link(&object(LINK, &parts)).unwrap();
        assert!(found.up && !found.active);
        assert_eq!((found.priority, found.tolerance_millis, found.received, found.sent), (10, 1500, 20, 60));
        assert_eq!((found.retransmitted, found.duplicates, found.out_of_order), (2, 4, 3));
        let peer = |text: &str| text.parse().unwrap();
        assert!(found.is_over("eth3", peer("1.1.29")));
        assert!(!found.is_over("eth3", peer("1.1.23")) && !found.is_over("eth4", peer("1.1.29")));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (family(&bytes), network_id(&bytes), bearer(&bytes), link(&bytes));
        }
    }
}
