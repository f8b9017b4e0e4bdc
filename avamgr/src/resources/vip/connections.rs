//! Connections to the addresses end with them: clients see a reset at once instead of minutes later.
//!
//! A reset leaves only while its address is still here. So connections are destroyed before the addresses are taken off, and
//! once more afterwards those that were accepted in between; nobody can be told of these, but the service is.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use avamgr_core::node::Report;
use avamgr_core::time::Instant;

use super::Task;
use super::everywhere::Ground;
use crate::clock;
use crate::netlink::destroy_connections;

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
    /// go in any case.
    pub(super) async fn end_connections(&mut self, staying: &BTreeSet<IpAddr>, until: Instant) {
        let left = until.since(clock::now()).max(TIME_MIN);
        let wanted = &self.wanted;
        let work = destroy_connections(|local| wanted.holds(local) && !staying.contains(&local));
        let trouble = match tokio::time::timeout(left, work).await {
            Ok(Ok(destruction)) => {
                tracing::debug!(resource = ?self.id, gone = destruction.gone, "connections destroyed");
                destruction.refused.map(|refusal| refusal.to_string())
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_elapsed) => Some(format!("not all of them within {} ms", left.as_millis())),
        };
        // Once: a kernel that cannot will not learn it.
        if let Some(why) = trouble
            && !self.connections_stay
        {
            self.connections_stay = true;
            let notice = format!("connections to its addresses cannot be ended, they hang until they time out: {why}");
            self.report(Report::Notice(notice)).await;
        }
    }
}
