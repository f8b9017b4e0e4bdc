//! The courier (`rules-sync`) as its users see it: how it is asked, and how what it says looks. The daemon has it running
//! beside itself ([`keep`]) and looks at it all the time ([`look`]).

pub mod client;
pub mod keep;
pub mod look;
pub mod render;
pub(crate) mod tame;
