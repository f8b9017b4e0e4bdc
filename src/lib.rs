//! THE DECISION of the availability manager: pure, no sockets, clocks, files, processes, threads, async or logging.
#![warn(missing_docs)]

pub mod cluster;
pub mod config;
pub mod control;
pub mod courier;
pub mod lease;
pub mod node;
#[cfg(not(feature = "sabotage"))]
mod sabotage;
#[cfg(feature = "sabotage")]
pub mod sabotage;
pub mod sim;
pub mod time;
pub mod wire;
