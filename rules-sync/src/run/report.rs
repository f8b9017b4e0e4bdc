//! How everything stands, for whoever asks.

use std::sync::Arc;
use std::time::Duration;

use avamgr_core::courier::{DirectoryStatus, PeerStatus, Status};

use super::notices::instant;
use super::{Peer, Run, RunError};
use crate::clock;

/// At most so often while much happens,
const BUSY: Duration = Duration::from_millis(250);
/// and so often when nothing does: its age tells a loop that hangs.
const IDLE: Duration = Duration::from_secs(1);
/// While it changes, everything is counted so often,
const COUNT: Duration = Duration::from_secs(1);
/// unless that takes more than one part in so many of the time.
const COUNT_SHARE: u32 = 200;

/// What is published, and when.
pub(super) struct Desk {
    started: Duration,
    published: Option<Duration>,
    changed: bool,
    /// What lost a conflict, what is in the trash, and paths by directory; when they may be counted again.
    counts: Counts,
    count_due: Option<Duration>,
    stale: bool,
}

#[derive(Default)]
struct Counts {
    conflicts: u64,
    trash: u64,
    paths: std::collections::BTreeMap<String, u64>,
}

impl Desk {
    pub(super) fn new(now: Duration) -> Self {
        Self { started: now, published: None, changed: true, counts: Counts::default(), count_due: None, stale: true }
    }

    /// Something is not as it was.
    pub(super) fn changed(&mut self) {
        (self.changed, self.stale) = (true, true);
    }

    /// It is counted at once.
    pub(super) fn recount(&mut self) {
        self.changed();
        self.count_due = None;
    }

    pub(super) fn due(&self) -> Duration {
        let pause = if self.changed { BUSY } else { IDLE };
        self.published.map_or(Duration::ZERO, |published| published + pause)
    }
}

impl Run {
    pub(super) fn publish(&mut self) -> Result<(), RunError> {
        let now = clock::now();
        if now < self.report.due() {
            return Ok(());
        }
        self.troubles.forget(now);
        if self.report.stale && self.report.count_due.is_none_or(|due| now >= due) {
            self.count()?;
            let pause = (clock::now().saturating_sub(now) * COUNT_SHARE).max(COUNT);
            (self.report.count_due, self.report.stale) = (Some(now + pause), false);
        }
        let status = self.status(now)?;
        // Nobody asks any more when the rest of the program has ended.
        let _ = self.ports.status.send(Some(Arc::new(status)));
        (self.report.published, self.report.changed) = (Some(now), false);
        Ok(())
    }

    fn count(&mut self) -> Result<(), RunError> {
        let store = self.courier.store();
        let (mut conflicts, mut trash) = (0, 0);
        for (_, kept) in store.kept()? {
            if kept.conflict { conflicts += 1 } else { trash += 1 }
        }
        let mut paths = std::collections::BTreeMap::new();
        store.each(|place, _| {
            let name = place.directory().to_string_lossy();
            match paths.get_mut(name.as_ref()) {
                Some(count) => *count += 1,
                None => drop(paths.insert(name.into_owned(), 1)),
            }
        })?;
        self.report.counts = Counts { conflicts, trash, paths };
        Ok(())
    }

    fn status(&self, now: Duration) -> Result<Status, RunError> {
        let directories = self.roots.each().map(|(name, path, trouble)| {
            let strays = self.courier.strays().iter().filter(|place| place.directory() == name).count();
            Ok(DirectoryStatus {
                name: name.to_owned(),
                path: path.display().to_string(),
                paths: self.report.counts.paths.get(name).copied().unwrap_or_default(),
                trouble: trouble.map(str::to_owned),
                held: self.courier.held(name)?,
                strays: u64::try_from(strays).unwrap_or(u64::MAX),
            })
        });
        let peers = self.peers.iter().map(|(name, peer)| self.peer_status(name, peer));
        let (troubles, troubles_omitted) = self.troubles.list();
        Ok(Status {
            now: instant(now),
            node: self.settings.me.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: instant(self.report.started),
            active: self.ports.active.borrow().clone(),
            one_way: self.settings.one_way,
            directories: directories.collect::<Result<_, RunError>>()?,
            peers: peers.collect::<Result<_, RunError>>()?,
            unsettled: u64::try_from(self.settle.len()).unwrap_or(u64::MAX),
            conflicts: self.report.counts.conflicts,
            trash: self.report.counts.trash,
            troubles,
            troubles_omitted,
            notices: self.notices.list(),
        })
    }

    fn peer_status(&self, name: &str, peer: &Peer) -> Result<PeerStatus, RunError> {
        let backlog = self.courier.store().backlog(name)?;
        let line = peer.lines.get(peer.reach.unwrap_or(0));
        let wall = clock::wall_millis();
        Ok(PeerStatus {
            node: name.to_owned(),
            // A remote shell is asked only when there is something to send: the last attempt says what is known.
            reachable: peer.reach.is_some() && (self.settings.shell.is_none() || peer.error.is_none()),
            since: peer.since.map(instant),
            address: line.map_or_else(String::new, |line| line.to.to_string()),
            owed: backlog.paths,
            lag: backlog.since.map(|since| Duration::from_millis(wall.saturating_sub(since))),
            last_sent: peer.last_sent.clone(),
            last_received: peer.last_received.clone(),
            error: peer.error.clone(),
            errors: peer.errors.clone(),
            compared: peer.compared.map(|(at, same)| (instant(at), same)),
        })
    }
}
