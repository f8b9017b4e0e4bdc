//! Who owns the VIPs of a group?

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use avamgr_core::cluster::NodeId;
use avamgr_core::config::{GroupConfig, ResourceKind, VipConfig};
use avamgr_core::node::input::VipOwner;
use avamgr_core::time::Instant;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::plan::Wanted;
use crate::clock;
use crate::neighbours::{ASKED_MAX, probe, spread};
use crate::netlink::prefix;

/// What is asked on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The interface of this node.
    pub interface: String,
    /// As many of them as are asked for at most.
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
///
/// An owner that has died has all of its addresses or, while their lifetimes run out, those that it refreshed last. A round
/// of refreshes was cut short at any place, so the first and the last address of each round are among those asked for.
pub fn questions(group: &GroupConfig, node: NodeId) -> Vec<Question> {
    let mut by_interface: BTreeMap<String, Vec<Vec<IpAddr>>> = BTreeMap::new();
    for resource in &group.resources {
        match &resource.kind {
            ResourceKind::Vip(vip) => by_interface.entry(interface_name(vip, node)).or_default().extend(rounds(vip)),
            ResourceKind::Exec(_) | ResourceKind::Lsb(_) | ResourceKind::Systemd(_) => {}
        }
    }
    by_interface.into_iter().map(|(interface, rounds)| Question { interface, addresses: sample(&rounds) }).collect()
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
pub(crate) fn interface_name(config: &VipConfig, node: NodeId) -> String {
    config.interfaces.get(node.index()).cloned().unwrap_or_default()
}

/// What is refreshed in one round, in that order: the addresses of each family. Then the ranges, a few of each.
fn rounds(config: &VipConfig) -> impl Iterator<Item = Vec<IpAddr>> + '_ {
    let wanted = Wanted::new(config);
    let addresses: Vec<_> = wanted.addresses.iter().map(|net| net.address).collect();
    let (v4, v6) = addresses.split_at(wanted.v4.min(addresses.len()));
    let singles = [v4.to_vec(), v6.to_vec()];
    let of_ranges = config.ranges.iter().map(|range| {
        let count = prefix::size(*range).min(ASKED_MAX as u128);
        let member = |place: u128| {
            // The middle of each part: the first and the last address of a prefix may be special on the network.
            let distance = prefix::size(*range) / count;
            prefix::member(*range, place * distance + distance / 2)
        };
        (0..count).map(member).collect()
    });
    singles.into_iter().chain(of_ranges).filter(|round: &Vec<_>| !round.is_empty())
}

/// The ends of all rounds, and what lies between them while there is room.
fn sample(rounds: &[Vec<IpAddr>]) -> Vec<IpAddr> {
    let firsts = rounds.iter().filter_map(|round| round.first());
    let lasts = rounds.iter().filter(|round| round.len() > 1).filter_map(|round| round.last());
    let mut asked = spread(&firsts.chain(lasts).copied().collect::<Vec<_>>(), ASKED_MAX);
    let between: Vec<_> = rounds.iter().flat_map(|round| round.get(1..round.len() - 1).unwrap_or_default()).collect();
    asked.extend(spread(&between, ASKED_MAX - asked.len()).into_iter().copied());
    asked
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
            hook: None,
            resources: vec![
                vip("eth1", &["10.0.0.1/24"], &[]),
                vip("eth2", &["2001:db8::1/64"], &[]),
                vip("eth1", &["10.0.0.2/24"], &["10.1.0.0/20", "10.2.0.7/32"]),
            ],
        };
        let questions = questions(&group, NodeId(1));
        let asked: Vec<_> = questions.iter().map(|q| (q.interface.as_str(), q.addresses.len())).collect();
        assert_eq!(asked, [("eth1", ASKED_MAX), ("eth2", 1)]);
        let shown: Vec<_> = questions[0].addresses.iter().map(ToString::to_string).collect();
        // The first and the last of each, then some between them.
        assert_eq!(shown[..6], ["10.0.0.1", "10.0.0.2", "10.1.1.0", "10.2.0.7", "10.1.15.0", "10.1.3.0"]);
    }

    #[test]
    fn of_thousands_the_ends_of_each_round_of_refreshes_are_asked_for() {
        let v4: Vec<_> = (0..4_000).map(|place| format!("10.0.{}.{}/32", place / 250, place % 250)).collect();
        let v6: Vec<_> = (0..100).map(|place| format!("2001:db8::{place:x}/64")).collect();
        // IPv4 is refreshed on its own, whatever order the config has.
        let mixed: Vec<_> = v6.iter().chain(&v4).map(String::as_str).collect();
        let group = GroupConfig {
            name: "dre".to_owned(),
            failback: Failback::Manual,
            preferred: NodeId(0),
            hook: None,
            resources: vec![vip("eth1", &mixed, &[])],
        };
        let asked = questions(&group, NodeId(1)).remove(0).addresses;
        assert_eq!(asked.len(), ASKED_MAX);
        for end in [&v4[0], &v4[3_999], &v6[0], &v6[99]] {
            assert!(asked.contains(&net(end).address), "{end} is not among {asked:?}");
        }
    }
}
