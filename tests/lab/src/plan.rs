//! What a lab is made of: hosts, networks, and the cables between them, as plain values.
//!
//! [`Plan::pair`] is the installation of the original system: two nodes with a neutral network towards the arbitrator,
//! a service LAN, and two dedicated links.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::error::{LabError, Result};

/// The virtual address of the standard plan, free for a story to give to a node.
pub const VIP: &str = "172.16.9.61";
/// The same for IPv6.
pub const VIP6: &str = "2001:db8:9::61";
/// The arbitrator of the standard plan.
pub const ARBITRATOR: &str = "172.16.6.250";

/// The kernel's limit for the name of an interface; a port is called `host.interface`.
const NAME_BYTES: usize = 15;

/// An address with the length of its prefix, written `172.16.9.54/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    /// The address.
    pub ip: IpAddr,
    /// The length of the prefix.
    pub len: u8,
}

impl FromStr for Cidr {
    type Err = LabError;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || LabError::Plan(format!("`{text}` is not an address with a prefix length"));
        let (ip, len) = text.split_once('/').ok_or_else(wrong)?;
        let (ip, len): (IpAddr, u8) = (ip.parse().map_err(|_| wrong())?, len.parse().map_err(|_| wrong())?);
        let longest = if ip.is_ipv6() { 128 } else { 32 };
        if len > longest { Err(wrong()) } else { Ok(Self { ip, len }) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.len)
    }
}

/// How the cables of a network meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// Back to back: when one end goes away, the other end loses its carrier.
    Direct,
    /// Through a switch, which keeps everyone's carrier up.
    Switched,
}

/// A network that interfaces of hosts are plugged into.
#[derive(Clone, Debug)]
pub struct NetworkPlan {
    /// Its name in fault orders.
    pub name: String,
    /// How its cables meet.
    pub wiring: Wiring,
}

/// An interface of a host, its cable and its addresses.
#[derive(Clone, Debug)]
pub struct NicPlan {
    /// The interface's name in the host.
    pub name: String,
    /// The network its cable leads to.
    pub network: String,
    /// Its addresses after boot.
    pub addresses: Vec<Cidr>,
    /// Prefixes reached directly on this interface, besides those of its addresses.
    pub on_link: Vec<Cidr>,
}

/// What a host is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// A node of the cluster: its addresses are watched, and it answers probes.
    Node,
    /// Anything else: client, arbitrator, witness.
    Guest,
}

/// A host.
#[derive(Clone, Debug)]
pub struct HostPlan {
    /// Its host name.
    pub name: String,
    /// What it is for.
    pub kind: HostKind,
    /// Its interfaces.
    pub nics: Vec<NicPlan>,
    /// Kernel settings of its network at boot, as paths below `/proc/sys/net`, after the lab's own.
    pub sysctls: Vec<(String, String)>,
    /// Whether it has its own `/dev/log`, written to its `/var/log/syslog`.
    pub own_syslog: bool,
}

/// A whole lab.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The networks.
    pub networks: Vec<NetworkPlan>,
    /// The hosts.
    pub hosts: Vec<HostPlan>,
}

impl Plan {
    /// Two nodes `hadev1` and `hadev2`, back-to-back dedicated links `hb1` (eth3) and `hb2` (eth4), a service network
    /// `lan` (eth1) with host `client`, and a network `neutral` (eth0) with host `arbitrator`.
    #[must_use]
    pub fn pair() -> Self {
        Self::nodes(2)
    }

    /// The same for any number of nodes; more than two meet on the dedicated links through switches.
    #[must_use]
    pub fn nodes(count: u8) -> Self {
        let direct = if count == 2 { Wiring::Direct } else { Wiring::Switched };
        let network = |name: &str, wiring| NetworkPlan { name: name.to_owned(), wiring };
        let mut hosts: Vec<HostPlan> = (0..count).map(node).collect();
        hosts.push(guest("client", vec![nic("eth1", "lan", &["172.16.9.1/24", "2001:db8:9::1/64"])]));
        hosts.push(guest(
            "arbitrator",
            vec![
                nic("eth0", "neutral", &["172.16.6.250/24", "172.16.8.250/24", "2001:db8:8::250/64"]),
                nic("eth1", "lan", &["172.16.9.250/24", "2001:db8:9::250/64"]),
            ],
        ));
        Self {
            networks: vec![
                network("neutral", Wiring::Switched),
                network("lan", Wiring::Switched),
                network("hb1", direct),
                network("hb2", direct),
            ],
            hosts,
        }
    }

    /// Puts switches into all links: carrier then tells nothing, only heartbeats do.
    #[must_use]
    pub fn switched(mut self) -> Self {
        for network in &mut self.networks {
            network.wiring = Wiring::Switched;
        }
        self
    }

    /// Gives every node a `/dev/log` of its own.
    #[must_use]
    pub fn with_syslog(mut self) -> Self {
        for host in self.hosts.iter_mut().filter(|host| host.kind == HostKind::Node) {
            host.own_syslog = true;
        }
        self
    }

    /// Sets a kernel setting of the network on every node, as a path below `/proc/sys/net`.
    #[must_use]
    pub fn with_sysctl(mut self, path: &str, value: &str) -> Self {
        for host in self.hosts.iter_mut().filter(|host| host.kind == HostKind::Node) {
            host.sysctls.push((path.to_owned(), value.to_owned()));
        }
        self
    }

    /// Refuses what could not be built, before anything is.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |sentence: String| Err(LabError::Plan(sentence));
        let mut names = BTreeSet::new();
        for host in &self.hosts {
            if !names.insert(&host.name) {
                return refuse(format!("two hosts are called {}", host.name));
            }
            for nic in &host.nics {
                let port = port_name(&host.name, &nic.name);
                if port.len() > NAME_BYTES {
                    return refuse(format!("{port} is longer than the {NAME_BYTES} bytes of an interface's name"));
                }
                if !self.networks.iter().any(|network| network.name == nic.network) {
                    return refuse(format!("{port} is plugged into {}, which is no network", nic.network));
                }
            }
        }
        for network in self.networks.iter().filter(|network| network.wiring == Wiring::Direct) {
            let ends = self.hosts.iter().flat_map(|host| &host.nics).filter(|nic| nic.network == network.name).count();
            if ends != 2 {
                return refuse(format!("{} is wired back to back, so it needs two ends; it has {ends}", network.name));
            }
        }
        Ok(())
    }
}

/// The name of the switch's end of a cable.
pub(crate) fn port_name(host: &str, nic: &str) -> String {
    format!("{host}.{nic}")
}

/// The addresses count up from those of the original's first node.
fn node(place: u8) -> HostPlan {
    let (neutral, service) = (50 + place, 54 + place);
    let mut eth0 = nic("eth0", "neutral", &[&format!("172.16.8.{neutral}/24"), &format!("2001:db8:8::{neutral}/64")]);
    eth0.on_link.extend(cidr("172.16.6.250/32"));
    let both = |name, network, v4: &str, v6: &str| {
        nic(name, network, &[&format!("{v4}.{service}/24"), &format!("{v6}::{service}/64")])
    };
    HostPlan {
        name: format!("hadev{}", place + 1),
        kind: HostKind::Node,
        nics: vec![
            eth0,
            both("eth1", "lan", "172.16.9", "2001:db8:9"),
            both("eth3", "hb1", "172.16.11", "fd00:11"),
            both("eth4", "hb2", "172.16.13", "fd00:13"),
        ],
        sysctls: Vec::new(),
        own_syslog: false,
    }
}

fn guest(name: &str, nics: Vec<NicPlan>) -> HostPlan {
    HostPlan { name: name.to_owned(), kind: HostKind::Guest, nics, sysctls: Vec::new(), own_syslog: false }
}

fn nic(name: &str, network: &str, addresses: &[&str]) -> NicPlan {
    NicPlan {
        name: name.to_owned(),
        network: network.to_owned(),
        addresses: addresses.iter().flat_map(|text| cidr(text)).collect(),
        on_link: Vec::new(),
    }
}

/// Only for the texts of this module, which a test parses.
fn cidr(text: &str) -> Option<Cidr> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_plan_is_the_original_installation() {
        let plan = Plan::pair();
        plan.check().unwrap();
        let texts = |host: usize, nic: usize| -> Vec<String> {
            plan.hosts[host].nics[nic].addresses.iter().map(Cidr::to_string).collect()
        };
        assert_eq!(texts(0, 1), ["172.16.9.54/24", "2001:db8:9::54/64"]);
        assert_eq!(texts(1, 2), ["172.16.11.55/24", "fd00:11::55/64"]);
        assert_eq!(texts(3, 0).len(), 3);
    }

    #[test]
    fn three_nodes_cannot_be_back_to_back() {
        let mut plan = Plan::nodes(3);
        plan.check().unwrap();
        plan.networks[2].wiring = Wiring::Direct;
        let error = plan.check().unwrap_err().to_string();
        assert!(error.contains("hb1 is wired back to back, so it needs two ends; it has 3"), "{error}");
    }

    #[test]
    fn a_prefix_longer_than_the_address_is_refused() {
        assert!("172.16.9.1/33".parse::<Cidr>().is_err());
        assert!("::1/129".parse::<Cidr>().is_err());
    }
}
