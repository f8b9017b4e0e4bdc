//! What must come about once the faults have ended.

use std::time::Duration;

use avamgr_core::cluster::{CheckId, GroupId, NodeId, ResourceId, Role};
use avamgr_core::config::Failback;
use avamgr_core::control::{Command, ResourceVerb};
use avamgr_core::node::event::Fact;
use avamgr_core::node::{Action, Node};
use avamgr_core::sim::{Behaviour, Conduct, FenceDevice, What, World};

use crate::checked::Checked;
use crate::shape::all_resources;

/// Ends every fault: network, disks, resources, checks, clocks; machines have power and daemons run.
pub(crate) fn end_faults(world: &mut Checked) -> Result<(), String> {
    world.heal_network();
    world.start_witness();
    for node in world.config().clone().node_ids() {
        world.set_disk_full(node, false);
        world.set_disk_delay(node, Duration::from_millis(2));
        world.set_wall_error(node, 0);
        world.set_exec_time(node, Duration::from_millis(20));
        world.set_fence_device(node, FenceDevice::GOOD);
        for resource in all_resources(&world.config().clone()) {
            let Some(behaviour) = world.behaviour(node, resource).cloned() else {
                continue;
            };
            let well = Behaviour { start: Conduct::Well, stop: Conduct::Well, unable: None, ..behaviour };
            world.set_behaviour(node, resource, well);
        }
        for check in (0..u8::try_from(world.config().ready.len()).unwrap_or(0)).map(CheckId) {
            world.set_ready(node, check, Ok(()));
        }
    }
    if !world.config().fences.is_empty() {
        // Who is about to be shot is, and comes back.
        world.run_ms(6_000)?;
    }
    // A daemon that is ending takes its time, and one that stands still as well.
    for _ in 0..60 {
        start_everything(world);
        world.run_ms(100)?;
        if world.config().node_ids().all(|node| world.is_running(node) && !is_ending(world, node)) {
            break;
        }
    }
    Ok(())
}

fn is_ending(world: &World, node: NodeId) -> bool {
    let group = GroupId(0);
    obstacles(world, node, group).iter().any(|obstacle| obstacle.contains("stopping"))
}

/// Lets time pass until every group is served, at most `bound`.
pub(crate) fn await_service(world: &mut Checked, bound: Duration) -> Result<(), String> {
    let until = world.now() + bound;
    loop {
        world.run_ms(100)?;
        match every_group_is_served_once(world) {
            Ok(()) => return Ok(()),
            Err(error) if world.now() >= until => return Err(error),
            Err(_) => {}
        }
    }
}

fn start_everything(world: &mut Checked) {
    for node in world.config().clone().node_ids() {
        if !world.is_on(node) {
            world.boot(node);
        } else if world.node(node).is_none() {
            world.start_daemon(node);
        }
    }
}

/// How long it may take from the end of all faults until every group is served: a start, the lifetime of an address
/// somebody else left behind and the silence after it, an isolated node's hold time, the longest back-off, a slow stop
/// and start.
pub(crate) fn recovery_bound(world: &World) -> Duration {
    let timers = &world.config().timers;
    let resources = || world.config().groups.iter().flat_map(|group| &group.resources);
    let slowest = resources().map(|resource| resource.start_timeout + resource.stop_timeout).max().unwrap_or_default();
    let backoff = resources().map(|resource| resource.restart.backoff_max).max().unwrap_or_default();
    // What could not be stopped is tried again every five seconds.
    let stop_again = if is_something_stuck(world) { Duration::from_secs(6) } else { Duration::ZERO };
    let rest = Duration::from_secs(2);
    let left_behind = timers.guard_lifetime + timers.dead_time;
    timers.start_grace + left_behind + timers.hold_time + slowest + backoff + stop_again + rest
}

fn is_something_stuck(world: &World) -> bool {
    let config = world.config();
    let states = config.node_ids().filter_map(|node| Some(world.node(node)?.status(world.local(node))));
    let mut resources = states.flat_map(|status| status.groups).flat_map(|group| group.resources);
    resources.any(|resource| resource.state == "stuck" || resource.state == "stopping")
}

/// L3: a group that nobody serves has no node that could: each has its reason, which an operator can see.
pub(crate) fn nobody_waits_without_a_reason(world: &World) -> Result<(), String> {
    for group in world.config().group_ids() {
        if world.config().node_ids().any(|node| world.role(node, group).is_some_and(|role| role == Role::Active)) {
            continue;
        }
        for node in world.config().node_ids() {
            if let Some(state) = world.node(node)
                && !has_a_reason(state, world, node, group)
            {
                let status = state.status(world.local(node));
                let group = &status.groups[group.index()];
                return Err(format!(
                    "L3: nobody serves {}, {node:?} could: {:?} {:?}",
                    group.group, group.role, group.obstacles
                ));
            }
        }
    }
    Ok(())
}

/// A hold, or a failure that is not forgotten; or somebody has put an address of it on a node in maintenance.
fn has_a_reason(state: &Node, world: &World, node: NodeId, group: GroupId) -> bool {
    let status = state.status(world.local(node));
    let config = world.config();
    let mut states = config.node_ids().filter_map(|node| Some(world.node(node)?.status(world.local(node))));
    if states.any(|status| status.groups[group.index()].resources.iter().any(|resource| resource.state == "stray")) {
        return true;
    }
    let failed = status.groups[group.index()].resources.iter().any(|resource| resource.failures > 0 || resource.held);
    !status.holds.is_empty() || state.role(group) == Role::Fault || failed || !world.is_running(node)
}

/// An operator lifts every hold, clears every failure and starts everything, one command after the other.
pub(crate) fn help_of_an_operator(world: &mut Checked) -> Result<(), String> {
    start_everything(world);
    let ids = all_resources(world.config());
    let order = |verb| ids.iter().map(move |id| (*id, verb));
    let mut commands = vec![Command::Online, Command::Maintenance { on: false }];
    let orders = order(ResourceVerb::Clear).chain(order(ResourceVerb::Start));
    commands.extend(orders.map(|(id, verb)| order_to(world, id, verb)));
    for command in commands {
        for node in world.config().clone().node_ids() {
            world.command(node, command.clone());
        }
        world.run_ms(5)?;
    }
    Ok(())
}

/// An operator starts again what is still stopped by hand; whether there was anything.
pub(crate) fn start_what_is_held(world: &mut Checked) -> Result<bool, String> {
    let config = world.config().clone();
    let mut any = false;
    for (node, id) in config.node_ids().flat_map(|node| all_resources(&config).into_iter().map(move |id| (node, id))) {
        let status = world.node(node).map(|state| state.status(world.local(node)));
        let resources = status.iter().flat_map(|status| &status.groups[id.group.index()].resources);
        if resources.filter(|it| it.resource == config.resource_name(id)).any(|it| it.held) {
            any = true;
            let command = order_to(world, id, ResourceVerb::Start);
            world.command(node, command);
            world.run_ms(5)?;
        }
    }
    Ok(any)
}

fn order_to(world: &World, id: ResourceId, verb: ResourceVerb) -> Command {
    let (group, name) = (world.config().group_name(id.group), world.config().resource_name(id));
    Command::Resource { resource: format!("{group}/{name}"), verb }
}

/// L2: every group is ACTIVE on exactly one node, with all it has, and everybody knows.
pub(crate) fn every_group_is_served_once(world: &World) -> Result<(), String> {
    let config = world.config();
    for group in config.group_ids() {
        let name = config.group_name(group);
        let active = world.active_nodes(group);
        let [owner] = active.as_slice() else {
            let roles: Vec<_> = config.node_ids().map(|node| (node, world.role(node, group))).collect();
            let obstacles: Vec<_> = config.node_ids().map(|node| obstacles(world, node, group)).collect();
            return Err(format!("L2: {name} is ACTIVE on {active:?}: {roles:?} {obstacles:?}"));
        };
        for node in config.node_ids() {
            for resource in config.resource_ids(group) {
                if world.owns(node, resource) != (node == *owner) {
                    return Err(format!(
                        "L2: {name} is ACTIVE on {owner:?}; {node:?} and {}",
                        config.resource_name(resource)
                    ));
                }
            }
            let known =
                world.node(node).map(|state| state.status(world.local(node)).groups[group.index()].active_node.clone());
            if known.as_ref().is_some_and(|known| known.as_deref() != Some(config.node_name(*owner))) {
                return Err(format!("L2: {name} is ACTIVE on {owner:?}; {node:?} believes {known:?}"));
            }
            if node != *owner && world.role(node, group) != Some(Role::Standby) {
                return Err(format!("L2: {name} on {node:?} is {:?}", world.role(node, group)));
            }
        }
    }
    Ok(())
}

fn obstacles(world: &World, node: NodeId, group: GroupId) -> Vec<String> {
    world.node(node).map_or(Vec::new(), |state| state.status(world.local(node)).groups[group.index()].obstacles.clone())
}

/// L2, L4: no group changes its role anywhere while `time` passes.
pub(crate) fn nothing_moves_for(world: &mut Checked, time: Duration) -> Result<(), String> {
    let moves = world.count_role_changes(time)?;
    let automatic = world.config().groups.iter().any(|group| group.failback == Failback::Auto);
    match moves.first() {
        Some(first) if !automatic => Err(format!("a role changed in a quiet time: {first}")),
        Some(_) | None => Ok(()),
    }
}

/// Whether a note tells of a role that changed.
pub(crate) fn role_change(what: &What) -> Option<String> {
    match what {
        What::Did(Action::Event(event)) => match &event.fact {
            fact @ Fact::RoleChanged { .. } => Some(format!("{fact:?}")),
            _ => None,
        },
        What::Did(_) | What::Order(_) | What::Handled(_) | What::Daemon(_) | What::Kernel(_) => None,
    }
}
