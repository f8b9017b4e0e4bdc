//! Everything a node may ask of the world.
//!
//! Actions are drained in the order in which they must take effect: what takes a right away (persisting a term, stopping)
//! stands before what uses it (starting, announcing, telling the peer).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{GroupId, Incarnation, LinkId, NodeId, ResourceId, Term};
use crate::control::Answer;
use crate::node::event::Event;
use crate::time::Instant;
use crate::wire::Heartbeat;

/// Names one question to the arbitrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AskId(pub u64);

/// Names one VIP probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProbeId(pub u64);

/// Names one order to turn a node off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FenceId(pub u64);

/// Names one request of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Send a frame now. The driver fills in `sent_nanos` and `wall_millis`, seals it and forgets it.
    Send {
        /// The link to send on.
        link: LinkId,
        /// The frame.
        heartbeat: Heartbeat,
    },
    /// Ping every address of the arbitrator once; answer with `Input::Verdict`.
    Ask {
        /// The question.
        ask: AskId,
        /// When it is given up.
        timeout: Duration,
    },
    /// Ask the service network who owns the VIPs of a group; answer with `Input::VipProbe`.
    ProbeVips {
        /// The probe.
        probe: ProbeId,
        /// The group.
        group: GroupId,
        /// How long an owner has to answer.
        time: Duration,
    },
    /// Write this to disk; answer with `Input::Persisted`.
    Persist {
        /// The number of the order, to be repeated in the answer.
        order: u64,
        /// What must survive a restart.
        durable: Durable,
    },
    /// Give a resource's task its next order; it answers with `Input::Report`. A new order replaces the one under way.
    Resource {
        /// The resource.
        resource: ResourceId,
        /// The order.
        order: Order,
    },
    /// How long this node may have the addresses and services of a group. The driver passes it on to what ends them when this
    /// daemon cannot; it is said before anything is started under it.
    Right {
        /// The group.
        group: GroupId,
        /// Until then, on this boot's clock; what is over is no right.
        until: Instant,
    },
    /// Turn a node off through its fence devices; answer with `Input::Fenced`, also when they hang.
    Fence {
        /// The order.
        fence: FenceId,
        /// The node.
        target: NodeId,
    },
    /// Answer an operator's request; the last word on it.
    Answer {
        /// The request.
        request: RequestId,
        /// The answer.
        answer: Answer,
    },
    /// A fact worth telling a human.
    Event(Event),
    /// Everything is down: the daemon may end.
    Exit,
    /// Another program may go on with this node, which takes no input any more: [`Node::save`](crate::node::Node::save) it, leave
    /// everything as it is, and [`Node::resume`](crate::node::Node::resume) it there.
    Continue,
}

/// An order to a resource's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Order {
    /// Bring it up; ends in `Started` or `StartFailed`.
    Start,
    /// Bring it down; ends in `Stopped` or `StopFailed`. Also right when it does not run: then leftovers are removed.
    Stop {
        /// Bound for the whole stop, instead of the resource's own, when time is short.
        within: Option<Duration>,
    },
    /// Tell the neighbours again where the addresses are (VIPs only).
    Announce,
    /// The program before this one has started it: go on with it. Answered with `Started`, or with `Failed` when it is not as it
    /// should be.
    Adopt,
}

/// What must survive a restart of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// Per group: no term above this has been used by this node. A restarted node starts from here, so terms can be
    /// reserved ahead and a takeover does not wait for the disk.
    pub terms: BTreeMap<GroupId, Term>,
    /// Offline by an operator; `until` is on this boot's clock.
    pub offline: Option<Offline>,
    /// Maintenance switched on by an operator.
    pub maintenance: bool,
    /// The longest promise this node may have made as a voter.
    #[serde(default)]
    pub promised: Duration,
    /// Digest of the voters that were last counted on; `None` = this node has never run.
    #[serde(default)]
    pub voters: Option<u32>,
    /// Nodes this one has turned off and nobody has cleared, with the run that was heard last before.
    #[serde(default)]
    pub fenced: BTreeMap<NodeId, Option<Incarnation>>,
}

/// An operator's order to stay out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Offline {
    /// When it ends by itself; `None` = when the operator says so.
    pub until: Option<Instant>,
}
