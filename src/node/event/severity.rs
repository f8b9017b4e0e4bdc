//! How much an event matters, and whom it is about.

use crate::cluster::{GroupId, Role};
use crate::node::event::{Cause, Fact, HoldKind, LinkDownCause, ResourceChange, Severity, SwitchoverStep};

impl Fact {
    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Self::RoleChanged { to, cause, .. } => role_severity(*to, cause),
            Self::LinkDown { cause, .. } => link_severity(*cause),
            Self::Resource { change, .. } => change.severity(),
            Self::Hold { hold, on, .. } => hold_severity(*hold, *on),
            Self::Switchover { step, .. } => step_severity(step),
            Self::Fencing(fencing) => fencing.severity(),
            Self::Upgrade { step } => step.severity(),
            Self::Rules { severity, .. } | Self::Web { severity, .. } => *severity,
            Self::Voting(voting) => voting.severity(),
            Self::Command { refused, .. } => {
                if refused.is_some() {
                    Severity::Warning
                } else {
                    Severity::Info
                }
            }
            Self::Bearer { up: false, .. } => Severity::Warning,
            Self::LinkUp { .. }
            | Self::LinkSuspect { .. }
            | Self::Bearer { up: true, .. }
            | Self::PeerAlive { .. }
            | Self::PeerRestarted { .. }
            | Self::PeerRole { .. }
            | Self::PeerLeft { .. }
            | Self::ArbitratorReachable
            | Self::WitnessBack
            | Self::NotIsolated
            | Self::ConflictEnded { .. }
            | Self::CheckReady { .. }
            | Self::PersistRecovered
            | Self::ConfigMatches { .. }
            | Self::ClockAgrees { .. }
            | Self::NodeUnique { .. }
            | Self::Started { .. }
            | Self::Stopping { .. } => Severity::Info,
            Self::ArbitratorUnreachable
            | Self::VipProbeFailed { .. }
            | Self::HookFailed { .. }
            | Self::CheckFailed { .. }
            | Self::Stalled { .. } => Severity::Warning,
            Self::PeerDegraded { .. }
            | Self::PeerSilent { .. }
            | Self::Isolated
            | Self::WitnessLost
            | Self::VipAnswered { .. }
            | Self::DualActive { .. }
            | Self::FlapLimit { .. }
            | Self::PersistFailed { .. }
            | Self::ConfigMismatch { .. }
            | Self::DuplicateNode { .. }
            | Self::ClockOffset { .. } => Severity::Alarm,
        }
    }

    /// The group it is about, if it is about one.
    pub fn group(&self) -> Option<GroupId> {
        match self {
            Self::RoleChanged { group, .. }
            | Self::PeerRole { group, .. }
            | Self::VipAnswered { group, .. }
            | Self::VipProbeFailed { group, .. }
            | Self::HookFailed { group, .. }
            | Self::DualActive { group, .. }
            | Self::ConflictEnded { group }
            | Self::FlapLimit { group, .. }
            | Self::Switchover { group, .. } => Some(*group),
            Self::Resource { resource, .. } => Some(resource.group),
            Self::Voting(voting) => voting.group(),
            Self::LinkUp { .. }
            | Self::LinkSuspect { .. }
            | Self::LinkDown { .. }
            | Self::Bearer { .. }
            | Self::PeerAlive { .. }
            | Self::PeerDegraded { .. }
            | Self::PeerSilent { .. }
            | Self::PeerRestarted { .. }
            | Self::PeerLeft { .. }
            | Self::ArbitratorReachable
            | Self::ArbitratorUnreachable
            | Self::WitnessLost
            | Self::WitnessBack
            | Self::Isolated
            | Self::NotIsolated
            | Self::CheckReady { .. }
            | Self::CheckFailed { .. }
            | Self::Hold { .. }
            | Self::Stalled { .. }
            | Self::Command { .. }
            | Self::PersistFailed { .. }
            | Self::PersistRecovered
            | Self::Fencing(_)
            | Self::Upgrade { .. }
            | Self::Rules { .. }
            | Self::Web { .. }
            | Self::ConfigMismatch { .. }
            | Self::ConfigMatches { .. }
            | Self::DuplicateNode { .. }
            | Self::NodeUnique { .. }
            | Self::ClockOffset { .. }
            | Self::ClockAgrees { .. }
            | Self::Started { .. }
            | Self::Stopping { .. } => None,
        }
    }
}

impl ResourceChange {
    fn severity(&self) -> Severity {
        match self {
            Self::Started | Self::Stopped | Self::Able | Self::Cleared => Severity::Info,
            Self::StartFailed { .. }
            | Self::Failed { .. }
            | Self::Restarting { .. }
            | Self::Unable { .. }
            | Self::Notice { .. } => Severity::Warning,
            Self::StopFailed { .. } | Self::Stray { .. } => Severity::Alarm,
        }
    }
}

/// A role change is as grave as its reason; a group that nobody here will take again by itself is an alarm.
fn role_severity(to: Role, cause: &Cause) -> Severity {
    if to == Role::Fault {
        return Severity::Alarm;
    }
    match cause {
        Cause::Start
        | Cause::LeftoversRemoved
        | Cause::FirstInRank
        | Cause::Standalone
        | Cause::ReleasedToUs { .. }
        | Cause::Lease { silence: None }
        | Cause::ResourcesUp
        | Cause::ResourcesDown
        | Cause::Operator { .. }
        | Cause::Switchover { .. }
        | Cause::Failback
        | Cause::FaultCleared
        | Cause::Held { .. }
        | Cause::Shutdown => Severity::Info,
        Cause::PeerSilent { .. }
        | Cause::Lease { silence: Some(_) }
        | Cause::LeaseLost
        | Cause::NoMajority
        | Cause::Isolated
        | Cause::OlderTerm { .. }
        | Cause::ClaimLost { .. }
        | Cause::Rollback
        | Cause::ResourceFailed { .. }
        | Cause::NotReady { .. }
        | Cause::RightLost => Severity::Warning,
        Cause::StopFailed { .. } => Severity::Alarm,
    }
}

fn link_severity(cause: LinkDownCause) -> Severity {
    match cause {
        LinkDownCause::Silence
        | LinkDownCause::NoCarrier
        | LinkDownCause::Refused
        | LinkDownCause::Unreachable
        | LinkDownCause::NotHeard => Severity::Warning,
        LinkDownCause::Restarted | LinkDownCause::Left => Severity::Info,
    }
}

/// A node that is held is a cluster without redundancy: more than information, even when ordered.
fn hold_severity(hold: HoldKind, on: bool) -> Severity {
    match (hold, on) {
        (_, false) => Severity::Info,
        (HoldKind::Offline | HoldKind::Maintenance, true) => Severity::Warning,
        (HoldKind::Flap | HoldKind::Fenced, true) => Severity::Alarm,
    }
}

fn step_severity(step: &SwitchoverStep) -> Severity {
    match step {
        SwitchoverStep::Begun | SwitchoverStep::Stopping | SwitchoverStep::Released | SwitchoverStep::Done => {
            Severity::Info
        }
        SwitchoverStep::RolledBack { .. } => Severity::Warning,
    }
}
