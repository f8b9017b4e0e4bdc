//! Our table: which packets pass only while a lease runs. Pure.
//!
//! * The set `lease` holds the number of each group whose lease runs; the kernel takes a number out when its time is over.
//! * The sets `vip4_N` and `vip6_N` hold the single addresses of group N, and `nd6_N` those of `vip6_N` once more, for
//!   neighbour discovery. Ranges have rules of their own.
//! * A packet that is from or for an address of a group whose number is not in `lease` is dropped.
//!
//! `nft` must be able to print all of it and to read what it has printed: the rulesets of whole hosts are kept that way.
//!
//! Gated are, of what an interface receives: ARP requests and neighbour solicitations for a VIP, and packets to one. Of
//! what it sends: ARP and neighbour advertisements in which we claim to have a VIP, and packets from one.
//!
//! ARP that the owner of a VIP sends passes, whoever it is addressed to: an announcement names the VIP as its target, too,
//! and this host must learn from it where the VIP has gone.

use std::net::IpAddr;
use std::time::Duration;

use avamgr_core::config::IpNet;

use crate::netlink::nft::{
    Expression, Field, Hook, Key, Message, address_set, addresses, base_chain, delete_element, delete_table, element,
    rule, table, timeout_set,
};
use crate::netlink::prefix;

/// Before everybody else's chains: nothing is done for a packet that is dropped.
const PRIORITY: i32 = -500;
const LEASE: &str = "lease";

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP_SENDER: Field = Field { offset: 14, length: 4 };
const ARP_TARGET: Field = Field { offset: 24, length: 4 };
const IPV4_SOURCE: Field = Field { offset: 12, length: 4 };
const IPV4_DESTINATION: Field = Field { offset: 16, length: 4 };
const IPV6_SOURCE: Field = Field { offset: 8, length: 16 };
const IPV6_DESTINATION: Field = Field { offset: 24, length: 16 };
const IPV6_NEXT_HEADER: Field = Field { offset: 6, length: 1 };
/// Behind an IPv6 header without extensions: neighbour discovery has none.
const ICMPV6_TYPE: Field = Field { offset: 40, length: 1 };
const ND_TARGET: Field = Field { offset: 48, length: 16 };
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// All that the table is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ruleset {
    /// Its name.
    pub(super) table: String,
    /// Whether the kernel can look at what is sent.
    pub(super) egress: bool,
    /// Addresses of each group.
    pub(super) groups: Vec<Addresses>,
}

/// The addresses of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    /// The number of the group in the lease.
    pub(super) number: u32,
    pub(super) v4: Vec<IpAddr>,
    pub(super) v6: Vec<IpAddr>,
    pub(super) ranges: Vec<IpNet>,
}

impl Addresses {
    /// The sets of its single addresses; none without addresses.
    fn sets(&self) -> impl Iterator<Item = (String, Key, &[IpAddr])> {
        let all = [("vip4", Key::V4, &self.v4), ("vip6", Key::V6, &self.v6), ("nd6", Key::Field(ND_TARGET), &self.v6)];
        let some = all.into_iter().filter(|(_, _, addresses)| !addresses.is_empty());
        some.map(|(set, key, addresses)| (format!("{set}_{}", self.number), key, addresses.as_slice()))
    }
}

/// Some packets, and where the address is by which they are judged.
#[derive(Clone, Copy)]
struct Traffic {
    protocol: u16,
    /// Of neighbour discovery.
    kind: Option<u8>,
    address: Field,
}

impl Traffic {
    const fn of(protocol: u16, address: Field) -> Self {
        Self { protocol, kind: None, address }
    }

    const fn discovery(kind: u8) -> Self {
        Self { protocol: IPV6, kind: Some(kind), address: ND_TARGET }
    }

    fn key(&self) -> Key {
        match (self.protocol, self.kind) {
            (_, Some(_)) => Key::Field(self.address),
            (IPV6, None) => Key::V6,
            (_, None) => Key::V4,
        }
    }

    /// Matches the packets and loads the address.
    fn expressions(&self) -> Vec<Expression> {
        let mut all = vec![Expression::protocol(), Expression::equals(&self.protocol.to_be_bytes())];
        if let Some(kind) = self.kind {
            all.extend([Expression::payload(IPV6_NEXT_HEADER), Expression::equals(&[ICMPV6])]);
            all.extend([Expression::payload(ICMPV6_TYPE), Expression::equals(&[kind])]);
        }
        all.push(Expression::payload(self.address));
        all
    }
}

const ARP_ANNOUNCED: Traffic = Traffic::of(ARP, ARP_SENDER);
const RECEIVED: [Traffic; 4] = [
    Traffic::of(ARP, ARP_TARGET),
    Traffic::of(IPV4, IPV4_DESTINATION),
    Traffic::of(IPV6, IPV6_DESTINATION),
    Traffic::discovery(SOLICITATION),
];
const SENT: [Traffic; 4] = [
    Traffic::of(ARP, ARP_SENDER),
    Traffic::of(IPV4, IPV4_SOURCE),
    Traffic::of(IPV6, IPV6_SOURCE),
    Traffic::discovery(ADVERTISEMENT),
];

impl Ruleset {
    /// Makes the table anew, with all groups closed, whatever was there under its name.
    pub(super) fn installation(&self, interfaces: &[String]) -> Vec<Message> {
        let name = self.table.as_str();
        let mut messages = vec![table(name), delete_table(name), table(name), timeout_set(name, LEASE, 1)];
        for (id, (set, key, members)) in (2..).zip(self.sets()) {
            let size = u32::try_from(members.len()).unwrap_or(u32::MAX);
            messages.push(address_set(name, &set, id, key, size));
            messages.extend(addresses(name, &set, members));
        }
        for (chain, hook, rules) in self.chains(interfaces) {
            messages.push(base_chain(name, chain, hook, PRIORITY, interfaces));
            messages.extend(rules.iter().map(|expressions| rule(name, chain, expressions)));
        }
        messages
    }

    /// How many chains and sets, and how many rules, the table has when nobody has touched it.
    pub(super) fn size(&self, interfaces: &[String]) -> (u32, usize) {
        let chains = self.chains(interfaces);
        let rules = chains.iter().map(|(_, _, rules)| rules.len()).sum();
        let objects = 1 + self.sets().count() + chains.len();
        (u32::try_from(objects).unwrap_or(u32::MAX), rules)
    }

    /// Puts an element into the lease for so long, whether it is there already or not.
    pub(super) fn open(&self, number: u32, time: Duration) -> Vec<Message> {
        let mut messages = vec![element(&self.table, LEASE, number, time)];
        messages.extend(self.prolong(number, time));
        messages
    }

    /// Leaves an element in the lease for so long; refused with `ENOENT` when it is not there any more.
    pub(super) fn prolong(&self, number: u32, time: Duration) -> Vec<Message> {
        vec![delete_element(&self.table, LEASE, number), element(&self.table, LEASE, number, time)]
    }

    /// Takes an element out of the lease; refused with `ENOENT` when it is not there.
    pub(super) fn close(&self, number: u32) -> Vec<Message> {
        vec![delete_element(&self.table, LEASE, number)]
    }

    /// Deletes the table.
    pub(super) fn removal(&self) -> Vec<Message> {
        vec![delete_table(&self.table)]
    }

    fn sets(&self) -> impl Iterator<Item = (String, Key, &[IpAddr])> {
        self.groups.iter().flat_map(Addresses::sets)
    }

    /// Without interfaces there is nothing to look at.
    fn chains(&self, interfaces: &[String]) -> Vec<(&'static str, Hook, Vec<Vec<Expression>>)> {
        if interfaces.is_empty() {
            return Vec::new();
        }
        let ingress = self.judged(ARP_ANNOUNCED, |_| vec![Expression::accept()]);
        let ingress =
            RECEIVED.into_iter().fold(ingress, |all, traffic| [all, self.judged(traffic, unless_held)].concat());
        let mut chains = vec![("ingress", Hook::Ingress, ingress)];
        if self.egress {
            let egress = SENT.into_iter().flat_map(|traffic| self.judged(traffic, unless_held)).collect();
            chains.push(("egress", Hook::Egress, egress));
        }
        chains
    }

    /// What happens to packets of the VIPs of each group: a rule for its single addresses, and one for each range.
    fn judged(&self, traffic: Traffic, end: fn(u32) -> Vec<Expression>) -> Vec<Vec<Expression>> {
        let mut rules = Vec::new();
        for group in &self.groups {
            for (set, _, _) in group.sets().filter(|(_, key, _)| *key == traffic.key()) {
                rules.push((vec![Expression::found_in(&set)], end(group.number)));
            }
            let is_v4 = traffic.key() == Key::V4;
            for range in group.ranges.iter().filter(|range| range.address.is_ipv4() == is_v4) {
                let first = octets(prefix::network(*range).address);
                let member = [Expression::mask(&mask(*range)), Expression::equals(&first)];
                rules.push((member.to_vec(), end(group.number)));
            }
        }
        rules.into_iter().map(|(member, end)| [traffic.expressions(), member, end].concat()).collect()
    }
}

/// Drops packets of the group unless its lease runs.
fn unless_held(group: u32) -> Vec<Expression> {
    let [load, number] = Expression::constant(group);
    vec![load, number, Expression::missing_from(LEASE), Expression::drop()]
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn mask(net: IpNet) -> Vec<u8> {
    let bits = |length: u32| u128::MAX.checked_shl(length.saturating_sub(u32::from(net.prefix))).unwrap_or(0);
    match net.address {
        IpAddr::V4(_) => bits(32).to_be_bytes()[12..].to_vec(),
        IpAddr::V6(_) => bits(128).to_be_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_as_many_ones_as_its_prefix() {
        for prefix in 0..=128 {
            for address in [IpAddr::from([10, 0, 0, 0]), IpAddr::from([0; 16])] {
                let bits = if address.is_ipv4() { 32 } else { 128 };
                if u32::from(prefix) <= bits {
                    let mask = mask(IpNet { address, prefix });
                    assert_eq!(mask.len() * 8, usize::try_from(bits).unwrap());
                    assert_eq!(mask.iter().map(|byte| byte.count_ones()).sum::<u32>(), u32::from(prefix));
                    assert!(mask.is_sorted_by(|a, b| a >= b));
                }
            }
        }
    }

    #[test]
    fn the_size_is_that_of_what_is_installed() {
        let v4 = vec![IpAddr::from([10, 0, 0, 1])];
        let one = Addresses { number: 1, v4: v4.clone(), v6: vec![IpAddr::from([1; 16])], ranges: Vec::new() };
        let ranges = vec![IpNet { address: IpAddr::from([10, 1, 0, 0]), prefix: 16 }];
        let two = Addresses { number: 2, v4, ranges, ..Addresses::default() };
        for (egress, size) in [(true, (7, 19)), (false, (6, 11))] {
            let ruleset = Ruleset { table: "t".to_owned(), egress, groups: vec![one.clone(), two.clone()] };
            let interfaces = ["eth1".to_owned()];
            assert_eq!(ruleset.size(&interfaces), size);
            let (objects, rules) = size;
            let messages = ruleset.installation(&interfaces);
            // Beside them: the table three times, and the elements of four sets.
            assert_eq!(messages.len(), usize::try_from(objects).unwrap() + rules + 7);
        }
    }
}
