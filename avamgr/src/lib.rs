//! THE HANDS: everything that touches Linux for the availability manager.
//!
//! Two planes. The *heartbeat plane* is one thread with a runtime of its own: links, arbitrators and the loop in [`daemon`].
//! The *hands plane* is another thread: resources, disk, control socket, journal. Bounded channels join them; nothing in
//! the heartbeat plane waits for the hands plane.

pub mod arbitrators;
pub mod checks;
pub mod cli;
pub mod clock;
pub mod control;
pub mod daemon;
pub mod demo;
pub mod history;
pub mod inputs;
pub mod journal;
pub mod keys;
pub mod links;
pub mod neighbours;
pub mod netlink;
pub mod preflight;
pub mod process;
pub mod resources;
pub mod state_file;
