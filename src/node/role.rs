//! THE STATE MACHINE of a group on one node.
//!
//! ```text
//!              TakeOver                ResourcesUp
//!   Standby ─────────────► Activating ─────────────► Active
//!    ▲  ▲ ▲    ClaimLost     │    │ StepDown            │ StepDown
//!    │  │ └──────────────────┘    ▼                     ▼
//!    │  │       ResourcesDown                     Deactivating ◄── (start: leftovers)
//!    │  └──────────────────────────────────────────────┘ │
//!    │                      Cleared                      │ ResourcesDownFaulty
//!    └──────────────────────────── Fault ◄───────────────┘
//! ```
//!
//! A resource that cannot be stopped keeps the group in `Deactivating`: nobody may take over what may still run.

use crate::cluster::Role;

/// What moves a group from role to role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trigger {
    /// The right to become ACTIVE is there or is claimed.
    TakeOver,
    /// A claim was refused before anything was started.
    ClaimLost,
    /// Every wanted resource is up.
    ResourcesUp,
    /// The group has to go, whatever the reason.
    StepDown,
    /// Every resource is down and the node is well.
    ResourcesDown,
    /// Every resource is down after a failure that is not forgotten yet.
    ResourcesDownFaulty,
    /// The failure is forgotten or cleared.
    Cleared,
}

impl Trigger {
    /// All triggers.
    pub const ALL: [Self; 7] = [
        Self::TakeOver,
        Self::ClaimLost,
        Self::ResourcesUp,
        Self::StepDown,
        Self::ResourcesDown,
        Self::ResourcesDownFaulty,
        Self::Cleared,
    ];
}

/// The role after `trigger`; `None` = the trigger means nothing in this role.
pub fn next(role: Role, trigger: Trigger) -> Option<Role> {
    match (role, trigger) {
        (Role::Standby, Trigger::TakeOver) => Some(Role::Activating),
        (Role::Activating, Trigger::ResourcesUp) => Some(Role::Active),
        (Role::Activating, Trigger::ClaimLost) => Some(Role::Standby),
        (Role::Activating | Role::Active, Trigger::StepDown) => Some(Role::Deactivating),
        (Role::Deactivating, Trigger::ResourcesDown) => Some(Role::Standby),
        (Role::Deactivating, Trigger::ResourcesDownFaulty) => Some(Role::Fault),
        (Role::Fault, Trigger::Cleared) => Some(Role::Standby),
        (Role::Standby, Trigger::ClaimLost | Trigger::ResourcesUp | Trigger::StepDown)
        | (Role::Standby, Trigger::ResourcesDown | Trigger::ResourcesDownFaulty | Trigger::Cleared)
        | (
            Role::Activating,
            Trigger::TakeOver | Trigger::ResourcesDown | Trigger::ResourcesDownFaulty | Trigger::Cleared,
        )
        | (Role::Active, Trigger::TakeOver | Trigger::ClaimLost | Trigger::ResourcesUp)
        | (Role::Active, Trigger::ResourcesDown | Trigger::ResourcesDownFaulty | Trigger::Cleared)
        | (Role::Deactivating, Trigger::TakeOver | Trigger::ClaimLost | Trigger::ResourcesUp)
        | (Role::Deactivating, Trigger::StepDown | Trigger::Cleared)
        | (Role::Fault, Trigger::TakeOver | Trigger::ClaimLost | Trigger::ResourcesUp | Trigger::StepDown)
        | (Role::Fault, Trigger::ResourcesDown | Trigger::ResourcesDownFaulty) => None,
    }
}

#[cfg(test)]
mod tests;
