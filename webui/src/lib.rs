//! THE WINDOW: what the daemon of a node knows, for browsers and for programs that speak HTTP.
//!
//! A process of its own, without privileges, so that no browser can hurt a heartbeat: it has what it knows from the
//! daemon's control socket, asked at its own pace however many look at it.
//!
//! ```text
//!  avamgrd's socket ─▶ daemon (one question at a time) ─▶ said (the last snapshot) ─▶ routes ─▶ access ─▶ who may look
//!         ▲            └ its history, as it happens ───▶ history ───────────────────┘   │
//!         └──────────────── orders (in the name of their users) ◀───────────────────────┘
//! ```

pub mod access;
pub mod daemon;
mod host;
mod orders;
mod page;
mod passed;
mod problem;
pub mod program;
mod questions;
mod random;
pub mod routes;
pub mod serve;
pub mod tls;
