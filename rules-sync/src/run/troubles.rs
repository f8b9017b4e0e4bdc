//! What does not go on, and why.

use std::collections::BTreeMap;
use std::time::Duration;

use avamgr_core::courier::Trouble;

use super::notices::instant;
use super::peer::{CROWD_MAX, FEW};

/// What does not go on is tried again and again; when nothing is heard of it for so long, it goes on.
const OVER: Duration = Duration::from_secs(10);
/// More of them help nobody in the status;
const SHOWN: usize = 100;
/// and in the log fewer do, because there they stand for long.
const TOLD: usize = 20;

struct Case {
    why: String,
    since: Duration,
    last: Duration,
    /// It stands in the log.
    told: bool,
}

/// All of them, by what they are about.
#[derive(Default)]
pub(super) struct Troubles {
    cases: BTreeMap<String, Case>,
    /// So many of them stand in the log.
    told: usize,
    /// The log says that there are more.
    more: bool,
}

impl Troubles {
    pub(super) fn put(&mut self, now: Duration, what: String, why: String) {
        if let Some(case) = self.cases.get_mut(&what) {
            (case.why, case.last) = (why, now);
            return;
        }
        let told = self.told < TOLD;
        if told {
            tracing::warn!("{what}: {why} (it is tried again and again)");
            self.told += 1;
        } else if !self.more {
            tracing::warn!("more paths do not go on: `rules-sync status` tells how many");
            self.more = true;
        }
        self.cases.insert(what, Case { why, since: now, last: now, told });
    }

    pub(super) fn clear(&mut self, what: &str) {
        let Some(case) = self.cases.remove(what) else { return };
        if case.told {
            tracing::info!("{what}: it goes on");
            self.told -= 1;
        }
        self.tell_end();
    }

    /// Whether one of them is over.
    pub(super) fn forget(&mut self, now: Duration) -> bool {
        let before = self.cases.len();
        let over = if before > FEW { CROWD_MAX + OVER } else { OVER };
        let told = &mut self.told;
        self.cases.retain(|_, case| {
            let lasts = now.saturating_sub(case.last) < over;
            *told -= usize::from(case.told && !lasts);
            lasts
        });
        self.tell_end();
        self.cases.len() < before
    }

    fn tell_end(&mut self) {
        if self.cases.is_empty() && std::mem::take(&mut self.more) {
            tracing::info!("all paths go on");
        }
    }

    /// The first of them, and how many more there are.
    pub(super) fn list(&self) -> (Vec<Trouble>, u64) {
        let all = self.cases.iter().map(|(what, case)| Trouble {
            place: what.clone(),
            why: case.why.clone(),
            since: instant(case.since),
        });
        let omitted = self.cases.len().saturating_sub(SHOWN);
        (all.take(SHOWN).collect(), u64::try_from(omitted).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(troubles: &Troubles) -> usize {
        troubles.cases.values().filter(|case| case.told).count()
    }

    #[test]
    fn a_crowd_is_counted_and_told_with_measure() {
        let mut troubles = Troubles::default();
        let seconds = Duration::from_secs;
        let all = |troubles: &mut Troubles, now| {
            (0..1_000).for_each(|number| troubles.put(seconds(now), format!("re/{number:03}"), "no room".to_owned()));
        };
        all(&mut troubles, 1);
        let (shown, omitted) = troubles.list();
        assert_eq!((shown.len(), omitted, told(&troubles), troubles.more), (SHOWN, 1_000 - SHOWN as u64, TOLD, true));
        // Each of them is tried seldom, and stays meanwhile.
        assert!(!troubles.forget(seconds(58)));
        all(&mut troubles, 58);
        assert_eq!((told(&troubles), troubles.told, troubles.cases.len()), (TOLD, TOLD, 1_000));
        for number in 1..1_000 {
            troubles.clear(&format!("re/{number:03}"));
        }
        assert!(!troubles.forget(seconds(67)) && troubles.more);
        assert!(troubles.forget(seconds(68)), "of a few something is heard all the time");
        assert!(!troubles.more && troubles.list().0.is_empty());
        troubles.put(seconds(70), "re/a".to_owned(), "no room".to_owned());
        assert_eq!((told(&troubles), troubles.told), (1, 1), "news again");
        troubles.clear("re/a");
        assert_eq!(troubles.told, 0);
    }
}
