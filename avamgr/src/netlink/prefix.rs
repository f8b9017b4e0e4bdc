//! Arithmetic with prefixes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use avamgr_core::config::IpNet;

/// The prefix without the bits of a host in it, as the kernel wants it for a route.
pub fn network(net: IpNet) -> IpNet {
    let address = match net.address {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & !host_mask_v4(net.prefix))),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !host_mask_v6(net.prefix))),
    };
    IpNet { address, prefix: net.prefix }
}

/// Whether an address lies in a prefix.
pub fn contains(net: IpNet, address: IpAddr) -> bool {
    net.address.is_ipv4() == address.is_ipv4() && network(IpNet { address, prefix: net.prefix }) == network(net)
}

/// How many addresses a prefix has; 2^128 is cut to the largest number there is.
pub fn size(net: IpNet) -> u128 {
    match net.address {
        IpAddr::V4(_) => u128::from(host_mask_v4(net.prefix)) + 1,
        IpAddr::V6(_) => host_mask_v6(net.prefix).saturating_add(1),
    }
}

/// The address at this place in a prefix; places beyond its end begin again.
pub fn member(net: IpNet, place: u128) -> IpAddr {
    match network(net).address {
        IpAddr::V4(first) => {
            let host = u32::try_from(place & u128::from(host_mask_v4(net.prefix))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() | host))
        }
        IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() | (place & host_mask_v6(net.prefix)))),
    }
}

/// An address or prefix as it is written: `172.16.9.61/24`.
pub fn show(net: IpNet) -> String {
    format!("{}/{}", net.address, net.prefix)
}

fn host_mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0)
}

fn host_mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        let (address, prefix) = text.split_once('/').unwrap();
        IpNet { address: address.parse().unwrap(), prefix: prefix.parse().unwrap() }
    }

    #[test]
    fn a_prefix_begins_at_its_network_and_knows_its_size() {
        assert_eq!(network(net("172.16.9.61/20")), net("172.16.0.0/20"));
        assert_eq!(network(net("2001:db8::61/64")), net("2001:db8::/64"));
        assert_eq!(size(net("172.16.0.0/20")), 4096);
        assert_eq!((size(net("10.0.0.1/32")), size(net("::/128")), size(net("0.0.0.0/0"))), (1, 1, 1 << 32));
        assert_eq!(member(net("172.16.9.61/20"), 4095), net("172.16.15.255/32").address);
        assert_eq!(member(net("2001:db8::/112"), 0x10001), net("2001:db8::1/128").address);
    }

    proptest! {
        #[test]
        fn every_member_is_contained(octets: [u8; 16], v4: bool, prefix in 0u8..=128, place: u128) {
            let address = if v4 { IpAddr::from([octets[0], octets[1], octets[2], octets[3]]) } else { IpAddr::from(octets) };
            let net = IpNet { address, prefix: if v4 { prefix.min(32) } else { prefix } };
            prop_assert!(contains(net, address));
            prop_assert!(contains(net, member(net, place)));
            prop_assert_eq!(member(net, 0), network(net).address);
        }
    }
}
