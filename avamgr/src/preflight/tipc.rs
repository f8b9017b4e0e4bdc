//! What a link over TIPC needs on this node: the kernel's TIPC, the number of the network, the node's address, and its bearers;
//! and the commands that set up what is missing.

use std::time::Duration;

use avamgr_core::cluster::NodeId;
use avamgr_core::config::{Config, LinkConfig, TipcAddress, TipcConfig};
use avamgr_core::control::words::duration;

use super::judge::usable;
use super::{Facts, Finding};
use crate::links::own_tipc_address;
use crate::netlink::tipc::{Bearer, Tipc as Kernel, look};

/// TIPC on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tipc {
    /// What the kernel tells; `Err` = why it cannot.
    pub kernel: Result<Kernel, String>,
    /// The address of this node, once it has one.
    pub address: Option<TipcAddress>,
}

/// Asks the kernel, where the config has a link over TIPC. It may load its module for that.
pub(super) fn gather(config: &Config) -> Option<Tipc> {
    config.links.iter().find(|link| link.tipc().is_some())?;
    // This first: it makes the kernel look for its module.
    let address = own_tipc_address().ok().flatten();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let kernel = match runtime {
        Ok(runtime) => runtime.block_on(look()).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    Some(Tipc { kernel, address })
}

/// Everything about the link over TIPC.
pub(super) fn judge(
    link: &LinkConfig,
    wanted: &TipcConfig,
    me: NodeId,
    dead_time: Duration,
    facts: &Facts,
) -> Vec<Finding> {
    let Some(found) = &facts.tipc else { return Vec::new() };
    let subject = format!("link {}", link.name);
    let kernel = match &found.kernel {
        Ok(kernel) => kernel,
        Err(error) => {
            let hint = "modprobe tipc, and at every boot (/etc/modules-load.d); some kernels come without it";
            return vec![Finding::error(subject, format!("this kernel has no TIPC: {error}"), hint)];
        }
    };
    let mut findings: Vec<Finding> = network(&subject, wanted, kernel, found.address).into_iter().collect();
    findings.push(address(&subject, wanted, me, found.address));
    findings.extend(wanted.bearers.iter().map(|name| bearer(&subject, name, kernel, facts)));
    findings.extend(strangers(&subject, wanted, kernel));
    findings.extend(uneven(&subject, wanted, kernel, dead_time));
    findings
}

fn network(subject: &str, wanted: &TipcConfig, kernel: &Kernel, address: Option<TipcAddress>) -> Option<Finding> {
    let (number, found) = (wanted.network_id, kernel.network_id?);
    if found == number {
        return None;
    }
    let text = format!("TIPC's network is {found}, not {number}: nodes of another network are not heard");
    let hint = match address {
        None => format!("tipc node set netid {number}"),
        Some(_) => {
            "it can be set only before the address: stop avamgrd, switch the bearers off, rmmod tipc (or reboot), set it first"
                .to_owned()
        }
    };
    Some(Finding::error(subject, text, hint))
}

fn address(subject: &str, wanted: &TipcConfig, me: NodeId, found: Option<TipcAddress>) -> Finding {
    let Some(own) = wanted.node_addresses.get(me.index()) else {
        return Finding::error(subject, "has no address for this node", "name it in `node_address`");
    };
    match found {
        Some(found) if found == *own => Finding::ok(subject, format!("TIPC address {own}")),
        Some(found) => Finding::error(
            subject,
            format!("this node's TIPC address is {found}, not {own}"),
            "correct `node_address`; or stop avamgrd, rmmod tipc (or reboot) and set the right one",
        ),
        None => Finding::error(subject, "this node has no TIPC address yet", format!("tipc node set address {own}")),
    }
}

fn bearer(subject: &str, name: &str, kernel: &Kernel, facts: &Facts) -> Finding {
    let interface = match usable(facts, name) {
        Err((text, hint)) => return Finding::error(subject, text, hint),
        Ok(interface) => interface,
    };
    match kernel.bearers.iter().find(|bearer| bearer.interface == name) {
        None => Finding::error(subject, format!("{name} is no bearer of TIPC"), enable(name)),
        Some(_) if !interface.running => {
            Finding::warning(subject, format!("bearer {name} has no carrier"), "check cable, switch port and peer")
        }
        Some(bearer) => {
            let tolerance = duration(Duration::from_millis(bearer.tolerance_millis.into()));
            Finding::ok(subject, format!("bearer {name}, up, with carrier, tolerance {tolerance}"))
        }
    }
}

/// A way that the config does not know of: its loss is not told, and it stands in for those that are.
fn strangers(subject: &str, wanted: &TipcConfig, kernel: &Kernel) -> Vec<Finding> {
    let strangers = kernel.bearers.iter().filter(|bearer| !wanted.bearers.contains(&bearer.interface));
    let finding = |bearer: &Bearer| {
        let text = format!(
            "TIPC has the bearer {0} besides: frames may travel over it, and nobody tells of its loss",
            bearer.interface
        );
        let hint = format!("name it in `bearers`, or: tipc bearer disable media eth device {}", bearer.interface);
        Finding::warning(subject, text, hint)
    };
    strangers.map(finding).collect()
}

/// Frames go over two bearers at once where two have the highest priority. Otherwise a cut is noticed after the tolerance.
fn uneven(subject: &str, wanted: &TipcConfig, kernel: &Kernel, dead_time: Duration) -> Option<Finding> {
    let own = || kernel.bearers.iter().filter(|bearer| wanted.bearers.contains(&bearer.interface));
    let first = own().max_by_key(|bearer| bearer.priority)?;
    let other = own().find(|other| other.interface != first.interface)?;
    if own().filter(|bearer| bearer.priority == first.priority).count() > 1 {
        return None;
    }
    let text = format!(
        "{} has priority {} and {} has {}: frames go over one of them, and when it is cut they are lost for up to its \
         tolerance of {} ms (dead time {})",
        first.interface,
        first.priority,
        other.interface,
        other.priority,
        first.tolerance_millis,
        duration(dead_time)
    );
    let hint = format!("tipc bearer set priority {} media eth device {}", first.priority, other.interface);
    Some(Finding::warning(subject, text, hint))
}

fn enable(bearer: &str) -> String {
    format!("tipc bearer enable media eth device {bearer}")
}

/// What sets up what is missing, in the order in which it has to be done. What is there and wrong is left alone: to change it
/// would cut whoever uses it.
pub fn setup(config: &Config, me: NodeId, facts: &Facts) -> Vec<String> {
    let (Some(found), Some(wanted)) = (&facts.tipc, config.links.iter().find_map(LinkConfig::tipc)) else {
        return Vec::new();
    };
    let nothing = Kernel::default();
    let mut commands = Vec::new();
    let kernel = match &found.kernel {
        Ok(kernel) => kernel,
        Err(_) => {
            commands.push("modprobe tipc".to_owned());
            &nothing
        }
    };
    if found.address.is_none() {
        if kernel.network_id != Some(wanted.network_id) {
            commands.push(format!("tipc node set netid {}", wanted.network_id));
        }
        commands.extend(wanted.node_addresses.get(me.index()).map(|own| format!("tipc node set address {own}")));
    }
    for name in &wanted.bearers {
        if facts.interfaces.get(name).is_some_and(|interface| !interface.up) {
            commands.push(format!("ip link set {name} up"));
        }
        if !kernel.bearers.iter().any(|bearer| bearer.interface == *name) {
            commands.push(enable(name));
        }
    }
    commands
}
