//! CLI: the operator's command line.
//!
//! Arguments become requests on the control socket, replies become text or JSON, answers become exit codes. It decides
//! nothing and believes nothing it did not hear: a daemon that cannot be reached is UNKNOWN, and what may have changed
//! since it was seen carries its age.

pub mod args;
mod check;
mod command;
mod documents;
mod fence;
mod history;
mod offline;
pub(crate) mod output;
pub mod render;
mod report;
mod resource;
mod seams;
mod session;
mod shell;
mod status;
mod upgrade;
mod user;
mod why;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use avamgr_core::time::Instant;
use clap::Parser;
use thiserror::Error;

use crate::cli::args::{Cli, Verb};
use crate::cli::output::Styled;
use crate::cli::session::Session;
use crate::clock;
use crate::control::connection::Unreachable;
use crate::exit::Exit;

/// Why a verb could not go on.
#[derive(Debug, Error)]
pub enum CliError {
    /// No daemon to talk to.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The daemon did not accept the request.
    #[error("{0}")]
    Refused(String),
    /// There is no config file, or it cannot be read.
    #[error("no config: {path}: {reason}")]
    NoConfig {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The config file is invalid; the text shows all that is wrong, with colours.
    #[error("the config is not valid\n{0}")]
    Config(String),
    /// The same as a JSON document, which belongs on the standard output.
    #[error("{0}")]
    ConfigDocument(String),
    /// Something on this side did not work.
    #[error("{0}")]
    Failed(String),
    /// The output cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    fn exit(&self) -> Exit {
        match self {
            Self::Unreachable(_) => Exit::Unreachable,
            Self::Refused(_) => Exit::Refused,
            Self::NoConfig { .. } | Self::Config(_) | Self::ConfigDocument(_) => Exit::ConfigInvalid,
            // The reader has seen enough (`| head`).
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Failed(_) | Self::Output(_) => Exit::Failed,
        }
    }
}

/// The program: arguments of the process in, exit code out.
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => ExitCode::from(run(&cli).code()),
        Err(error) => {
            // Help and version are no errors and go to stdout; clap knows.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { Exit::Usage.code() } else { Exit::Done.code() })
        }
    }
}

fn run(cli: &Cli) -> Exit {
    let session = Session::new(&cli.global);
    let done = if matches!(cli.verb, Verb::Shell) {
        shell::run(&session)
    } else if let Verb::Demo { no_keys } = cli.verb {
        // It takes this process into namespaces of its own, from where there is no way back to a prompt.
        seams::demo(no_keys)
    } else {
        dispatch(&session, &cli.verb)
    };
    done.unwrap_or_else(|error| complain(&error))
}

/// Does one verb and says what went wrong with it.
fn perform(session: &Session, verb: &Verb) -> Exit {
    dispatch(session, verb).unwrap_or_else(|error| complain(&error))
}

fn dispatch(session: &Session, verb: &Verb) -> Result<Exit, CliError> {
    match verb {
        Verb::Status(args) => status::run(session, args),
        Verb::Why { what } => why::run(session, what.as_deref()),
        Verb::History(args) => history::run(session, args),
        Verb::Switchover(_)
        | Verb::Offline { .. }
        | Verb::Online
        | Verb::Maintenance { .. }
        | Verb::Voters { .. }
        | Verb::Term { .. }
        | Verb::Reload => command::run(session, verb),
        Verb::Upgrade { binary } => upgrade::run(session, binary.as_deref()),
        Verb::Resource(args) => resource::run(session, args),
        Verb::Check(args) => check::run(session, args),
        Verb::Fence(args) => fence::run(session, args),
        Verb::Report(args) => report::run(session, args),
        Verb::Keygen(args) => documents::keygen(session, args),
        Verb::User(args) => user::run(session, args),
        Verb::Config { verb } => documents::config(session, verb),
        Verb::Completion(args) => documents::completion(*args),
        Verb::Man { directory } => documents::man(directory),
        Verb::Demo { .. } => {
            Err(CliError::Failed("the demo needs a process of its own: leave and run `avamgr demo`".to_owned()))
        }
        Verb::Shell => Err(CliError::Failed("this is the shell already".to_owned())),
    }
}

fn complain(error: &CliError) -> Exit {
    let exit = error.exit();
    if let CliError::ConfigDocument(document) = error {
        anstream::println!("{document}");
    } else if exit != Exit::Done {
        let text = Styled::bad("error").to_string();
        anstream::eprintln!("{text}: {error}");
        advise(error);
    }
    exit
}

/// What to do about a daemon that does not answer.
fn advise(error: &CliError) {
    let CliError::Unreachable(error) = error else { return };
    let advice = if error.is_stopped() {
        "`service dre start` starts it; `avamgr history` shows the last events from its store"
    } else {
        "`avamgr history` shows the last events from its store; its log says more"
    };
    anstream::eprintln!("  {}", Styled::faint(advice));
}

/// How long it is ago.
fn since(begun: Instant) -> Duration {
    clock::now().since(begun)
}
