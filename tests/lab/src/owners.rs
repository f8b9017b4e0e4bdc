//! Who owns which address, and when: told by the kernels of the nodes, not by the daemons.
//!
//! A thread per node listens to the changes of its network namespace and writes them down as they come; nothing is
//! polled. Threads wake late and in any order, so whoever hears of a change first lets all other nodes tell theirs: what
//! led to it is in their sockets by then. Thus an address that was taken off here before it was put on there is never
//! seen in both places. A node without power owns nothing from the moment of the fault.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::RouteMessage;

use crate::host::Running;
use crate::netlink::{AddressRow, Carrier, LinkRow, Listener, Netlink, local_prefix};
use crate::plan::Cidr;
use crate::worker::{Bell, PRIORITY, Worker, raise_priority};

/// Multicast group of the kernel for links.
const LINKS: [u32; 1] = [1];

/// Those for addresses and routes, of IPv4, then of IPv6.
const ADDRESSES: [u32; 4] = [5, 7, 9, 11];

/// Room for the changes of some ten thousand addresses at once.
const RECEIVE_BUFFER_BYTES: usize = 32 << 20;

/// One change of ownership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When the lab heard of it.
    pub at: Instant,
    /// The node.
    pub node: String,
    /// The address (with its full length) or prefix.
    pub what: Cidr,
    /// Whether the node has it from now on, or no longer.
    pub gained: bool,
}

/// The record of a lab. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    record: Arc<Mutex<Record>>,
    ears: Arc<Mutex<BTreeMap<String, Ear>>>,
}

#[derive(Debug, Default)]
struct Record {
    changes: Vec<Change>,
    now: BTreeMap<String, BTreeSet<Cidr>>,
    /// Moments at which the kernel had to drop changes: what happened just before is known only roughly.
    overruns: Vec<Instant>,
}

/// For how long an address was where, within an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// On two or more nodes at once.
    pub dual: Duration,
    /// On no node.
    pub nobody: Duration,
    /// The longest time without interruption on no node.
    pub nobody_longest: Duration,
}

impl Owners {
    /// The nodes that own `ip` now.
    #[must_use]
    pub fn of(&self, ip: IpAddr) -> Vec<String> {
        let record = self.record();
        record
            .now
            .iter()
            .filter(|(_, owned)| owned.iter().any(|what| covers(what, ip)))
            .map(|(node, _)| node.clone())
            .collect()
    }

    /// Everything that changed since `from`, in order.
    #[must_use]
    pub fn changes_since(&self, from: Instant) -> Vec<Change> {
        let record = self.record();
        record.changes.iter().filter(|change| change.at >= from).cloned().collect()
    }

    /// How long `ip` was on two nodes, and on none, between two moments.
    #[must_use]
    pub fn between(&self, ip: IpAddr, from: Instant, to: Instant) -> Ownership {
        let record = self.record();
        sum_up(record.changes.iter().filter(|change| covers(&change.what, ip)), from, to)
    }

    /// Whether changes were lost since `from`, so that times are not to be trusted.
    #[must_use]
    pub fn overrun_since(&self, from: Instant) -> bool {
        self.record().overruns.iter().any(|at| *at >= from)
    }

    /// What the record says `node` owns now.
    #[must_use]
    pub fn owned_by(&self, node: &str) -> BTreeSet<Cidr> {
        self.record().now.get(node).cloned().unwrap_or_default()
    }

    /// Listens to a node that has just booted. `on_link` hears of interfaces raised and taken down.
    pub(crate) fn watch(
        &self,
        node: &str,
        running: &Running,
        on_link: impl Fn(&str, bool) + Send + 'static,
    ) -> io::Result<Worker> {
        let (links, ear) = running.namespaces().in_net(|| {
            let links = Listener::open(&LINKS, RECEIVE_BUFFER_BYTES)?;
            let changes = Listener::open(&ADDRESSES, RECEIVE_BUFFER_BYTES)?;
            Ok::<_, io::Error>((links, Ear { changes, netlink: Netlink::open()? }))
        })?;
        let wake = ear.changes.as_fd().try_clone_to_owned()?;
        self.record().replace(node, &ear.truth()?, Instant::now());
        self.ears().insert(node.to_owned(), ear);
        let mut watch = Watch { owners: self.clone(), node: node.to_owned(), links, wake, on_link };
        Worker::start("lab-owners", move |bell| watch.run(bell))
    }

    /// Writes down what happened on `node`, after everything that happened elsewhere before it.
    fn hear(&self, node: &str) {
        let mut ears = self.ears();
        let Some(news) = ears.get_mut(node).map(Ear::drain) else { return };
        for (other, ear) in ears.iter_mut().filter(|(other, _)| *other != node) {
            let past = ear.drain();
            self.write_down(other, ear, past);
        }
        if let Some(ear) = ears.get(node) {
            self.write_down(node, ear, news);
        }
    }

    fn write_down(&self, node: &str, ear: &Ear, heard: Heard) {
        let at = Instant::now();
        let mut record = self.record();
        for (what, gained) in heard.changes {
            record.note(node, what, gained, at);
        }
        if heard.overrun {
            record.overruns.push(at);
            // A second failure shows as an overrun too.
            if let Ok(owned) = ear.truth() {
                record.replace(node, &owned, at);
            }
        }
    }

    /// The node lost its power.
    pub(crate) fn power_off(&self, node: &str, at: Instant) {
        self.record().replace(node, &BTreeSet::new(), at);
    }

    fn ears(&self) -> MutexGuard<'_, BTreeMap<String, Ear>> {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn note(&mut self, node: &str, what: Cidr, gained: bool, at: Instant) {
        let owned = self.now.entry(node.to_owned()).or_default();
        // The kernel repeats itself, for instance when an address's lifetime is refreshed.
        let news = if gained { owned.insert(what) } else { owned.remove(&what) };
        if news {
            self.changes.push(Change { at, node: node.to_owned(), what, gained });
        }
    }

    fn replace(&mut self, node: &str, owned: &BTreeSet<Cidr>, at: Instant) {
        let before = self.now.get(node).cloned().unwrap_or_default();
        for lost in before.difference(owned) {
            self.note(node, *lost, false, at);
        }
        for gained in owned.difference(&before) {
            self.note(node, *gained, true, at);
        }
    }
}

/// Listens to the addresses and routes of a node.
#[derive(Debug)]
struct Ear {
    changes: Listener,
    netlink: Netlink,
}

/// What an ear has heard: gained from here on, or no longer there.
#[derive(Debug, Default)]
struct Heard {
    changes: Vec<(Cidr, bool)>,
    overrun: bool,
}

impl Ear {
    fn drain(&mut self) -> Heard {
        let mut heard = Heard::default();
        loop {
            match self.changes.receive() {
                Ok(messages) => heard.changes.extend(messages.iter().filter_map(change)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return heard,
                Err(_) => {
                    heard.overrun = true;
                    return heard;
                }
            }
        }
    }

    /// Everything the node owns, asked of its kernel: at boot, and when changes were lost.
    fn truth(&self) -> io::Result<BTreeSet<Cidr>> {
        Ok(everything(&self.netlink.addresses()?, &self.netlink.local_prefixes()?))
    }
}

/// A change of ownership, if it is one.
fn change(message: &RouteNetlinkMessage) -> Option<(Cidr, bool)> {
    if let RouteNetlinkMessage::NewAddress(address) = message {
        AddressRow::from_message(address).map(|row| (whole(row.ip), true))
    } else if let RouteNetlinkMessage::DelAddress(address) = message {
        AddressRow::from_message(address).map(|row| (whole(row.ip), false))
    } else if let RouteNetlinkMessage::NewRoute(route) = message {
        prefix(route).map(|what| (what, true))
    } else if let RouteNetlinkMessage::DelRoute(route) = message {
        prefix(route).map(|what| (what, false))
    } else {
        None
    }
}

/// The thread of a node.
struct Watch<F> {
    owners: Owners,
    node: String,
    links: Listener,
    /// Readable when there are changes of addresses.
    wake: OwnedFd,
    on_link: F,
}

impl<F: Fn(&str, bool)> Watch<F> {
    fn run(&mut self, bell: &Bell) {
        raise_priority(PRIORITY + 1);
        while !bell.wait(&[self.wake.as_fd(), self.links.as_fd()], None).unwrap_or(true) {
            self.owners.hear(&self.node);
            self.follow_links();
        }
        self.owners.ears().remove(&self.node);
    }

    fn follow_links(&mut self) {
        // An overrun cannot be mended here; the story sees at the other end that its carrier did not follow.
        while let Ok(messages) = self.links.receive() {
            for link in messages.iter().filter_map(LinkRow::from_message) {
                (self.on_link)(&link.name, link.carrier != Carrier::Down);
            }
        }
    }
}

/// The addresses and prefixes of a kernel's tables, as the record knows them.
pub(crate) fn everything(addresses: &[AddressRow], prefixes: &[(IpAddr, u8)]) -> BTreeSet<Cidr> {
    let prefixes = prefixes.iter().map(|(ip, len)| Cidr { ip: *ip, len: *len });
    addresses.iter().map(|row| whole(row.ip)).chain(prefixes).collect()
}

fn whole(ip: IpAddr) -> Cidr {
    Cidr { ip, len: if ip.is_ipv6() { 128 } else { 32 } }
}

fn prefix(route: &RouteMessage) -> Option<Cidr> {
    local_prefix(route).map(|(ip, len)| Cidr { ip, len })
}

fn covers(what: &Cidr, ip: IpAddr) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()) << 96, false),
        IpAddr::V6(ip) => (ip.to_bits(), true),
    };
    let ((ours, our_family), (theirs, their_family)) = (bits(what.ip), bits(ip));
    let mask = u128::MAX.checked_shl(128 - u32::from(what.len)).unwrap_or(0);
    our_family == their_family && (ours ^ theirs) & mask == 0
}

/// Walks through the changes and adds up the time between them.
fn sum_up<'a>(changes: impl Iterator<Item = &'a Change>, from: Instant, to: Instant) -> Ownership {
    let mut holding: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sum = Ownership::default();
    let (mut last, mut dark) = (from, Duration::ZERO);
    let mut pass = |holders: usize, until: Instant| {
        let span = until.clamp(from, to).saturating_duration_since(last);
        last = last.max(until.clamp(from, to));
        match holders {
            0 => {
                sum.nobody += span;
                dark += span;
                sum.nobody_longest = sum.nobody_longest.max(dark);
            }
            1 => dark = Duration::ZERO,
            2.. => {
                sum.dual += span;
                dark = Duration::ZERO;
            }
        }
    };
    for change in changes {
        pass(holding.values().filter(|count| **count > 0).count(), change.at);
        let count = holding.entry(&change.node).or_default();
        *count = if change.gained { *count + 1 } else { count.saturating_sub(1) };
    }
    pass(holding.values().filter(|count| **count > 0).count(), to);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(start: Instant, ms: u64, node: &str, gained: bool) -> Change {
        let what = "172.16.9.61/32".parse().unwrap();
        Change { at: start + Duration::from_millis(ms), node: node.to_owned(), what, gained }
    }

    #[test]
    fn overlap_and_gap_are_told_apart() {
        let start = Instant::now();
        let changes = [
            change(start, 0, "a", true),
            change(start, 100, "b", true),
            change(start, 130, "a", false),
            change(start, 200, "b", false),
            change(start, 250, "a", true),
            change(start, 300, "a", false),
        ];
        let at = |ms| start + Duration::from_millis(ms);
        let sum = sum_up(changes.iter(), at(0), at(320));
        assert_eq!(sum.dual, Duration::from_millis(30));
        assert_eq!(sum.nobody, Duration::from_millis(70));
        assert_eq!(sum.nobody_longest, Duration::from_millis(50));
        assert_eq!(sum_up(changes.iter(), at(110), at(120)).dual, Duration::from_millis(10));
        assert_eq!(sum_up(changes.iter(), at(140), at(190)), Ownership::default());
    }

    #[test]
    fn a_prefix_covers_its_addresses_and_no_others() {
        let prefix: Cidr = "172.16.128.0/20".parse().unwrap();
        assert!(covers(&prefix, "172.16.143.255".parse().unwrap()));
        assert!(!covers(&prefix, "172.16.144.0".parse().unwrap()));
        assert!(!covers(&prefix, "2001:db8::1".parse().unwrap()));
        assert!(covers(&"::/0".parse().unwrap(), "2001:db8::1".parse().unwrap()));
    }
}
