//! Connections that die with their address.
//!
//! A connection whose local address is gone from the host hangs until one side gives up, which takes minutes. Destroyed
//! while the address is still there (`SOCK_DESTROY`), it sends a reset, and the client connects again at once.
//!
//! Only TCP. Listening sockets belong to the service: it is stopped by its own order, or goes on serving. UDP has nobody to
//! tell: a server's socket is like a listening one, and from a connected one the kernel refuses to send once its address is
//! gone. Linux cannot destroy SCTP associations (`sctp_diag` has no such request); they watch their paths themselves.

mod message;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use nix::errno::Errno;

use self::message::{Connection, Family, Request};
use super::message::{Meaning, append, split};
use super::transport::Transport;
use super::{Error, Refusal};

const LIST: &str = "list the TCP connections";
const DESTROY: &str = "destroy TCP connections";

/// What became of the connections that were to be destroyed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destruction {
    /// How many are gone.
    pub gone: usize,
    /// Why others are not, for the first one.
    pub refused: Option<Refusal>,
}

/// Destroys every TCP connection of this network namespace whose local address is one of `doomed`. The other end is told
/// with a reset while the address is still on the host. Works in batches that take milliseconds; may be dropped at any
/// time, what is destroyed until then stays so. Needs `CAP_NET_ADMIN`.
pub async fn destroy_connections(doomed: impl Fn(IpAddr) -> bool + Send + Sync) -> Result<Destruction, Error> {
    let mut transport = Transport::open(NETLINK_SOCK_DIAG)?;
    let mut destruction = Destruction::default();
    for family in [Family::V4, Family::V6] {
        let pick = |_kind, payload: &[u8]| {
            let connection = Connection::parse(family, payload)?;
            doomed(connection.local()?).then_some(connection)
        };
        let connections = transport.dump(LIST, Request::List(family), pick).await?;
        let destroy = |connection: &Connection| Request::Destroy(*connection);
        for outcome in transport.exchange(DESTROY, 0, &connections, destroy).await? {
            match outcome {
                Err(refusal) if refusal.errno != Errno::ENOENT => {
                    destruction.refused.get_or_insert(refusal);
                }
                // One that ended by itself meanwhile is as good.
                Ok(()) | Err(_) => destruction.gone += 1,
            }
        }
    }
    Ok(destruction)
}

/// Whether the kernel can destroy connections: it is asked to destroy a listening socket on the loopback that was made for
/// this. Without `CAP_NET_ADMIN` it refuses only if it could.
pub fn can_destroy_connections() -> io::Result<bool> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let SocketAddr::V4(address) = listener.local_addr()? else { return Ok(false) };
    let mut bytes = Vec::new();
    append(&mut bytes, Request::Destroy(Connection::listener(address)), 0, 1, true);
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.send_to(&bytes, &netlink_sys::SocketAddr::new(0, 0), 0)?;
    let (answer, _sender) = socket.recv_from_full()?;
    match split(&answer).next().map(|message| message.meaning()) {
        Some(Meaning::Result(Ok(()))) => Ok(true),
        Some(Meaning::Result(Err(refusal))) if refusal.errno == Errno::EPERM => Ok(true),
        Some(Meaning::Result(Err(refusal))) if is_missing(&refusal) => Ok(false),
        Some(Meaning::Result(Err(refusal))) => Err(refusal.errno.into()),
        Some(Meaning::Done(_) | Meaning::Object) | None => Err(io::Error::other("the kernel gave no answer")),
    }
}

/// The kernel was built without `CONFIG_INET_DIAG_DESTROY`, or without its module `tcp_diag`.
fn is_missing(refusal: &Refusal) -> bool {
    matches!(refusal.errno, Errno::EOPNOTSUPP | Errno::ENOENT | Errno::EINVAL)
}
