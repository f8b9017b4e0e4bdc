//! Words for the service manager (`sd_notify`). Without one, nothing happens. Called from the hands plane: the socket may be slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

/// Feeds per watchdog time: one may be late without harm.
const FEEDS: u32 = 3;

/// The daemon is ready: the config is good, sockets are open, leftovers are gone.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// What `systemctl status` shows.
pub fn status(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

/// The daemon is reading its config again; ends with [`ready`].
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// The daemon is stopping; a handover may take this much longer.
pub fn stopping(extend: Duration) {
    let micros = u32::try_from(extend.as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
}

/// How often the hands plane beats.
const HANDS_PACE: Duration = Duration::from_millis(500);

/// Proof that both planes run. The loop beats, the hands plane tells the service manager of it: so the loop never waits for
/// the service manager's socket, and a watchdog that is fed means that both run. The hands plane beats too, and the loop
/// watches it.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Beats>);

#[derive(Debug, Default)]
struct Beats {
    the_loop: AtomicU64,
    machine: AtomicU64,
    hands: AtomicU64,
}

impl Pulse {
    /// The loop has made a round. One store, no system call.
    pub fn beat(&self) {
        self.0.the_loop.fetch_add(1, Ordering::Relaxed);
    }

    /// This machine may go on: its watchdog is to be fed.
    pub fn beat_for_machine(&self) {
        self.0.machine.fetch_add(1, Ordering::Relaxed);
    }

    /// How often the loop has beaten for the machine.
    pub fn machine_beats(&self) -> u64 {
        self.0.machine.load(Ordering::Relaxed)
    }

    /// How often the loop has beaten.
    pub fn loop_beats(&self) -> u64 {
        self.0.the_loop.load(Ordering::Relaxed)
    }

    /// How often the hands plane has beaten.
    pub fn hands_beats(&self) -> u64 {
        self.0.hands.load(Ordering::Relaxed)
    }

    /// Beats for the plane it runs on, the hands.
    pub async fn beat_for_hands(self) {
        let mut pace = tokio::time::interval(HANDS_PACE);
        loop {
            pace.tick().await;
            self.0.hands.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Feeds the service manager's watchdog while the loop beats; ends at once when nobody watches.
    pub async fn guard(self) {
        let Some(allowed) = sd_notify::watchdog_enabled() else { return };
        let mut pace = tokio::time::interval(allowed / FEEDS);
        let mut seen = self.loop_beats();
        loop {
            pace.tick().await;
            let now = self.loop_beats();
            if now != seen {
                notify(&[NotifyState::Watchdog]);
            }
            seen = now;
        }
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "service manager cannot be told");
    }
}
