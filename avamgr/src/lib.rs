//! THE HANDS: everything that touches Linux for the availability manager.
//!
//! Planes. The *heartbeat plane* is one thread with a runtime of its own: links, arbitrators and the loop in [`daemon`].
//! The *hands plane* is another thread: resources, disk, journal. The control socket has a third one, because anybody may
//! ask there. Bounded channels join them; nothing in the heartbeat plane waits for the others.

pub mod account;
pub mod arbitrators;
pub mod avamgrd;
pub mod bearers;
pub mod chance;
pub mod checks;
pub mod cli;
pub mod clock;
pub mod companion;
pub mod control;
pub mod courier;
pub mod daemon;
pub mod demo;
mod die;
pub mod exit;
pub mod fencing;
pub mod guard;
pub mod hands;
pub mod history;
pub mod hooks;
pub mod inputs;
pub mod interrupt;
pub mod journal;
pub mod keys;
pub mod links;
pub mod manual;
pub mod moment;
pub mod neighbours;
pub mod netlink;
pub mod pid_file;
pub mod preflight;
pub mod private_file;
pub mod process;
pub mod realtime;
pub mod reload;
pub mod report;
pub mod resources;
pub mod right;
pub mod scribe;
pub mod state_file;
pub mod upgrade;
pub mod users;
pub mod window;
pub mod witness;
pub mod world;

/// The last word of a program that cannot go on, for whoever started it.
#[expect(clippy::print_stderr, reason = "this is the one place where a program complains")]
pub fn complain(text: &str) {
    eprintln!("{text}");
}
