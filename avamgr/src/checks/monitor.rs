//! Checks that are repeated, and count before they speak.

use std::time::Duration;

use avamgr_core::cluster::CheckId;
use avamgr_core::config::{MonitorConfig, ReadyConfig};
use avamgr_core::node::Input;
use futures_util::future::{BoxFuture, FutureExt, pending, select_all};
use tokio::time::{Instant, sleep_until};

use super::Checker;
use crate::inputs::Inputs;

/// Runs no faster than this, whatever the config says: a check that fails at once must not keep the thread.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Failed `fall` times in a row; says what was seen last.
    Failing(String),
    /// Succeeded `rise` times in a row after that; says what is well again.
    Well(String),
}

/// The monitors of one resource.
#[derive(Debug, Default)]
pub struct Monitors {
    list: Vec<Monitor>,
}

impl Monitors {
    /// Monitors as the config lists them.
    pub fn new(configs: &[MonitorConfig]) -> Self {
        Self { list: configs.iter().map(Monitor::new).collect() }
    }

    /// Begins anew, believing that all is well: the resource has just been started.
    pub fn reset(&mut self) {
        self.list.iter_mut().for_each(Monitor::reset);
    }

    /// Whether all are well.
    pub fn well(&self) -> bool {
        self.list.iter().all(|monitor| !monitor.failing)
    }

    /// The shortest interval among them.
    pub fn interval(&self) -> Option<Duration> {
        self.list.iter().map(|monitor| monitor.config.interval).min()
    }

    /// Waits for a change; for ever without monitors. May be dropped and called again: a check under way is repeated.
    pub async fn change(&mut self) -> Change {
        if self.list.is_empty() {
            return pending().await;
        }
        let changes: Vec<BoxFuture<'_, Change>> =
            self.list.iter_mut().map(|monitor| monitor.change().boxed()).collect();
        select_all(changes).await.0
    }
}

/// Watches what every node needs but nobody starts: says what it is at first, then each change.
pub async fn watch_ready(check: CheckId, config: ReadyConfig, inputs: Inputs) {
    let mut monitor = Monitor::new(&config.monitor);
    let result = monitor.check().await;
    monitor.failing = result.is_err();
    inputs.send(Input::Ready { check, result }).await;
    loop {
        let result = match monitor.change().await {
            Change::Failing(reason) => Err(reason),
            Change::Well(_) => Ok(()),
        };
        inputs.send(Input::Ready { check, result }).await;
    }
}

#[derive(Debug)]
struct Monitor {
    config: MonitorConfig,
    checker: Checker,
    failing: bool,
    /// How often in a row it said the opposite of `failing`.
    against: u32,
    due: Option<Instant>,
}

impl Monitor {
    fn new(config: &MonitorConfig) -> Self {
        Self { config: config.clone(), checker: Checker::new(&config.check), failing: false, against: 0, due: None }
    }

    fn reset(&mut self) {
        self.failing = false;
        self.against = 0;
        self.due = None;
    }

    async fn change(&mut self) -> Change {
        loop {
            let due = *self.due.get_or_insert_with(|| Instant::now() + self.config.interval.max(INTERVAL_MIN));
            sleep_until(due).await;
            let result = self.check().await;
            if let Some(change) = self.count(result) {
                return change;
            }
        }
    }

    /// One check; the next is due an interval after its end.
    async fn check(&mut self) -> Result<(), String> {
        let result = self.checker.run(self.config.timeout).await.map_err(|error| error.to_string());
        self.due = Some(Instant::now() + self.config.interval.max(INTERVAL_MIN));
        result
    }

    fn count(&mut self, result: Result<(), String>) -> Option<Change> {
        if result.is_err() == self.failing {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = if self.failing { self.config.rise } else { self.config.fall };
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.failing = result.is_err();
        Some(match result {
            Ok(()) => Change::Well(self.checker.describe()),
            Err(reason) if needed > 1 => Change::Failing(format!("{reason} ({needed} times in a row)")),
            Err(reason) => Change::Failing(reason),
        })
    }
}
