//! Facts about who votes, and in which terms.

use serde::{Deserialize, Serialize};

use crate::cluster::{GroupId, NodeId, Term};
use crate::node::event::{AlarmKey, Fact, Severity};

/// What is to be told of the voters and their terms.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "voting")]
pub enum Voting {
    /// A peer counts other voters than this node.
    OtherVoters {
        /// The peer.
        peer: NodeId,
    },
    /// It counts the same voters again, or an operator vouches for it.
    SameVoters {
        /// The peer.
        peer: NodeId,
    },
    /// This node comes up with other voters than it left with, or too many contradict it.
    VotersDoubted,
    /// They count from now on.
    VotersSettled,
    /// A term that no number of takeovers leads to: it is not believed.
    TermFromFuture {
        /// The group.
        group: GroupId,
        /// Who speaks of it.
        voter: NodeId,
        /// The term.
        term: Term,
        /// The highest that is believed here.
        ours: Term,
    },
    /// Its term is believed again.
    TermPlausible {
        /// The group.
        group: GroupId,
        /// Who speaks of it.
        voter: NodeId,
    },
    /// An operator brought the term of this node back to what the others know.
    TermReset {
        /// The group.
        group: GroupId,
        /// The highest term before.
        from: Term,
        /// The highest term now.
        to: Term,
    },
}

impl From<Voting> for Fact {
    fn from(voting: Voting) -> Self {
        Self::Voting(voting)
    }
}

impl Voting {
    /// The standing alarm it raises.
    pub(super) fn alarm_key(&self) -> Option<AlarmKey> {
        match self {
            Self::OtherVoters { peer } => Some(AlarmKey::OtherVoters(*peer)),
            Self::VotersDoubted => Some(AlarmKey::VotersDoubted),
            Self::TermFromFuture { group, voter, .. } => Some(AlarmKey::Term(*group, *voter)),
            Self::SameVoters { .. } | Self::VotersSettled => None,
            Self::TermPlausible { .. } | Self::TermReset { .. } => None,
        }
    }

    /// How much it matters.
    pub(super) fn severity(&self) -> Severity {
        match self {
            Self::OtherVoters { .. } | Self::VotersDoubted | Self::TermFromFuture { .. } => Severity::Alarm,
            Self::TermReset { .. } => Severity::Warning,
            Self::SameVoters { .. } | Self::VotersSettled | Self::TermPlausible { .. } => Severity::Info,
        }
    }

    /// The group it is about, if it is about one.
    pub(super) fn group(&self) -> Option<GroupId> {
        match self {
            Self::TermFromFuture { group, .. } | Self::TermPlausible { group, .. } | Self::TermReset { group, .. } => {
                Some(*group)
            }
            Self::OtherVoters { .. } | Self::SameVoters { .. } | Self::VotersDoubted | Self::VotersSettled => None,
        }
    }
}
