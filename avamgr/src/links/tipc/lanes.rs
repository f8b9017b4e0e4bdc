//! The sockets frames travel through.
//!
//! TIPC gives each socket one of the bearers that reach a peer, by whether its number is odd or even. A frame sent through an
//! odd and an even socket goes over two bearers where there are two, so that the loss of one loses no frame: TIPC itself takes
//! up to its tolerance, 1.5 s unless set, to notice a bearer that is cut where no carrier goes with it.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll};

use avamgr_core::cluster::NodeId;
use avamgr_core::config::TipcAddress;
use libc::c_int;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::address;
use crate::links::sys::{self, Batch, Reading};

/// Level of TIPC's socket options, and two of them (Linux's tipc.h; not in libc's list).
const SOL_TIPC: c_int = 271;
const TIPC_IMPORTANCE: c_int = 127;
/// The last to be dropped when TIPC has too much to carry.
const CRITICAL: c_int = 3;
/// Sockets opened to find one of the other kind: numbers are given by chance, so more than these are not needed in a lifetime.
const ATTEMPTS: usize = 32;

/// An odd and an even socket. Both send; the first is bound, and receives.
pub(super) struct Lanes {
    first: AsyncFd<Socket>,
    second: Option<Socket>,
    /// Where frames to each node go.
    destinations: Vec<SockAddr>,
}

impl Lanes {
    pub(super) fn open(service_type: u32, node: NodeId, nodes: &[TipcAddress]) -> io::Result<Self> {
        let first = socket()?;
        let second = other_kind(sys::tipc_port(&first)?)?;
        first.bind(&sys::tipc_address(address::service(service_type, node)))?;
        let destination =
            |(node, at): (u8, &TipcAddress)| sys::tipc_address(address::daemon_at(service_type, NodeId(node), *at));
        let destinations = (0..).zip(nodes).map(destination).collect();
        Ok(Self { first: sys::watched(first, Interest::READABLE)?, second, destinations })
    }

    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.first.poll_read_ready(cx).map(|_| ())
    }

    pub(super) fn receive(&self, reading: Reading, batch: &mut Batch) -> Option<io::Result<usize>> {
        sys::receive(&self.first, reading, batch)
    }

    /// Sends through both, now or not at all: it is enough when one takes it.
    pub(super) fn send(&self, datagram: &[u8], to: NodeId) -> io::Result<()> {
        let to = self.destinations.get(to.index()).ok_or(ErrorKind::AddrNotAvailable)?;
        let first = self.first.get_ref().send_to(datagram, to);
        let second = self.second.as_ref().map(|socket| socket.send_to(datagram, to));
        match (first, second) {
            (Ok(_), _) | (Err(_), Some(Ok(_))) => Ok(()),
            (Err(error), Some(Err(_)) | None) => Err(error),
        }
    }

    pub(super) fn kernel_drops(&self) -> u64 {
        sys::kernel_drops(self.first.get_ref())
    }
}

fn socket() -> io::Result<Socket> {
    // A datagram that cannot be delivered is dropped: a late heartbeat is worth less than the next one.
    let socket = Socket::new(Domain::from(libc::AF_TIPC), Type::DGRAM.nonblocking().cloexec(), None)?;
    sys::set_int(&socket, SOL_TIPC, TIPC_IMPORTANCE, CRITICAL)?;
    Ok(socket)
}

/// A socket whose number is odd where this one is even, or even where it is odd.
fn other_kind(number: u32) -> io::Result<Option<Socket>> {
    // They are kept until the end: a number that is free again might be given again.
    let mut unfit = Vec::new();
    for _ in 0..ATTEMPTS {
        let socket = socket()?;
        if sys::tipc_port(&socket)? % 2 != number % 2 {
            return Ok(Some(socket));
        }
        unfit.push(socket);
    }
    Ok(None)
}
