//! The courier (`rules-sync`) as its users see it: how it is asked, and how what it says looks.

pub mod client;
pub mod render;
