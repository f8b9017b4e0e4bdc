//! Messages of a transaction: tables of the `netdev` family, their sets, chains, rules and elements.

use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NetlinkSerializable};

use super::attributes::Attributes;
use super::expression::{Expression, Field, value};

const SUBSYSTEM: u16 = 10;
const FAMILY_NETDEV: u8 = 5;
const FAMILY_NONE: u8 = 0;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = 0;
pub(super) const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
pub(super) const GET_RULE: u16 = 7;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const DELETE_ELEMENT: u16 = 14;
pub(super) const GET_GENERATION: u16 = 16;

pub(super) const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
pub(super) const TABLE_USE: u16 = 3;
pub(super) const RULE_TABLE: u16 = 1;
/// What sets and elements have in common.
const OF_TABLE: u16 = 1;
const LIST_ITEM: u16 = 1;

const SET_TIMEOUT: u32 = 0x10;
/// What `nft list` takes keys for: a mark, an IPv4 address, an IPv6 address.
const TYPE_MARK: u32 = 19;
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const MARK_BYTES: u32 = 4;
const TYPE_INTEGER: u32 = 4;
const SET_USER_DATA: u16 = 13;
const KEY_BYTE_ORDER: u8 = 0;
const HOST_ORDER: u32 = 1;
const NETWORK_ORDER: u32 = 2;
/// Elements in one message: their list is an attribute, which has less than 64 KiB, and one takes 28 bytes.
const ELEMENTS_MAX: usize = 1_000;

/// A message of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    kind: u16,
    family: u8,
    resource: u16,
    flags: u16,
    attributes: Attributes,
}

impl Message {
    fn new(kind: u16, flags: u16, attributes: Attributes) -> Self {
        Self { kind: SUBSYSTEM << 8 | kind, family: FAMILY_NETDEV, resource: 0, flags, attributes }
    }

    pub(super) fn flags(&self) -> u16 {
        self.flags
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        4 + self.attributes.as_bytes().len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let [high, low] = self.resource.to_be_bytes();
        let header = [self.family, 0, high, low];
        for (room, byte) in buffer.iter_mut().zip(header.iter().chain(self.attributes.as_bytes())) {
            *room = *byte;
        }
    }
}

/// The first message of a transaction.
pub(super) fn begin() -> Message {
    bracket(BATCH_BEGIN)
}

/// The last one.
pub(super) fn end() -> Message {
    bracket(BATCH_END)
}

fn bracket(kind: u16) -> Message {
    Message { kind, family: FAMILY_NONE, resource: SUBSYSTEM, flags: 0, attributes: Attributes::default() }
}

/// A question.
pub(super) fn request(kind: u16, attributes: Attributes) -> Message {
    Message::new(kind, 0, attributes)
}

/// A table; one that is there stays as it is.
pub fn table(table: &str) -> Message {
    Message::new(NEW_TABLE, NLM_F_CREATE, Attributes::default().text(TABLE_NAME, table).number(TABLE_FLAGS, 0))
}

/// Deletes a table with all that is in it.
pub fn delete_table(table: &str) -> Message {
    Message::new(DELETE_TABLE, 0, Attributes::default().text(TABLE_NAME, table))
}

/// A set of numbers that leave it by themselves. `id` tells the sets of a transaction apart.
pub fn timeout_set(table: &str, set: &str, id: u32) -> Message {
    let attributes = Attributes::default().text(OF_TABLE, table).text(2, set).number(3, SET_TIMEOUT);
    let attributes = attributes.number(4, TYPE_MARK).number(5, MARK_BYTES).number(10, id);
    // For `nft` alone: how the numbers are stored.
    let order = note(KEY_BYTE_ORDER, &HOST_ORDER.to_ne_bytes());
    Message::new(NEW_SET, NLM_F_CREATE, attributes.bytes(SET_USER_DATA, &order))
}

/// What a set of addresses is looked up with. The kernel asks for their length alone, `nft` for where they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// IPv4 addresses in headers it knows.
    V4,
    /// The same for IPv6.
    V6,
    /// An IPv6 address in this part of the network header.
    Field(Field),
}

impl Key {
    fn kind_and_bytes(self) -> (u32, u32) {
        match self {
            Self::V4 => (TYPE_IPV4, 4),
            Self::V6 => (TYPE_IPV6, 16),
            Self::Field(field) => (TYPE_INTEGER, field.length),
        }
    }
}

/// A set of addresses, for up to `size` of them.
pub fn address_set(table: &str, set: &str, id: u32, key: Key, size: u32) -> Message {
    let (kind, bytes) = key.kind_and_bytes();
    let attributes =
        Attributes::default().text(OF_TABLE, table).text(2, set).number(3, 0).number(4, kind).number(5, bytes);
    let attributes = attributes.nested(9, &Attributes::default().number(1, size)).number(10, id);
    let attributes = match key {
        Key::V4 | Key::V6 => attributes,
        Key::Field(field) => attributes.bytes(SET_USER_DATA, &words_for(field)),
    };
    Message::new(NEW_SET, NLM_F_CREATE, attributes)
}

/// What `nft` notes beside a set with `typeof @nh,OFFSET,LENGTH` (both in bits); the kernel does not look at it.
fn words_for(field: Field) -> Vec<u8> {
    const KEY_TYPE_OF: u8 = 3;
    const PAYLOAD: u32 = 7;
    const NETWORK_HEADER: u32 = 2;
    let data = [(0, 0), (1, 0), (2, NETWORK_HEADER), (3, field.offset * 8), (4, field.length * 8)];
    let data: Vec<u8> = data.into_iter().flat_map(|(kind, value)| note(kind, &value.to_ne_bytes())).collect();
    let expression = [note(0, &PAYLOAD.to_ne_bytes()), note(1, &data)].concat();
    [note(KEY_BYTE_ORDER, &NETWORK_ORDER.to_ne_bytes()), note(KEY_TYPE_OF, &expression)].concat()
}

/// Shorter than 256 bytes.
fn note(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind, u8::try_from(value.len()).unwrap_or(u8::MAX)], value].concat()
}

/// Elements of a set of addresses, in as many messages as they need.
pub fn addresses(table: &str, set: &str, addresses: &[IpAddr]) -> Vec<Message> {
    let item = |address: &IpAddr| match address {
        IpAddr::V4(address) => Attributes::default().nested(1, &value(&address.octets())),
        IpAddr::V6(address) => Attributes::default().nested(1, &value(&address.octets())),
    };
    addresses.chunks(ELEMENTS_MAX).map(|chunk| in_set(NEW_ELEMENT, table, set, chunk.iter().map(item))).collect()
}

/// An element of a set that leaves it after `timeout`, which is cut to whole milliseconds. One that is there already stays.
pub fn element(table: &str, set: &str, number: u32, timeout: Duration) -> Message {
    let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let item = Attributes::default().nested(1, &value(&number.to_ne_bytes())).long(4, millis);
    in_set(NEW_ELEMENT, table, set, [item].into_iter())
}

/// Takes an element out of a set; refused with `ENOENT` when it is not there (any more).
pub fn delete_element(table: &str, set: &str, number: u32) -> Message {
    let item = Attributes::default().nested(1, &value(&number.to_ne_bytes()));
    in_set(DELETE_ELEMENT, table, set, [item].into_iter())
}

fn in_set(kind: u16, table: &str, set: &str, items: impl Iterator<Item = Attributes>) -> Message {
    let list = items.fold(Attributes::default(), |list, item| list.nested(LIST_ITEM, &item));
    let flags = if kind == NEW_ELEMENT { NLM_F_CREATE } else { 0 };
    Message::new(kind, flags, Attributes::default().text(OF_TABLE, table).text(2, set).nested(3, &list))
}

/// Where a chain sees packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// What an interface receives.
    Ingress,
    /// What it sends; since Linux 5.16.
    Egress,
}

impl Hook {
    fn number(self) -> u32 {
        match self {
            Self::Ingress => 0,
            Self::Egress => 1,
        }
    }
}

/// A chain that sees the packets of these interfaces, which must be there.
pub fn base_chain(table: &str, chain: &str, hook: Hook, priority: i32, interfaces: &[String]) -> Message {
    let devices = interfaces.iter().fold(Attributes::default(), |list, interface| list.text(1, interface));
    let place = Attributes::default().number(1, hook.number()).bytes(2, &priority.to_be_bytes()).nested(4, &devices);
    let attributes = Attributes::default().text(1, table).text(3, chain).nested(4, &place).text(7, "filter");
    Message::new(NEW_CHAIN, NLM_F_CREATE, attributes)
}

/// A rule at the end of a chain.
pub fn rule(table: &str, chain: &str, expressions: &[Expression]) -> Message {
    let attributes = Attributes::default().text(RULE_TABLE, table).text(2, chain);
    Message::new(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, attributes.nested(4, &Expression::list(expressions)))
}
