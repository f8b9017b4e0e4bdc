use super::{Trigger, next};
use crate::cluster::Role;

/// The diagram of the module, as a table: every pair that is not in it must be `None`.
const EDGES: [(Role, Trigger, Role); 8] = [
    (Role::Standby, Trigger::TakeOver, Role::Activating),
    (Role::Activating, Trigger::ResourcesUp, Role::Active),
    (Role::Activating, Trigger::ClaimLost, Role::Standby),
    (Role::Activating, Trigger::StepDown, Role::Deactivating),
    (Role::Active, Trigger::StepDown, Role::Deactivating),
    (Role::Deactivating, Trigger::ResourcesDown, Role::Standby),
    (Role::Deactivating, Trigger::ResourcesDownFaulty, Role::Fault),
    (Role::Fault, Trigger::Cleared, Role::Standby),
];

#[test]
fn every_pair_of_role_and_trigger_is_in_the_diagram_or_means_nothing() {
    for role in Role::ALL {
        for trigger in Trigger::ALL {
            let drawn = EDGES.iter().find(|edge| edge.0 == role && edge.1 == trigger).map(|edge| edge.2);
            assert_eq!(next(role, trigger), drawn, "{role:?} {trigger:?}");
        }
    }
}

#[test]
fn every_role_can_be_reached_from_every_role() {
    for from in Role::ALL {
        let mut reached = vec![from];
        loop {
            let more: Vec<Role> = EDGES
                .iter()
                .filter(|edge| reached.contains(&edge.0) && !reached.contains(&edge.2))
                .map(|edge| edge.2)
                .collect();
            if more.is_empty() {
                break;
            }
            reached.extend(more);
        }
        for to in Role::ALL {
            assert!(reached.contains(&to), "{to:?} cannot be reached from {from:?}");
        }
    }
}
