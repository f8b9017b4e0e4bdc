//! Addresses, announcements and probes against real kernels: each test in network namespaces of its own.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "whatever is not expected fails the test")]

#[path = "netlink/addresses.rs"]
mod addresses;
#[path = "netlink/connections.rs"]
mod connections;
#[path = "netlink/guard.rs"]
mod guard;
#[path = "netlink/lease.rs"]
mod lease;
#[path = "netlink/leftovers.rs"]
mod leftovers;
#[path = "netlink/links.rs"]
mod links;
#[path = "netlink/many.rs"]
mod many;
#[path = "netlink/neighbours.rs"]
mod neighbours;
#[path = "netlink/requests.rs"]
mod requests;
#[path = "netlink/space.rs"]
mod space;
#[path = "netlink/vip.rs"]
mod vip;

/// Declares tests that run with the rights to make namespaces.
macro_rules! in_namespaces {
    ($($(#[$attribute:meta])* fn $name:ident() $body:block)*) => {
        $(
            #[test]
            $(#[$attribute])*
            fn $name() {
                let module = module_path!().split_once("::").map_or("", |(_crate, module)| module);
                $crate::space::with_namespaces(&format!("{module}::{}", stringify!($name)), || $body);
            }
        )*
    };
}
use in_namespaces;
