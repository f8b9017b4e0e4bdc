//! The nouns everybody shares.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! index {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub $raw);

        impl $name {
            /// The position in the list of the config this number stands for.
            pub fn index(self) -> usize {
                usize::from(self.0)
            }
        }
    };
}

index! {
    /// A node: its position in `cluster.nodes`. The order is the rank, 0 comes first.
    NodeId(u8)
}
index! {
    /// A heartbeat path: its position among the links of the config, the neutral path last.
    LinkId(u8)
}
index! {
    /// A bearer of a link over TIPC: its position in the `bearers` of that link.
    BearerId(u8)
}
index! {
    /// A group: its position among the groups of the config.
    GroupId(u8)
}
index! {
    /// A ready check: its position among the `[[ready]]` entries of the config.
    CheckId(u8)
}

/// A resource: the group it belongs to and its place in that group's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ResourceId {
    /// The group that owns it.
    pub group: GroupId,
    /// The place in the group's list; start goes up, stop goes down.
    pub index: u16,
}

impl NodeId {
    /// The witness, who is no node: the sender and receiver of the frames between it and a node.
    pub const WITNESS: Self = Self(u8::MAX);
}

impl LinkId {
    /// The way to the witness, which is no link: what is sent there, and what comes from there.
    pub const WITNESS: Self = Self(u8::MAX);
}

/// A number that grows with every takeover of a group; the older term always yields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Term(pub u64);

impl Term {
    /// No cluster gets here by takeovers: what is above is damage, and is not believed.
    pub const MAX: Self = Self(1 << 62);

    /// The term after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Somebody who has seen `seen` may believe it: a node that was away for years has missed fewer than four billion
    /// takeovers.
    pub fn is_plausible_after(self, seen: Self) -> bool {
        self.0.saturating_sub(seen.0) <= u64::from(u32::MAX)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A random number that names one run of a daemon: a frame that does not echo it is not an answer to us. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

/// What a group is on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Owns nothing, ready to take over unless held.
    Standby,
    /// Has the right, is bringing its resources up (or is asking living peers for their consent).
    Activating,
    /// Owns the group's resources.
    Active,
    /// Is bringing its resources down.
    Deactivating,
    /// A resource failed here or could not be stopped; owns nothing it could bring down, takes nothing over.
    Fault,
}

impl Role {
    /// All roles, in the order of their life.
    pub const ALL: [Self; 5] = [Self::Standby, Self::Activating, Self::Active, Self::Deactivating, Self::Fault];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Standby => "STANDBY",
            Self::Activating => "ACTIVATING",
            Self::Active => "ACTIVE",
            Self::Deactivating => "DEACTIVATING",
            Self::Fault => "FAULT",
        })
    }
}

/// What the config of a cluster can guarantee about two ACTIVE nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum SafetyClass {
    /// One node without peer or arbitrator.
    Standalone,
    /// Isolation test only: two ACTIVE nodes are possible when both see the arbitrator and not each other on any path.
    Ping,
    /// A majority of voters gives the right to be ACTIVE for a bounded time: never two at once.
    Lease,
    /// The isolation test, and a takeover from a silent node waits until that node is known to be turned off.
    #[serde(rename = "ping+fencing")]
    PingFencing,
    /// A lease, and a takeover from a silent node waits until that node is known to be turned off.
    #[serde(rename = "lease+fencing")]
    LeaseFencing,
}

impl fmt::Display for SafetyClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Standalone => "standalone",
            Self::Ping => "ping",
            Self::Lease => "lease",
            Self::PingFencing => "ping+fencing",
            Self::LeaseFencing => "lease+fencing",
        })
    }
}
