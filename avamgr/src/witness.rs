//! THE WITNESS as a program: a voter on a third site, for many clusters.
//!
//! ```text
//!  UDP ──▶ key of the cluster ──▶ table of votes (the same as in every node) ──▶ UDP
//!                                    │
//!                      status socket, metrics: whoever asks gets a picture of it
//! ```
//!
//! It holds nothing that must survive: a restart forgets every promise, and so it promises nothing until the longest of them
//! is over. How long that is is the one thing on its disk.

mod config;
mod memory;
mod report;
mod serve;
mod table;

use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use nix::sys::signal::{SigSet, Signal};

use crate::exit::Exit;
use crate::journal::service;
use crate::journal::{self, Settings};
use crate::{chance, clock, die, realtime};
use config::WitnessFile;
use memory::Memory;
use table::Table;

/// How long the log may take to be written at the end.
const LOG_FLUSH: Duration = Duration::from_secs(2);

/// A voter on a third site for availability managers: it owns nothing, and its loss moves nothing.
#[derive(Debug, Parser)]
#[command(name = "avamgr-witness", version)]
pub struct Args {
    /// The config file.
    #[arg(long, value_name = "FILE", default_value = "/etc/avamgr/witness.toml", global = true)]
    config: PathBuf,
    /// Where the log goes: stderr, journald, syslog or syslog-bsd.
    #[arg(long, value_name = "TARGET")]
    log_target: Option<String>,
    /// How much is logged: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Reads config and keys, says what is wrong with them, and ends.
    Check,
    /// Shows the clusters of the running witness, who has their votes and until when.
    Status {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

/// The program: arguments of the process in, exit code out.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.verb {
        None => run(&args),
        Some(Verb::Check) => check(&args),
        Some(Verb::Status { json }) => report::show(&args.config, *json),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::complain(&format!("avamgr-witness: {error:#}"));
            let exit = if error.is::<config::BadConfig>() { Exit::ConfigInvalid } else { Exit::Failed };
            ExitCode::from(exit.code())
        }
    }
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn check(args: &Args) -> Result<()> {
    let file = WitnessFile::load(&args.config)?;
    let seats = file.seats()?;
    println!("{}: {} clusters, every key can be used", args.config.display(), seats.len());
    Ok(())
}

fn run(args: &Args) -> Result<()> {
    let variable = std::env::var(journal::VARIABLE).ok();
    let settings = Settings::choose(variable.as_deref(), args.log_target.as_deref(), args.log_level.as_deref())?;
    let journal = journal::init(&settings, "avamgr-witness")?;
    die::of_any_panic();
    let result = serve_all(args);
    if let Err(error) = &result {
        tracing::error!("{error:#}");
    }
    journal.flush(LOG_FLUSH);
    result
}

fn serve_all(args: &Args) -> Result<()> {
    let signals = SigSet::from_iter([Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT]);
    // Every thread inherits this: they are waited for in one place.
    signals.thread_block().context("cannot wait for signals")?;
    let file = WitnessFile::load(&args.config)?;
    let memory = Memory::open(&file.state_dir)?;
    let mut table = Table::new(memory, file.clock_rate_ppm, chance::random()?);
    table.seat(file.seats()?, clock::now());
    let table = Arc::new(Mutex::new(table));
    for address in &file.listen {
        let socket = UdpSocket::bind(address).with_context(|| format!("cannot listen on UDP {address}"))?;
        let table = Arc::clone(&table);
        let listen = move || {
            tracing::debug!("{}", realtime::claim());
            serve::votes(&socket, &table);
        };
        thread::Builder::new().name("votes".into()).spawn(listen).context("cannot start a thread")?;
        tracing::info!("votes are given on UDP {address}");
    }
    report::serve(&file, &table)?;
    service::ready();
    loop {
        if signals.wait().context("cannot wait for signals")? != Signal::SIGHUP {
            service::stopping(LOG_FLUSH);
            return Ok(());
        }
        reload(args, &table);
    }
}

fn reload(args: &Args, table: &Mutex<Table>) {
    match WitnessFile::load(&args.config).and_then(|file| file.seats()) {
        Ok(seats) => {
            let count = seats.len();
            table::lock(table).seat(seats, clock::now());
            tracing::info!("reload: {count} clusters");
        }
        Err(error) => tracing::error!("reload: nothing is changed: {error:#}"),
    }
}
