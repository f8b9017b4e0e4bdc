//! Stories that need a kernel with everything, and a machine that may be reset: `tests/vm/run` boots one for them.
#![expect(clippy::expect_used, reason = "a story fails by panicking, its helpers too")]

mod bond;
mod clock;
mod figures;
mod machine;
mod netem;
#[path = "../stories/pair.rs"]
#[allow(dead_code, reason = "the stories without a machine of their own use the rest")]
mod pair;
mod tipc;
mod tools;
mod watchdog;
