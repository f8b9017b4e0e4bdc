//! What the resources of this daemon have, by config: whatever else carries our mark is a leftover.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use avamgr_core::cluster::ResourceId;
use avamgr_core::config::IpNet;

use super::plan::Wanted;
use crate::netlink::Route;

thread_local! {
    /// All tasks of a daemon are made on one thread, before the first of them runs.
    static OF_THIS_THREAD: Claims = Claims::default();
}

/// Shared by all resources of a daemon.
#[derive(Clone, Default)]
pub(super) struct Claims(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    by_resource: BTreeMap<ResourceId, Claim>,
    /// The leftovers of other configs are gone.
    swept: bool,
}

struct Claim {
    interface: String,
    addresses: BTreeSet<IpNet>,
    routes: BTreeSet<Route>,
}

impl Claims {
    pub(super) fn of_this_thread() -> Self {
        OF_THIS_THREAD.with(Self::clone)
    }

    pub(super) fn enter(&self, id: ResourceId, interface: &str, wanted: &Wanted) {
        let claim = Claim {
            interface: interface.to_owned(),
            addresses: wanted.addresses.iter().copied().collect(),
            routes: wanted.routes().collect(),
        };
        self.lock().by_resource.insert(id, claim);
    }

    /// Whether a resource other than `except` may have put this address on this interface.
    pub(super) fn has_address(&self, net: IpNet, place: &Place<'_>, except: Option<ResourceId>) -> bool {
        self.any(place, except, |claim| claim.addresses.contains(&net))
    }

    /// The same of a route.
    pub(super) fn has_route(&self, route: Route, place: &Place<'_>, except: Option<ResourceId>) -> bool {
        self.any(place, except, |claim| claim.routes.contains(&route))
    }

    /// Whether any resource, wherever it may be, has this address in its config.
    pub(super) fn is_claimed(&self, address: IpAddr) -> bool {
        let with_any_prefix = IpNet { address, prefix: 0 }..=IpNet { address, prefix: u8::MAX };
        self.lock().by_resource.values().any(|claim| claim.addresses.range(with_any_prefix.clone()).next().is_some())
    }

    pub(super) fn is_swept(&self) -> bool {
        self.lock().swept
    }

    pub(super) fn swept(&self) {
        self.lock().swept = true;
    }

    fn any(&self, place: &Place<'_>, except: Option<ResourceId>, has: impl Fn(&Claim) -> bool) -> bool {
        let inner = self.lock();
        let others = inner.by_resource.iter().filter(|(id, _)| Some(**id) != except);
        others.map(|(_, claim)| claim).any(|claim| has(claim) && place.may_be(&claim.interface))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An interface where something was found.
pub(super) struct Place<'a> {
    pub(super) index: u32,
    /// Names of all interfaces.
    pub(super) names: &'a BTreeMap<u32, String>,
}

impl Place<'_> {
    /// Whether this is the interface of a config. One that has no such name now may be any: it was renamed, or the config
    /// has its alternative name, and its own resource knows better.
    fn may_be(&self, interface: &str) -> bool {
        self.names.get(&self.index).is_some_and(|name| name == interface)
            || self.names.values().all(|name| name != interface)
    }
}
