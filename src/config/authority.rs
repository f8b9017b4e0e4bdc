//! Who gives the right to be ACTIVE, and whose votes count.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Config, build};

/// What gives a node the right to be ACTIVE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authority {
    /// The isolation test: a node that reaches neither its peers nor the arbitrator is not.
    Ping,
    /// A lease, given by a majority of the nodes and the witness.
    Lease,
    /// A lease, given by an etcd cluster alone.
    Etcd,
}

/// The voter on a third site.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WitnessConfig {
    /// Where it listens.
    pub address: IpAddr,
    /// Its UDP port.
    pub port: u16,
    /// Interface of each node the way to it leaves through; `None` lets the routing table decide.
    pub interfaces: Option<Vec<String>>,
    /// The keys this cluster shares with it.
    pub key_file: PathBuf,
}

/// The etcd cluster that holds the leases.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EtcdConfig {
    /// Its members, `http://address:port` or `https://address:port`; one that answers is enough.
    pub endpoints: Vec<String>,
    /// Its keys of ours are below `/prefix/cluster/`.
    pub prefix: String,
    /// Who may have signed the members' certificates; there when an endpoint is `https://`.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, where the members ask for one.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

impl Config {
    /// Leases decide who is ACTIVE.
    pub fn leases(&self) -> bool {
        match self.authority {
            _ if self.standalone => false,
            Authority::Ping => false,
            Authority::Lease | Authority::Etcd => true,
        }
    }

    /// Each node has a vote on leases; otherwise only the voter outside has one.
    pub fn nodes_vote(&self) -> bool {
        self.authority == Authority::Lease
    }

    /// There is a voter that is no node: a witness, or etcd.
    pub fn has_voter_outside(&self) -> bool {
        !self.standalone && (self.witness.is_some() || self.etcd.is_some())
    }

    /// What that voter is called in a table.
    pub fn outside_voter_name(&self) -> &'static str {
        if self.etcd.is_some() { "etcd" } else { "witness" }
    }

    /// Voters of a lease: the nodes and the witness, or etcd alone.
    pub fn voters(&self) -> usize {
        let nodes = if self.nodes_vote() { self.nodes.len() } else { 0 };
        nodes + usize::from(self.has_voter_outside())
    }

    /// Names who votes: the nodes in their order, and the witness or etcd. Votes count only among those who agree on it, or
    /// two majorities need not share a voter. Zero where nobody votes.
    pub fn voters_digest(&self) -> u32 {
        if self.leases() { build::voters_digest(self) } else { 0 }
    }

    /// Votes that make a lease: two sets of this size always share a voter.
    pub fn majority(&self) -> usize {
        self.voters() / 2 + 1
    }
}
