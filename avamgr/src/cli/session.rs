//! What all verbs share: where the daemon is, how to ask it, how to print.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use avamgr_core::cluster::NodeId;
use avamgr_core::config::Config;
use avamgr_core::control::{Reply, Request, Status};
use serde::Serialize;

use crate::cli::CliError;
use crate::cli::args::Global;
use crate::cli::seams;
use crate::control::connection::{Connection, PATIENCE, Unreachable};

/// Name of the daemon.
pub(super) const DAEMON: &str = "avamgrd";
/// The socket where no config says otherwise.
const SOCKET: &str = "/run/avamgr/avamgr.sock";

/// Options in force.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) global: Global,
}

impl Session {
    pub(super) fn new(global: &Global) -> Self {
        Self { global: global.clone() }
    }

    pub(super) fn json(&self) -> bool {
        self.global.json
    }

    /// The config file as it is on disk, which may not be what the daemon runs with.
    pub(super) fn config(&self) -> Result<Config, CliError> {
        seams::load(&self.global.config_file(), self.json()).map(|loaded| loaded.config)
    }

    /// The daemon's socket: as told, else as configured, else where it is by default. A broken config file must not keep an
    /// operator from a daemon that runs.
    pub(super) fn socket(&self) -> PathBuf {
        self.global
            .socket
            .clone()
            .unwrap_or_else(|| self.config().map_or_else(|_| PathBuf::from(SOCKET), |config| config.daemon.socket))
    }

    /// Opens a connection and asks.
    pub(super) fn ask(&self, request: &Request) -> Result<Connection, Unreachable> {
        let mut connection = Connection::open(DAEMON, &self.socket())?;
        connection.send(request)?;
        Ok(connection)
    }

    /// The status of the daemon.
    pub(super) fn status(&self) -> Result<Status, CliError> {
        let reply = self.ask(&Request::Status)?.receive(PATIENCE)?;
        if let Reply::Status { status } = reply { Ok(*status) } else { Err(unexpected(reply)) }
    }

    /// The config the daemon runs with.
    pub(super) fn running_config(&self) -> Result<Config, CliError> {
        let reply = self.ask(&Request::Config)?.receive(PATIENCE)?;
        if let Reply::Config { config } = reply { Ok(*config) } else { Err(unexpected(reply)) }
    }

    /// The name of this node for a human, when the daemon cannot be asked.
    pub(super) fn hostname(&self) -> String {
        hostname::get().map_or_else(|_| "this node".to_owned(), |host| host.to_string_lossy().into_owned())
    }

    /// Which node of a config this host is: as told, else by its name, with or without domain.
    pub(super) fn node(&self, config: &Config, told: Option<&str>) -> Result<NodeId, CliError> {
        let name = told.map_or_else(|| self.hostname(), str::to_owned);
        let short = name.split('.').next().unwrap_or_default();
        config.node(&name).or_else(|| config.node(short)).ok_or_else(|| {
            let nodes = config.nodes.join(", ");
            CliError::Refused(format!("{name} is none of the nodes ({nodes}): set the hostname, or say --node"))
        })
    }

    /// Where the history files are, as configured or by default.
    pub(super) fn state_dir(&self) -> PathBuf {
        self.config().map_or_else(|_| Path::new("/var/lib/avamgr").to_owned(), |config| config.daemon.state_dir)
    }

    /// Prints text, with its colours only on a terminal.
    pub(super) fn print(&self, text: &str) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Prints a document on one line.
    pub(super) fn print_json<T: Serialize>(&self, document: &T) -> io::Result<()> {
        let mut line = serde_json::to_string(document)?;
        line.push('\n');
        self.print(&line)
    }
}

/// An error reply, or one that answers something else.
pub(super) fn unexpected(reply: Reply) -> CliError {
    match reply {
        Reply::Error { reason } => CliError::Refused(reason),
        Reply::Status { .. }
        | Reply::Event { .. }
        | Reply::EndOfHistory
        | Reply::Pending { .. }
        | Reply::Answer { .. }
        | Reply::Config { .. }
        | Reply::Rules { .. } => CliError::Failed("the daemon answered something else than was asked".to_owned()),
    }
}
