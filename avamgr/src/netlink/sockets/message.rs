//! `inet_diag_req_v2` and `inet_diag_msg` of `linux/inet_diag.h` as bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

use netlink_packet_core::NetlinkSerializable;

/// Message types of `linux/sock_diag.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const REQUEST_LEN: usize = 8 + SOCKET_LEN;
/// `inet_diag_sockid`: both ports, both addresses, the interface it is bound to, the cookie.
const SOCKET_LEN: usize = 48;
const LOCAL_ADDRESS: usize = 4;
const COOKIE: usize = 40;
/// State numbers of the kernel (`net/tcp_states.h`).
const TIME_WAIT: u32 = 6;
const CLOSE: u32 = 7;
const LISTEN: u32 = 10;
/// Every state in which somebody may be at the other end, or be believed to be.
const CONNECTED: u32 = !(1 << TIME_WAIT | 1 << CLOSE | 1 << LISTEN);
/// `idiag_timer` of what is left of a closed connection, whatever state it shows.
const TIME_WAIT_TIMER: u8 = 3;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Family {
    V4 = 2,
    /// With the IPv4 connections of IPv6 sockets.
    V6 = 10,
}

/// A connection, as the kernel names it. The cookie in it makes sure that no later one with the same name is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    family: Family,
    socket: [u8; SOCKET_LEN],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// All TCP connections of a family.
    List(Family),
    /// Ends one.
    Destroy(Connection),
}

impl Connection {
    /// Reads an answer to [`Request::List`]; `None` for what is no connection any more.
    pub(super) fn parse(family: Family, payload: &[u8]) -> Option<Self> {
        let [_family, _state, timer, _retransmits] = payload.first_chunk::<4>()?;
        let socket = *payload.get(4..)?.first_chunk()?;
        (*timer != TIME_WAIT_TIMER).then_some(Self { family, socket })
    }

    /// A listening IPv4 socket of our own.
    pub(super) fn listener(address: SocketAddrV4) -> Self {
        let mut socket = [0; SOCKET_LEN];
        let (port, ip) = (address.port().to_be_bytes(), address.ip().octets());
        // Without a cookie: all ones.
        let bytes = port.iter().chain(&[0; 2]).chain(&ip).chain(&[0; COOKIE - 8]).chain(&[0xff; SOCKET_LEN - COOKIE]);
        socket.iter_mut().zip(bytes).for_each(|(room, byte)| *room = *byte);
        Self { family: Family::V4, socket }
    }

    /// The local address; an IPv4 address also where the socket is an IPv6 one.
    pub(super) fn local(&self) -> Option<IpAddr> {
        let address: [u8; 16] = *self.socket.get(LOCAL_ADDRESS..)?.first_chunk()?;
        let [a, b, c, d, ..] = address;
        Some(match self.family {
            Family::V4 => Ipv4Addr::new(a, b, c, d).into(),
            Family::V6 => Ipv6Addr::from(address).to_canonical(),
        })
    }
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        match self {
            Self::List(_) => SOCK_DIAG_BY_FAMILY,
            Self::Destroy(_) => SOCK_DESTROY,
        }
    }

    fn buffer_len(&self) -> usize {
        REQUEST_LEN
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let (family, socket) = match self {
            Self::List(family) => (*family, [0; SOCKET_LEN]),
            Self::Destroy(connection) => (connection.family, connection.socket),
        };
        let protocol = u8::try_from(libc::IPPROTO_TCP).unwrap_or_default();
        let head = [family as u8, protocol, 0, 0].into_iter().chain(CONNECTED.to_ne_bytes());
        buffer.iter_mut().zip(head.chain(socket)).for_each(|(room, byte)| *room = byte);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ipv4_connection_of_an_ipv6_socket_has_an_ipv4_address() {
        let mut socket = [0; SOCKET_LEN];
        let mapped: Ipv6Addr = "::ffff:172.16.9.61".parse().unwrap();
        socket[LOCAL_ADDRESS..LOCAL_ADDRESS + 16].copy_from_slice(&mapped.octets());
        let connection = Connection { family: Family::V6, socket };
        assert_eq!(connection.local(), Some(IpAddr::from([172, 16, 9, 61])));
    }

    #[test]
    fn a_request_is_laid_out_as_the_kernel_wants_it() {
        let mut buffer = [0; REQUEST_LEN];
        let listener = Connection::listener(SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 1), 0x1234));
        Request::Destroy(listener).serialize(&mut buffer);
        assert_eq!(buffer[..4], [2, 6, 0, 0]);
        assert_eq!(buffer[8..16], [0x12, 0x34, 0, 0, 127, 0, 0, 1]);
        assert_eq!(buffer[16..48], [0; 32]);
        assert_eq!(buffer[48..], [0xff; 8]);
        assert_eq!(listener.local(), Some(Ipv4Addr::LOCALHOST.into()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), v4: bool) {
            let family = if v4 { Family::V4 } else { Family::V6 };
            if let Some(connection) = Connection::parse(family, &bytes) {
                prop_assert!(connection.local().is_some());
            }
        }
    }
}
