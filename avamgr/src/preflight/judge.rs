//! What the facts mean for this config, and what to do about it.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use avamgr_core::cluster::NodeId;
use avamgr_core::config::{Config, LinkKind, ResourceConfig, ResourceKind, Transport, UdpConfig, VipConfig};
use avamgr_core::control::words::duration;

use crate::preflight::{Facts, Finding, Interface, KeyFile, Owner, fencing, lease, rules, tipc, web};

/// Every finding, in the order in which one would look.
pub fn judge(config: &Config, me: NodeId, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(key_file(config, facts));
    for link in &config.links {
        match &link.transport {
            Transport::Udp(udp) => findings.extend(self::link(&link.name, udp, me, facts)),
            Transport::Tipc(tipc) => findings.extend(tipc::judge(link, tipc, me, config.timers.dead_time, facts)),
        }
    }
    findings.extend(arbitrator(config, me, facts));
    findings.extend(lease::judge(config, me, facts));
    findings.extend(fencing::judge(config, facts));
    for (name, resource) in resources(config) {
        match &resource.kind {
            ResourceKind::Vip(vip) => findings.extend(self::vip(&name, vip, me, facts)),
            ResourceKind::Systemd(systemd) => findings.push(systemd_unit(&name, &systemd.unit, facts)),
            ResourceKind::Exec(_) | ResourceKind::Lsb(_) => {}
        }
    }
    findings.extend(programs(facts));
    findings.extend(facts.rules.iter().flat_map(rules::judge));
    findings.extend(facts.web.iter().flat_map(web::judge));
    findings.extend(arp_filter(config, me, facts));
    findings.extend(nonlocal_bind(config, facts));
    findings.extend(connections(config, facts));
    findings.push(network_manager(facts));
    findings.extend(operators(config, facts));
    findings.extend(clocks(config, facts));
    findings
}

fn resources(config: &Config) -> impl Iterator<Item = (String, &ResourceConfig)> {
    let named = |(group, resource): (&str, _)| {
        let resource: &ResourceConfig = resource;
        (format!("{group}/{}", resource.name), resource)
    };
    let all =
        config.groups.iter().flat_map(|group| group.resources.iter().map(|resource| (group.name.as_str(), resource)));
    all.map(named)
}

fn key_file(config: &Config, facts: &Facts) -> Option<Finding> {
    let found = facts.key_file.as_ref().filter(|_| !config.standalone)?;
    let hint = "make it with `avamgr keygen` and copy it to every node";
    Some(judge_key_file(&config.daemon.key_file, found, facts.uid, hint))
}

/// A key file; `hint` says how one is made.
pub(super) fn judge_key_file(path: &Path, found: &KeyFile, uid: u32, hint: &str) -> Finding {
    judge_private_file("key file", path, found, uid, hint, "make a new key")
}

/// A file that only we may read; `known` says what to do when somebody else has.
pub(super) fn judge_private_file(
    what: &str,
    path: &Path,
    found: &KeyFile,
    uid: u32,
    hint: &str,
    known: &str,
) -> Finding {
    let file = path.display();
    let subject = format!("{what} {file}");
    match found {
        KeyFile::Missing => Finding::error(subject, "is missing", hint),
        KeyFile::Hidden(error) if uid == 0 => {
            Finding::error(subject, format!("cannot be looked at: {error}"), "check its directory")
        }
        KeyFile::Hidden(error) => {
            Finding::warning(subject, format!("cannot be looked at: {error}"), "run the check as root")
        }
        KeyFile::Found { is_file: false, .. } => Finding::error(subject, "is not a file", "name a file in the config"),
        KeyFile::Found { mode, .. } if mode & 0o077 != 0 => Finding::error(
            subject,
            format!("has mode {mode:04o}: others than its owner can use it"),
            format!("chmod 0600 {file}; if somebody may have read it, {known}"),
        ),
        KeyFile::Found { uid: owner, .. } if *owner != 0 && *owner != uid => {
            Finding::error(subject, format!("belongs to uid {owner}"), format!("chown root {file}"))
        }
        KeyFile::Found { mode, .. } => Finding::ok(subject, format!("mode {mode:04o}, owner as it should be")),
    }
}

/// The dedicated link that has this interface here.
pub(super) fn link_by_interface<'a>(config: &'a Config, me: NodeId, interface: &str) -> Option<&'a str> {
    let mut dedicated = config.links.iter().filter(|link| link.kind == LinkKind::Dedicated);
    let link = dedicated.find(|link| link.interfaces(me).contains(&interface))?;
    Some(&link.name)
}

fn link(link: &str, udp: &UdpConfig, me: NodeId, facts: &Facts) -> Option<Finding> {
    let (name, address) = (udp.interfaces.get(me.index())?, udp.addresses.get(me.index())?);
    let subject = format!("link {link}");
    Some(match usable(facts, name) {
        Err((text, hint)) => Finding::error(subject, text, hint),
        Ok(interface) if !interface.addresses.contains(address) => Finding::error(
            subject,
            format!("interface {name} does not have the address {address}"),
            format!("give it this address, or correct link.{link}.address; it has: {}", list(interface)),
        ),
        Ok(interface) if !interface.running => {
            Finding::warning(subject, format!("interface {name} has no carrier"), "check cable, switch port and peer")
        }
        Ok(_) => Finding::ok(subject, format!("{address} on {name}, up, with carrier")),
    })
}

/// An interface that is there and switched on, or what is wrong and what to do.
pub(super) fn usable<'a>(facts: &'a Facts, name: &str) -> Result<&'a Interface, (String, String)> {
    match facts.interfaces.get(name) {
        None => {
            let there: Vec<&str> = facts.interfaces.keys().map(String::as_str).collect();
            Err((format!("interface {name} does not exist"), format!("there is: {}", there.join(", "))))
        }
        Some(interface) if !interface.up => {
            Err((format!("interface {name} is switched off"), format!("ip link set {name} up, and at every boot")))
        }
        Some(interface) => Ok(interface),
    }
}

fn list(interface: &Interface) -> String {
    let addresses: Vec<String> = interface.addresses.iter().map(IpAddr::to_string).collect();
    if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") }
}

fn arbitrator(config: &Config, me: NodeId, facts: &Facts) -> Vec<Finding> {
    let way = |(address, route): (&IpAddr, &Result<_, String>)| {
        let subject = format!("arbitrator {address}");
        let route: &crate::preflight::Route = match route {
            Ok(route) => route,
            Err(error) => {
                return Finding::error(
                    subject,
                    format!("there is no way to it: {error}"),
                    "add a route to it over a neutral path",
                );
            }
        };
        match (link_by_interface(config, me, &route.interface), route.gateway) {
            (Some(link), _) => Finding::error(
                subject,
                format!("the way to it leaves through {}, which is heartbeat link {link}", route.interface),
                "add a route over a neutral path: an arbitrator that is lost together with a link decides wrongly",
            ),
            (None, None) => Finding::ok(subject, format!("through {}", route.interface)),
            (None, Some(gateway)) => Finding::ok(subject, format!("through {} by way of {gateway}", route.interface)),
        }
    };
    facts.routes.iter().map(way).collect()
}

fn vip(name: &str, vip: &VipConfig, me: NodeId, facts: &Facts) -> Option<Finding> {
    let interface = vip.interfaces.get(me.index())?;
    let subject = format!("resource {name}");
    let count = vip.addresses.len() + vip.ranges.len();
    Some(match usable(facts, interface) {
        Err((text, hint)) => Finding::error(subject, text, hint),
        Ok(found) if !found.running => {
            Finding::warning(subject, format!("interface {interface} has no carrier"), "check cable and switch port")
        }
        Ok(found) => {
            let here = vip.addresses.iter().filter(|net| found.addresses.contains(&net.address)).count();
            match (here, facts.clocks.is_some()) {
                // A daemon that runs may well have put them there.
                (0, _) | (_, true) => {
                    let addresses = if count == 1 { "address" } else { "addresses" };
                    Finding::ok(subject, format!("{count} {addresses} for {interface}, up, with carrier"))
                }
                (_, false) => Finding::warning(
                    subject,
                    format!("{here} of its {count} addresses on {interface} although no daemon runs"),
                    "left by a daemon that died, or set by something else: take them out of the system's own network \
                     config; `avamgr resource stop` removes them now",
                ),
            }
        }
    })
}

fn systemd_unit(name: &str, unit: &str, facts: &Facts) -> Finding {
    let subject = format!("resource {name}");
    if facts.systemd {
        return Finding::ok(subject, format!("unit {unit}, systemd runs"));
    }
    let hint = "use `exec` or `lsb` for this service";
    Finding::error(subject, format!("unit {unit}, but systemd is not the init of this host"), hint)
}

fn programs(facts: &Facts) -> Vec<Finding> {
    let program = |program: &crate::preflight::Program| {
        let subject = match &program.owner {
            Owner::Resource(name) => format!("resource {name}"),
            Owner::Hook(group) => format!("hook of {group}"),
            Owner::Fence(node) => format!("fence device of {node}"),
        };
        let why = match &program.found {
            Ok(path) => return Finding::ok(subject, format!("runs {}", path.display())),
            Err(why) => why,
        };
        let text = format!("{} cannot be run: {why}", program.path);
        let hint = "install it, or correct the path in the config";
        match program.owner {
            Owner::Resource(_) | Owner::Fence(_) => Finding::error(subject, text, hint),
            // Nothing waits for it.
            Owner::Hook(_) => Finding::warning(subject, text, hint),
        }
    };
    facts.programs.iter().map(program).collect()
}

/// Without it, a host answers ARP for any of its addresses on any of its interfaces: clients learn the wrong MAC, and a VIP
/// probe sees owners that are none.
fn arp_filter(config: &Config, me: NodeId, facts: &Facts) -> Option<Finding> {
    let mut names: Vec<&String> = Vec::new();
    for (_, resource) in resources(config) {
        if let ResourceKind::Vip(vip) = &resource.kind {
            names.extend(vip.interfaces.get(me.index()));
        }
    }
    names.sort();
    names.dedup();
    let off = |name: &&&String| facts.interfaces.get(**name).is_none_or(|found| found.arp_filter != Some(true));
    let without: Vec<&str> = names.iter().filter(off).map(|name| name.as_str()).collect();
    let subject = "sysctl net.ipv4.conf.all.arp_filter";
    match facts.arp_filter_all {
        Some(true) => Some(Finding::ok(subject, "is 1")),
        Some(false) if without.is_empty() => Some(Finding::ok(subject, "is 0, but 1 on every interface with VIPs")),
        Some(false) => Some(Finding::warning(
            subject,
            format!(
                "is 0, also on {}: this host answers ARP for a VIP on its other interfaces too",
                without.join(", ")
            ),
            "sysctl -w net.ipv4.conf.all.arp_filter=1, and put it into /etc/sysctl.conf",
        )),
        None => None,
    }
}

fn nonlocal_bind(config: &Config, facts: &Facts) -> Option<Finding> {
    let is_vip = |resource: &&ResourceConfig| matches!(resource.kind, ResourceKind::Vip(_));
    let early = config.groups.iter().find_map(|group| {
        let last_vip = group.resources.iter().rposition(|resource| is_vip(&resource))?;
        group.resources.iter().take(last_vip).find(|resource| !is_vip(resource)).map(|service| (group, service))
    })?;
    let (group, service) = early;
    let subject = "sysctl net.ipv4.ip_nonlocal_bind";
    Some(if facts.nonlocal_bind {
        Finding::ok(subject, "is 1: services may start before their addresses")
    } else {
        Finding::warning(
            subject,
            format!("is 0, and {}/{} starts before a VIP of its group is there", group.name, service.name),
            "put the VIP first in the group, or set it to 1 (both families) if the service binds to the VIP",
        )
    })
}

fn connections(config: &Config, facts: &Facts) -> Option<Finding> {
    resources(config).find(|(_, resource)| matches!(resource.kind, ResourceKind::Vip(_)))?;
    let subject = "connections to VIPs";
    let why = match &facts.destroys_connections {
        Ok(true) => return Some(Finding::ok(subject, "end with their address")),
        Ok(false) => "this kernel cannot destroy them",
        Err(why) => why,
    };
    Some(Finding::warning(
        subject,
        format!("do not end with their address, clients hang until they time out: {why}"),
        "use a kernel with CONFIG_INET_DIAG_DESTROY and CONFIG_INET_TCP_DIAG",
    ))
}

fn network_manager(facts: &Facts) -> Finding {
    if !facts.network_manager {
        return Finding::ok("NetworkManager", "does not run");
    }
    Finding::warning(
        "NetworkManager",
        "runs: it takes away addresses it did not set, and restarts links",
        "switch it off (systemctl disable --now NetworkManager), or mark the interfaces of links and VIPs as unmanaged",
    )
}

fn operators(config: &Config, facts: &Facts) -> Option<Finding> {
    let group = config.daemon.operators.as_ref()?;
    let subject = format!("operators' group {group}");
    Some(if facts.operators_group? {
        Finding::ok(subject, "exists")
    } else {
        Finding::warning(subject, "is not in /etc/group: only root may steer", format!("groupadd --system {group}"))
    })
}

fn clocks(config: &Config, facts: &Facts) -> Vec<Finding> {
    let Some(clocks) = &facts.clocks else {
        let hint = "start the daemon on both nodes and check again";
        return vec![Finding::warning("wall clocks", "cannot be compared: the daemon does not run here", hint)];
    };
    let limit = config.limits.clock_offset;
    let clock = |clock: &crate::preflight::PeerClock| {
        let subject = format!("wall clock of {}", clock.node);
        let Some(offset) = clock.offset_millis else {
            return Finding::warning(subject, "is not known: the peer is not heard", "start the peer and check again");
        };
        let apart = Duration::from_millis(offset.unsigned_abs());
        let text = format!("differs by {offset:+} ms (limit {})", duration(limit));
        if apart > limit {
            Finding::warning(subject, text, "check NTP on both nodes: logs of the two cannot be compared")
        } else {
            Finding::ok(subject, text)
        }
    };
    clocks.iter().map(clock).collect()
}
