//! Addresses. Only numbers: a name would have to be resolved, by a server that may be out of reach just when it matters.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Complaint, Grammar};
use crate::config::IpNet;

/// The address of one host.
pub(super) fn address(text: &str) -> Result<IpAddr, Complaint> {
    let complaint = || Complaint::value(Grammar::Address.describe());
    if let Some((host, _)) = text.split_once('/') {
        return Err(complaint().hint(format!("without the prefix length: \"{host}\"")));
    }
    if let Some((host, _)) = text.split_once('%') {
        return Err(complaint().hint(format!("the interface is a key of its own: \"{host}\"")));
    }
    let address: IpAddr = text.parse().map_err(|_| complaint().hint(no_name(text)))?;
    one_host(address)?;
    Ok(address)
}

/// An address with its prefix length.
pub(super) fn net(text: &str) -> Result<IpNet, Complaint> {
    let complaint = || Complaint::value(Grammar::Net.describe());
    let Some((host, prefix)) = text.split_once('/') else {
        let hint = match text.parse() {
            Ok(IpAddr::V4(_)) => {
                format!("with the prefix length of its network, such as \"{text}/24\"")
            }
            Ok(IpAddr::V6(_)) => {
                format!("with the prefix length of its network, such as \"{text}/64\"")
            }
            Err(_) => no_name(text),
        };
        return Err(complaint().hint(hint));
    };
    let address: IpAddr = host.parse().map_err(|_| complaint().hint(no_name(host)))?;
    if let Ok(mask) = prefix.parse::<Ipv4Addr>() {
        let ones = mask.to_bits().leading_ones();
        return Err(complaint().hint(format!("as a number of bits: \"{host}/{ones}\"")));
    }
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = prefix.parse().ok().filter(|length| (1..=bits).contains(length));
    let prefix = length.ok_or_else(|| complaint().hint(format!("the prefix length is a number from 1 to {bits}")))?;
    one_host(address)?;
    Ok(IpNet { address, prefix })
}

/// `address:port`.
pub(super) fn socket(text: &str) -> Result<(), Complaint> {
    let complaint = || Complaint::value(Grammar::Socket.describe());
    let hint = || match text.split_once(':') {
        Some(("localhost", port)) => format!("names are not resolved: \"127.0.0.1:{port}\""),
        Some(_) | None => "for example \"127.0.0.1:3868\" or \"[::1]:3868\"".to_owned(),
    };
    let address: SocketAddr = text.parse().map_err(|_| complaint().hint(hint()))?;
    if address.port() == 0 { Err(complaint().hint("port 0 is no port")) } else { Ok(()) }
}

/// `http://address[:port][/path]`.
pub(super) fn url(text: &str) -> Result<(), Complaint> {
    let complaint = || Complaint::value(Grammar::Url.describe());
    let Some(rest) = text.strip_prefix("http://") else {
        let hint = if text.starts_with("https://") {
            "no certificates are checked here; for TLS use script = \"curl ...\""
        } else {
            "for example \"http://127.0.0.1:8080/health\""
        };
        return Err(complaint().hint(hint));
    };
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(complaint().hint("without spaces; write them as %20"));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = &rest[..end];
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good = host.parse::<Ipv4Addr>().is_ok()
        || bare.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
        || host.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0);
    if good {
        return Ok(());
    }
    let hint = match host.strip_prefix("localhost") {
        Some(port) => format!("names are not resolved: \"http://127.0.0.1{port}{}\"", &rest[end..]),
        None => "names are not resolved; for example \"http://127.0.0.1:8080/health\"".to_owned(),
    };
    Err(complaint().hint(hint))
}

fn no_name(text: &str) -> String {
    if text.chars().any(|c| c.is_ascii_alphabetic()) && !text.contains(':') {
        "names are not resolved: write the address".to_owned()
    } else {
        "for example \"172.16.9.61\" or \"2001:db8:9::61\"".to_owned()
    }
}

/// Refuses what can be no single host's address on a network.
fn one_host(address: IpAddr) -> Result<(), Complaint> {
    let complaint = Complaint::value("the address of one host");
    if address.is_unspecified() {
        return Err(complaint.hint("this one means \"any address\""));
    }
    if address.is_multicast() {
        return Err(complaint.hint("this one is a multicast address"));
    }
    match address {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Err(complaint.hint("this one is the broadcast address")),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => Err(complaint.hint(format!("an IPv4 address is written as one: \"{v4}\""))),
            None => Ok(()),
        },
        IpAddr::V4(_) => Ok(()),
    }
}

impl IpNet {
    /// Bits of the whole address.
    fn bits(self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// Zero bits where the prefix is, ones where the hosts are.
    fn host_mask(self) -> u128 {
        let hosts = u32::from(self.bits().saturating_sub(self.prefix));
        1_u128.checked_shl(hosts).map_or(u128::MAX, |bit| bit - 1)
    }

    /// The first address of the prefix.
    pub fn first(self) -> IpAddr {
        from_number(self.address, number(self.address) & !self.host_mask())
    }

    /// The last address of the prefix.
    pub fn last(self) -> IpAddr {
        from_number(self.address, number(self.address) | self.host_mask())
    }

    /// Whether the prefix covers this address.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && (self.first()..=self.last()).contains(&address)
    }

    /// The longest prefix that covers two addresses of one family.
    pub(in crate::config) fn covering(one: IpAddr, other: IpAddr) -> Option<Self> {
        if one.is_ipv4() != other.is_ipv4() {
            return None;
        }
        let different = u128::BITS - (number(one) ^ number(other)).leading_zeros();
        let net = Self { address: one, prefix: 0 };
        let prefix = net.bits().saturating_sub(u8::try_from(different).unwrap_or(u8::MAX));
        Some(Self { address: one, prefix })
    }
}

impl std::fmt::Display for IpNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// A number as an address of the same family as another.
fn from_number(family: IpAddr, number: u128) -> IpAddr {
    match family {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX))),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}
