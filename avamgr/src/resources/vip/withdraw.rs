//! Taking everything off the interface, and believing it only when it is seen.

use std::time::Duration;

use avamgr_core::node::Report;
use avamgr_core::time::Instant;

use super::everywhere::Ground;
use super::plan::{collateral, list};
use super::{Mending, Phase, Task};
use crate::clock;
use crate::netlink::Present;

/// For a stop without a bound of its own. One attempt takes milliseconds for an address and a second for thousands; what
/// fails for so long is not going to succeed.
const STOP_TIME: Duration = Duration::from_secs(5);
/// The part of the time that connections may take before the addresses have their turn: one half.
const CONNECTIONS_SHARE: u32 = 2;
/// Between two attempts.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

impl Task {
    pub(super) async fn stop(&mut self, within: Option<Duration>) {
        self.go_down();
        let until = clock::now() + within.unwrap_or(STOP_TIME);
        let report = match self.withdraw(until).await {
            Ok(()) => Report::Stopped,
            Err(why) => Report::StopFailed(why),
        };
        self.report(report).await;
        self.say_ability().await;
    }

    /// Without an order: we stood still for too long to know whether the addresses are still ours.
    pub(super) async fn give_up(&mut self, why: String) {
        let until = clock::now() + STOP_TIME;
        if self.phase == Phase::Starting {
            return self.end_start(why, until).await;
        }
        self.go_down();
        let why = match self.withdraw(until).await {
            Ok(()) => why,
            Err(remains) => format!("{why}, but {remains}"),
        };
        self.report(Report::Failed(why)).await;
        self.say_ability().await;
    }

    /// A start does not come to its end. Only when nothing is left of it may the group go to another node; what remains is
    /// for a stop to take off.
    pub(super) async fn end_start(&mut self, why: String, until: Instant) {
        self.go_down();
        let report = match self.withdraw(until).await {
            Ok(()) => Report::StartFailed(why),
            Err(remains) => Report::StopFailed(format!("{why}; and then {remains}")),
        };
        self.report(report).await;
        self.say_ability().await;
    }

    /// Forgets everything that was under way; from here on nothing is put on or announced.
    pub(super) fn go_down(&mut self) {
        self.phase = Phase::Down;
        self.filling = None;
        self.v4.end();
        self.v6.end();
        self.announcer.clear();
        self.responder = None;
        self.rivals = None;
        self.defended = None;
        self.second_burst = None;
        self.slow_round = None;
        self.mending = Mending::default();
        self.own_removals.clear();
        self.lives.clear();
        self.in_trouble = false;
        self.has_strays = false;
        self.patrol_later();
    }

    /// Takes everything off, again and again until it is gone or `until` has come; at least once.
    pub(super) async fn withdraw(&mut self, until: Instant) -> Result<(), String> {
        loop {
            let Err(why) = self.withdraw_once(until).await else { return Ok(()) };
            if clock::now() + PAUSE > until {
                return Err(why);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn withdraw_once(&mut self, until: Instant) -> Result<(), String> {
        // What the watcher last said may be older than the order, and the interface may have another name by now.
        let ground = self.ground().await?;
        let staying = self.staying(&ground);
        let now = clock::now();
        self.end_connections(&staying, now + until.since(now) / CONNECTIONS_SHARE).await;
        // What cannot be removed is no reason to leave the rest: a range has no lifetime that would end it.
        let swept = self.sweep(&ground).await;
        let addresses = self.remove_addresses(&ground).await;
        let routes = self.remove_routes(&ground).await;
        swept.and(addresses).and(routes)?;
        self.end_connections(&staying, until).await;
        self.put_on.clear();
        Ok(())
    }

    /// Removes the addresses of the config, and looks whether they are gone.
    async fn remove_addresses(&mut self, ground: &Ground) -> Result<(), String> {
        let leaving = self.leaving(ground);
        if leaving.is_empty() {
            return Ok(());
        }
        let mut refused = None;
        for (index, leaving) in &leaving {
            let removed = self.remove(&ground.name(*index), &ground.on(*index), leaving).await;
            refused = refused.or(removed.unwrap_or_else(Some));
        }
        let after = self.ground().await?;
        let left = self.leaving(&after);
        let Some((index, left)) = left.first_key_value() else { return Ok(()) };
        let left: Vec<_> = left.iter().map(|present| present.net).collect();
        let because = refused.unwrap_or_else(|| "somebody puts it back".to_owned());
        Err(format!("{} cannot be taken off {}: {because}", list(&left), ground.name(*index)))
    }

    /// Takes addresses off the interface as it is known.
    pub(super) async fn take_off(&mut self, leaving: &[Present]) -> Result<(), String> {
        let Some(index) = self.index() else { return Ok(()) };
        let present = self.addresses(index).await?;
        let name = self.name.clone();
        match self.remove(&name, &present, leaving).await? {
            None => Ok(()),
            Some(refusal) => {
                let nets: Vec<_> = leaving.iter().map(|present| present.net).collect();
                Err(format!("{} cannot be taken off {}: {refusal}", list(&nets), self.name))
            }
        }
    }

    /// Removes addresses and puts back those of others that went with them; returns what the kernel refused first.
    pub(super) async fn remove(
        &mut self,
        name: &str,
        present: &[Present],
        leaving: &[Present],
    ) -> Result<Option<String>, String> {
        if leaving.is_empty() {
            return Ok(None);
        }
        let outcomes = self.netlink.remove(leaving).await.map_err(|error| error.to_string())?;
        let refused = outcomes.into_iter().find_map(Result::err).map(|refusal| refusal.to_string());
        // Only a primary address takes others with it.
        if leaving.iter().any(|address| address.net.address.is_ipv4() && !address.is_secondary()) {
            self.restore_others(name, present, leaving).await?;
        }
        Ok(refused)
    }

    async fn restore_others(&mut self, name: &str, before: &[Present], leaving: &[Present]) -> Result<(), String> {
        if !before.iter().any(Present::is_secondary) {
            return Ok(());
        }
        let Some(index) = leaving.first().map(Present::index) else { return Ok(()) };
        let after = self.addresses(index).await?;
        // An address of ours is for its own resource to put back: that one may have taken it off meanwhile, and then it
        // may be on another node already. What is marked and of no resource is a leftover, taken off since the listing.
        let mut lost = collateral(before, &after, leaving);
        lost.retain(|present| !present.is_marked() && !self.claims.is_claimed(present.net.address));
        if lost.is_empty() {
            return Ok(());
        }
        let outcomes = self.netlink.restore(&lost).await.map_err(|error| error.to_string())?;
        let nets: Vec<_> = lost.iter().map(|present| present.net).collect();
        let which = list(&nets);
        let notice = match outcomes.into_iter().find_map(Result::err) {
            None => format!("{which}: went from {name} with our address, put back"),
            Some(refusal) => format!("{which}: went from {name} with our address and cannot be put back: {refusal}"),
        };
        self.report(Report::Notice(notice)).await;
        Ok(())
    }

    async fn addresses(&mut self, index: u32) -> Result<Vec<Present>, String> {
        self.netlink.addresses(index).await.map_err(|error| error.to_string())
    }
}
