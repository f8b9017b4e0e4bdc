//! Who may speak on a link: from a datagram to an input, or to a number in the counters.
//!
//! The order is that of cost. A stranger's address is refused by comparison; a flood is cut before anything is computed; then
//! comes the digest; then the frame must be from the node whose address it came from, for us, on this link.

use std::sync::Arc;
use std::time::Duration;

use avamgr_core::cluster::{Incarnation, LinkId, NodeId};
use avamgr_core::config::Transport;
use avamgr_core::node::Input;
use avamgr_core::node::input::BadDatagram;
use avamgr_core::time::Instant;
use avamgr_core::wire::Heartbeat;
use avamgr_core::wire::seal::Keyring;

use super::bucket::Bucket;
use super::counters::Counters;
use super::sys::{Datagram, Source};

/// Datagrams of one peer beyond one in this time are dropped before their digest is computed: 10,000 a second. The fastest
/// heartbeats and a probe storm with its answers stay below a tenth of it, twice that where each comes over two bearers; refusing that many costs less than a hundredth of a core.
const PEER_PERIOD: Duration = Duration::from_micros(100);
/// Datagrams of one peer at once: more than a full receive buffer after a stall, so that none of those is lost here.
const PEER_BURST: u32 = 2_048;
/// Datagrams of strangers beyond one in this time are counted only: the loop need not hear of each.
const STRANGER_PERIOD: Duration = Duration::from_millis(10);
/// Datagrams of strangers at once.
const STRANGER_BURST: u32 = 64;

/// The rules of one link at one node.
pub(super) struct Judge {
    pub(super) link: LinkId,
    pub(super) node: NodeId,
    /// Where the frames of each node come from.
    homes: Vec<Source>,
    pub(super) keys: Arc<Keyring>,
    pub(super) counters: Counters,
    peers: Vec<Bucket>,
    /// The last frame of each node, where frames come twice.
    last: Option<Vec<(Incarnation, u64)>>,
    strangers: Bucket,
}

/// The two clocks, read once for all datagrams of a batch, and the bounds of their arrival.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    /// Now.
    pub(super) now: Instant,
    /// The wall clock at the same moment, in nanoseconds.
    pub(super) wall_nanos: u64,
    /// When nothing was left to read: what is read now has come since.
    pub(super) emptied: Instant,
}

impl Judge {
    pub(super) fn new(link: LinkId, node: NodeId, transport: &Transport, keys: Arc<Keyring>) -> Self {
        let homes: Vec<Source> = match transport {
            Transport::Udp(udp) => udp.addresses.iter().map(|address| Source::Udp(*address, udp.port)).collect(),
            Transport::Tipc(tipc) => tipc.node_addresses.iter().copied().map(Source::Tipc).collect(),
        };
        let last = match transport {
            Transport::Udp(_) => None,
            Transport::Tipc(_) => Some(vec![(Incarnation(0), 0); homes.len()]),
        };
        let peers = vec![Bucket::new(PEER_PERIOD, PEER_BURST); homes.len()];
        let strangers = Bucket::new(STRANGER_PERIOD, STRANGER_BURST);
        Self { link, node, homes, keys, counters: Counters::default(), peers, last, strangers }
    }

    /// What becomes of a datagram; `None` = it is only counted.
    pub(super) fn judge(&mut self, datagram: Datagram<'_>, clocks: Clocks) -> Option<Input> {
        let peer = self.peer(datagram.source);
        let bucket = peer.and_then(|peer| self.peers.get_mut(peer.index())).unwrap_or(&mut self.strangers);
        if !bucket.take(clocks.now) {
            self.counters.flooded += 1;
            return None;
        }
        match self.open(peer, datagram.bytes) {
            Ok(heartbeat) if self.is_copy(&heartbeat) => {
                self.counters.copies += 1;
                None
            }
            Ok(heartbeat) => {
                self.counters.received += 1;
                let wall_millis = datagram.wall_nanos.unwrap_or(clocks.wall_nanos) / 1_000_000;
                let arrived = clocks.arrival(datagram.wall_nanos);
                Some(Input::Heartbeat { link: self.link, arrived, wall_millis, heartbeat })
            }
            Err(cause) => {
                self.counters.count_bad(cause);
                if let Some(node) = self.namesake(cause, datagram) {
                    return Some(Input::Namesake { link: self.link, node });
                }
                Some(Input::BadDatagram { link: self.link, cause })
            }
        }
    }

    /// Whether a frame has come already, over another bearer. What comes late is as good as a copy: a later one has come.
    fn is_copy(&mut self, heartbeat: &Heartbeat) -> bool {
        let last = self.last.as_mut().and_then(|last| last.get_mut(heartbeat.from.index()));
        let Some((incarnation, sequence)) = last else { return false };
        if *incarnation == heartbeat.incarnation && heartbeat.sequence <= *sequence {
            return true;
        }
        (*incarnation, *sequence) = (heartbeat.incarnation, heartbeat.sequence);
        false
    }

    /// The node whose name a machine uses that has our keys and an address that is nobody's. What comes from a node's own
    /// address is no namesake: a node may send through the wrong interface, and anybody may send our own frames back.
    fn namesake(&self, cause: BadDatagram, datagram: Datagram<'_>) -> Option<NodeId> {
        let source = datagram.source?;
        if cause != BadDatagram::Source || self.homes.iter().any(|home| home.is_at(source)) {
            return None;
        }
        let heartbeat = self.keys.open(datagram.bytes).ok()?;
        (heartbeat.to == self.node && heartbeat.link == self.link).then_some(heartbeat.from)
    }

    /// The peer with this address. Over UDP, peers send from the port they listen on.
    fn peer(&self, source: Option<Source>) -> Option<NodeId> {
        let source = source?;
        let position = self.homes.iter().position(|home| *home == source)?;
        Some(NodeId(u8::try_from(position).ok()?)).filter(|peer| *peer != self.node)
    }

    fn open(&self, peer: Option<NodeId>, bytes: &[u8]) -> Result<Heartbeat, BadDatagram> {
        let peer = peer.ok_or(BadDatagram::Source)?;
        let heartbeat = self.keys.open(bytes)?;
        let ours = heartbeat.from == peer && heartbeat.to == self.node && heartbeat.link == self.link;
        if ours { Ok(heartbeat) } else { Err(BadDatagram::Source) }
    }
}

impl Clocks {
    /// When a datagram arrived, from the kernel's stamp on the wall clock. The wall clock may have been set meanwhile, so the
    /// answer is held between the moment nothing was left to read and now.
    pub(super) fn arrival(self, wall_nanos: Option<u64>) -> Instant {
        let age = wall_nanos.map_or(0, |stamp| self.wall_nanos.saturating_sub(stamp));
        (self.now - Duration::from_nanos(age)).max(self.emptied).min(self.now)
    }
}

#[cfg(test)]
mod tests;
