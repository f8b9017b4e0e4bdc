//! What carries our mark (protocol 167), on whichever interface it is found.
//!
//! An interface may be renamed under an address, and a daemon that was killed may have had another config. So a stop looks
//! for the addresses and routes of its config on all interfaces, and the first order after the daemon's start removes what
//! no resource of the present config has: a route without a lifetime would otherwise stay for ever. Both only take what
//! carries our mark; on the interface of the config a stop takes what is in the config, whoever put it there.
//!
//! Kernels before 5.18 do not mark addresses. There, leftovers of another config are recognized among routes only (which
//! are marked by every kernel), and addresses go when their lifetime ends; an address of the present config that has a
//! lifetime counts as marked. Two daemons in one network namespace would take each other's for leftovers.

use std::collections::{BTreeMap, BTreeSet};

use avamgr_core::config::IpNet;
use avamgr_core::node::Report;

use super::Task;
use super::claims::Place;
use super::plan::list;
use crate::netlink::{Present, Route};

/// The interfaces and all that may be ours on them, as they are now.
pub(super) struct Ground {
    names: BTreeMap<u32, String>,
    /// Those that have the name of the config, or had it when something was put on.
    pub(super) own: BTreeSet<u32>,
    /// All addresses, of all interfaces.
    pub(super) present: Vec<Present>,
}

impl Ground {
    pub(super) fn name(&self, index: u32) -> String {
        self.names.get(&index).cloned().unwrap_or_else(|| format!("interface {index}"))
    }

    fn place(&self, index: u32) -> Place<'_> {
        Place { index, names: &self.names }
    }

    pub(super) fn on(&self, index: u32) -> Vec<Present> {
        self.present.iter().filter(|present| present.index() == index).cloned().collect()
    }
}

impl Task {
    pub(super) async fn ground(&mut self) -> Result<Ground, String> {
        let named = self.netlink.interface(&self.name).await.map_err(|error| error.to_string())?;
        let links = self.netlink.interfaces().await.map_err(|error| error.to_string())?;
        let names: BTreeMap<_, _> = links.into_iter().map(|link| (link.index, link.name)).collect();
        let own = self.put_on.iter().copied().chain(named.map(|link| link.index));
        let own = own.filter(|index| names.contains_key(index)).collect();
        let present = self.netlink.addresses_everywhere().await.map_err(|error| error.to_string())?;
        Ok(Ground { names, own, present })
    }

    /// What has to go at a stop, interface by interface.
    pub(super) fn leaving(&self, ground: &Ground) -> BTreeMap<u32, Vec<Present>> {
        let exact: BTreeSet<IpNet> = self.wanted.addresses.iter().copied().collect();
        let mut leaving: BTreeMap<u32, Vec<Present>> = BTreeMap::new();
        for present in self.wanted.leaving(&ground.present) {
            let index = present.index();
            let strayed = || {
                let place = ground.place(index);
                let is_like_ours = exact.contains(&present.net) && present.is_ours();
                is_like_ours && !self.claims.has_address(present.net, &place, Some(self.id))
            };
            if ground.own.contains(&index) || strayed() {
                leaving.entry(index).or_default().push(present);
            }
        }
        leaving
    }

    /// Removes the routes of the config, and says which cannot be removed.
    pub(super) async fn remove_routes(&mut self, ground: &Ground) -> Result<(), String> {
        let wanted: BTreeSet<Route> = self.wanted.routes().collect();
        let on_own = ground.own.iter().flat_map(|index| wanted.iter().map(|route| (*index, *route)));
        let mut leaving: BTreeSet<(u32, Route)> = on_own.collect();
        let marked = self.netlink.marked_routes().await.map_err(|error| error.to_string());
        leaving.extend(marked.iter().flatten().copied().filter(|(index, route)| {
            wanted.contains(route) && !self.claims.has_route(*route, &ground.place(*index), Some(self.id))
        }));
        let removed = self.remove_each(ground, leaving).await;
        marked.and(removed)
    }

    async fn remove_each(&mut self, ground: &Ground, routes: BTreeSet<(u32, Route)>) -> Result<(), String> {
        let mut first = Ok(());
        for (index, route) in routes {
            let outcome = self.netlink.remove_route(index, route).await.map_err(|error| error.to_string())?;
            let said = outcome.map_err(|why| format!("{route} cannot be removed from {}: {why}", ground.name(index)));
            first = first.and(said);
        }
        first
    }

    /// Removes what an earlier daemon left and no resource has any more. Once: afterwards everything with our mark is of a
    /// resource of this daemon.
    pub(super) async fn sweep(&mut self, ground: &Ground) -> Result<(), String> {
        if self.claims.is_swept() {
            return Ok(());
        }
        let is_left = |present: &&Present| {
            present.is_marked() && !self.claims.has_address(present.net, &ground.place(present.index()), None)
        };
        let mut left: BTreeMap<u32, Vec<Present>> = BTreeMap::new();
        for present in ground.present.iter().filter(is_left) {
            left.entry(present.index()).or_default().push(present.clone());
        }
        let marked = self.netlink.marked_routes().await.map_err(|error| error.to_string())?;
        let is_left = |(index, route): &(u32, Route)| !self.claims.has_route(*route, &ground.place(*index), None);
        let routes: BTreeSet<_> = marked.into_iter().filter(is_left).collect();
        let mut swept: Vec<String> =
            routes.iter().map(|(index, route)| format!("{route} on {}", ground.name(*index))).collect();
        let mut first = Ok(());
        for (index, mut leaving) in left {
            leaving.sort_by_key(|address| !address.is_secondary());
            let nets: Vec<IpNet> = leaving.iter().map(|present| present.net).collect();
            let what = format!("{} on {}", list(&nets), ground.name(index));
            let removed = self.remove(&ground.name(index), &ground.on(index), &leaving).await;
            if let Some(why) = removed.unwrap_or_else(Some) {
                first = first.and(Err(format!("{what}, left by an earlier daemon, cannot be taken off: {why}")));
            }
            swept.push(what);
        }
        first.and(self.remove_each(ground, routes).await)?;
        self.claims.swept();
        if !swept.is_empty() {
            let notice = format!("removed what an earlier daemon left with another config: {}", swept.join("; "));
            self.report(Report::Notice(notice)).await;
        }
        Ok(())
    }
}
