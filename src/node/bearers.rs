//! The bearers of a link over TIPC, as TIPC tells of them for one peer.
//!
//! What is not told is not known: a link whose bearers nobody speaks of is judged by its frames alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::BearerId;
use crate::time::Instant;

/// Each bearer that TIPC has told of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Bearers {
    known: BTreeMap<BearerId, (bool, Instant)>,
}

impl Bearers {
    /// Takes note; `true` = it is worth telling. That a bearer is there from the beginning is no news.
    pub(super) fn turn(&mut self, bearer: BearerId, up: bool, now: Instant) -> bool {
        match self.known.get(&bearer) {
            Some((before, _)) if *before == up => false,
            before => {
                let news = before.is_some() || !up;
                self.known.insert(bearer, (up, now));
                news
            }
        }
    }

    /// Those that are known, and none of them reaches the peer.
    pub(super) fn none_reaches(&self) -> bool {
        !self.known.is_empty() && self.known.values().all(|(up, _)| !up)
    }

    /// Whoever tells of them begins anew.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// Each with its state and since when, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (BearerId, bool, Instant)> {
        self.known.iter().map(|(bearer, (up, since))| (*bearer, *up, *since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1_000);

    #[test]
    fn only_what_changes_is_told() {
        let mut bearers = Bearers::default();
        assert!(!bearers.turn(BearerId(0), true, NOW), "there from the beginning");
        assert!(!bearers.turn(BearerId(0), true, NOW));
        assert!(bearers.turn(BearerId(0), false, NOW));
        assert!(!bearers.turn(BearerId(0), false, NOW));
        assert!(bearers.turn(BearerId(0), true, NOW));
        assert!(bearers.turn(BearerId(1), false, NOW), "missing from the beginning");
    }

    #[test]
    fn a_peer_is_cut_off_when_the_last_bearer_is() {
        let mut bearers = Bearers::default();
        assert!(!bearers.none_reaches(), "nobody has spoken of any");
        for (bearer, up, cut) in
            [(0, true, false), (1, true, false), (0, false, false), (1, false, true), (0, true, false)]
        {
            bearers.turn(BearerId(bearer), up, NOW);
            assert_eq!(bearers.none_reaches(), cut, "bearer {bearer} {up}");
        }
        bearers.forget();
        assert!(!bearers.none_reaches());
    }
}
