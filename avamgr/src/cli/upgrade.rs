//! `avamgr upgrade`: the daemon hangs up in the middle of it, and the next one tells how it went.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use avamgr_core::control::{Answer, Command, HistoryEntry, Reply, Request};
use avamgr_core::node::event::{Fact, UpgradeStep};
use avamgr_core::time::Instant;

use crate::cli::CliError;
use crate::cli::command::{last_word, show};
use crate::cli::session::{Session, unexpected};
use crate::cli::since;
use crate::clock;
use crate::control::connection::{PATIENCE, Unreachable};
use crate::exit::Exit;
use crate::interrupt::Interrupt;

/// The new program may take this long until it answers.
const RETURN: Duration = Duration::from_secs(20);
/// Between two looks at it.
const PACE: Duration = Duration::from_millis(50);
/// Events that are searched for the end of the upgrade.
const SEARCHED: usize = 100;

pub(super) fn run(session: &Session, binary: Option<&Path>) -> Result<Exit, CliError> {
    // The daemon has a directory of its own.
    let binary = binary.map(absolute).transpose()?;
    let interrupt = Interrupt::catch();
    let begun = clock::now();
    let mut connection = session.ask(&Request::Command(Command::Upgrade { binary }))?;
    let answer = match last_word(session, &mut connection, interrupt.as_ref(), begun) {
        Ok(Some(answer)) => answer,
        Ok(None) => {
            anstream::eprintln!("not waiting any longer: the order stands, `avamgr history` shows what comes of it");
            return Ok(Exit::Failed);
        }
        Err(CliError::Unreachable(Unreachable::Closed { .. })) => outcome(session, begun)?,
        Err(error) => return Err(error),
    };
    show(session, &answer, since(begun))
}

fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))
}

/// What the new program says of it.
fn outcome(session: &Session, begun: Instant) -> Result<Answer, CliError> {
    loop {
        match told(session, begun) {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) if since(begun) < RETURN => {}
            Ok(None) => {
                let reason =
                    "the new program has not said that everything is as it was: see `avamgr status`".to_owned();
                return Ok(Answer::Failed { reason });
            }
            Err(CliError::Unreachable(error)) if error.may_pass() && since(begun) < RETURN => {}
            Err(error) => return Err(error),
        }
        thread::sleep(PACE);
    }
}

fn told(session: &Session, begun: Instant) -> Result<Option<Answer>, CliError> {
    let mut connection = session.ask(&Request::last(SEARCHED))?;
    let mut answer = None;
    loop {
        match connection.receive(PATIENCE)? {
            Reply::Event { entry } if entry.event.at >= begun => answer = answer.or(last_step(&entry)),
            Reply::Event { .. } => {}
            Reply::EndOfHistory => return Ok(answer),
            other @ (Reply::Status { .. }
            | Reply::Pending { .. }
            | Reply::Answer { .. }
            | Reply::Config { .. }
            | Reply::Rules { .. }
            | Reply::Error { .. }) => return Err(unexpected(other)),
        }
    }
}

fn last_step(entry: &HistoryEntry) -> Option<Answer> {
    let Fact::Upgrade { step: UpgradeStep::Done { moved, .. } } = &entry.event.fact else { return None };
    let text = entry.text.clone();
    Some(if *moved { Answer::Failed { reason: text } } else { Answer::Done { text } })
}
