//! Why a group changed its role.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{CheckId, NodeId, ResourceId, Term};
use crate::node::event::HoldKind;

/// Why a role changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "cause")]
pub enum Cause {
    /// The daemon started: leftovers are removed first.
    Start,
    /// Leftovers are gone.
    LeftoversRemoved,
    /// Nobody is ACTIVE and we are first in rank of the able nodes.
    FirstInRank,
    /// Standalone mode: nobody else to ask.
    Standalone,
    /// The ACTIVE node released the group to us.
    ReleasedToUs {
        /// Who released it.
        by: NodeId,
    },
    /// The peers are silent, the arbitrator answers and nobody answers for the VIPs.
    PeerSilent {
        /// How long the last peer has been silent.
        #[cfg_attr(feature = "schema", schema(value_type = crate::time::DurationSchema))]
        silence: Duration,
        /// The hold time was not needed: every path was asked.
        asked_all: bool,
    },
    /// A majority of the voters has to give us the lease, and nobody is heard who has it.
    Lease {
        /// How long the last peer has been silent, if one is.
        #[cfg_attr(feature = "schema", schema(value_type = Option<crate::time::DurationSchema>))]
        silence: Option<Duration>,
    },
    /// The lease ran out: no majority has acknowledged its renewal in time.
    LeaseLost,
    /// No majority has given us its votes in time.
    NoMajority,
    /// Resources are up.
    ResourcesUp,
    /// Resources are down.
    ResourcesDown,
    /// All links silent, arbitrator unreachable.
    Isolated,
    /// The peer is ACTIVE with a higher term (or the same and a better rank).
    OlderTerm {
        /// The peer.
        peer: NodeId,
        /// Its term.
        term: Term,
    },
    /// A peer refused or outbid our claim.
    ClaimLost {
        /// The peer.
        peer: NodeId,
    },
    /// An operator asked.
    Operator {
        /// Who.
        who: String,
    },
    /// A switchover asked for on the peer.
    Switchover {
        /// The target.
        to: NodeId,
    },
    /// The target of a switchover failed, or maintenance kept every other node off: we take the group back.
    Rollback,
    /// The group goes back to its preferred node.
    Failback,
    /// A resource failed for good here.
    ResourceFailed {
        /// Which.
        resource: ResourceId,
        /// Why.
        reason: String,
    },
    /// A ready check fails here.
    NotReady {
        /// Which.
        check: CheckId,
    },
    /// A resource could not be stopped.
    StopFailed {
        /// Which.
        resource: ResourceId,
        /// Why.
        reason: String,
    },
    /// The fault was cleared, by an operator or because its failures are forgotten.
    FaultCleared,
    /// A hold was set.
    Held {
        /// Which.
        hold: HoldKind,
    },
    /// The right to be ACTIVE is gone (the takeover was overtaken by events).
    RightLost,
    /// The daemon shuts down.
    Shutdown,
}

impl Cause {
    /// It says that a change of role has come to its end, not why it was begun.
    pub(crate) fn ends_a_change(&self) -> bool {
        matches!(self, Self::ResourcesUp | Self::ResourcesDown | Self::LeftoversRemoved)
    }
}
