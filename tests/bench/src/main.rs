//! The bench: avamgr and keepalived measured by the same client, in the same lab, in the same run.
//!
//! Absolute times move with the machine, so only numbers of one run may be compared. A run in which the measuring
//! client itself did not run is thrown away and repeated.

mod avamgr;
mod bed;
mod grip;
mod keepalived;
mod keys;
mod measure;
mod peer;
mod report;
mod second_phase;
mod steady;
mod summary;
mod witness_load;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};

use crate::avamgr::Avamgr;
use crate::keepalived::Keepalived;
use crate::measure::Scenario;
use crate::peer::Peer;
use crate::report::Report;

/// Measures failover of avamgr and its peers and prints a table.
#[derive(Debug, Parser)]
#[command(name = "avamgr-bench")]
pub(crate) struct Options {
    /// Whom to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Who::Keepalived, Who::Avamgr, Who::Lease])]
    peer: Vec<Who>,

    /// What to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Scenario::ALL)]
    scenario: Vec<Scenario>,

    /// Heartbeat or advert intervals, in milliseconds.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100])]
    interval_ms: Vec<u64>,

    /// Good runs wanted of each scenario.
    #[arg(long, default_value_t = 10)]
    runs: usize,

    /// How many addresses the scenarios with many addresses have.
    #[arg(long, default_value_t = 4000)]
    vips: u32,

    /// How long the idle scenario looks.
    #[arg(long, default_value_t = 30)]
    idle_seconds: u64,

    /// Where avamgrd and avamgr are; beside this program unless given.
    #[arg(long)]
    bin_dir: Option<PathBuf>,

    /// Writes every single run to this file, as JSON lines.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Options {
    /// Where the programs under test are.
    pub(crate) fn bin_dir(&self) -> Result<PathBuf> {
        let beside_us = std::env::current_exe().context("find this program")?;
        let beside_us = beside_us.parent().map(PathBuf::from).unwrap_or_default();
        Ok(self.bin_dir.clone().unwrap_or(beside_us))
    }
}

/// A peer by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Who {
    /// keepalived of this machine, VRRPv3.
    Keepalived,
    /// Ours, authority `ping`.
    Avamgr,
    /// Ours, authority `lease`: the same and a witness.
    Lease,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("avamgr-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if options.runs == 0 || options.vips == 0 || options.interval_ms.contains(&0) {
        bail!("--runs, --vips and --interval-ms must not be zero");
    }
    let mut report = Report::new(options.json.as_deref())?;
    for peer in peers(options)? {
        for scenario in &options.scenario {
            if !peer.can(*scenario) {
                continue;
            }
            let outcome = measure::run(*scenario, peer.as_ref(), options);
            let outcome = outcome.with_context(|| format!("{}: {scenario}", peer.profile()))?;
            report.add(peer.as_ref(), *scenario, outcome)?;
        }
    }
    println!("{}", report.table());
    Ok(())
}

/// Every wanted peer at every wanted interval.
fn peers(options: &Options) -> Result<Vec<Box<dyn Peer>>> {
    let bin_dir = options.bin_dir()?;
    let mut peers: Vec<Box<dyn Peer>> = Vec::new();
    for interval in options.interval_ms.iter().copied().map(Duration::from_millis) {
        for who in &options.peer {
            peers.push(match who {
                Who::Keepalived => Box::new(Keepalived::new(interval)?),
                Who::Avamgr => Box::new(Avamgr::new(interval, &bin_dir, false)?),
                Who::Lease => Box::new(Avamgr::new(interval, &bin_dir, true)?),
            });
        }
    }
    Ok(peers)
}
