//! What must survive a restart, and how far it is on disk.
//!
//! Terms are reserved ahead: the disk holds a ceiling no used term is above, so a takeover never waits for the disk, and a
//! restarted node starts above everything it may have used.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{GroupId, Term};
use crate::node::Node;
use crate::node::action::{Action, Durable};
use crate::node::event::Fact;
use crate::node::group::Group;
use crate::node::voters::DOUBTED;
use crate::time::Instant;

/// Terms reserved at once: a write every so many takeovers.
const RESERVE: u64 = 16;
/// Between two attempts to write to a disk that refused.
const RETRY: Duration = Duration::from_secs(1);

/// The state on disk and the write under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Persistence {
    on_disk: Durable,
    in_flight: Option<(u64, Durable)>,
    /// What is on disk may be what was written last, or what was there before.
    unsure: bool,
    order: u64,
    pub(super) failed: Option<String>,
    retry: Instant,
}

impl Persistence {
    pub(super) fn new(on_disk: Durable) -> Self {
        Self { on_disk, in_flight: None, unsure: false, order: 0, failed: None, retry: Instant::BOOT }
    }

    /// The highest term of a group that may be used.
    pub(super) fn ceiling(&self, group: GroupId) -> Term {
        self.on_disk.terms.get(&group).copied().unwrap_or_default()
    }

    /// The longest promise that may be made: the next run will know of it, whether or not the write under way gets to the disk.
    pub(super) fn promised(&self) -> Duration {
        let written = self.in_flight.as_ref().map(|(_, durable)| durable.promised);
        written.map_or(self.on_disk.promised, |written| written.min(self.on_disk.promised))
    }

    /// The answer to the write under way will not come: it is ordered again.
    pub(super) fn forget_write(&mut self) {
        if let Some((_, durable)) = self.in_flight.take() {
            self.unsure = true;
            self.trust_the_less(&durable);
        }
    }

    /// A write may have got to the disk or not: the next run knows of the shorter promise at least.
    fn trust_the_less(&mut self, written: &Durable) {
        self.on_disk.promised = self.on_disk.promised.min(written.promised);
    }

    /// A write is under way.
    pub(super) fn is_writing(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The term on disk is damaged: what is used next is written anew first.
    pub(super) fn forget_term(&mut self, group: GroupId) {
        self.on_disk.terms.remove(&group);
        // What is being written has it too, and would be believed when it is there.
        self.forget_write();
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.failed.is_some() && self.in_flight.is_none()).then_some(self.retry)
    }
}

impl Node {
    /// Orders a write when what should be on disk is not.
    pub(super) fn keep_durable(&mut self) {
        if self.now >= self.long_promises_end {
            self.longest_promise = self.config.timers.lease_time;
        }
        let waiting = self.persistence.failed.is_some() && self.now < self.persistence.retry;
        if self.persistence.in_flight.is_some() || waiting {
            return;
        }
        let group_short =
            |group: &Group| group.seen_term.0.saturating_add(RESERVE / 2) > self.persistence.ceiling(group.id).0;
        let on_disk = &self.persistence.on_disk;
        let offline = self.offline.map(|(_, offline)| offline);
        let maintenance = self.maintenance.is_some();
        let promised = if self.votes() { self.longest_promise } else { on_disk.promised };
        let counted = self.voters_settled && !self.config.standalone;
        let contradicted = self.peers.values().any(|peer| peer.voters_match == Some(false));
        let voters = match (counted, contradicted) {
            (true, _) => Some(self.voters),
            // Another run of this node shall know of it, even if it hears nobody.
            (false, true) => Some(DOUBTED),
            (false, false) => on_disk.voters,
        };
        let same = on_disk.offline == offline
            && on_disk.maintenance == maintenance
            && on_disk.promised == promised
            && on_disk.voters == voters
            && on_disk.fenced == *self.fencing.outcasts();
        // After a failure something is written even if nothing has changed: only that shows that the disk works again.
        let sure = self.persistence.failed.is_none() && !self.persistence.unsure;
        if same && sure && !self.groups.iter().any(group_short) {
            return;
        }
        let fenced = self.fencing.outcasts().clone();
        let mut durable = Durable { offline, maintenance, promised, voters, fenced, ..on_disk.clone() };
        for group in self.groups.iter().filter(|group| group_short(group)) {
            durable.terms.insert(group.id, Term(group.seen_term.0.saturating_add(RESERVE)));
        }
        self.persistence.unsure = false;
        self.persistence.order += 1;
        let order = self.persistence.order;
        self.persistence.in_flight = Some((order, durable.clone()));
        self.outbox.push_back(Action::Persist { order, durable });
    }

    pub(super) fn on_persisted(&mut self, order: u64, result: Result<(), String>) {
        let Some((_, durable)) = self.persistence.in_flight.take_if(|(wanted, _)| *wanted == order) else { return };
        match result {
            Ok(()) => {
                self.persistence.on_disk = durable;
                self.persistence.failed = None;
                self.alarm(false, Fact::PersistFailed { error: String::new() }, Fact::PersistRecovered);
            }
            Err(error) => {
                self.persistence.trust_the_less(&durable);
                self.persistence.retry = self.now + RETRY;
                self.persistence.failed = Some(error.clone());
                self.alarm(true, Fact::PersistFailed { error }, Fact::PersistRecovered);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRE: GroupId = GroupId(0);

    fn durable(promised: u64, term: u64) -> Durable {
        let terms = [(DRE, Term(term))].into();
        Durable { promised: Duration::from_millis(promised), terms, ..Durable::default() }
    }

    /// On disk is one state, and another one is being written.
    fn writing(before: u64, written: u64) -> Persistence {
        let mut persistence = Persistence::new(durable(before, 16));
        persistence.in_flight = Some((1, durable(written, 32)));
        persistence
    }

    #[test]
    fn no_promise_is_made_that_the_next_run_may_not_know_of() {
        for (before, written) in [(300, 5_000), (5_000, 300)] {
            assert_eq!(writing(before, written).promised(), Duration::from_millis(300));
        }
    }

    #[test]
    fn a_write_whose_end_nobody_saw_counts_for_the_shorter_promise() {
        for (before, written) in [(300, 5_000), (5_000, 300)] {
            let mut persistence = writing(before, written);
            persistence.forget_write();
            assert_eq!(persistence.promised(), Duration::from_millis(300));
            assert!(persistence.unsure && !persistence.is_writing());
            assert_eq!(persistence.ceiling(DRE), Term(16));
        }
    }

    #[test]
    fn without_a_write_there_is_nothing_to_doubt() {
        let mut persistence = Persistence::new(durable(300, 16));
        persistence.forget_write();
        assert!(!persistence.unsure);
    }

    #[test]
    fn a_damaged_term_is_not_believed_from_the_write_under_way() {
        let mut persistence = writing(300, 300);
        persistence.forget_term(DRE);
        assert_eq!(persistence.ceiling(DRE), Term::default());
        assert!(!persistence.is_writing() && persistence.unsure);
    }
}
