//! A raw socket on one interface.
//!
//! To close a packet socket, the kernel waits until no processor can still be using it: 10 to 40 ms, measured. So that is
//! done by a thread that has nothing else to do.
#![allow(
    unsafe_code,
    reason = "addresses and memberships of packet sockets, and registering any descriptor, have no safe wrapper"
)]

use std::io::{self, IoSlice, Read};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, sendmmsg, setsockopt, sockopt};
use socket2::{Domain, SockAddr, SockFilter, SockRef, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::Error;
use crate::netlink::Interface;

/// Room for a burst of frames on their way to the interface; a frame of 86 bytes takes about 800 of it.
const SEND_BUFFER_BYTES: usize = 1 << 20;
/// The highest priority that needs no privilege; heartbeats have it too.
const PRIORITY: libc::c_int = 6;
/// ARP and neighbour discovery frames are far shorter; what does not fit is none of ours.
pub(super) const FRAME_BYTES: usize = 256;

/// What a socket hears.
pub(super) enum Hears {
    /// Nothing: it only sends.
    Nothing,
    /// Frames of this type that pass the filter.
    Frames(u16, Vec<SockFilter>),
    /// The same, also those for multicast groups nobody on this host has joined.
    AllGroups(u16, Vec<SockFilter>),
}

pub(super) struct PacketSocket {
    /// `None` only while it is dropped.
    socket: Option<AsyncFd<OwnedFd>>,
    interface: String,
}

impl Drop for PacketSocket {
    fn drop(&mut self) {
        let descriptor = self.socket.take().map(AsyncFd::into_inner);
        // Without a runtime nobody waits for this thread.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn_blocking(move || drop(descriptor)));
        }
    }
}

impl PacketSocket {
    pub(super) fn open(interface: &Interface, hears: Hears) -> Result<Self, Error> {
        let failed = |action| {
            let interface = interface.name.clone();
            move |source| Error::Socket { interface, action, source }
        };
        // Without a protocol it hears nothing until the filter is in place.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None).map_err(failed("open"))?;
        if setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER_BYTES).is_err() {
            let _ = setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER_BYTES);
        }
        let (protocol, filter, all_groups) = match hears {
            Hears::Nothing => (0, None, false),
            Hears::Frames(protocol, filter) => (protocol, Some(filter), false),
            Hears::AllGroups(protocol, filter) => (protocol, Some(filter), true),
        };
        if let Some(filter) = filter {
            socket.attach_filter(&filter).map_err(failed("attach a filter"))?;
        }
        socket.bind(&place(interface.index, protocol).map_err(failed("bind"))?).map_err(failed("bind"))?;
        if all_groups {
            join_all_groups(&socket, interface.index).map_err(failed("hear all multicast groups"))?;
        }
        let socket = register(socket.into()).map_err(failed("register"))?;
        Ok(Self { socket: Some(socket), interface: interface.name.clone() })
    }

    /// Lets its frames overtake others in this host's own queues, where these have priorities.
    pub(super) fn go_first(&self) {
        if let Some(socket) = &self.socket {
            // Without it, frames only wait their turn.
            let _ = setsockopt(socket.get_ref(), sockopt::Priority, &PRIORITY);
        }
    }

    /// Sends as many of the frames as there is room for; returns how many.
    pub(super) fn send(&self, frames: &[Vec<u8>]) -> Result<usize, Error> {
        let slices: Vec<_> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
        let mut headers = MultiHeaders::<()>::preallocate(frames.len(), None);
        let nowhere_else = vec![None::<()>; frames.len()];
        let Some(socket) = &self.socket else { return Ok(0) };
        let descriptor = socket.get_ref().as_raw_fd();
        match sendmmsg(descriptor, &mut headers, slices.iter(), nowhere_else, [], MsgFlags::MSG_DONTWAIT) {
            Ok(sent) => Ok(sent.count()),
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => Ok(0),
            Err(errno) => Err(self.failed("send", errno.into())),
        }
    }

    /// Waits for a frame and returns its length. May be dropped while it waits.
    pub(super) async fn receive(&self, frame: &mut [u8]) -> Result<usize, Error> {
        let Some(socket) = &self.socket else { return std::future::pending().await };
        let received = loop {
            let mut ready = match socket.readable().await {
                Ok(ready) => ready,
                Err(source) => break Err(source),
            };
            if let Ok(received) = ready.try_io(|socket| (&*SockRef::from(socket.get_ref())).read(frame)) {
                break received;
            }
        };
        received.map_err(|source| self.failed("receive", source))
    }

    fn failed(&self, action: &'static str, source: io::Error) -> Error {
        let interface = self.interface.clone();
        if source.raw_os_error() == Some(libc::ENETDOWN) {
            return Error::Down { interface };
        }
        if matches!(source.raw_os_error(), Some(libc::ENXIO | libc::ENODEV)) {
            return Error::Missing { interface };
        }
        Error::Socket { interface, action, source }
    }
}

/// Lets the runtime wait for it.
pub(super) fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, and stays the same descriptor, until it is dropped.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}

/// The address of an interface for frames of one type; type 0 hears nothing.
fn place(index: u32, protocol: u16) -> io::Result<SockAddr> {
    let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let index = i32::try_from(index).map_err(too_large)?;
    let family = u16::try_from(libc::AF_PACKET).map_err(too_large)?;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(too_large)?;
    // SAFETY: the storage is zeroed, aligned for every kind of address and larger than a `sockaddr_ll`, of which all
    // bit patterns are valid; the length is that of what was written.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, storage_length| {
            let place = storage.cast::<libc::sockaddr_ll>();
            (*place).sll_family = family;
            (*place).sll_protocol = protocol.to_be();
            (*place).sll_ifindex = index;
            *storage_length = length;
            Ok(())
        })?
    };
    Ok(address)
}

fn join_all_groups(socket: &Socket, index: u32) -> io::Result<()> {
    let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let request = libc::packet_mreq {
        mr_ifindex: i32::try_from(index).map_err(too_large)?,
        mr_type: u16::try_from(libc::PACKET_MR_ALLMULTI).map_err(too_large)?,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&request)).map_err(too_large)?;
    // SAFETY: the pointer and the length are those of `request`, which outlives the call; the kernel only reads it.
    let result = unsafe {
        let pointer = std::ptr::from_ref(&request).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, pointer, length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
