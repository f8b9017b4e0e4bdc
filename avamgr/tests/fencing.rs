//! Fence agents as real processes: good ones, and every kind of bad one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[path = "fencing/agents.rs"]
mod agents;
#[path = "fencing/command.rs"]
mod command;
#[path = "fencing/dummy.rs"]
mod dummy;
#[path = "fencing/site.rs"]
mod site;
#[path = "netlink/space.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod space;
#[path = "fencing/takeover.rs"]
mod takeover;
