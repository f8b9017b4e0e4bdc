//! Addresses of TIPC as the kernel has them (`sockaddr_tipc` of Linux's tipc.h), and what the daemons of a cluster are called
//! there.
//!
//! A daemon binds the *service address* of its node: a type that follows from the cluster's name, and the node's place in the
//! config as instance. Whoever knows both can speak to it, wherever it runs.

use avamgr_core::cluster::NodeId;
use avamgr_core::config::TipcAddress;

/// Bytes of an address.
pub(in crate::links) const ADDRESS: usize = 16;

/// Kinds of addresses.
const SERVICE_RANGE: u8 = 1;
const SERVICE: u8 = 2;
/// Known to all nodes of the network.
const CLUSTER_SCOPE: u8 = 2;
/// The service that tells of others; it has one instance, of the same number.
const TOPOLOGY: u32 = 1;
/// The service under which TIPC publishes each of its links, by the address of the peer.
pub(super) const LINKS: u32 = 2;

/// The service type of a cluster's daemons, from what stands for its name in a frame. The highest bit keeps it apart from
/// TIPC's own (below 64) and from small numbers that others choose by hand. Two clusters whose types are the same by chance
/// refuse each other's frames.
pub(super) fn service_type(cluster_id: u64) -> u32 {
    let [.., a, b, c, d] = cluster_id.to_be_bytes();
    u32::from_be_bytes([a, b, c, d]) | 1 << 31
}

/// What the daemon of a node is bound to.
pub(super) fn service(service_type: u32, node: NodeId) -> [u8; ADDRESS] {
    let instance = u32::from(node.0);
    address(SERVICE_RANGE, CLUSTER_SCOPE, [service_type, instance, instance])
}

/// The same, as whoever sends to it writes it: looked up at that node and nowhere else.
pub(super) fn daemon_at(service_type: u32, node: NodeId, at: TipcAddress) -> [u8; ADDRESS] {
    address(SERVICE, 0, [service_type, u32::from(node.0), at.bits()])
}

/// Who tells of services that come and go.
pub(super) fn topology() -> [u8; ADDRESS] {
    address(SERVICE, 0, [TOPOLOGY, TOPOLOGY, 0])
}

fn address(kind: u8, scope: u8, words: [u32; 3]) -> [u8; ADDRESS] {
    let family = u16::try_from(libc::AF_TIPC).unwrap_or(0);
    let mut bytes = [0; ADDRESS];
    bytes[..2].copy_from_slice(&family.to_ne_bytes());
    bytes[2..4].copy_from_slice(&[kind, scope]);
    for (place, word) in bytes[4..].chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// The node in the address of a socket.
pub(in crate::links) fn node_of(bytes: &[u8; ADDRESS]) -> u32 {
    u32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]])
}

/// The socket's own number in its address.
pub(in crate::links) fn port_of(bytes: &[u8; ADDRESS]) -> u32 {
    u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]])
}

#[cfg(test)]
mod tests {
    use avamgr_core::wire::seal::cluster_id;

    use super::*;

    #[test]
    fn clusters_have_types_of_their_own() {
        let types = ["dre", "mysql", "DRE"].map(|name| service_type(cluster_id(name)));
        for (index, one) in types.iter().enumerate() {
            assert!(*one >= 1 << 31);
            assert!(types[..index].iter().all(|other| other != one));
        }
    }

    #[test]
    fn addresses_are_laid_out_as_the_kernel_reads_them() {
        let word = |number: u32| number.to_ne_bytes();
        let at: TipcAddress = "1.1.29".parse().unwrap();
        let bound = service(0x8000_0007, NodeId(1));
        assert_eq!(bound[..4], [30_u16.to_ne_bytes()[0], 30_u16.to_ne_bytes()[1], 1, 2]);
        assert_eq!(bound[4..], [word(0x8000_0007), word(1), word(1)].concat());
        let sent_to = daemon_at(0x8000_0007, NodeId(1), at);
        assert_eq!(sent_to[2..4], [2, 0]);
        assert_eq!(sent_to[4..], [word(0x8000_0007), word(1), word(0x0100_101d)].concat());
    }
}
