//! Things a group owns: one task each, one order at a time.
pub mod vip;
