//! Every fact worth telling a human, with its reason.
//!
//! The journal, `avamgr history`, the web page and the tests all read the same events; their sentences are made here.

mod cause;
pub mod chain;
mod fencing;
mod severity;
pub(super) mod standing;
mod steps;
mod voting;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{BearerId, CheckId, GroupId, LinkId, NodeId, ResourceId, Role, Term};
use crate::node::input::VipOwner;
use crate::time::Instant;

pub use cause::Cause;
pub use fencing::Fencing;
pub use steps::{SwitchoverStep, UpgradeStep};
pub use voting::Voting;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Part of normal life.
    Info,
    /// Something is not as it should be; nothing is lost yet.
    Warning,
    /// Needs a human.
    Alarm,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Event {
    /// When the node took note of it.
    pub at: Instant,
    /// What happened.
    pub fact: Fact,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Fact {
    /// A group changed its role here.
    RoleChanged {
        /// The group.
        group: GroupId,
        /// The role before.
        from: Role,
        /// The role now.
        to: Role,
        /// The term now.
        term: Term,
        /// Our place in the order of succession now, as in the status.
        #[serde(default)]
        position: u8,
        /// Why.
        cause: Cause,
    },
    /// The hook of a group did not do its work.
    HookFailed {
        /// The group.
        group: GroupId,
        /// The role it was run for.
        to: Role,
        /// Why.
        reason: String,
    },
    /// A link to a peer is up: both sides hear each other.
    LinkUp {
        /// The link.
        link: LinkId,
        /// The peer.
        peer: NodeId,
    },
    /// A link to a peer is late; probing has begun.
    LinkSuspect {
        /// The link.
        link: LinkId,
        /// The peer.
        peer: NodeId,
        /// Silence so far.
        #[cfg_attr(feature = "schema", schema(value_type = crate::time::DurationSchema))]
        silence: Duration,
    },
    /// A link to a peer is down.
    LinkDown {
        /// The link.
        link: LinkId,
        /// The peer.
        peer: NodeId,
        /// Why.
        cause: LinkDownCause,
    },
    /// A bearer of a link over TIPC has lost or found its way to a peer.
    Bearer {
        /// The link.
        link: LinkId,
        /// The peer.
        peer: NodeId,
        /// The bearer.
        bearer: BearerId,
        /// Whether it reaches the peer.
        up: bool,
    },
    /// A peer is heard on at least one link.
    PeerAlive {
        /// The peer.
        peer: NodeId,
    },
    /// A peer is heard on the neutral path only: every dedicated link is down.
    PeerDegraded {
        /// The peer.
        peer: NodeId,
    },
    /// A peer is heard on no link.
    PeerSilent {
        /// The peer.
        peer: NodeId,
    },
    /// A peer has a new incarnation: its daemon was restarted.
    PeerRestarted {
        /// The peer.
        peer: NodeId,
    },
    /// A peer says that its role for a group is another one now.
    PeerRole {
        /// The group.
        group: GroupId,
        /// The peer.
        peer: NodeId,
        /// The role.
        role: Role,
        /// Its term.
        term: Term,
    },
    /// A peer's daemon ended in an orderly way.
    PeerLeft {
        /// The peer.
        peer: NodeId,
    },
    /// The arbitrator answers.
    ArbitratorReachable,
    /// The arbitrator does not answer.
    ArbitratorUnreachable,
    /// The witness does not answer.
    WitnessLost,
    /// The witness answers again.
    WitnessBack,
    /// All links silent and the arbitrator unreachable.
    Isolated,
    /// A link or the arbitrator is back.
    NotIsolated,
    /// Somebody answers for a VIP although no ACTIVE node is heard: takeover is blocked.
    VipAnswered {
        /// The group.
        group: GroupId,
        /// Who.
        owner: VipOwner,
    },
    /// The VIPs of a group could not be probed.
    VipProbeFailed {
        /// The group.
        group: GroupId,
        /// Why.
        error: String,
    },
    /// Two nodes were ACTIVE at the same time.
    DualActive {
        /// The group.
        group: GroupId,
        /// The other node.
        peer: NodeId,
        /// Our term.
        ours: Term,
        /// Its term.
        theirs: Term,
    },
    /// The conflict is over and we kept the role: addresses were announced again.
    ConflictEnded {
        /// The group.
        group: GroupId,
    },
    /// A resource changed its state.
    Resource {
        /// The resource.
        resource: ResourceId,
        /// What.
        change: ResourceChange,
    },
    /// A ready check is well.
    CheckReady {
        /// The check.
        check: CheckId,
    },
    /// A ready check fails.
    CheckFailed {
        /// The check.
        check: CheckId,
        /// What was seen.
        reason: String,
    },
    /// The node may not become ACTIVE any more, or may again.
    Hold {
        /// Which reason.
        hold: HoldKind,
        /// Set or lifted.
        on: bool,
        /// Who or what did it.
        by: String,
    },
    /// Too many automatic takeovers: the group is held until an operator clears it.
    FlapLimit {
        /// The group.
        group: GroupId,
        /// How many within the window.
        count: u32,
    },
    /// A switchover made a step.
    Switchover {
        /// The group.
        group: GroupId,
        /// From here.
        from: NodeId,
        /// To there.
        to: NodeId,
        /// The step.
        step: SwitchoverStep,
    },
    /// Our own loop did not run for a while: nobody is blamed for the silence of that time.
    Stalled {
        /// How long.
        #[cfg_attr(feature = "schema", schema(value_type = crate::time::DurationSchema))]
        duration: Duration,
    },
    /// An operator's command was accepted or refused.
    Command {
        /// Who.
        who: String,
        /// The command in words.
        command: String,
        /// Why it was refused.
        refused: Option<String>,
    },
    /// Terms and holds could not be written.
    PersistFailed {
        /// Why.
        error: String,
    },
    /// They can be written again.
    PersistRecovered,
    /// A peer has another config.
    ConfigMismatch {
        /// The peer.
        peer: NodeId,
    },
    /// Peer and we have the same config again.
    ConfigMatches {
        /// The peer.
        peer: NodeId,
    },
    /// Nodes that are turned off from outside.
    Fencing(Fencing),
    /// Who votes, and in which terms.
    Voting(Voting),
    /// Another machine uses the name of a node.
    DuplicateNode {
        /// The link it was heard on.
        link: LinkId,
        /// The node whose name it is.
        node: NodeId,
    },
    /// Nobody else uses the name of a node any more.
    NodeUnique {
        /// The node.
        node: NodeId,
    },
    /// The wall clocks differ too much.
    ClockOffset {
        /// The peer.
        peer: NodeId,
        /// Its clock minus ours, in milliseconds.
        offset_millis: i64,
    },
    /// The wall clocks agree again.
    ClockAgrees {
        /// The peer.
        peer: NodeId,
    },
    /// Something about the rules that are the same on every node, or about the program that sees to that.
    Rules {
        /// How much it matters.
        severity: Severity,
        /// The sentence.
        text: String,
    },
    /// Something about the program that shows this node to browsers.
    Web {
        /// How much it matters.
        severity: Severity,
        /// The sentence.
        text: String,
    },
    /// Another program goes on with this node, step by step.
    Upgrade {
        /// The step.
        step: UpgradeStep,
    },
    /// The daemon starts.
    Started {
        /// Our node.
        node: NodeId,
    },
    /// The daemon ends.
    Stopping {
        /// Why.
        reason: String,
    },
}

/// Why a link went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LinkDownCause {
    /// No frame within the dead time.
    Silence,
    /// The interface has no carrier.
    NoCarrier,
    /// The peer's kernel says nobody listens.
    Refused,
    /// TIPC has no bearer left that reaches the peer.
    Unreachable,
    /// The peer says it does not hear us.
    NotHeard,
    /// The peer's daemon is a new one.
    Restarted,
    /// The peer said goodbye.
    Left,
}

/// What changed about a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum ResourceChange {
    /// Up.
    Started,
    /// Could not be brought up.
    StartFailed {
        /// Why.
        reason: String,
    },
    /// Down.
    Stopped,
    /// Could not be brought down.
    StopFailed {
        /// Why.
        reason: String,
    },
    /// Was up and failed.
    Failed {
        /// Why.
        reason: String,
    },
    /// Is here although it should not be.
    Stray {
        /// How it came here.
        reason: String,
    },
    /// Will be restarted in place.
    Restarting {
        /// After this long.
        #[cfg_attr(feature = "schema", schema(value_type = crate::time::DurationSchema))]
        after: Duration,
        /// Which attempt in the window.
        attempt: u32,
        /// Of how many.
        max: u32,
    },
    /// Could be started here again.
    Able,
    /// Could not be started here.
    Unable {
        /// Why.
        reason: String,
    },
    /// A notice of its task.
    Notice {
        /// What.
        text: String,
    },
    /// An operator cleared its failures.
    Cleared,
}

/// Why a node may not become ACTIVE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum HoldKind {
    /// An operator took it out.
    Offline,
    /// Nothing is to be done automatically.
    Maintenance,
    /// Too many automatic takeovers.
    Flap,
    /// Another node has turned it off.
    Fenced,
}

/// Names a standing alarm, so that it is raised once and can be cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum AlarmKey {
    Config(NodeId),
    Clock(NodeId),
    DuplicateNode(NodeId),
    Persist,
    Isolated,
    Arbitrator,
    Witness,
    Fenced(NodeId),
    FenceFailed(NodeId),
    Outcast(NodeId),
    Unfed,
    OtherVoters(NodeId),
    VotersDoubted,
    Term(GroupId, NodeId),
}

impl Fact {
    /// The standing alarm a fact raises, if it does.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most facts are news, not states")]
    pub(super) fn alarm_key(&self) -> Option<AlarmKey> {
        match self {
            Self::ConfigMismatch { peer } => Some(AlarmKey::Config(*peer)),
            Self::ClockOffset { peer, .. } => Some(AlarmKey::Clock(*peer)),
            Self::DuplicateNode { node, .. } => Some(AlarmKey::DuplicateNode(*node)),
            Self::PersistFailed { .. } => Some(AlarmKey::Persist),
            Self::Isolated => Some(AlarmKey::Isolated),
            Self::ArbitratorUnreachable => Some(AlarmKey::Arbitrator),
            Self::WitnessLost => Some(AlarmKey::Witness),
            Self::Fencing(fencing) => fencing.alarm_key(),
            Self::Voting(voting) => voting.alarm_key(),
            _ => None,
        }
    }
}

impl LinkDownCause {
    /// In words.
    pub fn word(self) -> &'static str {
        match self {
            Self::Silence => "silent",
            Self::NoCarrier => "no carrier",
            Self::Refused => "refused by the peer's kernel: no daemon listens",
            Self::Unreachable => "no bearer reaches the peer",
            Self::NotHeard => "the peer does not hear us",
            Self::Restarted => "the peer's daemon was restarted",
            Self::Left => "the peer's daemon was stopped",
        }
    }
}
