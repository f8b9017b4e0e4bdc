//! What goes on in steps.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Steps of a switchover.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum SwitchoverStep {
    /// Accepted by the ACTIVE node.
    Begun,
    /// The old owner brings its resources down.
    Stopping,
    /// The old owner owns nothing any more.
    Released,
    /// The target is ACTIVE.
    Done,
    /// It did not work and the old owner takes the group back.
    RolledBack {
        /// Why.
        reason: String,
    },
}

/// Steps of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum UpgradeStep {
    /// The other nodes are being told.
    Announced {
        /// The new program, unless it is the daemon's own file.
        binary: Option<String>,
        /// For how long this node may be silent.
        #[cfg_attr(feature = "schema", schema(value_type = crate::time::DurationSchema))]
        absence: Duration,
    },
    /// Something came in between: nothing has changed.
    GivenUp {
        /// What.
        reason: String,
    },
    /// Everybody knows: from now on this node is silent.
    Begun,
    /// The new program goes on.
    Done {
        /// Version of the program before.
        from: String,
        /// Version of this one.
        to: String,
        /// How long this node was silent.
        #[cfg_attr(feature = "schema", schema(value_type = crate::time::DurationSchema))]
        silence: Duration,
        /// Something was not as it had been left, or had to be brought down.
        moved: bool,
    },
}
