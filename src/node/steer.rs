//! Single resources steered by an operator.
//!
//! What is refused says why; what is accepted is answered when the resource is where it was ordered to be, or cannot get
//! there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{ResourceId, Role};
use crate::control::{Answer, ResourceVerb};
use crate::node::action::RequestId;
use crate::node::event::{Fact, ResourceChange};
use crate::node::resources::{Resource, RunState};
use crate::node::{Action, Node};
use crate::time::Instant;

/// Beyond the time that a resource may take itself.
const MARGIN: Duration = Duration::from_secs(1);

/// An order to one resource whose end an operator waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Awaited {
    request: RequestId,
    resource: ResourceId,
    goal: Goal,
    since: Instant,
    pub(super) deadline: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Goal {
    Up,
    Down,
}

impl Node {
    pub(super) fn steer_resource(
        &mut self,
        request: RequestId,
        name: &str,
        verb: ResourceVerb,
    ) -> Result<Option<Answer>, String> {
        let id = self.find_resource(name)?;
        let now = self.now;
        if verb == ResourceVerb::Clear {
            return Ok(Some(self.clear_resource(id, name)));
        }
        if self.maintenance.is_some() {
            return Err("maintenance is on: services are not touched (maintenance off ends it)".to_owned());
        }
        if !self.group(id.group).serves() {
            let group = self.config.group_name(id.group);
            return Err(format!("{group} is not ACTIVE here: its resources are up only where it is"));
        }
        let Some(resource) = self.group_mut(id.group).resources.get_mut(usize::from(id.index)) else {
            return Err(format!("there is no resource {name}"));
        };
        resource.held = verb == ResourceVerb::Stop;
        if verb != ResourceVerb::Stop {
            resource.failures.clear();
        }
        resource.hurry(now);
        match resource.state {
            // It waits for its restart, and need not any more.
            RunState::Backoff(_) => resource.turn(RunState::Stopped, now),
            RunState::Started | RunState::Starting if verb == ResourceVerb::Restart => {
                resource.turn(RunState::Stuck(now), now);
            }
            RunState::Stopped | RunState::Started | RunState::Starting | RunState::Stopping => {}
            RunState::Stuck(_) | RunState::Stray => {}
        }
        let goal = if verb == ResourceVerb::Stop { Goal::Down } else { Goal::Up };
        self.give_up_awaiting(id, goal);
        // It may have to wait for those before it.
        let group = self.config.groups.get(id.group.index());
        let times = group.into_iter().flat_map(|group| &group.resources).map(|it| it.start_timeout + it.stop_timeout);
        let time: Duration = times.sum();
        self.awaited.push(Awaited { request, resource: id, goal, since: now, deadline: now + time + MARGIN });
        Ok(None)
    }

    fn clear_resource(&mut self, id: ResourceId, name: &str) -> Answer {
        let now = self.now;
        let faulty = self.group(id.group).role == Role::Fault;
        let hands_off = self.maintenance.is_some() && self.group(id.group).role == Role::Active;
        let mut again = "";
        if let Some(resource) = self.group_mut(id.group).resources.get_mut(usize::from(id.index)) {
            resource.failures.clear();
            resource.failure = None;
            again = match resource.hurry(now) {
                true if hands_off => "; to stop it is tried again when maintenance is over",
                true => "; to stop it is tried again now",
                false => "",
            };
        }
        self.tell(Fact::Resource { resource: id, change: ResourceChange::Cleared });
        let hint = if faulty { "; the group leaves FAULT when nothing else has failed" } else { "" };
        Answer::Done { text: format!("the failures of {name} are forgotten{hint}{again}") }
    }

    /// An order takes the place of an older one that wanted the opposite.
    fn give_up_awaiting(&mut self, id: ResourceId, goal: Goal) {
        let is_old = |awaited: &Awaited| awaited.resource == id && awaited.goal != goal;
        let (old, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.awaited).into_iter().partition(is_old);
        self.awaited = rest;
        for awaited in old {
            let reason = "another order for it has come since".to_owned();
            self.outbox.push_back(Action::Answer { request: awaited.request, answer: Answer::Failed { reason } });
        }
    }

    /// Answers the orders that have come to their end.
    pub(super) fn follow_awaited(&mut self) {
        for awaited in std::mem::take(&mut self.awaited) {
            match self.end_of(&awaited) {
                Some(answer) => self.outbox.push_back(Action::Answer { request: awaited.request, answer }),
                None => self.awaited.push(awaited),
            }
        }
    }

    fn end_of(&self, awaited: &Awaited) -> Option<Answer> {
        let Awaited { resource: id, goal, since, deadline, .. } = *awaited;
        let (name, group_name) = (self.config.resource_name(id), self.config.group_name(id.group));
        let group = self.group(id.group);
        let resource = group.resources.get(usize::from(id.index))?;
        let failed = |reason: String| Some(Answer::Failed { reason });
        match (goal, resource.state) {
            (Goal::Up, RunState::Started) => Some(Answer::Done { text: format!("{name} is started") }),
            (Goal::Down, RunState::Stopped) => Some(Answer::Done {
                text: format!(
                    "{name} is stopped and stays so until it is started, or {group_name} has been on another node"
                ),
            }),
            (Goal::Up, _) if !group.serves() => {
                let failure = resource.failure.clone().filter(|_| has_failed_since(resource, since));
                let failure = failure.map_or_else(String::new, |failure| format!("{name}: {failure}; "));
                failed(format!("{failure}{group_name} is not ACTIVE here any more"))
            }
            (_, RunState::Backoff(_)) if has_failed_since(resource, since) => {
                failed(format!("{name}: {}; it is tried again", resource.failure.clone().unwrap_or_default()))
            }
            (_, RunState::Stuck(_)) if has_failed_since(resource, since) => {
                failed(format!("{name} cannot be stopped: {}", resource.failure.clone().unwrap_or_default()))
            }
            (_, _) if self.now >= deadline => {
                let reasons: String = self.withheld(id.group).iter().map(|reason| format!(": {reason}")).collect();
                failed(format!("{name} is {} still{reasons}", resource.state.word()))
            }
            (_, _) => None,
        }
    }

    fn find_resource(&self, name: &str) -> Result<ResourceId, String> {
        let all = || self.config.group_ids().flat_map(|group| self.config.resource_ids(group));
        let full = |id: &ResourceId| format!("{}/{}", self.config.group_name(id.group), self.config.resource_name(*id));
        let found: Vec<ResourceId> =
            all().filter(|id| full(id) == name || self.config.resource_name(*id) == name).collect();
        match found.as_slice() {
            [id] => Ok(*id),
            [] => {
                let names: Vec<String> = all().map(|id| full(&id)).collect();
                Err(format!("there is no resource {name}; there are {}", names.join(", ")))
            }
            [_, _, ..] => {
                let names: Vec<String> = found.iter().map(full).collect();
                Err(format!("{name} is ambiguous: {}", names.join(", ")))
            }
        }
    }
}

fn has_failed_since(resource: &Resource, since: Instant) -> bool {
    resource.failed.is_some_and(|failed| failed >= since)
}
