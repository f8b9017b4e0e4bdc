//! The window over a real control socket: what it tells of a daemon that is well, hangs, dies and comes back, and that
//! nobody who looks can hurt it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod access;
mod answers;
mod api;
mod browser;
#[path = "../../../tests/browser/mod.rs"]
#[allow(dead_code, reason = "stories of the lab use the rest")]
mod chromium;
mod contract;
#[path = "../../../avamgr/tests/operator/courier.rs"]
mod courier;
mod crowd;
mod house;
mod live;
mod rules;
mod samples;
#[path = "../../../avamgr/tests/operator/status.rs"]
mod status;
