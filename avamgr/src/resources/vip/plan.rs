//! What to add and what to remove, given what is wanted and what is there. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use avamgr_core::config::{IpNet, VipConfig};

use crate::netlink::{Present, Route, prefix};

/// Everything a resource puts on its interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Single addresses, IPv4 first: on an interface with thousands of IPv6 addresses each of these takes milliseconds.
    pub(super) addresses: Vec<IpNet>,
    /// How many of them are IPv4.
    pub(super) v4: usize,
    /// Whole prefixes.
    pub(super) ranges: Vec<IpNet>,
    /// Prefixes of the IPv6 addresses, whose other addresses are neighbours.
    on_link: Vec<IpNet>,
    /// Label of the IPv4 addresses.
    pub(super) label: Option<String>,
    set: BTreeSet<IpAddr>,
}

/// What stands between what is there and what is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gap {
    /// Not there, or not ours, or to be put again after it was removed.
    pub(super) put: Vec<IpNet>,
    /// There in a form that cannot be mended: with another prefix length, or as a duplicate. Must go first.
    pub(super) remove: Vec<Present>,
    /// There and good, but put there by somebody else: it would outlive us.
    pub(super) foreign: Vec<Present>,
    /// Why it cannot be mended, for the first one.
    pub(super) reason: Option<String>,
}

impl Wanted {
    pub(super) fn new(config: &VipConfig) -> Self {
        let mut set = BTreeSet::new();
        let mut addresses: Vec<_> = config.addresses.iter().copied().filter(|net| set.insert(net.address)).collect();
        addresses.sort_by_key(|net| net.address.is_ipv6());
        let v4 = addresses.iter().filter(|net| net.address.is_ipv4()).count();
        let ranges: BTreeSet<_> = config.ranges.iter().copied().map(prefix::network).collect();
        let with_neighbours = addresses.iter().filter(|net| net.address.is_ipv6() && net.prefix < 128);
        let on_link: BTreeSet<_> = with_neighbours.copied().map(prefix::network).collect();
        let (ranges, on_link) = (ranges.into_iter().collect(), on_link.into_iter().collect());
        Self { addresses, v4, ranges, on_link, label: config.label.clone(), set }
    }

    /// Whether this single address is one of them.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.set.contains(&address)
    }

    /// Whether an address is one of them, or in one of their ranges.
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        self.has(address) || self.ranges.iter().any(|range| prefix::contains(*range, address))
    }

    pub(super) fn has_v4_routes(&self) -> bool {
        self.ranges.iter().any(|net| net.address.is_ipv4())
    }

    /// The routes that come and go with the addresses; the ranges first.
    pub(super) fn routes(&self) -> impl Iterator<Item = Route> + Send + '_ {
        let ranges = self.ranges.iter().copied().map(Route::Local);
        ranges.chain(self.on_link.iter().copied().map(Route::OnLink))
    }

    /// What has to be done so that all are there, good and ours.
    pub(super) fn gap(&self, present: &[Present]) -> Gap {
        let mut gap = Gap::default();
        let mut ours: BTreeSet<IpNet> = BTreeSet::new();
        let wanted: BTreeSet<IpNet> = self.addresses.iter().copied().collect();
        for address in present.iter().filter(|address| self.has(address.net.address)) {
            if let Some(reason) = unmendable(address, &wanted) {
                gap.remove.push(address.clone());
                gap.reason.get_or_insert(reason);
                continue;
            }
            if address.is_ours() {
                ours.insert(address.net);
            } else {
                gap.foreign.push(address.clone());
            }
        }
        gap.put = self.addresses.iter().copied().filter(|net| !ours.contains(net)).collect();
        gap
    }

    /// What has to go so that none of them is there, with any prefix length and whoever put it there: an address of the
    /// config must not stay where the group is not ACTIVE, or it would be on two nodes. That holds also where it is the
    /// only address of the interface: then the config names an address of the host itself, which is for the operator to
    /// mend, and two owners are worse than a host without an address.
    ///
    /// Secondary ones go first: the kernel takes the secondary ones away with their primary one, or makes each of them
    /// primary in turn (`promote_secondaries`), which takes it long for thousands.
    pub(super) fn leaving(&self, present: &[Present]) -> Vec<Present> {
        let mut leaving: Vec<_> = present.iter().filter(|address| self.has(address.net.address)).cloned().collect();
        leaving.sort_by_key(|address| !address.is_secondary());
        leaving
    }
}

impl Gap {
    /// Everything is as it shall be.
    pub(super) fn is_closed(&self) -> bool {
        self.put.is_empty() && self.remove.is_empty()
    }
}

/// Addresses of others that went away with ours: the kernel removes the secondary addresses of a subnet with its primary
/// one, and a VIP is primary where it was there first.
pub(super) fn collateral(before: &[Present], after: &[Present], leaving: &[Present]) -> Vec<Present> {
    let still: BTreeSet<IpNet> = after.iter().map(|address| address.net).collect();
    let meant: BTreeSet<IpNet> = leaving.iter().map(|address| address.net).collect();
    let lost = before.iter().filter(|address| address.net.address.is_ipv4());
    lost.filter(|address| !still.contains(&address.net) && !meant.contains(&address.net)).cloned().collect()
}

/// The first few of a long list: `172.16.9.61/24, 172.16.9.62/24 and 3998 more`.
pub(super) fn list(nets: &[IpNet]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<_> = nets.iter().take(SHOWN).map(|net| prefix::show(*net)).collect();
    let more = nets.len().saturating_sub(SHOWN);
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn unmendable(address: &Present, wanted: &BTreeSet<IpNet>) -> Option<String> {
    let shown = prefix::show(address.net);
    if !wanted.contains(&address.net) {
        // It would not have our lifetime, and stay when we die.
        return Some(format!("{shown} is there with another prefix length"));
    }
    if address.is_refused_as_duplicate() {
        return Some(format!("{shown} was found to be a duplicate (dadfailed)"));
    }
    address.is_tentative().then(|| format!("{shown} waits for duplicate address detection (tentative)"))
}

#[cfg(test)]
mod tests;
