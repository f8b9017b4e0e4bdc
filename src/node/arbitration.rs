//! The arbitrator's word: reachable, unreachable or not known yet, and when it was asked.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{ArbitratorConfig, Timers};
use crate::node::action::AskId;
use crate::time::Instant;

/// Questions under way at the same time; more would only say the same.
const IN_FLIGHT_MAX: usize = 8;

/// What we believe of the arbitrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Reachability {
    Unknown,
    Reachable,
    Unreachable,
}

impl Reachability {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Reachable => "reachable",
            Self::Unreachable => "unreachable",
        }
    }
}

/// One address of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(super) struct Address {
    pub(super) answered: Option<Instant>,
    pub(super) rtt: Option<Duration>,
}

/// The arbitrator as seen from here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Arbitrator {
    pub(super) state: Reachability,
    pub(super) addresses: Vec<Address>,
    misses: u32,
    hits: u32,
    in_flight: BTreeMap<AskId, Instant>,
    next_ask: Instant,
    /// When the latest answered question was asked.
    pub(super) answered_asked: Option<Instant>,
    /// When the latest decided question was asked.
    pub(super) decided: Option<Instant>,
}

impl Arbitrator {
    pub(super) fn new(config: &ArbitratorConfig, now: Instant) -> Self {
        Self {
            state: Reachability::Unknown,
            addresses: vec![Address::default(); config.ping.len()],
            misses: 0,
            hits: 0,
            in_flight: BTreeMap::new(),
            next_ask: now,
            answered_asked: None,
            decided: None,
        }
    }

    /// Something has happened that wants an answer now.
    pub(super) fn hurry(&mut self, now: Instant, pace: Duration) {
        self.next_ask = self.next_ask.min(now + pace);
    }

    /// Something has happened that wants an answer at once.
    pub(super) fn at_once(&mut self, now: Instant) {
        self.next_ask = now;
    }

    /// Whether a question is due; takes note that it is asked now.
    pub(super) fn ask(&mut self, id: AskId, now: Instant, pace: Duration) -> bool {
        if now < self.next_ask || self.in_flight.len() >= IN_FLIGHT_MAX {
            return false;
        }
        self.in_flight.insert(id, now);
        self.next_ask = now + pace;
        true
    }

    pub(super) fn deadline(&self, timers: &Timers) -> (Instant, &'static str) {
        let overdue =
            self.in_flight.values().next().map(|asked| (*asked + timers.arbitrator_timeout * 2, "verdict overdue"));
        let full = self.in_flight.len() >= IN_FLIGHT_MAX;
        match overdue {
            Some(overdue) if full || overdue.0 < self.next_ask => overdue,
            Some(_) | None => (self.next_ask, "ask arbitrator"),
        }
    }

    /// Counts questions as unanswered whose verdict never came.
    pub(super) fn give_up(&mut self, now: Instant, timers: &Timers) {
        let overdue: Vec<AskId> = self
            .in_flight
            .iter()
            .filter(|(_, asked)| now >= **asked + timers.arbitrator_timeout * 2)
            .map(|(id, _)| *id)
            .collect();
        for id in overdue {
            self.verdict(id, now, &[], timers);
        }
    }

    /// A question was decided. Unknown questions (of an earlier config, or given up) say nothing.
    pub(super) fn verdict(&mut self, id: AskId, now: Instant, answers: &[Option<Duration>], timers: &Timers) {
        let Some(asked) = self.in_flight.remove(&id) else {
            return;
        };
        self.decided = Some(self.decided.map_or(asked, |decided| decided.max(asked)));
        for (address, answer) in self.addresses.iter_mut().zip(answers) {
            if let Some(rtt) = answer {
                *address = Address { answered: Some(now), rtt: Some(*rtt) };
            }
        }
        if answers.iter().any(Option::is_some) {
            self.misses = 0;
            self.hits = self.hits.saturating_add(1);
            self.answered_asked = Some(self.answered_asked.map_or(asked, |latest| latest.max(asked)));
            if self.hits >= timers.arbitrator_rise || self.state == Reachability::Unknown {
                self.state = Reachability::Reachable;
            }
        } else {
            self.hits = 0;
            self.misses = self.misses.saturating_add(1);
            if self.misses >= timers.arbitrator_fall {
                self.state = Reachability::Unreachable;
            }
        }
    }

    /// After a pause of our own, unanswered questions blame nobody.
    pub(super) fn forgive(&mut self) {
        self.in_flight.clear();
        self.misses = 0;
    }

    /// It is reachable, by a question asked not before `moment`, and no later one has gone unanswered.
    pub(super) fn vouches_since(&self, moment: Instant) -> bool {
        self.state == Reachability::Reachable
            && self.misses == 0
            && self.answered_asked.is_some_and(|asked| asked >= moment)
    }
}
