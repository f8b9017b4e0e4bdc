//! Calling an init script and understanding its answer.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::codes::{Status, explain};
use crate::process::aside::Aside;
use crate::process::{Ended, Exit, Outcome, Program, ProgramError, Rest, StillThere, log_to, nowhere, run_to_end};
use crate::resources::Identity;

/// `status` looks at a pid file and a process; one that takes longer hangs.
pub(super) const STATUS_TIME: Duration = Duration::from_secs(5);

/// What went wrong with a script.
#[derive(Debug, Error)]
pub enum LsbError {
    /// It cannot be run.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// It says no.
    #[error("{script} {verb} {}{output}", explain(*.exit))]
    Refused {
        /// The script.
        script: String,
        /// What it was asked.
        verb: &'static str,
        /// Its answer.
        exit: Exit,
        /// What it said last.
        output: String,
    },
    /// It does not end.
    #[error("{script} {verb} did not end within {time:.1?} and was killed{output}")]
    Hangs {
        /// The script.
        script: String,
        /// What it was asked.
        verb: &'static str,
        /// How long it had.
        time: Duration,
        /// What it said last.
        output: String,
    },
    /// `status` contradicts what was done.
    #[error("{script} {verb} succeeded, but its status says {status}")]
    Contradiction {
        /// The script.
        script: String,
        /// What was done.
        verb: &'static str,
        /// What `status` says.
        status: Status,
    },
    /// It is not running although nobody stopped it, or nobody knows.
    #[error("{script} status says {status}{output}")]
    NotRunning {
        /// The script.
        script: String,
        /// What `status` says.
        status: Status,
        /// What it said last.
        output: String,
    },
    /// The time for asking nicely is over.
    #[error("the script did not stop it in the time there was")]
    TimeIsUp,
    /// It could not be stopped.
    #[error("{cause}; its processes could not be killed either: {left}")]
    Unstoppable {
        /// The last word of the script.
        cause: String,
        /// What is left.
        left: StillThere,
    },
    /// It could not be stopped and there was nothing of ours to kill.
    #[error("{0}; no process carries our mark, so there is nothing we may kill")]
    NotOurs(String),
}

/// A script, called in the name of a resource.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) identity: Identity,
    pub(super) path: PathBuf,
    /// Where it is looked for.
    pub(super) lookups: Aside,
}

impl Script {
    /// Whether it can be called here.
    pub(super) async fn look(&self) -> Result<(), ProgramError> {
        self.program("status").resolve().await.map(drop)
    }

    /// `status`, and what it printed last.
    pub(super) async fn status(&self, time: Duration) -> Result<(Status, String), LsbError> {
        let ended = self.call("status", time.min(STATUS_TIME), Rest::Kill).await?;
        match ended.outcome {
            Outcome::Exited(exit) => Ok((exit.into(), ended.last_output())),
            Outcome::TimedOut(time) => Err(self.hangs("status", time, &ended)),
        }
    }

    /// `start` or `stop`, which succeed with 0.
    pub(super) async fn act(&self, verb: &'static str, time: Duration) -> Result<(), LsbError> {
        let ended = self.call(verb, time, Rest::Stay).await?;
        match ended.outcome {
            Outcome::Exited(Exit::Code(0)) => Ok(()),
            Outcome::Exited(exit) => {
                Err(LsbError::Refused { script: self.name(), verb, exit, output: ended.last_output() })
            }
            Outcome::TimedOut(time) => Err(self.hangs(verb, time, &ended)),
        }
    }

    pub(super) fn name(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    async fn call(&self, verb: &'static str, time: Duration, rest: Rest) -> Result<Ended, ProgramError> {
        // What status prints every few seconds is kept for reasons only.
        let sink = if verb == "status" { nowhere() } else { log_to(&self.identity.label) };
        run_to_end(&self.program(verb).resolve().await?, sink, time, rest).await
    }

    fn program(&self, verb: &str) -> Program {
        let command = vec![self.name(), verb.to_owned()];
        let (mark, lookups) = (Some(self.identity.mark.clone()), self.lookups.clone());
        Program { command, mark, lookups, ..Program::default() }
    }

    fn hangs(&self, verb: &'static str, time: Duration, ended: &Ended) -> LsbError {
        LsbError::Hangs { script: self.name(), verb, time, output: ended.last_output() }
    }
}
