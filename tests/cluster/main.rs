//! Clusters of real nodes in a virtual world: stories with their whole course, and many seeds of random faults.
mod checked;
mod chronicle;
mod faults;
mod invariants;
mod liveness;
mod owners;
mod random;
mod scenarios;
mod script;
mod shape;
mod sight;
mod strangers;
