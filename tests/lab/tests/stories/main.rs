//! Stories: the real daemons as nodes in network namespaces, with faults from outside.
#![expect(clippy::expect_used, reason = "a story fails by panicking, its helpers too")]

mod addresses;
mod browser;
#[path = "../../../browser/mod.rs"]
#[allow(dead_code, reason = "tests of the page alone use the rest")]
mod chromium;
mod consent;
mod diameter;
mod etcd;
mod failover;
mod fencing;
mod groups;
mod lease;
mod load;
mod operator;
mod pair;
mod paths;
mod random;
mod rules;
mod scripts;
mod second_phase;
mod strangers;
mod three;
mod upgrade;
mod window;
