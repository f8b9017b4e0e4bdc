//! What the environment may do in one slot of time: the menu of the explorer.

use std::collections::BTreeSet;
use std::time::Duration;

use avamgr_core::cluster::NodeId;
use avamgr_core::config::Config;
use avamgr_core::control::Command;
use avamgr_core::sim::{Quality, World};

use crate::shape::pairs;

/// One direction of one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Channel {
    /// Every link.
    Links(NodeId, NodeId),
    ToWitness(NodeId),
    FromWitness(NodeId),
    /// Question and answer of the arbitrator.
    Arbitrator(NodeId),
    /// The service network between two nodes.
    Lan(NodeId, NodeId),
}

/// One turn of fate.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    Nothing,
    /// Everything on these is lost in this slot.
    Lose(Vec<Channel>),
    /// ... and from now on.
    Cut(Vec<Channel>),
    /// Everything that was cut is whole again.
    Mend,
    /// What is sent here in this slot comes twice, and so much later.
    Late(NodeId, NodeId, Duration),
    LateToAndFromWitness(Duration),
    Kill(NodeId),
    ShutDown(NodeId),
    PowerOff(NodeId),
    /// The daemon, or the machine and its daemon.
    Start(NodeId),
    Pause(NodeId, Duration),
    Freeze(NodeId, Duration),
    WitnessRestarts,
    WitnessOff,
    WitnessOn,
    Switchover(NodeId),
}

/// What was cut.
pub(crate) type Cuts = BTreeSet<Channel>;

/// All choices of a config.
pub(crate) fn menu(config: &Config) -> Vec<Choice> {
    let lease = config.leases();
    let mut single: Vec<Channel> = pairs(config).into_iter().map(|(from, to)| Channel::Links(from, to)).collect();
    for node in config.node_ids() {
        if lease {
            single.extend([Channel::ToWitness(node), Channel::FromWitness(node)]);
        } else {
            single.push(Channel::Arbitrator(node));
        }
    }
    let mut choices: Vec<Choice> = single.iter().map(|channel| Choice::Lose(vec![*channel])).collect();
    choices.extend(single.iter().map(|channel| Choice::Cut(vec![*channel])));
    choices.push(Choice::Cut(pairs(config).into_iter().map(|(from, to)| Channel::Links(from, to)).collect()));
    choices.push(Choice::Cut(between(config)));
    choices.extend(config.node_ids().map(|node| Choice::Cut(around(config, node))));
    choices.push(Choice::Mend);
    let (interval, patience) = (config.timers.heartbeat_interval, config.timers.dead_time);
    // Within the lease, and after the longest is over.
    for delay in [interval * 3 / 2, patience + interval] {
        choices.extend(pairs(config).into_iter().map(|(from, to)| Choice::Late(from, to, delay)));
        choices.extend(lease.then_some(Choice::LateToAndFromWitness(delay)));
    }
    for node in config.node_ids() {
        choices.extend([Choice::Kill(node), Choice::ShutDown(node), Choice::PowerOff(node), Choice::Start(node)]);
        choices.extend([interval, patience, patience + interval].map(|time| Choice::Pause(node, time)));
        choices.push(Choice::Freeze(node, patience + interval));
    }
    if lease {
        choices.extend([Choice::WitnessRestarts, Choice::WitnessOff, Choice::WitnessOn]);
    }
    choices.push(Choice::Switchover(NodeId(0)));
    choices
}

/// Every path between nodes.
fn between(config: &Config) -> Vec<Channel> {
    let pairs = pairs(config);
    let links = pairs.iter().map(|(from, to)| Channel::Links(*from, *to));
    links.chain(pairs.iter().map(|(one, other)| Channel::Lan(*one, *other))).collect()
}

/// Every path of a node.
fn around(config: &Config, node: NodeId) -> Vec<Channel> {
    let all = between(config).into_iter().filter(|channel| match channel {
        Channel::Links(one, other) | Channel::Lan(one, other) => [*one, *other].contains(&node),
        Channel::ToWitness(_) | Channel::FromWitness(_) | Channel::Arbitrator(_) => false,
    });
    all.chain([Channel::ToWitness(node), Channel::FromWitness(node), Channel::Arbitrator(node)]).collect()
}

impl Choice {
    /// Whether it would change anything.
    pub(crate) fn applies(&self, world: &World, cuts: &Cuts) -> bool {
        match self {
            Self::Nothing | Self::Late(..) | Self::Switchover(_) => true,
            Self::LateToAndFromWitness(_) | Self::WitnessRestarts | Self::WitnessOff => world.witness().is_some(),
            Self::WitnessOn => world.witness().is_none(),
            Self::Lose(channels) | Self::Cut(channels) => channels.iter().any(|channel| !cuts.contains(channel)),
            Self::Mend => !cuts.is_empty(),
            Self::Kill(node) | Self::ShutDown(node) => world.node(*node).is_some(),
            Self::PowerOff(node) => world.is_on(*node),
            Self::Start(node) => world.node(*node).is_none(),
            Self::Pause(node, _) => world.is_running(*node),
            Self::Freeze(node, _) => world.is_awake(*node),
        }
    }

    /// At the beginning of its slot.
    pub(crate) fn begin(&self, world: &mut World, cuts: &mut Cuts) {
        match self {
            Self::Nothing => {}
            Self::Lose(channels) => set(world, channels, cuts, false),
            Self::Cut(channels) => {
                set(world, channels, cuts, false);
                cuts.extend(channels.iter().copied());
            }
            Self::Mend => {
                let channels: Vec<Channel> = std::mem::take(cuts).into_iter().collect();
                set(world, &channels, cuts, true);
            }
            Self::Late(from, to, delay) => set_quality(world, *from, *to, late(*delay)),
            Self::LateToAndFromWitness(delay) => world.set_witness_quality(late(*delay)),
            Self::Kill(node) => world.kill_daemon(*node),
            Self::ShutDown(node) => world.shut_down(*node),
            Self::PowerOff(node) => world.power_off(*node),
            Self::Start(node) if world.is_on(*node) => world.start_daemon(*node),
            Self::Start(node) => world.boot(*node),
            Self::Pause(node, time) => world.pause(*node, *time),
            Self::Freeze(node, time) => world.freeze(*node, *time),
            Self::WitnessRestarts => {
                world.stop_witness();
                world.start_witness();
            }
            Self::WitnessOff => world.stop_witness(),
            Self::WitnessOn => world.start_witness(),
            Self::Switchover(node) => {
                world.command(*node, Command::Switchover { group: None, to: None, dry_run: false });
            }
        }
    }

    /// At the end of its slot.
    pub(crate) fn end(&self, world: &mut World, cuts: &Cuts) {
        match self {
            Self::Lose(channels) => {
                let lost: Vec<Channel> = channels.iter().filter(|it| !cuts.contains(it)).copied().collect();
                set(world, &lost, cuts, true);
            }
            Self::Late(from, to, _) => set_quality(world, *from, *to, Quality::GOOD),
            Self::LateToAndFromWitness(_) => world.set_witness_quality(Quality::GOOD),
            _ => {}
        }
    }
}

fn set(world: &mut World, channels: &[Channel], cuts: &Cuts, open: bool) {
    for channel in channels {
        match *channel {
            Channel::Links(from, to) => {
                for link in world.config().clone().link_ids() {
                    if open { world.mend(link, from, to) } else { world.cut(link, from, to) }
                }
            }
            Channel::ToWitness(node) => {
                world.set_way_to_witness(node, open, !cuts.contains(&Channel::FromWitness(node)));
            }
            Channel::FromWitness(node) => {
                // The direction before it in the list may be shut in this moment as well.
                let hears = !cuts.contains(&Channel::ToWitness(node))
                    && (open || !channels.contains(&Channel::ToWitness(node)));
                world.set_way_to_witness(node, hears, open);
            }
            Channel::Arbitrator(node) => world.set_arbitrator(node, open),
            Channel::Lan(one, other) => world.set_lan(one, other, open),
        }
    }
}

/// Nothing of it is left to chance.
fn late(delay: Duration) -> Quality {
    Quality { latency: delay, duplicate_ppm: 1_000_000, ..Quality::GOOD }
}

fn set_quality(world: &mut World, from: NodeId, to: NodeId, quality: Quality) {
    for link in world.config().clone().link_ids() {
        world.set_quality(link, from, to, quality);
    }
}
