//! Programs of ours that run beside the daemon.

use std::sync::Arc;

use avamgr_core::config::Config;
use avamgr_core::courier::Watched;
use tokio::sync::watch;

use crate::companion::briefing::Briefing;
use crate::courier::keep::Courier;
use crate::scribe::Scribe;
use crate::window::Window;

/// All of them.
pub(super) struct Companions {
    courier: Courier,
    window: Window,
}

impl Companions {
    pub(super) fn start(briefing: Briefing, config: &watch::Receiver<Arc<Config>>, scribe: &Scribe) -> Self {
        let window = Window::start(briefing.clone(), config.clone(), scribe);
        Self { courier: Courier::start(briefing, config.clone(), scribe), window }
    }

    /// How the rules stand, as the courier says.
    pub(super) fn rules(&self) -> watch::Receiver<Option<Arc<Watched>>> {
        self.courier.seen()
    }

    /// Ends them, within [`STOP_TIME`](crate::companion::STOP_TIME).
    pub(super) async fn stop(self) {
        tokio::join!(self.courier.stop(), self.window.stop());
    }

    /// Kills them, and waits for nothing.
    pub(super) async fn end_at_once(self) {
        tokio::join!(self.courier.end_at_once(), self.window.end_at_once());
    }
}
