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
    ways: BTreeSet<(NodeId, BearerId)>,
    /// Nodes whose daemon listens.
    listening: BTreeSet<NodeId>,
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
            ways: BTreeSet::new(),
            listening: BTreeSet::new(),
            withdrawn: BTreeMap::new(),
            unsettled: BTreeMap::new(),
        }
    }

    /// The peer with this address.
    pub(super) fn peer(&self, address: u32) -> Option<NodeId> {
        let position = self.addresses.iter().position(|known| known.bits() == address)?;
        Some(NodeId(u8::try_from(position).ok()?)).filter(|peer| *peer != self.node)
    }

    /// The bearer in the name of a link of TIPC, `1.1.23:eth3-1.1.29:eth3`.
    pub(super) fn bearer(&self, link: &str) -> Option<BearerId> {
        let is_ours = |bearer: &String| link.contains(&format!(":{bearer}-"));
        let position = self.bearers.iter().position(is_ours)?;
        u8::try_from(position).ok().map(BearerId)
    }

    /// A bearer has found or lost its way to a peer.
    pub(super) fn on_way(
        &mut self,
        now: Instant,
        peer: NodeId,
        bearer: BearerId,
        up: bool,
        sink: &mut impl FnMut(Input),
    ) {
        if up {
            if !self.reaches(peer) {
                self.unsettled.insert(peer, now + SETTLED);
            }
            self.ways.insert((peer, bearer));
        } else {
            self.ways.remove(&(peer, bearer));
        }
        if !self.reaches(peer) {
            self.unsettled.remove(&peer);
            self.withdrawn.remove(&peer);
        }
        sink(Input::Bearer { link: self.link, peer, bearer, up });
    }

    /// The daemon of a node has bound its name, or has it no more.
    pub(super) fn on_name(&mut self, now: Instant, instance: u32, at: u32, up: bool) {
        // A name bound at another node is somebody else's: it says nothing about the peer.
        let Some(peer) = self.peer(at).filter(|peer| u32::from(peer.0) == instance) else { return };
        if up {
            self.listening.insert(peer);
            self.withdrawn.remove(&peer);
        } else if self.listening.remove(&peer) {
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
                if !self.ways.contains(&(peer, bearer)) {
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
        self.ways.iter().any(|(to, _)| *to == peer)
    }
}

fn take_due(waiting: &mut BTreeMap<NodeId, Instant>, now: Instant) -> Vec<NodeId> {
    waiting.extract_if(.., |_, due| *due <= now).map(|(peer, _)| peer).collect()
}

#[cfg(test)]
mod tests;
