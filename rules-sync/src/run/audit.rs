//! Looks again at everything, whatever was heard, and compares it with the peers: what got lost somewhere is found.

use std::collections::VecDeque;
use std::time::Duration;

use avamgr_core::node::event::Severity;

use super::{Run, RunError};
use crate::clock;
use crate::courier::{Courier, Taken};
use crate::manifest::Ask;
use crate::place::Place;

/// So long in one go; what changes meanwhile waits.
const SLICE: Duration = Duration::from_millis(50);
/// Before a peer that is not quiet is asked again what it holds; twice as long each further time,
const AGAIN: Duration = Duration::from_secs(5);
/// but not longer than this: to add up all that is held costs time on both nodes.
const AGAIN_MAX: Duration = Duration::from_secs(40);
/// So often in a row nothing may be on its way and the trees differ, before it is looked into where.
const DOUBTS: u32 = 2;

/// What is still to be looked at.
pub(super) struct Audit {
    due: Duration,
    /// Places, and whether every file there is read.
    queue: VecDeque<(Place, bool)>,
    /// When peers are asked what they hold.
    ask: Option<Duration>,
    again: Duration,
}

impl Audit {
    pub(super) fn new(due: Duration) -> Self {
        Self { due, queue: VecDeque::new(), ask: None, again: AGAIN }
    }

    pub(super) fn deadline(&self) -> Duration {
        if !self.queue.is_empty() {
            return Duration::ZERO;
        }
        self.ask.map_or(self.due, |ask| ask.min(self.due))
    }

    fn ask_again(&mut self, now: Duration) {
        self.ask = Some(now + self.again);
        self.again = (self.again * 2).min(AGAIN_MAX);
    }

    /// How much of it is left.
    pub(super) fn left(&self) -> usize {
        self.queue.len()
    }
}

impl Run {
    /// Everything is to be read.
    pub(super) fn begin_audit(&mut self) {
        self.audit.due = clock::now() + self.settings.audit;
        self.audit.queue.clear();
        for root in self.roots.places() {
            let inside = self.courier.inside(&root).into_iter().map(|place| (place, true));
            self.audit.queue.extend(inside);
            // What is gone is seen from above only.
            self.audit.queue.push_back((root, false));
        }
    }

    pub(super) fn go_on_with_audit(&mut self) -> Result<(), RunError> {
        let begun = clock::now();
        if self.audit.queue.is_empty() && begun >= self.audit.due {
            self.begin_audit();
            self.audit.again = AGAIN;
            self.audit.ask_again(begun);
            // What was asked for and has not come may have been lost on the way.
            self.in_moment(Courier::follow_role)?;
        }
        while let Some((place, fresh)) = self.audit.queue.pop_front() {
            self.look_at(&[place], fresh)?;
            if clock::now().saturating_sub(begun) > SLICE {
                return Ok(());
            }
        }
        if self.audit.ask.is_some_and(|ask| begun >= ask) {
            self.audit.ask = None;
            self.ask_peers(Ask::Sum);
        }
        Ok(())
    }

    pub(super) fn ask_peers(&mut self, ask: Ask) {
        let now = clock::now();
        for (name, peer) in &mut self.peers {
            self.courier.ask(name, ask);
            peer.wake(now);
        }
    }

    /// What a peer says that it holds is compared with what is held here.
    pub(super) fn hear_sums(&mut self, name: &str, taken: Taken) -> Result<(), RunError> {
        let now = clock::now();
        if let Some(sum) = taken.sum {
            let same = sum == self.courier.sum()?;
            if same {
                self.audit.again = AGAIN;
                self.courier.met(name)?;
            }
            let quiet = self.settle.is_empty() && self.courier.store().backlog(name)?.paths == 0;
            let Some(peer) = self.peers.get_mut(name) else { return Ok(()) };
            if same || quiet {
                peer.compared = Some((now, same));
            }
            match (same, quiet) {
                (true, _) => peer.doubts = 0,
                (false, false) => self.audit.ask_again(now),
                (false, true) if peer.doubts < DOUBTS => {
                    peer.doubts += 1;
                    self.audit.ask = Some(now + AGAIN);
                }
                (false, true) => {
                    peer.doubts = 0;
                    peer.repair = true;
                    self.courier.ask(name, Ask::All);
                }
            }
        }
        let Some(part) = taken.all else { return Ok(()) };
        let found = self.courier.differences(&part)?;
        let Some(peer) = self.peers.get_mut(name) else { return Ok(()) };
        if part.after.is_none() {
            peer.differences.clear();
        }
        peer.differences.extend(found);
        if let Some(until) = part.until {
            self.courier.ask_for_more(name, until);
            self.waiters.diffs.go_on(now, name);
            return Ok(());
        }
        let differences = std::mem::take(&mut peer.differences);
        self.answer_diff(name, &differences)?;
        let Some(peer) = self.peers.get_mut(name) else { return Ok(()) };
        peer.compared = Some((now, differences.is_empty()));
        if !std::mem::take(&mut peer.repair) || differences.is_empty() {
            return Ok(());
        }
        let wrong = differences.keys().filter(|place| self.courier.can_hold(place)).count();
        if wrong == 0 {
            self.audit.ask_again(now);
            return Ok(());
        }
        let text = format!("{wrong} paths are not the same here and on {name}: both tell each other of them");
        self.notices.say(Severity::Warning, text);
        self.in_moment(|courier, moment| courier.repair(name, differences.keys(), moment))?;
        self.audit.ask = Some(now + AGAIN);
        Ok(())
    }
}
