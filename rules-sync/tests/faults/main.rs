//! Faults, with the real program and the real rsync between nodes of their own: whatever happens, the trees are the same in the
//! end, and nothing that was written is lost.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod bed;
mod chance;
mod clock;
mod crash;
mod disk;
mod edits;
mod ledger;
mod links;
mod names;
mod node;
mod overflow;
mod random;
mod returns;
mod roles;
mod seats;
mod shell;
mod strangers;
mod tree;
