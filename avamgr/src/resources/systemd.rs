//! A systemd unit, started and stopped over D-Bus.
//!
//! Every job is followed to its end (JobRemoved), and then the unit's own state has the last word. systemd keeps the
//! unit's processes together in a cgroup, so a stop that takes too long ends in KILL to all of them. It also calls a unit
//! inactive or failed that has left processes (`KillMode=process`, `SendSIGKILL=no`, one that hangs in the kernel): stopped
//! is a unit only when its cgroup is empty as well.
//!
//! The unit is not our child: it survives the daemon, and a start finds it running. Its own `Restart=` should be off: two
//! that restart do not know of each other. A connection that breaks is no failure of the unit.

mod bus;
mod control_group;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use avamgr_core::config::{ResourceConfig, SystemdConfig};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::time::{Instant, sleep, timeout_at};
use zbus::OwnedObjectPath;

use super::{Seen, Service, kill_time};
use crate::checks::{Change, Monitors};
use crate::process::family;
use bus::{Bus, Signal, State};
use control_group::ControlGroups;

pub use bus::SystemdError;

/// Signals tell of a change at once; this often we look without one, in case it was lost with a connection.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Between two looks at what is left after KILL: no signal tells that a control group is empty.
const REMAINS_PACE: Duration = Duration::from_millis(50);

/// From KILL to giving up, when nobody bounds the stop.
const KILL_TIME: Duration = Duration::from_secs(5);

/// The resource.
#[derive(Debug)]
pub(crate) struct Systemd {
    unit: Unit,
    start_timeout: Duration,
    stop_timeout: Duration,
    monitors: Monitors,
}

/// The unit as we know it.
#[derive(Debug)]
struct Unit {
    name: String,
    /// Of the bus; the system bus unless set.
    address: Option<String>,
    bus: Option<Bus>,
    groups: ControlGroups,
    /// It was down when looked at last, and that has been said.
    down_told: bool,
    /// The same for systemd itself.
    lost_told: bool,
}

impl Systemd {
    pub(crate) fn new(resource: &ResourceConfig, config: &SystemdConfig, address: Option<String>) -> Self {
        Self {
            unit: Unit::new(config.unit.clone(), address),
            start_timeout: resource.start_timeout,
            stop_timeout: resource.stop_timeout,
            monitors: Monitors::new(&resource.monitors),
        }
    }
}

impl Service for Systemd {
    async fn able(&mut self) -> Result<(), String> {
        self.unit.look().await.map_err(|error| error.to_string())
    }

    async fn adopt(&mut self) -> Result<bool, String> {
        self.monitors.reset();
        self.unit.is_up().await.map_err(|error| error.to_string())
    }

    async fn start(&mut self) -> Result<(), String> {
        self.monitors.reset();
        self.unit.start(self.start_timeout).await.map_err(|error| error.to_string())
    }

    async fn stop(&mut self, by: Option<Instant>) -> Result<(), String> {
        let stop = self.unit.stop(self.stop_timeout, by);
        // Every question has its own bound, but several of them may be too many.
        let stopped = match by {
            Some(by) => timeout_at(by, stop).await.unwrap_or(Err(SystemdError::Silent { what: "the stop" })),
            None => stop.await,
        };
        stopped.map_err(|error| error.to_string())
    }

    async fn watch(&mut self) -> Seen {
        tokio::select! {
            biased;
            seen = self.unit.watch() => seen,
            change = self.monitors.change() => match change {
                Change::Failing(reason) => Seen::Failed(reason),
                Change::Well(what) if self.monitors.well() && !self.unit.down_told => Seen::Well(what),
                Change::Well(what) => Seen::Notice(format!("well again: {what}, but not the rest")),
            },
        }
    }
}

/// What is left of a unit that should be down.
struct Remains {
    state: State,
    /// Where processes are left although systemd has done with it.
    group: Option<PathBuf>,
}

impl Remains {
    /// `known` is the unit's control group when it was up: some versions of systemd forget it when they give a unit up.
    async fn look(bus: &Bus, unit: &str, groups: &ControlGroups, known: &str) -> Result<Self, SystemdError> {
        let state = bus.state().await?;
        if !state.down() {
            return Ok(Self { state, group: None });
        }
        let paths = [known.to_owned(), bus.control_group().await?];
        let group = groups.populated(paths).await;
        let group = group.map_err(|source| SystemdError::Unseen { unit: unit.to_owned(), source })?;
        Ok(Self { state, group })
    }

    fn none(&self) -> bool {
        self.state.down() && self.group.is_none()
    }

    fn error(self, unit: String, time: Duration) -> SystemdError {
        let state = self.state.into();
        let Some(group) = self.group else {
            return SystemdError::Slow { what: "the stop (KILL included)", unit, time, state };
        };
        let pids = control_group::processes(&group);
        let processes = if pids.is_empty() { String::new() } else { format!(": {}", family::list(&pids)) };
        SystemdError::Left { unit, state, group, processes }
    }
}

impl Unit {
    fn new(name: String, address: Option<String>) -> Self {
        let groups = ControlGroups::default();
        Self { name, address, bus: None, groups, down_told: false, lost_told: false }
    }

    async fn look(&mut self) -> Result<(), SystemdError> {
        self.connect().await?.loaded().await
    }

    async fn is_up(&mut self) -> Result<bool, SystemdError> {
        Ok(self.connect().await?.state().await?.up())
    }

    async fn start(&mut self, time: Duration) -> Result<(), SystemdError> {
        let unit = self.name.clone();
        let until = Instant::now() + time;
        let bus = self.connect().await?;
        bus.loaded().await?;
        bus.reset_failed().await;
        let mut signals = bus.signals().await?;
        let job = bus.job("StartUnit").await?;
        let result = job_end(&mut signals, &job, until).await;
        let state = bus.state().await?;
        // systemd's word is not enough: a unit may have ended right after its start.
        if state.up() {
            self.down_told = false;
            self.lost_told = false;
            return Ok(());
        }
        Err(match result {
            Some(result) => SystemdError::Job { what: "the start", unit, result, state: state.into() },
            None => SystemdError::Slow { what: "the start", unit, time, state: state.into() },
        })
    }

    async fn stop(&mut self, own: Duration, by: Option<Instant>) -> Result<(), SystemdError> {
        let unit = self.name.clone();
        let began = Instant::now();
        let time = by.map_or(own, |by| own.min(kill_time(began, by) - began));
        let groups = self.groups.clone();
        let bus = match self.connect().await {
            // No systemd, no units.
            Err(SystemdError::NotBooted) => return Ok(()),
            other => other?,
        };
        let group = bus.control_group().await?;
        let mut signals = bus.signals().await?;
        match bus.job("StopUnit").await {
            Ok(job) => drop(job_end(&mut signals, &job, began + time).await),
            // It is down already if there is no such unit; anything else shows in its state.
            Err(SystemdError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut remains = Remains::look(bus, &unit, &groups, &group).await?;
        if remains.none() {
            return Ok(());
        }
        tracing::warn!(%unit, "{} after {:.1?}: killing all its processes", remains.state, began.elapsed());
        let until = by.unwrap_or_else(|| Instant::now() + KILL_TIME);
        match bus.kill().await {
            // What has ended meanwhile cannot be killed; what has not shows in what remains.
            Ok(()) | Err(SystemdError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        loop {
            remains = Remains::look(bus, &unit, &groups, &group).await?;
            if remains.none() {
                return Ok(());
            }
            let told = timeout_at(until.min(Instant::now() + REMAINS_PACE), signals.next()).await;
            if matches!(told, Ok(None)) || Instant::now() >= until {
                return Err(remains.error(unit, began.elapsed()));
            }
        }
    }

    /// The connection, made anew when the last one has broken.
    async fn connect(&mut self) -> Result<&Bus, SystemdError> {
        let alive = match &self.bus {
            Some(bus) => bus.alive().await,
            None => false,
        };
        let bus = match self.bus.take() {
            Some(bus) if alive => bus,
            Some(_) | None => Bus::connect(self.address.as_deref(), &self.name).await?,
        };
        Ok(self.bus.insert(bus))
    }

    /// Looks at it until there is something to say.
    async fn watch(&mut self) -> Seen {
        loop {
            match self.state_unlike_last().await {
                Ok(state) if state.up() => {
                    self.down_told = false;
                    return Seen::Well(format!("unit {} is {state}", self.name));
                }
                Ok(state) => {
                    self.down_told = true;
                    return Seen::Failed(format!("unit {} is {state}{}", self.name, hint(&state)));
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.lost_told, true) {
                        return Seen::Notice(format!("unit {} cannot be watched: {error}", self.name));
                    }
                    sleep(LOOK_INTERVAL).await;
                }
            }
        }
    }

    /// Its state as soon as it is not what was said last.
    async fn state_unlike_last(&mut self) -> Result<State, SystemdError> {
        self.connect().await?;
        self.lost_told = false;
        let down_told = self.down_told;
        let bus = self.bus.as_ref().ok_or(SystemdError::Silent { what: "hello" })?;
        let mut signals = bus.signals().await?;
        loop {
            let state = bus.state().await?;
            if state.up() == down_told {
                return Ok(state);
            }
            // A stream that has ended is a connection that has broken: the next question says so.
            let _ = timeout_at(Instant::now() + LOOK_INTERVAL, signals.next()).await;
        }
    }
}

/// The result of a job, `None` when it takes too long.
async fn job_end(signals: &mut BoxStream<'static, Signal>, job: &OwnedObjectPath, until: Instant) -> Option<String> {
    loop {
        match timeout_at(until, signals.next()).await.ok()?? {
            Signal::JobRemoved(removed, result) if removed == *job => return Some(result),
            Signal::JobRemoved(..) | Signal::Changed => {}
        }
    }
}

fn hint(state: &State) -> &'static str {
    match (state.active.as_str(), state.sub.as_str()) {
        ("activating", "auto-restart") => {
            " (systemd restarts it by itself: set Restart=no in the unit and leave that to us)"
        }
        ("deactivating" | "inactive", _) => " (somebody else stopped it)",
        _ => "",
    }
}
