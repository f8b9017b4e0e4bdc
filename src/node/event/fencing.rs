//! Facts about nodes that are turned off from outside.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{NodeId, ResourceId};
use crate::node::event::{AlarmKey, Fact, Severity};

/// What is to be told of fencing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "fencing")]
pub enum Fencing {
    /// Its fence devices are told to turn a node off.
    Begun {
        /// The node.
        node: NodeId,
    },
    /// A node is off, and stays out until an operator clears it (or until it is back, by config).
    Fenced {
        /// The node.
        node: NodeId,
        /// How that is known.
        how: String,
    },
    /// A node could not be turned off: what it may own is not taken over.
    Failed {
        /// The node.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// A node that the device calls off is heard: its word is not believed.
    Lied {
        /// The node.
        node: NodeId,
    },
    /// What stood in the way of fencing a node is over.
    Recovered {
        /// The node.
        node: NodeId,
    },
    /// A node that was fenced may take part again.
    Cleared {
        /// The node.
        node: NodeId,
    },
    /// Another node has turned this one off: it takes nothing over before that is cleared there.
    Outcast {
        /// Who did.
        by: NodeId,
    },
    /// The other node has cleared it.
    Readmitted {
        /// Who did.
        by: NodeId,
    },
    /// Something could not be stopped that others may take: the watchdog is not fed any more and resets this machine.
    Unfed {
        /// What.
        resource: ResourceId,
        /// The time that the watchdog takes.
        #[cfg_attr(feature = "schema", schema(value_type = crate::time::DurationSchema))]
        within: Duration,
    },
    /// It could be stopped after all, before the reset.
    Fed,
}

impl From<Fencing> for Fact {
    fn from(fencing: Fencing) -> Self {
        Self::Fencing(fencing)
    }
}

impl Fencing {
    /// The standing alarm it raises.
    pub(super) fn alarm_key(&self) -> Option<AlarmKey> {
        match self {
            Self::Fenced { node, .. } => Some(AlarmKey::Fenced(*node)),
            Self::Failed { node, .. } | Self::Lied { node } => Some(AlarmKey::FenceFailed(*node)),
            Self::Outcast { by } => Some(AlarmKey::Outcast(*by)),
            Self::Unfed { .. } => Some(AlarmKey::Unfed),
            Self::Begun { .. } | Self::Recovered { .. } | Self::Cleared { .. } => None,
            Self::Readmitted { .. } | Self::Fed => None,
        }
    }

    /// How much it matters.
    pub(super) fn severity(&self) -> Severity {
        match self {
            Self::Begun { .. } => Severity::Warning,
            Self::Fenced { .. }
            | Self::Failed { .. }
            | Self::Lied { .. }
            | Self::Outcast { .. }
            | Self::Unfed { .. } => Severity::Alarm,
            Self::Recovered { .. } | Self::Cleared { .. } | Self::Readmitted { .. } | Self::Fed => Severity::Info,
        }
    }
}
