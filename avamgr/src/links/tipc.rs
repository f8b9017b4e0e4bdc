//! Heartbeats over TIPC: frames through [`lanes`], and what TIPC itself tells of peers and bearers through two
//! [`subscription`]s, kept in a [`topology`].
//!
//! TIPC needs no IP address on its interfaces, but a network number, an address for the node and bearers, which whoever runs
//! the machine sets up (`avamgr check` says how). What is not there yet when the daemon starts is used as soon as it is.

pub(super) mod address;
mod lanes;
mod subscription;
mod topology;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use avamgr_core::cluster::{LinkId, NodeId};
use avamgr_core::config::{TipcAddress, TipcConfig};
use avamgr_core::node::Input;
use socket2::{Domain, Socket, Type};
use tokio::time::{Sleep, sleep};

use super::sys::{self, Batch, Reading};
use crate::clock;
use lanes::Lanes;
use subscription::{Subscription, Tiding};
use topology::Topology;

/// Whether the kernel has TIPC at the moment.
pub fn is_loaded() -> bool {
    let protocols = std::fs::read_to_string("/proc/net/protocols").unwrap_or_default();
    protocols.lines().any(|line| line.split_whitespace().next() == Some("TIPC"))
}

/// The address of this node in TIPC; `None` = it has none yet.
///
/// The kernel loads its module for that if it has to, which may take its time.
///
/// # Errors
/// The kernel has no TIPC.
pub fn own_address() -> io::Result<Option<TipcAddress>> {
    let socket = Socket::new(Domain::from(libc::AF_TIPC), Type::DGRAM.cloexec(), None)?;
    let bits = sys::tipc_node(&socket)?;
    Ok((bits != 0).then(|| TipcAddress::from_bits(bits)))
}

/// The half of a link's number that is the number of the bearer at our end.
const BEARER: u32 = 0xffff;
/// Tidings taken in one turn: more than a network of the usual size has.
const TURN: usize = 64;

/// The sockets of the link over TIPC.
pub(super) struct Tipc {
    lanes: Lanes,
    daemons: Subscription,
    ways: Subscription,
    topology: Topology,
    wake: Option<Pin<Box<Sleep>>>,
}

impl Tipc {
    /// Opens them. Must be called within a runtime.
    pub(super) fn open(config: &TipcConfig, cluster_id: u64, link: LinkId, node: NodeId) -> io::Result<Self> {
        // To ask for a socket would make the kernel look for its module, and wait for that.
        if !is_loaded() {
            return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
        }
        let service_type = address::service_type(cluster_id);
        Ok(Self {
            lanes: Lanes::open(service_type, node, &config.node_addresses)?,
            daemons: Subscription::open(service_type)?,
            ways: Subscription::open(address::LINKS)?,
            topology: Topology::new(link, node, config),
            wake: None,
        })
    }

    /// Ready when there is a frame, a tiding or a judgement.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Each is asked, so that each knows whom to wake.
        let wake = self.wake.as_mut().is_some_and(|wake| wake.as_mut().poll(cx).is_ready());
        let frames = self.lanes.poll_readable(cx).is_ready();
        let ways = self.ways.poll_readable(cx).is_ready();
        let daemons = self.daemons.poll_readable(cx).is_ready();
        if wake | frames | ways | daemons { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(super) fn receive(&self, reading: Reading, batch: &mut Batch) -> Option<io::Result<usize>> {
        self.lanes.receive(reading, batch)
    }

    pub(super) fn send(&self, datagram: &[u8], to: NodeId) -> io::Result<()> {
        self.lanes.send(datagram, to)
    }

    pub(super) fn kernel_drops(&self) -> u64 {
        self.lanes.kernel_drops()
    }

    /// Hands over what TIPC has told since, without waiting. An error means that TIPC is no more, and all has to be opened anew.
    pub(super) fn tell(&mut self, reading: Reading, sink: &mut impl FnMut(Input)) -> io::Result<()> {
        let now = clock::now();
        for _ in 0..TURN {
            let Some(Tiding { instance, port, node, up }) = self.daemons.next(reading)? else { break };
            self.topology.on_name(now, instance, port, node, up);
        }
        for _ in 0..TURN {
            let Some(Tiding { instance: peer, port: number, up, .. }) = self.ways.next(reading)? else { break };
            if !up {
                self.topology.on_way_lost(peer, number, sink);
            } else if let Ok(name) = sys::tipc_link_name(self.ways.socket(), peer, number & BEARER) {
                self.topology.on_way(now, peer, number, &name, sink);
            }
        }
        self.topology.judge(now, sink);
        let due = self.topology.deadline();
        self.wake = due.map(|due| Box::pin(sleep(due.since(now))));
        Ok(())
    }
}
