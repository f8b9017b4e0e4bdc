//! What operators want.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use avamgr_core::courier::{Difference, DifferenceKind, KeptStatus, Reply, Request};
use tokio::sync::mpsc::UnboundedSender;

use super::diffs::{Diffs, PATIENCE};
use super::{Run, RunError};
use crate::clock;
use crate::courier::CourierError;
use crate::manifest::{Ask, room};
use crate::place::Place;
use crate::settle::Hint;
use crate::store::Kept;
use crate::version::node_of;

/// How often it is told how far it is.
const PACE: Duration = Duration::from_millis(200);
/// Longest list of differences.
const DIFFERENCES: usize = 1_000;
/// Longest list of what is kept, in bytes as it is sent: a reply has room for a little more.
const KEPT_ROOM: u64 = 3 * 1024 * 1024;

/// An order, and where its answers go.
#[derive(Debug)]
pub struct Order {
    /// What is wanted.
    pub request: Request,
    /// For the answers; the last of them ends it.
    pub reply: UnboundedSender<Reply>,
}

/// Who waits for what.
#[derive(Default)]
pub(super) struct Waiters {
    pub(super) diffs: Diffs,
    resync: Option<Resync>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Reading,
    /// These have not answered yet; until when.
    Comparing(BTreeSet<String>, Duration),
    Sending,
}

struct Resync {
    reply: UnboundedSender<Reply>,
    phase: Phase,
    /// Of this phase.
    total: u64,
    left: u64,
    /// When it was told last, and when something was done last.
    told: Duration,
    moved: Duration,
}

impl Waiters {
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.diffs.deadline().into_iter().chain(self.resync.iter().map(|resync| resync.told + PACE)).min()
    }
}

/// Whoever asked may have left.
fn tell(reply: &UnboundedSender<Reply>, word: Reply) {
    let _ = reply.send(word);
}

/// The youngest of a list that begins with the oldest: so many as have room in a reply, and how many have none.
fn youngest(mut kept: Vec<KeptStatus>) -> (Vec<KeptStatus>, u64) {
    let mut taken = 0u64;
    let fit = kept.iter().rev().take_while(|it| {
        taken = taken.saturating_add(room(*it));
        taken <= KEPT_ROOM
    });
    let omitted = kept.len() - fit.count();
    kept.drain(..omitted);
    (kept, u64::try_from(omitted).unwrap_or(u64::MAX))
}

impl Run {
    pub(super) fn on_order(&mut self, order: Order) -> Result<(), RunError> {
        let Order { request, reply } = order;
        match request {
            // Whoever keeps the socket knows it.
            Request::Status => {}
            Request::Diff { peer } => self.begin_diff(peer, reply),
            Request::Resync { force } => self.begin_resync(force, reply)?,
            Request::Kept { conflicts } => {
                let (kept, omitted) = youngest(self.kept(conflicts)?);
                tell(&reply, Reply::Kept { kept, omitted });
            }
            Request::Restore { name } => {
                let word = match self.in_moment(|courier, moment| courier.restore(&name, moment)) {
                    Ok(Ok(place)) => {
                        self.settle.see(clock::now(), place.clone(), Hint::Done);
                        Reply::Done { text: format!("{place} is as it was") }
                    }
                    Ok(Err(reason)) => Reply::Refused { reason },
                    Err(CourierError::Disk(error)) => Reply::Refused { reason: error.to_string() },
                    Err(error) => return Err(error.into()),
                };
                self.report.recount();
                tell(&reply, word);
            }
            Request::Settle { name } => {
                let count = self.courier.settle(name.as_deref())?;
                let word = match (count, name) {
                    (0, Some(name)) => Reply::Refused { reason: format!("there is no conflict {name}") },
                    (count, _) => Reply::Done { text: format!("{count} settled; what lost is in the trash") },
                };
                self.report.recount();
                tell(&reply, word);
            }
        }
        Ok(())
    }

    fn kept(&self, conflicts: bool) -> Result<Vec<KeptStatus>, RunError> {
        let all = self.courier.store().kept()?.into_iter().filter(|(_, kept)| kept.conflict == conflicts);
        let show = |(name, kept): (String, Kept)| KeptStatus {
            file: self.courier.kept_path(&name, &kept).unwrap_or_default().display().to_string(),
            place: kept.place.to_string(),
            by: node_of(&kept.entry.stamp.node).to_owned(),
            millis: kept.millis,
            bytes: kept.entry.content.bytes(),
            name,
        };
        Ok(all.map(show).collect())
    }

    fn begin_diff(&mut self, peer: Option<String>, reply: UnboundedSender<Reply>) {
        let names = self.peers.keys().cloned().collect::<Vec<_>>();
        let name = match (peer, names.as_slice()) {
            (Some(name), _) if self.peers.contains_key(&name) => name,
            (None, [only]) => only.clone(),
            (_, names) => {
                let reason = format!("name one of the other nodes: {}", names.join(", "));
                return tell(&reply, Reply::Refused { reason });
            }
        };
        if self.peers.get(&name).is_none_or(|peer| peer.reach.is_none()) {
            return tell(
                &reply,
                Reply::Refused { reason: format!("{name} does not answer: nobody knows what it holds") },
            );
        }
        self.waiters.diffs.wait(clock::now(), name, reply);
    }

    pub(super) fn answer_diff(
        &mut self,
        name: &str,
        differences: &BTreeMap<Place, DifferenceKind>,
    ) -> Result<(), RunError> {
        if let Some(Resync { phase: Phase::Comparing(waiting, _), .. }) = &mut self.waiters.resync {
            waiting.remove(name);
        }
        let asked = self.waiters.diffs.answered(clock::now(), name);
        if asked.is_empty() {
            return Ok(());
        }
        let mut list = Vec::new();
        for (place, kind) in differences.iter().take(DIFFERENCES) {
            let owed = self.courier.store().owes(name, place)?;
            list.push(Difference { place: place.to_string(), kind: *kind, owed });
        }
        let omitted = u64::try_from(differences.len() - list.len()).unwrap_or(u64::MAX);
        for reply in asked {
            tell(&reply, Reply::Differences { peer: name.to_owned(), differences: list.clone(), omitted });
        }
        Ok(())
    }

    fn begin_resync(&mut self, force: bool, reply: UnboundedSender<Reply>) -> Result<(), RunError> {
        if self.waiters.resync.is_some() {
            tell(&reply, Reply::Refused { reason: "another resync is under way".to_owned() });
            return Ok(());
        }
        if force {
            for root in self.roots.places() {
                let looked = self.in_moment(|courier, moment| courier.concede(&root, moment))?;
                self.note_look(std::slice::from_ref(&root), looked)?;
            }
        }
        self.begin_audit();
        let total = u64::try_from(self.audit.left()).unwrap_or(u64::MAX);
        let now = clock::now();
        self.waiters.resync = Some(Resync { reply, phase: Phase::Reading, total, left: total, told: now, moved: now });
        Ok(())
    }

    /// Answers those that have waited for long enough, or for what is done now.
    pub(super) fn answer_waiters(&mut self) -> Result<(), RunError> {
        let now = clock::now();
        for (name, peer) in &mut self.peers {
            if self.waiters.diffs.asks(now, name) {
                self.courier.ask(name, Ask::All);
                peer.wake(now);
            }
        }
        for (peer, reply) in self.waiters.diffs.late(now) {
            let reason = format!("{peer} has not said what it holds within {} s", PATIENCE.as_secs());
            tell(&reply, Reply::Refused { reason });
        }
        let Some(mut resync) = self.waiters.resync.take() else { return Ok(()) };
        if !resync.reply.is_closed() && !self.step_resync(now, &mut resync)? {
            self.waiters.resync = Some(resync);
        }
        Ok(())
    }

    /// One step; whether it is done.
    fn step_resync(&mut self, now: Duration, resync: &mut Resync) -> Result<bool, RunError> {
        let left = match &resync.phase {
            Phase::Reading => u64::try_from(self.audit.left()).unwrap_or(u64::MAX),
            Phase::Comparing(waiting, _) => u64::try_from(waiting.len()).unwrap_or(u64::MAX),
            Phase::Sending => self.left_to_send()?,
        };
        if left != resync.left {
            (resync.left, resync.moved) = (left, now);
        }
        resync.total = resync.total.max(left);
        let until = if let Phase::Comparing(_, until) = &resync.phase { *until } else { Duration::MAX };
        if left == 0 || now >= until {
            let next = match resync.phase {
                Phase::Reading => self.begin_comparing(now),
                Phase::Comparing(..) => Phase::Sending,
                Phase::Sending => {
                    tell(&resync.reply, self.resynced()?);
                    return Ok(true);
                }
            };
            (resync.phase, resync.total, resync.left, resync.moved) = (next, 0, u64::MAX, now);
        } else if now.saturating_sub(resync.moved) > PATIENCE * 2 {
            let reason = format!("{left} paths are not taken by the others: see `rules-sync status`");
            tell(&resync.reply, Reply::Refused { reason });
            return Ok(true);
        }
        if now >= resync.told + PACE {
            resync.told = now;
            let text = match resync.phase {
                Phase::Reading => "every rule is read",
                Phase::Comparing(..) => "the trees are compared",
                Phase::Sending => "what differs is sent",
            };
            let (done, total) = (resync.total.saturating_sub(left), resync.total);
            tell(&resync.reply, Reply::Progress { done, total, text: text.to_owned() });
        }
        Ok(false)
    }

    fn begin_comparing(&mut self, now: Duration) -> Phase {
        let mut waiting = BTreeSet::new();
        for (name, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.reach.is_some()) {
            peer.repair = true;
            self.courier.ask(name, Ask::All);
            peer.wake(now);
            waiting.insert(name.clone());
        }
        Phase::Comparing(waiting, now + PATIENCE)
    }

    fn left_to_send(&self) -> Result<u64, RunError> {
        let mut left = 0;
        for (name, _) in self.peers.iter().filter(|(_, peer)| peer.reach.is_some()) {
            left += self.courier.store().backlog(name)?.paths;
        }
        Ok(left)
    }

    fn resynced(&self) -> Result<Reply, RunError> {
        let lost: Vec<&str> =
            self.peers.iter().filter(|(_, peer)| peer.reach.is_none()).map(|(name, _)| name.as_str()).collect();
        if !lost.is_empty() {
            let reason = format!("everything was read, but these do not answer: {}", lost.join(", "));
            return Ok(Reply::Refused { reason });
        }
        let paths = self.courier.sum()?.paths;
        Ok(Reply::Done {
            text: format!("{paths} paths were read and compared, and the other nodes have what they lacked"),
        })
    }
}

#[cfg(test)]
mod tests {
    use avamgr_core::control::frame::{MAX_REPLY_BYTES, encode};

    use super::*;

    #[test]
    fn of_a_list_that_is_too_long_the_youngest_are_shown_and_the_rest_is_counted() {
        let one = |number: u32| KeptStatus {
            name: format!("{number:015}"),
            place: "%ff".repeat(4_000),
            file: "/".to_owned(),
            by: "a".to_owned(),
            millis: 1,
            bytes: 1,
        };
        let (kept, omitted) = youngest((0..2_000).map(one).collect());
        assert_eq!((kept.last(), omitted + kept.len() as u64), (Some(&one(1_999)), 2_000));
        assert!(omitted > 0 && !kept.is_empty());
        encode(&Reply::Kept { kept, omitted }, MAX_REPLY_BYTES).unwrap();
        assert_eq!(youngest((0..9).map(one).collect()).1, 0);
    }
}
