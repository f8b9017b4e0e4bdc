//! Verbs that make documents: key file, config as JSON, completion scripts, manual pages.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::args::{Cli, ConfigVerb, DaemonArgs, KeygenArgs};
use crate::cli::seams::KeyOrder;
use crate::cli::session::Session;
use crate::cli::{CliError, seams};
use crate::exit::Exit;
use crate::witness;

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

pub(super) fn completion(shell: Shell) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "avamgr", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(Exit::Done)
}

pub(super) fn man(directory: &Path) -> Result<Exit, CliError> {
    let cannot =
        |error: io::Error| CliError::Failed(format!("cannot write manual pages to {}: {error}", directory.display()));
    std::fs::create_dir_all(directory).map_err(cannot)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(cannot)?;
    clap_mangen::generate_to(DaemonArgs::command(), directory).map_err(cannot)?;
    clap_mangen::generate_to(witness::Args::command(), directory).map_err(cannot)?;
    Ok(Exit::Done)
}
