//! THE WIRE FORMAT: what two nodes tell each other, many times a second.
//!
//! A heartbeat carries the whole state a peer must know, so a lost frame needs no repetition: the next one says the same.
//! [`codec`] draws its bytes; [`seal`] wraps them in an authenticated datagram. Nothing is decoded before the digest is
//! verified, and no input makes either of them panic.

pub mod codec;
pub mod seal;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{GroupId, Incarnation, LinkId, NodeId, Role, Term};
use crate::lease::Wish;
use crate::sabotage::{Rule, broken};

/// One frame, decoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who sent it.
    pub from: NodeId,
    /// Whom it is for.
    pub to: NodeId,
    /// The link it was sent on; a frame that arrives on another one is refused.
    pub link: LinkId,
    /// This run of the sender.
    pub incarnation: Incarnation,
    /// The run of the receiver that the sender knows of; `None` before it heard anything. Only a frame that echoes
    /// our own incarnation is fresh.
    pub echo: Option<Incarnation>,
    /// Grows by one with each frame of this incarnation on this link to this peer, from 1.
    pub sequence: u64,
    /// The sender's clock at sending, in nanoseconds; only the sender understands it.
    pub sent_nanos: u64,
    /// `sent_nanos` of the last frame the sender heard from the receiver on this link; 0 = none.
    pub echo_nanos: u64,
    /// From the arrival of that frame to the sending of this one, in nanoseconds.
    pub echo_delay_nanos: u64,
    /// The sender's wall clock in milliseconds since 1970, for the clock alarm only.
    pub wall_millis: u64,
    /// Digest of the sender's config.
    pub config_digest: u64,
    /// The sender holds this link to be up: "I hear you".
    pub hears_you: bool,
    /// Please answer at once.
    pub probe: bool,
    /// The sender shuts down in an orderly way with this frame; silence follows that means nothing bad.
    pub leaving: bool,
    /// Number of the state below: grows whenever it changes.
    pub revision: u32,
    /// The receiver's revision the sender has last taken note of.
    pub seen_revision: u32,
    /// The sender's word on each group, in the order of the sender's config.
    pub groups: Vec<GroupState>,
    /// A switchover an operator has asked for on this node, to be carried out by the ACTIVE one.
    pub request: Option<SwitchoverRequest>,
    /// How long the sender counts on a promise; zero when it wants none.
    pub lease: Duration,
    /// Digest of who votes, by the sender's config ([`crate::config::Config::voters_digest`]); zero where nobody votes.
    pub voters: u32,
    /// Nodes that were turned off through a fence device on the sender's order, and that nobody has cleared since.
    pub fenced: Vec<Fenced>,
    /// The sender may be silent for this long from now on and is not dead then; zero as long as it means to go on speaking.
    pub absence: Duration,
}

/// A node that was turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fenced {
    /// The node.
    pub node: NodeId,
    /// The run that was heard last before; `None` = none was ever heard.
    pub run: Option<Incarnation>,
}

/// The longest absence that is believed: whoever is silent for longer may be dead, whatever it has said.
pub const ABSENCE_MAX: Duration = Duration::from_secs(5);

/// What a node says about one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GroupState {
    /// What the sender means by the group ([`crate::config::GroupConfig::digest`]): only the same counts as the same group.
    pub digest: u32,
    /// Its role. `Activating` without consent is a claim: see `claim`.
    pub role: Role,
    /// The term of that role: the highest term this node has seen for the group.
    pub term: Term,
    /// The sender wants to become ACTIVE in `term` and asks for consent; it has not started anything yet.
    pub claim: bool,
    /// It could take over: healthy, not held, resources present.
    pub able: bool,
    /// Some virtual address of the group may be up at the sender.
    pub addresses: bool,
    /// It owns nothing of the group any more and leaves the role to this node (the next holder).
    pub released_to: Option<NodeId>,
    /// How the last switchover request ended or where it stands, for the node that asked.
    pub handover: Option<Handover>,
    /// It asks for the group's lease in `term`, or holds it and renews it.
    pub wants_lease: bool,
    /// Whom the sender has given its vote.
    pub promise: Option<Promised>,
}

impl GroupState {
    /// Somebody who owns nothing of a group and wants nothing of it.
    pub fn nothing(digest: u32) -> Self {
        Self {
            digest,
            role: Role::Standby,
            term: Term::default(),
            claim: false,
            able: false,
            addresses: false,
            released_to: None,
            handover: None,
            wants_lease: false,
            promise: None,
        }
    }

    /// It owns the group or is about to, without needing anybody's consent any more.
    pub fn holds(&self) -> bool {
        match self.role {
            Role::Active | Role::Deactivating => true,
            Role::Activating => !self.claim,
            Role::Standby | Role::Fault => false,
        }
    }

    /// What it wants of a voter.
    pub fn wish(&self) -> Wish {
        if broken(Rule::ReleaseWhenDown) && self.role == Role::Deactivating {
            Wish::Nothing
        } else if self.wants_lease {
            Wish::Lease(self.term)
        } else if self.holds() {
            Wish::Wait
        } else {
            Wish::Nothing
        }
    }
}

/// A voter's promise that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Promised {
    /// Who has it.
    pub holder: NodeId,
    /// For which term.
    pub term: Term,
    /// For how much longer on the sender's clock, when the frame was sent.
    pub left: Duration,
}

/// An operator's wish to move a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SwitchoverRequest {
    /// Names the request; random, so that an answer is never taken for another's.
    pub nonce: u64,
    /// The group to move.
    pub group: GroupId,
    /// Where it shall go.
    pub to: NodeId,
}

/// Progress of one switchover request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Handover {
    /// The request.
    pub nonce: u64,
    /// Where the group goes.
    pub to: NodeId,
    /// How far it is.
    pub stage: HandoverStage,
}

/// Stages of a switchover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandoverStage {
    /// The ACTIVE node brings its resources down.
    Stopping,
    /// It owns nothing any more; the target may start.
    Released,
    /// The target is ACTIVE.
    Done,
    /// The target could not; the old owner took the group back.
    RolledBack,
    /// The ACTIVE node did not begin: the target was not able, or it is busy.
    Refused,
}
