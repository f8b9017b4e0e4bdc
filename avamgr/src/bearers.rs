//! What TIPC counts on its bearers, for whoever looks at the status.
//!
//! Asked for once a second on the plane that may wait; the loop takes what was told last. Nothing is decided by it.

use std::sync::Arc;
use std::time::Duration;

use avamgr_core::config::{Config, TipcAddress};
use avamgr_core::control::{BearerStatus, Status};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::links::own_tipc_address;
use crate::netlink::tipc::{TipcLink, look};

/// Between two questions.
const PACE: Duration = Duration::from_secs(1);
/// After a question that was not answered: there may be no TIPC, and it is no harm to this.
const PATIENCE: Duration = Duration::from_secs(10);

/// The bearers as they were told last.
pub struct Bearers {
    config: Arc<Config>,
    told: watch::Receiver<Arc<Vec<TipcLink>>>,
}

impl Bearers {
    /// Asks again and again from now on, if the config has a link over TIPC. Must be called within a runtime.
    pub fn watch(config: Arc<Config>) -> Self {
        let (sender, told) = watch::channel(Arc::default());
        if config.links.iter().any(|link| link.tipc().is_some()) {
            tokio::spawn(ask(sender));
        }
        Self { config, told }
    }

    /// Puts what TIPC has counted beside each bearer of the status.
    pub fn fill(&self, status: &mut Status) {
        let told = Arc::clone(&self.told.borrow());
        for peer in &mut status.peers {
            let node = self.config.nodes.iter().position(|name| *name == peer.node);
            for link in &self.config.links {
                let address = node.and_then(|node| link.tipc()?.node_addresses.get(node));
                if let Some(address) = address {
                    let same = peer.links.iter_mut().filter(|status| status.link == link.name);
                    fill(same.flat_map(|status| &mut status.bearers), *address, &told);
                }
            }
        }
    }
}

async fn ask(told: watch::Sender<Arc<Vec<TipcLink>>>) {
    let mut well = true;
    loop {
        // The loop only uses what is there: that the kernel looks for its module is waited for here.
        let address = tokio::task::spawn_blocking(own_tipc_address).await;
        if !matches!(address, Ok(Ok(_))) {
            sleep(PATIENCE).await;
            continue;
        }
        let answer = look().await;
        if let (Err(error), true) = (&answer, well) {
            tracing::warn!("TIPC does not tell of its bearers: {error}; their counters are missing in the status");
        }
        well = answer.is_ok();
        if told.send(Arc::new(answer.map(|tipc| tipc.links).unwrap_or_default())).is_err() {
            return;
        }
        sleep(if well { PACE } else { PATIENCE }).await;
    }
}

fn fill<'a>(bearers: impl Iterator<Item = &'a mut BearerStatus>, peer: TipcAddress, told: &[TipcLink]) {
    for bearer in bearers {
        if let Some(found) = told.iter().find(|found| found.is_over(&bearer.bearer, peer)) {
            describe(bearer, found);
        }
    }
}

fn describe(bearer: &mut BearerStatus, found: &TipcLink) {
    bearer.tolerance_millis = Some(found.tolerance_millis);
    bearer.priority = Some(found.priority);
    let counters = [
        ("received", found.received),
        ("sent", found.sent),
        ("retransmitted", found.retransmitted),
        ("duplicates", found.duplicates),
        ("out_of_order", found.out_of_order),
        ("congested", found.congested),
    ];
    bearer.counters = counters.into_iter().map(|(name, count)| (name.to_owned(), u64::from(count))).collect();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use avamgr_core::time::Instant;

    use super::*;

    fn bearer(name: &str) -> BearerStatus {
        BearerStatus {
            bearer: name.to_owned(),
            up: true,
            since: Instant::BOOT,
            tolerance_millis: None,
            priority: None,
            counters: BTreeMap::new(),
        }
    }

    #[test]
    fn what_is_counted_stands_beside_its_own_bearer() {
        let at = |text: &str| -> TipcAddress { text.parse().unwrap() };
        let told = |name: &str, sent| TipcLink {
            name: name.to_owned(),
            tolerance_millis: 1_500,
            priority: 10,
            sent,
            ..TipcLink::default()
        };
        let told = [told("1001017:eth3-100101d:eth3", 7), told("1001017:eth3-100101e:eth3", 8)];
        let mut bearers = [bearer("eth3"), bearer("eth4")];
        fill(bearers.iter_mut(), at("1.1.30"), &told);
        assert_eq!((bearers[0].tolerance_millis, bearers[0].priority), (Some(1_500), Some(10)));
        assert_eq!((bearers[0].counters["sent"], bearers[0].counters["retransmitted"]), (8, 0));
        assert_eq!(bearers[1], bearer("eth4"), "nothing is known of it");
    }
}
