//! Everything that can happen to a node.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{BearerId, CheckId, GroupId, LinkId, NodeId, ResourceId};
use crate::control::Command;
use crate::node::action::{AskId, FenceId, ProbeId, RequestId};
use crate::time::Instant;
use crate::wire::Heartbeat;

/// One thing that happened. `Node::handle` is defined for every input in every state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Input {
    /// A frame with a good digest arrived.
    Heartbeat {
        /// The link it came in on.
        link: LinkId,
        /// When the kernel got it.
        arrived: Instant,
        /// Our wall clock at that time, in milliseconds since 1970.
        wall_millis: u64,
        /// The frame.
        heartbeat: Heartbeat,
    },
    /// A datagram was refused before it became a frame.
    BadDatagram {
        /// The link it came in on.
        link: LinkId,
        /// Why it was refused.
        cause: BadDatagram,
    },
    /// A frame with a good digest came from somewhere else than the node whose name it carries.
    Namesake {
        /// The link it came in on.
        link: LinkId,
        /// The node whose name is used.
        node: NodeId,
    },
    /// The interface of a link lost or got its carrier (or went away or came back).
    Carrier {
        /// The link.
        link: LinkId,
        /// Whether frames can pass now.
        up: bool,
    },
    /// The peer's kernel says that nobody listens there (ICMP port unreachable, or TIPC has withdrawn the daemon's name).
    Refused {
        /// The link.
        link: LinkId,
        /// The peer.
        from: NodeId,
    },
    /// TIPC has lost or found its way to a peer over one bearer.
    Bearer {
        /// The link.
        link: LinkId,
        /// The peer.
        peer: NodeId,
        /// The bearer.
        bearer: BearerId,
        /// Whether it reaches the peer now.
        up: bool,
    },
    /// The arbitrator answered, or did not within the timeout.
    Verdict {
        /// The question.
        ask: AskId,
        /// When it was sent.
        asked: Instant,
        /// Round-trip time per configured address, `None` = no answer.
        answers: Vec<Option<Duration>>,
    },
    /// A VIP probe ended: at the first answer, or after its time without one.
    VipProbe {
        /// The probe.
        probe: ProbeId,
        /// The group probed.
        group: GroupId,
        /// When the first question was sent.
        asked: Instant,
        /// Who answered for what; `None` = nobody.
        owner: Option<VipOwner>,
        /// Why it could not be asked at all.
        error: Option<String>,
    },
    /// A resource's task reports.
    Report {
        /// The resource.
        resource: ResourceId,
        /// What it reports.
        report: Report,
    },
    /// A ready check changed, or was seen for the first time.
    Ready {
        /// The check.
        check: CheckId,
        /// `Err` names what was seen instead.
        result: Result<(), String>,
    },
    /// What [`Action::Persist`](crate::node::Action::Persist) asked for is on disk, or why it is not.
    Persisted {
        /// The number of the order.
        order: u64,
        /// The error, for humans.
        result: Result<(), String>,
    },
    /// What came of [`Action::Fence`](crate::node::Action::Fence).
    Fenced {
        /// The order.
        fence: FenceId,
        /// `Ok`: the node is off for certain, in words; `Err`: it may not be, and why.
        result: Result<String, String>,
    },
    /// An operator wants something.
    Command {
        /// Names the request; the answer carries it.
        request: RequestId,
        /// Who asks, for the history.
        who: String,
        /// What is asked.
        command: Command,
    },
    /// The daemon has been asked to end (a signal): hand over what can be handed over, then stop.
    Shutdown,
    /// The deadline of `Node::poll_deadline` has come.
    Deadline,
}

/// Why a datagram was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadDatagram {
    /// Shorter than its header, or than it says it is.
    Truncated,
    /// Not one of ours, or longer than any of ours.
    Malformed,
    /// A version we do not speak.
    Version,
    /// Of another cluster.
    Cluster,
    /// Sealed with a key number we do not have.
    UnknownKey,
    /// The digest is wrong.
    Digest,
    /// From an address that is not the sender's.
    Source,
}

impl BadDatagram {
    /// All causes.
    pub const ALL: [Self; 7] =
        [Self::Truncated, Self::Malformed, Self::Version, Self::Cluster, Self::UnknownKey, Self::Digest, Self::Source];

    /// For counters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Cluster => "cluster",
            Self::UnknownKey => "unknown_key",
            Self::Digest => "digest",
            Self::Source => "source",
        }
    }
}

/// Who answered a VIP probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VipOwner {
    /// The address asked for.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = "ip"))]
    pub address: IpAddr,
    /// The MAC address that answered, as text.
    pub mac: String,
}

/// What a resource's task says. The core believes nothing that was not reported.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Report {
    /// Start is done: it runs and is ready.
    Started,
    /// Start failed or took too long; nothing of it runs any more.
    StartFailed(String),
    /// Nothing of it runs, no address of it is here.
    Stopped,
    /// It may still run or be here: every means of stopping it has failed, on an order to stop or after a failed start.
    StopFailed(String),
    /// It ran and does not any more, or a monitor says so.
    Failed(String),
    /// It had failed and runs as it should again, without an order.
    Well(String),
    /// It is here although it should not be: somebody else started it, or put it there.
    Stray(String),
    /// What was here unasked is not here any more.
    Gone(String),
    /// What it needs on this node is here (interface up, script executable, …).
    Able,
    /// It could not be started here now.
    Unable(String),
    /// Somebody else meddled and it was put right, or a warning without consequence.
    Notice(String),
}
