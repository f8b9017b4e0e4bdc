//! What is known of a peer, and what goes to it.

mod unconfirmed;

use std::collections::BTreeMap;
use std::time::Duration;

use avamgr_core::courier::{DifferenceKind, Transfer};
use avamgr_core::node::event::Severity;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::notices::instant;
use super::pace::Pace;
use super::{Event, Line, Run, RunError};
use crate::clock;
use crate::courier::{Composed, CourierError, Portion, Taken};
use crate::leftovers::Leftovers;
use crate::manifest::Manifest;
use crate::place::Place;
use crate::plan::{Item, Limits};
use crate::rsync::{SendError, Target, send};
use crate::spool::Spool;
use crate::version::Version;
pub(super) use unconfirmed::{CROWD_MAX, FEW};
use unconfirmed::{UNKNOWN, Unconfirmed};

/// One batch: enough that a burst needs few of them, and little enough that the first files of one are soon there.
const LIMITS: Limits = Limits { items: 4_096, bytes: 64 * 1024 * 1024 };
/// How long a peer may be silent while something is sent to it.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a batch that failed; twice as long after each further one,
const RETRY: Duration = Duration::from_millis(100);
/// but not longer than this.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// So many batches that fail in a row tell which path it is, if it is one,
const SEARCH: u32 = 6;
/// and if it is none, it is the disk there, or something else that lasts: then each further one waits for so long.
const REST: Duration = Duration::from_secs(1);
/// After a failure a batch is so much smaller, until it is known which path it is.
const SHRINK: usize = 8;

/// A peer.
pub(super) struct Peer {
    pub(super) lines: Vec<Line>,
    pub(super) inbox: Spool,
    pub(super) outbox: Spool,
    /// Of rsyncs that were killed.
    pub(super) leftovers: Leftovers,
    /// The line that it answers on.
    pub(super) reach: Option<usize>,
    /// Since when that is so.
    pub(super) since: Option<Duration>,
    /// Something is on its way to it.
    pub(super) busy: watch::Sender<bool>,
    rsync: Option<AbortHandle>,
    /// When there is something to send, or it is time to try again.
    due: Option<Duration>,
    pace: Pace,
    /// In a burst no batch leaves before this.
    not_before: Duration,
    /// When the last batch was through.
    through: Duration,
    unconfirmed: Unconfirmed,
    limits: Limits,
    /// What makes every batch fail or cannot be had, until when.
    deferred: BTreeMap<Place, (Version, Duration)>,
    failures: u32,
    /// Batches in a row that it could not take.
    refusals: u32,
    /// Nothing goes to it before this.
    rest: Duration,
    pub(super) last_sent: Option<Transfer>,
    pub(super) last_received: Option<Transfer>,
    pub(super) error: Option<String>,
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) compared: Option<(Duration, bool)>,
    /// What differs in the parts that it has told of what it holds.
    pub(super) differences: BTreeMap<Place, DifferenceKind>,
    /// Where it holds something else, both tell each other of it.
    pub(super) repair: bool,
    /// So often in a row nothing was on its way, and it held something else.
    pub(super) doubts: u32,
}

impl Peer {
    pub(super) fn new(lines: Vec<Line>, inbox: Spool, outbox: Spool) -> Self {
        Self {
            lines,
            inbox,
            outbox,
            leftovers: Leftovers::default(),
            reach: None,
            since: None,
            busy: watch::Sender::new(false),
            rsync: None,
            due: Some(Duration::ZERO),
            pace: Pace::default(),
            not_before: Duration::ZERO,
            through: Duration::ZERO,
            unconfirmed: Unconfirmed::default(),
            limits: LIMITS,
            deferred: BTreeMap::new(),
            failures: 0,
            refusals: 0,
            rest: Duration::ZERO,
            last_sent: None,
            last_received: None,
            error: None,
            errors: BTreeMap::new(),
            compared: None,
            differences: BTreeMap::new(),
            repair: false,
            doubts: 0,
        }
    }

    /// There may be something to say to it.
    pub(super) fn wake(&mut self, now: Duration) {
        // After a failure it waits for its turn.
        if self.failures == 0 {
            self.due = Some(now.max(self.not_before).max(self.rest));
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.due.filter(|_| self.rsync.is_none() && self.reach.is_some())
    }

    /// What came from it.
    pub(super) fn heard(&mut self, now: Duration, taken: &Taken) {
        for place in taken.confirmed.iter().chain(&taken.wanted) {
            self.unconfirmed.taken(place, now);
        }
        if taken.paths > 0 {
            let (at, took) = (instant(now), Duration::ZERO);
            self.last_received = Some(Transfer { at, paths: taken.paths, bytes: taken.bytes, took });
        }
    }

    fn portion(&self, now: Duration, item: &Item) -> Portion {
        let deferred = self.deferred.get(&item.place);
        if deferred.is_some_and(|(version, until)| *version == item.entry.version && now < *until) {
            return Portion::Nothing;
        }
        self.unconfirmed.portion(item, now)
    }

    /// The others go on meanwhile.
    fn defer(&mut self, item: Item, now: Duration) {
        self.deferred.insert(item.place, (item.entry.version, now + UNKNOWN));
    }

    fn failed(&mut self, now: Duration, lost: &Manifest, error: &SendError) {
        self.failures = self.failures.saturating_add(1);
        self.due = Some(now + (RETRY * 2u32.saturating_pow(self.failures.min(10) - 1)).min(RETRY_MAX));
        self.unconfirmed.clear();
        *self.errors.entry(cause(error).to_owned()).or_default() += 1;
        self.error = Some(error.to_string());
        if !matches!(error, SendError::Failed { .. }) {
            return;
        }
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals > SEARCH {
            self.rest = now + REST;
            self.due = self.due.max(Some(self.rest));
        }
        match lost.news.as_slice() {
            [] => {}
            // It is this one: the others go on meanwhile.
            [one] => {
                self.defer(one.item.clone(), now);
                self.failures = 0;
                self.limits = Limits { items: SHRINK, ..LIMITS };
            }
            several => self.limits.items = (several.len() / SHRINK).max(1),
        }
    }

    fn succeeded(&mut self, now: Duration, sent: &Manifest, took: Duration) {
        if self.refusals > SEARCH {
            // It was none of these: what lasted is over.
            self.deferred.clear();
        }
        (self.failures, self.refusals, self.rest) = (0, 0, now);
        self.error = None;
        self.limits.items = (self.limits.items * SHRINK).min(LIMITS.items);
        self.deferred.retain(|_, (_, until)| now < *until);
        let later = now + UNKNOWN;
        self.due = Some(self.due.map_or(later, |due| due.min(later)));
        if !sent.news.is_empty() {
            let paths = u64::try_from(sent.news.len()).unwrap_or(u64::MAX);
            self.last_sent = Some(Transfer { at: instant(now), paths, bytes: bytes(sent), took });
        }
    }
}

fn bytes(sent: &Manifest) -> u64 {
    let with_content = sent.news.iter().filter(|news| news.content.is_some());
    with_content.map(|news| news.item.entry.content.bytes()).sum()
}

fn cause(error: &SendError) -> &'static str {
    match error {
        SendError::NoProgram(_) => "no rsync",
        SendError::Unreachable(_) | SendError::Shell(..) => "unreachable",
        SendError::Refused(..) => "refused",
        SendError::Failed { .. } => "failed",
    }
}

impl Run {
    pub(super) fn on_reach(&mut self, name: &str, line: Option<usize>) {
        let now = clock::now();
        let Some(peer) = self.peers.get_mut(name) else { return };
        let before = std::mem::replace(&mut peer.reach, line);
        let was_known = peer.since.replace(now).is_some();
        match line {
            None => {
                // What is on its way would wait for packets that do not come.
                if let Some(rsync) = &peer.rsync {
                    rsync.abort();
                }
                peer.unconfirmed.clear();
                self.notices.say(
                    Severity::Warning,
                    format!("{name} does not answer on any link: what changes is sent when it does"),
                );
            }
            Some(index) => {
                peer.failures = 0;
                // What was sent to nobody was no burst.
                (peer.pace, peer.not_before) = (Pace::default(), now);
                // A better line does not answer any more: what is on its way there would wait in vain.
                if let (Some(rsync), true) = (&peer.rsync, before.is_some_and(|before| before < index)) {
                    rsync.abort();
                    peer.unconfirmed.clear();
                }
                peer.wake(now);
                let address = peer.lines.get(index).map_or_else(String::new, |line| line.to.to_string());
                if was_known && before != line {
                    self.notices.say(Severity::Info, format!("{name} answers at {address}"));
                }
            }
        }
        self.report.changed();
    }

    pub(super) fn on_sent(&mut self, name: &str, manifest: Manifest, took: Duration, result: Result<(), SendError>) {
        let now = clock::now();
        let Some(peer) = self.peers.get_mut(name) else { return };
        peer.rsync = None;
        peer.through = now;
        peer.busy.send_replace(false);
        match result {
            Ok(()) => {
                if peer.error.is_some() {
                    self.notices.say(Severity::Info, format!("{name}: what is sent arrives again"));
                }
                peer.succeeded(now, &manifest, took);
                if self.courier.has_words(name) {
                    peer.wake(now);
                }
                if self.settings.shell.is_some() && peer.since.is_none() {
                    peer.since = Some(now);
                }
            }
            Err(error) => {
                peer.failed(now, &manifest, &error);
                if let (Some(index), true) = (peer.reach, self.settings.shell.is_some()) {
                    peer.reach = Some((index + 1) % peer.lines.len().max(1));
                }
                let severity =
                    if matches!(error, SendError::Refused(..)) { Severity::Alarm } else { Severity::Warning };
                self.notices.say_once(severity, format!("{name}: {error}"));
                self.courier.take_back(name, manifest);
            }
        }
        self.report.changed();
    }

    pub(super) fn send(&mut self) -> Result<(), RunError> {
        let now = clock::now();
        let is_idle = |peer: &Peer| peer.deadline().is_some_and(|due| due <= now);
        let idle: Vec<String> =
            self.peers.iter().filter(|(_, peer)| is_idle(peer)).map(|(name, _)| name.clone()).collect();
        idle.iter().try_for_each(|name| self.send_to(now, name))
    }

    fn send_to(&mut self, now: Duration, name: &str) -> Result<(), RunError> {
        let Some(mut peer) = self.peers.remove(name) else { return Ok(()) };
        self.batch += 1;
        let number = self.batch;
        // What is left there belongs to a batch that has failed.
        let _ = peer.outbox.remove_until(u64::MAX);
        let composed = self.in_moment(|courier, moment| {
            let portion = |item: &Item| peer.portion(now, item);
            courier.compose(name, number, &peer.outbox, peer.limits, moment, portion)
        });
        let composed = composed.map(|Composed { manifest, left }| {
            let has_left = !left.is_empty();
            left.into_iter().for_each(|item| peer.defer(item, now));
            (manifest, has_left)
        });
        let result = match composed {
            Ok((Some(manifest), _)) => {
                self.start_rsync(now, name, &mut peer, manifest);
                Ok(())
            }
            Ok((None, has_left)) => {
                // What comes behind those that cannot be sent is next; what is owed still is tried again.
                let owes = self.courier.store().backlog(name).map(|backlog| backlog.paths > 0);
                peer.due =
                    if has_left { Some(now) } else { (*owes.as_ref().unwrap_or(&true)).then_some(now + UNKNOWN) };
                owes.map(drop).map_err(RunError::from)
            }
            // A full disk has room again some day.
            Err(CourierError::Disk(error)) => {
                self.troubles.put(now, format!("what goes to {name}"), error.to_string());
                peer.limits.items = (peer.limits.items / SHRINK).max(1);
                peer.rest = now + REST;
                peer.due = Some(peer.rest);
                Ok(())
            }
            Err(error) => Err(error.into()),
        };
        self.peers.insert(name.to_owned(), peer);
        result
    }

    fn start_rsync(&self, now: Duration, name: &str, peer: &mut Peer, manifest: Manifest) {
        let Some(line) = peer.reach.and_then(|index| peer.lines.get(index)) else { return };
        peer.due = None;
        let idle = now.saturating_sub(peer.not_before.max(peer.through));
        peer.not_before = now + peer.pace.after(now, idle, manifest.news.len() + manifest.known.len());
        for news in &manifest.news {
            peer.unconfirmed.sent(&news.item, now);
        }
        tracing::debug!(
            "to {name}: batch {} with {} paths, {} bytes; {} are confirmed, {} asked for",
            manifest.batch,
            manifest.news.len(),
            bytes(&manifest),
            manifest.known.len(),
            manifest.wants.len()
        );
        let settings = &self.settings;
        let target = match &settings.shell {
            Some(command) => Target::Shell {
                command: command.clone(),
                address: line.to.ip(),
                inbox: settings.state.join("in").join(&settings.me),
            },
            None => Target::Daemon {
                me: settings.me.clone(),
                key: settings.passwords.first().map_or(0, |password| password.key),
                from: line.from,
                address: line.to,
                password_file: settings.state.join("password"),
            },
        };
        let (name, spool, events) = (name.to_owned(), peer.outbox.path().to_owned(), self.events.clone());
        peer.busy.send_replace(true);
        let rsync = tokio::spawn(async move { send(&spool, &target, PATIENCE).await });
        peer.rsync = Some(rsync.abort_handle());
        let address = line.to.to_string();
        tokio::spawn(async move {
            // It is taken away from its work only when the peer is lost.
            let result = rsync.await.unwrap_or(Err(SendError::Unreachable(address)));
            // Nobody waits for it any more when the loop has ended.
            let _ = events.send(Event::Sent(name, Box::new(manifest), clock::now().saturating_sub(now), result));
        });
    }
}

#[cfg(test)]
mod tests;
