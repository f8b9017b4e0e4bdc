//! What carries the frames of a link.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::LinkConfig;
use crate::cluster::{BearerId, NodeId};

/// Bits of the node in a TIPC address, and of the cluster above them; the zone has what is left (Linux's tipc.h).
const NODE_BITS: u32 = 12;
const CLUSTER_BITS: u32 = 12;
/// Largest zone, cluster and node number; none of them is zero.
const ZONE_MAX: u32 = 255;
const PART_MAX: u32 = 4_095;

/// What carries the frames of a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Transport {
    /// UDP datagrams between two addresses, over one interface.
    Udp(UdpConfig),
    /// Messages of TIPC, over as many bearers as it has.
    Tipc(TipcConfig),
}

/// A link over UDP.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UdpConfig {
    /// Interface of each node, in the order of the nodes (usually the same everywhere).
    pub interfaces: Vec<String>,
    /// Address of each node, in the order of the nodes; all of one family.
    pub addresses: Vec<IpAddr>,
    /// UDP port, the same on every node.
    pub port: u16,
}

/// The link over TIPC; there is one at most, as a node has one address of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TipcConfig {
    /// Number of the TIPC network, 1..=9999: nodes of another one are not heard.
    pub network_id: u32,
    /// TIPC address of each node, in the order of the nodes.
    pub node_addresses: Vec<TipcAddress>,
    /// Interfaces that carry it, the same on every node: 1 to 3.
    pub bearers: Vec<String>,
}

impl LinkConfig {
    /// The link as one over UDP.
    pub fn udp(&self) -> Option<&UdpConfig> {
        match &self.transport {
            Transport::Udp(udp) => Some(udp),
            Transport::Tipc(_) => None,
        }
    }

    /// The link as one over TIPC.
    pub fn tipc(&self) -> Option<&TipcConfig> {
        match &self.transport {
            Transport::Udp(_) => None,
            Transport::Tipc(tipc) => Some(tipc),
        }
    }

    /// The interfaces that carry it at a node.
    pub fn interfaces(&self, node: NodeId) -> Vec<&str> {
        match &self.transport {
            Transport::Udp(udp) => udp.interfaces.get(node.index()).map(String::as_str).into_iter().collect(),
            Transport::Tipc(tipc) => tipc.bearers.iter().map(String::as_str).collect(),
        }
    }

    /// The IP address of a node on it; a link over TIPC needs none.
    pub fn address(&self, node: NodeId) -> Option<IpAddr> {
        self.udp().and_then(|udp| udp.addresses.get(node.index()).copied())
    }

    /// Name of a bearer: its interface.
    pub fn bearer_name(&self, bearer: BearerId) -> &str {
        self.tipc().and_then(|tipc| tipc.bearers.get(bearer.index())).map_or("?", String::as_str)
    }
}

/// The address of a node in TIPC: zone, cluster and node in one number, written `1.1.23`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TipcAddress(u32);

impl TipcAddress {
    /// The address of these bits.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// As the kernel writes it in its structures.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for TipcAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = text.split('.').collect();
        let [zone, cluster, node] = *parts.as_slice() else { return Err(()) };
        let part = |text: &str, max: u32| {
            let digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
            text.parse().ok().filter(|number| digits && (1..=max).contains(number)).ok_or(())
        };
        let (zone, cluster, node) = (part(zone, ZONE_MAX)?, part(cluster, PART_MAX)?, part(node, PART_MAX)?);
        Ok(Self(zone << (CLUSTER_BITS + NODE_BITS) | cluster << NODE_BITS | node))
    }
}

impl fmt::Display for TipcAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (zone, cluster) = (self.0 >> (CLUSTER_BITS + NODE_BITS), self.0 >> NODE_BITS & PART_MAX);
        write!(f, "{zone}.{cluster}.{}", self.0 & PART_MAX)
    }
}

impl Serialize for TipcAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TipcAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| D::Error::custom(format!("no TIPC address: {text}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_the_kernel_has() {
        // 1.1.23 and 1.1.29 as `tipc node list` shows them: 01001017 and 0100101d.
        for (text, bits) in [("1.1.23", 0x0100_1017), ("1.1.29", 0x0100_101d), ("255.4095.4095", u32::MAX)] {
            let address: TipcAddress = text.parse().unwrap();
            assert_eq!((address.bits(), address.to_string().as_str()), (bits, text));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["", "1.1", "1.1.23.4", "0.1.1", "1.0.1", "1.1.0", "256.1.1", "1.4096.1", "1.1.4096", "1.1.+3", "a.b.c"]
        {
            assert_eq!(text.parse::<TipcAddress>(), Err(()), "{text}");
        }
    }
}
