//! The open sockets of a link, whatever carries its frames.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use avamgr_core::cluster::{LinkId, NodeId};
use avamgr_core::config::{LinkConfig, Transport as Config};
use avamgr_core::node::Input;

use super::interface::Interface;
use super::sys::{Batch, Reading};
use super::tipc::Tipc;
use super::udp::Udp;

/// What carries frames.
pub(super) enum Transport {
    Udp(Udp),
    Tipc(Box<Tipc>),
}

impl Transport {
    /// Opens what the config asks for. Must be called within a runtime.
    pub(super) fn open(config: &LinkConfig, link: LinkId, node: NodeId, cluster_id: u64) -> io::Result<Self> {
        match &config.transport {
            Config::Udp(udp) => Udp::open(udp, node).map(Self::Udp),
            Config::Tipc(tipc) => Tipc::open(tipc, cluster_id, link, node).map(Box::new).map(Self::Tipc),
        }
    }

    /// Whether it can go on with the interfaces as they are now. A socket of UDP belongs to one number of its interface; TIPC
    /// finds its interfaces again by itself.
    pub(super) fn fits(&self, interfaces: &[Arc<Interface>]) -> bool {
        match self {
            Self::Udp(udp) => {
                interfaces.iter().all(|interface| interface.index().is_none_or(|index| index == udp.interface()))
            }
            Self::Tipc(_) => true,
        }
    }

    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Udp(udp) => udp.poll_readable(cx),
            Self::Tipc(tipc) => tipc.poll_readable(cx),
        }
    }

    /// Fetches datagrams, without waiting; fewer than `BATCH` means that nothing is left. `None` = there was no reason to look.
    pub(super) fn receive(&self, reading: Reading, batch: &mut Batch) -> Option<io::Result<usize>> {
        match self {
            Self::Udp(udp) => udp.receive(reading, batch),
            Self::Tipc(tipc) => tipc.receive(reading, batch),
        }
    }

    /// Sends a datagram to a node now or not at all.
    pub(super) fn send(&self, datagram: &[u8], to: NodeId) -> io::Result<()> {
        match self {
            Self::Udp(udp) => udp.send(datagram, to),
            Self::Tipc(tipc) => tipc.send(datagram, to),
        }
    }

    /// Hands over what the transport itself says of the peers.
    pub(super) fn tell(&mut self, reading: Reading, sink: &mut impl FnMut(Input)) -> io::Result<()> {
        match self {
            Self::Udp(_) => Ok(()),
            Self::Tipc(tipc) => tipc.tell(reading, sink),
        }
    }

    /// Datagrams the kernel dropped because we did not read them in time.
    pub(super) fn kernel_drops(&self) -> u64 {
        match self {
            Self::Udp(udp) => udp.kernel_drops(),
            Self::Tipc(tipc) => tipc.kernel_drops(),
        }
    }

    /// The socket whose peers answer with ICMP errors.
    pub(super) fn udp(&self) -> Option<&Udp> {
        match self {
            Self::Udp(udp) => Some(udp),
            Self::Tipc(_) => None,
        }
    }
}
