//! Connections to the addresses end with them: clients see a reset at once instead of minutes later.
//!
//! A reset leaves only while its address is still here. So connections are destroyed before the addresses are taken off, and
//! once more afterwards those that were accepted in between; nobody can be told of these, but the service is. One that is being
//! accepted while it is destroyed may come out of it established, so that is looked at until there is nothing to be seen.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use avamgr_core::node::Report;
use avamgr_core::time::Instant;

use super::Task;
use super::everywhere::Ground;
use crate::clock;
use crate::netlink::destroy_connections;

/// Nobody new can come once the addresses are gone: so many looks see the last of those who were about to.
const LOOKS_MAX: u32 = 5;

/// Enough for the connections of most, and little enough for a stop that is late already.
const TIME_MIN: Duration = Duration::from_millis(10);

impl Task {
    /// Addresses that stay on this host whatever a stop takes off: with their connections nothing is wrong, also where they
    /// lie in a range of ours.
    pub(super) fn staying(&self, ground: &Ground) -> BTreeSet<IpAddr> {
        let mut staying: BTreeSet<IpAddr> = ground.present.iter().map(|present| present.net.address).collect();
        for leaving in self.leaving(ground).values().flatten() {
            staying.remove(&leaving.net.address);
        }
        staying
    }

    /// Destroys the connections to our addresses until it is done or `until` has come, but for [`TIME_MIN`] at least. Never fails: the addresses have to
    /// go in any case. Returns how many there were.
    pub(super) async fn end_connections(&mut self, staying: &BTreeSet<IpAddr>, until: Instant) -> usize {
        let left = until.since(clock::now()).max(TIME_MIN);
        let wanted = &self.wanted;
        let work = destroy_connections(|local| wanted.holds(local) && !staying.contains(&local));
        let (gone, trouble) = match tokio::time::timeout(left, work).await {
            Ok(Ok(destruction)) => {
                tracing::debug!(resource = ?self.id, gone = destruction.gone, "connections destroyed");
                (destruction.gone, destruction.refused.map(|refusal| refusal.to_string()))
            }
            Ok(Err(error)) => (0, Some(error.to_string())),
            Err(_elapsed) => (0, Some(format!("not all of them within {} ms", left.as_millis()))),
        };
        // Once: a kernel that cannot will not learn it.
        if let Some(why) = trouble
            && !self.connections_stay
        {
            self.connections_stay = true;
            let notice = format!("connections to its addresses cannot be ended, they hang until they time out: {why}");
            self.report(Report::Notice(notice)).await;
        }
        gone
    }

    /// The same once the addresses are gone, until there is nothing left to be seen.
    pub(super) async fn end_last_connections(&mut self, staying: &BTreeSet<IpAddr>, until: Instant) {
        for _ in 0..LOOKS_MAX {
            if self.end_connections(staying, until).await == 0 || clock::now() >= until {
                return;
            }
        }
    }
}
