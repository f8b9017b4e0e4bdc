//! What a node knows and does about one group.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::{GroupId, NodeId, Role, Term};
use crate::config::{Config, GroupConfig};
use crate::lease::Vote;
use crate::node::action::{ProbeId, RequestId};
use crate::node::event::Cause;
use crate::node::input::VipOwner;
use crate::node::lease::{Known, Tenure};
use crate::node::resources::Resource;
use crate::time::Instant;
use crate::wire::{Handover, HandoverStage};

/// A group on this node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) id: GroupId,
    /// What we mean by it.
    pub(super) digest: u32,
    /// What it is called, for the witness.
    pub(super) name_digest: u32,
    pub(super) role: Role,
    pub(super) since: Instant,
    /// The decision that led to this role.
    pub(super) cause: Cause,
    /// The term it acts in, or last acted in.
    pub(super) term: Term,
    /// The highest term seen anywhere.
    pub(super) seen_term: Term,
    /// `Activating` without the right yet: our revision that carries the claim.
    pub(super) claim: Option<u32>,
    pub(super) resources: Vec<Resource>,
    /// When everything has to be down, if that matters more than how it goes down.
    pub(super) stop_by: Option<Instant>,
    pub(super) release: Option<Release>,
    /// The last word on a switchover request, for whoever asked.
    pub(super) word: Option<Handover>,
    /// We take it back after a switchover that failed.
    pub(super) reclaim: bool,
    /// Automatic takeovers within the window.
    pub(super) failovers: Vec<Instant>,
    /// Too many of them.
    pub(super) flap_hold: Option<Instant>,
    /// The other node of a conflict that is not over.
    pub(super) conflict: Option<NodeId>,
    /// Neighbours may have been told by somebody else where the addresses are: they are announced again as soon as
    /// nobody else has them.
    pub(super) unsettled: bool,
    pub(super) probe: Probe,
    /// Since when the preferred node could have the group back.
    pub(super) failback_since: Option<Instant>,
    /// Our own vote.
    pub(super) vote: Vote,
    /// What the other voters have said of theirs.
    pub(super) known: BTreeMap<NodeId, Known>,
    /// The lease we ask for or hold.
    pub(super) tenure: Option<Tenure>,
    /// No claim is made before: the last one found no majority.
    pub(super) retry: Instant,
    /// What was last said of how long the right lasts.
    pub(super) told_right: Instant,
}

/// Giving the group to another node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Release {
    pub(super) to: NodeId,
    /// Names the operator's request; 0 = nobody asked for it.
    pub(super) nonce: u64,
    pub(super) stage: HandoverStage,
    /// The request of an operator on this node.
    pub(super) request: Option<RequestId>,
    /// When it is taken back for want of progress.
    pub(super) deadline: Instant,
    /// Our revision that carries `Released`.
    pub(super) revision: u32,
    /// The target has begun.
    pub(super) begun: bool,
}

/// What the service network says about the VIPs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Probe {
    /// Under way: its name and when it is given up.
    pub(super) in_flight: Option<(ProbeId, Instant)>,
    /// When the next one may start.
    pub(super) next: Instant,
    /// When the last probe was asked, if nobody answered it.
    pub(super) unanswered: Option<Instant>,
    /// When it ended.
    pub(super) ended: Option<Instant>,
    /// Who answered, as long as that counts.
    pub(super) owner: Option<VipOwner>,
    /// When it did so last.
    pub(super) answered: Instant,
    /// That has been told.
    pub(super) owner_told: bool,
    /// Why the last one could not be asked.
    pub(super) error: Option<String>,
}

impl Group {
    pub(super) fn new(id: GroupId, config: &Config, floor: Term, now: Instant) -> Self {
        Self {
            id,
            digest: config.groups.get(id.index()).map_or(0, GroupConfig::digest),
            name_digest: config.groups.get(id.index()).map_or(0, GroupConfig::name_digest),
            role: Role::Deactivating,
            since: now,
            cause: Cause::Start,
            term: floor,
            seen_term: floor,
            claim: None,
            resources: config.resource_ids(id).map(|_| Resource::new(now)).collect(),
            stop_by: None,
            release: None,
            word: None,
            reclaim: false,
            failovers: Vec::new(),
            flap_hold: None,
            conflict: None,
            unsettled: false,
            probe: Probe::default(),
            failback_since: None,
            vote: Vote::default(),
            known: BTreeMap::new(),
            tenure: None,
            retry: Instant::BOOT,
            told_right: Instant::BOOT,
        }
    }

    /// It owns the group, or has the right to: started, starting, or not completely stopped.
    pub(super) fn holds(&self) -> bool {
        match self.role {
            Role::Active | Role::Deactivating => true,
            Role::Activating => self.claim.is_none(),
            Role::Standby | Role::Fault => false,
        }
    }

    /// It serves: the right is in use.
    pub(super) fn serves(&self) -> bool {
        match self.role {
            Role::Active => true,
            Role::Activating => self.claim.is_none(),
            Role::Standby | Role::Deactivating | Role::Fault => false,
        }
    }

    /// The group wants its resources up.
    pub(super) fn wants_up(&self) -> bool {
        self.serves()
    }

    /// The node we have left the group to.
    pub(super) fn released_to(&self) -> Option<NodeId> {
        let release = self.release.as_ref()?;
        (release.stage == HandoverStage::Released).then_some(release.to)
    }

    /// The term to tell: the one acted in, or the highest known.
    pub(super) fn told_term(&self) -> Term {
        if self.holds() || self.claim.is_some() { self.term } else { self.seen_term }
    }
}
