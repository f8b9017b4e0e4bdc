//! Keeping the lifetimes of the addresses from running out.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use avamgr_core::config::IpNet;
use avamgr_core::node::Report;
use avamgr_core::time::Instant;

use super::Task;
use super::guard::Rhythm;
use crate::clock;

/// The kernel may come a little early: it counts ticks and rounds.
const EARLY: Duration = Duration::from_millis(100);

/// What we know of an address's lifetime.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    /// It got its lifetime then, or a little later.
    since: Instant,
    /// That was too late for the one before.
    late: bool,
}

/// The refresh of the addresses of one family, round after round.
pub(super) struct Refresh {
    pub(super) rhythm: Rhythm,
    /// Their places among the wanted ones.
    all: Range<usize>,
    /// The next one of this round.
    next: usize,
    round_began: Instant,
    pub(super) due: Option<Instant>,
}

impl Refresh {
    pub(super) fn new(all: Range<usize>, rhythm: Rhythm) -> Self {
        Self { rhythm, next: all.start, all, round_began: Instant::BOOT, due: None }
    }

    /// The addresses get their lifetime from `since` on.
    pub(super) fn begin(&mut self, since: Instant) {
        self.next = self.all.start;
        self.due = (!self.all.is_empty()).then(|| since + self.rhythm.refresh);
    }

    /// When the addresses got their lifetime is not known.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.begin(now);
        self.due = self.due.map(|_| now);
    }

    pub(super) fn end(&mut self) {
        self.due = None;
    }

    /// The places of the next batch; those from `limit` on have not been put on yet.
    fn batch(&mut self, count: usize, limit: usize, now: Instant) -> Range<usize> {
        if self.next == self.all.start {
            self.round_began = now;
        }
        self.next..self.all.end.min(limit).min(self.next + count).max(self.next)
    }

    fn done(&mut self, batch: &Range<usize>, limit: usize, now: Instant) {
        self.next = batch.end;
        if !batch.is_empty() && batch.end < self.all.end.min(limit) {
            self.due = Some(now);
            return;
        }
        self.next = self.all.start;
        // A round that takes as long as the time between two rounds leaves room for other things.
        self.due = Some((self.round_began + self.rhythm.refresh).max(now + self.rhythm.refresh / 4));
    }
}

impl Task {
    pub(super) async fn refresh_v4(&mut self) {
        let limit = self.put_so_far();
        let batch = self.v4.batch(self.netlink.chunk(), limit, clock::now());
        // IPv4 addresses stay on an interface that is down.
        if self.link.is_some() {
            self.refresh(batch.clone()).await;
        }
        self.v4.done(&batch, limit, clock::now());
    }

    pub(super) async fn refresh_v6(&mut self) {
        let limit = self.put_so_far();
        let batch = self.v6.batch(self.netlink.chunk(), limit, clock::now());
        // IPv6 addresses go with the link and are put back when it returns.
        if self.link.as_ref().is_some_and(|link| link.up) {
            self.refresh(batch.clone()).await;
        }
        self.v6.done(&batch, limit, clock::now());
    }

    async fn refresh(&mut self, places: Range<usize>) {
        let batch = self.wanted.addresses.get(places).unwrap_or_default().to_vec();
        let late: Vec<IpAddr> = batch.iter().map(|net| net.address).filter(|address| self.ran_out(*address)).collect();
        match self.put(&batch).await {
            Ok(()) => self.in_trouble = false,
            Err(why) => {
                if !self.in_trouble {
                    self.in_trouble = true;
                    self.report(Report::Notice(format!("lifetime not refreshed: {why}"))).await;
                }
            }
        }
        // The kernel's word about those may be heard only now that they are back.
        for address in late {
            if let Some(life) = self.lives.get_mut(&address) {
                life.late = true;
            }
        }
    }

    /// These have their lifetime from `since` on.
    pub(super) fn live_since(&mut self, nets: impl Iterator<Item = IpNet>, since: Instant) {
        self.lives.extend(nets.map(|net| (net.address, Life { since, late: false })));
    }

    /// Whether we were too late for this address, so that the kernel took it away, or was about to.
    pub(super) fn ran_out(&self, address: IpAddr) -> bool {
        let rhythm = if address.is_ipv4() { self.v4.rhythm } else { self.v6.rhythm };
        let ran_out = |life: &Life| life.late || clock::now().since(life.since) + EARLY >= rhythm.lifetime;
        self.lives.get(&address).is_some_and(ran_out)
    }
}
