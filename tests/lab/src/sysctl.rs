//! Kernel settings of the network of hosts.

use std::fs;
use std::io;

/// What every host starts with. A new namespace takes some of these over from the machine, so all that matter are set.
pub(crate) const HOST: [(&str, &str); 14] = [
    // Addresses answer at once: a node pair has no time for duplicate address detection.
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    // The kernel announces nothing by itself: announcements are the daemon's work and are counted.
    ("ipv4/conf/all/arp_notify", "0"),
    ("ipv4/conf/default/arp_notify", "0"),
    ("ipv6/conf/all/ndisc_notify", "0"),
    ("ipv6/conf/default/ndisc_notify", "0"),
    // As the original installation asks for: each interface answers only for what is routed through it.
    ("ipv4/conf/all/arp_filter", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/ip_forward", "0"),
    // Ping sockets for root, the one group that exists in every user namespace.
    ("ipv4/ping_group_range", "0 0"),
];

/// The switch only forwards frames and has no business with addresses.
pub(crate) const SWITCH: [(&str, &str); 2] =
    [("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")];

/// Writes settings in the network namespace of the calling thread.
pub(crate) fn write_all<P: AsRef<str>, V: AsRef<str>>(settings: &[(P, V)]) -> io::Result<()> {
    for (path, value) in settings {
        let path = format!("/proc/sys/net/{}", path.as_ref());
        fs::write(&path, value.as_ref())
            .map_err(|error| io::Error::new(error.kind(), format!("set {path} to {}: {error}", value.as_ref())))?;
    }
    Ok(())
}
