//! Wanted against reported state of each resource of a group: the next starts and stops, restart limits, give-up.
//!
//! Planning is pure: [`next_orders`] says what to order now; nothing counts as done until the resource's task reports it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{GroupConfig, ResourceConfig, ResourceKind, RestartConfig};
use crate::node::action::Order;
use crate::node::event::ResourceChange;
use crate::node::input::Report;
use crate::time::Instant;

/// Failures remembered per resource; more than any sensible restart limit.
const FAILURES_MAX: usize = 64;
/// Between two attempts to stop what could not be stopped: long enough for a human to read, short enough to heal alone.
const STOP_RETRY: Duration = Duration::from_secs(5);

/// What we believe of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum RunState {
    /// Nothing of it runs.
    Stopped,
    /// Start was ordered.
    Starting,
    /// It runs and is ready.
    Started,
    /// Stop was ordered.
    Stopping,
    /// It failed and waits for its restart.
    Backoff(Instant),
    /// It could not be stopped; the next attempt.
    Stuck(Instant),
    /// Somebody else brought it up. In maintenance it is left alone, else stopped.
    Stray,
}

impl RunState {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Started => "started",
            Self::Stopping => "stopping",
            Self::Backoff(_) => "failed",
            Self::Stuck(_) => "stuck",
            Self::Stray => "stray",
        }
    }
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Resource {
    pub(super) state: RunState,
    pub(super) since: Instant,
    /// Failures not older than the restart window.
    pub(super) failures: Vec<Instant>,
    pub(super) failure: Option<String>,
    /// When that was.
    pub(super) failed: Option<Instant>,
    /// `None` = its task has not said yet; `Some(Err)` = why it could not be started here.
    pub(super) able: Option<Result<(), String>>,
    /// An operator stopped it.
    pub(super) held: bool,
    /// Why it could not be stopped, as long as that is so and has been told.
    pub(super) stop_failure: Option<String>,
    /// How it came here although it should not be, as long as it is.
    pub(super) stray: Option<String>,
}

impl Resource {
    /// At our start something may be left over: it is stopped first.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: RunState::Started,
            since: now,
            failures: Vec::new(),
            failure: None,
            failed: None,
            able: None,
            held: false,
            stop_failure: None,
            stray: None,
        }
    }

    pub(super) fn turn(&mut self, state: RunState, now: Instant) {
        match state {
            RunState::Stopping | RunState::Stuck(_) => {}
            RunState::Stopped | RunState::Starting | RunState::Started | RunState::Backoff(_) => {
                self.stop_failure = None;
                self.stray = None;
            }
            RunState::Stray => self.stop_failure = None,
        }
        self.state = state;
        self.since = now;
    }

    /// Failures of the window are more than the limit allows.
    pub(super) fn is_exhausted(&self, restart: &RestartConfig) -> bool {
        self.failures.len() > usize::try_from(restart.max).unwrap_or(usize::MAX)
    }

    pub(super) fn is_unable(&self) -> bool {
        self.able.as_ref().is_some_and(Result::is_err)
    }

    pub(super) fn forget_failures(&mut self, now: Instant, restart: &RestartConfig) {
        self.failures.retain(|failure| now.since(*failure) < restart.window);
    }

    /// It failed, and the order to stop what is left of it has not been given yet.
    fn awaits_stop(&self) -> bool {
        matches!(self.state, RunState::Stuck(_)) && self.stop_failure.is_none()
    }

    /// It could not be stopped, whether or not that is being tried again.
    pub(super) fn cannot_be_stopped(&self) -> bool {
        matches!(self.state, RunState::Stuck(_) | RunState::Stopping) && self.stop_failure.is_some()
    }

    /// What could not be stopped is tried again as soon as orders are given. Returns whether it is that.
    pub(super) fn hurry(&mut self, now: Instant) -> bool {
        let unstoppable = matches!(self.state, RunState::Stuck(_)) && self.stop_failure.is_some();
        if unstoppable {
            self.turn(RunState::Stuck(now), now);
        }
        unstoppable
    }

    fn fail(&mut self, now: Instant, reason: String) {
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(now);
        }
        self.note_failure(now, reason);
    }

    /// One that does not count towards the restart limit.
    fn note_failure(&mut self, now: Instant, reason: String) {
        self.failure = Some(reason);
        self.failed = Some(now);
    }

    /// Wait before the next start: doubles with each failure of the window.
    fn backoff(&self, restart: &RestartConfig) -> Duration {
        let doublings = u32::try_from(self.failures.len().saturating_sub(1)).unwrap_or(u32::MAX).min(16);
        restart.backoff.saturating_mul(1 << doublings).min(restart.backoff_max)
    }

    /// Takes note of a report. `wanted`: the group wants it up. Returns what is worth telling.
    pub(super) fn on_report(
        &mut self,
        now: Instant,
        report: Report,
        wanted: bool,
        restart: &RestartConfig,
    ) -> Option<ResourceChange> {
        match report {
            Report::Started => {
                let awaited = self.state == RunState::Starting;
                awaited.then(|| self.turn(RunState::Started, now)).map(|()| ResourceChange::Started)
            }
            Report::StartFailed(reason) => {
                (self.state == RunState::Starting).then(|| self.on_start_failed(now, reason, restart))
            }
            Report::Stopped => self.on_stopped(now, wanted, restart),
            Report::StopFailed(reason) => self.on_stop_failed(now, reason),
            Report::Failed(reason) => match self.state {
                // The next order is a stop: what is left of it is removed before it is started again.
                RunState::Started | RunState::Starting => {
                    self.fail(now, reason.clone());
                    self.turn(RunState::Stuck(now), now);
                    Some(ResourceChange::Failed { reason })
                }
                RunState::Stopped | RunState::Stopping | RunState::Backoff(_) => None,
                RunState::Stuck(_) | RunState::Stray => None,
            },
            Report::Stray(reason) => match self.state {
                // The next start makes it ours.
                RunState::Stopped | RunState::Backoff(_) if wanted && !self.held => None,
                RunState::Stopped | RunState::Backoff(_) => {
                    self.stray = Some(reason.clone());
                    self.turn(RunState::Stray, now);
                    Some(ResourceChange::Stray { reason })
                }
                RunState::Starting | RunState::Started | RunState::Stopping => None,
                RunState::Stuck(_) | RunState::Stray => None,
            },
            Report::Well(what) => {
                if self.awaits_stop() {
                    self.turn(RunState::Started, now);
                }
                Some(ResourceChange::Notice { text: format!("well again: {what}") })
            }
            Report::Gone(what) => {
                if self.state == RunState::Stray {
                    self.turn(RunState::Stopped, now);
                }
                Some(ResourceChange::Notice { text: what })
            }
            Report::Able => {
                let news = self.is_unable().then_some(ResourceChange::Able);
                self.able = Some(Ok(()));
                news
            }
            Report::Unable(reason) => {
                let news = self.able.as_ref() != Some(&Err(reason.clone()));
                self.able = Some(Err(reason.clone()));
                news.then_some(ResourceChange::Unable { reason })
            }
            Report::Notice(text) => Some(ResourceChange::Notice { text }),
        }
    }

    fn on_stop_failed(&mut self, now: Instant, reason: String) -> Option<ResourceChange> {
        match self.state {
            RunState::Stopping | RunState::Stuck(_) => {
                let news = self.stop_failure.replace(reason.clone()).is_none_or(|before| before != reason);
                self.note_failure(now, reason.clone());
                self.turn(RunState::Stuck(now + STOP_RETRY), now);
                news.then_some(ResourceChange::StopFailed { reason })
            }
            // It could not be started, and something of it is left.
            RunState::Starting | RunState::Started => {
                self.fail(now, reason.clone());
                self.stop_failure = Some(reason.clone());
                self.turn(RunState::Stuck(now + STOP_RETRY), now);
                Some(ResourceChange::StopFailed { reason })
            }
            RunState::Stopped | RunState::Backoff(_) | RunState::Stray => None,
        }
    }

    fn on_start_failed(&mut self, now: Instant, reason: String, restart: &RestartConfig) -> ResourceChange {
        self.fail(now, reason.clone());
        self.turn(RunState::Backoff(now + self.backoff(restart)), now);
        ResourceChange::StartFailed { reason }
    }

    fn on_stopped(&mut self, now: Instant, wanted: bool, restart: &RestartConfig) -> Option<ResourceChange> {
        match self.state {
            RunState::Stopping | RunState::Stuck(_) | RunState::Stray => {
                let failed = wanted && !self.held && self.failures.last().is_some();
                let next = if failed { RunState::Backoff(now + self.backoff(restart)) } else { RunState::Stopped };
                self.turn(next, now);
                Some(ResourceChange::Stopped)
            }
            // Nobody ordered it: it went down by itself.
            RunState::Started | RunState::Starting => {
                let reason = "it stopped without being ordered to".to_owned();
                self.fail(now, reason.clone());
                self.turn(RunState::Backoff(now + self.backoff(restart)), now);
                Some(ResourceChange::Failed { reason })
            }
            RunState::Stopped | RunState::Backoff(_) => None,
        }
    }
}

pub(super) fn is_vip(config: &ResourceConfig) -> bool {
    match config.kind {
        ResourceKind::Vip(_) => true,
        ResourceKind::Exec(_) | ResourceKind::Lsb(_) | ResourceKind::Systemd(_) => false,
    }
}

/// The orders to give now: places in the group's list, in the order in which they must take effect.
pub(super) fn next_orders(
    resources: &[Resource],
    config: &GroupConfig,
    up: bool,
    within: Option<Duration>,
    now: Instant,
) -> Vec<(usize, Order)> {
    let stop = Order::Stop { within };
    let mut orders: Vec<(usize, Order)> = Vec::new();
    for (index, resource) in resources.iter().enumerate() {
        match resource.state {
            RunState::Stuck(retry) if now >= retry => orders.push((index, stop)),
            RunState::Stray => orders.push((index, stop)),
            RunState::Started | RunState::Starting if up && resource.held => orders.push((index, stop)),
            RunState::Stopped | RunState::Starting | RunState::Started | RunState::Stopping => {}
            RunState::Backoff(_) | RunState::Stuck(_) => {}
        }
    }
    if up {
        orders.extend(next_starts(resources, config, now).into_iter().map(|index| (index, Order::Start)));
    } else {
        orders.extend(next_stops(resources, config).into_iter().map(|index| (index, stop)));
    }
    orders
}

/// One after the other in the order of the file; neighbouring VIPs together.
fn next_starts(resources: &[Resource], config: &GroupConfig, now: Instant) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut pending = false;
    for (index, (resource, config)) in resources.iter().zip(&config.resources).enumerate() {
        let due = match resource.state {
            RunState::Started => continue,
            RunState::Stopped if resource.held => continue,
            RunState::Stopped => true,
            RunState::Backoff(until) => now >= until,
            RunState::Starting | RunState::Stopping | RunState::Stuck(_) | RunState::Stray => false,
        };
        if pending && !is_vip(config) {
            break;
        }
        if due {
            starts.push(index);
        }
        if !is_vip(config) {
            break;
        }
        pending = true;
    }
    starts
}

/// First every VIP, so that nobody is answered any more; then the services in reverse order, one by one.
fn next_stops(resources: &[Resource], config: &GroupConfig) -> Vec<usize> {
    let vip = |index: &usize| config.resources.get(*index).is_some_and(is_vip);
    let down = |index: usize| match resources.get(index).map(|resource| resource.state) {
        Some(RunState::Stopped | RunState::Backoff(_)) | None => true,
        Some(RunState::Starting | RunState::Started | RunState::Stopping | RunState::Stuck(_) | RunState::Stray) => {
            false
        }
    };
    let runs = |index: usize| match resources.get(index).map(|resource| resource.state) {
        Some(RunState::Starting | RunState::Started) => true,
        Some(RunState::Stopped | RunState::Stopping | RunState::Backoff(_) | RunState::Stuck(_) | RunState::Stray)
        | None => false,
    };
    let vips: Vec<usize> = (0..resources.len()).filter(vip).collect();
    if vips.iter().any(|index| !down(*index)) {
        return vips.into_iter().filter(|index| runs(*index)).collect();
    }
    let last = (0..resources.len()).rev().filter(|index| !vip(index)).find(|index| !down(*index));
    last.filter(|index| runs(*index)).into_iter().collect()
}

/// Every wanted resource is up.
pub(super) fn all_up(resources: &[Resource]) -> bool {
    resources.iter().all(|resource| match resource.state {
        RunState::Started => !resource.held,
        RunState::Stopped => resource.held,
        RunState::Starting | RunState::Stopping | RunState::Backoff(_) | RunState::Stuck(_) | RunState::Stray => false,
    })
}

/// Nothing of the group is here any more.
pub(super) fn all_down(resources: &[Resource]) -> bool {
    resources.iter().all(|resource| match resource.state {
        RunState::Stopped | RunState::Backoff(_) => true,
        RunState::Starting | RunState::Started | RunState::Stopping | RunState::Stuck(_) | RunState::Stray => false,
    })
}

#[cfg(test)]
mod tests;
