//! What has happened lately.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use avamgr_core::courier::Notice;
use avamgr_core::node::event::Severity;
use avamgr_core::time::Instant;

use crate::clock;

/// More than anybody reads at 3 a.m.
const NOTICES: usize = 50;
/// The same sentence again before this time is no news.
const AGAIN: Duration = Duration::from_secs(300);
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
