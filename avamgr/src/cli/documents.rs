//! Verbs that make documents: key file, config as JSON, completion scripts, manual pages.

use std::io;
use std::path::Path;

use clap::CommandFactory;

use crate::cli::args::{Cli, CompletionArgs, ConfigVerb, DaemonArgs, KeygenArgs, Program};
use crate::cli::seams::KeyOrder;
use crate::cli::session::Session;
use crate::cli::{CliError, seams};
use crate::exit::Exit;
use crate::{manual, witness};

pub(super) fn keygen(session: &Session, args: &KeygenArgs) -> Result<Exit, CliError> {
    let file = match &args.file {
        Some(file) => file.clone(),
        None => session.config()?.daemon.key_file,
    };
    let order = match (args.send_with, args.remove) {
        (Some(number), _) => KeyOrder::SendWith(number),
        (None, Some(number)) => KeyOrder::Remove(number),
        (None, None) => KeyOrder::Add,
    };
    let done = seams::change_keys(&file, order)?;
    session.print(&format!("{done}\n"))?;
    Ok(Exit::Done)
}

pub(super) fn config(session: &Session, verb: &ConfigVerb) -> Result<Exit, CliError> {
    match verb {
        ConfigVerb::Show => {
            let config = session.running_config()?;
            let text =
                if session.json() { serde_json::to_string(&config) } else { serde_json::to_string_pretty(&config) };
            session.print(&format!("{}\n", text.map_err(io::Error::from)?))?;
            Ok(Exit::Done)
        }
    }
}

pub(super) fn completion(args: CompletionArgs) -> Result<Exit, CliError> {
    let program = match args.program {
        Program::Avamgr => Cli::command(),
        Program::Avamgrd => DaemonArgs::command(),
        Program::AvamgrWitness => witness::Args::command(),
    };
    manual::print_completion(program, args.shell)?;
    Ok(Exit::Done)
}

pub(super) fn man(directory: &Path) -> Result<Exit, CliError> {
    let programs = [Cli::command(), DaemonArgs::command(), witness::Args::command()];
    manual::write_pages(programs, directory).map_err(|error| CliError::Failed(error.to_string()))?;
    Ok(Exit::Done)
}
