//! Expressions: what a rule is made of. One that does not match ends the rule.

use super::attributes::Attributes;

const NAME: u16 = 1;
const DATA: u16 = 2;
const VALUE: u16 = 1;
const VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const LIST_ELEMENT: u16 = 1;
/// Where a verdict is put.
const VERDICT_REGISTER: u32 = 0;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
/// `NFT_META_PROTOCOL`: the EtherType, without the tag of a VLAN.
const META_PROTOCOL: u32 = 1;
const NETWORK_HEADER: u32 = 1;
const LOOKUP_INVERTED: u32 = 1;
const EQUAL: u32 = 0;

/// Where an expression leaves its value for the next ones; holds 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// The first one.
    One,
    /// The second one.
    Two,
}

impl Register {
    fn number(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// Some bytes of the network header: of ARP, IPv4 or IPv6, and of what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// From the first byte of the header.
    pub offset: u32,
    /// At most 16.
    pub length: u32,
}

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression(Attributes);

impl Expression {
    /// Loads the EtherType, two bytes in network order.
    pub fn protocol(to: Register) -> Self {
        Self::new("meta", &Attributes::default().number(1, to.number()).number(2, META_PROTOCOL))
    }

    /// Loads a field; a packet that is too short does not match.
    pub fn payload(field: Field, to: Register) -> Self {
        let place = Attributes::default().number(1, to.number()).number(2, NETWORK_HEADER);
        Self::new("payload", &place.number(3, field.offset).number(4, field.length))
    }

    /// Keeps only the bits of a mask.
    pub fn mask(register: Register, mask: &[u8]) -> Self {
        let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
        let place = Attributes::default().number(1, register.number()).number(2, register.number()).number(3, length);
        Self::new("bitwise", &place.nested(4, &value(mask)).nested(5, &value(&vec![0; mask.len()])))
    }

    /// Matches what begins with these bytes.
    pub fn equals(register: Register, bytes: &[u8]) -> Self {
        Self::new("cmp", &Attributes::default().number(1, register.number()).number(2, EQUAL).nested(3, &value(bytes)))
    }

    /// Loads a constant.
    pub fn constant(bytes: &[u8], to: Register) -> Self {
        Self::new("immediate", &Attributes::default().number(1, to.number()).nested(2, &value(bytes)))
    }

    /// Matches what is in a set.
    pub fn found_in(set: &str, key: Register) -> Self {
        Self::new("lookup", &Attributes::default().text(1, set).number(2, key.number()))
    }

    /// Matches what is not in a set.
    pub fn missing_from(set: &str, key: Register) -> Self {
        Self::new("lookup", &Attributes::default().text(1, set).number(2, key.number()).number(5, LOOKUP_INVERTED))
    }

    /// The packet is thrown away.
    pub fn drop() -> Self {
        Self::verdict(DROP)
    }

    /// The packet passes this chain.
    pub fn accept() -> Self {
        Self::verdict(ACCEPT)
    }

    fn verdict(code: u32) -> Self {
        let verdict = Attributes::default().number(VERDICT_CODE, code);
        let verdict = Attributes::default().nested(VERDICT, &verdict);
        Self::new("immediate", &Attributes::default().number(1, VERDICT_REGISTER).nested(2, &verdict))
    }

    fn new(name: &str, data: &Attributes) -> Self {
        Self(Attributes::default().text(NAME, name).nested(DATA, data))
    }

    /// As they stand in a rule.
    pub(super) fn list(expressions: &[Self]) -> Attributes {
        expressions.iter().fold(Attributes::default(), |list, expression| list.nested(LIST_ELEMENT, &expression.0))
    }
}

/// Data as the kernel wants it.
pub(super) fn value(bytes: &[u8]) -> Attributes {
    Attributes::default().bytes(VALUE, bytes)
}
