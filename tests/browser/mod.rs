//! A browser for tests of the page, wherever its nodes are.

pub(crate) mod axe;
mod driver;

pub(crate) use driver::Browser;
