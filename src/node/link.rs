//! Health of one link to one peer, judged from arrivals.
//!
//! A link is *up* when we hear the peer and the peer says it hears us. It becomes *suspect* at the first late frame and
//! *down* after the dead time, or at once when the carrier or the peer's port is gone.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Timers;
use crate::node::bearers::Bearers;
use crate::node::event::LinkDownCause;
use crate::time::Instant;
use crate::wire::Heartbeat;

/// Frames the loss is counted over; fits the bits of a `u128`.
const LOSS_WINDOW: u32 = 100;

/// Up or not, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum LinkState {
    /// Both sides hear each other.
    Up,
    /// The next frame is late.
    Suspect,
    /// Not usable.
    Down(LinkDownCause),
}

/// One link to one peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) state: LinkState,
    pub(super) since: Instant,
    /// Arrival of the last fresh frame.
    pub(super) heard: Option<Instant>,
    /// The peer may be silent for this long after it, and is not dead then.
    pub(super) absence: Duration,
    /// One of us was absent until then, as announced: what was heard before is heard still.
    pub(super) excused: Instant,
    /// Fresh frames since the link went down.
    streak: u32,
    pub(super) peer_hears_us: bool,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) late: u64,
    /// Refused frames by cause.
    pub(super) refused: BTreeMap<Cow<'static, str>, u64>,
    /// Highest sequence taken from the peer's present incarnation.
    last_sequence: u64,
    /// `sent_nanos` of the last fresh frame, to be echoed.
    pub(super) echo_nanos: u64,
    /// When we began to probe on this link after the last sign of life.
    pub(super) probing_since: Option<Instant>,
    /// When we last sent a frame that was not due by the interval.
    pub(super) extra_sent: Instant,
    pub(super) rtt: Option<Duration>,
    pub(super) jitter: Option<Duration>,
    /// What TIPC says of its ways to the peer.
    #[serde(default)]
    pub(super) bearers: Bearers,
    /// One bit a frame, lowest = newest, 1 = arrived.
    arrivals: u128,
    expected: u32,
}

impl Link {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: LinkState::Down(LinkDownCause::Silence),
            since: now,
            heard: None,
            absence: Duration::ZERO,
            excused: Instant::BOOT,
            streak: 0,
            peer_hears_us: false,
            sent: 0,
            received: 0,
            late: 0,
            refused: BTreeMap::new(),
            last_sequence: 0,
            echo_nanos: 0,
            probing_since: None,
            extra_sent: Instant::BOOT,
            rtt: None,
            jitter: None,
            bearers: Bearers::default(),
            arrivals: 0,
            expected: 0,
        }
    }

    /// Whether the two-way state holds, late or not.
    pub(super) fn is_alive(&self) -> bool {
        match self.state {
            LinkState::Up | LinkState::Suspect => true,
            LinkState::Down(_) => false,
        }
    }

    /// What we tell the peer: "I hear you here".
    pub(super) fn hears(&self, now: Instant, timers: &Timers) -> bool {
        let last = |heard: Instant| heard.max(self.excused) + self.absence;
        self.heard.is_some_and(|heard| now.since(last(heard)) < timers.dead_time)
    }

    /// Whether a frame of this number has not been taken yet.
    pub(super) fn is_new(&self, sequence: u64) -> bool {
        sequence > self.last_sequence
    }

    /// The peer's daemon is a new one: its numbers start again.
    pub(super) fn restart(&mut self) {
        self.absence = Duration::ZERO;
        self.last_sequence = 0;
        self.echo_nanos = 0;
        self.arrivals = 0;
        self.expected = 0;
        self.streak = 0;
        // Why the last run was not heard says nothing about the new one.
        if let LinkState::Down(LinkDownCause::Left | LinkDownCause::Refused | LinkDownCause::Unreachable) = self.state {
            self.state = LinkState::Down(LinkDownCause::Restarted);
        }
    }

    pub(super) fn refuse(&mut self, cause: &'static str) {
        *self.refused.entry(Cow::Borrowed(cause)).or_insert(0) += 1;
    }

    /// Takes note of a fresh frame. Returns whether the link came up or went down by it.
    pub(super) fn on_frame(&mut self, arrived: Instant, frame: &Heartbeat, timers: &Timers) -> Option<LinkState> {
        self.measure(arrived, frame);
        let silence = self.heard.map_or(Duration::ZERO, |heard| arrived.since(heard.max(self.excused) + self.absence));
        if silence > timers.suspect_time {
            self.late += 1;
        }
        if silence >= timers.dead_time {
            self.streak = 0;
        }
        self.heard = Some(self.heard.map_or(arrived, |heard| heard.max(arrived)));
        self.last_sequence = frame.sequence;
        self.echo_nanos = frame.sent_nanos;
        self.probing_since = None;
        self.received += 1;
        self.streak = self.streak.saturating_add(1);
        self.peer_hears_us = frame.hears_you;
        match self.state {
            LinkState::Up if frame.hears_you => None,
            LinkState::Suspect if frame.hears_you => self.turn(LinkState::Up, arrived),
            LinkState::Up | LinkState::Suspect => self.turn(LinkState::Down(LinkDownCause::NotHeard), arrived),
            LinkState::Down(_) if frame.hears_you && self.streak >= timers.link_rise => {
                self.turn(LinkState::Up, arrived)
            }
            LinkState::Down(_) => None,
        }
    }

    /// Judges the silence. `floor`: silence before it is our own fault and does not count.
    pub(super) fn judge(&mut self, now: Instant, floor: Instant, timers: &Timers) -> Option<LinkState> {
        let silence = now.since(self.basis(floor));
        match self.state {
            LinkState::Up | LinkState::Suspect if silence >= timers.dead_time => self.down(LinkDownCause::Silence, now),
            LinkState::Up if silence >= timers.suspect_time => self.turn(LinkState::Suspect, now),
            LinkState::Up | LinkState::Suspect | LinkState::Down(_) => None,
        }
    }

    /// When `judge` has something to say next.
    pub(super) fn deadline(&self, floor: Instant, timers: &Timers) -> Option<(Instant, &'static str)> {
        match self.state {
            LinkState::Up => Some((self.basis(floor) + timers.suspect_time, "link suspect")),
            LinkState::Suspect => Some((self.basis(floor) + timers.dead_time, "link dead")),
            LinkState::Down(_) => None,
        }
    }

    /// When silence alone takes the link down.
    pub(super) fn dead_at(&self, floor: Instant, timers: &Timers) -> Option<Instant> {
        self.is_alive().then(|| self.basis(floor) + timers.dead_time)
    }

    /// Takes the link down. `None` when it was down already.
    pub(super) fn down(&mut self, cause: LinkDownCause, now: Instant) -> Option<LinkState> {
        self.streak = 0;
        if self.is_alive() { self.turn(LinkState::Down(cause), now) } else { None }
    }

    /// The peer has said that it may be silent now.
    pub(super) fn is_absent(&self, now: Instant) -> bool {
        self.heard.is_some_and(|heard| now < heard + self.absence)
    }

    /// One of us was absent until now, as announced: nobody is blamed for the silence.
    pub(super) fn excuse(&mut self, now: Instant) {
        if self.is_alive() {
            self.excused = now;
        }
    }

    /// Share of frames lost, of the last 100 expected.
    pub(super) fn loss_percent(&self) -> Option<u8> {
        let window = self.expected.min(LOSS_WINDOW);
        if window == 0 {
            return None;
        }
        let mask = (1_u128 << window) - 1;
        let lost = window - (self.arrivals & mask).count_ones();
        u8::try_from(lost * 100 / window).ok()
    }

    fn basis(&self, floor: Instant) -> Instant {
        (self.heard.unwrap_or(self.since) + self.absence).max(self.excused).max(floor)
    }

    fn turn(&mut self, state: LinkState, now: Instant) -> Option<LinkState> {
        self.state = state;
        self.since = now;
        Some(state)
    }

    /// Loss from gaps, jitter after RFC 3550 §6.4.1, round trip from the echo.
    fn measure(&mut self, arrived: Instant, frame: &Heartbeat) {
        let step = if self.last_sequence == 0 { 1 } else { frame.sequence - self.last_sequence };
        let shift = u32::try_from(step).unwrap_or(u32::MAX).min(LOSS_WINDOW);
        self.arrivals = (self.arrivals << shift) | 1;
        self.expected = (self.expected + shift).min(LOSS_WINDOW);
        if let Some(heard) = self.heard
            && self.echo_nanos != 0
        {
            let distance = i128::from(arrived.as_nanos()) - i128::from(heard.as_nanos());
            let sent = i128::from(frame.sent_nanos) - i128::from(self.echo_nanos);
            let variation = u64::try_from((distance - sent).unsigned_abs()).unwrap_or(u64::MAX);
            self.jitter = Some(smooth(self.jitter, Duration::from_nanos(variation), 16));
        }
        if frame.echo_nanos != 0 {
            let trip = arrived.as_nanos().saturating_sub(frame.echo_nanos).saturating_sub(frame.echo_delay_nanos);
            self.rtt = Some(smooth(self.rtt, Duration::from_nanos(trip), 8));
        }
    }
}

/// Exponential smoothing with weight 1/`weight` for the new value.
fn smooth(old: Option<Duration>, new: Duration, weight: u32) -> Duration {
    match old {
        None => new,
        Some(old) => old - old / weight + new / weight,
    }
}

impl Link {
    /// Frames may still come in: the carrier and the peer's port are there.
    pub(super) fn state_allows_hearing(&self) -> bool {
        match self.state {
            LinkState::Up | LinkState::Suspect => true,
            LinkState::Down(cause) => match cause {
                LinkDownCause::Silence | LinkDownCause::NotHeard | LinkDownCause::Restarted => true,
                LinkDownCause::NoCarrier
                | LinkDownCause::Refused
                | LinkDownCause::Unreachable
                | LinkDownCause::Left => false,
            },
        }
    }
}
