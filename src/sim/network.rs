//! Everything between the hosts: heartbeat links, the service network, the way to the arbitrator.

use std::time::Duration;

use crate::cluster::{LinkId, NodeId};

/// How a link is built, which decides who notices a pulled plug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cable {
    /// One cable between two hosts (or a veth pair): when one end is dead, both lose their carrier.
    Direct,
    /// A switch between: a host sees only its own plug.
    Switched,
}

/// What one direction of a link does to the frames on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quality {
    /// The least time a frame takes.
    pub latency: Duration,
    /// A frame takes up to this much longer.
    pub jitter: Duration,
    /// Frames lost, in parts per million.
    pub loss_ppm: u32,
    /// Frames that arrive twice, in parts per million.
    pub duplicate_ppm: u32,
    /// Frames that are late by up to `reorder_by`, so that others overtake them, in parts per million.
    pub reorder_ppm: u32,
    /// How late those are.
    pub reorder_by: Duration,
}

impl Quality {
    /// A quiet wire: every frame arrives once, in order, after 100 µs.
    pub const GOOD: Self = Self {
        latency: Duration::from_micros(100),
        jitter: Duration::ZERO,
        loss_ppm: 0,
        duplicate_ppm: 0,
        reorder_ppm: 0,
        reorder_by: Duration::ZERO,
    };
}

/// One heartbeat link.
#[derive(Clone, Debug, Hash)]
struct Wire {
    cable: Cable,
    /// Per host: its plug is in.
    plugged: Vec<bool>,
    /// Per sender and receiver: nothing passes, and nobody is told.
    cut: Vec<bool>,
    quality: Vec<Quality>,
    /// What each host's kernel was last told of its carrier.
    carrier: Vec<bool>,
}

/// The network.
#[derive(Clone, Debug, Hash)]
pub(super) struct Network {
    hosts: usize,
    links: Vec<Wire>,
    /// Per host: its plug of the service network is in.
    lan_plugged: Vec<bool>,
    /// Per pair of hosts: they do not see each other on the service network.
    lan_cut: Vec<bool>,
    /// Per host: the arbitrator answers it.
    arbitrator: Vec<bool>,
}

impl Network {
    pub(super) fn new(hosts: usize, cables: &[Cable]) -> Self {
        let wire = |cable: &Cable| Wire {
            cable: *cable,
            plugged: vec![true; hosts],
            cut: vec![false; hosts * hosts],
            quality: vec![Quality::GOOD; hosts * hosts],
            carrier: vec![true; hosts],
        };
        Self {
            hosts,
            links: cables.iter().map(wire).collect(),
            lan_plugged: vec![true; hosts],
            lan_cut: vec![false; hosts * hosts],
            arbitrator: vec![true; hosts],
        }
    }

    /// Whether a frame that leaves `from` now gets to `to`, luck aside. `on` says which hosts have power.
    pub(super) fn passes(&self, link: LinkId, from: NodeId, to: NodeId, on: &dyn Fn(NodeId) -> bool) -> bool {
        let pair = self.pair(from, to);
        let Some(wire) = self.links.get(link.index()) else {
            return false;
        };
        let open = wire.cut.get(pair).is_some_and(|cut| !cut);
        open && self.carrier(link, from, on) && self.carrier(link, to, on)
    }

    /// Whether a host has carrier on a link.
    pub(super) fn carrier(&self, link: LinkId, host: NodeId, on: &dyn Fn(NodeId) -> bool) -> bool {
        let Some(wire) = self.links.get(link.index()) else {
            return false;
        };
        let plugged = |host: NodeId| wire.plugged.get(host.index()).is_some_and(|plugged| *plugged);
        match wire.cable {
            Cable::Switched => plugged(host) && on(host),
            Cable::Direct => self.host_ids().all(|end| plugged(end) && on(end)),
        }
    }

    /// Takes note of a host's carrier and says whether it is news.
    pub(super) fn carrier_changed(&mut self, link: LinkId, host: NodeId, carrier: bool) -> bool {
        let told = self.links.get_mut(link.index()).and_then(|wire| wire.carrier.get_mut(host.index()));
        told.is_some_and(|told| std::mem::replace(told, carrier) != carrier)
    }

    pub(super) fn quality(&self, link: LinkId, from: NodeId, to: NodeId) -> Quality {
        let pair = self.pair(from, to);
        self.links.get(link.index()).and_then(|wire| wire.quality.get(pair)).copied().unwrap_or(Quality::GOOD)
    }

    pub(super) fn set_quality(&mut self, link: LinkId, from: NodeId, to: NodeId, quality: Quality) {
        let pair = self.pair(from, to);
        if let Some(slot) = self.links.get_mut(link.index()).and_then(|wire| wire.quality.get_mut(pair)) {
            *slot = quality;
        }
    }

    pub(super) fn set_cut(&mut self, link: LinkId, from: NodeId, to: NodeId, cut: bool) {
        let pair = self.pair(from, to);
        if let Some(slot) = self.links.get_mut(link.index()).and_then(|wire| wire.cut.get_mut(pair)) {
            *slot = cut;
        }
    }

    pub(super) fn set_plugged(&mut self, link: LinkId, host: NodeId, plugged: bool) {
        if let Some(slot) = self.links.get_mut(link.index()).and_then(|wire| wire.plugged.get_mut(host.index())) {
            *slot = plugged;
        }
    }

    /// Whether two hosts see each other on the service network.
    pub(super) fn lan_open(&self, one: NodeId, other: NodeId) -> bool {
        let pair = self.pair(one, other);
        self.lan_plugged(one) && self.lan_plugged(other) && self.lan_cut.get(pair).is_some_and(|cut| !cut)
    }

    pub(super) fn lan_plugged(&self, host: NodeId) -> bool {
        self.lan_plugged.get(host.index()).is_some_and(|plugged| *plugged)
    }

    pub(super) fn set_lan_plugged(&mut self, host: NodeId, plugged: bool) {
        if let Some(slot) = self.lan_plugged.get_mut(host.index()) {
            *slot = plugged;
        }
    }

    pub(super) fn set_lan_cut(&mut self, one: NodeId, other: NodeId, cut: bool) {
        for pair in [self.pair(one, other), self.pair(other, one)] {
            if let Some(slot) = self.lan_cut.get_mut(pair) {
                *slot = cut;
            }
        }
    }

    pub(super) fn arbitrator_open(&self, host: NodeId) -> bool {
        self.arbitrator.get(host.index()).is_some_and(|open| *open)
    }

    pub(super) fn set_arbitrator(&mut self, host: NodeId, open: bool) {
        if let Some(slot) = self.arbitrator.get_mut(host.index()) {
            *slot = open;
        }
    }

    fn pair(&self, from: NodeId, to: NodeId) -> usize {
        from.index() * self.hosts + to.index()
    }

    fn host_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..u8::try_from(self.hosts).unwrap_or(u8::MAX)).map(NodeId)
    }
}
