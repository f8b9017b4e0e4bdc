//! What TIPC has told of the peers: over which bearers each is reached, and whether a daemon listens there. Pure.
//!
//! TIPC withdraws a name when its socket is closed, and also when the last way to its node is gone, a moment before it says
//! that. So a withdrawn name is judged when the ways have had the time to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use avamgr_core::cluster::{BearerId, LinkId, NodeId};
use avamgr_core::config::{TipcAddress, TipcConfig};
use avamgr_core::node::Input;
use avamgr_core::time::Instant;

/// From a name that is withdrawn to what it means.
const PATIENCE: Duration = Duration::from_millis(3);
/// From the first way to a peer to the time at which a bearer without one is held to be without: both ends find each other
/// within a second of being switched on.
const SETTLED: Duration = Duration::from_secs(5);

/// What is known.
#[derive(Debug)]
pub(super) struct Topology {
    link: LinkId,
    node: NodeId,
    addresses: Vec<TipcAddress>,
    bearers: Vec<String>,
    /// Links of TIPC that work, by the address of the peer and their number; one is not known by name any more when it has gone.
    ways: BTreeMap<(u32, u32), (NodeId, BearerId)>,
    /// Sockets that daemons listen at, each with its node.
    listening: BTreeSet<(NodeId, u32)>,
    /// Nodes whose daemon does not listen any more, and when that is judged.
    withdrawn: BTreeMap<NodeId, Instant>,
    /// Nodes that are reached at last, and when missing bearers are told.
    unsettled: BTreeMap<NodeId, Instant>,
}

impl Topology {
    pub(super) fn new(link: LinkId, node: NodeId, config: &TipcConfig) -> Self {
        Self {
            link,
            node,
            addresses: config.node_addresses.clone(),
            bearers: config.bearers.clone(),
            ways: BTreeMap::new(),
            listening: BTreeSet::new(),
            withdrawn: BTreeMap::new(),
            unsettled: BTreeMap::new(),
        }
    }

    /// The peer with this address.
    fn peer(&self, address: u32) -> Option<NodeId> {
        let position = self.addresses.iter().position(|known| known.bits() == address)?;
        Some(NodeId(u8::try_from(position).ok()?)).filter(|peer| *peer != self.node)
    }

    /// The bearer in the name of a link of TIPC, `1001017:eth3-100101d:eth3`.
    fn bearer(&self, link: &str) -> Option<BearerId> {
        // The name of an interface may be the beginning of another's.
        let is_ours = |(_, bearer): &(usize, &String)| link.contains(&format!(":{bearer}-"));
        let found = self.bearers.iter().enumerate().filter(is_ours).max_by_key(|(_, bearer)| bearer.len());
        found.and_then(|(position, _)| u8::try_from(position).ok()).map(BearerId)
    }

    /// A link of TIPC works, and this is its name.
    pub(super) fn on_way(&mut self, now: Instant, to: u32, number: u32, name: &str, sink: &mut impl FnMut(Input)) {
        let (Some(peer), Some(bearer)) = (self.peer(to), self.bearer(name)) else { return };
        if !self.reaches(peer) {
            self.unsettled.insert(peer, now + SETTLED);
        }
        self.ways.insert((to, number), (peer, bearer));
        sink(Input::Bearer { link: self.link, peer, bearer, up: true });
    }

    /// A link of TIPC works no more.
    pub(super) fn on_way_lost(&mut self, to: u32, number: u32, sink: &mut impl FnMut(Input)) {
        let Some((peer, bearer)) = self.ways.remove(&(to, number)) else { return };
        if !self.reaches(peer) {
            self.unsettled.remove(&peer);
            self.withdrawn.remove(&peer);
        }
        sink(Input::Bearer { link: self.link, peer, bearer, up: false });
    }

    /// A daemon has bound the name of a node to a socket, or has it no more.
    pub(super) fn on_name(&mut self, now: Instant, instance: u32, port: u32, at: u32, up: bool) {
        // A name bound at another node is somebody else's: it says nothing about the peer.
        let Some(peer) = self.peer(at).filter(|peer| u32::from(peer.0) == instance) else { return };
        if up {
            self.listening.insert((peer, port));
            self.withdrawn.remove(&peer);
        } else if self.listening.remove(&(peer, port)) && !self.listening.iter().any(|(of, _)| *of == peer) {
            self.withdrawn.insert(peer, now + PATIENCE);
        }
    }

    /// Tells what is due.
    pub(super) fn judge(&mut self, now: Instant, sink: &mut impl FnMut(Input)) {
        for peer in take_due(&mut self.withdrawn, now) {
            sink(Input::Refused { link: self.link, from: peer });
        }
        for peer in take_due(&mut self.unsettled, now) {
            for bearer in (0..).map(BearerId).take(self.bearers.len()) {
                if !self.ways.values().any(|way| *way == (peer, bearer)) {
                    sink(Input::Bearer { link: self.link, peer, bearer, up: false });
                }
            }
        }
    }

    /// When `judge` has something to say.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.withdrawn.values().chain(self.unsettled.values()).min().copied()
    }

    fn reaches(&self, peer: NodeId) -> bool {
        self.ways.values().any(|(to, _)| *to == peer)
    }
}

fn take_due(waiting: &mut BTreeMap<NodeId, Instant>, now: Instant) -> Vec<NodeId> {
    waiting.extract_if(.., |_, due| *due <= now).map(|(peer, _)| peer).collect()
}

#[cfg(test)]
mod tests;
