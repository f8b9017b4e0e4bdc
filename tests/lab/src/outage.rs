//! What a client saw: answers over time, and what follows from them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// An answer as it arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) at: Instant,
    pub(crate) target: u16,
    pub(crate) node: u16,
}

/// A time in which the probe itself did not run: what seems an outage then may be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// When the probe should have run.
    pub at: Instant,
    /// How much later it did.
    pub late: Duration,
}

/// Everything a probe has seen.
#[derive(Clone, Debug, Default)]
pub struct Sightings {
    pub(crate) targets: Vec<IpAddr>,
    pub(crate) nodes: Vec<String>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) stalls: Vec<Stall>,
    pub(crate) sent: u64,
}

/// The longest silence of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Its length; up to the end of the interval if it did not end in it.
    pub longest: Duration,
    /// The last answer before it, or the begin of the interval.
    pub began: Instant,
    /// The node whose answer ended it; none if nothing did.
    pub ended_by: Option<String>,
}

/// How a set of targets came to answer from another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// From the fault to the first answer of the first target.
    pub first: Option<Duration>,
    /// From the fault to the first answer of the last target; none if one never answered.
    pub last: Option<Duration>,
    /// The targets that never answered from the new node.
    pub silent: Vec<IpAddr>,
}

/// From when on a node answered for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its first answer after another's.
    pub at: Instant,
    /// The node.
    pub node: String,
}

impl Sightings {
    /// The longest silence of `target` in an interval. Begin a little before the fault: the silence begins with the
    /// last answer that arrived.
    #[must_use]
    pub fn outage(&self, target: IpAddr, from: Instant, to: Instant) -> Outage {
        let mut outage = Outage { longest: Duration::ZERO, began: from, ended_by: None };
        let mut last = from;
        for answer in self.of(target, from, to) {
            if answer.at - last > outage.longest {
                outage = Outage { longest: answer.at - last, began: last, ended_by: self.node(answer) };
            }
            last = answer.at;
        }
        let tail = to.saturating_duration_since(last);
        if tail > outage.longest {
            outage = Outage { longest: tail, began: last, ended_by: None };
        }
        outage
    }

    /// The longest silence of any target in an interval.
    #[must_use]
    pub fn worst_outage(&self, from: Instant, to: Instant) -> Option<(IpAddr, Outage)> {
        let outages = self.targets.iter().map(|target| (*target, self.outage(*target, from, to)));
        outages.max_by_key(|(_, outage)| outage.longest)
    }

    /// How the targets came to answer from `node` after a fault at `from`.
    #[must_use]
    pub fn takeover_by(&self, node: &str, from: Instant, to: Instant) -> Takeover {
        let mut firsts: BTreeMap<u16, Instant> = BTreeMap::new();
        let answers = self.answers.iter().filter(|answer| (from..=to).contains(&answer.at));
        for answer in answers.filter(|answer| self.node(answer).as_deref() == Some(node)) {
            firsts.entry(answer.target).or_insert(answer.at);
        }
        let silent: Vec<IpAddr> = (0u16..)
            .zip(&self.targets)
            .filter(|(place, _)| !firsts.contains_key(place))
            .map(|(_, target)| *target)
            .collect();
        let last = firsts.values().max().filter(|_| silent.is_empty()).map(|at| *at - from);
        Takeover { first: firsts.values().min().map(|at| *at - from), last, silent }
    }

    /// Who answered for `target`, and from when on.
    #[must_use]
    pub fn turns(&self, target: IpAddr, from: Instant, to: Instant) -> Vec<Turn> {
        let mut turns: Vec<Turn> = Vec::new();
        for answer in self.of(target, from, to) {
            let Some(node) = self.node(answer) else {
                continue;
            };
            if turns.last().is_none_or(|turn| turn.node != node) {
                turns.push(Turn { at: answer.at, node });
            }
        }
        turns
    }

    /// The nodes that answered for `target`.
    #[must_use]
    pub fn answered_by(&self, target: IpAddr, from: Instant, to: Instant) -> BTreeSet<String> {
        self.turns(target, from, to).into_iter().map(|turn| turn.node).collect()
    }

    /// The times the probe did not run in an interval. A run with a stall near the fault is to be repeated.
    #[must_use]
    pub fn stalls(&self, from: Instant, to: Instant) -> Vec<Stall> {
        let within = |stall: &&Stall| stall.at <= to && stall.at + stall.late >= from;
        self.stalls.iter().filter(within).copied().collect()
    }

    /// Probes sent and answers received so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.sent, self.answers.len() as u64)
    }

    fn of(&self, target: IpAddr, from: Instant, to: Instant) -> impl Iterator<Item = &Answer> {
        let place = self.targets.iter().position(|candidate| *candidate == target);
        let begin = self.answers.partition_point(|answer| answer.at < from);
        self.answers[begin..]
            .iter()
            .take_while(move |answer| answer.at <= to)
            .filter(move |answer| Some(usize::from(answer.target)) == place)
    }

    fn node(&self, answer: &Answer) -> Option<String> {
        self.nodes.get(usize::from(answer.node)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers as (milliseconds, target, node).
    fn seen(start: Instant, answers: &[(u64, u16, u16)]) -> Sightings {
        let answer = |(ms, target, node): &(u64, u16, u16)| Answer {
            at: start + Duration::from_millis(*ms),
            target: *target,
            node: *node,
        };
        Sightings {
            targets: vec!["172.16.9.61".parse().unwrap(), "172.16.9.62".parse().unwrap()],
            nodes: vec!["hadev1".to_owned(), "hadev2".to_owned()],
            answers: answers.iter().map(answer).collect(),
            ..Sightings::default()
        }
    }

    #[test]
    fn the_longest_silence_is_found_and_who_ended_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let seen = seen(start, &[(1, 0, 0), (2, 1, 0), (3, 0, 0), (33, 0, 1), (34, 1, 1), (35, 0, 1)]);
        let (first, second) = (seen.targets[0], seen.targets[1]);
        let outage = seen.outage(first, at(0), at(40));
        assert_eq!(outage.longest, Duration::from_millis(30));
        assert_eq!((outage.began, outage.ended_by.as_deref()), (at(3), Some("hadev2")));
        assert_eq!(seen.worst_outage(at(0), at(40)).unwrap().0, second);
        assert_eq!(seen.turns(first, at(0), at(40)).len(), 2);
    }

    #[test]
    fn a_silence_that_does_not_end_has_no_end() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let seen = seen(start, &[(1, 0, 0), (2, 0, 0)]);
        let outage = seen.outage(seen.targets[0], at(0), at(1000));
        assert_eq!((outage.longest, outage.ended_by), (Duration::from_millis(998), None));
        assert_eq!(seen.outage(seen.targets[1], at(0), at(9)).longest, Duration::from_millis(9));
    }

    #[test]
    fn a_takeover_counts_only_the_new_node() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let seen = seen(start, &[(1, 0, 0), (1, 1, 0), (20, 0, 1), (50, 1, 1), (60, 0, 1)]);
        let takeover = seen.takeover_by("hadev2", at(0), at(100));
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!((takeover.first, takeover.last), (ms(20), ms(50)));
        let short = seen.takeover_by("hadev2", at(0), at(30));
        assert_eq!((short.first, short.last, short.silent), (ms(20), None, vec![seen.targets[1]]));
    }
}
