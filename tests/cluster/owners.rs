//! Who owns which address, judged by the kernels alone.
//!
//! The `ping` class cannot always prevent two owners; it is exact here when it may not. A node that starts to take an
//! address must not have been able to see its owner. It could see it
//! 1. when the owner's kernel answered on the service network during a whole VIP probe, or
//! 2. when a frame of the owner came in on an open link within the dead time, or
//! 3. when both daemons had a link without any fault for long enough to get acquainted.
//!
//! Two owners who could not see each other in any of these ways are *the* exception of the class: counted, shown as a
//! story, and over soon after they see each other. An owner that sees neither anybody nor the arbitrator has let go
//! before the hold time is over.

use std::collections::BTreeMap;
use std::time::Duration;

use avamgr_core::cluster::{NodeId, ResourceId, Role};
use avamgr_core::config::{Config, ResourceKind};
use avamgr_core::node::{Action, Order};
use avamgr_core::sim::{Conduct, KernelChange, Note, What, World};
use avamgr_core::time::Instant;

use crate::chronicle::Chronicle;
use crate::shape::{all_resources, pairs};
use crate::sight::{Sight, acquainted_after};

/// Delays of the world itself between a fact and a node's knowledge of it.
const SLACK: Duration = Duration::from_millis(5);

/// When a node last began to take an address, and whom it could see then, and how.
#[derive(Clone, Debug, Hash)]
struct Taken {
    at: Instant,
    seen: BTreeMap<NodeId, String>,
}

/// Two nodes own one address.
#[derive(Clone, Debug, Hash)]
struct Overlap {
    resource: ResourceId,
    one: NodeId,
    other: NodeId,
}

/// The watch over all addresses.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Owners {
    taken: BTreeMap<(NodeId, ResourceId), Taken>,
    /// Per node and resource: how long the stop under way may take.
    stops: BTreeMap<(NodeId, ResourceId), Duration>,
    overlaps: Vec<Overlap>,
    /// Announcements that are due after a conflict: who, what, whom it was with, since when.
    due: Vec<(NodeId, ResourceId, NodeId, Instant)>,
    /// How often the exception of the `ping` class was seen.
    pub(crate) exceptions: u32,
}

impl Owners {
    pub(crate) fn record(&mut self, world: &World, sight: &Sight, chronicle: &Chronicle, note: &Note) {
        let Some(node) = note.host else { return };
        if let What::Did(Action::Resource { resource, order }) = &note.what {
            match order {
                Order::Start => {
                    let seen = could_see(world, sight, chronicle, node, *resource);
                    self.taken.insert((node, *resource), Taken { at: note.at, seen });
                }
                // What it finds it had before.
                Order::Adopt => {}
                Order::Announce => self.due.retain(|due| (due.0, due.1) != (node, *resource)),
                Order::Stop { .. } => {
                    // One that does not work takes all the time it has, and goes on when it would work by now.
                    let timeout = world.config().resource(*resource).map(|resource| resource.stop_timeout);
                    let bound = stop_time(world, node, *resource).or(timeout).unwrap_or_default();
                    self.stops.insert((node, *resource), bound);
                }
            }
        }
        if let What::Kernel(
            KernelChange::Down(resource) | KernelChange::Expired(resource) | KernelChange::Lost(resource),
        ) = note.what
        {
            self.due.retain(|due| (due.0, due.1) != (node, resource));
        }
    }

    /// S1: at most one node owns an address, but for those that could not see each other.
    pub(crate) fn nobody_takes_an_address_from_an_owner_it_could_see(&mut self, world: &World) -> Result<(), String> {
        for overlap in overlaps(world) {
            if self.overlaps.iter().any(|known| known.is(&overlap)) {
                continue;
            }
            let Overlap { resource, one, other } = overlap;
            let begun = |node: NodeId| self.taken.get(&(node, resource)).map(|taken| taken.at);
            // Who began later is the taker: a node that stood still in the middle may end what it began much later.
            let (taker, owner) = if begun(one) >= begun(other) { (one, other) } else { (other, one) };
            self.overlaps.push(overlap);
            if world.config().node_ids().all(|node| world.config().fences(node)) {
                return Err(format!("{one:?} and {other:?} own {resource:?}, and each could have been turned off"));
            }
            self.exceptions += 1;
            if world.config().leases() {
                let (config, name) = (world.config(), world.config().resource_name(resource));
                let (one, other) = (config.node_name(one), config.node_name(other));
                return Err(format!("{one} and {other} answer for {name}"));
            }
            if let Some(how) = self.taken.get(&(taker, resource)).and_then(|taken| taken.seen.get(&owner)) {
                let config = world.config();
                let (taker, owner) = (config.node_name(taker), config.node_name(owner));
                return Err(format!("{taker} took {} while {owner} owned it: {how}", config.resource_name(resource)));
            }
        }
        Ok(())
    }

    /// S1: the exception is over soon after the owners see each other.
    pub(crate) fn two_owners_who_hear_each_other_become_one(&self, world: &World, sight: &Sight) -> Result<(), String> {
        let config = world.config();
        for overlap in &self.overlaps {
            let Overlap { resource, one, other } = overlap;
            let heard = sight.clean_for(world.now(), *one, *other).min(sight.clean_for(world.now(), *other, *one));
            let bounds = [*one, *other].map(|node| self.stop_bound(world, node, *resource));
            // What cannot be stopped stays, with an alarm, until a later attempt.
            let [Some(here), Some(there)] = bounds else {
                continue;
            };
            let stuck = is_stuck(world, *one, *resource) || is_stuck(world, *other, *resource);
            if heard > acquainted_after(&config.timers) + here.max(there) && is_real(world, overlap) && !stuck {
                let name = config.resource_name(*resource);
                return Err(format!("two nodes own {name} and have heard each other for {heard:?}"));
            }
        }
        Ok(())
    }

    /// How long a node may take to let go of an address once it knows; `None` when it cannot. A stop under way goes on as
    /// it was when it was ordered, whatever a later one would be like.
    fn stop_bound(&self, world: &World, node: NodeId, resource: ResourceId) -> Option<Duration> {
        let mut bound = SLACK * 4;
        for id in world.config().resource_ids(resource.group) {
            let under_way = self.stops.get(&(node, id)).copied().unwrap_or_default();
            bound += stop_time(world, node, id)?.max(under_way);
        }
        Some(bound)
    }

    /// S1: an isolated ACTIVE node has stepped down before its peer's hold time ends.
    pub(crate) fn an_isolated_owner_lets_go_within_the_hold_time(
        &self,
        world: &World,
        sight: &Sight,
    ) -> Result<(), String> {
        let config = world.config();
        if config.leases() {
            return Ok(());
        }
        for (node, alone) in sight.cut_off(world.now()) {
            if alone <= config.timers.hold_time + SLACK {
                continue;
            }
            let owned = addresses(config).find(|id| {
                let well = world.behaviour(node, *id).is_some_and(|behaviour| behaviour.stop != Conduct::Fails);
                world.owns(node, *id) && well && !is_stuck(world, node, *id)
            });
            if let Some(resource) = owned {
                let (name, resource) = (config.node_name(node), config.resource_name(resource));
                return Err(format!("{name} still owns {resource} after {alone:?} of isolation"));
            }
        }
        Ok(())
    }

    /// S9: whoever is left of two owners announces again.
    pub(crate) fn the_last_owner_announces_again(&mut self, world: &World, sight: &Sight) -> Result<(), String> {
        if self.overlaps.is_empty() && self.due.is_empty() {
            return Ok(());
        }
        let now = world.now();
        let (still, over): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.overlaps).into_iter().partition(|overlap| is_real(world, overlap));
        self.overlaps = still;
        for Overlap { resource, one, other } in over {
            for (survivor, gone) in [(one, other), (other, one)] {
                let both_run = world.is_running(survivor) && world.is_running(gone);
                if both_run && world.owns(survivor, resource) && !world.owns(gone, resource) {
                    self.due.push((survivor, resource, gone, now));
                }
            }
        }
        // It counts only while the survivor can know.
        self.due.retain(|(survivor, resource, gone, _)| {
            let serves = matches!(world.role(*survivor, resource.group), Some(Role::Activating | Role::Active));
            serves && world.is_running(*survivor) && world.is_running(*gone) && world.owns(*survivor, *resource)
        });
        // A node tells of a group whether any of its addresses is left, not which; and none may be left anywhere else.
        for (survivor, resource, _, since) in &mut self.due {
            let mut others = world.config().node_ids().filter(|node| node != survivor);
            let group = || addresses(world.config()).filter(|id| id.group == resource.group);
            if others.any(|node| group().any(|id| world.owns(node, id) || believes_remains(world, node, id))) {
                *since = now;
            }
        }
        let bound = acquainted_after(&world.config().timers) + SLACK * 4;
        for (survivor, resource, gone, since) in &self.due {
            let heard = sight.clean_for(now, *gone, *survivor).min(now.since(*since));
            if heard > bound {
                let config = world.config();
                let (name, resource) = (config.node_name(*survivor), config.resource_name(*resource));
                return Err(format!("{name} has not announced {resource} again after two owners"));
            }
        }
        Ok(())
    }
}

impl Overlap {
    fn is(&self, other: &Self) -> bool {
        (self.resource, self.one, self.other) == (other.resource, other.one, other.other)
    }
}

/// Every way in which `taker` could see the others when it began.
fn could_see(
    world: &World,
    sight: &Sight,
    chronicle: &Chronicle,
    taker: NodeId,
    resource: ResourceId,
) -> BTreeMap<NodeId, String> {
    let config = world.config();
    let (now, timers) = (world.now(), &config.timers);
    let run = &chronicle.of(taker).run;
    let mut seen = BTreeMap::new();
    for owner in config.node_ids().filter(|node| *node != taker) {
        let visible = sight.visible_for(now, taker, owner, resource.group);
        if visible > timers.vip_probe_time + SLACK {
            seen.insert(owner, format!("it had answered on the service network for {visible:?}"));
        }
        let clean = sight.clean_for(now, owner, taker);
        if clean > acquainted_after(timers) {
            seen.insert(owner, format!("they had a good link for {clean:?}"));
        }
        let recent = (timers.dead_time - timers.dead_time / 200).saturating_sub(SLACK);
        for link in config.link_ids() {
            let heard = run.heard.get(&(owner, link)).map(|heard| now.since(*heard));
            let open = sight.open_for(now, link, owner, taker);
            if heard.is_some_and(|heard| heard < recent) && open > timers.dead_time + SLACK {
                seen.insert(owner, format!("it was heard {heard:?} ago on {}", config.link_name(link)));
            }
        }
    }
    seen
}

/// How long a stop takes; `None` when it does not work.
fn stop_time(world: &World, node: NodeId, resource: ResourceId) -> Option<Duration> {
    let behaviour = world.behaviour(node, resource)?;
    match behaviour.stop {
        Conduct::Well => Some(behaviour.stop_time),
        Conduct::Hangs => Some(world.config().resource(resource)?.stop_timeout),
        Conduct::Fails => None,
    }
}

/// Whether a node knows, and says, that it could not stop something of this group.
fn is_stuck(world: &World, node: NodeId, resource: ResourceId) -> bool {
    let Some(state) = world.node(node) else {
        return false;
    };
    let status = state.status(world.local(node));
    let tries = |state: &str| state == "stuck" || state == "stopping";
    status.groups[resource.group.index()].resources.iter().any(|it| tries(&it.state) && it.failure.is_some())
}

/// Whether a node takes something of this group to be up there: somebody else brought it up, or an address could not be taken
/// off and has not been looked at again since.
fn believes_remains(world: &World, node: NodeId, resource: ResourceId) -> bool {
    let Some(state) = world.node(node) else { return false };
    let status = state.status(world.local(node));
    let Some(group) = status.groups.get(resource.group.index()) else { return false };
    let is_address = |name: &str| {
        addresses(world.config()).any(|id| id.group == resource.group && world.config().resource_name(id) == name)
    };
    group.resources.iter().any(|it| it.state == "stray" || it.state == "stuck" && is_address(&it.resource))
}

/// Every address two kernels own that both are awake.
fn overlaps(world: &World) -> Vec<Overlap> {
    let mut all = Vec::new();
    for resource in addresses(world.config()) {
        for (one, other) in pairs(world.config()).into_iter().filter(|(one, other)| one < other) {
            let overlap = Overlap { resource, one, other };
            if is_real(world, &overlap) {
                all.push(overlap);
            }
        }
    }
    all
}

/// What somebody put there by hand is nobody's decision.
fn is_real(world: &World, overlap: &Overlap) -> bool {
    let resource = overlap.resource;
    let owns = |node: NodeId| world.answers(node, resource) && !world.is_by_hand(node, resource);
    [overlap.one, overlap.other].into_iter().all(|node| owns(node) && world.is_awake(node))
}

/// What is owned by answering for it on the service network.
pub(crate) fn addresses(config: &Config) -> impl Iterator<Item = ResourceId> {
    let is_vip =
        |id: &ResourceId| matches!(config.resource(*id).map(|resource| &resource.kind), Some(ResourceKind::Vip(_)));
    all_resources(config).into_iter().filter(move |id| is_vip(id))
}
