//! Which fact can lead to which, one arm for each: the table behind `why`.

use crate::cluster::{GroupId, NodeId, ResourceId, Role};
use crate::node::event::{
    Cause, Event, Fact, Fencing, HoldKind, LinkDownCause, ResourceChange, SwitchoverStep, Voting,
};

/// How an earlier event bears on a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tie {
    /// Not at all.
    None,
    /// It led to it.
    Led,
    /// It took something out of its way.
    Freed,
}

impl Tie {
    fn led(is_so: bool) -> Self {
        if is_so { Self::Led } else { Self::None }
    }

    fn or_freed(self, is_so: bool) -> Self {
        if self == Self::None && is_so { Self::Freed } else { self }
    }
}

/// How `earlier`, the last word on what it tells of, bears on `later`.
pub(super) fn tie(earlier: &Event, later: &Event) -> Tie {
    let (at_once, before) = (earlier.at == later.at, &earlier.fact);
    // What begins an order is told at the moment of the order.
    let ordered = at_once && is_accepted(before);
    match &later.fact {
        Fact::RoleChanged { group, cause, .. } => role(before, *group, cause, at_once),
        Fact::HookFailed { group, .. } | Fact::FlapLimit { group, .. } => Tie::led(is_role(before, *group)),
        Fact::LinkUp { peer, .. } => Tie::led(is_restart_of(before, *peer)),
        Fact::LinkDown { link, peer, cause } => Tie::led(match cause {
            LinkDownCause::Silence | LinkDownCause::NoCarrier | LinkDownCause::Refused | LinkDownCause::NotHeard => {
                matches!(before, Fact::LinkSuspect { link: late, peer: of, .. } if (late, of) == (link, peer))
            }
            LinkDownCause::Unreachable => {
                matches!(before, Fact::Bearer { link: its, peer: of, up: false, .. } if (its, of) == (link, peer))
            }
            LinkDownCause::Restarted => is_restart_of(before, *peer),
            LinkDownCause::Left => matches!(before, Fact::PeerLeft { peer: of } if of == peer),
        }),
        Fact::PeerAlive { peer } => Tie::led(matches!(before, Fact::LinkUp { peer: of, .. } if of == peer)),
        Fact::PeerDegraded { peer } | Fact::PeerSilent { peer } => {
            Tie::led(matches!(before, Fact::LinkDown { peer: of, .. } if of == peer))
        }
        Fact::Isolated => Tie::led(matches!(before, Fact::PeerSilent { .. } | Fact::ArbitratorUnreachable)),
        Fact::NotIsolated => Tie::led(matches!(before, Fact::PeerAlive { .. } | Fact::ArbitratorReachable)),
        Fact::VipAnswered { .. } | Fact::VipProbeFailed { .. } => Tie::led(matches!(before, Fact::PeerSilent { .. })),
        Fact::DualActive { group, peer, .. } => Tie::led(
            is_role(before, *group)
                || is_role_there(before, *group, Some(*peer))
                || matches!(before, Fact::PeerAlive { peer: of } if of == peer),
        ),
        Fact::ConflictEnded { group } => Tie::led(
            matches!(before, Fact::DualActive { group: of, .. } if of == group) || is_role_there(before, *group, None),
        ),
        Fact::Resource { resource, change } => Tie::led(changed(before, *resource, change, ordered)),
        Fact::Hold { hold, on, .. } => Tie::led(ordered || held(before, *hold, *on)),
        Fact::Switchover { group, to, step, .. } => Tie::led(stepped(before, *group, *to, step, at_once)),
        Fact::PersistRecovered => Tie::led(matches!(before, Fact::PersistFailed { .. })),
        Fact::ConfigMatches { peer } => Tie::led(matches!(before, Fact::ConfigMismatch { peer: of } if of == peer)),
        Fact::ClockAgrees { peer } => Tie::led(matches!(before, Fact::ClockOffset { peer: of, .. } if of == peer)),
        Fact::NodeUnique { node } => Tie::led(matches!(before, Fact::DuplicateNode { node: of, .. } if of == node)),
        Fact::WitnessBack => Tie::led(matches!(before, Fact::WitnessLost)),
        Fact::ArbitratorReachable => Tie::led(matches!(before, Fact::ArbitratorUnreachable)),
        Fact::Fencing(fencing) => Tie::led(fenced(before, fencing, ordered)),
        Fact::Voting(voting) => Tie::led(voted(before, voting, ordered)),
        Fact::Upgrade { .. } => Tie::led(ordered || matches!(before, Fact::Upgrade { .. })),
        Fact::LinkSuspect { .. }
        | Fact::Bearer { .. }
        | Fact::PeerRestarted { .. }
        | Fact::PeerRole { .. }
        | Fact::PeerLeft { .. }
        | Fact::ArbitratorUnreachable
        | Fact::WitnessLost
        | Fact::CheckReady { .. }
        | Fact::CheckFailed { .. }
        | Fact::Stalled { .. }
        | Fact::Command { .. }
        | Fact::PersistFailed { .. }
        | Fact::ConfigMismatch { .. }
        | Fact::DuplicateNode { .. }
        | Fact::ClockOffset { .. }
        | Fact::Rules { .. }
        | Fact::Web { .. }
        | Fact::Started { .. }
        | Fact::Stopping { .. } => Tie::None,
    }
}

fn role(before: &Fact, group: GroupId, cause: &Cause, at_once: bool) -> Tie {
    let ordered = at_once && is_accepted(before);
    let begun = is_switchover(before, group);
    match cause {
        Cause::Start => Tie::led(matches!(before, Fact::Started { .. })),
        Cause::LeftoversRemoved | Cause::ResourcesUp | Cause::ResourcesDown => {
            let done = |change: &ResourceChange| {
                matches!(change, ResourceChange::Started | ResourceChange::Stopped | ResourceChange::StopFailed { .. })
            };
            let is_done =
                matches!(before, Fact::Resource { resource, change } if resource.group == group && done(change));
            let is_start = *cause == Cause::LeftoversRemoved && matches!(before, Fact::Started { .. });
            Tie::led(is_role(before, group) || is_done || is_start)
        }
        Cause::FirstInRank | Cause::Standalone => {
            let left = matches!(before, Fact::PeerLeft { .. } | Fact::PeerSilent { .. });
            Tie::led(left || is_role(before, group)).or_freed(frees(before, group))
        }
        Cause::ReleasedToUs { by } => Tie::led(is_role_there(before, group, Some(*by)) || begun || ordered),
        Cause::PeerSilent { .. } | Cause::Lease { .. } => {
            let is_off = matches!(before, Fact::Fencing(Fencing::Fenced { .. }));
            let is_gone = matches!(before, Fact::PeerSilent { .. } | Fact::PeerLeft { .. });
            Tie::led(is_off || is_gone).or_freed(frees(before, group))
        }
        Cause::LeaseLost | Cause::NoMajority => Tie::led(takes_votes(before)),
        Cause::Isolated => Tie::led(matches!(before, Fact::Isolated)),
        Cause::OlderTerm { peer, .. } | Cause::ClaimLost { peer } => {
            let is_heard = matches!(before, Fact::PeerAlive { peer: of } if of == peer);
            Tie::led(is_heard || is_conflict(before, group) || is_role_there(before, group, Some(*peer)))
        }
        Cause::Operator { .. } | Cause::Switchover { .. } => Tie::led(ordered || begun),
        Cause::Rollback => Tie::led(begun || is_role_there(before, group, None)),
        Cause::Failback => Tie::led(begun || matches!(before, Fact::PeerAlive { .. })),
        Cause::ResourceFailed { resource, .. } => Tie::led(is_failure(before, *resource)),
        Cause::NotReady { check } => Tie::led(matches!(before, Fact::CheckFailed { check: of, .. } if of == check)),
        Cause::StopFailed { resource, .. } => Tie::led(is_stop_failure(before, *resource)),
        Cause::FaultCleared => {
            let is_cleared =
                |change: &ResourceChange| matches!(change, ResourceChange::Cleared | ResourceChange::Stopped);
            let is_it =
                matches!(before, Fact::Resource { resource, change } if resource.group == group && is_cleared(change));
            Tie::led(ordered || is_it)
        }
        Cause::Held { hold } => Tie::led(is_hold(before, *hold, true)),
        Cause::RightLost => Tie::led(
            takes_votes(before)
                || matches!(before, Fact::PeerAlive { .. } | Fact::ArbitratorUnreachable | Fact::CheckFailed { .. })
                || is_role_there(before, group, None)
                || is_failure_in(before, group),
        ),
        Cause::Shutdown => Tie::led(matches!(before, Fact::Stopping { .. })),
    }
}

fn changed(before: &Fact, resource: ResourceId, change: &ResourceChange, ordered: bool) -> bool {
    let is_same = matches!(before, Fact::Resource { resource: of, .. } if *of == resource);
    let goes =
        |to: Role| matches!(before, Fact::RoleChanged { group, to: now, .. } if *group == resource.group && *now == to);
    match change {
        ResourceChange::Started | ResourceChange::StartFailed { .. } => {
            ordered || goes(Role::Activating) || (is_same && is_restart(before))
        }
        ResourceChange::Stopped | ResourceChange::StopFailed { .. } => {
            ordered || goes(Role::Deactivating) || (is_same && !is_restart(before) && !is_plain(before))
        }
        ResourceChange::Restarting { .. } => {
            let is_down = matches!(before, Fact::Resource { change: ResourceChange::Stopped, .. });
            is_failure(before, resource) || (is_same && is_down)
        }
        ResourceChange::Cleared => ordered,
        ResourceChange::Able => {
            is_same && matches!(before, Fact::Resource { change: ResourceChange::Unable { .. }, .. })
        }
        ResourceChange::Failed { .. }
        | ResourceChange::Stray { .. }
        | ResourceChange::Unable { .. }
        | ResourceChange::Notice { .. } => {
            is_same && matches!(before, Fact::Resource { change: ResourceChange::Notice { .. }, .. })
        }
    }
}

fn held(before: &Fact, hold: HoldKind, on: bool) -> bool {
    if !on {
        return is_hold(before, hold, true) || matches!(before, Fact::Fencing(Fencing::Readmitted { .. }));
    }
    match hold {
        HoldKind::Flap => matches!(before, Fact::FlapLimit { .. }),
        HoldKind::Fenced => matches!(before, Fact::Fencing(Fencing::Outcast { .. })),
        HoldKind::Offline | HoldKind::Maintenance => false,
    }
}

fn stepped(before: &Fact, group: GroupId, to: NodeId, step: &SwitchoverStep, at_once: bool) -> bool {
    let earlier_step = is_switchover(before, group);
    match step {
        SwitchoverStep::Begun => {
            let by_itself =
                matches!(before, Fact::Hold { on: true, .. } | Fact::CheckFailed { .. } | Fact::Stopping { .. });
            at_once && (is_accepted(before) || by_itself || is_failure_in(before, group))
        }
        SwitchoverStep::Stopping => earlier_step,
        SwitchoverStep::Released => earlier_step || is_role(before, group),
        SwitchoverStep::Done => earlier_step || is_role_there(before, group, Some(to)),
        SwitchoverStep::RolledBack { .. } => {
            earlier_step || is_role_there(before, group, None) || is_silence(before, to)
        }
    }
}

fn fenced(before: &Fact, fencing: &Fencing, ordered: bool) -> bool {
    let of = |node: NodeId| is_fencing_of(before, node);
    match fencing {
        Fencing::Begun { node } => ordered || is_silence(before, *node) || of(*node),
        Fencing::Fenced { node, .. } | Fencing::Failed { node, .. } | Fencing::Cleared { node } => ordered || of(*node),
        Fencing::Lied { node } | Fencing::Recovered { node } => {
            of(*node) || matches!(before, Fact::PeerAlive { peer } if peer == node)
        }
        Fencing::Outcast { by } => matches!(before, Fact::PeerAlive { peer } if peer == by),
        Fencing::Readmitted { .. } => matches!(before, Fact::Fencing(Fencing::Outcast { .. })),
        Fencing::Unfed { resource, .. } => is_stop_failure(before, *resource),
        Fencing::Fed => matches!(before, Fact::Fencing(Fencing::Unfed { .. })),
    }
}

fn voted(before: &Fact, voting: &Voting, ordered: bool) -> bool {
    match voting {
        Voting::OtherVoters { .. } | Voting::TermFromFuture { .. } => false,
        Voting::SameVoters { peer } => {
            ordered || matches!(before, Fact::Voting(Voting::OtherVoters { peer: of }) if of == peer)
        }
        Voting::VotersDoubted => matches!(before, Fact::Voting(Voting::OtherVoters { .. }) | Fact::Started { .. }),
        Voting::VotersSettled => {
            ordered || matches!(before, Fact::Voting(Voting::VotersDoubted | Voting::SameVoters { .. }))
        }
        Voting::TermPlausible { group, .. } | Voting::TermReset { group, .. } => {
            ordered || matches!(before, Fact::Voting(Voting::TermFromFuture { group: of, .. }) if of == group)
        }
    }
}

/// What can stand in the way of a takeover, and does no longer.
fn frees(before: &Fact, group: GroupId) -> bool {
    let able = |change: &ResourceChange| matches!(change, ResourceChange::Able | ResourceChange::Cleared);
    let is_able = matches!(before, Fact::Resource { resource, change } if resource.group == group && able(change));
    is_able
        || matches!(
            before,
            Fact::ArbitratorReachable
                | Fact::WitnessBack
                | Fact::NotIsolated
                | Fact::Hold { on: false, .. }
                | Fact::CheckReady { .. }
                | Fact::PersistRecovered
                | Fact::Voting(Voting::SameVoters { .. } | Voting::VotersSettled | Voting::TermPlausible { .. })
        )
}

/// What can cost a majority.
fn takes_votes(before: &Fact) -> bool {
    matches!(
        before,
        Fact::PeerSilent { .. }
            | Fact::PeerLeft { .. }
            | Fact::WitnessLost
            | Fact::Isolated
            | Fact::Stalled { .. }
            | Fact::PersistFailed { .. }
            | Fact::Voting(Voting::OtherVoters { .. } | Voting::VotersDoubted | Voting::TermFromFuture { .. })
    )
}

fn is_accepted(fact: &Fact) -> bool {
    matches!(fact, Fact::Command { refused: None, .. })
}

fn is_role(fact: &Fact, group: GroupId) -> bool {
    matches!(fact, Fact::RoleChanged { group: of, .. } if *of == group)
}

fn is_role_there(fact: &Fact, group: GroupId, at: Option<NodeId>) -> bool {
    matches!(fact, Fact::PeerRole { group: of, peer, .. } if *of == group && at.is_none_or(|at| at == *peer))
}

fn is_switchover(fact: &Fact, group: GroupId) -> bool {
    let is_over = |step: &SwitchoverStep| matches!(step, SwitchoverStep::Done);
    matches!(fact, Fact::Switchover { group: of, step, .. } if *of == group && !is_over(step))
}

fn is_conflict(fact: &Fact, group: GroupId) -> bool {
    matches!(fact, Fact::DualActive { group: of, .. } if *of == group)
}

fn is_restart_of(fact: &Fact, peer: NodeId) -> bool {
    matches!(fact, Fact::PeerRestarted { peer: of } if *of == peer)
}

fn is_silence(fact: &Fact, peer: NodeId) -> bool {
    matches!(fact, Fact::PeerSilent { peer: of } if *of == peer)
}

fn is_hold(fact: &Fact, hold: HoldKind, on: bool) -> bool {
    matches!(fact, Fact::Hold { hold: of, on: is, .. } if (*of, *is) == (hold, on))
}

fn is_failure(fact: &Fact, resource: ResourceId) -> bool {
    is_failure_in(fact, resource.group) && matches!(fact, Fact::Resource { resource: of, .. } if *of == resource)
}

fn is_failure_in(fact: &Fact, group: GroupId) -> bool {
    let failed = |change: &ResourceChange| {
        matches!(
            change,
            ResourceChange::StartFailed { .. } | ResourceChange::Failed { .. } | ResourceChange::Unable { .. }
        )
    };
    matches!(fact, Fact::Resource { resource, change } if resource.group == group && failed(change))
}

fn is_stop_failure(fact: &Fact, resource: ResourceId) -> bool {
    matches!(fact, Fact::Resource { resource: of, change: ResourceChange::StopFailed { .. } } if *of == resource)
}

fn is_restart(fact: &Fact) -> bool {
    matches!(fact, Fact::Resource { change: ResourceChange::Restarting { .. }, .. })
}

/// A resource does what it should.
fn is_plain(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Resource { change: ResourceChange::Started | ResourceChange::Stopped | ResourceChange::Able, .. }
    )
}

fn is_fencing_of(fact: &Fact, node: NodeId) -> bool {
    matches!(
        fact,
        Fact::Fencing(
            Fencing::Begun { node: of }
            | Fencing::Fenced { node: of, .. }
            | Fencing::Failed { node: of, .. }
            | Fencing::Lied { node: of }
        ) if *of == node
    )
}
