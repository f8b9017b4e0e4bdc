//! Orders to the daemon: progress as it happens, then the last word and what it means.

use std::time::Duration;

use avamgr_core::control::{Answer, Command, Reply, Request};
use avamgr_core::node::event::{Fact, Severity};
use avamgr_core::time::Instant;
use serde::Serialize;

use crate::cli::CliError;
use crate::cli::args::{Switch, TermVerb, Verb, VotersVerb};
use crate::cli::output::{Styled, elapsed};
use crate::cli::session::{Session, unexpected};
use crate::cli::since;
use crate::clock;
use crate::control::connection::{Connection, Heard};
use crate::exit::Exit;
use crate::interrupt::Interrupt;

/// The daemon says every two seconds that it is still at it.
const PATIENCE: Duration = Duration::from_secs(10);

/// `--json`: the last word with the time it took.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    elapsed_millis: u128,
}

pub(super) fn run(session: &Session, verb: &Verb) -> Result<Exit, CliError> {
    match request(verb) {
        Some(request) => order(session, &request),
        None => Err(CliError::Failed("this verb is no order to the daemon".to_owned())),
    }
}

/// Sends an order and shows what comes of it.
pub(super) fn order(session: &Session, request: &Request) -> Result<Exit, CliError> {
    let interrupt = Interrupt::catch();
    let begun = clock::now();
    let mut connection = session.ask(request)?;
    match last_word(session, &mut connection, interrupt.as_ref(), begun)? {
        Some(answer) => show(session, &answer, since(begun)),
        None => {
            anstream::eprintln!("not waiting any longer: the order stands, `avamgr status` shows what comes of it");
            Ok(Exit::Failed)
        }
    }
}

fn request(verb: &Verb) -> Option<Request> {
    let command = match verb {
        Verb::Switchover(args) => {
            Command::Switchover { group: args.group.clone(), to: args.to.clone(), dry_run: args.dry_run }
        }
        Verb::Offline { duration } => Command::Offline { duration: *duration },
        Verb::Online => Command::Online,
        Verb::Maintenance { state } => Command::Maintenance { on: *state == Switch::On },
        Verb::Voters { verb: VotersVerb::Confirm } => Command::ConfirmVoters,
        Verb::Term { verb: TermVerb::Reset { group } } => Command::ResetTerm { group: group.clone() },
        Verb::Reload => return Some(Request::Reload),
        Verb::Status(_)
        | Verb::Why { .. }
        | Verb::History(_)
        | Verb::Resource(_)
        | Verb::Upgrade { .. }
        | Verb::Check(_)
        | Verb::Fence(_)
        | Verb::Keygen(_)
        | Verb::Report(_)
        | Verb::User(_)
        | Verb::Config { .. }
        | Verb::Shell
        | Verb::Completion(_)
        | Verb::Man { .. }
        | Verb::Demo { .. } => return None,
    };
    Some(Request::Command(command))
}

/// Shows progress until the answer; `None` = Ctrl-C.
pub(super) fn last_word(
    session: &Session,
    connection: &mut Connection,
    interrupt: Option<&Interrupt>,
    begun: Instant,
) -> Result<Option<Answer>, CliError> {
    loop {
        let reply = match connection.hear(interrupt, PATIENCE)? {
            Heard::Reply(reply) => *reply,
            Heard::Interrupted => return Ok(None),
            Heard::Nothing => return Err(connection.silent(PATIENCE).into()),
        };
        match reply {
            Reply::Event { entry } if session.json() => session.print_json(&entry)?,
            // Our own order, as the history has it: the last word says the same.
            Reply::Event { entry } if matches!(entry.event.fact, Fact::Command { .. }) => {}
            Reply::Event { entry } => {
                let time = elapsed(entry.event.at.since(begun));
                let mark = match entry.severity {
                    Severity::Info => String::new(),
                    Severity::Warning | Severity::Alarm => format!("{}: ", Styled::severity(entry.severity)),
                };
                session.print(&format!("  {time}  {mark}{}\n", entry.text))?;
            }
            Reply::Pending { waited } if !session.json() && waited > Duration::from_secs(1) => {
                session.print(&format!("  {}  {}\n", elapsed(waited), Styled::faint("still under way")))?;
            }
            Reply::Pending { .. } => {}
            Reply::Answer { answer } => return Ok(Some(answer)),
            other @ (Reply::Status { .. }
            | Reply::EndOfHistory
            | Reply::Config { .. }
            | Reply::Rules { .. }
            | Reply::Error { .. }) => {
                return Err(unexpected(other));
            }
        }
    }
}

pub(super) fn show(session: &Session, answer: &Answer, took: Duration) -> Result<Exit, CliError> {
    if session.json() {
        session.print_json(&Outcome { answer, elapsed_millis: took.as_millis() })?;
    } else {
        session.print(&words(answer, took))?;
    }
    Ok(match answer {
        Answer::Done { .. } => Exit::Done,
        Answer::Plan { obstacles, .. } if obstacles.is_empty() => Exit::Done,
        Answer::Plan { .. } | Answer::Refused { .. } => Exit::Refused,
        Answer::Failed { .. } => Exit::Failed,
    })
}

fn words(answer: &Answer, took: Duration) -> String {
    match answer {
        Answer::Done { text } => {
            format!("{} in {}: {text}\n", Styled::good("done"), elapsed(took).trim_start_matches('+'))
        }
        Answer::Plan { steps, obstacles } => plan(steps, obstacles),
        Answer::Refused { reason } => format!("{}: {reason}\n", Styled::bad("refused")),
        Answer::Failed { reason } => {
            format!("{} after {}: {reason}\n", Styled::bad("failed"), elapsed(took).trim_start_matches('+'))
        }
    }
}

fn plan(steps: &[String], obstacles: &[String]) -> String {
    let mut text = "dry run, nothing was done; it would:\n".to_owned();
    for (number, step) in steps.iter().enumerate() {
        text.push_str(&format!("  {}. {step}\n", number + 1));
    }
    if obstacles.is_empty() {
        text.push_str(&format!("{}\n", Styled::good("nothing stands in the way")));
    }
    for obstacle in obstacles {
        text.push_str(&format!("{}: {obstacle}\n", Styled::bad("in the way")));
    }
    text
}
