//! Services as the daemon runs them: orders in, reports out, real children and real init scripts in between.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[path = "services/exec.rs"]
mod exec;
#[path = "services/hooks.rs"]
mod hooks;
#[path = "services/lsb.rs"]
mod lsb;
#[path = "services/orphan.rs"]
mod orphan;
#[path = "services/shim.rs"]
mod shim;
#[path = "services/stage.rs"]
mod stage;
