//! Who owns the VIPs of a group?

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use avamgr_core::cluster::NodeId;
use avamgr_core::config::{GroupConfig, ResourceKind, VipConfig};
use avamgr_core::node::input::VipOwner;
use avamgr_core::time::Instant;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::clock;
use crate::neighbours::{ASKED_MAX, probe};
use crate::netlink::prefix;

/// What is asked on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The interface of this node.
    pub interface: String,
    /// The addresses, of ranges a few.
    pub addresses: Vec<IpAddr>,
}

/// What came out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Nothing was asked before this.
    pub asked: Instant,
    /// The first who answered; `None` = nobody, or nobody who could be asked.
    pub owner: Option<VipOwner>,
    /// Why it could not be asked, on one interface or more.
    pub error: Option<String>,
}

/// What to ask for the VIPs of a group on this node, interface by interface.
pub fn questions(group: &GroupConfig, node: NodeId) -> Vec<Question> {
    let mut by_interface: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for resource in &group.resources {
        match &resource.kind {
            ResourceKind::Vip(vip) => by_interface.entry(interface_name(vip, node)).or_default().extend(sample(vip)),
            ResourceKind::Exec(_) | ResourceKind::Lsb(_) | ResourceKind::Systemd(_) => {}
        }
    }
    by_interface.into_iter().map(|(interface, addresses)| Question { interface, addresses }).collect()
}

/// Asks on all interfaces at once, for `time`, and returns at the first answer. A group without VIPs has no owner, at once.
pub async fn probe_group(questions: &[Question], time: Duration) -> Answer {
    let asked = clock::now();
    let mut probes: FuturesUnordered<_> =
        questions.iter().map(|question| probe(&question.interface, &question.addresses, time)).collect();
    let mut errors: Vec<String> = Vec::new();
    while let Some(result) = probes.next().await {
        match result {
            Ok(None) => {}
            Ok(owner) => return Answer { asked, owner, error: None },
            Err(error) => errors.push(error.to_string()),
        }
    }
    // The order of the answers is that of the network.
    errors.sort();
    Answer { asked, owner: None, error: (!errors.is_empty()).then(|| errors.join("; ")) }
}

/// The interface of this node.
pub(super) fn interface_name(config: &VipConfig, node: NodeId) -> String {
    config.interfaces.get(node.index()).cloned().unwrap_or_default()
}

/// All addresses, and of each range as many as are asked for at most.
fn sample(config: &VipConfig) -> impl Iterator<Item = IpAddr> + '_ {
    let of_ranges = config.ranges.iter().flat_map(|range| {
        let count = prefix::size(*range).min(ASKED_MAX as u128);
        (0..count).map(move |place| {
            // The middle of each part: the first and the last address of a prefix may be special on the network.
            let distance = prefix::size(*range) / count;
            prefix::member(*range, place * distance + distance / 2)
        })
    });
    config.addresses.iter().map(|net| net.address).chain(of_ranges)
}

#[cfg(test)]
mod tests {
    use avamgr_core::config::{Failback, IpNet, ResourceConfig, RestartConfig};

    use super::*;

    fn net(text: &str) -> IpNet {
        let (address, prefix) = text.split_once('/').unwrap();
        IpNet { address: address.parse().unwrap(), prefix: prefix.parse().unwrap() }
    }

    fn vip(interface: &str, addresses: &[&str], ranges: &[&str]) -> ResourceConfig {
        let vip = VipConfig {
            interfaces: vec!["other".to_owned(), interface.to_owned()],
            addresses: addresses.iter().copied().map(net).collect(),
            ranges: ranges.iter().copied().map(net).collect(),
            label: None,
        };
        let restart =
            RestartConfig { max: 0, window: Duration::ZERO, backoff: Duration::ZERO, backoff_max: Duration::ZERO };
        ResourceConfig {
            name: interface.to_owned(),
            kind: ResourceKind::Vip(vip),
            monitors: Vec::new(),
            start_timeout: Duration::ZERO,
            stop_timeout: Duration::ZERO,
            restart,
        }
    }

    #[test]
    fn each_interface_is_asked_once_for_everything_on_it() {
        let group = GroupConfig {
            name: "dre".to_owned(),
            failback: Failback::Manual,
            preferred: NodeId(0),
            resources: vec![
                vip("eth1", &["10.0.0.1/24"], &[]),
                vip("eth2", &["2001:db8::1/64"], &[]),
                vip("eth1", &["10.0.0.2/24"], &["10.1.0.0/20", "10.2.0.7/32"]),
            ],
        };
        let questions = questions(&group, NodeId(1));
        let asked: Vec<_> = questions.iter().map(|q| (q.interface.as_str(), q.addresses.len())).collect();
        assert_eq!(asked, [("eth1", 2 + 8 + 1), ("eth2", 1)]);
        let show = |place: usize| questions[0].addresses[place].to_string();
        assert_eq!((show(2), show(9), show(10)), ("10.1.1.0".into(), "10.1.15.0".into(), "10.2.0.7".into()));
    }
}
