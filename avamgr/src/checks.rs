//! Seeing whether something works: a process, a TCP port, an HTTP page, a script.
//!
//! A check answers within its timeout, never keeps the thread, and says in its error what was seen and what was expected.
//! It asks no name server: one that is slow would look like a service that is down.

mod error;
mod monitor;
mod net;
mod process;

#[cfg(test)]
mod tests;

use std::time::Duration;

use avamgr_core::config::Check;
use tokio::time::timeout;

use crate::process::{Executable, Outcome, Program, Rest, nowhere, run_to_end};

pub use error::CheckError;
pub use monitor::{Change, Monitors, watch_ready};
use net::{Target, Url};

/// A check, with what it remembers from one time to the next.
#[derive(Debug)]
pub struct Checker {
    how: How,
}

#[derive(Debug)]
enum How {
    Process(process::Finder),
    Tcp(Target),
    Http(Url),
    Script(Program, Option<Executable>),
    /// The config cannot be followed; the check fails with this each time.
    Wrong(String),
}

impl Checker {
    /// A check as the config describes it.
    pub fn new(check: &Check) -> Self {
        let how = match check {
            Check::Process(name) => How::Process(process::Finder::new(name)),
            Check::Tcp(address) => address.parse().map_or_else(How::Wrong, How::Tcp),
            Check::Http(url) => url.parse().map_or_else(How::Wrong, How::Http),
            Check::Script(command) => How::Script(Program { command: command.clone(), ..Program::default() }, None),
        };
        Self { how }
    }

    /// Checks once. A script runs on the thread that calls this, see [`crate::process`].
    ///
    /// # Errors
    /// What was seen instead.
    pub async fn run(&mut self, time: Duration) -> Result<(), CheckError> {
        match &mut self.how {
            How::Process(finder) => {
                let what = finder.describe();
                within(time, &what, finder.find()).await
            }
            How::Tcp(target) => within(time, &target.describe(), target.probe()).await,
            How::Http(url) => within(time, &url.describe(), url.probe()).await,
            How::Script(program, found) => script(program, found, time).await,
            How::Wrong(why) => Err(CheckError::Wrong(why.clone())),
        }
    }

    /// What it does, in a few words.
    pub fn describe(&self) -> String {
        match &self.how {
            How::Process(finder) => finder.describe(),
            How::Tcp(target) => target.describe(),
            How::Http(url) => url.describe(),
            How::Script(program, _) => format!("script {}", program.command.join(" ")),
            How::Wrong(why) => why.clone(),
        }
    }
}

async fn within(
    time: Duration,
    what: &str,
    probe: impl Future<Output = Result<(), CheckError>>,
) -> Result<(), CheckError> {
    timeout(time, probe).await.unwrap_or_else(|_| Err(CheckError::TimedOut { what: what.to_owned(), time }))
}

async fn script(program: &Program, found: &mut Option<Executable>, time: Duration) -> Result<(), CheckError> {
    let executable = match found.take() {
        Some(executable) => executable,
        None => program.resolve().await?,
    };
    // Looked up again next time, if it cannot be started now.
    let ended = run_to_end(&executable, nowhere(), time, Rest::Kill).await?;
    *found = Some(executable);
    if ended.success() {
        return Ok(());
    }
    let script = program.command.join(" ");
    let output = ended.last_output();
    Err(match ended.outcome {
        Outcome::Exited(exit) => CheckError::Script { script, exit, output },
        Outcome::TimedOut(time) => CheckError::ScriptHangs { script, time, output },
    })
}
