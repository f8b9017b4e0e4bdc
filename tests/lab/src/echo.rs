//! The service that every node runs for the probe: it answers from the address that was asked and says who it is.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::host::Running;
use crate::worker::{Bell, PRIORITY, Worker, raise_priority};

/// The port of the echo service.
pub const ECHO_PORT: u16 = 7;

/// A request carries its number and no more.
pub(crate) const REQUEST_BYTES: usize = 8;

/// A request with room to spare; a longer one is no probe of ours.
const LONGEST_REQUEST: usize = 64;

/// Starts the service in the network of a node that has just booted.
pub(crate) fn start(node: &str, running: &Running) -> io::Result<Worker> {
    let sockets = running.namespaces().in_net(|| Ok([open(Domain::IPV4)?, open(Domain::IPV6)?]))?;
    let node = node.to_owned();
    Worker::start("lab-echo", move |bell| serve(&node, &sockets, bell))
}

/// A socket that hears to which address a request came, and may answer from one that is only routed here.
fn open(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    let any: SocketAddr = if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        (Ipv6Addr::UNSPECIFIED, ECHO_PORT).into()
    } else {
        socket.set_freebind_v4(true)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        (Ipv4Addr::UNSPECIFIED, ECHO_PORT).into()
    };
    socket.bind(&any.into())?;
    Ok(socket)
}

fn serve(node: &str, sockets: &[Socket; 2], bell: &Bell) {
    raise_priority(PRIORITY);
    let fds = [sockets[0].as_fd(), sockets[1].as_fd()];
    loop {
        if bell.wait(&fds, None).unwrap_or(true) {
            return;
        }
        for socket in sockets {
            // A request that cannot be answered, say because its address has just left, is a lost request.
            while !matches!(answer(node, socket), Err(Errno::EAGAIN)) {}
        }
    }
}

fn answer(node: &str, socket: &Socket) -> nix::Result<()> {
    use std::os::fd::AsRawFd;
    let mut request = [0u8; LONGEST_REQUEST];
    let mut space = nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
    let mut buffer = [IoSliceMut::new(&mut request)];
    let received = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer, Some(&mut space), MsgFlags::empty())?;
    let (length, from, asked) = (received.bytes, received.address, received.cmsgs()?.next());
    let Some(from) = from else { return Ok(()) };
    let payload = [IoSlice::new(&request[..length.min(REQUEST_BYTES)]), IoSlice::new(node.as_bytes())];
    let send = |source: &[ControlMessage<'_>]| {
        sendmsg(socket.as_raw_fd(), &payload, source, MsgFlags::empty(), Some(&from)).map(drop)
    };
    if let Some(ControlMessageOwned::Ipv4PacketInfo(info)) = asked {
        let source = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: info.ipi_addr, ipi_addr: info.ipi_addr };
        send(&[ControlMessage::Ipv4PacketInfo(&source)])
    } else if let Some(ControlMessageOwned::Ipv6PacketInfo(info)) = asked {
        let source = libc::in6_pktinfo { ipi6_addr: info.ipi6_addr, ipi6_ifindex: 0 };
        send(&[ControlMessage::Ipv6PacketInfo(&source)])
    } else {
        Ok(())
    }
}
