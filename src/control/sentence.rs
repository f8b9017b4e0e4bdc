//! Every fact as a sentence for somebody who was woken up by it.
//!
//! A sentence names what happened, where, and why, with the names of the config; figures are those of the moment of the
//! event. Journal, history, CLI and web page all show these and no others.

mod fencing;
mod upgrade;
mod voting;

use std::cmp::Ordering;
use std::time::Duration;

use crate::cluster::{BearerId, GroupId, LinkId, NodeId, ResourceId, Term};
use crate::config::{Config, ResourceKind};
use crate::control::HistoryEntry;
use crate::control::words::{self, duration};
use crate::node::event::{Cause, Event, Fact, HoldKind, LinkDownCause, ResourceChange, SwitchoverStep};
use crate::node::input::VipOwner;

/// The event as `me` tells it.
pub fn describe(event: &Event, config: &Config, me: NodeId) -> String {
    let speaker = Speaker { config, me };
    speaker.fact(&event.fact)
}

/// Why a role changed, for `why` and status.
pub fn describe_cause(cause: &Cause, group: GroupId, config: &Config, me: NodeId) -> String {
    let speaker = Speaker { config, me };
    speaker.cause(cause, group)
}

/// The event with what a reader needs besides; `time` is the wall clock in RFC 3339.
pub fn entry(event: Event, time: String, config: &Config, me: NodeId) -> HistoryEntry {
    HistoryEntry {
        number: 0,
        time,
        node: config.node_name(me).to_owned(),
        severity: event.fact.severity(),
        text: describe(&event, config, me),
        event,
    }
}

const ISOLATED: &str = "isolated: every link is silent and the arbitrator does not answer; this node may not be ACTIVE until \
                        it hears one of them again";

/// Who tells it: the names of the config, and which node "we" are.
struct Speaker<'a> {
    config: &'a Config,
    me: NodeId,
}

impl Speaker<'_> {
    fn fact(&self, fact: &Fact) -> String {
        match fact {
            Fact::RoleChanged { group, from, to, term, position: _, cause } => {
                format!("{}: {from} -> {to} (term {term}): {}", self.group(*group), self.cause(cause, *group))
            }
            Fact::HookFailed { group, to, reason } => {
                format!("{}: the hook for {to} failed: {reason}", self.group(*group))
            }
            Fact::LinkUp { link, peer } => format!("{} is up in both directions", self.path(*link, *peer)),
            Fact::LinkSuspect { link, peer, silence } => self.suspect(*link, *peer, *silence),
            Fact::LinkDown { link, peer, cause } => self.down(*link, *peer, *cause),
            Fact::Bearer { link, peer, bearer, up } => self.bearer(*link, *peer, *bearer, *up),
            Fact::PeerAlive { peer } => format!("{} is alive", self.node(*peer)),
            Fact::PeerDegraded { peer } => self.degraded(*peer),
            Fact::PeerSilent { peer } => format!("{} is silent on every path", self.node(*peer)),
            Fact::PeerRestarted { peer } => format!("{}: its daemon was restarted", self.node(*peer)),
            Fact::PeerRole { group, peer, role, term } => {
                format!("{}: {} is {role} (term {term})", self.group(*group), self.node(*peer))
            }
            Fact::PeerLeft { peer } => format!("{} left in an orderly way: its daemon was stopped", self.node(*peer)),
            Fact::ArbitratorReachable => "arbitrator answers".to_owned(),
            Fact::ArbitratorUnreachable => "arbitrator does not answer".to_owned(),
            Fact::WitnessLost => self.witness_lost().to_owned(),
            Fact::WitnessBack => format!("{} answers", self.config.node_name(NodeId::WITNESS)),
            Fact::Isolated => ISOLATED.to_owned(),
            Fact::NotIsolated => "not isolated any more: a link or the arbitrator is back".to_owned(),
            Fact::VipAnswered { group, owner } => self.vip_answered(*group, owner),
            Fact::VipProbeFailed { group, error } => {
                format!("{}: the service network could not be asked who owns the VIPs: {error}", self.group(*group))
            }
            Fact::DualActive { group, peer, ours, theirs } => self.dual_active(*group, *peer, (*ours, *theirs)),
            Fact::ConflictEnded { group } => self.conflict_ended(*group),
            Fact::Resource { resource, change } => {
                format!("{}: {}", self.resource(*resource), change_words(change))
            }
            Fact::CheckReady { check } => format!("ready check {} is well", self.config.check_name(*check)),
            Fact::CheckFailed { check, reason } => {
                format!("ready check {} fails: {reason}", self.config.check_name(*check))
            }
            Fact::Hold { hold, on, by } => hold_words(*hold, *on, by),
            Fact::FlapLimit { group, count } => self.flap_limit(*group, *count),
            Fact::Switchover { group, from, to, step } => {
                format!("{}: {}", self.group(*group), step_words(step, self.node(*from), self.node(*to)))
            }
            Fact::Stalled { duration: time } => {
                format!(
                    "this daemon did not run for {}: nobody is blamed for the silence of that time",
                    duration(*time)
                )
            }
            Fact::Command { who, command, refused: None } => format!("{who}: {command}"),
            Fact::Command { who, command, refused: Some(reason) } => format!("{who}: {command}: refused: {reason}"),
            Fact::PersistFailed { error } => format!("terms and holds cannot be written to disk: {error}"),
            Fact::PersistRecovered => "terms and holds can be written to disk again".to_owned(),
            Fact::ConfigMismatch { peer } => self.config_mismatch(*peer),
            Fact::ConfigMatches { peer } => format!("{} has the same config again", self.node(*peer)),
            Fact::Fencing(fencing) => self.fencing(fencing),
            Fact::Voting(voting) => self.voting(voting),
            Fact::DuplicateNode { link, node } => self.duplicate(*link, *node),
            Fact::NodeUnique { node } => format!("nobody else calls itself {} any more", self.node(*node)),
            Fact::ClockOffset { peer, offset_millis } => self.clock_offset(*peer, *offset_millis),
            Fact::ClockAgrees { peer } => format!("wall clock of {} agrees with ours again", self.node(*peer)),
            Fact::Upgrade { step } => step.sentence(),
            Fact::Rules { text, .. } => format!("rules: {text}"),
            Fact::Web { text, .. } => format!("web page: {text}"),
            Fact::Started { node } => format!("daemon started as {}", self.node(*node)),
            Fact::Stopping { reason } => format!("daemon is stopping: {reason}"),
        }
    }

    fn cause(&self, cause: &Cause, group: GroupId) -> String {
        match cause {
            Cause::Start => "daemon started, leftovers of an earlier run are removed first".to_owned(),
            Cause::LeftoversRemoved => "nothing of an earlier run is left here".to_owned(),
            Cause::FirstInRank => "no node is ACTIVE and this one is first in rank of those able".to_owned(),
            Cause::Standalone => "standalone mode, no other node to ask".to_owned(),
            Cause::ReleasedToUs { by } => format!("{} released it to this node", self.node(*by)),
            Cause::PeerSilent { silence, asked_all } => self.peer_silent(group, *silence, *asked_all),
            Cause::Lease { silence: None } => "no node has its lease".to_owned(),
            Cause::Lease { silence: Some(silence) } => {
                format!("no other node has its lease any more: silent for {}", duration(*silence))
            }
            Cause::LeaseLost => "its lease ran out: no majority of the voters has acknowledged it in time".to_owned(),
            Cause::NoMajority if self.config.etcd.is_some() => "etcd did not give the lease in time".to_owned(),
            Cause::NoMajority => "no majority of the voters gave this node its votes in time".to_owned(),
            Cause::ResourcesUp => "all its resources are up".to_owned(),
            Cause::ResourcesDown => "all its resources are down".to_owned(),
            Cause::Isolated => "isolated: every link is silent and the arbitrator does not answer".to_owned(),
            Cause::OlderTerm { peer, term } => {
                format!("{} is ACTIVE too, with term {term}: this node yields", self.node(*peer))
            }
            Cause::ClaimLost { peer } => format!("{} did not consent or was first", self.node(*peer)),
            Cause::Operator { who } => format!("ordered by {who}"),
            Cause::Switchover { to } if *to == self.me => "switchover to this node".to_owned(),
            Cause::Switchover { to } => format!("switchover to {}", self.node(*to)),
            Cause::Rollback => "no other node could take it: it comes back to this node".to_owned(),
            Cause::Failback => format!("failback to {}, its preferred node", self.preferred(group)),
            Cause::ResourceFailed { resource, reason } => {
                format!("resource {} failed here for good: {reason}", self.config.resource_name(*resource))
            }
            Cause::NotReady { check } => format!("ready check {} fails here", self.config.check_name(*check)),
            Cause::StopFailed { resource, reason } => format!(
                "resource {} could not be stopped and may still run here: {reason}",
                self.config.resource_name(*resource)
            ),
            Cause::FaultCleared => "its fault was cleared".to_owned(),
            Cause::Held { hold } => format!("this node is held: {}", words::hold(*hold)),
            Cause::RightLost => "the right to be ACTIVE was lost before the takeover was done".to_owned(),
            Cause::Shutdown => "daemon is stopping".to_owned(),
        }
    }

    fn peer_silent(&self, group: GroupId, silence: Duration, asked_all: bool) -> String {
        let mut others = self.config.node_ids().filter(|node| *node != self.me);
        let who = match (others.next(), others.next()) {
            (Some(only), None) => self.node(only).to_owned(),
            (_, _) => "every other node".to_owned(),
        };
        let vips = if self.has_vips(group) { ", nobody answers for the VIPs" } else { "" };
        let hold = if asked_all { "; all were asked, so the hold time was not needed" } else { "" };
        format!("{who} silent for {} on every path, arbitrator answers{vips}{hold}", duration(silence))
    }

    fn degraded(&self, peer: NodeId) -> String {
        let peer = self.node(peer);
        format!("{peer} is heard on the neutral path only: every dedicated link to it is down, repair one now")
    }

    fn vip_answered(&self, group: GroupId, owner: &VipOwner) -> String {
        format!(
            "{}: no ACTIVE node is heard, but {} answers for VIP {}: takeover is blocked while somebody owns it",
            self.group(group),
            owner.mac,
            owner.address
        )
    }

    fn conflict_ended(&self, group: GroupId) -> String {
        let group = self.group(group);
        format!("{group}: the conflict is over, this node stays ACTIVE and announced its VIPs again")
    }

    fn dual_active(&self, group: GroupId, peer: NodeId, (ours, theirs): (Term, Term)) -> String {
        let (group, peer) = (self.group(group), self.node(peer));
        let verdict = match ours.cmp(&theirs) {
            Ordering::Greater => format!("{peer} has the older term and yields"),
            Ordering::Less => "this node has the older term and yields".to_owned(),
            Ordering::Equal => "the terms are equal, the node of lower rank yields".to_owned(),
        };
        format!("{group}: ACTIVE here (term {ours}) and on {peer} (term {theirs}) at the same time: {verdict}")
    }

    fn flap_limit(&self, group: GroupId, count: u32) -> String {
        format!(
            "{}: {count} automatic takeovers within {}: held here until an operator says `online`",
            self.group(group),
            duration(self.config.limits.failover_window)
        )
    }

    fn witness_lost(&self) -> &'static str {
        if self.config.etcd.is_some() {
            "etcd does not answer: what is ACTIVE ends with its lease, and nothing takes over"
        } else {
            "the witness does not answer: nothing moves, but one more fault may be one too many"
        }
    }

    fn config_mismatch(&self, peer: NodeId) -> String {
        let peer = self.node(peer);
        format!("{peer} runs with another config than this node: make the files equal and reload both")
    }

    fn duplicate(&self, link: LinkId, node: NodeId) -> String {
        let (node, link) = (self.node(node), self.config.link_name(link));
        format!("another machine calls itself {node} on link {link}: stop one of the two, node names must be unique")
    }

    fn clock_offset(&self, peer: NodeId, offset_millis: i64) -> String {
        let offset = duration(Duration::from_millis(offset_millis.unsigned_abs()));
        let side = if offset_millis < 0 { "behind" } else { "ahead of" };
        format!(
            "wall clock of {} is {offset} {side} ours (limit {}): check NTP on both; takeovers do not depend on it, logs do",
            self.node(peer),
            duration(self.config.limits.clock_offset)
        )
    }

    fn suspect(&self, link: LinkId, peer: NodeId, silence: Duration) -> String {
        format!("{} is late: silent for {}, probing", self.path(link, peer), duration(silence))
    }

    fn down(&self, link: LinkId, peer: NodeId, cause: LinkDownCause) -> String {
        format!("{} is down: {}", self.path(link, peer), self.link_cause(cause, peer))
    }

    fn bearer(&self, link: LinkId, peer: NodeId, bearer: BearerId, up: bool) -> String {
        let name = self.config.links.get(link.index()).map_or("?", |link| link.bearer_name(bearer));
        let (link, peer) = (self.config.link_name(link), self.node(peer));
        if up {
            format!("bearer {name} of link {link} reaches {peer} again")
        } else {
            format!("bearer {name} of link {link} does not reach {peer} any more: check its cable and its switch")
        }
    }

    fn link_cause(&self, cause: LinkDownCause, peer: NodeId) -> String {
        match cause {
            LinkDownCause::Silence => {
                format!("no frame within the dead time of {}", duration(self.config.timers.dead_time))
            }
            LinkDownCause::NoCarrier => "our interface has no carrier, is switched off or missing".to_owned(),
            LinkDownCause::Refused => format!("{} answers that no daemon listens there", self.node(peer)),
            LinkDownCause::Unreachable => format!("no bearer reaches {}", self.node(peer)),
            LinkDownCause::NotHeard => format!("{} does not hear us on it", self.node(peer)),
            LinkDownCause::Restarted => format!("the daemon of {} was restarted", self.node(peer)),
            LinkDownCause::Left => format!("{} said goodbye", self.node(peer)),
        }
    }

    fn node(&self, node: NodeId) -> &str {
        self.config.node_name(node)
    }

    fn group(&self, group: GroupId) -> &str {
        self.config.group_name(group)
    }

    fn path(&self, link: LinkId, peer: NodeId) -> String {
        format!("link {} to {}", self.config.link_name(link), self.node(peer))
    }

    fn resource(&self, resource: ResourceId) -> String {
        format!("{}/{}", self.group(resource.group), self.config.resource_name(resource))
    }

    fn preferred(&self, group: GroupId) -> &str {
        self.config.groups.get(group.index()).map_or("?", |group| self.node(group.preferred))
    }

    fn has_vips(&self, group: GroupId) -> bool {
        let resources = self.config.groups.get(group.index()).map_or(&[][..], |group| &group.resources);
        resources.iter().any(|resource| matches!(resource.kind, ResourceKind::Vip(_)))
    }
}

fn change_words(change: &ResourceChange) -> String {
    match change {
        ResourceChange::Started => "started".to_owned(),
        ResourceChange::StartFailed { reason } => format!("could not be started: {reason}"),
        ResourceChange::Stopped => "stopped".to_owned(),
        ResourceChange::StopFailed { reason } => format!("could not be stopped and may still be here: {reason}"),
        ResourceChange::Failed { reason } => format!("failed: {reason}"),
        ResourceChange::Stray { reason } => format!("is here although it should not be: {reason}"),
        ResourceChange::Restarting { after, attempt, max } => {
            format!("will be restarted in {} (attempt {attempt} of {max})", duration(*after))
        }
        ResourceChange::Able => "could be started here again".to_owned(),
        ResourceChange::Unable { reason } => format!("could not be started here: {reason}"),
        ResourceChange::Notice { text } => text.clone(),
        ResourceChange::Cleared => "failures cleared by an operator".to_owned(),
    }
}

fn hold_words(hold: HoldKind, on: bool, by: &str) -> String {
    match (hold, on) {
        (HoldKind::Offline, true) => format!("offline (by {by}): this node takes nothing over"),
        (HoldKind::Offline, false) => format!("online again (by {by}): this node may take over"),
        (HoldKind::Maintenance, true) => {
            format!("maintenance on (by {by}): nothing is moved, restarted or taken over by itself")
        }
        (HoldKind::Maintenance, false) => format!("maintenance off (by {by}): automatic actions are on again"),
        (HoldKind::Flap, true) => format!("held for flapping (by {by}): this node takes nothing over until `online`"),
        (HoldKind::Fenced, true) => format!("fenced (by {by}): this node takes nothing over"),
        (HoldKind::Fenced, false) => format!("no longer fenced (by {by})"),
        (HoldKind::Flap, false) => format!("no longer held for flapping (by {by})"),
    }
}

fn step_words(step: &SwitchoverStep, from: &str, to: &str) -> String {
    match step {
        SwitchoverStep::Begun => format!("switchover from {from} to {to} has begun"),
        SwitchoverStep::Stopping => format!("switchover: {from} brings its resources down"),
        SwitchoverStep::Released => format!("switchover: {from} owns nothing any more, {to} may start"),
        SwitchoverStep::Done => format!("switchover done: {to} is ACTIVE"),
        SwitchoverStep::RolledBack { reason } => format!("switchover to {to} failed, {from} takes it back: {reason}"),
    }
}

#[cfg(test)]
mod tests;
