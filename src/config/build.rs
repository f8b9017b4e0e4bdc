//! From the file to the `Config`. Nothing is judged here: what is missing has been reported, and a `Config` built from a file
//! with errors only serves to look for more of them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::cluster::{GroupId, NodeId};

use super::derive::{Facts, derive};
use super::file::{Arbitrator, Etcd, Fence, File, Group, Kind, Link, Path, Resource, Watchdog, Witness};
use super::reader::{PerNode, Placed};
use super::rules::NEUTRAL;
use super::{
    ArbitratorConfig, Config, EtcdConfig, FenceConfig, GroupConfig, LinkConfig, LinkKind, LsbConfig, ReadyConfig,
    ResourceConfig, ResourceKind, RestartConfig, RulesConfig, SystemdConfig, TipcConfig, Transport, UdpConfig,
    VipConfig, WatchdogConfig, WitnessConfig,
};

/// The config a file describes.
pub(super) fn build(file: &File) -> Config {
    let given = |name: &str| file.timers.values.get(name).map(|placed| &placed.value);
    let mut config = Config {
        cluster: text(file.cluster.name.as_ref()),
        nodes: file.cluster.node_names(),
        standalone: file.cluster.standalone,
        timers: derive(given, &Facts::default()),
        limits: file.limits.clone(),
        links: links(file),
        authority: file.authority(),
        witness: file.witness.as_ref().filter(|_| !file.cluster.standalone).and_then(witness),
        etcd: file.etcd.as_ref().filter(|_| !file.cluster.standalone).map(etcd),
        arbitrator: file.arbitrator.as_ref().filter(|_| !file.cluster.standalone).map(arbitrator),
        fencing: file.fencing.settings,
        fences: file.fences.iter().filter(|_| !file.cluster.standalone).filter_map(fence).collect(),
        watchdog: file.watchdog.as_ref().and_then(watchdog),
        groups: file.groups.iter().map(group).collect(),
        ready: file
            .ready
            .iter()
            .filter_map(|ready| Some(ReadyConfig { name: text(ready.name.as_ref()), monitor: ready.monitor.clone()? }))
            .collect(),
        rules: rules(file),
        web: file.web.clone(),
        daemon: file.daemon.clone(),
        by_hand: file.timers.values.keys().map(|name| (*name).to_owned()).collect(),
        digest: 0,
    };
    config.timers = derive(given, &Facts::of(&config));
    config.digest = digest(&config);
    config
}

/// The same for two files that mean the same, whatever their comments and layout, and whether a timer was derived or
/// written down.
pub(super) fn digest(config: &Config) -> u64 {
    let mut meaning = config.clone();
    meaning.digest = 0;
    meaning.by_hand.clear();
    // Who looks at a node, and how, is no matter of the others.
    meaning.web = None;
    // Plain data with text keys: there is nothing in it that JSON could refuse.
    let text = serde_json::to_vec(&meaning).unwrap_or_default();
    let hash = Sha256::digest(&text);
    hash.iter().take(8).fold(0, |digest, byte| (digest << 8) | u64::from(*byte))
}

pub(super) fn group_digest(group: &GroupConfig) -> u32 {
    let resources: Vec<_> = group.resources.iter().map(|resource| (&resource.name, &resource.kind)).collect();
    let text = serde_json::to_vec(&(&group.name, resources)).unwrap_or_default();
    first_bytes(&text)
}

pub(super) fn voters_digest(config: &Config) -> u32 {
    let witness = config.witness.as_ref().map(|witness| (witness.address, witness.port));
    let etcd = config.etcd.as_ref().map(|etcd| (BTreeSet::from_iter(&etcd.endpoints), &etcd.prefix));
    let text = serde_json::to_vec(&(&config.nodes, config.authority, witness, etcd)).unwrap_or_default();
    // Zero and one mean something else.
    first_bytes(&text).max(2)
}

pub(super) fn name_digest(name: &str) -> u32 {
    first_bytes(name.as_bytes())
}

fn first_bytes(text: &[u8]) -> u32 {
    Sha256::digest(text).iter().take(4).fold(0, |digest, byte| (digest << 8) | u32::from(*byte))
}

fn text(placed: Option<&Placed<String>>) -> String {
    placed.map(|placed| placed.value.clone()).unwrap_or_default()
}

fn interfaces(each: &PerNode<String>) -> Vec<String> {
    each.iter().map(|interface| text(interface.as_ref())).collect()
}

fn addresses(each: &PerNode<IpAddr>) -> Vec<IpAddr> {
    each.iter().flatten().map(|placed| placed.value).collect()
}

/// The dedicated links, then the neutral path. A node alone has none.
fn links(file: &File) -> Vec<LinkConfig> {
    if file.cluster.standalone {
        return Vec::new();
    }
    let dedicated = file.links.iter().map(dedicated);
    dedicated.chain(file.arbitrator.as_ref().and_then(neutral)).collect()
}

fn dedicated(link: &Link) -> LinkConfig {
    LinkConfig {
        name: text(link.name.as_ref()),
        kind: LinkKind::Dedicated,
        transport: match &link.path {
            Path::Udp { interfaces, addresses, port } => udp(interfaces, addresses, *port),
            Path::Tipc { network_id, node_addresses, bearers } => Transport::Tipc(TipcConfig {
                network_id: *network_id,
                node_addresses: node_addresses.iter().flatten().map(|placed| placed.value).collect(),
                bearers: bearers.iter().map(|bearer| bearer.value.clone()).collect(),
            }),
        },
    }
}

fn udp(each: &PerNode<String>, own: &PerNode<IpAddr>, port: u16) -> Transport {
    Transport::Udp(UdpConfig { interfaces: interfaces(each), addresses: addresses(own), port })
}

fn neutral(found: &Arbitrator) -> Option<LinkConfig> {
    Some(LinkConfig {
        name: NEUTRAL.to_owned(),
        kind: LinkKind::Neutral,
        transport: udp(found.interfaces.as_ref()?, found.neutral.as_ref()?, found.port),
    })
}

fn arbitrator(found: &Arbitrator) -> ArbitratorConfig {
    ArbitratorConfig {
        ping: found.ping.iter().map(|ping| ping.value).collect(),
        interfaces: found.interfaces.as_ref().map(interfaces),
    }
}

fn witness(found: &Witness) -> Option<WitnessConfig> {
    Some(WitnessConfig {
        address: found.address.as_ref()?.value,
        port: found.port,
        interfaces: found.interfaces.as_ref().map(interfaces),
        key_file: found.key_file.clone(),
    })
}

fn fence(fence: &Fence) -> Option<FenceConfig> {
    Some(FenceConfig {
        node: NodeId(u8::try_from(fence.node?).ok()?),
        level: u8::try_from(fence.level.as_ref()?.value).ok()?,
        agent: fence.agent.clone()?,
        action: fence.action,
        options: fence.options.iter().cloned().collect(),
        secrets: fence.secrets.clone(),
        timeout: fence.timeout.as_ref()?.value,
    })
}

fn watchdog(found: &Watchdog) -> Option<WatchdogConfig> {
    Some(WatchdogConfig { device: found.device.clone()?, timeout: found.timeout.as_ref()?.value })
}

fn etcd(found: &Etcd) -> EtcdConfig {
    let path = |path: &Option<Placed<String>>| path.as_ref().map(|path| path.value.clone().into());
    EtcdConfig {
        endpoints: found.endpoints.iter().map(|endpoint| endpoint.value.clone()).collect(),
        prefix: found.prefix.clone(),
        ca_file: path(&found.ca_file),
        cert_file: path(&found.cert_file),
        key_file: path(&found.key_file),
    }
}

/// A node alone has nobody to replicate to.
fn rules(file: &File) -> Option<RulesConfig> {
    let rules = file.rules.as_ref().filter(|_| !file.cluster.standalone)?;
    let name = rules.group.as_ref().map(|group| &group.value);
    let index = name.and_then(|name| file.groups.iter().position(|group| text(group.name.as_ref()) == *name));
    let group = index.and_then(|index| u8::try_from(index).ok()).map(GroupId);
    Some(RulesConfig { group, ..rules.settings.clone() })
}

fn group(group: &Group) -> GroupConfig {
    let preferred = group.preferred.and_then(|index| u8::try_from(index).ok()).unwrap_or(0);
    GroupConfig {
        name: text(group.name.as_ref()),
        failback: group.failback,
        preferred: NodeId(preferred),
        hook: group.hook.clone(),
        resources: group.resources.iter().filter_map(resource).collect(),
    }
}

fn resource(resource: &Resource) -> Option<ResourceConfig> {
    let time = |placed: &Option<Placed<Duration>>| placed.as_ref().map(|placed| placed.value).unwrap_or_default();
    let restart = &resource.restart;
    Some(ResourceConfig {
        name: text(resource.name.as_ref()),
        kind: kind(resource.kind.as_ref()?),
        monitors: resource.monitors.clone(),
        start_timeout: time(&resource.start_timeout),
        stop_timeout: time(&resource.stop_timeout),
        restart: RestartConfig {
            max: restart.max.as_ref().map_or(0, |max| max.value),
            window: time(&restart.window),
            backoff: time(&restart.backoff),
            backoff_max: time(&restart.backoff_max),
        },
    })
}

fn kind(kind: &Kind) -> ResourceKind {
    match kind {
        Kind::Vip(vip) => ResourceKind::Vip(VipConfig {
            interfaces: interfaces(&vip.interfaces),
            addresses: vip.addresses.iter().map(|net| net.value).collect(),
            ranges: vip.ranges.iter().map(|net| net.value).collect(),
            label: vip.label.as_ref().map(|label| label.value.clone()),
        }),
        Kind::Exec(exec) => ResourceKind::Exec(exec.clone()),
        Kind::Lsb(script) => ResourceKind::Lsb(LsbConfig { script: script.value.clone().into() }),
        Kind::Systemd(unit) => ResourceKind::Systemd(SystemdConfig { unit: unit.value.clone() }),
    }
}
