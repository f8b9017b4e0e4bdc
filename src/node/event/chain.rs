//! WHY: which earlier events led to one, out of the history alone.
//!
//! Every fact tells of one thing (a link, a peer, the role of a group, …), and what counts of each thing is what was told of it
//! last: a link that came up again explains nothing any more. [`reasons`] says which facts can lead to which. What another run of
//! the daemon has told counts for nothing, and neither length nor depth of a chain has no bound.

mod reasons;

use std::collections::BTreeSet;

use crate::cluster::{BearerId, CheckId, GroupId, LinkId, NodeId, ResourceId};
use crate::node::event::{Event, Fact, Fencing, HoldKind, Voting};
use reasons::{Tie, tie};

/// Events of a chain.
pub const STEPS_MAX: usize = 64;
/// From one event to the one that led to it, so many times.
pub const DEPTH_MAX: usize = 16;
/// An order is told after the first of what it does, at the same moment; so far behind an event it is looked for.
pub const AFTERWARDS: usize = 16;

/// One event of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its place among the events.
    pub event: usize,
    /// The place of the one that it led to.
    pub led_to: usize,
}

/// What led to an event: the first one first. `events`: the oldest first, with some after the one that is explained.
pub fn chain(events: &[&Event], of: usize) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut known = BTreeSet::from([of]);
    let mut open = vec![of];
    for _ in 0..DEPTH_MAX {
        let mut next = Vec::new();
        for later in open {
            for event in direct(events, later) {
                if steps.len() < STEPS_MAX && known.insert(event) {
                    steps.push(Step { event, led_to: later });
                    next.push(event);
                }
            }
        }
        open = next;
    }
    steps.sort_by_key(|step| place(events, step.event));
    steps
}

/// Where an event stands in the order of what led to what: an order before all that it did at that moment.
fn place(events: &[&Event], event: usize) -> (usize, bool, usize) {
    let is_order = |event: usize| events.get(event).is_some_and(|event| matches!(event.fact, Fact::Command { .. }));
    let at = events.get(event).map(|event| event.at);
    let first = (0..event).rev().take_while(|earlier| events.get(*earlier).map(|event| event.at) == at).last();
    if is_order(event) { (first.unwrap_or(event), false, event) } else { (event, true, event) }
}

/// What led to an event without anything in between.
fn direct(events: &[&Event], of: usize) -> Vec<usize> {
    let Some(later) = events.get(of) else { return Vec::new() };
    let mut found: Vec<usize> = (of + 1..events.len().min(of + 1 + AFTERWARDS))
        .take_while(|place| events.get(*place).is_some_and(|event| event.at == later.at))
        .filter(|place| events.get(*place).is_some_and(|event| is_order_for(event, later)))
        .collect();
    if matches!(later.fact, Fact::Started { .. }) {
        return found;
    }
    let (mut told, mut led) = (BTreeSet::new(), false);
    for place in (0..of).rev() {
        let Some(earlier) = events.get(place) else { break };
        let is_news = subject(&earlier.fact).is_none_or(|subject| told.insert(subject));
        let tie = if is_news { tie(earlier, later) } else { Tie::None };
        // What stood in the way counts only when it was the last thing that did.
        if tie == Tie::Led || (tie == Tie::Freed && !led) {
            found.push(place);
        }
        led |= tie == Tie::Led;
        if matches!(earlier.fact, Fact::Started { .. }) {
            break;
        }
    }
    found
}

fn is_order_for(event: &Event, later: &Event) -> bool {
    matches!(event.fact, Fact::Command { .. }) && tie(event, later) == Tie::Led
}

/// What a fact tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Link(LinkId, NodeId),
    Bearer(LinkId, NodeId, BearerId),
    Peer(NodeId),
    PeerRun(NodeId),
    PeerRole(GroupId, NodeId),
    PeerConfig(NodeId),
    PeerClock(NodeId),
    PeerName(NodeId),
    Arbitrator,
    Witness,
    Isolation,
    Role(GroupId),
    Hook(GroupId),
    Vips(GroupId),
    Conflict(GroupId),
    Flaps(GroupId),
    Switchover(GroupId),
    Resource(ResourceId),
    Check(CheckId),
    Hold(HoldKind),
    Disk,
    Fence(NodeId),
    Outcast,
    Watchdog,
    Voters(NodeId),
    OwnVoters,
    Term(GroupId),
    Upgrade,
    Run,
}

/// What a fact tells of; `None` = it stands for itself, and the next one of its kind makes it no less true.
fn subject(fact: &Fact) -> Option<Subject> {
    Some(match fact {
        Fact::RoleChanged { group, .. } => Subject::Role(*group),
        Fact::HookFailed { group, .. } => Subject::Hook(*group),
        Fact::LinkUp { link, peer } | Fact::LinkSuspect { link, peer, .. } | Fact::LinkDown { link, peer, .. } => {
            Subject::Link(*link, *peer)
        }
        Fact::Bearer { link, peer, bearer, .. } => Subject::Bearer(*link, *peer, *bearer),
        Fact::PeerAlive { peer }
        | Fact::PeerDegraded { peer }
        | Fact::PeerSilent { peer }
        | Fact::PeerLeft { peer } => Subject::Peer(*peer),
        Fact::PeerRestarted { peer } => Subject::PeerRun(*peer),
        Fact::PeerRole { group, peer, .. } => Subject::PeerRole(*group, *peer),
        Fact::ArbitratorReachable | Fact::ArbitratorUnreachable => Subject::Arbitrator,
        Fact::WitnessLost | Fact::WitnessBack => Subject::Witness,
        Fact::Isolated | Fact::NotIsolated => Subject::Isolation,
        Fact::VipAnswered { group, .. } | Fact::VipProbeFailed { group, .. } => Subject::Vips(*group),
        Fact::DualActive { group, .. } | Fact::ConflictEnded { group } => Subject::Conflict(*group),
        Fact::Resource { resource, .. } => Subject::Resource(*resource),
        Fact::CheckReady { check } | Fact::CheckFailed { check, .. } => Subject::Check(*check),
        Fact::Hold { hold, .. } => Subject::Hold(*hold),
        Fact::FlapLimit { group, .. } => Subject::Flaps(*group),
        Fact::Switchover { group, .. } => Subject::Switchover(*group),
        Fact::PersistFailed { .. } | Fact::PersistRecovered => Subject::Disk,
        Fact::ConfigMismatch { peer } | Fact::ConfigMatches { peer } => Subject::PeerConfig(*peer),
        Fact::ClockOffset { peer, .. } | Fact::ClockAgrees { peer } => Subject::PeerClock(*peer),
        Fact::DuplicateNode { node, .. } | Fact::NodeUnique { node } => Subject::PeerName(*node),
        Fact::Fencing(fencing) => fence_subject(fencing),
        Fact::Voting(voting) => vote_subject(voting),
        Fact::Upgrade { .. } => Subject::Upgrade,
        Fact::Started { .. } | Fact::Stopping { .. } => Subject::Run,
        Fact::Stalled { .. } | Fact::Command { .. } | Fact::Rules { .. } | Fact::Web { .. } => return None,
    })
}

fn fence_subject(fencing: &Fencing) -> Subject {
    match fencing {
        Fencing::Begun { node }
        | Fencing::Fenced { node, .. }
        | Fencing::Failed { node, .. }
        | Fencing::Lied { node }
        | Fencing::Recovered { node }
        | Fencing::Cleared { node } => Subject::Fence(*node),
        Fencing::Outcast { .. } | Fencing::Readmitted { .. } => Subject::Outcast,
        Fencing::Unfed { .. } | Fencing::Fed => Subject::Watchdog,
    }
}

fn vote_subject(voting: &Voting) -> Subject {
    match voting {
        Voting::OtherVoters { peer } | Voting::SameVoters { peer } => Subject::Voters(*peer),
        Voting::VotersDoubted | Voting::VotersSettled => Subject::OwnVoters,
        Voting::TermFromFuture { group, .. }
        | Voting::TermPlausible { group, .. }
        | Voting::TermReset { group, .. } => Subject::Term(*group),
    }
}
