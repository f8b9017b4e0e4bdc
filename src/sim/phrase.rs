//! Inputs, actions and facts in few words, for a column of a log.

use crate::cluster::{BearerId, LinkId, NodeId, ResourceId};
use crate::config::Config;
use crate::control::Answer;
use crate::node::event::{Cause, Fencing, LinkDownCause, ResourceChange, SwitchoverStep, UpgradeStep, Voting};
use crate::node::{Action, Fact, Input, Order, Report};
use crate::wire::Heartbeat;

/// A fact as a human would note it down.
pub(super) fn fact(config: &Config, fact: &Fact) -> String {
    let node = |id: NodeId| config.node_name(id);
    match fact {
        Fact::RoleChanged { group, from: _, to, term, position: _, cause: why } => {
            format!("{} {to} (term {term}): {}", config.group_name(*group), cause(config, why))
        }
        Fact::HookFailed { group, to, reason } => {
            format!("{}: hook for {to} failed: {reason}", config.group_name(*group))
        }
        Fact::LinkUp { link, peer } => path(config, *link, *peer, "up"),
        Fact::LinkSuspect { link, peer, .. } => path(config, *link, *peer, "late"),
        Fact::LinkDown { link, peer, cause } => path(config, *link, *peer, &format!("down: {}", link_cause(*cause))),
        Fact::Bearer { link, peer, bearer, up } => path(config, *link, *peer, &bearer_state(*bearer, *up)),
        Fact::PeerAlive { peer } => format!("{} alive", node(*peer)),
        Fact::PeerDegraded { peer } => format!("{} heard on the neutral path only", node(*peer)),
        Fact::PeerSilent { peer } => format!("{} silent", node(*peer)),
        Fact::PeerRestarted { peer } => format!("{} restarted", node(*peer)),
        Fact::PeerRole { group, peer, role, term } => {
            format!("{} at {} {role} (term {term})", config.group_name(*group), node(*peer))
        }
        Fact::PeerLeft { peer } => format!("{} left", node(*peer)),
        Fact::ArbitratorReachable => "arbitrator reachable".to_owned(),
        Fact::WitnessLost => "witness lost".to_owned(),
        Fact::WitnessBack => "witness back".to_owned(),
        Fact::ArbitratorUnreachable => "arbitrator unreachable".to_owned(),
        Fact::Isolated => "ISOLATED".to_owned(),
        Fact::NotIsolated => "not isolated any more".to_owned(),
        Fact::VipAnswered { group, owner } => {
            format!("{}: {} answers at {}", config.group_name(*group), owner.address, owner.mac)
        }
        Fact::VipProbeFailed { group, error } => {
            format!("{}: cannot probe the VIPs: {error}", config.group_name(*group))
        }
        Fact::DualActive { group, peer, ours, theirs } => {
            format!("{}: DUAL ACTIVE with {} (terms {ours}, {theirs})", config.group_name(*group), node(*peer))
        }
        Fact::ConflictEnded { group } => format!("{}: conflict over", config.group_name(*group)),
        Fact::Resource { resource, change } => resource_change(config, *resource, change),
        Fact::CheckReady { check } => format!("check {} is well", config.check_name(*check)),
        Fact::CheckFailed { check, reason } => format!("check {} fails: {reason}", config.check_name(*check)),
        Fact::Hold { hold, on, .. } => {
            format!("hold {hold:?} {}", if *on { "set" } else { "lifted" })
        }
        Fact::FlapLimit { group, count } => {
            format!("{}: FLAP LIMIT after {count}", config.group_name(*group))
        }
        Fact::Switchover { group, to, step, .. } => {
            format!("{}: switchover to {}: {}", config.group_name(*group), node(*to), switchover_step(step))
        }
        Fact::Stalled { duration } => format!("stalled for {duration:?}"),
        Fact::Command { refused, .. } => {
            refused.as_ref().map_or("command accepted".to_owned(), |_| "command refused".to_owned())
        }
        Fact::PersistFailed { error } => format!("cannot write state: {error}"),
        Fact::PersistRecovered => "can write state again".to_owned(),
        Fact::ConfigMismatch { peer } => format!("config of {} DIFFERS", node(*peer)),
        Fact::ConfigMatches { peer } => format!("config of {} matches", node(*peer)),
        Fact::DuplicateNode { link, node: name } => {
            format!("{} is A DUPLICATE NAME on {}", node(*name), config.link_name(*link))
        }
        Fact::NodeUnique { node: name } => format!("{} is one again", node(*name)),
        Fact::Fencing(it) => fencing(config, it),
        Fact::Voting(it) => voting(config, it),
        Fact::ClockOffset { peer, offset_millis } => format!("clock of {} is OFF by {offset_millis} ms", node(*peer)),
        Fact::ClockAgrees { peer } => format!("clock of {} agrees", node(*peer)),
        Fact::Upgrade { step } => upgrade_step(step),
        Fact::Rules { text, .. } | Fact::Web { text, .. } => text.clone(),
        Fact::Started { node: me } => format!("{} starts", node(*me)),
        Fact::Stopping { reason } => format!("stopping: {reason}"),
    }
}

fn fencing(config: &Config, fencing: &Fencing) -> String {
    let node = |id: NodeId| config.node_name(id);
    match fencing {
        Fencing::Begun { node: it } => format!("{} is being turned off", node(*it)),
        Fencing::Fenced { node: it, how } => format!("{} FENCED: {how}", node(*it)),
        Fencing::Failed { node: it, reason } => format!("{} NOT FENCED: {reason}", node(*it)),
        Fencing::Lied { node: it } => format!("fence of {} LIES", node(*it)),
        Fencing::Recovered { node: it } => format!("fence of {} well", node(*it)),
        Fencing::Cleared { node: it } => format!("{} cleared", node(*it)),
        Fencing::Outcast { by } => format!("FENCED by {}", node(*by)),
        Fencing::Readmitted { by } => format!("readmitted by {}", node(*by)),
        Fencing::Unfed { resource, .. } => format!("{} stays up: watchdog NOT FED", config.resource_name(*resource)),
        Fencing::Fed => "watchdog fed again".to_owned(),
    }
}

fn voting(config: &Config, voting: &Voting) -> String {
    let node = |id: NodeId| config.node_name(id);
    match voting {
        Voting::OtherVoters { peer } => format!("{} counts OTHER VOTERS", node(*peer)),
        Voting::SameVoters { peer } => format!("{} counts the same voters", node(*peer)),
        Voting::VotersDoubted => "VOTERS IN DOUBT".to_owned(),
        Voting::VotersSettled => "voters settled".to_owned(),
        Voting::TermFromFuture { group, voter, term, .. } => {
            format!("{}: {} is IN THE FAR FUTURE (term {term})", config.group_name(*group), node(*voter))
        }
        Voting::TermPlausible { group, voter } => {
            format!("{}: term of {} is plausible", config.group_name(*group), node(*voter))
        }
        Voting::TermReset { group, from, to } => {
            format!("{}: term reset from {from} to {to}", config.group_name(*group))
        }
    }
}

fn cause(config: &Config, cause: &Cause) -> String {
    let node = |id: NodeId| config.node_name(id);
    match cause {
        Cause::Start => "start".to_owned(),
        Cause::LeftoversRemoved => "leftovers removed".to_owned(),
        Cause::FirstInRank => "first in rank".to_owned(),
        Cause::Standalone => "standalone".to_owned(),
        Cause::ReleasedToUs { by } => format!("released by {}", node(*by)),
        Cause::PeerSilent { silence, asked_all } => {
            let how = if *asked_all { "every path asked" } else { "hold time over" };
            format!("peer silent for {} ms, {how}", silence.as_millis())
        }
        Cause::Lease { silence: None } => "free lease".to_owned(),
        Cause::Lease { silence: Some(silence) } => {
            format!("peer silent for {} ms, its lease over", silence.as_millis())
        }
        Cause::LeaseLost => "lease lost".to_owned(),
        Cause::NoMajority => "no majority".to_owned(),
        Cause::ResourcesUp => "resources up".to_owned(),
        Cause::ResourcesDown => "resources down".to_owned(),
        Cause::Isolated => "isolated".to_owned(),
        Cause::OlderTerm { peer, term } => format!("yields to {} (term {term})", node(*peer)),
        Cause::ClaimLost { peer } => format!("claim lost to {}", node(*peer)),
        Cause::Operator { .. } => "operator".to_owned(),
        Cause::Switchover { to } => format!("switchover to {}", node(*to)),
        Cause::Rollback => "rollback".to_owned(),
        Cause::Failback => "failback".to_owned(),
        Cause::ResourceFailed { resource, .. } => {
            format!("{} failed", config.resource_name(*resource))
        }
        Cause::NotReady { check } => format!("check {} fails", config.check_name(*check)),
        Cause::StopFailed { resource, .. } => {
            format!("{} cannot be stopped", config.resource_name(*resource))
        }
        Cause::FaultCleared => "fault cleared".to_owned(),
        Cause::Held { hold } => format!("held: {hold:?}"),
        Cause::RightLost => "right lost".to_owned(),
        Cause::Shutdown => "shutdown".to_owned(),
    }
}

fn path(config: &Config, link: LinkId, peer: NodeId, what: &str) -> String {
    format!("{} to {} {what}", config.link_name(link), config.node_name(peer))
}

fn bearer_state(bearer: BearerId, up: bool) -> String {
    format!("bearer {} {}", bearer.0, if up { "up" } else { "down" })
}

fn link_cause(cause: LinkDownCause) -> &'static str {
    match cause {
        LinkDownCause::Silence => "silence",
        LinkDownCause::NoCarrier => "no carrier",
        LinkDownCause::Refused => "refused",
        LinkDownCause::Unreachable => "unreachable",
        LinkDownCause::NotHeard => "it does not hear us",
        LinkDownCause::Restarted => "restarted",
        LinkDownCause::Left => "left",
    }
}

fn switchover_step(step: &SwitchoverStep) -> String {
    match step {
        SwitchoverStep::Begun => "begun".to_owned(),
        SwitchoverStep::Stopping => "stopping here".to_owned(),
        SwitchoverStep::Released => "released".to_owned(),
        SwitchoverStep::Done => "done".to_owned(),
        SwitchoverStep::RolledBack { reason } => format!("rolled back: {reason}"),
    }
}

fn upgrade_step(step: &UpgradeStep) -> String {
    match step {
        UpgradeStep::Announced { absence, .. } => format!("upgrade: absence of {absence:?} announced"),
        UpgradeStep::GivenUp { reason } => format!("upgrade given up: {reason}"),
        UpgradeStep::Begun => "upgrade: silent from now on".to_owned(),
        UpgradeStep::Done { silence, moved, .. } => {
            format!("upgraded: silent for {silence:?}, {}", if *moved { "MOVED" } else { "nothing moved" })
        }
    }
}

fn resource_change(config: &Config, resource: ResourceId, change: &ResourceChange) -> String {
    let name = config.resource_name(resource);
    match change {
        ResourceChange::Started => format!("{name} started"),
        ResourceChange::StartFailed { reason } => format!("{name} did not start: {reason}"),
        ResourceChange::Stopped => format!("{name} stopped"),
        ResourceChange::StopFailed { reason } => format!("{name} DID NOT STOP: {reason}"),
        ResourceChange::Failed { reason } => format!("{name} failed: {reason}"),
        ResourceChange::Stray { reason } => format!("{name} STRAY: {reason}"),
        ResourceChange::Restarting { after, attempt, max } => {
            format!("{name} restarts in {} ms ({attempt} of {max})", after.as_millis())
        }
        ResourceChange::Able => format!("{name} able"),
        ResourceChange::Unable { reason } => format!("{name} unable: {reason}"),
        ResourceChange::Notice { text } => format!("{name}: {text}"),
        ResourceChange::Cleared => format!("{name} cleared"),
    }
}

/// An action.
pub(super) fn action(config: &Config, action: &Action) -> String {
    match action {
        Action::Send { link, heartbeat } => {
            format!("{}: {}", config.link_name(*link), frame(config, heartbeat))
        }
        Action::Ask { ask, .. } => format!("ask the arbitrator #{}", ask.0),
        Action::ProbeVips { probe, group, time } => {
            format!("probe the VIPs of {} #{} for {time:?}", config.group_name(*group), probe.0)
        }
        Action::Persist { order, durable } => format!("persist #{order} {durable:?}"),
        Action::Resource { resource, order } => {
            let name = config.resource_name(*resource);
            match order {
                Order::Start => format!("start {name}"),
                Order::Stop { within } => format!("stop {name} within {within:?}"),
                Order::Announce => format!("announce {name}"),
                Order::Adopt => format!("adopt {name}"),
            }
        }
        Action::Right { group, until } => format!("right to {} until {until}", config.group_name(*group)),
        Action::Answer { answer, .. } => match answer {
            Answer::Done { text } => format!("answer: done: {text}"),
            Answer::Plan { steps, obstacles } => {
                format!("answer: plan {steps:?}, obstacles {obstacles:?}")
            }
            Answer::Refused { reason } => format!("answer: refused: {reason}"),
            Answer::Failed { reason } => format!("answer: failed: {reason}"),
        },
        Action::Event(event) => fact(config, &event.fact),
        Action::Fence { target, .. } => format!("fence {}", config.node_name(*target)),
        Action::Exit => "exit".to_owned(),
        Action::Continue => "another program goes on".to_owned(),
    }
}

/// An input.
pub(super) fn input(config: &Config, input: &Input) -> String {
    match input {
        Input::Heartbeat { link, heartbeat, .. } => {
            format!("{}: {}", config.link_name(*link), frame(config, heartbeat))
        }
        Input::BadDatagram { link, cause } => {
            format!("{}: bad datagram: {cause:?}", config.link_name(*link))
        }
        Input::Namesake { link, node } => {
            format!("{}: namesake of {}", config.link_name(*link), config.node_name(*node))
        }
        Input::Carrier { link, up } => format!("{}: carrier {up}", config.link_name(*link)),
        Input::Bearer { link, peer, bearer, up } => path(config, *link, *peer, &bearer_state(*bearer, *up)),
        Input::Refused { link, .. } => format!("{}: refused", config.link_name(*link)),
        Input::Verdict { ask, answers, .. } => format!("arbitrator #{}: {answers:?}", ask.0),
        Input::VipProbe { probe, owner, error, .. } => format!("probe #{}: {owner:?} {error:?}", probe.0),
        Input::Report { resource, report } => format!("{} {}", config.resource_name(*resource), report_text(report)),
        Input::Ready { check, result } => {
            format!("check {}: {result:?}", config.check_name(*check))
        }
        Input::Persisted { order, result } => format!("persisted #{order}: {result:?}"),
        Input::Command { command, .. } => format!("{command:?}"),
        Input::Fenced { result, .. } => format!("fenced: {result:?}"),
        Input::Shutdown => "shutdown".to_owned(),
        Input::Deadline => "deadline".to_owned(),
    }
}

fn report_text(report: &Report) -> String {
    match report {
        Report::Started => "started".to_owned(),
        Report::StartFailed(reason) => format!("start failed: {reason}"),
        Report::Stopped => "stopped".to_owned(),
        Report::StopFailed(reason) => format!("stop failed: {reason}"),
        Report::Well(what) => format!("well again: {what}"),
        Report::Failed(reason) => format!("failed: {reason}"),
        Report::Stray(reason) => format!("stray: {reason}"),
        Report::Gone(what) => format!("gone: {what}"),
        Report::Able => "able".to_owned(),
        Report::Unable(reason) => format!("unable: {reason}"),
        Report::Notice(text) => format!("notice: {text}"),
    }
}

fn frame(config: &Config, frame: &Heartbeat) -> String {
    let mut text = format!("{} > {} #{}", config.node_name(frame.from), config.node_name(frame.to), frame.sequence);
    if frame.hears_you {
        text += " hears";
    }
    if frame.probe {
        text += " probe";
    }
    if frame.leaving {
        text += " leaving";
    }
    for group in &frame.groups {
        text += &format!(" [{:?} t{}", group.role, group.term);
        if group.claim {
            text += " claim";
        }
        if !group.able {
            text += " unable";
        }
        if let Some(to) = group.released_to {
            text += &format!(" released to {}", config.node_name(to));
        }
        if let Some(handover) = group.handover {
            text += &format!(" handover to {} {:?}", config.node_name(handover.to), handover.stage);
        }
        text += "]";
    }
    if let Some(request) = frame.request {
        text += &format!(" asks for switchover to {}", config.node_name(request.to));
    }
    text
}
