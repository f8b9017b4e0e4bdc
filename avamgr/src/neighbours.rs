//! ARP and neighbour discovery frames: announcing and probing addresses.
//!
//! [`Sender`] tells the neighbours where addresses are, thousands of them at a pace they can follow. [`probe`] asks the
//! network who has an address, without claiming it. [`Rivals`] hears who else claims one of ours. [`Responder`] answers for
//! IPv6 ranges, which the kernel does not.
//!
//! None of it changes anything on this host, and none of it waits without a bound.

mod ear;
mod filter;
mod frame;
mod pace;
mod packet;
mod probe;
mod responder;
mod sender;

use std::io;

pub use ear::Rivals;
pub use frame::{Claim, Form, announcement, claim, question};
pub use pace::{Haste, Pace};
pub use probe::{ASKED_MAX, is_own, probe, spread};
pub use responder::Responder;
pub use sender::Sender;

use crate::netlink;

/// Frames could not be sent or heard.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The interface is not there.
    #[error("interface {interface} does not exist")]
    Missing {
        /// Its name.
        interface: String,
    },
    /// The interface is switched off.
    #[error("interface {interface} is down")]
    Down {
        /// Its name.
        interface: String,
    },
    /// The cable is out.
    #[error("interface {interface} has no carrier")]
    NoCarrier {
        /// Its name.
        interface: String,
    },
    /// Neighbours are not found by ARP or neighbour discovery there.
    #[error("interface {interface} is not an Ethernet with ARP: nobody can be asked there")]
    NotEthernet {
        /// Its name.
        interface: String,
    },
    /// This host stood still again and again while it waited for an answer.
    #[error("nothing is known about {interface}: this host is too busy to hear an answer in time")]
    Late {
        /// Its name.
        interface: String,
    },
    /// This host's own queue refused the questions again and again.
    #[error("nothing is known about {interface}: it does not take the questions, its queue is full")]
    Unasked {
        /// Its name.
        interface: String,
    },
    /// The packet socket failed.
    #[error("packet socket on {interface}: cannot {action}: {source}{}", hint(source))]
    Socket {
        /// The interface.
        interface: String,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The interface could not be looked up.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
}

fn hint(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::PermissionDenied { "; the daemon needs CAP_NET_RAW" } else { "" }
}
