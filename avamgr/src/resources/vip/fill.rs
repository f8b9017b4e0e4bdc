//! Addresses on their way to the interface: at a start, and when some are missing.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use avamgr_core::config::IpNet;
use avamgr_core::node::Report;
use avamgr_core::time::Instant;

use super::plan::{Gap, list};
use super::withdraw::PAUSE;
use super::{Mending, Phase, Task};
use crate::clock;
use crate::neighbours::{Form, Haste};
use crate::netlink::{Assign, Present, prefix};

/// How often addresses that are not as they should be are removed and put on once more.
const ROUNDS_MAX: u32 = 3;
/// So long addresses that others take off at once are put back before that counts as a failure.
const STORM_MAX: Duration = Duration::from_secs(10);
/// Before the second and each later of those rounds: whoever disturbs them needs a moment to be done.
const ROUND_PAUSE: Duration = Duration::from_millis(100);
/// Somebody who takes away what we put back is given longer and longer pauses, up to this one.
const MEND_PAUSE_MAX: Duration = Duration::from_secs(1);
/// The first of them.
const MEND_PAUSE_MIN: Duration = Duration::from_millis(10);
/// Quiet for so long: it was somebody else.
const MEND_FORGET: Duration = Duration::from_secs(10);

/// Addresses that are put on, batch by batch.
pub(super) struct Filling {
    queue: Vec<IpNet>,
    done: usize,
    round: u32,
    began: Instant,
    pub(super) not_before: Instant,
}

impl Filling {
    fn new(queue: Vec<IpNet>, now: Instant) -> Self {
        Self { queue, done: 0, round: 0, began: now, not_before: now }
    }
}

impl Mending {
    /// When to mend again: at once, or after a pause when the last time was not long ago.
    fn earliest(&mut self, now: Instant) -> Instant {
        match self.last {
            Some(last) if now.since(last) < MEND_FORGET => (last + self.pause).max(now),
            Some(_) | None => {
                self.pause = Duration::ZERO;
                now
            }
        }
    }

    fn done(&mut self, now: Instant) {
        self.last = Some(now);
        self.pause = (self.pause * 2).clamp(MEND_PAUSE_MIN, MEND_PAUSE_MAX);
    }
}

impl Task {
    pub(super) async fn start(&mut self) {
        // What was taken off before this start is no news.
        if let Some(watcher) = &mut self.watcher {
            match watcher.catch_up().await {
                Ok(()) => self.link = watcher.link().cloned(),
                Err(error) => self.deaf(&error).await,
            }
        }
        self.say_ability().await;
        if let Some(why) = self.obstacle() {
            return self.start_failed(why).await;
        }
        self.phase = Phase::Starting;
        if let Err(why) = self.wait_for_the_guard().await {
            return self.start_failed(why).await;
        }
        if let Err(why) = self.prepare().await {
            self.start_failed(why).await;
        }
    }

    /// Goes on with what the program before has put on.
    pub(super) async fn adopt(&mut self) {
        self.say_ability().await;
        let taken = match self.obstacle() {
            Some(why) => Err(why),
            None => self.take_on().await,
        };
        match taken {
            Ok(()) => self.report(Report::Started).await,
            Err(why) => self.report(Report::Failed(why)).await,
        }
    }

    async fn take_on(&mut self) -> Result<(), String> {
        self.open_sockets().map_err(|error| error.to_string())?;
        self.put_on.extend(self.index());
        self.phase = Phase::Up;
        let now = clock::now();
        self.v4.hurry(now);
        self.v6.hurry(now);
        self.begin_slow_rounds();
        self.mend_routes_soon();
        self.find_and_mend().await
    }

    /// What is announced before the kernel lets it answer would be lost.
    async fn wait_for_the_guard(&self) -> Result<(), String> {
        let Some(guard) = &self.guard else { return Ok(()) };
        let opened = tokio::time::timeout(self.timers.lease_time, guard.opened(self.id.group)).await;
        opened.map_err(|_| {
            let error = guard.state(self.id.group).and_then(|state| state.error);
            error.unwrap_or_else(|| "the kernel's guard did not open within the time of a lease".to_owned())
        })
    }

    /// One attempt to leave nothing of it here: a second one would come after its time.
    pub(super) async fn start_failed(&mut self, why: String) {
        self.end_start(why, clock::now() + PAUSE).await;
    }

    async fn prepare(&mut self) -> Result<(), String> {
        if !self.claims.is_swept() {
            let ground = self.ground().await?;
            self.sweep(&ground).await?;
        }
        self.open_sockets().map_err(|error| error.to_string())?;
        let gap = self.look().await?;
        if !gap.foreign.is_empty() {
            let nets: Vec<_> = gap.foreign.iter().map(|present| present.net).collect();
            let (which, name) = (list(&nets), &self.name);
            let notice = format!("{which}: already on {name}, put there by somebody else; ours now");
            self.report(Report::Notice(notice)).await;
        }
        self.remove_first(gap.remove).await?;
        self.put_routes().await?;
        self.announcer.round(&[], &self.wanted.ranges, Form::Request, Haste::Urgent);
        // Also those that are there and ours, from an earlier run: their lifetime is running out.
        self.filling = Some(Filling::new(self.wanted.addresses.clone(), clock::now()));
        Ok(())
    }

    /// Puts one batch on, and announces it.
    pub(super) async fn fill(&mut self) {
        let Some(mut filling) = self.filling.take() else { return };
        let end = filling.queue.len().min(filling.done + self.netlink.chunk());
        let batch = filling.queue.get(filling.done..end).unwrap_or_default().to_vec();
        if let Err(why) = self.put(&batch).await {
            return self.fill_failed(why).await;
        }
        self.announcer.urgent(batch.iter().map(|net| net.address).collect());
        self.announce_some().await;
        filling.done = end;
        // Putting thousands on can take longer than the first of them live.
        if self.v4.due.is_none() {
            self.v4.begin(filling.began);
        }
        if end < filling.queue.len() {
            self.filling = Some(filling);
        } else {
            self.check(filling).await;
        }
    }

    /// Believes only what the kernel lists.
    async fn check(&mut self, mut filling: Filling) {
        let gap = match self.look().await {
            Ok(gap) => gap,
            Err(why) => return self.fill_failed(why).await,
        };
        if gap.is_closed() {
            return self.filled(&filling).await;
        }
        if self.has_tried_enough(&filling, &gap) {
            let why = gap.reason.unwrap_or_else(|| format!("{} did not stay on {}", list(&gap.put), self.name));
            return self.fill_failed(why).await;
        }
        let now = clock::now();
        filling.not_before = if filling.round == 0 { now } else { now + ROUND_PAUSE };
        filling.round += 1;
        filling.done = 0;
        filling.queue = gap.put;
        // Kernels that do not change the mark of an address that is there give it to a new one.
        let bad = gap.remove.into_iter().chain(gap.foreign).collect();
        if let Err(why) = self.remove_first(bad).await {
            return self.fill_failed(why).await;
        }
        self.filling = Some(filling);
    }

    /// Somebody who flushes the interface under addresses that were good is not a reason to give the group away before he
    /// had time to be done; an address that the kernel does not accept will not become better.
    fn has_tried_enough(&self, filling: &Filling, gap: &Gap) -> bool {
        if self.phase == Phase::Up && gap.reason.is_none() {
            return clock::now().since(filling.began) >= STORM_MAX;
        }
        filling.round >= ROUNDS_MAX
    }

    async fn filled(&mut self, filling: &Filling) {
        self.mending.failed = false;
        self.own_removals.clear();
        if self.phase == Phase::Up {
            self.announcer.round(&filling.queue, &[], Form::Reply, Haste::Routine);
            return;
        }
        self.phase = Phase::Up;
        let now = clock::now();
        self.v6.begin(now);
        self.announcer.round(&self.wanted.addresses, &self.wanted.ranges, Form::Reply, Haste::Routine);
        self.second_burst = Some(now + self.timers.announce_delay);
        self.begin_slow_rounds();
        self.report(Report::Started).await;
    }

    async fn fill_failed(&mut self, why: String) {
        if self.phase == Phase::Starting {
            return self.start_failed(why).await;
        }
        self.mending.due = Some(clock::now() + MEND_PAUSE_MAX);
        if !self.mending.failed {
            self.mending.failed = true;
            self.report(Report::Failed(why)).await;
        }
    }

    /// Looks for what is missing soon: at once, or after a pause when that was not long ago.
    pub(super) fn mend_soon(&mut self) {
        let earliest = self.mending.earliest(clock::now());
        self.mending.due.get_or_insert(earliest);
    }

    /// The same for routes. Thousands of addresses of others may be on their way off the interface: one look is for many.
    pub(super) fn mend_routes_soon(&mut self) {
        let now = clock::now();
        let earliest = self.mending.earliest(now).max(now + MEND_PAUSE_MIN);
        self.mending.routes_due.get_or_insert(earliest);
    }

    /// Puts back routes that are missing.
    pub(super) async fn mend_routes(&mut self) {
        self.mending.routes_due = None;
        // A link that is away brings us here again when it is back.
        if self.obstacle().is_some() {
            return;
        }
        match self.put_missing_routes().await {
            Ok(false) => {}
            Ok(true) => {
                self.mending.done(clock::now());
                self.announcer.round(&[], &self.wanted.ranges, Form::Request, Haste::Urgent);
            }
            Err(why) => {
                self.mending.routes_due = Some(clock::now() + MEND_PAUSE_MAX);
                self.fill_failed(why).await;
            }
        }
    }

    /// Puts back what is missing.
    pub(super) async fn mend(&mut self) {
        self.mending.due = None;
        // A start is verified at its end; a link that is away brings us here again when it is back.
        if self.phase != Phase::Up || self.obstacle().is_some() {
            return;
        }
        if self.filling.is_some() {
            self.mending.due = Some(clock::now() + MEND_PAUSE_MIN);
            return;
        }
        self.mending.done(clock::now());
        if let Err(why) = self.find_and_mend().await {
            self.fill_failed(why).await;
        }
    }

    async fn find_and_mend(&mut self) -> Result<(), String> {
        let after_link = std::mem::take(&mut self.mending.link_was_away);
        let gap = self.look().await?;
        let lost = std::mem::take(&mut self.mending.lost);
        let mut expired = std::mem::take(&mut self.mending.expired);
        // Of some the kernel's word is still to come, or was lost.
        expired.extend(gap.put.iter().map(|net| net.address).filter(|address| self.ran_out(*address)));
        let absent: BTreeSet<_> = gap.put.iter().collect();
        let missing = |net: &&IpNet| lost.contains(&net.address) || absent.contains(net);
        let queue: Vec<_> = self.wanted.addresses.iter().filter(missing).copied().collect();
        if after_link {
            self.announce_all();
        }
        if queue.is_empty() {
            return Ok(());
        }
        if after_link {
            let notice = format!("{}: went with the link of {}, put back", list(&queue), self.name);
            self.report(Report::Notice(notice)).await;
        } else {
            self.say_who_took(&queue, &expired).await;
        }
        self.remove_first(gap.remove).await?;
        self.filling = Some(Filling::new(queue, clock::now()));
        Ok(())
    }

    /// An operator looks for somebody else only where it was somebody else.
    async fn say_who_took(&self, queue: &[IpNet], expired: &BTreeSet<IpAddr>) {
        let (late, taken): (Vec<_>, Vec<_>) = queue.iter().partition(|net| expired.contains(&net.address));
        let name = &self.name;
        if !late.is_empty() {
            let which = list(&late);
            let notice = format!("{which}: lifetime ran out on {name}, this node was too late to refresh it; put back");
            self.report(Report::Notice(notice)).await;
        }
        if !taken.is_empty() {
            let notice = format!("{}: taken off {name} by somebody else, put back", list(&taken));
            self.report(Report::Notice(notice)).await;
        }
    }

    pub(super) async fn put(&mut self, addresses: &[IpNet]) -> Result<(), String> {
        let Some(index) = self.index() else { return Err(format!("interface {} does not exist", self.name)) };
        self.put_on.insert(index);
        let assigns: Vec<_> = addresses.iter().map(|net| self.assign(*net)).collect();
        let since = clock::now();
        let outcomes = self.netlink.put(index, &assigns).await.map_err(|error| error.to_string())?;
        let done = addresses.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(net, _)| *net);
        self.live_since(done, since);
        for (net, outcome) in addresses.iter().zip(outcomes) {
            outcome.map_err(|refusal| format!("{} cannot be put on {}: {refusal}", prefix::show(*net), self.name))?;
        }
        Ok(())
    }

    fn assign(&self, net: IpNet) -> Assign {
        let rhythm = if net.address.is_ipv4() { self.v4.rhythm } else { self.v6.rhythm };
        let label = self.wanted.label.clone().filter(|_| net.address.is_ipv4());
        Assign { net, label, lifetime: rhythm.lifetime }
    }

    async fn put_routes(&mut self) -> Result<(), String> {
        let Some(index) = self.index() else { return Err(format!("interface {} does not exist", self.name)) };
        self.put_on.insert(index);
        for route in self.wanted.routes() {
            let outcome = self.netlink.put_route(index, route).await.map_err(|error| error.to_string())?;
            outcome.map_err(|refusal| format!("{route} cannot be added on {}: {refusal}", self.name))?;
        }
        Ok(())
    }

    /// Puts on the routes that are not there, and says whether there were any.
    async fn put_missing_routes(&mut self) -> Result<bool, String> {
        let Some(index) = self.index() else { return Err(format!("interface {} does not exist", self.name)) };
        self.put_on.insert(index);
        let mut missing = false;
        for route in self.wanted.routes() {
            let outcome = self.netlink.put_missing_route(index, route).await.map_err(|error| error.to_string())?;
            missing |= outcome.map_err(|refusal| format!("{route} cannot be added on {}: {refusal}", self.name))?;
        }
        Ok(missing)
    }

    /// What stands between what is there and what is wanted.
    async fn look(&mut self) -> Result<Gap, String> {
        let Some(index) = self.index() else { return Err(format!("interface {} does not exist", self.name)) };
        let present = self.netlink.addresses(index).await.map_err(|error| error.to_string())?;
        Ok(self.wanted.gap(&present))
    }

    /// Takes off what cannot be mended, so that it can be put on anew.
    async fn remove_first(&mut self, bad: Vec<Present>) -> Result<(), String> {
        if bad.is_empty() {
            return Ok(());
        }
        self.own_removals.extend(bad.iter().map(|present| present.net.address).collect::<Vec<IpAddr>>());
        self.take_off(&bad).await
    }

    /// How many of the wanted addresses may be refreshed: during a start, those that have been put on.
    pub(super) fn put_so_far(&self) -> usize {
        match &self.filling {
            Some(filling) if self.phase == Phase::Starting && filling.round == 0 => filling.done,
            Some(_) | None => self.wanted.addresses.len(),
        }
    }

    pub(super) fn index(&self) -> Option<u32> {
        self.link.as_ref().map(|link| link.index)
    }
}
