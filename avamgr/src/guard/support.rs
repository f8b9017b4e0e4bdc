//! Whether this host can hold a lease.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use nix::errno::Errno;

use super::ruleset::{Addresses, Ruleset};
use crate::netlink::Error;
use crate::netlink::nft::{Message, Nft};

/// An interface that every network namespace has.
const LOOPBACK: &str = "lo";

/// What this host can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// What it sends can be stopped as well as what it receives (Linux 5.16 and later).
    pub egress: bool,
}

/// Tries it out: a table like ours is made and deleted in one transaction, so that it never sees a packet. Needs
/// `CAP_NET_ADMIN`.
///
/// # Errors
/// In words: what is missing, and what to do.
pub fn support() -> Result<Support, String> {
    let mut nft = Nft::open().map_err(|error| format!("{error}; {}", hint(None)))?;
    let mut first = None;
    for egress in [true, false] {
        match nft.commit("try out a table", trial(egress)) {
            Ok(Ok(())) => return Ok(Support { egress }),
            Ok(Err(refused)) => first = Some(refused.refusal),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(first.map_or_else(String::new, |refusal| {
        let errno = refusal.errno;
        let error = Error::Refused { what: "make an nftables table of the netdev family", refusal };
        if errno == Errno::EPERM { error.to_string() } else { format!("{error}; {}", hint(Some(errno))) }
    }))
}

fn trial(egress: bool) -> Vec<Message> {
    let (v4, v6) = (vec![Ipv4Addr::LOCALHOST.into()], vec![Ipv6Addr::LOCALHOST.into()]);
    let group = Addresses { number: 1, v4, v6, ranges: Vec::new() };
    let table = format!("avamgr_trial_{}", std::process::id());
    let ruleset = Ruleset { table, egress, groups: vec![group] };
    let mut messages = ruleset.installation(&[LOOPBACK.to_owned()]);
    messages.extend(ruleset.open(1, Duration::from_secs(1)));
    messages.extend(ruleset.removal());
    messages
}

fn hint(errno: Option<Errno>) -> String {
    let modules = "the kernel needs nftables with the netdev family (CONFIG_NF_TABLES, CONFIG_NF_TABLES_NETDEV, \
                   CONFIG_NETFILTER_INGRESS)";
    match errno {
        Some(Errno::EOPNOTSUPP | Errno::ENOENT | Errno::EAFNOSUPPORT) | None => {
            format!(
                "{modules}: load the modules nf_tables and nf_tables_netdev, or install the kernel package that has them"
            )
        }
        Some(_) => modules.to_owned(),
    }
}
