//! Couriers that hand their batches to each other: who wins after a store was lost, and where only one node may change anything.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod bed;
mod lost;
mod one_way;
