//! Random faults: one turn of fate at a time.

use std::time::Duration;

use avamgr_core::cluster::{BearerId, CheckId, LinkId, NodeId, ResourceId};
use avamgr_core::config::Config;
use avamgr_core::control::{Command, ResourceVerb};
use avamgr_core::node::{Input, Report};
use avamgr_core::sim::{Behaviour, Conduct, FenceDevice, Quality, Random, World};

use crate::shape::{all_resources, pairs};

/// What fate can do. Each seed gets only some of these, so that some seeds are full of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    CutOneWay,
    CutLink,
    MendLink,
    Unplug,
    Plug,
    BadLink,
    Arbitrator,
    ArbitratorForAll,
    ServiceNetwork,
    ServiceNetworkPlug,
    Isolate,
    Partition,
    SplitLinksOnly,
    HealNetwork,
    PowerOff,
    PowerCycle,
    KillDaemon,
    StartDaemon,
    ShutDown,
    Pause,
    Freeze,
    ServiceDies,
    Stray,
    Behaviour,
    ReadyCheck,
    Disk,
    Switchover,
    Offline,
    Online,
    Maintenance,
    ResourceOrder,
    Upgrade,
    WallClock,
    Witness,
    WayToWitness,
    BadWayToWitness,
    FenceDevice,
    Bearer,
}

/// What can happen to every cluster.
const USUAL: [Fault; 35] = [
    Fault::CutOneWay,
    Fault::CutLink,
    Fault::MendLink,
    Fault::Unplug,
    Fault::Plug,
    Fault::BadLink,
    Fault::Arbitrator,
    Fault::ArbitratorForAll,
    Fault::ServiceNetwork,
    Fault::ServiceNetworkPlug,
    Fault::Isolate,
    Fault::Partition,
    Fault::SplitLinksOnly,
    Fault::HealNetwork,
    Fault::PowerOff,
    Fault::PowerCycle,
    Fault::KillDaemon,
    Fault::StartDaemon,
    Fault::ShutDown,
    Fault::Pause,
    Fault::Freeze,
    Fault::ServiceDies,
    Fault::Stray,
    Fault::Behaviour,
    Fault::ReadyCheck,
    Fault::Disk,
    Fault::Switchover,
    Fault::Offline,
    Fault::Online,
    Fault::Maintenance,
    Fault::ResourceOrder,
    Fault::WallClock,
    Fault::Witness,
    Fault::WayToWitness,
    Fault::BadWayToWitness,
];

/// The kinds of fault of one seed; `special` ones are always among them.
pub(crate) fn choose_kinds(random: &mut Random, special: &[Fault]) -> Vec<Fault> {
    let share = 100_000 + u32::try_from(random.below(700_000)).unwrap_or(0);
    let mut kinds: Vec<Fault> = USUAL.into_iter().filter(|_| random.chance(share)).collect();
    // What is broken should sometimes be mended.
    kinds.extend([Fault::HealNetwork, Fault::StartDaemon]);
    kinds.extend(special);
    kinds
}

/// Lets one fault of these kinds happen.
pub(crate) fn strike(world: &mut World, random: &mut Random, kinds: &[Fault]) {
    let fault = kinds[random.index(kinds.len())];
    let config = world.config().clone();
    let node = NodeId(u8::try_from(random.index(config.nodes.len())).unwrap_or(0));
    let link = LinkId(u8::try_from(random.index(config.links.len())).unwrap_or(0));
    match fault {
        Fault::CutOneWay
        | Fault::CutLink
        | Fault::MendLink
        | Fault::Unplug
        | Fault::Plug
        | Fault::BadLink
        | Fault::Arbitrator
        | Fault::ArbitratorForAll
        | Fault::ServiceNetwork
        | Fault::ServiceNetworkPlug
        | Fault::Isolate
        | Fault::Partition
        | Fault::SplitLinksOnly
        | Fault::Witness
        | Fault::WayToWitness
        | Fault::BadWayToWitness
        | Fault::HealNetwork => strike_network(world, random, fault, node, link),
        Fault::PowerOff
        | Fault::PowerCycle
        | Fault::KillDaemon
        | Fault::StartDaemon
        | Fault::ShutDown
        | Fault::Pause
        | Fault::Freeze
        | Fault::Disk
        | Fault::FenceDevice
        | Fault::WallClock => strike_machine(world, random, fault, node),
        Fault::ServiceDies | Fault::Stray | Fault::Behaviour | Fault::ReadyCheck => {
            strike_resource(world, random, fault, node)
        }
        Fault::Upgrade => upgrade(world, random, node),
        Fault::Bearer => bearer(world, random),
        Fault::Switchover | Fault::Offline | Fault::Online | Fault::Maintenance | Fault::ResourceOrder => {
            world.command(node, random_command(&config, random, fault));
        }
    }
}

/// What TIPC says of its ways, true or not.
fn bearer(world: &mut World, random: &mut Random) {
    let pairs = pairs(&world.config().clone());
    let (node, peer) = pairs[random.index(pairs.len())];
    let up = random.chance(400_000);
    for bearer in (0..2).map(BearerId).filter(|_| random.chance(700_000)).collect::<Vec<_>>() {
        world.inject(node, Input::Bearer { link: LinkId(0), peer, bearer, up });
    }
    if random.chance(200_000) {
        world.inject(node, Input::Refused { link: LinkId(0), from: peer });
    }
}

/// Rarely for longer than was announced.
fn upgrade(world: &mut World, random: &mut Random, node: NodeId) {
    let longest = if random.chance(800_000) { Duration::from_millis(300) } else { Duration::from_secs(4) };
    world.set_exec_time(node, random.up_to(longest));
    world.command(node, Command::Upgrade { binary: None });
}

fn strike_network(world: &mut World, random: &mut Random, fault: Fault, node: NodeId, link: LinkId) {
    let config = world.config().clone();
    let pairs = pairs(&config);
    let (from, to) = pairs[random.index(pairs.len())];
    let coin = random.chance(500_000);
    match fault {
        Fault::CutOneWay => world.cut(link, from, to),
        Fault::CutLink => world.cut_all(link),
        Fault::MendLink => world.mend_all(link),
        Fault::Unplug => world.unplug(link, node),
        Fault::Plug => world.plug(link, node),
        Fault::BadLink => world.set_quality(link, from, to, random_quality(&config, random)),
        Fault::Arbitrator => world.set_arbitrator(node, coin),
        Fault::ArbitratorForAll => config.node_ids().for_each(|node| world.set_arbitrator(node, coin)),
        Fault::ServiceNetwork => world.set_lan(from, to, coin),
        Fault::ServiceNetworkPlug => world.set_lan_plug(node, coin),
        Fault::Isolate => {
            world.set_arbitrator(node, false);
            world.set_way_to_witness(node, false, false);
            for other in config.node_ids().filter(|other| *other != node) {
                world.set_lan(node, other, false);
                for link in config.link_ids() {
                    world.cut(link, node, other);
                    world.cut(link, other, node);
                }
            }
        }
        Fault::Partition => partition(world, random),
        Fault::Witness if coin => world.start_witness(),
        Fault::Witness => {
            world.stop_witness();
            if random.chance(500_000) {
                world.start_witness();
            }
        }
        Fault::WayToWitness => world.set_way_to_witness(node, coin, random.chance(500_000)),
        Fault::BadWayToWitness => world.set_witness_quality(random_quality(&config, random)),
        Fault::SplitLinksOnly => config.link_ids().for_each(|link| world.cut_all(link)),
        _ => world.heal_network(),
    }
}

/// Two sides that do not hear each other; the witness is on one of them.
fn partition(world: &mut World, random: &mut Random) {
    let config = world.config().clone();
    let side: Vec<bool> = config.node_ids().map(|_| random.chance(500_000)).collect();
    let is_apart = |(one, other): &(NodeId, NodeId)| side[one.index()] != side[other.index()];
    for (from, to) in pairs(&config).into_iter().filter(is_apart) {
        world.set_lan(from, to, false);
        config.link_ids().for_each(|link| world.cut(link, from, to));
    }
    for node in config.node_ids().filter(|node| side[node.index()]) {
        world.set_way_to_witness(node, false, false);
    }
}

fn random_quality(config: &Config, random: &mut Random) -> Quality {
    let interval = config.timers.heartbeat_interval;
    Quality {
        latency: random.between(Duration::from_micros(50), interval / 4),
        jitter: random.up_to(interval / 2),
        loss_ppm: u32::try_from(random.below(600_000)).unwrap_or(0),
        duplicate_ppm: u32::try_from(random.below(200_000)).unwrap_or(0),
        reorder_ppm: u32::try_from(random.below(200_000)).unwrap_or(0),
        reorder_by: interval * 4,
    }
}

fn strike_machine(world: &mut World, random: &mut Random, fault: Fault, node: NodeId) {
    let dead_time = world.config().timers.dead_time;
    let coin = random.chance(500_000);
    match fault {
        Fault::PowerOff => world.power_off(node),
        Fault::PowerCycle => {
            world.power_off(node);
            world.boot(node);
        }
        Fault::KillDaemon => world.kill_daemon(node),
        Fault::ShutDown => world.shut_down(node),
        Fault::Pause if coin => world.pause(node, random.up_to(dead_time * 2)),
        Fault::Pause => world.pause(node, random.up_to(Duration::from_secs(3))),
        Fault::Freeze => world.freeze(node, random.up_to(dead_time * 8)),
        Fault::Disk if coin => world.set_disk_full(node, random.chance(500_000)),
        Fault::Disk => world.set_disk_delay(node, random.up_to(dead_time * 4)),
        Fault::FenceDevice => {
            let conduct = [Conduct::Well, Conduct::Well, Conduct::Fails, Conduct::Hangs][random.index(4)];
            let takes = random.up_to(Duration::from_secs(2));
            world.set_fence_device(node, FenceDevice { conduct, takes, lies: false });
        }
        Fault::WallClock => world.set_wall_error(node, i64::try_from(random.below(5_000)).unwrap_or(0) - 2_500),
        _ => match world.is_on(node) {
            true => world.start_daemon(node),
            false => world.boot(node),
        },
    }
}

fn strike_resource(world: &mut World, random: &mut Random, fault: Fault, node: NodeId) {
    let config = world.config().clone();
    let all = all_resources(&config);
    let resource: ResourceId = all[random.index(all.len())];
    match fault {
        Fault::ServiceDies => world.lose(node, resource),
        // Only the word of it: a second owner made by hand would be nobody's fault.
        Fault::Stray => {
            let report = Report::Stray("put there by somebody else".to_owned());
            world.inject(node, Input::Report { resource, report });
        }
        Fault::ReadyCheck if !config.ready.is_empty() => {
            let result = if random.chance(500_000) { Ok(()) } else { Err("nothing listens".to_owned()) };
            world.set_ready(node, CheckId(0), result);
        }
        _ => {
            let conduct = |random: &mut Random| match random.below(5) {
                0 => Conduct::Fails,
                1 => Conduct::Hangs,
                _ => Conduct::Well,
            };
            let behaviour = Behaviour {
                start_time: random.up_to(Duration::from_millis(300)),
                stop_time: random.up_to(Duration::from_millis(300)),
                start: conduct(random),
                stop: conduct(random),
                unable: random.chance(200_000).then(|| "it is not installed".to_owned()),
            };
            world.set_behaviour(node, resource, behaviour);
        }
    }
}

fn random_command(config: &Config, random: &mut Random, fault: Fault) -> Command {
    let coin = random.chance(500_000);
    match fault {
        Fault::Switchover => Command::Switchover {
            group: Some(config.groups[random.index(config.groups.len())].name.clone()),
            to: coin.then(|| config.nodes[random.index(config.nodes.len())].clone()),
            dry_run: random.chance(100_000),
        },
        Fault::Offline => Command::Offline { duration: coin.then(|| random.up_to(Duration::from_secs(3))) },
        Fault::Online => Command::Online,
        Fault::Maintenance => Command::Maintenance { on: coin },
        _ => {
            let all = all_resources(config);
            let verbs = [ResourceVerb::Start, ResourceVerb::Stop, ResourceVerb::Restart, ResourceVerb::Clear];
            let resource = config.resource_name(all[random.index(all.len())]).to_owned();
            Command::Resource { resource, verb: verbs[random.index(verbs.len())] }
        }
    }
}
