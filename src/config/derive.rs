//! Timers derived from the failover budget.
//!
//! The operator says how long a failover may take (B). Everything else follows, unless it is set by hand; what is set by hand
//! is taken as it is and the rest follows from *that*. r is the bound on the rate of a clock, `clock_rate_ppm`.
//!
//! | timer | formula | why |
//! | --- | --- | --- |
//! | `failover_budget` B | 1 s, or 10 × `heartbeat_interval` if that is set and gives more | what a telecom operator expects |
//! | `heartbeat_interval` I | B / 10 | then the hold time below fits into three quarters of B |
//! | `dead_time` | 3 × I | two frames may be lost |
//! | `suspect_time` | 1.5 × I | the first late frame, not every bit of jitter |
//! | `probe_interval` | I / 10, at least 1 ms | enough probes between suspicion and death to survive heavy loss |
//! | `arbitrator_timeout` t | I / 2, from 20 ms to 500 ms | a loaded host needs some time to answer, whatever the interval |
//! | `arbitrator_pace` | t | one question ends where the next begins |
//! | `arbitrator_fall` n | 3 | |
//! | `stop_bound` D | B / 5, from 20 ms to 10 s | what an isolated ACTIVE node has to bring its resources down |
//! | `hold_time` | `dead_time`·(1+r) + (n·max(t, pace) + D)·(1+r) + I | below |
//! | `guard_margin` | 17 ms | four ticks of a kernel with 250 Hz: it closes the addresses up to this much early |
//! | `lease_time` | `dead_time`, at least 1.5 I + `guard_margin` + 3 ms | a takeover from a silent peer waits for it, so it is no longer than it must be |
//! | ... with etcd | 3 s | etcd counts whole seconds, at least 2, and chooses a new leader in one or two |
//! | `vip_probe_time` | 8 ms | an owner on a LAN answers within 1 ms; it is asked three times |
//! | `start_grace` | 2 × `dead_time`, at least 1 s | both nodes booted together must have heard each other |
//! | `guard_lifetime` | 2 s, or 1 s for each 200 single VIPs | the kernel counts seconds; 800 refreshes a second are cheap |
//! | `guard_refresh` | `guard_lifetime` / 4 | three refreshes may come late |
//! | `switchover_timeout` | 10 s, or the longest start or stop + 1 s | a slow start is not a failed one |
//! | `fence_delay` | 5 s, none with leases | the ACTIVE node turns the other one off first; with leases only a majority may |
//! | `failback_settle` | 60 s, at least `start_grace` | a node that comes and goes must not pull the group along |
//!
//! **The hold time.** The standby heard its last frame at time 0. The cut may have let the ACTIVE node hear one frame more: up to
//! I later, because links are two-way and a frame that says "I do not hear you" counts as silence. From there the ACTIVE node needs
//! its dead time, n unanswered questions and D until it owns nothing. Both clocks may be wrong by r, in opposite
//! directions. A takeover without consent and without proof waits for the sum, rounded up to whole milliseconds. With
//! proof (every path asked, only the arbitrator answered) it does not wait, so B is the bound for the worst case only.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::value::format_duration;
use super::{Authority, Config, ResourceKind, Timers};

/// A timer is a duration or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerValue {
    /// A duration.
    Time(Duration),
    /// A number.
    Count(u32),
}

impl fmt::Display for TimerValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => f.pad(&format_duration(*time)),
            Self::Count(count) => f.pad(&count.to_string()),
        }
    }
}

impl Serialize for TimerValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One timer as `avamgr check` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimerLine {
    /// Its name in the file.
    pub name: &'static str,
    /// Its value.
    pub value: TimerValue,
    /// Whether somebody wrote it down.
    pub by_hand: bool,
    /// The formula it follows unless set.
    pub formula: &'static str,
}

impl TimerLine {
    /// `set`, `default` or `derived: failover_budget / 10`.
    pub fn origin(&self) -> String {
        match self.formula {
            _ if self.by_hand => "set".to_owned(),
            constant if is_constant(constant) => "default".to_owned(),
            formula => format!("derived: {formula}"),
        }
    }
}

/// All timers with their values and where these come from, in the order in which they follow from each other.
pub fn describe_timers(config: &Config) -> Vec<TimerLine> {
    let mut timers = config.timers.clone();
    let line = |rule: &Rule| TimerLine {
        name: rule.name,
        value: rule.field.get(&mut timers),
        by_hand: config.by_hand.contains(rule.name),
        formula: rule.formula,
    };
    RULES.iter().map(line).collect()
}

/// The formula of a timer.
pub(super) fn formula(name: &str) -> Option<&'static str> {
    RULES.iter().find(|rule| rule.name == name).map(|rule| rule.formula)
}

/// Whether a formula is nothing but a value.
pub(super) fn is_constant(formula: &str) -> bool {
    formula.starts_with(|c: char| c.is_ascii_digit()) && !formula.contains(' ')
}

/// What timers follow from besides each other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    /// Single virtual addresses: each is refreshed by itself.
    pub(super) vips: usize,
    /// The longest start or stop of a resource.
    pub(super) longest_step: Duration,
    /// A majority decides who may act.
    pub(super) leases: bool,
    /// Leases are held by etcd.
    pub(super) etcd: bool,
}

impl Facts {
    pub(super) fn of(config: &Config) -> Self {
        let resources = || config.groups.iter().flat_map(|group| &group.resources);
        let vips = |kind: &ResourceKind| match kind {
            ResourceKind::Vip(vip) => vip.addresses.len(),
            ResourceKind::Exec(_) | ResourceKind::Lsb(_) | ResourceKind::Systemd(_) => 0,
        };
        Self {
            vips: resources().map(|resource| vips(&resource.kind)).sum(),
            longest_step: resources()
                .map(|resource| resource.start_timeout.max(resource.stop_timeout))
                .max()
                .unwrap_or_default(),
            leases: config.authority != Authority::Ping,
            etcd: config.authority == Authority::Etcd,
        }
    }
}

/// A timer's place in [`Timers`].
#[derive(Clone, Copy)]
enum Field {
    Time(fn(&mut Timers) -> &mut Duration, fn(&Timers, &Facts) -> Duration),
    Count(fn(&mut Timers) -> &mut u32, u32),
}

impl Field {
    fn get(self, timers: &mut Timers) -> TimerValue {
        match self {
            Self::Time(field, _) => TimerValue::Time(*field(timers)),
            Self::Count(field, _) => TimerValue::Count(*field(timers)),
        }
    }

    fn set(self, timers: &mut Timers, value: TimerValue) {
        match (self, value) {
            (Self::Time(field, _), TimerValue::Time(time)) => *field(timers) = time,
            (Self::Count(field, _), TimerValue::Count(count)) => *field(timers) = count,
            (Self::Time(..), TimerValue::Count(_)) | (Self::Count(..), TimerValue::Time(_)) => {
                debug_assert!(false, "the reader gives each timer its own type");
            }
        }
    }

    fn derive(self, timers: &mut Timers, facts: &Facts) {
        match self {
            Self::Time(field, derive) => {
                let time = derive(timers, facts);
                *field(timers) = time;
            }
            Self::Count(field, count) => *field(timers) = count,
        }
    }
}

/// How one timer comes to its value.
struct Rule {
    name: &'static str,
    field: Field,
    formula: &'static str,
    /// The timers in the formula; they stand further up.
    from: &'static [&'static str],
}

const fn time(
    name: &'static str,
    field: fn(&mut Timers) -> &mut Duration,
    formula: &'static str,
    from: &'static [&'static str],
    derive: fn(&Timers, &Facts) -> Duration,
) -> Rule {
    Rule { name, field: Field::Time(field, derive), formula, from }
}

const fn count(name: &'static str, field: fn(&mut Timers) -> &mut u32, value: u32, formula: &'static str) -> Rule {
    Rule { name, field: Field::Count(field, value), formula, from: &[] }
}

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Every timer of [`Timers`], each after those it follows from.
static RULES: [Rule; 25] = [
    time(
        "failover_budget",
        |t| &mut t.failover_budget,
        "max(1s, 10 x heartbeat_interval if set)",
        &[],
        |t, _| {
            // Before it is derived the interval is zero unless set by hand.
            SECOND.max(t.heartbeat_interval * 10)
        },
    ),
    time(
        "heartbeat_interval",
        |t| &mut t.heartbeat_interval,
        "failover_budget / 10",
        &["failover_budget"],
        |t, _| whole_millis(t.failover_budget / 10),
    ),
    time(
        "suspect_time",
        |t| &mut t.suspect_time,
        "1.5 x heartbeat_interval",
        &["heartbeat_interval"],
        |t, _| t.heartbeat_interval * 3 / 2,
    ),
    time(
        "dead_time",
        |t| &mut t.dead_time,
        "3 x heartbeat_interval",
        &["heartbeat_interval"],
        |t, _| t.heartbeat_interval * 3,
    ),
    time(
        "probe_interval",
        |t| &mut t.probe_interval,
        "max(1ms, heartbeat_interval / 10)",
        &["heartbeat_interval"],
        |t, _| MS.max(t.heartbeat_interval / 10),
    ),
    count("link_rise", |t| &mut t.link_rise, 3, "3"),
    time(
        "arbitrator_timeout",
        |t| &mut t.arbitrator_timeout,
        "heartbeat_interval / 2, from 20ms to 500ms",
        &["heartbeat_interval"],
        |t, _| (t.heartbeat_interval / 2).clamp(MS * 20, MS * 500),
    ),
    time(
        "arbitrator_pace",
        |t| &mut t.arbitrator_pace,
        "arbitrator_timeout",
        &["arbitrator_timeout"],
        |t, _| t.arbitrator_timeout,
    ),
    time("arbitrator_interval", |t| &mut t.arbitrator_interval, "1s", &[], |_, _| SECOND),
    count("arbitrator_fall", |t| &mut t.arbitrator_fall, 3, "3"),
    count("arbitrator_rise", |t| &mut t.arbitrator_rise, 2, "2"),
    time("vip_probe_time", |t| &mut t.vip_probe_time, "8ms", &[], |_, _| MS * 8),
    time(
        "stop_bound",
        |t| &mut t.stop_bound,
        "failover_budget / 5, from 20ms to 10s",
        &["failover_budget"],
        |t, _| whole_millis(t.failover_budget / 5).clamp(MS * 20, SECOND * 10),
    ),
    count("clock_rate_ppm", |t| &mut t.clock_rate_ppm, 1_000, "1000"),
    time("hold_time", |t| &mut t.hold_time, HOLD_FORMULA, HOLD_FROM, |t, _| hold_bound(t)),
    time("guard_margin", |t| &mut t.guard_margin, "17ms", &[], |_, _| MS * 17),
    time(
        "lease_time",
        |t| &mut t.lease_time,
        "max(dead_time, 1.5 x heartbeat_interval + guard_margin + 3ms), with etcd 3s",
        &["dead_time", "heartbeat_interval", "guard_margin"],
        |t, facts| match facts.etcd {
            true => SECOND * 3,
            false => t.dead_time.max(t.heartbeat_interval * 3 / 2 + t.guard_margin + MS * 3),
        },
    ),
    time(
        "start_grace",
        |t| &mut t.start_grace,
        "max(1s, 2 x dead_time)",
        &["dead_time"],
        |t, _| SECOND.max(t.dead_time * 2),
    ),
    time(
        "guard_lifetime",
        |t| &mut t.guard_lifetime,
        "max(2s, 1s for each 200 single VIPs)",
        &[],
        |_, facts| {
            let seconds = u64::try_from(facts.vips.div_ceil(200)).unwrap_or(u64::MAX);
            Duration::from_secs(seconds.max(2))
        },
    ),
    time(
        "guard_refresh",
        |t| &mut t.guard_refresh,
        "guard_lifetime / 4",
        &["guard_lifetime"],
        |t, _| t.guard_lifetime / 4,
    ),
    time("announce_delay", |t| &mut t.announce_delay, "1s", &[], |_, _| SECOND),
    time("announce_refresh", |t| &mut t.announce_refresh, "1m", &[], |_, _| SECOND * 60),
    time(
        "switchover_timeout",
        |t| &mut t.switchover_timeout,
        "max(10s, longest start or stop + 1s)",
        &[],
        |_, facts| (SECOND * 10).max(facts.longest_step + SECOND),
    ),
    time(
        "failback_settle",
        |t| &mut t.failback_settle,
        "max(1m, start_grace)",
        &["start_grace"],
        |t, _| (SECOND * 60).max(t.start_grace),
    ),
    time(
        "fence_delay",
        |t| &mut t.fence_delay,
        "5s, or 0s with the authority lease",
        &[],
        |_, facts| if facts.leases { Duration::ZERO } else { SECOND * 5 },
    ),
];

/// The hold time's formula, for humans.
pub(super) const HOLD_FORMULA: &str = "(dead_time + arbitrator_fall x max(arbitrator_timeout, arbitrator_pace) + stop_bound) \
     x (1 + clock_rate_ppm / 1000000) + heartbeat_interval";

/// The timers in it.
pub(super) const HOLD_FROM: &[&str] = &[
    "dead_time",
    "arbitrator_fall",
    "arbitrator_timeout",
    "arbitrator_pace",
    "stop_bound",
    "clock_rate_ppm",
    "heartbeat_interval",
];

/// How long a silent peer may go on being ACTIVE, in whole milliseconds.
pub(super) fn hold_bound(t: &Timers) -> Duration {
    let asking = t.arbitrator_timeout.max(t.arbitrator_pace) * t.arbitrator_fall;
    let nanos = (t.dead_time + asking + t.stop_bound).as_nanos();
    let slow_clock = nanos + (nanos * u128::from(t.clock_rate_ppm)).div_ceil(1_000_000);
    let millis = (slow_clock + t.heartbeat_interval.as_nanos()).div_ceil(MS.as_nanos());
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// Down to whole milliseconds: `105ms`, not `105.3ms`.
fn whole_millis(time: Duration) -> Duration {
    MS * u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// All timers: those given as they are, the others by their formulas.
pub(super) fn derive<'a>(given: impl Fn(&str) -> Option<&'a TimerValue>, facts: &Facts) -> Timers {
    let mut timers = nothing();
    for rule in &RULES {
        if let Some(value) = given(rule.name) {
            rule.field.set(&mut timers, *value);
        }
    }
    for rule in RULES.iter().filter(|rule| given(rule.name).is_none()) {
        rule.field.derive(&mut timers, facts);
    }
    timers
}

/// Those timers that follow from some others, these included.
pub(super) fn affected<'n>(names: impl Iterator<Item = &'n str>, given: impl Fn(&str) -> bool) -> Vec<&'n str> {
    let mut affected: Vec<&str> = names.collect();
    for rule in RULES.iter().filter(|rule| !given(rule.name)) {
        let follows = rule.from.iter().any(|from| affected.contains(from));
        if follows && !affected.contains(&rule.name) {
            affected.push(rule.name);
        }
    }
    affected
}

fn nothing() -> Timers {
    Timers {
        failover_budget: Duration::ZERO,
        heartbeat_interval: Duration::ZERO,
        suspect_time: Duration::ZERO,
        dead_time: Duration::ZERO,
        probe_interval: Duration::ZERO,
        link_rise: 0,
        arbitrator_timeout: Duration::ZERO,
        arbitrator_pace: Duration::ZERO,
        arbitrator_interval: Duration::ZERO,
        arbitrator_fall: 0,
        arbitrator_rise: 0,
        vip_probe_time: Duration::ZERO,
        stop_bound: Duration::ZERO,
        hold_time: Duration::ZERO,
        lease_time: Duration::ZERO,
        guard_margin: Duration::ZERO,
        start_grace: Duration::ZERO,
        guard_lifetime: Duration::ZERO,
        guard_refresh: Duration::ZERO,
        announce_delay: Duration::ZERO,
        announce_refresh: Duration::ZERO,
        switchover_timeout: Duration::ZERO,
        failback_settle: Duration::ZERO,
        fence_delay: Duration::ZERO,
        clock_rate_ppm: 0,
    }
}

#[cfg(test)]
mod tests;
