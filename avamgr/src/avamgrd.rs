//! The daemon's program: reads the config, opens the world, runs until it is told to hand over and stop.
//!
//! In the library, so that `avamgr demo` can run the same daemon from its own file.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use avamgr_core::config::{self, Config};
use clap::Parser;

use crate::journal::{self, Settings};
use crate::world::{self, Start};

/// How long the log may take to be written at the end.
const LOG_FLUSH: Duration = Duration::from_secs(2);

/// Availability manager: keeps a service and its addresses on one node of a pair.
///
/// Stays in the foreground. SIGTERM hands over and stops, SIGHUP reads the config and the keys again.
#[derive(Debug, Parser)]
#[command(name = "avamgrd", version)]
struct Arguments {
    /// The config file; avamgr.toml in the config directory unless given.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The config directory.
    #[arg(long, value_name = "DIR", env = "AVAMGR_CONFDIR", default_value = "/etc/avamgr")]
    conf_dir: PathBuf,
    /// Which node this is; the host's name unless given.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Where terms, holds and history live, instead of daemon.state_dir.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The control socket, instead of daemon.socket.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Run this node alone, without peer or arbitrator.
    #[arg(long)]
    standalone: bool,
    /// Log level: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Where the log goes: stderr, journald, syslog or syslog-bsd.
    #[arg(long, value_name = "TARGET")]
    log_target: Option<String>,
    /// Write the process number here; removed at the end.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
}

/// The program: arguments of the process in, exit code out.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::complain(&format!("avamgrd: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let variable = std::env::var("AVAMGR_LOG").ok();
    let settings =
        Settings::choose(variable.as_deref(), arguments.log_target.as_deref(), arguments.log_level.as_deref())?;
    let journal = journal::init(&settings, "avamgrd")?;
    let result = start(arguments);
    if let Err(error) = &result {
        tracing::error!("{error:#}");
    }
    journal.flush(LOG_FLUSH);
    result
}

fn start(arguments: &Arguments) -> Result<()> {
    let file = arguments.config.clone().unwrap_or_else(|| arguments.conf_dir.join("avamgr.toml"));
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
    let _pid_file = arguments.pid_file.as_ref().map(PidFile::write).transpose()?;
    let read = |start: &Start| load(&start.file, start.standalone);
    world::run(&Start { file, config, node, read, state_dir, socket, standalone })
}

fn load(file: &PathBuf, standalone: bool) -> Result<Config> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (config, warnings) = config::parse_with_warnings(&text, &file.display().to_string())
        .map_err(|errors| anyhow::anyhow!("the config is not valid\n{}", errors.render(false)))?;
    if !warnings.is_empty() {
        tracing::warn!("{}", warnings.render(false));
    }
    Ok(if standalone { config.alone() } else { config })
}

/// The file with our process number, removed at the end.
struct PidFile<'a>(&'a PathBuf);

impl<'a> PidFile<'a> {
    fn write(path: &'a PathBuf) -> Result<Self> {
        std::fs::write(path, format!("{}\n", std::process::id()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for PidFile<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0);
    }
}
