//! Every address belongs to one thing only, and to one that can have it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::config::IpNet;
use crate::config::error::{Finding, Findings, Place};
use crate::config::file::{File, Kind, Vip};
use crate::config::reader::{PerNode, Placed};

use super::all_resources;

/// An address of ours and whose it is.
struct Owner<'f> {
    what: String,
    place: &'f Place,
}

type Book<'f> = BTreeMap<IpAddr, Owner<'f>>;

pub(super) fn check(file: &File, findings: &Findings<'_>) {
    let mut book = Book::new();
    let paths = paths(file);
    for (what, addresses) in &paths {
        one_family(addresses, findings);
        for placed in addresses.iter().flatten() {
            enter(&mut book, placed.value, &format!("the address of {what}"), &placed.place, findings);
        }
    }
    for vip in vips(file) {
        for placed in &vip.addresses {
            sane(placed, findings);
            enter(&mut book, placed.address, "a virtual address", &placed.place, findings);
        }
    }
    ranges(file, &book, findings);
    arbitrator(file, &book, findings);
    distinct_subnets(&paths, findings);
    links_in_vip_subnets(file, &paths, findings);
}

fn vips(file: &File) -> impl Iterator<Item = &Vip> {
    all_resources(file).filter_map(|resource| match &resource.kind {
        Some(Kind::Vip(vip)) => Some(vip),
        Some(Kind::Exec(_) | Kind::Lsb(_) | Kind::Systemd(_)) | None => None,
    })
}

/// The nodes' own addresses on every heartbeat path.
fn paths(file: &File) -> Vec<(String, &PerNode<IpAddr>)> {
    let neutral = file.arbitrator.iter().filter_map(|found| found.neutral.as_ref());
    let links = file.links.iter().filter_map(|link| Some((link.called(), link.addresses()?)));
    links.chain(neutral.map(|addresses| ("the neutral path".to_owned(), addresses))).collect()
}

fn enter<'f>(book: &mut Book<'f>, address: IpAddr, what: &str, place: &'f Place, findings: &Findings<'_>) {
    match book.get(&address) {
        Some(owner) => {
            let rule = format!("must be an address of its own, but {address} is already {}", owner.what);
            findings.put(Finding::conflict(place, rule).related(owner.place, "first written here"));
        }
        None => {
            book.insert(address, Owner { what: what.to_owned(), place });
        }
    }
}

/// The nodes of one path speak one language.
fn one_family(addresses: &PerNode<IpAddr>, findings: &Findings<'_>) {
    let mut present = addresses.iter().flatten();
    let Some(first) = present.next() else { return };
    for other in present.filter(|other| other.is_ipv4() != first.is_ipv4()) {
        let family = if first.is_ipv4() { "an IPv4" } else { "an IPv6" };
        let rule = format!("must be {family} address like that of the other node");
        findings.put(Finding::conflict(&other.place, rule).related(&first.place, "the other node's"));
    }
}

/// A virtual address is a host in its network.
fn sane(net: &Placed<IpNet>, findings: &Findings<'_>) {
    let IpNet { address, prefix } = net.value;
    if address.is_loopback() {
        findings
            .put(Finding::conflict(&net.place, "must be an address that other hosts can reach, not a loopback one"));
    }
    let smallest = if address.is_ipv4() { 8 } else { 16 };
    if prefix < smallest {
        let rule = format!("must have a prefix length of {smallest} or more");
        findings.put(
            Finding::conflict(&net.place, rule).hint("the kernel would look for half the world on this interface"),
        );
    }
    // In the smallest IPv4 networks, and in IPv6, every address is a host.
    if address.is_ipv4() && prefix < 31 && (address == net.first() || address == net.last()) {
        let which = if address == net.first() { "the network itself" } else { "the broadcast address" };
        let rule = format!("must be a host, but with /{prefix} it is {which}");
        findings.put(Finding::conflict(&net.place, rule).hint("check the prefix length, or write a range"));
    }
}

fn ranges(file: &File, book: &Book<'_>, findings: &Findings<'_>) {
    let mut before: Vec<&Placed<IpNet>> = Vec::new();
    for range in vips(file).flat_map(|vip| &vip.ranges) {
        aligned(range, findings);
        if let Some((address, owner)) = book.range(range.first()..=range.last()).next() {
            let rule = format!("must not contain {address}: it is {}", owner.what);
            findings.put(Finding::conflict(&range.place, rule).related(owner.place, "written here"));
        }
        let overlaps = |other: &&&Placed<IpNet>| range.contains(other.first()) || other.contains(range.first());
        if let Some(other) = before.iter().find(overlaps) {
            let rule = format!("must not overlap with the range {}", other.value);
            findings.put(Finding::conflict(&range.place, rule).related(&other.place, "the other one"));
        }
        before.push(range);
        let fact = if range.address.is_ipv4() {
            "is a range: its addresses have no lifetime in the kernel, so a daemon that is killed leaves them behind until \
             it is started again"
        } else {
            "is an IPv6 range: neighbours do not find its addresses by themselves, a router has to send them here; and \
             they have no lifetime in the kernel"
        };
        findings.put(Finding::warning(&range.place, fact));
    }
}

/// A range is a whole prefix, and small enough to be announced.
fn aligned(range: &Placed<IpNet>, findings: &Findings<'_>) {
    let (first, prefix) = (range.first(), range.prefix);
    if range.address != first {
        let rule = "must begin at the first address of its prefix";
        findings.put(Finding::conflict(&range.place, rule).hint(format!("probably \"{first}/{prefix}\"")));
    }
    let smallest = if first.is_ipv4() { 16 } else { 64 };
    if prefix < smallest {
        let rule = format!("must have a prefix length of {smallest} or more");
        findings.put(Finding::conflict(&range.place, rule).hint("a larger range belongs to a router"));
    }
    if first.is_loopback() {
        findings
            .put(Finding::conflict(&range.place, "must be addresses that other hosts can reach, not loopback ones"));
    }
}

/// Whoever decides between us is none of us.
fn arbitrator(file: &File, book: &Book<'_>, findings: &Findings<'_>) {
    let mut seen: BTreeMap<IpAddr, &Place> = BTreeMap::new();
    for ping in file.arbitrator.iter().flat_map(|found| &found.ping) {
        let ranges = vips(file).flat_map(|vip| &vip.ranges);
        let range = ranges
            .filter(|range| range.contains(ping.value))
            .map(|range| ("in a virtual range".to_owned(), &range.place));
        let single = book.get(&ping.value).map(|owner| (owner.what.clone(), owner.place));
        if let Some((what, place)) = single.into_iter().chain(range).next() {
            let rule = format!("must be a third party, but {} is {what}", ping.value);
            findings.put(Finding::conflict(&ping.place, rule).related(place, "written here"));
        }
        if ping.is_loopback() {
            findings
                .put(Finding::conflict(&ping.place, "must be a third party: a node always reaches its own loopback"));
        }
        if let Some(first) = seen.insert(ping.value, &ping.place) {
            findings.put(Finding::conflict(&ping.place, "is there twice").related(first, "first written here"));
        }
    }
}

/// Two paths in one subnet are one path as soon as the kernel chooses the way. The file shows no prefix lengths, so what
/// must be wrong is refused and what looks wrong is mentioned.
fn distinct_subnets(paths: &[(String, &PerNode<IpAddr>)], findings: &Findings<'_>) {
    let subnets: Vec<(&str, &PerNode<IpAddr>, &Place, IpNet)> = paths
        .iter()
        .filter_map(|(what, each)| subnet(each).map(|(place, net)| (what.as_str(), *each, place, net)))
        .collect();
    for (index, (_, each, place, net)) in subnets.iter().enumerate() {
        for (other, other_each, other_place, other_net) in &subnets[..index] {
            if share_an_address(each, other_each) {
                continue;
            }
            let wider = if net.prefix < other_net.prefix { net } else { other_net };
            let overlap = net.contains(other_net.first()) || other_net.contains(net.first());
            let usual = if net.address.is_ipv4() { 24 } else { 64 };
            let looks = IpNet { address: net.address, prefix: usual.min(net.prefix) };
            // Nodes further apart than a usual subnet may be routed to each other, and then nothing is certain.
            if overlap && wider.prefix >= usual {
                let subnet = IpNet { address: wider.first(), prefix: wider.prefix };
                let rule = format!("must lie in another subnet than {other}: even {subnet} holds both");
                findings.put(Finding::conflict(place, rule).related(other_place, "the other one"));
            } else if overlap || looks.contains(other_net.first()) {
                let fact = format!("seems to lie in the same subnet as {other}: each path needs one of its own");
                findings.put(Finding::warning(place, fact).related(other_place, "the other one"));
            }
        }
    }
}

/// That is an error by itself, and says more.
fn share_an_address(each: &PerNode<IpAddr>, other: &PerNode<IpAddr>) -> bool {
    let addresses =
        |each: &PerNode<IpAddr>| -> BTreeSet<IpAddr> { each.iter().flatten().map(|own| own.value).collect() };
    !addresses(each).is_disjoint(&addresses(other))
}

/// The smallest subnet that holds all addresses of a path. Link-local addresses are told apart by their interface.
fn subnet(each: &PerNode<IpAddr>) -> Option<(&Place, IpNet)> {
    let mut present = each.iter().flatten();
    let first = present.next()?;
    let local = matches!(first.value, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let mut net = IpNet { address: first.value, prefix: if first.is_ipv4() { 32 } else { 128 } };
    for other in present {
        let wider = IpNet::covering(first.value, other.value)?;
        net.prefix = net.prefix.min(wider.prefix);
    }
    (!local).then_some((&first.place, net))
}

/// A virtual address brings a route to its subnet: heartbeats must not be caught by it.
fn links_in_vip_subnets(file: &File, paths: &[(String, &PerNode<IpAddr>)], findings: &Findings<'_>) {
    let dedicated = paths.iter().filter(|(what, _)| what.starts_with("link"));
    for (what, addresses) in dedicated {
        let inside = |net: &&Placed<IpNet>| addresses.iter().flatten().any(|own| net.contains(own.value));
        if let Some(net) = vips(file).flat_map(|vip| &vip.addresses).find(inside) {
            let subnet = IpNet { address: net.first(), prefix: net.prefix };
            let fact =
                format!("brings {subnet} to its interface, and {what} is in it: heartbeats may take the wrong way");
            findings.put(Finding::warning(&net.place, fact));
        }
    }
}
