//! Every duration of the system, and the limits on what happens by itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::value;

/// Every duration of the system. `failover_budget` is set by the operator, the others are derived from it unless set.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Timers {
    /// From the last sign of life of an ACTIVE node to its successor being ACTIVE.
    #[serde(with = "value::as_text")]
    pub failover_budget: Duration,
    /// Between two heartbeats on one link.
    #[serde(with = "value::as_text")]
    pub heartbeat_interval: Duration,
    /// Silence after which a link is suspect: the first late frame.
    #[serde(with = "value::as_text")]
    pub suspect_time: Duration,
    /// Silence after which a link is down.
    #[serde(with = "value::as_text")]
    pub dead_time: Duration,
    /// Between two probes of a suspect peer.
    #[serde(with = "value::as_text")]
    pub probe_interval: Duration,
    /// Frames heard in a row before a link that was down is up again.
    pub link_rise: u32,
    /// How long one question to the arbitrator may go unanswered.
    #[serde(with = "value::as_text")]
    pub arbitrator_timeout: Duration,
    /// Between two questions to the arbitrator while a peer is suspect or silent.
    #[serde(with = "value::as_text")]
    pub arbitrator_pace: Duration,
    /// Between two questions to the arbitrator while all is well.
    #[serde(with = "value::as_text")]
    pub arbitrator_interval: Duration,
    /// Unanswered questions in a row before the arbitrator is unreachable.
    pub arbitrator_fall: u32,
    /// Answered questions in a row before it is reachable again.
    pub arbitrator_rise: u32,
    /// How long a VIP probe waits for an owner to answer.
    #[serde(with = "value::as_text")]
    pub vip_probe_time: Duration,
    /// Bound for bringing every resource down when isolated: after it, what still runs is killed.
    #[serde(with = "value::as_text")]
    pub stop_bound: Duration,
    /// How long a silent peer may go on being ACTIVE: takeover without its consent waits this long after its last sign of
    /// life, unless every path was asked and only the arbitrator answered.
    #[serde(with = "value::as_text")]
    pub hold_time: Duration,
    /// How long a majority's promise to an ACTIVE node lasts: it serves no longer than this after the sending of its last
    /// acknowledged renewal, and nobody else may before.
    #[serde(with = "value::as_text")]
    pub lease_time: Duration,
    /// After the daemon's start: how long to wait for a peer's first frame before it counts as silent.
    #[serde(with = "value::as_text")]
    pub start_grace: Duration,
    /// Lifetime of each VIP in the kernel, whole seconds: it disappears by itself this long after the last refresh.
    #[serde(with = "value::as_text")]
    pub guard_lifetime: Duration,
    /// Between two refreshes of the VIP lifetimes.
    #[serde(with = "value::as_text")]
    pub guard_refresh: Duration,
    /// How much earlier than the lease the kernel's guard may close the addresses, because the kernel counts in ticks.
    #[serde(with = "value::as_text")]
    pub guard_margin: Duration,
    /// From activation to the second burst of announcements.
    #[serde(with = "value::as_text")]
    pub announce_delay: Duration,
    /// Between two slow repetitions of the announcement; zero = never.
    #[serde(with = "value::as_text")]
    pub announce_refresh: Duration,
    /// How far a switchover may go without progress before it is rolled back.
    #[serde(with = "value::as_text")]
    pub switchover_timeout: Duration,
    /// How long the preferred node must have been healthy before a group goes back to it by itself.
    #[serde(with = "value::as_text")]
    pub failback_settle: Duration,
    /// How long a node that is not ACTIVE waits before it turns a silent one off, so that the ACTIVE one does so first and
    /// two never do it to each other.
    #[serde(with = "value::as_text")]
    pub fence_delay: Duration,
    /// Bound on the error of a clock's rate, in parts per million.
    pub clock_rate_ppm: u32,
}

/// Limits on what may happen automatically.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// Automatic takeovers of one group on one node within `failover_window` before it is held.
    pub failovers: u32,
    /// The window of `failovers`.
    #[serde(with = "value::as_text")]
    pub failover_window: Duration,
    /// Difference of wall clocks between two nodes that raises an alarm.
    #[serde(with = "value::as_text")]
    pub clock_offset: Duration,
}
