//! What must hold after every event, each rule a function named as a sentence (docs/safety.md).

use std::time::Duration;

use avamgr_core::cluster::{GroupId, LinkId, NodeId, ResourceId, Role, Term};
use avamgr_core::node::event::HoldKind;
use avamgr_core::node::{Action, Fact, Input, Order};
use avamgr_core::sim::{DaemonChange, Note, What, World};
use avamgr_core::time::Instant;

use crate::chronicle::{Chronicle, Run, launched, leads};
use crate::owners::{Owners, addresses};
use crate::shape::all_resources;
use crate::sight::{Sight, acquainted_after};

/// Delays of the world itself between a fact and a node's knowledge of it.
const SLACK: Duration = Duration::from_millis(5);

/// All rules and what they remember.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Invariants {
    sight: Sight,
    chronicle: Chronicle,
    pub(crate) owners: Owners,
}

impl Invariants {
    /// Checks every rule against what has just been seen; the error names the rule.
    pub(crate) fn check(&mut self, world: &World, notes: &[Note]) -> Result<(), String> {
        for note in notes {
            match (note.host, &note.what) {
                (Some(node), What::Daemon(change)) => self.sight.note_daemon(node, *change),
                (Some(node), What::Handled(Input::Heartbeat { heartbeat, .. })) => {
                    if self.chronicle.of(node).run.may_hear(heartbeat) {
                        self.sight.note_frame(node, heartbeat);
                    }
                }
                (_, _) => {}
            }
        }
        if notes.iter().any(|note| changes_sight(&note.what)) {
            self.sight.update(world);
        }
        for note in notes {
            self.check_note(world, note)?;
            self.owners.record(world, &self.sight, &self.chronicle, note);
            self.chronicle.record(world, note);
        }
        rule("S13 a stalled node asks before it speaks", a_stalled_node_asks_before_it_speaks(world, notes))?;
        for node in nodes_of(notes) {
            rule("S8 no deadline is over after a full drain", no_deadline_is_over_after_a_full_drain(world, node))?;
            rule("S3 who serves has the lease", who_serves_has_the_lease(world, node))?;
        }
        if notes.iter().any(|note| matches!(note.what, What::Did(Action::Right { .. }))) {
            rule("S2 two nodes never have a lease at once", two_nodes_never_have_a_lease_at_once(world))?;
        }
        if notes.iter().any(|note| changes_owners(&note.what)) {
            for node in world.config().node_ids() {
                rule("a standby owns nothing", a_standby_owns_nothing(world, node))?;
            }
            self.chronicle.forget_ended(world);
            let taken = self.owners.nobody_takes_an_address_from_an_owner_it_could_see(world);
            rule("S1 nobody takes an address from an owner it could see", taken)?;
        }
        self.check_owners(world)
    }

    fn check_owners(&mut self, world: &World) -> Result<(), String> {
        let Self { sight, chronicle: _, owners } = self;
        let resolved = owners.two_owners_who_hear_each_other_become_one(world, sight);
        rule("S1 two owners who hear each other become one", resolved)?;
        let isolated = owners.an_isolated_owner_lets_go_within_the_hold_time(world, sight);
        rule("an isolated owner lets go within the hold time", isolated)?;
        rule("S9 the last owner announces again", owners.the_last_owner_announces_again(world, sight))
    }

    fn check_note(&self, world: &World, note: &Note) -> Result<(), String> {
        let Some(node) = note.host else { return Ok(()) };
        let run = &self.chronicle.of(node).run;
        match &note.what {
            What::Did(action @ Action::Send { .. }) => {
                rule(
                    "S4 a term is on disk before it is used",
                    a_term_is_on_disk_before_it_is_used(world, node, action),
                )?;
                rule("S4 terms never fall", terms_never_fall(world, run, action))?;
                rule("who says that it owns nothing owns nothing", the_word_is_true(world, node, action))
            }
            What::Did(action) if launched(action).is_some_and(|group| !run.leads.contains(&group)) => {
                launched(action).map_or(Ok(()), |group| self.check_launch(world, node, group))
            }
            What::Did(Action::Resource { resource, order: Order::Start | Order::Stop { .. } }) => rule(
                "in maintenance nothing is done to a service",
                nothing_is_done_in_maintenance(world, node, run, resource.group),
            ),
            What::Did(Action::Event(_)) => {
                rule("S11 no more automatic takeovers than the limit", takeovers_are_limited(world, run))
            }
            What::Order(_) | What::Handled(_) | What::Did(_) | What::Daemon(_) | What::Kernel(_) => Ok(()),
        }
    }

    /// A peer on a good link has left the group to this node, has said goodbye, or knows that it wants it in this term.
    fn who_is_heard_is_asked_first(
        &self,
        world: &World,
        node: NodeId,
        group: GroupId,
        term: Term,
    ) -> Result<(), String> {
        let config = world.config();
        let (now, company) = (world.now(), acquainted_after(&config.timers));
        let clean = |peer: &NodeId| self.sight.clean_for(now, *peer, node).min(self.sight.clean_for(now, node, *peer));
        for peer in config.node_ids().filter(|peer| *peer != node && clean(peer) > company) {
            let run = &self.chronicle.of(peer).run;
            let released = run.released.get(&group) == Some(&Some(node));
            let asked = run.claims.get(&(node, group)).is_some_and(|asked| *asked >= term);
            if !released && !asked && !self.sight.has_left(node, peer) {
                return Err(format!("{peer:?} was not asked whether {node:?} may start in term {term}"));
            }
        }
        Ok(())
    }

    /// A node begins to start a group.
    fn check_launch(&self, world: &World, node: NodeId, group: GroupId) -> Result<(), String> {
        let record = self.chronicle.of(node);
        let run = &record.run;
        let term = world.term(node, group).unwrap_or_default();
        let before = record.launched.get(&group).copied().unwrap_or_default();
        let grows =
            if term > before { Ok(()) } else { Err(format!("{node:?} starts in term {term} after term {before}")) };
        rule("S4 terms strictly grow", grows)?;
        let heard = run.peers_term.get(&group).copied().unwrap_or_default();
        let newer =
            if term > heard { Ok(()) } else { Err(format!("{node:?} starts in term {term}, has heard of {heard}")) };
        rule("S5 an older term never promotes", newer)?;
        if world.config().leases() {
            rule("S2 no start without a lease", nobody_starts_without_a_lease(world, node, group))?;
        } else {
            rule("S10 who is heard is asked first", self.who_is_heard_is_asked_first(world, node, group, term))?;
            rule("S1 an owner that answers is silent first", who_answered_is_silent_first(world, run, group))?;
            rule("S7 no promotion while isolated", nobody_starts_while_isolated(world, node, run))?;
        }
        rule("S6 leftovers are removed first", leftovers_are_removed_first(world, run, group))?;
        rule("S6 no promotion before every peer had its time to speak", every_peer_had_its_time(world, node, run))?;
        rule("S12 no promotion before the silent are off", the_silent_are_off(world, node, run))?;
        rule("S7 no promotion while held", nobody_starts_while_held(world.now(), run, group))?;
        rule("S7 no promotion while unable", nobody_starts_while_unable(run, group))
    }
}

fn rule(name: &str, result: Result<(), String>) -> Result<(), String> {
    result.map_err(|error| format!("{name}: {error}"))
}

/// Whether who sees whom may be different after this.
fn changes_sight(what: &What) -> bool {
    match what {
        What::Order(_) | What::Daemon(_) | What::Kernel(_) => true,
        What::Handled(Input::Heartbeat { heartbeat, .. }) => heartbeat.leaving,
        What::Handled(_) | What::Did(_) => false,
    }
}

/// Whether who owns what, or should, may be different after this.
fn changes_owners(what: &What) -> bool {
    match what {
        What::Order(_) | What::Daemon(_) | What::Kernel(_) => true,
        What::Did(Action::Event(event)) => matches!(event.fact, Fact::RoleChanged { .. }),
        What::Did(Action::Right { .. }) => true,
        What::Handled(_) | What::Did(_) => false,
    }
}

fn two_nodes_never_have_a_lease_at_once(world: &World) -> Result<(), String> {
    for group in world.config().group_ids() {
        let has = |node: &NodeId| world.right_until(*node, group).is_some_and(|until| world.now() < until);
        let holders: Vec<NodeId> = world.config().node_ids().filter(has).collect();
        if holders.len() > 1 {
            return Err(format!("{holders:?} have the lease of {}", world.config().group_name(group)));
        }
    }
    Ok(())
}

fn nobody_starts_without_a_lease(world: &World, node: NodeId, group: GroupId) -> Result<(), String> {
    match world.right_until(node, group) {
        Some(until) if world.now() < until => Ok(()),
        until => Err(format!("{node:?} starts at {}, its lease: {until:?}", world.now())),
    }
}

/// What runs on without a lease is on its way down.
fn who_serves_has_the_lease(world: &World, node: NodeId) -> Result<(), String> {
    if !world.config().leases() || !world.is_running(node) {
        return Ok(());
    }
    let serves = |group: &GroupId| world.role(node, *group) == Some(Role::Active);
    let lapsed = |group: &GroupId| world.right_until(node, *group).is_none_or(|until| world.now() >= until);
    match world.config().group_ids().find(|group| serves(group) && lapsed(group)) {
        Some(group) => {
            let until = world.right_until(node, group);
            Err(format!(
                "{node:?} serves {} at {}, its lease: {until:?}",
                world.config().group_name(group),
                world.now()
            ))
        }
        None => Ok(()),
    }
}

/// The nodes that took an input.
fn nodes_of(notes: &[Note]) -> impl Iterator<Item = NodeId> {
    notes.iter().filter(|note| matches!(note.what, What::Handled(_))).filter_map(|note| note.host)
}

fn a_term_is_on_disk_before_it_is_used(world: &World, node: NodeId, action: &Action) -> Result<(), String> {
    let Action::Send { heartbeat, .. } = action else {
        return Ok(());
    };
    for (group, state) in world.config().group_ids().zip(&heartbeat.groups) {
        let serves = matches!(state.role, Role::Activating | Role::Active);
        let on_disk = world.durable(node).and_then(|durable| durable.terms.get(&group)).copied().unwrap_or_default();
        if serves && state.term > on_disk {
            return Err(format!("{node:?} uses term {} with {on_disk} on disk", state.term));
        }
    }
    Ok(())
}

fn terms_never_fall(world: &World, run: &Run, action: &Action) -> Result<(), String> {
    let Action::Send { heartbeat, .. } = action else {
        return Ok(());
    };
    for (group, state) in world.config().group_ids().zip(&heartbeat.groups) {
        let before = run.shown.get(&group).copied().unwrap_or_default();
        // A leader shows the term it acts in, which may be older than the newest it has heard of.
        if state.term < before && !leads(state.role) {
            return Err(format!("{:?} shows term {} after {before}", heartbeat.from, state.term));
        }
    }
    Ok(())
}

/// Peers act on the word of a node that it owns nothing.
fn the_word_is_true(world: &World, node: NodeId, action: &Action) -> Result<(), String> {
    let Action::Send { heartbeat, .. } = action else {
        return Ok(());
    };
    for (group, state) in world.config().group_ids().zip(&heartbeat.groups) {
        let empty = state.claim || state.released_to.is_some() || !leads(state.role);
        let owned = world.config().resource_ids(group).find(|id| has_taken(world, node, *id));
        if let Some(resource) = owned.filter(|_| empty) {
            let name = world.config().resource_name(resource);
            return Err(format!("{node:?} says {:?} and owns {name}", state.role));
        }
        let owned = addresses(world.config()).find(|id| id.group == group && has_taken(world, node, *id));
        if let Some(resource) = owned.filter(|_| !state.addresses) {
            let name = world.config().resource_name(resource);
            return Err(format!("{node:?} says that it has no address and owns {name}"));
        }
    }
    Ok(())
}

/// It owns it, and not by somebody else's hand.
fn has_taken(world: &World, node: NodeId, resource: ResourceId) -> bool {
    world.owns(node, resource) && !world.is_by_hand(node, resource)
}

fn a_standby_owns_nothing(world: &World, node: NodeId) -> Result<(), String> {
    for resource in all_resources(world.config()) {
        let role = world.role(node, resource.group);
        if matches!(role, Some(Role::Standby | Role::Fault)) && has_taken(world, node, resource) {
            let name = world.config().resource_name(resource);
            return Err(format!("{node:?} is {role:?} and owns {name}"));
        }
    }
    Ok(())
}

fn no_deadline_is_over_after_a_full_drain(world: &World, node: NodeId) -> Result<(), String> {
    let Some(state) = world.node(node).filter(|_| world.is_running(node)) else {
        return Ok(());
    };
    let (deadline, reason) = state.poll_deadline();
    if deadline > world.local(node) {
        return Ok(());
    }
    Err(format!("{node:?}: {reason} was due at {deadline}, it is {}", world.local(node)))
}

fn takeovers_are_limited(world: &World, run: &Run) -> Result<(), String> {
    let limits = &world.config().limits;
    for times in run.takeovers.values() {
        let window = limits.failover_window - limits.failover_window / 500;
        let recent = times.iter().filter(|at| world.now().since(**at) < window).count();
        if recent > usize::try_from(limits.failovers).unwrap_or(usize::MAX) {
            return Err(format!("{recent} takeovers within {window:?}"));
        }
    }
    Ok(())
}

/// An answer for the VIPs is a sign of life; one question that nobody answers does not undo it.
fn who_answered_is_silent_first(world: &World, run: &Run, group: GroupId) -> Result<(), String> {
    let Some(answered) = run.answered.get(&group) else { return Ok(()) };
    let patience = world.config().timers.dead_time;
    let silence = world.now().since(*answered);
    let heard = run.heard.values().any(|heard| heard >= answered);
    if heard || silence + SLACK >= patience - patience / 200 {
        return Ok(());
    }
    Err(format!("somebody answered for the VIPs {silence:?} ago"))
}

fn leftovers_are_removed_first(world: &World, run: &Run, group: GroupId) -> Result<(), String> {
    match world.config().resource_ids(group).find(|id| !run.removed.contains(id)) {
        Some(id) => Err(format!("{} has not been removed yet", world.config().resource_name(id))),
        None => Ok(()),
    }
}

fn every_peer_had_its_time(world: &World, node: NodeId, run: &Run) -> Result<(), String> {
    let config = world.config();
    let grace = config.timers.start_grace - config.timers.start_grace / 200;
    if config.standalone || world.now().since(run.started) + SLACK >= grace {
        return Ok(());
    }
    match config.node_ids().find(|peer| *peer != node && run.last_heard(*peer).is_none()) {
        Some(peer) => {
            Err(format!("{peer:?} was not heard, and the start is only {:?} ago", world.now().since(run.started)))
        }
        None => Ok(()),
    }
}

fn nothing_is_done_in_maintenance(world: &World, node: NodeId, run: &Run, group: GroupId) -> Result<(), String> {
    match world.role(node, group) {
        Some(Role::Active) if run.holds.contains_key(&HoldKind::Maintenance) => {
            Err(format!("{node:?} is ACTIVE and orders something"))
        }
        Some(_) | None => Ok(()),
    }
}

fn nobody_starts_while_held(now: Instant, run: &Run, group: GroupId) -> Result<(), String> {
    if run.flapped.contains(&group) {
        return Err("held: too many takeovers".to_owned());
    }
    let holds = [HoldKind::Offline, HoldKind::Maintenance];
    let counts = |kind: &&HoldKind| **kind != HoldKind::Maintenance || !run.evicted.contains(&group);
    let holds = || holds.iter().filter(counts).filter_map(|kind| Some((kind, run.holds.get(kind)?)));
    match holds().find(|(_, hold)| now + SLACK < hold.until) {
        Some((kind, _)) => Err(format!("held: {kind:?}")),
        None => Ok(()),
    }
}

fn nobody_starts_while_unable(run: &Run, group: GroupId) -> Result<(), String> {
    if let Some(resource) = run.unable.iter().find(|id| id.group == group) {
        return Err(format!("{resource:?} is unable"));
    }
    match run.failing.first() {
        Some(check) => Err(format!("{check:?} fails")),
        None => Ok(()),
    }
}

/// Some peer is there, or the arbitrator has answered since the last sign of life of anybody.
/// Whoever is not heard and can be turned off has been, for certain, since it was heard last; or it has left.
fn the_silent_are_off(world: &World, node: NodeId, run: &Run) -> Result<(), String> {
    let config = world.config();
    let company = config.timers.dead_time + config.timers.dead_time / 200 + SLACK;
    for peer in config.node_ids().filter(|peer| *peer != node && config.fences(*peer)) {
        let heard = run.last_heard(peer);
        let confirmed = run.off.get(&peer).max(run.vouched.get(config.node_name(peer)));
        let off = confirmed.is_some_and(|since| heard.is_none_or(|heard| heard <= *since));
        let there = run.heard_within(world.now(), peer, company) || run.is_absent(world.now(), peer, company);
        if !off && !there && !run.left.contains_key(&peer) {
            return Err(format!("{peer:?}, last heard {heard:?}, was not turned off"));
        }
    }
    Ok(())
}

fn nobody_starts_while_isolated(world: &World, node: NodeId, run: &Run) -> Result<(), String> {
    let config = world.config();
    let timers = &config.timers;
    let others = || config.node_ids().filter(|peer| *peer != node);
    let company = timers.dead_time + timers.dead_time / 200 + SLACK;
    if config.standalone || others().any(|peer| run.heard_within(world.now(), peer, company)) {
        return Ok(());
    }
    let last = others().filter_map(|peer| run.last_heard(peer)).max().unwrap_or(run.started);
    match run.verdict {
        Some((asked, true)) if asked >= last => Ok(()),
        Some((asked, answered)) => Err(format!("arbitrator asked at {asked}: {answered}; last sign of life at {last}")),
        None => Err("the arbitrator was never asked".to_owned()),
    }
}

/// After standing still for longer than the dead time the first frame is a question, or a question to the arbitrator
/// or an order to stop stands before it. Whoever still has its lease need not ask: that of etcd may outlast the dead time.
fn a_stalled_node_asks_before_it_speaks(world: &World, notes: &[Note]) -> Result<(), String> {
    let resumed = notes.iter().position(|note| matches!(note.what, What::Daemon(DaemonChange::Resumed)));
    let Some(resumed) = resumed else {
        return Ok(());
    };
    let host = notes[resumed].host;
    let stalled = notes[resumed..].iter().any(|note| match &note.what {
        What::Did(Action::Event(event)) => matches!(event.fact, Fact::Stalled { .. }),
        What::Did(_) | What::Order(_) | What::Handled(_) | What::Daemon(_) | What::Kernel(_) => false,
    });
    for note in notes[resumed..].iter().filter(|note| note.host == host) {
        match &note.what {
            What::Did(Action::Ask { .. } | Action::Resource { order: Order::Stop { .. }, .. }) => return Ok(()),
            What::Did(Action::Send { heartbeat, .. }) if heartbeat.probe => return Ok(()),
            // To the witness every frame is a question.
            What::Did(Action::Send { link: LinkId::WITNESS, .. }) => return Ok(()),
            What::Did(Action::Send { heartbeat, .. }) => {
                let in_doubt =
                    |group: GroupId| world.right_until(heartbeat.from, group).is_none_or(|until| world.now() >= until);
                let mut groups = world.config().group_ids().zip(&heartbeat.groups);
                let serves = groups.any(|(id, group)| group.role == Role::Active && in_doubt(id));
                if serves && stalled && !world.config().standalone {
                    return Err("a heartbeat of an ACTIVE node came first".to_owned());
                }
            }
            What::Did(_) | What::Order(_) | What::Handled(_) | What::Daemon(_) | What::Kernel(_) => {}
        }
    }
    Ok(())
}
