//! A process that we supervise, through a shim that keeps it while its right lasts (see [`crate::process::shim`]).
//!
//! Started means: its `ready` check holds, or, without one, it has lived for a moment. Stopped means: no process of its
//! group, of its session or with its mark is left. It is expected to stay in the foreground; one that puts itself into the
//! background looks like one that has ended, and is reported so.

use std::time::Duration;

use avamgr_core::config::{Check, ExecConfig, ResourceConfig};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use super::{Identity, Seen, Service, kill_time};
use crate::checks::{Change, Checker, Monitors};
use crate::process::aside::Aside;
use crate::process::family::Family;
use crate::process::shim::{Attached, Post};
use crate::process::{Executable, Exit, Program, ProgramError, StillThere, log_to, quoted};

/// A program without a `ready` check counts as started after this: long enough for one that cannot read its config or open
/// its port to end, short beside any failover budget.
const SETTLE_TIME: Duration = Duration::from_millis(50);

/// Pauses between two ready checks: quick at first, as most services are, then sparing.
const READY_PACE_MIN: Duration = Duration::from_millis(20);
const READY_PACE_MAX: Duration = Duration::from_millis(200);

/// One ready check may take this long: one that hangs while the service is half up must not eat the whole start.
const READY_CHECK_TIME: Duration = Duration::from_secs(2);

/// From KILL to giving up, when nobody bounds the stop: memory of many gigabytes takes a second to be freed.
const KILL_TIME: Duration = Duration::from_secs(5);

/// Ends sooner than this, with status 0: it has probably put itself into the background.
const DAEMON_AGE: Duration = Duration::from_secs(5);

/// Why it did not start, or does not run any more.
#[derive(Debug, Error)]
pub enum ExecError {
    /// It cannot be run here.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// It ended.
    #[error("{program} {exit} after {age:.1?}{hint}{output}")]
    Ended {
        /// The program.
        program: String,
        /// How.
        exit: Exit,
        /// How long it lived.
        age: Duration,
        /// What may be wrong.
        hint: &'static str,
        /// What it said last.
        output: String,
    },
    /// It is not ready in time.
    #[error("{program} was not ready within {time:?}: {seen}{output}")]
    NeverReady {
        /// The program.
        program: String,
        /// How long it had.
        time: Duration,
        /// What the check saw last.
        seen: String,
        /// What it said last.
        output: String,
    },
    /// What an earlier daemon left behind cannot be removed.
    #[error("left by an earlier life and {0}")]
    Leftover(#[from] StillThere),
}

/// The resource.
#[derive(Debug)]
pub(crate) struct Exec {
    identity: Identity,
    program: Program,
    /// Found when it was looked for last, so that a start need not ask a user database that may be away.
    executable: Option<Executable>,
    ready: Option<Check>,
    start_timeout: Duration,
    stop_timeout: Duration,
    monitors: Monitors,
    /// Where its shim is.
    post: Post,
    /// Names what is run: a shim that keeps something else is not ours to go on with.
    digest: u64,
    attached: Option<Attached>,
    /// Where its processes are looked for.
    looks: Aside,
    /// Its end has been reported.
    end_told: bool,
    /// Nothing of an earlier life is here.
    swept: bool,
    /// When the stop under way began: an order that replaces it does not give it its grace again.
    stopping: Option<Instant>,
}

impl Exec {
    pub(crate) fn new(resource: &ResourceConfig, exec: &ExecConfig, identity: Identity, post: Post) -> Self {
        let program = Program {
            command: exec.command.clone(),
            environment: exec.environment.clone(),
            bare: false,
            directory: exec.directory.clone(),
            user: exec.user.clone(),
            mark: Some(identity.mark.clone()),
            lookups: Aside::default(),
        };
        Self {
            identity,
            program,
            executable: None,
            ready: exec.ready.clone(),
            start_timeout: resource.start_timeout,
            stop_timeout: resource.stop_timeout,
            monitors: Monitors::new(&resource.monitors),
            post,
            digest: Attached::digest(&(&exec.command, &exec.environment, &exec.directory, &exec.user)),
            attached: None,
            looks: Aside::default(),
            end_told: false,
            swept: false,
            stopping: None,
        }
    }

    async fn try_start(&mut self) -> Result<(), ExecError> {
        if !self.swept {
            let kill_at = Instant::now() + self.stop_timeout;
            self.end_all(kill_at, kill_at + KILL_TIME).await?;
        }
        let executable = match self.executable.take() {
            Some(executable) => executable,
            None => self.program.resolve().await?,
        };
        let sink = log_to(&self.identity.label);
        let attached = Attached::spawn(self.post.clone(), executable.clone(), self.digest, sink)?;
        self.end_told = false;
        self.stopping = None;
        self.monitors.reset();
        let attached = self.attached.insert(attached);
        attached.begun(&executable).await?;
        self.executable = Some(executable);
        let ready = wait_ready(self.ready.as_ref(), self.start_timeout);
        let seen = tokio::select! {
            biased;
            exit = attached.exited() => return Err(self.ended(exit)),
            seen = ready => seen,
        };
        let output = || quoted(self.attached.as_ref().and_then(Attached::last_line));
        seen.map_err(|seen| ExecError::NeverReady {
            program: self.program_name(),
            time: self.start_timeout,
            seen,
            output: output(),
        })
    }

    async fn try_stop(&mut self, by: Option<Instant>) -> Result<(), StillThere> {
        let now = Instant::now();
        let began = *self.stopping.get_or_insert(now);
        let (kill_at, give_up_at) = bounds(now, began + self.stop_timeout, by);
        self.end_all(kill_at, give_up_at).await?;
        self.stopping = None;
        Ok(())
    }

    /// Ends what a shim keeps, ours or that of an earlier daemon, and then what carries the mark without a shim.
    async fn end_all(&mut self, kill_at: Instant, give_up_at: Instant) -> Result<(), StillThere> {
        if self.attached.is_none() {
            self.attached = self.call().await;
        }
        if let Some(attached) = &mut self.attached {
            attached.stop(kill_at, give_up_at).await?;
        }
        let (mark, looks) = (self.identity.mark.clone(), self.looks.clone());
        let family = Family { mark, session: self.attached.as_ref().and_then(Attached::pid), looks };
        let found = family.clear(kill_at, give_up_at).await?;
        if found > 0 {
            tracing::warn!(resource = %self.identity.label, "{found} left-over processes stopped");
        }
        self.attached = None;
        self.swept = true;
        Ok(())
    }

    /// The shim that an earlier daemon has left. Whoever cannot be asked keeps nothing that its mark would not show.
    async fn call(&self) -> Option<Attached> {
        let called = Attached::call(&self.post, log_to(&self.identity.label)).await;
        called.unwrap_or_else(|error| {
            tracing::warn!(resource = %self.identity.label, "its shim cannot be asked: {error}");
            None
        })
    }

    fn ended(&self, exit: Exit) -> ExecError {
        let age = self.attached.as_ref().map(Attached::age).unwrap_or_default();
        let hint = if exit.success() && age < DAEMON_AGE {
            " (a program that puts itself into the background must be told to stay in the foreground)"
        } else {
            ""
        };
        let output = quoted(self.attached.as_ref().and_then(Attached::last_line));
        ExecError::Ended { program: self.program_name(), exit, age, hint, output }
    }

    fn program_name(&self) -> String {
        self.program.command.first().cloned().unwrap_or_default()
    }
}

impl Service for Exec {
    async fn able(&mut self) -> Result<(), String> {
        match self.program.resolve().await {
            Ok(executable) => {
                self.executable = Some(executable);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    async fn start(&mut self) -> Result<(), String> {
        self.try_start().await.map_err(|error| error.to_string())
    }

    async fn adopt(&mut self) -> Result<bool, String> {
        let Some(attached) = self.call().await else { return Ok(false) };
        let ours = attached.keeps(self.digest);
        self.attached = Some(attached);
        if !ours {
            self.stop(None).await?;
            return Ok(false);
        }
        self.end_told = false;
        self.monitors.reset();
        Ok(true)
    }

    async fn stop(&mut self, by: Option<Instant>) -> Result<(), String> {
        self.try_stop(by).await.map_err(|error| error.to_string())
    }

    async fn watch(&mut self) -> Seen {
        let end = async {
            match &mut self.attached {
                Some(attached) if !self.end_told => attached.exited().await,
                Some(_) | None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            exit = end => {
                self.end_told = true;
                Seen::Failed(self.ended(exit).to_string())
            }
            change = self.monitors.change() => match change {
                Change::Failing(reason) => Seen::Failed(reason),
                Change::Well(what) if self.monitors.well() && !self.end_told => Seen::Well(what),
                Change::Well(what) => Seen::Notice(format!("well again: {what}, but not the rest")),
            }
        }
    }
}

/// When to send KILL and when to give up: the resource's own times, or earlier when time is short.
fn bounds(now: Instant, grace_end: Instant, by: Option<Instant>) -> (Instant, Instant) {
    let Some(by) = by else {
        return (grace_end, grace_end.max(now) + KILL_TIME);
    };
    (grace_end.min(kill_time(now, by)), by)
}

/// Waits until the check holds, or for a moment; answers with what was seen last when that takes too long.
async fn wait_ready(ready: Option<&Check>, time: Duration) -> Result<(), String> {
    let Some(check) = ready else {
        sleep(SETTLE_TIME).await;
        return Ok(());
    };
    let mut checker = Checker::new(check);
    let mut seen = "its check did not answer".to_owned();
    let poll = async {
        let mut pace = READY_PACE_MIN;
        while let Err(error) = checker.run(READY_CHECK_TIME).await {
            seen = error.to_string();
            sleep(pace).await;
            pace = (pace * 3 / 2).min(READY_PACE_MAX);
        }
    };
    if timeout(time, poll).await.is_ok() { Ok(()) } else { Err(seen) }
}
