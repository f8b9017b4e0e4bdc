//! The courier as a program: what is asked of it on the command line, and how it runs.
//!
//! ```text
//!  config, environment ─▶ settings ─▶ the loop (own thread of the process: the first)
//!  avamgrd's socket ────▶ who is ACTIVE ──▲ │
//!  own socket ──────────▶ orders ─────────┘ └─▶ status, for whoever asks
//! ```

mod account;
pub mod args;
mod init;
mod metrics;
mod role;
mod serve;
mod settings;
mod show;
mod socket;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use avamgr::control::connection::Unreachable;
use avamgr::courier::client::{self, NoStatus, PATIENCE};
use avamgr::exit::Exit;
use avamgr_core::config::{Replication, parse_replication};
use avamgr_core::courier::{Reply, Request};
use clap::Parser as _;

use args::{Args, KeptVerb, Verb};

/// A command that was carried out and has something to say by its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{1}")]
struct Ended(Exit, String);

/// The program: arguments of the process in, exit code out.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match carry_out(&args) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            avamgr::complain(&format!("rules-sync: {error:#}"));
            if unreachable(&error).is_some_and(Unreachable::is_stopped) {
                avamgr::complain(
                    "  where the config has [rules], `service dre start` starts it; alone it is `rules-sync run`",
                );
            }
            let exit = match error.downcast_ref::<Ended>() {
                Some(Ended(exit, _)) => *exit,
                None if error.is::<Unreachable>() || error.is::<NoStatus>() => Exit::Unreachable,
                None => Exit::Failed,
            };
            ExitCode::from(exit.code())
        }
    }
}

fn unreachable(error: &anyhow::Error) -> Option<&Unreachable> {
    match error.downcast_ref::<NoStatus>() {
        Some(NoStatus::Unreachable(error)) => Some(error),
        Some(NoStatus::Refused(_) | NoStatus::Other) | None => error.downcast_ref(),
    }
}

fn carry_out(args: &Args) -> Result<Exit> {
    match &args.verb {
        Verb::Run(run) => serve::run(args, run).map(|()| Exit::Done),
        Verb::Init(order) => init::init(args, order).map(|()| Exit::Done),
        Verb::Check => check(args),
        Verb::Status { watch } => show::status(args, *watch),
        Verb::Metrics => show::metrics(args),
        Verb::Diff { peer } => show::diff(args, peer.clone()),
        Verb::Resync { force } => show::resync(args, *force),
        Verb::Conflicts { verb } => kept(args, verb, true),
        Verb::Trash { verb } => kept(args, verb, false),
        Verb::Man { directory } => args::man(directory).map(|()| Exit::Done),
        Verb::Completion { shell } => args::completion(*shell).map(|()| Exit::Done),
    }
}

fn kept(args: &Args, verb: &KeptVerb, conflicts: bool) -> Result<Exit> {
    match verb {
        KeptVerb::List => show::kept(args, conflicts),
        KeptVerb::Restore { name } => show::done(args, &Request::Restore { name: name.clone() }),
        KeptVerb::Settle { name, all } => match (name, all) {
            _ if !conflicts => Err(Ended(Exit::Usage, "what is in the trash needs no settling".to_owned()).into()),
            (None, false) => Err(Ended(Exit::Usage, "say which conflict, or --all".to_owned()).into()),
            (name, _) => show::done(args, &Request::Settle { name: name.clone() }),
        },
    }
}

/// The part of the config file that is ours.
fn load(path: &Path) -> Result<Replication> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    match parse_replication(&text, &path.display().to_string()) {
        Ok((replication, _)) => Ok(replication),
        Err(errors) => Err(Ended(Exit::ConfigInvalid, format!("the config is invalid\n{errors}")).into()),
    }
}

/// Reads the config and looks at everything that a run needs.
fn check(args: &Args) -> Result<Exit> {
    let replication = load(&args.config)?;
    let node = settings::node(&replication, args.node.as_deref())?;
    let found = settings::find(&replication, &node)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rsync = runtime.block_on(crate::rsync::check()).map_err(|reason| anyhow!(reason))?;
    let account = account::choose(&replication, &found.directories)?;
    let mut lines = vec![
        format!("{}: valid, node {node} of cluster {}", args.config.display(), replication.cluster),
        format!("rsync {rsync}; runs as {account}"),
    ];
    for (name, path) in &found.directories {
        let meta = std::fs::metadata(path);
        let state = match &meta {
            Ok(meta) if meta.is_dir() => "there".to_owned(),
            Ok(_) => "is no directory".to_owned(),
            Err(error) => error.to_string(),
        };
        lines.push(format!("directory {name}: {}: {state}", path.display()));
        if !meta.is_ok_and(|meta| meta.is_dir()) {
            show::print(&(lines.join("\n") + "\n"))?;
            let text = format!("directory {name} cannot be replicated: {}: {state}", path.display());
            return Err(Ended(Exit::Failed, text).into());
        }
    }
    for (name, lines_to) in &found.peers {
        let to: Vec<String> = lines_to.iter().map(|line| format!("{} to {}", line.from, line.to)).collect();
        lines.push(format!("node {name}: {}", to.join(", then ")));
    }
    show::print(&(lines.join("\n") + "\n"))?;
    Ok(Exit::Done)
}

/// Asks the courier that runs, and gives the only answer.
fn ask(args: &Args, request: &Request) -> Result<Reply> {
    Ok(client::ask(&args.socket(), request)?.receive(PATIENCE)?)
}

/// An answer that fits no question of ours, or a refusal.
fn unexpected(reply: Reply) -> anyhow::Error {
    match reply {
        Reply::Refused { reason } => Ended(Exit::Refused, reason).into(),
        Reply::Status { .. }
        | Reply::Differences { .. }
        | Reply::Kept { .. }
        | Reply::Progress { .. }
        | Reply::Done { .. } => anyhow!("rules-sync answered something else than was asked"),
    }
}
