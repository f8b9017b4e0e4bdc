//! Everything that can stand between a node and being ACTIVE, with its sentence: `avamgr why` prints what the decision
//! itself goes by.

use crate::cluster::{CheckId, NodeId, ResourceId, Role, Term};
use crate::config::Config;
use crate::node::event::HoldKind;
use crate::node::input::VipOwner;
use crate::time::Instant;

const FUTURE_TERM: &str = "no number of takeovers leads to the term that this node knows, its state was damaged: `avamgr term \
                           reset` goes on from that of the others";
const OTHER_VOTERS: &str = "counts other voters than this node: make cluster.nodes, authority and [witness] equal and restart the \
                            daemon that has the old ones (`avamgr voters confirm` vouches for one that is off)";
const VOTERS_CHANGED: &str = "the voters are others than when this node left: every other node has to say that it counts the same \
                              ones (`avamgr voters confirm` vouches for those that are off)";

/// How far the fencing of a node is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum FenceStanding {
    /// It has not begun.
    Due,
    /// Not by this run, which has never heard it and has no addresses to ask for.
    Unheard,
    UnderWay {
        since: Instant,
    },
    Failed {
        reason: String,
        next: Instant,
    },
}

/// One thing that stands between a node and being ACTIVE.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Obstacle {
    Faulty,
    Held(HoldKind),
    ShuttingDown,
    Leaving,
    ResourceUnable { resource: ResourceId, reason: String },
    ResourceNotSeen { resource: ResourceId },
    ResourceStuck { resource: ResourceId, reason: String },
    CheckNotReady { check: CheckId, reason: String },
    CheckNotSeen { check: CheckId },
    TermNotOnDisk { error: Option<String> },
    TermFromFuture { ours: Term, theirs: Term },
    OtherConfig { peer: NodeId },
    NotFenced { peer: NodeId, standing: FenceStanding },
    OtherVoters { peer: NodeId },
    VotersChanged,
    PeerHolds { peer: NodeId, role: Role },
    PeerHasAddresses { peer: NodeId },
    PeerFirst { peer: NodeId },
    LeftTo { peer: NodeId },
    WaitingForPeer { peer: NodeId, until: Instant },
    PeerSuspect { peer: NodeId },
    OneWay { peer: NodeId },
    ArbitratorNotAsked,
    Isolated,
    VipAnswered(VipOwner),
    VipNotAsked { error: Option<String> },
    HoldTime { peer: NodeId, until: Instant },
    Abstaining { until: Instant },
    Promised { voter: NodeId, holder: NodeId, until: Instant },
    NoMajority { needed: usize, until: Instant },
    TooFewVoters { present: usize, needed: usize, of: usize },
}

impl Obstacle {
    /// It goes away by itself right after the start.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::ResourceNotSeen { .. } | Self::CheckNotSeen { .. } | Self::TermNotOnDisk { error: None } => true,
            Self::Faulty | Self::Held(_) | Self::ShuttingDown | Self::Leaving => false,
            Self::TermNotOnDisk { error: Some(_) } => false,
            Self::ResourceUnable { .. } | Self::ResourceStuck { .. } => false,
            Self::CheckNotReady { .. } | Self::PeerHolds { .. } => false,
            Self::PeerHasAddresses { .. } | Self::OtherConfig { .. } => false,
            Self::PeerFirst { .. } | Self::LeftTo { .. } | Self::WaitingForPeer { .. } => false,
            Self::TooFewVoters { .. } | Self::OtherVoters { .. } | Self::VotersChanged => false,
            Self::TermFromFuture { .. } | Self::NotFenced { .. } => false,
            Self::Abstaining { .. } | Self::Promised { .. } | Self::NoMajority { .. } => false,
            Self::PeerSuspect { .. } | Self::OneWay { .. } | Self::ArbitratorNotAsked | Self::Isolated => false,
            Self::VipAnswered(_) | Self::VipNotAsked { .. } | Self::HoldTime { .. } => false,
        }
    }

    /// It is there because a node is not known to be off, or goes away when it is.
    pub(super) fn waits_for_fence(&self) -> bool {
        let asks = matches!(self, Self::VipAnswered(_) | Self::VipNotAsked { .. } | Self::HoldTime { .. });
        asks || matches!(self, Self::NotFenced { .. }) || self.is_rank()
    }

    /// Somebody answers for the addresses, or that is not known.
    pub(super) fn is_about_addresses(&self) -> bool {
        matches!(self, Self::VipAnswered(_) | Self::VipNotAsked { .. })
    }

    /// A node could not be turned off, and it is not time to try again.
    pub(super) fn has_failed(&self, now: Instant) -> bool {
        matches!(self, Self::NotFenced { standing: FenceStanding::Failed { next, .. }, .. } if now < *next)
    }

    /// It decides who begins, and does not stand in the way of a claim that has begun.
    pub(super) fn is_rank(&self) -> bool {
        let first = matches!(self, Self::PeerFirst { .. } | Self::Promised { .. });
        first || matches!(self, Self::NoMajority { .. } | Self::TooFewVoters { .. })
    }

    /// For humans.
    pub(super) fn sentence(&self, config: &Config, now: Instant) -> String {
        let left = |until: &Instant| format!("{} ms", until.since(now).as_millis());
        let node = |id: &NodeId| config.node_name(*id).to_owned();
        match self {
            Self::Faulty => {
                "a resource failed here and its failures are not forgotten yet (resource clear forgets them)".into()
            }
            Self::Held(hold) => held(*hold).into(),
            Self::Leaving => "the daemon is being upgraded".into(),
            Self::ShuttingDown => "the daemon is stopping".into(),
            Self::ResourceUnable { resource, reason } => format!("{}: {reason}", config.resource_name(*resource)),
            Self::ResourceNotSeen { resource } => {
                format!("{}: not looked at yet", config.resource_name(*resource))
            }
            Self::ResourceStuck { resource, reason } => {
                format!("{} cannot be stopped: {reason}", config.resource_name(*resource))
            }
            Self::CheckNotReady { check, reason } => format!("{} is not ready: {reason}", config.check_name(*check)),
            Self::CheckNotSeen { check } => format!("{}: not looked at yet", config.check_name(*check)),
            Self::TermNotOnDisk { error: None } => "the next term is being written to disk".into(),
            Self::TermNotOnDisk { error: Some(error) } => format!("the next term cannot be written to disk: {error}"),
            Self::TermFromFuture { ours, theirs } => format!("{FUTURE_TERM} (this node: {ours}, the others: {theirs})"),
            Self::OtherConfig { peer } => format!(
                "{} has another config of this group, so its word on it does not count: make the files equal and restart \
                 the daemon that has the old one",
                node(peer)
            ),
            Self::NotFenced { peer, standing } => not_fenced(&node(peer), standing, now),
            Self::OtherVoters { peer } => format!("{} {OTHER_VOTERS}", node(peer)),
            Self::VotersChanged => VOTERS_CHANGED.into(),
            Self::PeerHolds { peer, role } => format!("{} is {role}", node(peer)),
            Self::PeerHasAddresses { peer } => {
                format!("addresses of the group are on {} (avamgr status there tells why)", node(peer))
            }
            Self::PeerFirst { peer } => format!("{} comes first and is able", node(peer)),
            Self::LeftTo { peer } => format!("the group is being left to {}", node(peer)),
            Self::WaitingForPeer { peer, until } => format!("{} may still speak up, for {}", node(peer), left(until)),
            Self::PeerSuspect { peer } => format!("{} is late, not silent yet", node(peer)),
            Self::OneWay { peer } => format!("{} is heard but does not hear us", node(peer)),
            Self::ArbitratorNotAsked => "the arbitrator has not answered since the peer's last sign of life".into(),
            Self::Isolated => "isolated: every link is silent and the arbitrator does not answer".into(),
            Self::VipAnswered(owner) => format!("{} answers for {}", owner.mac, owner.address),
            Self::VipNotAsked { error: None } => "the service network is being asked who owns the addresses".into(),
            Self::VipNotAsked { error: Some(error) } => {
                format!("the service network cannot be asked who owns the addresses: {error}")
            }
            Self::HoldTime { peer, until } => {
                format!("{} may still be ACTIVE, for {} (hold time)", node(peer), left(until))
            }
            Self::Abstaining { until } => {
                format!("just started, it may have promised its vote before: it gives none for {}", left(until))
            }
            Self::Promised { voter, holder, until } => {
                format!("{} has promised its vote to {}, for {}", node(voter), node(holder), left(until))
            }
            Self::TooFewVoters { .. } if config.etcd.is_some() => {
                "etcd does not answer: nobody else gives the lease".into()
            }
            Self::TooFewVoters { present, needed, of } => {
                format!("{present} of {of} voters are there, this node among them; {needed} are needed")
            }
            Self::NoMajority { until, .. } if config.etcd.is_some() => {
                format!("etcd did not give the lease in time; the next attempt begins in {}", left(until))
            }
            Self::NoMajority { needed, until } => format!(
                "the last attempt did not find {needed} of {} voters; the next one begins in {}",
                config.voters(),
                left(until)
            ),
        }
    }
}

fn not_fenced(peer: &str, standing: &FenceStanding, now: Instant) -> String {
    match standing {
        FenceStanding::Due => format!("{peer} is not heard and has to be turned off first"),
        FenceStanding::Unheard => format!(
            "{peer} was never heard by this daemon, which may be the one that is cut off: it turns nobody off where there is no address \
             to ask for (`avamgr fence now {peer}` does it, `avamgr fence confirm {peer}` when you have seen to it yourself)"
        ),
        FenceStanding::UnderWay { since } => {
            format!("{peer} is being turned off, for {} ms so far", now.since(*since).as_millis())
        }
        FenceStanding::Failed { reason, next } => format!(
            "{peer} could not be turned off: {reason}; tried again in {} ms (`avamgr fence confirm {peer}` when you have seen to \
             it yourself)",
            next.since(now).as_millis()
        ),
    }
}

fn held(hold: HoldKind) -> &'static str {
    match hold {
        HoldKind::Offline => "an operator took this node offline (online lets it take part again)",
        HoldKind::Maintenance => "maintenance is on (maintenance off ends it)",
        HoldKind::Fenced => "another node had this one turned off (fence clear there ends it)",
        HoldKind::Flap => "too many automatic takeovers (online lifts the hold)",
    }
}
