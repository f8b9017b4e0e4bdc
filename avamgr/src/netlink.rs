//! The few netlink requests we need, in batches.
//!
//! [`Netlink`] asks: addresses and routes put on and taken off an interface, what is there, which interfaces exist.
//! [`nft::Nft`] asks too: tables of nftables, in transactions.
//! [`Watcher`] listens: carrier, interfaces that come and go, addresses that somebody else took away.
//! [`tipc::look`] asks what TIPC has and counts.
//! [`destroy_connections`] ends the connections of addresses that leave.
//!
//! A batch is one send with one acknowledgement: the kernel has done the work when the send returns, and only what it
//! refused comes back beside that. So a batch of any size cannot drown its own answers, and what a batch costs is seen
//! and the next one cut to fit: the thread is never away for much longer than [`transport::SEND_TARGET`].
//!
//! Never forks a tool, never waits without a bound, and touches no address that it was not told to touch.

mod address;
mod link;
mod message;
pub mod nft;
pub mod prefix;
mod route;
mod sockets;
pub mod tipc;
mod transport;
mod watch;

use std::io;

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;

pub use address::{Assign, Present};
pub use link::{Interface, Mac};
pub use route::Route;
pub use sockets::{Destruction, can_destroy_connections, destroy_connections};
pub use watch::{Change, Scope, Watcher};

/// Marks the addresses and routes that are ours (`ip address show proto 167`, `ip route show proto 167`). Any number
/// above the kernel's own and outside `/etc/iproute2/rt_protos` does.
pub const PROTOCOL: u8 = 167;

/// A socket to the kernel's routing tables; requests on it are answered one after the other.
pub struct Netlink {
    transport: transport::Transport,
}

impl Netlink {
    /// Opens the socket in the network namespace of this thread. Must be called within a runtime.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { transport: transport::Transport::open(NETLINK_ROUTE)? })
    }

    /// How many requests the next batch should hold so that the kernel is back in time; grows and shrinks with what the
    /// last ones cost.
    pub fn chunk(&self) -> usize {
        self.transport.chunk()
    }
}

/// What one request of a batch came to.
pub type Outcome = Result<(), Refusal>;

/// The kernel said no to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error number.
    pub errno: Errno,
    /// The kernel's own words, where it has any.
    pub text: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.errno.desc())?;
        if let Some(text) = &self.text {
            write!(f, " ({text})")?;
        }
        if self.errno == Errno::EPERM {
            f.write_str("; the daemon needs CAP_NET_ADMIN")?;
        }
        Ok(())
    }
}

/// A request could not be made, or its answer not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket failed.
    #[error("netlink socket: cannot {action}: {source}")]
    Socket {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// No answer within [`transport::ANSWER_TIME`].
    #[error("the kernel did not answer within {} s when asked to {what}", transport::ANSWER_TIME.as_secs())]
    Silent {
        /// What was asked.
        what: &'static str,
    },
    /// Answers were lost: what happened must be looked up.
    #[error("answers of the kernel were lost (receive buffer full) when asked to {what}")]
    Overrun {
        /// What was asked.
        what: &'static str,
    },
    /// The kernel refused the request as a whole.
    #[error("the kernel refused to {what}: {refusal}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Its reason.
        refusal: Refusal,
    },
    /// A dump changed under our eyes each time it was read.
    #[error("could not {what}: the list changed during each of {tries} readings")]
    Restless {
        /// What was asked.
        what: &'static str,
        /// How often it was tried.
        tries: u32,
    },
}
