//! Expressions: what a rule is made of. Each works on what the one before it has loaded; one that does not match ends the
//! rule.

use super::attributes::Attributes;

const NAME: u16 = 1;
const DATA: u16 = 2;
const VALUE: u16 = 1;
const VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const LIST_ELEMENT: u16 = 1;
/// Where an expression leaves its value for the next one; holds 16 bytes.
const REGISTER: u32 = 1;
/// Where a verdict is put.
const VERDICT_REGISTER: u32 = 0;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
/// `NFT_META_PROTOCOL`: the EtherType, without the tag of a VLAN.
const META_PROTOCOL: u32 = 1;
const META_MARK: u32 = 3;
const NETWORK_HEADER: u32 = 1;
const LOOKUP_INVERTED: u32 = 1;
const EQUAL: u32 = 0;

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
    pub fn protocol() -> Self {
        Self::new("meta", &Attributes::default().number(1, REGISTER).number(2, META_PROTOCOL))
    }

    /// Loads a field; a packet that is too short does not match.
    pub fn payload(field: Field) -> Self {
        let place = Attributes::default().number(1, REGISTER).number(2, NETWORK_HEADER);
        Self::new("payload", &place.number(3, field.offset).number(4, field.length))
    }

    /// Keeps only the bits of a mask.
    pub fn mask(mask: &[u8]) -> Self {
        Self::bits(mask, &vec![0; mask.len()])
    }

    /// Loads a number, as a mark is stored. The kernel could do it in one step, but `nft` has no words for that, and nobody
    /// could load the ruleset that it prints. Any other number of which no bit is kept will do: here the mark of the packet.
    pub fn constant(number: u32) -> [Self; 2] {
        let mark = Self::new("meta", &Attributes::default().number(1, REGISTER).number(2, META_MARK));
        [mark, Self::bits(&[0; 4], &number.to_ne_bytes())]
    }

    fn bits(mask: &[u8], flip: &[u8]) -> Self {
        let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
        let place = Attributes::default().number(1, REGISTER).number(2, REGISTER).number(3, length);
        Self::new("bitwise", &place.nested(4, &value(mask)).nested(5, &value(flip)))
    }

    /// Matches what begins with these bytes.
    pub fn equals(bytes: &[u8]) -> Self {
        Self::new("cmp", &Attributes::default().number(1, REGISTER).number(2, EQUAL).nested(3, &value(bytes)))
    }

    /// Matches what is in a set.
    pub fn found_in(set: &str) -> Self {
        Self::new("lookup", &Attributes::default().text(1, set).number(2, REGISTER))
    }

    /// Matches what is not in a set.
    pub fn missing_from(set: &str) -> Self {
        Self::new("lookup", &Attributes::default().text(1, set).number(2, REGISTER).number(5, LOOKUP_INVERTED))
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
