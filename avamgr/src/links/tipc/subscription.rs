//! A subscription at TIPC's topology service: which services come and go, told the moment it happens.

use std::io::{self, Read};
use std::task::{Context, Poll};

use socket2::{Domain, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::address;
use crate::links::sys::{self, Reading};

/// Tell of each socket that serves, not only of the first and the last of an instance.
const EACH: u32 = 1;
/// For ever.
const NO_END: u32 = u32::MAX;
/// What happened.
const PUBLISHED: u32 = 1;
const WITHDRAWN: u32 = 2;
/// Bytes of an event (`tipc_event`), and the place of each of its words.
const EVENT: usize = 48;

/// A service was published or withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiding {
    /// Its instance.
    pub(super) instance: u32,
    /// The number of the socket that serves; of a link: numbers of the bearers at its two ends.
    pub(super) port: u32,
    /// The node it serves at.
    pub(super) node: u32,
    /// Published, or withdrawn.
    pub(super) up: bool,
}

/// An open subscription. What was there at its beginning is told first.
pub(super) struct Subscription {
    socket: AsyncFd<Socket>,
}

impl Subscription {
    /// To all instances of a service.
    pub(super) fn open(service_type: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::from(libc::AF_TIPC), Type::SEQPACKET.nonblocking().cloexec(), None)?;
        let words = [service_type, 0, u32::MAX, NO_END, EACH, 0, 0];
        let order: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        // It connects as it sends.
        socket.send_to(&order, &sys::tipc_address(address::topology()))?;
        Ok(Self { socket: sys::watched(socket, Interest::READABLE)? })
    }

    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_read_ready(cx).map(|_| ())
    }

    /// The next tiding, if there is one. An error means that there will be no more: the service has gone, with TIPC itself.
    pub(super) fn next(&self, reading: Reading) -> io::Result<Option<Tiding>> {
        let mut bytes = [0; EVENT];
        loop {
            let read = sys::read(&self.socket, reading, |mut socket| Ok((socket.read(&mut bytes)?, false)));
            match read {
                None => return Ok(None),
                Some(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(Ok(_)) => {
                    if let Some(tiding) = tiding(&bytes) {
                        return Ok(Some(tiding));
                    }
                }
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Some(Err(error)) => return Err(error),
            }
        }
    }

    /// The socket, to ask TIPC more.
    pub(super) fn socket(&self) -> &Socket {
        self.socket.get_ref()
    }
}

/// Reads an event; `None` = of another kind.
fn tiding(bytes: &[u8; EVENT]) -> Option<Tiding> {
    let mut words = bytes.chunks_exact(4).map(|word| word.try_into().map(u32::from_ne_bytes).unwrap_or_default());
    let (event, lower, _upper) = (words.next()?, words.next()?, words.next()?);
    let (port, node) = (words.next()?, words.next()?);
    let up = match event {
        PUBLISHED => true,
        WITHDRAWN => false,
        _other => return None,
    };
    Some(Tiding { instance: lower, port, node, up })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_the_kernel_writes_it() {
        let event = |what: u32| {
            let words = [what, 7, 7, 99, 0x0100_101d, 2, 0, u32::MAX, NO_END, EACH, 0, 0];
            let bytes: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
            tiding(&bytes.try_into().unwrap())
        };
        let expected = |up| Some(Tiding { instance: 7, port: 99, node: 0x0100_101d, up });
        assert_eq!((event(1), event(2)), (expected(true), expected(false)));
        assert_eq!(event(3), None, "the end of a subscription");
    }
}
