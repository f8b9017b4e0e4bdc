//! What has happened lately, and what does not go on.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use avamgr_core::courier::{Notice, Trouble};
use avamgr_core::node::event::Severity;
use avamgr_core::time::Instant;

use crate::clock;

/// More than anybody reads at 3 a.m.
const NOTICES: usize = 50;
/// The same sentence again before this time is no news.
const AGAIN: Duration = Duration::from_secs(300);
/// What does not go on is tried again and again; when nothing is heard of it for so long, it goes on.
const OVER: Duration = Duration::from_secs(10);
/// More of them help nobody.
const TROUBLES: usize = 100;

/// A moment of our clock as others are told of it.
pub(super) fn instant(time: Duration) -> Instant {
    Instant::from_nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// What has happened lately; it is in the log too.
#[derive(Default)]
pub(super) struct Notices {
    list: VecDeque<Notice>,
    next: u64,
    said: BTreeMap<String, Duration>,
}

impl Notices {
    pub(super) fn say(&mut self, severity: Severity, text: String) {
        match severity {
            Severity::Info => tracing::info!("{text}"),
            Severity::Warning => tracing::warn!("{text}"),
            Severity::Alarm => tracing::error!("{text}"),
        }
        self.next += 1;
        self.list.push_back(Notice { number: self.next, at: instant(clock::now()), severity, text });
        if self.list.len() > NOTICES {
            self.list.pop_front();
        }
    }

    /// The same sentence is said once in a while only.
    pub(super) fn say_once(&mut self, severity: Severity, text: String) {
        let now = clock::now();
        self.said.retain(|_, at| now.saturating_sub(*at) < AGAIN);
        if self.said.insert(text.clone(), now).is_none() {
            self.say(severity, text);
        }
    }

    pub(super) fn list(&self) -> Vec<Notice> {
        self.list.iter().cloned().collect()
    }
}

/// What does not go on, and why.
#[derive(Default)]
pub(super) struct Troubles(BTreeMap<String, (String, Duration, Duration)>);

impl Troubles {
    pub(super) fn put(&mut self, now: Duration, place: String, why: String) {
        let entry = self.0.entry(place).or_insert_with_key(|place| {
            tracing::warn!("{place}: {why} (it is tried again and again)");
            (String::new(), now, now)
        });
        (entry.0, entry.2) = (why, now);
    }

    pub(super) fn clear(&mut self, place: &str) {
        if self.0.remove(place).is_some() {
            tracing::info!("{place}: it goes on");
        }
    }

    /// Whether one of them is over.
    pub(super) fn forget(&mut self, now: Duration) -> bool {
        let before = self.0.len();
        self.0.retain(|_, (_, _, last)| now.saturating_sub(*last) < OVER);
        self.0.len() < before
    }

    pub(super) fn list(&self) -> (Vec<Trouble>, u64) {
        let all = self.0.iter().map(|(place, (why, since, _))| Trouble {
            place: place.clone(),
            why: why.clone(),
            since: instant(*since),
        });
        let omitted = self.0.len().saturating_sub(TROUBLES);
        (all.take(TROUBLES).collect(), u64::try_from(omitted).unwrap_or(u64::MAX))
    }
}
