//! Clusters of real nodes in a virtual world: stories with their whole course, and many seeds of random faults.
#![expect(clippy::wildcard_enum_match_arm, reason = "a rule looks at the kinds it is about")]
#![expect(clippy::disallowed_methods, reason = "stories are files; the seed comes from the environment")]

mod alarms;
mod chains;
mod checked;
mod choices;
mod chronicle;
mod explore;
mod faults;
mod fencing;
mod invariants;
mod liveness;
mod owners;
mod position;
mod random;
#[cfg(feature = "sabotage")]
mod sabotage;
mod scenarios;
mod script;
mod shape;
mod sight;
mod strangers;
