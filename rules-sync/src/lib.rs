//! THE COURIER: replicates directories of rules between nodes. Every change made on any of them reaches the others; what two
//! nodes change at once has one winner everywhere, and the loser is kept.
//!
//! Seven rooms decide and touch nothing: [`version`] says which of two contents follows the other, [`merge`] what becomes of one
//! that comes from another node, [`obey`] where only the ACTIVE node may change anything, [`settle`] when a path that changes has
//! come to rest, [`plan`] what goes to a peer in one go, [`compare`] where two trees differ, [`leftovers`] what nobody comes back
//! to. A [`place`] is how nodes name a path.
//!
//! Others touch the disk: [`watch`] hears of changes, [`tree`] and [`scan`] look, [`apply`] puts, [`receive`] does what was decided.
//! What is known of every path, and what is owed to whom, is in the [`store`]; [`rsync`] carries it, with a [`manifest`], from a
//! [`spool`] to a spool. The [`courier`] knows all of them, [`run`] lets it, and [`program`] is what operators
//! start and ask.

pub mod apply;
mod clock;
pub mod compare;
pub mod courier;
pub mod directory;
pub mod filter;
pub mod leftovers;
pub mod manifest;
pub mod merge;
pub mod obey;
mod open_files;
pub mod place;
pub mod plan;
pub mod program;
pub mod receive;
pub mod rsync;
pub mod run;
pub mod scan;
pub mod settle;
pub mod spool;
pub mod store;
pub mod tree;
pub mod version;
pub mod watch;
