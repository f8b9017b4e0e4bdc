//! An init script with the verbs of the LSB: `start`, `stop`, `status`.
//!
//! The script's word is never enough: after `start` and after `stop` its `status` is asked, and what was started by us and
//! carries our mark must be gone after `stop`. A script that hangs is killed with its group. A service that its script
//! cannot stop is killed as far as it carries our mark; then `status` has the last word.
//!
//! The service is not our child: it survives the daemon, and a start finds it running.

mod codes;
mod script;

use std::time::Duration;

use avamgr_core::config::{LsbConfig, ResourceConfig};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Identity, Seen, Service, kill_time};
use crate::checks::{Change, Monitors};
use crate::process::aside::Aside;
use crate::process::family::Family;
use crate::process::{Exit, ProgramError, StillThere};
use script::{STATUS_TIME, Script};

pub use codes::Status;
pub use script::LsbError;

/// Between two looks at the status, where no monitor asks for a shorter interval.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// So many looks in a row must say "unknown", or hang, before it counts as a failure: it is no proof of one.
const UNKNOWN_MAX: u32 = 3;

/// After `start` has succeeded, the status may say "not running" this long: some daemons write their pid file after the
/// script has ended.
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// Between two looks at the status while it settles.
const SETTLE_PACE: Duration = Duration::from_millis(50);

/// What the last look at the status may take when the time of a start or stop is used up: what was done was done in time,
/// and what came of it is worth knowing a moment late.
const LAST_LOOK_TIME: Duration = Duration::from_millis(250);

/// Attempts to stop before what carries our mark is killed.
const STOP_ATTEMPTS: u32 = 2;

/// From KILL to giving up, when nobody bounds the stop.
const KILL_TIME: Duration = Duration::from_secs(5);

/// The resource.
#[derive(Debug)]
pub(crate) struct Lsb {
    script: Script,
    start_timeout: Duration,
    stop_timeout: Duration,
    monitors: Monitors,
    /// A start was begun and has not succeeded: something may run that the script does not know of yet.
    interrupted: bool,
    /// Where what carries our mark is looked for.
    looks: Aside,
    /// Looks in a row that ended in "unknown".
    unknown: u32,
    /// The status was bad when looked at last, and that has been said.
    down_told: bool,
}

impl Lsb {
    pub(crate) fn new(resource: &ResourceConfig, lsb: &LsbConfig, identity: Identity) -> Self {
        Self {
            script: Script { identity, path: lsb.script.clone(), lookups: Aside::default() },
            start_timeout: resource.start_timeout,
            stop_timeout: resource.stop_timeout,
            monitors: Monitors::new(&resource.monitors),
            interrupted: false,
            looks: Aside::default(),
            unknown: 0,
            down_told: false,
        }
    }

    async fn try_start(&mut self) -> Result<(), LsbError> {
        let deadline = Instant::now() + self.start_timeout;
        self.interrupted = true;
        self.script.act("start", self.start_timeout).await?;
        let patience = deadline.min(Instant::now() + SETTLE_TIME);
        loop {
            match self.script.status(left(deadline).max(LAST_LOOK_TIME)).await {
                Ok((Status::Running, _)) => break,
                Ok(_) | Err(_) if Instant::now() < patience => sleep(SETTLE_PACE).await,
                Ok((status, _)) => return Err(self.contradiction("start", status)),
                Err(error) => return Err(error),
            }
        }
        self.interrupted = false;
        self.unknown = 0;
        self.down_told = false;
        self.monitors.reset();
        Ok(())
    }

    async fn try_stop(&mut self, by: Option<Instant>) -> Result<(), LsbError> {
        let force_at = by.map(|by| kill_time(Instant::now(), by));
        let asked = self.stop_by_asking();
        let stopped = match force_at {
            // Dropping it kills the script that is under way.
            Some(force_at) => timeout_at(force_at, asked).await.unwrap_or(Err(LsbError::TimeIsUp)),
            None => asked.await,
        };
        match stopped {
            Ok(()) => Ok(()),
            Err(error) => self.stop_by_force(error, by).await,
        }
    }

    /// The script's `stop`, and once more if it fails.
    async fn stop_by_asking(&mut self) -> Result<(), LsbError> {
        let grace_end = Instant::now() + self.stop_timeout;
        let mut attempt = 1;
        loop {
            match self.stop_and_look().await {
                Ok(()) => return self.see_off(grace_end).await,
                Err(error) if attempt == STOP_ATTEMPTS => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }

    /// One attempt: the script's `stop`, believed only when its `status` agrees.
    async fn stop_and_look(&self) -> Result<(), LsbError> {
        let stopped = match self.script.act("stop", self.stop_timeout).await {
            // Not running: what was wanted.
            Err(LsbError::Refused { exit: Exit::Code(7), .. }) => Ok(()),
            other => other,
        };
        let status = self.script.status(STATUS_TIME).await;
        match (stopped, status) {
            (_, Ok((status, _))) if status.dead() => Ok(()),
            (Err(error), _) | (Ok(()), Err(error)) => Err(error),
            (Ok(()), Ok((status, _))) => Err(self.contradiction("stop", status)),
        }
    }

    /// The script says that nothing runs. Many say so as soon as they have sent a signal: what carries our mark has the rest
    /// of the time to go, unless a start was cut short, whose script knew nothing of what it had started.
    async fn see_off(&mut self, grace_end: Instant) -> Result<(), LsbError> {
        if !self.interrupted && self.ours().gone(grace_end).await {
            return Ok(());
        }
        let name = self.script.name();
        match self.kill_ours(None).await {
            Ok(0) => Ok(()),
            Ok(killed) => {
                let resource = &self.script.identity.label;
                tracing::warn!(%resource, "{killed} processes that {name} stop had left were killed");
                Ok(())
            }
            Err(left) => Err(LsbError::Unstoppable { cause: format!("{name} stop has left processes"), left }),
        }
    }

    /// The script has failed: KILL to all that carries our mark, then ask its `status` once more.
    async fn stop_by_force(&mut self, error: LsbError, by: Option<Instant>) -> Result<(), LsbError> {
        tracing::warn!(resource = %self.script.identity.label, "{error}; killing what carries our mark");
        let killed = match self.kill_ours(by).await {
            Ok(killed) => killed,
            Err(left) => return Err(LsbError::Unstoppable { cause: error.to_string(), left }),
        };
        if no_script(&error) {
            // Nobody is left to ask, and nothing that it started is left either.
            return Ok(());
        }
        let now = Instant::now();
        let until = by.map_or(now + KILL_TIME, |by| by.max(now + LAST_LOOK_TIME));
        loop {
            let (status, _) = self.script.status(left(until)).await?;
            if status.dead() {
                return Ok(());
            }
            if killed == 0 {
                return Err(LsbError::NotOurs(error.to_string()));
            }
            if left(until) <= SETTLE_PACE {
                return Err(self.contradiction("stop", status));
            }
            // Until init has collected the dead, many scripts take them for the living.
            sleep(SETTLE_PACE).await;
        }
    }

    /// KILL to everything that was started by our calls of the script.
    async fn kill_ours(&mut self, by: Option<Instant>) -> Result<usize, StillThere> {
        let now = Instant::now();
        let killed = self.ours().clear(now, by.unwrap_or(now + KILL_TIME)).await?;
        self.interrupted = false;
        Ok(killed)
    }

    /// Everything that was started by our calls of the script.
    fn ours(&self) -> Family {
        Family { mark: self.script.identity.mark.clone(), session: None, looks: self.looks.clone() }
    }

    fn contradiction(&self, verb: &'static str, status: Status) -> LsbError {
        LsbError::Contradiction { script: self.script.name(), verb, status }
    }
}

impl Service for Lsb {
    async fn able(&mut self) -> Result<(), String> {
        self.script.look().await.map_err(|error| error.to_string())
    }

    async fn adopt(&mut self) -> Result<bool, String> {
        let (status, _) = self.script.status(STATUS_TIME).await.map_err(|error| error.to_string())?;
        self.monitors.reset();
        Ok(status == Status::Running)
    }

    async fn start(&mut self) -> Result<(), String> {
        self.try_start().await.map_err(|error| error.to_string())
    }

    async fn stop(&mut self, by: Option<Instant>) -> Result<(), String> {
        self.try_stop(by).await.map_err(|error| error.to_string())
    }

    async fn watch(&mut self) -> Seen {
        let interval = self.monitors.interval().unwrap_or(STATUS_INTERVAL);
        tokio::select! {
            biased;
            seen = watch_status(&self.script, &mut self.unknown, &mut self.down_told, interval) => seen,
            change = self.monitors.change() => match change {
                Change::Failing(reason) => Seen::Failed(reason),
                Change::Well(what) if self.monitors.well() && !self.down_told => Seen::Well(what),
                Change::Well(what) => Seen::Notice(format!("well again: {what}, but not the rest")),
            },
        }
    }
}

/// Looks at the status until there is something to say.
async fn watch_status(script: &Script, unknown: &mut u32, down_told: &mut bool, interval: Duration) -> Seen {
    loop {
        sleep(interval).await;
        let error = match script.status(STATUS_TIME).await {
            Ok((Status::Running, _)) => {
                *unknown = 0;
                if std::mem::take(down_told) {
                    return Seen::Well(format!("{} status", script.name()));
                }
                continue;
            }
            Ok((status, output)) => {
                if status.dead() {
                    *unknown = UNKNOWN_MAX;
                }
                LsbError::NotRunning { script: script.name(), status, output }
            }
            Err(error) => error,
        };
        *unknown = unknown.saturating_add(1);
        if *unknown >= UNKNOWN_MAX && !*down_told {
            *down_told = true;
            return Seen::Failed(error.to_string());
        }
    }
}

/// Whether there is no script that could know anything.
fn no_script(error: &LsbError) -> bool {
    matches!(
        error,
        LsbError::Program(
            ProgramError::Missing { .. } | ProgramError::NotAFile(_) | ProgramError::NotExecutable { .. }
        )
    )
}

fn left(by: Instant) -> Duration {
    by.saturating_duration_since(Instant::now())
}
