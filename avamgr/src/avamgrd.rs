//! The daemon's program: reads the config, opens the world, runs until it is told to hand over and stop.
//!
//! In the library, so that `avamgr demo` can run the same daemon from its own file.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use avamgr_core::config::{self, Config};
use avamgr_core::node::Saved;
use clap::Parser;
use thiserror::Error;

use crate::cli::args::DaemonArgs;
use crate::exit::Exit;
use crate::journal::{self, JournalError, Settings};
use crate::links::etcd;
use crate::process::shim;
use crate::reload;
use crate::upgrade;
use crate::world::{self, Start};

/// How long the log may take to be written at the end.
const LOG_FLUSH: Duration = Duration::from_secs(2);

/// The program: arguments of the process in, exit code out.
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == shim::ARGUMENT) {
        return shim::main();
    }
    let arguments = DaemonArgs::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::complain(&format!("avamgrd: {error:#}"));
            ExitCode::from(exit(&error).code())
        }
    }
}

/// A restart mends neither a config nor an option: the unit does not try.
fn exit(error: &anyhow::Error) -> Exit {
    match error.downcast_ref() {
        Some(JournalError::Target { .. } | JournalError::Level { .. }) => Exit::Usage,
        Some(JournalError::Journald(_) | JournalError::Setup(_)) => Exit::Failed,
        None if error.is::<BadConfig>() => Exit::ConfigInvalid,
        None => Exit::Failed,
    }
}

fn run(arguments: &DaemonArgs) -> Result<()> {
    let variable = std::env::var("AVAMGR_LOG").ok();
    let settings =
        Settings::choose(variable.as_deref(), arguments.log_target.as_deref(), arguments.log_level.as_deref())?;
    if arguments.check {
        let config = prepare(arguments, settings)?.config;
        reload::keyring(&config)?;
        reload::witness_keyring(&config)?;
        etcd::check_certificates(&config)?;
        return Ok(());
    }
    if arguments.try_continue {
        let mut state = Vec::new();
        std::io::stdin().read_to_end(&mut state).context("cannot read the state of the running daemon")?;
        let start = prepare(arguments, settings)?;
        reload::keyring(&start.config)?;
        reload::witness_keyring(&start.config)?;
        Saved::read(&state, &start.config, start.node)?;
        return Ok(());
    }
    let journal = journal::init(&settings, "avamgrd")?;
    let result =
        prepare(arguments, settings).and_then(|start| continued(arguments, start)).and_then(|start| world::run(&start));
    if let Err(error) = &result {
        tracing::error!("{error:#}");
    }
    journal.flush(LOG_FLUSH);
    result
}

fn prepare(arguments: &DaemonArgs, log: Settings) -> Result<Start> {
    let file = arguments.config_file();
    let standalone = arguments.standalone;
    let config = load(&file, standalone)?;
    let name = match &arguments.node {
        Some(name) => name.clone(),
        None => hostname::get().context("the host has no name")?.to_string_lossy().into_owned(),
    };
    let short = name.split('.').next().unwrap_or_default();
    let Some(node) = config.node(&name).or_else(|| config.node(short)) else {
        let nodes = config.nodes.join(", ");
        bail!("this host is {name}, but the nodes of {} are {nodes}: name one with --node", file.display());
    };
    let (state_dir, socket) = (arguments.state_dir.clone(), arguments.socket.clone());
    let pid_file = arguments.pid_file.clone();
    let read = |start: &Start| load(&start.file, start.standalone);
    Ok(Start { file, config, node, read, state_dir, socket, standalone, pid_file, log, continued: None })
}

/// With what the program before this one had, if there was one.
fn continued(arguments: &DaemonArgs, start: Start) -> Result<Start> {
    let Some(number) = arguments.continue_from else { return Ok(start) };
    let state = upgrade::inherited(number).context("the state of the program before this one is not there")?;
    let saved = Saved::read(&state, &start.config, start.node)?;
    Ok(Start { continued: Some(saved), ..start })
}

/// The config cannot be used; the text says all that is wrong.
#[derive(Debug, Error)]
#[error("{0}")]
struct BadConfig(String);

fn load(file: &PathBuf, standalone: bool) -> Result<Config> {
    let text =
        std::fs::read_to_string(file).map_err(|error| BadConfig(format!("cannot read {}: {error}", file.display())))?;
    let (config, warnings) = config::parse_with_warnings(&text, &file.display().to_string())
        .map_err(|errors| BadConfig(format!("the config is not valid\n{}", errors.render(false))))?;
    if !warnings.is_empty() {
        tracing::warn!("{}", warnings.render(false));
    }
    Ok(if standalone { config.alone() } else { config })
}
