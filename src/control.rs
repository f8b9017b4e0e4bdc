//! THE CONTROL API as types: what an operator may ask, and what comes back.
//!
//! The CLI, the shell and the web page all speak these documents with the daemon, one JSON document a line.

mod command;
pub mod frame;
mod history;
pub mod sentence;
pub mod words;

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use command::{Command, Errand, FenceVerb, ResourceVerb};
pub use history::{Filter, HistoryEntry};

use crate::cluster::{Role, SafetyClass, Term};
use crate::courier;
use crate::node::event::HoldKind;
use crate::time::Instant;

/// The last word on a command.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Answer {
    /// Done.
    Done {
        /// What was done, in words.
        text: String,
    },
    /// What a dry run found.
    Plan {
        /// The steps that would be taken.
        steps: Vec<String>,
        /// What stands in the way; empty = it would be tried.
        obstacles: Vec<String>,
    },
    /// Not begun.
    Refused {
        /// Why.
        reason: String,
    },
    /// Begun and failed; the state before it was restored where possible.
    Failed {
        /// Why, and how it stands now.
        reason: String,
    },
}

/// What a client sends, one a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "request")]
pub enum Request {
    /// A snapshot of the status; answered by `Reply::Status`.
    Status,
    /// Past events, then, if `follow`, each new one as it happens.
    History {
        /// At most this many of the past.
        last: usize,
        /// Go on.
        follow: bool,
        /// Only those with smaller numbers: so one goes back from page to page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<u64>,
        /// Only those that fit, also of the new ones.
        #[serde(default, skip_serializing_if = "Filter::is_everything")]
        filter: Filter,
    },
    /// A command; answered by `Reply::Answer`, events of it before that.
    Command(Command),
    /// Something for the program that keeps the rules the same; answered by `Reply::Rules` as often as that says something.
    Rules {
        /// What.
        order: courier::Request,
    },
    /// The same in the name of somebody whom the caller has asked who he is.
    OnBehalf {
        /// His name.
        user: String,
        /// Where he is.
        address: IpAddr,
        /// What.
        order: Errand,
    },
    /// Read the config file again and take it into use; a bad one changes nothing.
    Reload,
    /// The config in force, as JSON.
    Config,
}

impl Request {
    /// The last events.
    pub fn last(last: usize) -> Self {
        Self::History { last, follow: false, before: None, filter: Filter::default() }
    }

    /// The last events, and each new one as it happens.
    pub fn follow(last: usize) -> Self {
        Self::History { last, follow: true, before: None, filter: Filter::default() }
    }
}

/// What the daemon sends back, one a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reply")]
pub enum Reply {
    /// The status.
    Status {
        /// The status.
        status: Box<Status>,
    },
    /// One entry of the history.
    Event {
        /// The entry.
        entry: HistoryEntry,
    },
    /// The past is told; what follows is new, if anything.
    EndOfHistory,
    /// The command is still under way: sent now and then, so that a client can tell waiting from a hung daemon.
    Pending {
        /// How long it has been under way.
        waited: Duration,
    },
    /// The last word on a command or reload.
    Answer {
        /// The word.
        answer: Answer,
    },
    /// The config in force.
    Config {
        /// The config.
        config: Box<crate::config::Config>,
    },
    /// What the program says that keeps the rules the same.
    Rules {
        /// It.
        said: courier::Reply,
    },
    /// The request was not understood or not permitted.
    Error {
        /// Why.
        reason: String,
    },
}

/// Everything an operator can see of a node, with the moment each thing was last seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Status {
    /// The moment of this snapshot, on the same clock as every other instant in it: age = `now` − instant.
    pub now: Instant,
    /// Our node.
    pub node: String,
    /// The cluster.
    pub cluster: String,
    /// What the config can guarantee.
    pub safety_class: SafetyClass,
    /// Since when the daemon runs.
    pub started: Instant,
    /// This daemon's view of the other nodes.
    pub peers: Vec<PeerStatus>,
    /// The arbitrator.
    pub arbitrator: Option<ArbitratorStatus>,
    /// The witness, or etcd in its place.
    pub witness: Option<WitnessStatus>,
    /// All links silent and the arbitrator unreachable.
    pub isolated: bool,
    /// The groups.
    pub groups: Vec<GroupStatus>,
    /// Ready checks.
    pub ready: Vec<CheckStatus>,
    /// Why this node may not become ACTIVE by an operator's or the system's order.
    pub holds: Vec<HoldStatus>,
    /// What needs a human now.
    pub alarms: Vec<AlarmStatus>,
    /// Facts of the driver that the decision does not know (filled in by the daemon).
    pub driver: DriverStatus,
    /// The program that keeps the rules the same on every node (filled in by the daemon); `None` = there is none to run.
    #[serde(default)]
    pub rules: Option<courier::Watched>,
}

/// Another node as seen from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PeerStatus {
    /// Its name.
    pub node: String,
    /// `alive`, `degraded`, `silent`, `left` or `unknown`.
    pub state: String,
    /// Its last sign of life.
    pub heard: Option<Instant>,
    /// Its config is ours; `None` = never heard.
    pub config_matches: Option<bool>,
    /// Its wall clock minus ours, in milliseconds.
    pub clock_offset_millis: Option<i64>,
    /// What it last said of each group.
    pub groups: Vec<PeerGroupStatus>,
    /// The links to it.
    pub links: Vec<LinkStatus>,
}

/// What a peer last said of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PeerGroupStatus {
    /// The group.
    pub group: String,
    /// Its role there.
    pub role: Role,
    /// Its term there.
    pub term: Term,
    /// Whether it could take over.
    pub able: bool,
}

/// One link to one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LinkStatus {
    /// The link.
    pub link: String,
    /// `up`, `suspect`, `down`, or `idle` (a neutral path that is not needed).
    pub state: String,
    /// Since when.
    pub since: Instant,
    /// Why it is down.
    pub cause: Option<String>,
    /// The last good frame.
    pub heard: Option<Instant>,
    /// The peer says it hears us here.
    pub peer_hears_us: bool,
    /// Carrier of our interface; of one of them, where the link has several.
    pub carrier: bool,
    /// What carries it, where it runs over TIPC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bearers: Vec<BearerStatus>,
    /// Smoothed round-trip time, in microseconds.
    pub rtt_micros: Option<u64>,
    /// Smoothed variation of the arrival distance, in microseconds.
    pub jitter_micros: Option<u64>,
    /// Frames lost of the last 100, as counted by gaps in their numbers.
    pub loss_percent: Option<u8>,
    /// Frames sent.
    pub sent: u64,
    /// Good frames received.
    pub received: u64,
    /// Frames that came later than the suspect time.
    pub late: u64,
    /// Refused frames by cause.
    pub refused: std::collections::BTreeMap<String, u64>,
}

/// One bearer of a link over TIPC, as TIPC sees its way to the peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BearerStatus {
    /// Its interface.
    pub bearer: String,
    /// Whether it reaches the peer.
    pub up: bool,
    /// Since when.
    pub since: Instant,
    /// How long TIPC waits for a silent bearer before it gives it up, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance_millis: Option<u32>,
    /// Its priority, 0..=31: TIPC uses those with the highest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// What TIPC has counted on it.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub counters: std::collections::BTreeMap<String, u64>,
}

/// The arbitrator as seen from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ArbitratorStatus {
    /// `reachable`, `unreachable` or `unknown`.
    pub state: String,
    /// The last question that was decided.
    pub asked: Option<Instant>,
    /// Per address: the last answer's time, and the round-trip in microseconds.
    pub addresses: Vec<ArbitratorAddressStatus>,
}

/// The voter that is no node, as seen from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WitnessStatus {
    /// `witness` or `etcd`.
    pub voter: String,
    /// Where it is asked.
    pub address: String,
    /// `reachable`, `unreachable` or `unknown`.
    pub state: String,
    /// Since when.
    pub since: Instant,
    /// Its last answer.
    pub heard: Option<Instant>,
    /// Round-trip time of that, in microseconds.
    pub rtt_micros: Option<u64>,
}

/// A group's lease as seen from here: who has promised what to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LeaseStatus {
    /// Until when this node has it; `None` = it does not.
    pub held_until: Option<Instant>,
    /// Votes that make a lease.
    pub majority: usize,
    /// Every voter.
    pub votes: Vec<VoteStatus>,
}

/// One vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VoteStatus {
    /// Whose it is: a node, `witness` or `etcd`.
    pub voter: String,
    /// To whom it is given; `None` = to nobody, or not known.
    pub holder: Option<String>,
    /// For which term.
    pub term: Option<Term>,
    /// Until when, at the latest.
    pub until: Option<Instant>,
}

/// One address of the arbitrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ArbitratorAddressStatus {
    /// The address.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = "ip"))]
    pub address: IpAddr,
    /// When it last answered.
    pub answered: Option<Instant>,
    /// Round-trip time of that answer, in microseconds.
    pub rtt_micros: Option<u64>,
}

/// A group here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct GroupStatus {
    /// Its name.
    pub group: String,
    /// Its role here.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Since when it has this role.
    pub since: Instant,
    /// Why it has this role: the cause of the last change, in words.
    pub cause: String,
    /// The node that is ACTIVE as far as this node knows.
    pub active_node: Option<String>,
    /// What stands between this node and being ACTIVE; empty when ACTIVE.
    pub obstacles: Vec<String>,
    /// It could take over.
    pub able: bool,
    /// Its place in the order of succession: 1 = ACTIVE, then 2, 3, ...; 0 = it cannot take over.
    pub position: u8,
    /// Automatic takeovers within the window.
    pub failovers: u32,
    /// A switchover under way, in words.
    pub switchover: Option<String>,
    /// Its lease; `None` where none is needed.
    pub lease: Option<LeaseStatus>,
    /// Its resources in start order.
    pub resources: Vec<ResourceStatus>,
}

/// A resource here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ResourceStatus {
    /// Its name.
    pub resource: String,
    /// `vip`, `exec`, `lsb` or `systemd`.
    pub kind: String,
    /// `stopped`, `starting`, `started`, `stopping`, `failed` (waits for a restart or for clearing), `stuck` (could not be
    /// stopped).
    pub state: String,
    /// Since when.
    pub since: Instant,
    /// The last failure, in words.
    pub failure: Option<String>,
    /// When that was.
    pub failed: Option<Instant>,
    /// Failures within the restart window.
    pub failures: u32,
    /// Why it could not be started here.
    pub unable: Option<String>,
    /// An operator stopped it.
    pub held: bool,
    /// VIPs: addresses and ranges. Otherwise the command, script or unit.
    pub what: String,
}

/// A ready check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CheckStatus {
    /// Its name.
    pub check: String,
    /// `None` = not seen yet.
    pub ready: Option<bool>,
    /// What was seen.
    pub reason: Option<String>,
    /// When it last changed.
    pub since: Instant,
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HoldStatus {
    /// Which.
    pub hold: HoldKind,
    /// Of which group; `None` = of the whole node.
    pub group: Option<String>,
    /// Since when.
    pub since: Instant,
    /// When it ends by itself.
    pub until: Option<Instant>,
}

/// Something that needs a human.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AlarmStatus {
    /// Since when.
    pub since: Instant,
    /// The sentence.
    pub text: String,
}

/// Facts of the driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DriverStatus {
    /// Version of the daemon.
    pub version: String,
    /// Process number.
    pub pid: u32,
    /// How the heartbeat thread is scheduled, in words.
    pub scheduling: String,
    /// What takes the VIPs away when the daemon cannot, and within which bound, in words.
    pub guard: String,
    /// What each link sent, received, refused and lost, as `LINK COUNTER`.
    pub link_counters: std::collections::BTreeMap<String, u64>,
}
