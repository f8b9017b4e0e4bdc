//! Who could see whom, and since when: judged by what the world was, never by what a node believed.

use std::collections::BTreeMap;
use std::time::Duration;

use avamgr_core::cluster::{GroupId, Incarnation, LinkId, NodeId, ResourceId};
use avamgr_core::config::Timers;
use avamgr_core::sim::{DaemonChange, World};
use avamgr_core::time::Instant;
use avamgr_core::wire::Heartbeat;

use crate::owners::addresses;
use crate::shape::pairs;

/// Since when something has been so without a break.
type Since<K> = BTreeMap<K, Instant>;

/// All paths of a world.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Sight {
    /// Frames of a running daemon get through: link, sender, receiver.
    open: Since<(LinkId, NodeId, NodeId)>,
    /// Both daemons run and every frame gets through, both ways, in time: link, one, other.
    clean: Since<(LinkId, NodeId, NodeId)>,
    /// The kernel of the second answers the first for this address on the service network.
    visible: Since<(NodeId, NodeId, ResourceId)>,
    /// No frame of anybody gets to this running daemon, and the arbitrator does not answer it.
    cut_off: Since<NodeId>,
    /// Who has been told goodbye by which run of whom, and has heard of no other run since: such silence means nothing
    /// bad. A run that cannot prove itself, because it does not hear us, might as well be a recording (S14).
    left: BTreeMap<(NodeId, NodeId), Incarnation>,
}

impl Sight {
    /// Takes note of a daemon that ends or begins.
    pub(crate) fn note_daemon(&mut self, node: NodeId, change: DaemonChange) {
        match change {
            DaemonChange::Started | DaemonChange::Died | DaemonChange::Exited => {
                // A daemon that is another one in the same instant has not been seen by anybody.
                self.open.retain(|(_, from, to), _| *from != node && *to != node);
                self.clean.retain(|(_, from, to), _| *from != node && *to != node);
            }
            DaemonChange::Paused | DaemonChange::Resumed => {}
        }
        match change {
            DaemonChange::Started => self.left.retain(|(told, _), _| *told != node),
            DaemonChange::Exited | DaemonChange::Died | DaemonChange::Paused | DaemonChange::Resumed => {}
        }
    }

    /// Takes note of a frame that `told`, in its present run, has got and believes.
    pub(crate) fn note_frame(&mut self, told: NodeId, frame: &Heartbeat) {
        if frame.to != told {
            return;
        }
        let pair = (told, frame.from);
        if frame.leaving {
            self.left.insert(pair, frame.incarnation);
        } else if self.left.get(&pair).is_some_and(|gone| *gone != frame.incarnation) {
            self.left.remove(&pair);
        }
    }

    /// Looks at the world again.
    pub(crate) fn update(&mut self, world: &World) {
        let config = world.config();
        for link in config.link_ids() {
            for (from, to) in pairs(config) {
                let open = |from, to| world.link_open(link, from, to) && world.is_running(from) && world.is_awake(to);
                let in_time = |from, to| {
                    let quality = world.quality(link, from, to);
                    let longest = quality.latency + quality.jitter + quality.reorder_by;
                    quality.loss_ppm == 0 && longest * 2 < config.timers.heartbeat_interval
                };
                let clean = open(from, to) && open(to, from) && in_time(from, to) && in_time(to, from);
                keep(&mut self.open, (link, from, to), open(from, to), world.now());
                keep(&mut self.clean, (link, from, to), clean, world.now());
            }
        }
        for (viewer, owner) in pairs(config) {
            let sees = world.lan_open(viewer, owner) && world.is_awake(viewer) && world.is_awake(owner);
            for resource in addresses(config) {
                let visible = sees && world.answers(owner, resource);
                keep(&mut self.visible, (viewer, owner, resource), visible, world.now());
            }
        }
        for node in config.node_ids() {
            let heard = self.open.keys().any(|(_, _, to)| *to == node);
            let missed = config.node_ids().any(|peer| peer != node && !self.has_left(node, peer));
            let cut_off = world.is_running(node) && !world.arbitrator_open(node) && !heard && missed;
            keep(&mut self.cut_off, node, cut_off, world.now());
        }
    }

    /// For how long frames of `from` have got to `to` on a link.
    pub(crate) fn open_for(&self, now: Instant, link: LinkId, from: NodeId, to: NodeId) -> Duration {
        time(&self.open, &(link, from, to), now)
    }

    /// Whether a node has been told goodbye by a peer.
    pub(crate) fn has_left(&self, told: NodeId, gone: NodeId) -> bool {
        self.left.contains_key(&(told, gone))
    }

    /// For how long two daemons have had at least one link without any fault.
    pub(crate) fn clean_for(&self, now: Instant, one: NodeId, other: NodeId) -> Duration {
        let here = self.clean.iter().filter(|((_, from, to), _)| *from == one && *to == other);
        here.map(|(_, since)| now.since(*since)).max().unwrap_or_default()
    }

    /// For how long `owner` has answered `viewer` for an address of a group.
    pub(crate) fn visible_for(&self, now: Instant, viewer: NodeId, owner: NodeId, group: GroupId) -> Duration {
        let of_group = |key: &&(NodeId, NodeId, ResourceId)| key.0 == viewer && key.1 == owner && key.2.group == group;
        let since = self.visible.keys().filter(of_group).filter_map(|key| self.visible.get(key)).min();
        since.map_or(Duration::ZERO, |since| now.since(*since))
    }

    /// Running daemons that are cut off from everybody, and for how long.
    pub(crate) fn cut_off(&self, now: Instant) -> impl Iterator<Item = (NodeId, Duration)> {
        self.cut_off.iter().map(move |(node, since)| (*node, now.since(*since)))
    }
}

/// A path without faults that is this old has brought both nodes to hear each other.
pub(crate) fn acquainted_after(timers: &Timers) -> Duration {
    timers.dead_time * 2 + timers.heartbeat_interval * (timers.link_rise + 2)
}

fn keep<K: Ord>(since: &mut Since<K>, key: K, holds: bool, now: Instant) {
    if holds {
        since.entry(key).or_insert(now);
    } else {
        since.remove(&key);
    }
}

fn time<K: Ord>(since: &Since<K>, key: &K, now: Instant) -> Duration {
    since.get(key).map_or(Duration::ZERO, |since| now.since(*since))
}
