//! A small, blocking netlink client: requests in, acknowledgements and dumps out.
//!
//! The lab builds its networks with it and not with the `ip` program, which a newcomer's machine may lack. A socket
//! belongs for ever to the network namespace it was opened in, so a host's socket may be used from any thread.

use std::io;
use std::sync::Mutex;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

mod address;
mod link;
mod route;

pub use address::{AddressRow, add_address, del_address};
pub use link::{Carrier, LinkRow, Nic};
pub(crate) use link::{move_link, new_bridge, new_veth, set_controller, set_up};
pub(crate) use route::local_prefix;
pub use route::{add_local_prefix, add_route, del_local_prefix};

/// Requests in one write: enough for a batch of thousands of addresses to be worth it, small enough for the socket's
/// default send buffer.
const REQUESTS_PER_WRITE: usize = 128;

/// What a kernel message can at most fill of one datagram.
const DATAGRAM_BYTES: usize = 64 * 1024;

/// One change asked of the kernel.
#[derive(Clone, Debug)]
pub struct Request {
    flags: u16,
    body: RouteNetlinkMessage,
}

impl Request {
    pub(crate) fn new(flags: u16, body: RouteNetlinkMessage) -> Self {
        Self { flags: NLM_F_REQUEST | NLM_F_ACK | flags, body }
    }
}

/// A netlink socket of one network namespace.
#[derive(Debug)]
pub struct Netlink {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { inner: Mutex::new(Inner { socket, sequence: 0 }) })
    }

    /// Asks for one change.
    pub fn request(&self, request: Request) -> io::Result<()> {
        self.batch(vec![request])
    }

    /// Asks for many changes, up to [`REQUESTS_PER_WRITE`] in one write, and reports the first refusal after all have
    /// been answered.
    pub fn batch(&self, requests: Vec<Request>) -> io::Result<()> {
        let mut inner = self.lock();
        let mut outcome = Ok(());
        for chunk in requests.chunks(REQUESTS_PER_WRITE) {
            let answer = inner.send_chunk(chunk);
            if outcome.is_ok() {
                outcome = answer;
            }
        }
        outcome
    }

    /// Reads a whole table of the kernel.
    pub(crate) fn dump(&self, body: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.lock().dump(body)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    fn send_chunk(&mut self, chunk: &[Request]) -> io::Result<()> {
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        for request in chunk {
            self.append(&mut bytes, request.flags, request.body.clone());
        }
        self.socket.send(&bytes, 0)?;
        self.collect_acks(first)
    }

    fn append(&mut self, bytes: &mut Vec<u8>, flags: u16, body: RouteNetlinkMessage) {
        self.sequence += 1;
        let mut message = NetlinkMessage::from(body);
        message.header.flags = flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len(), 0);
        message.serialize(&mut bytes[start..]);
    }

    /// Reads answers until every request since `first` has one.
    fn collect_acks(&mut self, first: u32) -> io::Result<()> {
        let mut missing = self.sequence - first + 1;
        let mut outcome = Ok(());
        while missing > 0 {
            for message in self.receive()? {
                let NetlinkPayload::Error(answer) = message.payload else {
                    continue;
                };
                if message.header.sequence_number < first {
                    continue;
                }
                missing -= 1;
                if answer.code.is_some() && outcome.is_ok() {
                    outcome = Err(answer.to_io());
                }
            }
        }
        outcome
    }

    fn dump(&mut self, body: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, NLM_F_REQUEST | NLM_F_DUMP, body);
        let sequence = self.sequence;
        self.socket.send(&bytes, 0)?;
        let mut rows = Vec::new();
        loop {
            for message in self.receive()? {
                if message.header.sequence_number != sequence {
                    continue;
                }
                if let NetlinkPayload::InnerMessage(row) = message.payload {
                    rows.push(row);
                } else if let NetlinkPayload::Error(answer) = message.payload {
                    return Err(answer.to_io());
                } else if let NetlinkPayload::Done(_) = message.payload {
                    return Ok(rows);
                }
            }
        }
    }

    fn receive(&mut self) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        let (bytes, _) = self.socket.recv_from_full()?;
        parse(&bytes)
    }
}

/// A socket that hears what changes in its namespace.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Listener {
    /// Opens a socket in the network namespace of the calling thread and joins `groups`.
    pub(crate) fn open(groups: &[u32], receive_buffer_bytes: usize) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        grow_receive_buffer(&socket, receive_buffer_bytes)?;
        socket.bind_auto()?;
        for group in groups {
            socket.add_membership(*group)?;
        }
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM_BYTES) })
    }

    /// The next changes, in the kernel's order. `WouldBlock` when there are none; `ENOBUFS` when some were lost.
    pub(crate) fn receive(&mut self) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.buffer.clear();
        self.socket.recv(&mut self.buffer, libc::MSG_DONTWAIT)?;
        let mut rows = Vec::new();
        for message in parse(&self.buffer)? {
            if let NetlinkPayload::InnerMessage(row) = message.payload {
                rows.push(row);
            }
        }
        Ok(rows)
    }
}

impl std::os::fd::AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Past the machine's limit where this account may, else up to it.
fn grow_receive_buffer(socket: &Socket, bytes: usize) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    setsockopt(socket, sockopt::RcvBufForce, &bytes)
        .or_else(|_| setsockopt(socket, sockopt::RcvBuf, &bytes))
        .map_err(io::Error::from)
}

fn parse(mut bytes: &[u8]) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        let length = aligned(message.header.length as usize);
        messages.push(message);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(messages)
}

/// Netlink messages begin at multiples of four.
const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}
