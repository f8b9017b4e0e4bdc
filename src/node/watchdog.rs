//! The watchdog of this machine is fed only while nothing is up here that somebody else may have by now.

use crate::cluster::{ResourceId, Role};
use crate::node::event::{AlarmKey, Cause, Fencing as Told};
use crate::node::group::Group;
use crate::node::resources::Resource;
use crate::node::{Fact, Node};

impl Node {
    /// Whether the watchdog of this machine is to be fed. It is not once something that this node has lost the right to
    /// could not be brought down in its time: then a reset of the machine is what brings it down.
    pub fn feeds_watchdog(&self) -> bool {
        !self.alarms.contains_key(&AlarmKey::Unfed)
    }

    pub(super) fn judge_watchdog(&mut self) {
        let Some(within) = self.config.watchdog.as_ref().map(|watchdog| watchdog.timeout) else {
            return;
        };
        // In maintenance nobody else takes anything.
        let remains = self.remains().filter(|_| self.maintenance.is_none());
        let standing = self.alarms.get(&AlarmKey::Unfed).map(|(_, fact)| fact.clone());
        let raised = remains.map(|resource| Fact::from(Told::Unfed { resource, within })).or(standing);
        if let Some(raised) = raised {
            self.alarm(remains.is_some(), raised, Told::Fed);
        }
    }

    /// What could not be stopped although others need not wait for it.
    fn remains(&self) -> Option<ResourceId> {
        // Without votes it is another owner that tells this one of its loss, and there is no hurry then.
        let lost = |group: &Group| matches!(group.cause, Cause::OlderTerm { .. } | Cause::RightLost);
        let others = |group: &&Group| group.role == Role::Deactivating && (group.stop_by.is_some() || lost(group));
        self.groups.iter().filter(others).find_map(|group| {
            let index = group.resources.iter().position(Resource::cannot_be_stopped)?;
            Some(ResourceId { group: group.id, index: u16::try_from(index).unwrap_or(u16::MAX) })
        })
    }
}
