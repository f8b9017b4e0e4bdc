//! The command line: options, manual pages and completion come from here.

use std::path::{Path, PathBuf};

use anyhow::Result;
use avamgr::manual;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

/// The socket where no config says otherwise.
const SOCKET: &str = "/run/avamgr-rules/rules.sock";

/// Replicates directories of rules between the nodes, and loses nothing.
#[derive(Clone, Debug, Parser)]
#[command(name = "rules-sync", version, max_term_width = 100)]
pub struct Args {
    /// Config file: avamgr.toml, or a file with [cluster], [[link]] and [rules] only
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/avamgr/avamgr.toml")]
    pub config: PathBuf,
    /// Which node of the config this is [default: the hostname]
    #[arg(long, global = true, value_name = "NODE")]
    pub node: Option<String>,
    /// Control socket [default: the config's, else /run/avamgr-rules/rules.sock]
    #[arg(long = "socket", global = true, value_name = "PATH")]
    pub socket_path: Option<PathBuf>,
    /// Print facts as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Replicate until stopped; avamgrd starts this by itself when its config has [rules]
    Run(RunArgs),
    /// Ask for the directories and write them into the config
    Init(InitArgs),
    /// Say what is wrong with config, directories and rsync before it hurts
    Check,
    /// Show whether everything is where it should be, and if not, what is not and why
    Status {
        /// Show it again every second
        #[arg(long, short)]
        watch: bool,
    },
    /// Print figures for Prometheus, as its textfile collector takes them
    Metrics,
    /// Show which paths are not the same here and on another node
    Diff {
        /// The other node; the only one if not named
        peer: Option<String>,
    },
    /// Read every rule again, compare with the other nodes and send what they lack
    Resync {
        /// Also let the other nodes delete what a directory has lost altogether
        #[arg(long)]
        force: bool,
    },
    /// Versions that lost when two nodes changed the same rule at once
    Conflicts {
        /// What to do with them
        #[command(subcommand)]
        verb: KeptVerb,
    },
    /// Versions that were overwritten or deleted
    Trash {
        /// What to do with them
        #[command(subcommand)]
        verb: KeptVerb,
    },
    /// Write the manual pages into a directory
    #[command(hide = true)]
    Man {
        /// The directory
        directory: PathBuf,
    },
    /// Print a completion script
    Completion {
        /// For this shell
        shell: Shell,
    },
}

/// How it runs.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// Where the log goes: stderr, journald, syslog or syslog-bsd
    #[arg(long, value_name = "TARGET")]
    pub log_target: Option<String>,
    /// How much is logged: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Where the daemon listens that says who is ACTIVE, instead of the config's `daemon.socket`
    #[arg(long, value_name = "PATH")]
    pub daemon_socket: Option<PathBuf>,
}

/// What to write.
#[derive(Clone, Debug, clap::Args)]
pub struct InitArgs {
    /// A directory, instead of being asked: a path or $VARIABLE, with a name before it if it needs one (name=path)
    #[arg(long = "directory", value_name = "[NAME=]PATH")]
    pub directories: Vec<String>,
    /// Write without asking whether that is right
    #[arg(long, short)]
    pub yes: bool,
}

/// What to do with what is kept.
#[derive(Clone, Debug, Subcommand)]
pub enum KeptVerb {
    /// Show them
    List,
    /// Put one back in its place; what is there is kept in its turn
    Restore {
        /// The name that `list` shows
        name: String,
    },
    /// Accept what won: the conflict is no longer shown, the version that lost goes to the trash
    Settle {
        /// The name that `list` shows
        name: Option<String>,
        /// All of them
        #[arg(long)]
        all: bool,
    },
}

impl Args {
    /// Where the courier listens: as told, else as configured, else where it is by default. A broken config file must not
    /// keep an operator from a courier that runs.
    pub fn socket(&self) -> PathBuf {
        let configured = || super::load(&self.config).map(|replication| replication.rules.socket);
        self.socket_path.clone().unwrap_or_else(|| configured().unwrap_or_else(|_| PathBuf::from(SOCKET)))
    }
}

/// Writes the manual pages.
pub(super) fn man(directory: &Path) -> Result<()> {
    Ok(manual::write_pages([Args::command()], directory)?)
}

/// Prints a completion script.
pub(super) fn completion(shell: Shell) -> Result<()> {
    Ok(manual::print_completion(Args::command(), shell)?)
}
