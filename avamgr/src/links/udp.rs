//! Heartbeats over UDP, one socket bound to one interface and one address.
//!
//! The socket is set up so that frames pass ahead of other traffic, unfragmented, or not at all: what cannot be sent now is
//! dropped, because a late heartbeat is worth less than the next one.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

use avamgr_core::cluster::NodeId;
use avamgr_core::config::UdpConfig;
use libc::c_int;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::sys::{self, Batch, Reading};

/// DSCP CS6, "network control": what routers and switches give their own protocols.
const CLASS: c_int = 0xc0;
/// Highest priority in our own queues that needs no privilege.
const PRIORITY: c_int = 6;
/// Bytes that may wait to be sent to the only peer: about ten frames as the kernel counts them. More would be stale.
const SEND_BYTES: usize = 8 * 1024;
/// Added for each peer beyond the first: while the kernel looks for a dead peer's MAC address it holds back up to 212,992
/// bytes for it (`unres_qlen_bytes`), which must not keep us from sending to the living.
const SEND_BYTES_MORE: usize = 256 * 1024;
/// Bytes that may wait to be read: what arrives during a stall of some seconds.
const RECEIVE_BYTES: usize = 512 * 1024;
/// Let a waiting error wake us (Linux's asm-generic/socket.h; not in libc's list).
const SO_SELECT_ERR_QUEUE: c_int = 45;
/// Bytes kept of what an ICMP error quotes: enough to know our own frame again.
pub(super) const QUOTE: usize = 128;

/// The open socket.
pub(super) struct Udp {
    socket: AsyncFd<Socket>,
    interface: u32,
    /// Where frames to each node go.
    destinations: Vec<SockAddr>,
}

/// What an ICMP error says.
pub(super) struct IcmpError {
    /// Where the datagram was going that it complains about.
    pub to: Option<IpAddr>,
    /// Nobody listens there.
    pub refused: bool,
    /// Bytes of that datagram now in the caller's buffer.
    pub quoted: usize,
}

impl Udp {
    /// Opens the socket at a node. The address need not be there yet. Must be called within a runtime.
    pub(super) fn open(config: &UdpConfig, node: NodeId) -> io::Result<Self> {
        let own = (config.interfaces.get(node.index()), config.addresses.get(node.index()));
        let (Some(interface), Some(address)) = own else { return Err(ErrorKind::AddrNotAvailable.into()) };
        let (address, port, peers) = (*address, config.port, config.addresses.len().saturating_sub(1));
        let domain = Domain::for_address(SocketAddr::new(address, port));
        let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        socket.bind_device(Some(interface.as_bytes()))?;
        let interface = sys::bound_interface(&socket)?;
        for (level, name, value) in options(address) {
            sys::set_int(&socket, level, name, value)?;
        }
        socket.set_send_buffer_size(SEND_BYTES + SEND_BYTES_MORE * peers.saturating_sub(1))?;
        let receive = c_int::try_from(RECEIVE_BYTES).unwrap_or(c_int::MAX);
        // Beyond the system's limit where we may, up to it otherwise.
        if sys::set_int(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, receive).is_err() {
            socket.set_recv_buffer_size(RECEIVE_BYTES)?;
        }
        socket.bind(&destination(address, port, interface))?;
        let socket = sys::watched(socket, Interest::READABLE | Interest::PRIORITY)?;
        let destinations = config.addresses.iter().map(|address| destination(*address, port, interface)).collect();
        Ok(Self { socket, interface, destinations })
    }

    /// Number of the interface it is bound to.
    pub(super) fn interface(&self) -> u32 {
        self.interface
    }

    /// Ready when there is a datagram or an error to read.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        // An error of the socket shows when it is read.
        self.socket.poll_read_ready(cx).map(|_| ())
    }

    /// Fetches datagrams, without waiting; fewer than `BATCH` means that nothing is left. `None` = there was no reason to look.
    pub(super) fn receive(&self, reading: Reading, batch: &mut Batch) -> Option<io::Result<usize>> {
        sys::receive(&self.socket, reading, batch)
    }

    /// Sends a datagram to a node now or not at all.
    pub(super) fn send(&self, datagram: &[u8], to: NodeId) -> io::Result<()> {
        let socket = self.socket.get_ref();
        let to = self.destinations.get(to.index()).ok_or(ErrorKind::AddrNotAvailable)?;
        match socket.send_to(datagram, to) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS) => {
                Err(ErrorKind::WouldBlock.into())
            }
            // It may be the error of an earlier datagram, to another peer even, and nothing was sent: only the second
            // answer is about this one.
            Err(_) => socket.send_to(datagram, to).map(|_| ()),
        }
    }

    /// Whether errors wait to be read; asking takes the mark away.
    pub(super) fn errors_wait(&self) -> bool {
        let mut wait = false;
        let _ = self.socket.try_io(Interest::PRIORITY, |_| {
            wait = true;
            io::Result::<()>::Err(ErrorKind::WouldBlock.into())
        });
        wait
    }

    /// The next ICMP error, with what it quotes put into `quote`.
    pub(super) fn next_error(&self, quote: &mut [u8]) -> Option<IcmpError> {
        // The error with who sent it, and a timestamp.
        let mut control = nix::cmsg_space!([libc::sockaddr_in6; 2], libc::timespec);
        let mut slices = [IoSliceMut::new(quote)];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let fd = self.socket.get_ref().as_raw_fd();
        let message = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut control), flags).ok()?;
        let to = message.address.as_ref().and_then(address_of);
        let refused = message.cmsgs().is_ok_and(|mut items| items.any(|item| refuses(&item)));
        Some(IcmpError { to, refused, quoted: message.bytes })
    }

    /// Datagrams the kernel dropped because we did not read them in time.
    pub(super) fn kernel_drops(&self) -> u64 {
        sys::kernel_drops(self.socket.get_ref())
    }
}

/// Where frames to an address go. A link-local address means something on its interface only.
pub(super) fn destination(address: IpAddr, port: u16, interface: u32) -> SockAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SockAddr::from(SocketAddrV6::new(v6, port, 0, interface)),
        IpAddr::V6(_) | IpAddr::V4(_) => SockAddr::from(SocketAddr::new(address, port)),
    }
}

/// What makes frames pass ahead of other traffic, and a timestamp for each that comes in.
pub(super) fn class_options(address: IpAddr) -> [(c_int, c_int, c_int); 3] {
    let class = match address {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS, CLASS),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, CLASS),
    };
    // The priority after the class, which sets one of its own.
    [class, (libc::SOL_SOCKET, libc::SO_PRIORITY, PRIORITY), (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)]
}

fn options(address: IpAddr) -> Vec<(c_int, c_int, c_int)> {
    let mut options = match address {
        IpAddr::V4(_) => vec![
            (libc::IPPROTO_IP, libc::IP_FREEBIND, 1),
            (libc::IPPROTO_IP, libc::IP_RECVERR, 1),
            // Do not fragment, and believe nobody who says that a path is narrow: our frames pass everywhere.
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
        ],
        IpAddr::V6(_) => vec![
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1),
            (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, 1),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1),
            (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
        ],
    };
    options.extend(class_options(address));
    options.push((libc::SOL_SOCKET, SO_SELECT_ERR_QUEUE, 1));
    options
}

/// Whether this is "port unreachable", said by ICMP and not by our own host.
fn refuses(item: &ControlMessageOwned) -> bool {
    let (ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _)) = item else {
        return false;
    };
    let by_icmp = [libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6].contains(&error.ee_origin);
    by_icmp && c_int::try_from(error.ee_errno) == Ok(libc::ECONNREFUSED)
}

fn address_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}
