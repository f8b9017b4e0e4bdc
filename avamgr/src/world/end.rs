//! The orderly end of a daemon, when everything that it owned is down.

use anyhow::{Context as _, Result};
use tokio::task::{AbortHandle, JoinHandle};

use super::companions::Companions;
use super::{LAST_HOOKS, LAST_WORDS, Shared};
use crate::companion::STOP_TIME;
use crate::fencing::watchdog::Keeper;
use crate::guard::Guard;
use crate::journal::service;

/// What is still to be done when everything is down.
pub(super) struct LastWords {
    /// Only after an orderly end is everything down that it guards.
    pub(super) guard: Option<Guard>,
    pub(super) watchdog: Option<Keeper>,
    pub(super) companions: Companions,
    pub(super) orders: [AbortHandle; 2],
    pub(super) relay: JoinHandle<()>,
    pub(super) runner: JoinHandle<()>,
}

impl LastWords {
    pub(super) async fn speak(self, shared: Shared) -> Result<()> {
        service::stopping(STOP_TIME + LAST_WORDS + LAST_HOOKS);
        end_guards(self.guard, self.watchdog)?;
        self.companions.stop().await;
        // The relay ends with the last end of its queue.
        self.orders.iter().for_each(AbortHandle::abort);
        drop((shared.reloader, shared.upgrader));
        let _ = tokio::time::timeout(LAST_WORDS, self.relay).await;
        if tokio::time::timeout(LAST_HOOKS, self.runner).await.is_err() {
            tracing::warn!("hooks are not done within {} s: they end with the daemon", LAST_HOOKS.as_secs());
        }
        shared.history.close(LAST_WORDS);
        Ok(())
    }
}

fn end_guards(guard: Option<Guard>, watchdog: Option<Keeper>) -> Result<()> {
    guard.map_or(Ok(()), Guard::end).context("the kernel's guard cannot be taken away")?;
    Ok(watchdog.map_or(Ok(()), Keeper::end)?)
}
