//! The bench of `rules-sync`: it and its peers, replicating the same changes between the same nodes in the same run.
//!
//! Absolute times move with the machine, so only numbers of one run may be compared; how busy the machine was with
//! other things stands beside every figure.

mod account;
mod attic;
mod bed;
mod burst;
mod chance;
mod compare;
mod faults;
mod figures;
mod idle;
#[path = "../keys.rs"]
mod keys;
mod latency;
mod load;
mod ours;
mod peers;
mod processes;
mod same_second;
mod steady;
mod system;
mod tree;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use nix::sys::stat::{Mode, umask};

use crate::attic::Attic;
use crate::bed::Size;
use crate::figures::{Row, markdown};
use crate::ours::RulesSync;
use crate::peers::{Incron, Lsyncd};
use crate::system::System;

/// Measures the replication of rules and prints tables. Needs root.
#[derive(Debug, Parser)]
#[command(name = "rules-bench")]
struct Options {
    /// What to measure on.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Who::Incron, Who::Lsyncd, Who::RulesSync])]
    system: Vec<Who>,

    /// What to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Scenario::value_variants().iter().copied())]
    scenario: Vec<Scenario>,

    /// Changes of each kind in the latency scenarios [default: 50, with --quick 8].
    #[arg(long)]
    runs: Option<usize>,

    /// How often bursts and faults are repeated [default: 3, with --quick 1].
    #[arg(long)]
    repeat: Option<usize>,

    /// Everything short, for a look.
    #[arg(long)]
    quick: bool,

    /// Where rules-sync is; beside this program unless given.
    #[arg(long)]
    bin_dir: Option<PathBuf>,

    /// Opens the kernel's book of processes that end, for the node this runs in, and does nothing else.
    #[arg(long, hide = true)]
    open_account: Option<PathBuf>,
}

/// A system by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Who {
    /// incron, which starts an rsync for each event.
    Incron,
    /// lsyncd without its delay.
    Lsyncd,
    /// Ours.
    RulesSync,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// A single change, 200 files.
    Latency,
    /// The same with 50,000 files.
    LatencyLarge,
    /// 1,000 and 10,000 new files at once.
    Burst,
    /// Nothing happens, 50,000 files.
    Idle,
    /// 100 edits a second.
    Steady,
    /// The link is down for ten seconds.
    Link,
    /// More events than the kernel can remember.
    Overflow,
    /// Two edits of the same size within a second.
    SameSecond,
}

/// What all scenarios share.
pub(crate) struct Context {
    pub(crate) runs: usize,
    pub(crate) repeat: usize,
    pub(crate) quick: bool,
    /// Where the trees go.
    pub(crate) attic: Rc<Attic>,
    /// The median latency of a system and a kind of change in the small tree.
    pub(crate) medians: BTreeMap<(&'static str, &'static str), f64>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rules-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if let Some(file) = &options.open_account {
        return account::open(file);
    }
    if options.runs == Some(0) || options.repeat == Some(0) {
        bail!("--runs and --repeat must not be zero");
    }
    umask(Mode::from_bits_truncate(0o022));
    let systems = systems(options)?;
    for system in &systems {
        println!("- {}: {}", system.name(), system.version());
    }
    println!();
    let (runs, repeat) = if options.quick { (8, 1) } else { (50, 3) };
    let (runs, repeat) = (options.runs.unwrap_or(runs), options.repeat.unwrap_or(repeat));
    let mut context =
        Context { runs, repeat, quick: options.quick, attic: Rc::new(Attic::make()?), medians: BTreeMap::new() };
    let mut failed = Vec::new();
    for scenario in &options.scenario {
        let mut rows: Vec<Row> = Vec::new();
        if *scenario == Scenario::Latency {
            rows.push(latency::overhead(context.runs)?);
        }
        for system in &systems {
            eprintln!("{}: {scenario:?}", system.name());
            match measure(*scenario, system.as_ref(), &mut context) {
                Ok(measured) => rows.extend(measured),
                Err(error) => {
                    eprintln!("{}: {scenario:?}: {error:#}", system.name());
                    let sentence = format!("{error:#}").lines().next().unwrap_or_default().to_owned();
                    rows.push(vec![system.name().to_owned(), format!("failed: {sentence}")]);
                    failed.push(format!("{} in {scenario:?}", system.name()));
                }
            }
        }
        let (title, header) = scenario.table();
        println!("{}", markdown(title, header, &rows));
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

fn systems(options: &Options) -> Result<Vec<Box<dyn System>>> {
    let beside_us = std::env::current_exe().context("find this program")?;
    let beside_us = beside_us.parent().map(PathBuf::from).unwrap_or_default();
    let bin_dir = options.bin_dir.clone().unwrap_or(beside_us);
    let mut systems: Vec<Box<dyn System>> = Vec::new();
    for who in &options.system {
        systems.push(match who {
            Who::Incron => Box::new(Incron::find()?),
            Who::Lsyncd => Box::new(Lsyncd::find()?),
            Who::RulesSync => Box::new(RulesSync::find(&bin_dir)?),
        });
    }
    Ok(systems)
}

fn measure(scenario: Scenario, system: &dyn System, context: &mut Context) -> Result<Vec<Row>> {
    match scenario {
        Scenario::Latency => latency::measure(system, Size::SMALL, context),
        Scenario::LatencyLarge => latency::measure(system, Size::LARGE, context),
        Scenario::Burst => burst::measure(system, context),
        Scenario::Idle => idle::measure(system, context),
        Scenario::Steady => steady::measure(system, context),
        Scenario::Link => faults::link(system, context),
        Scenario::Overflow => faults::overflow(system, context),
        Scenario::SameSecond => same_second::measure(system, context),
    }
}

impl Scenario {
    fn table(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Latency => ("A single change", &latency::HEADER),
            Self::LatencyLarge => ("A single change in a large tree", &latency::HEADER),
            Self::Burst => ("New files at once", &burst::HEADER),
            Self::Idle => ("Nothing happens", &idle::HEADER),
            Self::Steady => ("100 edits a second", &steady::HEADER),
            Self::Link => ("The link is down for a while, changes go on", &faults::HEADER),
            Self::Overflow => ("The kernel's queue of changes overflows", &faults::HEADER),
            Self::SameSecond => ("A second edit of the same size within the same second", &same_second::HEADER),
        }
    }
}
