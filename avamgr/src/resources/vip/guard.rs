//! The kernel as guard: how long an address lives without us. Pure.
//!
//! Every single address carries a lifetime that is refreshed long before it ends. A daemon that is killed, stopped or
//! starved loses its addresses without anyone's help. The kernel counts whole seconds and comes up to a third of a second
//! late, so an address counts as gone one second after its lifetime. Ranges are routes, which have no lifetime.

use std::time::Duration;

use avamgr_core::config::{Timers, VipConfig};

/// What the expiry may come later than the lifetime says.
const LATE: Duration = Duration::from_secs(1);
/// Of an address on an interface with `n` IPv6 addresses: the kernel goes through the multicast groups of all of them, for
/// a refresh as for an addition (0.5 s for 1,000, 8 s for 4,000; measured with Linux 6.18).
const V6_NANOS_PER_SQUARE: u64 = 500;
/// Refreshing IPv6 addresses may take a fiftieth of one processor.
const V6_SHARE: u64 = 50;
/// More often is no safer.
const REFRESH_MIN: Duration = Duration::from_millis(10);
/// Refreshes that may fail or come late in a row, where we choose the lifetime.
const SPARE: u32 = 3;

/// Lifetime and refresh of the addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rhythm {
    /// Whole seconds.
    pub(super) lifetime: Duration,
    pub(super) refresh: Duration,
}

impl Rhythm {
    /// As configured: the cost grows with the number of addresses, 8 µs each.
    pub(super) fn v4(timers: &Timers) -> Self {
        Self { lifetime: whole_seconds(timers.guard_lifetime), refresh: timers.guard_refresh.max(REFRESH_MIN) }
    }

    /// As configured for up to about a hundred addresses. The cost grows with the square of their number, so that more have
    /// a longer lifetime and fewer refreshes: a guard of minutes is better than a processor that does nothing else.
    pub(super) fn v6(count: usize, timers: &Timers) -> Self {
        let configured = Self::v4(timers);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let round = count.saturating_mul(count).saturating_mul(V6_NANOS_PER_SQUARE);
        let affordable = Duration::from_nanos(round.saturating_mul(V6_SHARE));
        if affordable <= configured.refresh {
            return configured;
        }
        let lifetime = whole_seconds(affordable * SPARE).max(configured.lifetime);
        Self { lifetime, refresh: affordable }
    }

    /// When an address is gone for certain after its last refresh.
    pub(super) fn bound(&self) -> Duration {
        self.lifetime + LATE
    }
}

/// Which guard is in force, for people.
pub fn guard_description(config: &VipConfig, timers: &Timers) -> String {
    let v6 = config.addresses.iter().filter(|net| net.address.is_ipv6()).count();
    let v4 = config.addresses.len() - v6;
    let (v4_rhythm, v6_rhythm) = (Rhythm::v4(timers), Rhythm::v6(v6, timers));
    let mut parts = Vec::new();
    if v4 > 0 && v6 > 0 && v4_rhythm == v6_rhythm {
        parts.push(describe("", v4_rhythm));
    } else {
        if v4 > 0 {
            parts.push(describe(if v6 > 0 { "IPv4: " } else { "" }, v4_rhythm));
        }
        if v6 > 0 {
            parts.push(describe(if v4 > 0 { "IPv6: " } else { "" }, v6_rhythm));
        }
    }
    if !config.ranges.is_empty() {
        parts.push("none for ranges".to_owned());
    }
    parts.join("; ")
}

fn describe(family: &str, rhythm: Rhythm) -> String {
    let bound = show(rhythm.bound());
    let (lifetime, refresh) = (show(rhythm.lifetime), show(rhythm.refresh));
    format!("{family}gone within {bound} of the last refresh (kernel lifetime {lifetime}, refreshed every {refresh})")
}

fn show(duration: Duration) -> String {
    let millis = duration.as_millis();
    match (millis / 1000, millis % 1000) {
        (0, millis) => format!("{millis} ms"),
        (seconds, 0) => format!("{seconds} s"),
        (seconds, millis) => format!("{seconds}.{} s", format!("{millis:03}").trim_end_matches('0')),
    }
}

/// At least one: a lifetime of zero is none at all.
fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs((duration + Duration::from_nanos(999_999_999)).as_secs().max(1))
}

#[cfg(test)]
mod tests;
