//! A companion runs as the config wants it.

use std::sync::Arc;

use avamgr_core::config::Config;
use tokio::sync::watch;

use super::Orders;
use crate::process::Program;

/// Whenever the config was read again. `need`: what the companion is started for, and how; when something of that changes, it
/// is started anew, because it reads it at its start only.
pub(crate) async fn follow<N: PartialEq>(
    mut config: watch::Receiver<Arc<Config>>,
    orders: Orders,
    need: impl AsyncFn(&Config) -> Option<N>,
    program: impl Fn(&N) -> Program,
) {
    let mut known: Option<N> = None;
    loop {
        let current = Arc::clone(&config.borrow_and_update());
        let now = need(&current).await;
        if now != known {
            orders.want(now.as_ref().map(&program));
            known = now;
        }
        if config.changed().await.is_err() {
            return;
        }
    }
}
