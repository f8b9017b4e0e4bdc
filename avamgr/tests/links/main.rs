//! Links and the ping arbitrator over real sockets, in network namespaces made for each test.
//!
//! As root each test makes its namespaces itself; otherwise it runs itself again inside `unshare`. Where neither is
//! permitted it fails and says so: nothing is skipped.
#![allow(unreachable_pub, reason = "the modules of a test program share one crate")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test waits for one kind of input and passes over all others")]

mod arbitrator;
mod carrier;
mod figures;
mod hostile;
mod paths;
mod tipc;
mod world;
