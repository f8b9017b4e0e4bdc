//! Links and the ping arbitrator over real sockets, in network namespaces made for each test.
//!
//! As root each test makes its namespaces itself; otherwise it runs itself again inside `unshare`. Where neither is
//! permitted it fails and says so: nothing is skipped.
#![allow(unreachable_pub, reason = "the modules of a test program share one crate")]

mod arbitrator;
mod carrier;
mod figures;
mod hostile;
mod paths;
mod world;
