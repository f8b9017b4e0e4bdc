//! The system calls of the links that have no safe wrapper that fits: socket options by number, many datagrams with one call
//! and with their kernel timestamps, and the readiness of a socket.
//!
//! Every `unsafe` block of the links is here. Nothing here blocks.
#![allow(unsafe_code, reason = "setsockopt by number, recvmmsg with control data and AsyncFd have no safe wrapper")]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use avamgr_core::config::TipcAddress;
use libc::{c_int, c_uint, c_void, iovec, mmsghdr, sockaddr_storage, socklen_t};
use socket2::{SockAddr, SockAddrStorage, Socket};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::tipc::address as tipc;

/// Datagrams fetched with one call: one is the rule, more wait after a stall or in a flood.
pub(super) const BATCH: usize = 16;
/// Bytes kept of a datagram: one more than ours may have, so that a longer one is seen to be too long.
pub(super) const SLOT: usize = avamgr_core::wire::codec::MAX_DATAGRAM + 1;
/// Words of control data: one timestamp takes 32 bytes.
const CONTROL: usize = 8;
/// Words of `SO_MEMINFO`, and the place of the drop counter among them.
const MEMINFO_WORDS: usize = 9;
const MEMINFO_DROPS: usize = 8;
/// `SO_MEMINFO` of Linux's asm-generic/socket.h; not in libc's list.
const SO_MEMINFO: c_int = 55;
/// `SIOCGETLINKNAME` of Linux's tipc.h, which is `SIOCPROTOPRIVATE`; not in libc's list.
const SIOCGETLINKNAME: libc::c_ulong = 0x89e0;

/// Sets an option whose value is one number.
pub(crate) fn set_int(socket: &impl AsRawFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    set_bytes(socket, level, name, &value.to_ne_bytes())
}

/// Sets an option whose value is a structure, given as its bytes.
pub(crate) fn set_bytes(socket: &impl AsRawFd, level: c_int, name: c_int, value: &[u8]) -> io::Result<()> {
    let length = socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the pointer and the length describe `value`, which the kernel only reads.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast::<c_void>(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads an option whose value is `N` numbers; what the kernel does not fill in stays zero.
fn get_ints<const N: usize>(socket: &impl AsRawFd, level: c_int, name: c_int) -> io::Result<[u32; N]> {
    let mut values = [0u32; N];
    let mut length = socklen_t::try_from(size_of::<[u32; N]>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the pointer and the length describe `values`; every bit pattern is a number.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, values.as_mut_ptr().cast::<c_void>(), &raw mut length)
    };
    if result == 0 { Ok(values) } else { Err(io::Error::last_os_error()) }
}

/// Index of the interface a socket is bound to; 0 = none.
pub(crate) fn bound_interface(socket: &impl AsRawFd) -> io::Result<u32> {
    get_ints::<1>(socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX).map(|[index]| index)
}

/// Datagrams the kernel dropped because this socket's buffer was full.
pub(super) fn kernel_drops(socket: &impl AsRawFd) -> u64 {
    let info = get_ints::<MEMINFO_WORDS>(socket, libc::SOL_SOCKET, SO_MEMINFO);
    info.ok().and_then(|words| words.get(MEMINFO_DROPS).copied()).map_or(0, u64::from)
}

/// A socket whose readability (and, where `interest` says so, waiting errors) wakes a task. Writability does not: it would
/// wake us after every frame sent.
pub(super) fn watched<T: AsRawFd>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: the types used here (Socket, Arc<Socket>) own their descriptor until they are dropped, and nobody swaps it.
    unsafe { AsyncFd::register_with_interest(socket, interest) }.map_err(io::Error::from)
}

/// How a socket is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// If the runtime has noticed that there is something.
    WhenReady,
    /// In any case: after a stall the runtime has not had the time to notice.
    Always,
}

/// Reads once, without waiting; `None` = there was no reason to. `read` also says whether nothing is left; then, or when it
/// finds nothing, the runtime is told to wait for more.
pub(super) fn read<T: AsRawFd, R>(
    socket: &AsyncFd<T>,
    reading: Reading,
    read: impl FnOnce(&T) -> io::Result<(R, bool)>,
) -> Option<io::Result<R>> {
    let (mut read, mut result) = (Some(read), None);
    let _ = socket.try_io(Interest::READABLE, |inner| {
        result = read.take().map(|read| read(inner));
        match &result {
            Some(Ok((_, false))) => Ok(()),
            Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Ok(()),
            Some(Ok((_, true)) | Err(_)) | None => Err(io::ErrorKind::WouldBlock.into()),
        }
    });
    if result.is_none() && reading == Reading::Always {
        result = read.map(|read| read(socket.get_ref()));
    }
    result.map(|result| result.map(|(value, _)| value))
}

/// Fetches datagrams, without waiting; fewer than `BATCH` means that nothing is left. `None` = there was no reason to look.
pub(super) fn receive(socket: &AsyncFd<Socket>, reading: Reading, batch: &mut Batch) -> Option<io::Result<usize>> {
    read(socket, reading, |socket| {
        let count = batch.receive(socket)?;
        Ok((count, count < BATCH))
    })
}

/// Room for the datagrams of one call.
pub(super) struct Batch {
    slots: Box<[[u8; SLOT]; BATCH]>,
    names: Box<[sockaddr_storage; BATCH]>,
    control: Box<[[u64; CONTROL]; BATCH]>,
    arrivals: [Arrival; BATCH],
}

/// Where a datagram came from, as far as links are told apart by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// An address and a port of it.
    Udp(IpAddr, u16),
    /// A node of TIPC.
    Tipc(TipcAddress),
}

impl Source {
    /// Whether both are of one machine, whatever their ports.
    pub(super) fn is_at(self, other: Self) -> bool {
        match (self, other) {
            (Self::Udp(one, _), Self::Udp(two, _)) => one == two,
            (Self::Tipc(one), Self::Tipc(two)) => one == two,
            (Self::Udp(..), Self::Tipc(_)) | (Self::Tipc(_), Self::Udp(..)) => false,
        }
    }
}

/// What the kernel says about one datagram.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    length: usize,
    source: Option<Source>,
    wall_nanos: Option<u64>,
}

/// One datagram of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram<'a> {
    /// Where it came from; `None` = of a family we do not know.
    pub source: Option<Source>,
    /// When the kernel got it, on the wall clock.
    pub wall_nanos: Option<u64>,
    /// Its content, cut to `SLOT` bytes.
    pub bytes: &'a [u8],
}

impl Batch {
    pub(super) fn new() -> Self {
        // SAFETY: all-zero bytes are a valid sockaddr_storage (family 0, "unspecified").
        let names = Box::new(unsafe { zeroed::<[sockaddr_storage; BATCH]>() });
        let nothing = Arrival { length: 0, source: None, wall_nanos: None };
        let control = Box::new([[0; CONTROL]; BATCH]);
        Self { slots: Box::new([[0; SLOT]; BATCH]), names, control, arrivals: [nothing; BATCH] }
    }

    /// Fetches what is there, at most `BATCH` datagrams; fewer than that means that nothing is left. Never waits.
    pub(super) fn receive(&mut self, socket: &impl AsRawFd) -> io::Result<usize> {
        // SAFETY: all-zero bytes are a valid iovec and mmsghdr: null pointers with length zero.
        let (mut iov, mut headers) = unsafe { (zeroed::<[iovec; BATCH]>(), zeroed::<[mmsghdr; BATCH]>()) };
        let places = self.slots.iter_mut().zip(self.names.iter_mut()).zip(self.control.iter_mut());
        for (((slot, name), control), (iov, header)) in places.zip(iov.iter_mut().zip(headers.iter_mut())) {
            *iov = iovec { iov_base: slot.as_mut_ptr().cast::<c_void>(), iov_len: SLOT };
            let header = &mut header.msg_hdr;
            header.msg_iov = iov;
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut *name).cast::<c_void>();
            header.msg_namelen = size_of::<sockaddr_storage>() as socklen_t;
            header.msg_control = control.as_mut_ptr().cast::<c_void>();
            header.msg_controllen = size_of::<[u64; CONTROL]>() as _;
        }
        // SAFETY: every header points to memory of its own of the length given with it: the slots, names and control words of
        // `self` and the local iovecs. All outlive the call, and the kernel keeps none of the pointers.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for ((arrival, header), name) in self.arrivals.iter_mut().zip(&headers).zip(self.names.iter()).take(count) {
            // SAFETY: the kernel has filled in this header and what it points to.
            let wall_nanos = unsafe { kernel_stamp(&header.msg_hdr) };
            let length = usize::try_from(header.msg_len).unwrap_or(0).min(SLOT);
            *arrival = Arrival { length, source: source(name), wall_nanos };
        }
        Ok(count.min(BATCH))
    }

    /// The datagrams of the last call that returned `count`.
    pub(super) fn datagrams(&self, count: usize) -> impl Iterator<Item = Datagram<'_>> {
        self.arrivals.iter().zip(self.slots.iter()).take(count).map(|(arrival, slot)| Datagram {
            source: arrival.source,
            wall_nanos: arrival.wall_nanos,
            bytes: slot.get(..arrival.length).unwrap_or_default(),
        })
    }
}

/// The kernel's receive timestamp among the control data of a message.
///
/// # Safety
/// The header must have been filled in by the kernel, and its control buffer must still be there.
unsafe fn kernel_stamp(header: &libc::msghdr) -> Option<u64> {
    // SAFETY: the macros walk the control buffer within the length the kernel has set; the data of this type is a timespec,
    // not necessarily aligned.
    unsafe {
        let mut item = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = item.as_ref() {
            if control.cmsg_level == libc::SOL_SOCKET && control.cmsg_type == libc::SCM_TIMESTAMPNS {
                let time = libc::CMSG_DATA(item).cast::<libc::timespec>().read_unaligned();
                let seconds = u64::try_from(time.tv_sec).ok()?;
                return seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(time.tv_nsec).ok()?);
            }
            item = libc::CMSG_NXTHDR(header, item);
        }
    }
    None
}

/// What is in a socket address of the kernel.
fn source(name: &sockaddr_storage) -> Option<Source> {
    // SAFETY: sockaddr_storage is large enough and aligned for each of these types; every bit pattern is a value of them.
    match c_int::from(name.ss_family) {
        libc::AF_INET => {
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            Some(Source::Udp(IpAddr::from(name.sin_addr.s_addr.to_ne_bytes()), u16::from_be(name.sin_port)))
        }
        libc::AF_INET6 => {
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            Some(Source::Udp(IpAddr::from(name.sin6_addr.s6_addr), u16::from_be(name.sin6_port)))
        }
        libc::AF_TIPC => {
            let name = unsafe { &*(&raw const *name).cast::<[u8; tipc::ADDRESS]>() };
            Some(Source::Tipc(TipcAddress::from_bits(tipc::node_of(name))))
        }
        _other => None,
    }
}

/// A TIPC address as the kernel has it, given as its bytes.
pub(super) fn tipc_address(bytes: [u8; tipc::ADDRESS]) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_storage is larger than these bytes, every bit pattern is a value of it, and the length is theirs.
    unsafe {
        (&raw mut storage).cast::<[u8; tipc::ADDRESS]>().write(bytes);
        SockAddr::new(storage, tipc::ADDRESS as socklen_t)
    }
}

/// The number TIPC has given to a socket.
pub(super) fn tipc_port(socket: &Socket) -> io::Result<u32> {
    own_tipc_address(socket).map(|bytes| tipc::port_of(&bytes))
}

/// The node a socket of TIPC is at; 0 = it has no address yet.
pub(super) fn tipc_node(socket: &Socket) -> io::Result<u32> {
    own_tipc_address(socket).map(|bytes| tipc::node_of(&bytes))
}

fn own_tipc_address(socket: &Socket) -> io::Result<[u8; tipc::ADDRESS]> {
    let address = socket.local_addr()?;
    if address.len() < tipc::ADDRESS as socklen_t {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: the kernel has filled in at least this many bytes; bytes need no alignment.
    Ok(unsafe { address.as_ptr().cast::<[u8; tipc::ADDRESS]>().read_unaligned() })
}

/// Name of TIPC's link over a bearer to a peer, `1001017:eth3-100101d:eth3`. It may be gone when the link is down.
pub(super) fn tipc_link_name(socket: &Socket, peer: u32, bearer: u32) -> io::Result<String> {
    /// `tipc_sioc_ln_req` of Linux's tipc.h.
    #[repr(C)]
    struct Request {
        peer: u32,
        bearer: u32,
        name: [u8; 68],
    }
    let mut request = Request { peer, bearer, name: [0; 68] };
    // SAFETY: the kernel reads and writes this structure, which is as it expects it, and nothing behind it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGETLINKNAME, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let name = request.name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}
