//! One group on this node: every room has its say, most urgent first; then orders to the resources and the role that follows.

use std::time::Duration;

use crate::cluster::{CheckId, GroupId, ResourceId, Role};
use crate::node::event::{Cause, Fact, ResourceChange};
use crate::node::input::Report;
use crate::node::resources::{self, RunState};
use crate::node::role::{self, Trigger};
use crate::node::{Action, Node, Order};

impl Node {
    pub(super) fn on_report(&mut self, id: ResourceId, report: Report) {
        let config = self.config.clone();
        let Some(settings) = config.resource(id) else {
            return;
        };
        match &report {
            Report::Started => self.adopted(id, true),
            Report::StartFailed(_) | Report::Stopped | Report::StopFailed(_) | Report::Failed(_) => {
                self.adopted(id, false)
            }
            Report::Well(_) | Report::Stray(_) | Report::Gone(_) => {}
            Report::Able | Report::Unable(_) | Report::Notice(_) => {}
        }
        let now = self.now;
        let Some(group) = self.groups.get_mut(id.group.index()) else {
            return;
        };
        let wanted = group.wants_up();
        let Some(resource) = group.resources.get_mut(usize::from(id.index)) else {
            return;
        };
        if let Some(change) = resource.on_report(now, report, wanted, &settings.restart) {
            // Beyond the limit it is tried here only as long as no other node can have the group.
            let goes_on = self.maintenance.is_none() && !resource.is_exhausted(&settings.restart);
            let restarting = match (&change, resource.state) {
                (ResourceChange::Stopped | ResourceChange::StartFailed { .. }, RunState::Backoff(until)) if goes_on => {
                    Some(ResourceChange::Restarting {
                        after: until.since(now),
                        attempt: u32::try_from(resource.failures.len()).unwrap_or(u32::MAX),
                        max: settings.restart.max,
                    })
                }
                (_, _) => None,
            };
            if let ResourceChange::StopFailed { reason } = &change {
                self.answer_stuck(id, reason);
            }
            self.tell(Fact::Resource { resource: id, change });
            if let Some(change) = restarting.filter(|_| wanted) {
                self.tell(Fact::Resource { resource: id, change });
            }
        }
    }

    pub(super) fn on_ready(&mut self, check: CheckId, result: Result<(), String>) {
        if check.index() >= self.config.ready.len() {
            return;
        }
        let before = self.ready.insert(check, (self.now, result.clone()));
        if before.as_ref().map(|(_, result)| result) == Some(&result) {
            return;
        }
        self.tell(match result {
            Ok(()) => Fact::CheckReady { check },
            Err(reason) => Fact::CheckFailed { check, reason },
        });
    }

    /// Until a role is where what is known wants it; each round takes one edge of the state machine at most.
    pub(super) fn decide_group(&mut self, id: GroupId) {
        for _ in Role::ALL {
            let before = (self.group(id).role, self.group(id).claim, self.group(id).release.clone());
            self.decide_once(id);
            let group = self.group(id);
            if before == (group.role, group.claim, group.release.clone()) {
                break;
            }
        }
    }

    /// Everything about one group, most urgent first.
    pub(super) fn decide_once(&mut self, id: GroupId) {
        self.learn_terms(id);
        self.resolve_conflict(id);
        self.yield_when_isolated(id);
        self.yield_when_lapsed(id);
        self.yield_answered_addresses(id);
        self.follow_release(id);
        self.give_up_when_failed(id);
        self.fail_back(id);
        self.probe_vips(id);
        self.take_over(id);
        self.tell_right(id);
        self.order_resources(id);
        self.settle_role(id);
    }

    /// Orders the next starts and stops.
    pub(super) fn order_resources(&mut self, id: GroupId) {
        let config = self.config.clone();
        let Some(settings) = config.groups.get(id.index()) else {
            return;
        };
        let now = self.now;
        let group = self.group(id);
        // Maintenance: what has failed stays as it is, and so does what somebody put here. A start under way ends, and what
        // has to go still goes.
        let maintained = self.maintenance.is_some();
        if maintained && group.role == Role::Active {
            return;
        }
        let keeps_strays = maintained && !group.holds();
        // What is stopped last gets what the others have left of the time, and never so little that it is killed unasked.
        let least = config.timers.stop_bound / 4;
        let within = group.stop_by.map(|by| by.since(now).max(least));
        let orders = resources::next_orders(&group.resources, settings, group.wants_up(), within, now);
        let is_address = |index: &usize| settings.resources.get(*index).is_some_and(resources::is_vip);
        let wants_address = orders.iter().any(|(index, order)| *order == Order::Start && is_address(index));
        let secured = wants_address && self.secure_addresses(id);
        for (index, order) in orders {
            let is_stray = self.group(id).resources.get(index).is_some_and(|it| it.state == RunState::Stray);
            if keeps_strays && is_stray {
                continue;
            }
            if order == Order::Start && is_address(&index) && !secured {
                continue;
            }
            let Some(resource) = self.group_mut(id).resources.get_mut(index) else {
                continue;
            };
            resource.turn(if order == Order::Start { RunState::Starting } else { RunState::Stopping }, now);
            let resource = ResourceId { group: id, index: u16::try_from(index).unwrap_or(u16::MAX) };
            self.outbox.push_back(Action::Resource { resource, order });
        }
    }

    /// Moves on when every resource is where the role wants it.
    pub(super) fn settle_role(&mut self, id: GroupId) {
        let faulty = self.is_exhausted(id);
        let group = self.group(id);
        match group.role {
            Role::Activating if group.claim.is_none() && resources::all_up(&group.resources) => {
                self.turn(id, Trigger::ResourcesUp, Cause::ResourcesUp);
                self.reclaimed(id);
            }
            Role::Deactivating if resources::all_down(&group.resources) => {
                let cause = if group.cause == Cause::Start { Cause::LeftoversRemoved } else { Cause::ResourcesDown };
                let trigger = if faulty { Trigger::ResourcesDownFaulty } else { Trigger::ResourcesDown };
                self.turn(id, trigger, cause);
                self.released(id);
            }
            Role::Fault if !faulty => self.turn(id, Trigger::Cleared, Cause::FaultCleared),
            Role::Standby | Role::Activating | Role::Active | Role::Deactivating | Role::Fault => {}
        }
    }

    /// The one place where a role changes.
    pub(super) fn turn(&mut self, id: GroupId, trigger: Trigger, cause: Cause) {
        let now = self.now;
        let group = self.group_mut(id);
        let from = group.role;
        let Some(to) = role::next(from, trigger) else {
            return;
        };
        group.role = to;
        group.since = now;
        if matches!(to, Role::Standby | Role::Fault) {
            self.end_tenure(id);
        }
        let group = self.group_mut(id);
        if !cause.ends_a_change() {
            group.cause = cause.clone();
        }
        let term = group.told_term();
        let position = self.position(id);
        self.tell(Fact::RoleChanged { group: id, from, to, term, position, cause });
    }

    /// Leaves the role, whatever it is, because of `cause`; `within` bounds the stops.
    pub(super) fn step_down(&mut self, id: GroupId, cause: Cause, within: Option<Duration>) {
        let now = self.now;
        let stop_by = within.map(|within| now + within);
        let group = self.group_mut(id);
        match group.role {
            Role::Activating if group.claim.is_some() => {
                group.claim = None;
                self.turn(id, Trigger::ClaimLost, cause);
            }
            Role::Activating | Role::Active => {
                group.stop_by = stop_by;
                group.conflict = None;
                self.turn(id, Trigger::StepDown, cause);
            }
            Role::Deactivating if within.is_some() && group.stop_by.is_none() => {
                // Time has become short: stops under way are ordered again with their bound.
                group.stop_by = stop_by;
                for resource in &mut group.resources {
                    if resource.state == RunState::Stopping {
                        resource.turn(RunState::Stuck(now), now);
                    }
                }
            }
            Role::Standby | Role::Deactivating | Role::Fault => {}
        }
    }

    pub(super) fn is_exhausted(&self, id: GroupId) -> bool {
        let Some(settings) = self.config.groups.get(id.index()) else {
            return false;
        };
        let group = self.group(id);
        group.resources.iter().zip(&settings.resources).any(|(resource, config)| resource.is_exhausted(&config.restart))
    }
}
