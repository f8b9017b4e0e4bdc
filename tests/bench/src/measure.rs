//! The scenarios.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use avamgr_lab::{Plan, Probe, Usage};
use clap::ValueEnum;

use crate::Options;
use crate::bed::{Bed, Load};
use crate::peer::Peer;
use crate::second_phase::{self, Fault};
use crate::steady::{self, Hardship};
use crate::witness_load;

/// The silence of a client begins with the last answer before the fault.
pub(crate) const BEFORE: Duration = Duration::from_millis(200);

/// A takeover that is not complete by then is none.
const GIVE_UP: Duration = Duration::from_secs(30);

/// Answers are watched for this long after a takeover: one that does not last shows.
const AFTER: Duration = Duration::from_millis(300);

/// So many clusters share a witness.
const CLUSTERS: usize = 2000;

/// A fault that takes longer than this is no sudden one.
const SUDDEN: Duration = Duration::from_millis(5);

/// So many bad runs for each good one mean that this machine cannot measure now.
const PATIENCE: usize = 3;

/// What is done to the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Scenario {
    /// The active node loses its power; switches keep the carriers up.
    Power,
    /// The same with dedicated links back to back: their carrier goes too.
    PowerCarrier,
    /// A planned move.
    Switchover,
    /// Power-off with thousands of single addresses.
    Many,
    /// The same with the addresses as one prefix.
    Prefix,
    /// The daemon is killed, and started again eight seconds later.
    Killed,
    /// The daemon hangs for eight seconds and goes on.
    Hung,
    /// No heartbeat gets through for eight seconds, everything else does.
    Split,
    /// Eight processor hogs and two disk hogs for a minute.
    Hogs,
    /// 30 % of all heartbeats are lost for half a minute.
    Loss30,
    /// 50 % of them.
    Loss50,
    /// No path between the nodes for half a minute, while both reach the witness.
    Parted,
    /// One witness with two thousand clusters.
    Clusters,
    /// Nothing happens, and what that costs.
    Idle,
}

impl Scenario {
    /// All of them.
    pub(crate) const ALL: [Self; 14] = [
        Self::Power,
        Self::PowerCarrier,
        Self::Switchover,
        Self::Many,
        Self::Prefix,
        Self::Killed,
        Self::Hung,
        Self::Split,
        Self::Hogs,
        Self::Loss30,
        Self::Loss50,
        Self::Parted,
        Self::Clusters,
        Self::Idle,
    ];
}

/// How a scenario is played.
enum Course {
    Takeover,
    Switchover,
    Return(Fault),
    Hard(Hardship),
    Clusters,
    Idle,
}

impl Scenario {
    fn course(self) -> Course {
        match self {
            Self::Power | Self::PowerCarrier | Self::Many | Self::Prefix => Course::Takeover,
            Self::Switchover => Course::Switchover,
            Self::Killed => Course::Return(Fault::Killed),
            Self::Hung => Course::Return(Fault::Hung),
            Self::Split => Course::Return(Fault::Split),
            Self::Hogs => Course::Hard(Hardship::Hogs),
            Self::Loss30 => Course::Hard(Hardship::LossPercent(30)),
            Self::Loss50 => Course::Hard(Hardship::LossPercent(50)),
            Self::Parted => Course::Hard(Hardship::Parted),
            Self::Clusters => Course::Clusters,
            Self::Idle => Course::Idle,
        }
    }

    fn place(self, options: &Options) -> (Plan, Load) {
        let switched = Plan::pair().switched();
        if self == Self::PowerCarrier {
            (Plan::pair(), Load::One)
        } else if self == Self::Many {
            (switched, Load::Many(options.vips))
        } else if self == Self::Prefix {
            (switched, Load::Prefix(options.vips))
        } else {
            (switched, Load::One)
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Power => "power-off",
            Self::PowerCarrier => "power-off, carrier lost",
            Self::Switchover => "switchover",
            Self::Many => "power-off, many addresses",
            Self::Prefix => "power-off, one prefix",
            Self::Killed => "daemon killed, restarted",
            Self::Hung => "daemon hung, goes on",
            Self::Split => "heartbeats cut, healed",
            Self::Hogs => "8 CPU + 2 disk hogs, 60 s",
            Self::Loss30 => "30 % loss, 30 s",
            Self::Loss50 => "50 % loss, 30 s",
            Self::Parted => "nodes parted, witness seen, 30 s",
            Self::Clusters => "one witness, 2000 clusters",
            Self::Idle => "idle",
        })
    }
}

/// What one run gave, each number under its name.
pub(crate) type Run = Vec<(&'static str, f64)>;

/// The good runs of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) runs: Vec<Run>,
    /// Runs thrown away, with the reason.
    pub(crate) discarded: Vec<String>,
}

/// A run, or why it must not count.
pub(crate) enum Verdict {
    Good(Run),
    Discard(String),
}

/// Measures one scenario of one peer.
pub(crate) fn run(scenario: Scenario, peer: &dyn Peer, options: &Options) -> Result<Outcome> {
    let once = |run: Run| Outcome { runs: vec![run], discarded: Vec::new() };
    if scenario == Scenario::Clusters {
        return Ok(once(witness_load::run(CLUSTERS, &options.bin_dir()?.join("avamgr-witness"))?));
    }
    let (plan, load) = scenario.place(options);
    let bed = Bed::make(peer, plan, load)?;
    let title = format!("{}: {scenario}", peer.profile());
    match scenario.course() {
        Course::Clusters => bail!("{title} has no pair"),
        Course::Takeover => repeated(&title, options.runs, || power(&bed)),
        Course::Switchover => repeated(&title, options.runs, || switchover(&bed)),
        Course::Return(fault) => repeated(&title, options.runs, || second_phase::run(&bed, fault)),
        Course::Hard(hardship) => Ok(once(steady::run(&bed, hardship)?)),
        Course::Idle => Ok(once(idle(&bed, options)?)),
    }
}

fn repeated(title: &str, runs: usize, measure: impl Fn() -> Result<Verdict>) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    while outcome.runs.len() < runs {
        eprintln!("{title}: run {} of {runs}", outcome.runs.len() + 1);
        match measure()? {
            Verdict::Good(run) => outcome.runs.push(run),
            Verdict::Discard(reason) => outcome.discarded.push(reason),
        }
        if outcome.discarded.len() > runs * PATIENCE {
            bail!("{} runs had to be thrown away, the last one because {}", outcome.discarded.len(), {
                outcome.discarded.last().map_or("", String::as_str)
            });
        }
    }
    Ok(outcome)
}

fn power(bed: &Bed<'_>) -> Result<Verdict> {
    let active = bed.calm()?;
    let standby = bed.other(&active)?.name().to_owned();
    let probe = bed.probe()?;
    thread::sleep(BEFORE * 2);
    Bed::random_phase();
    let from = Instant::now();
    thread::sleep(BEFORE);
    let off = bed.lab.power_off(&active)?;
    let verdict = if off.took > SUDDEN {
        Verdict::Discard(format!("the fault took {:?}", off.took))
    } else {
        observe(bed, &probe, from, off.at, &standby)?
    };
    drop(probe);
    bed.lab.power_on(&active)?;
    bed.lab.settle()?;
    bed.peer.start(&bed.lab, &active)?;
    Ok(verdict)
}

fn switchover(bed: &Bed<'_>) -> Result<Verdict> {
    let active = bed.calm()?;
    let standby = bed.other(&active)?.name().to_owned();
    let probe = bed.probe()?;
    thread::sleep(BEFORE * 2);
    Bed::random_phase();
    let from = Instant::now();
    thread::sleep(BEFORE);
    let at = Instant::now();
    bed.peer.switchover(&bed.lab, &active)?;
    let verdict = observe(bed, &probe, from, at, &standby)?;
    drop(probe);
    bed.peer.after_switchover(&bed.lab, &active)?;
    Ok(verdict)
}

/// Watches until all probed addresses answer from `standby`, and says what the client went through.
fn observe(bed: &Bed<'_>, probe: &Probe, from: Instant, at: Instant, standby: &str) -> Result<Verdict> {
    let taken = avamgr_lab::wait_for(GIVE_UP, format!("all addresses to answer from {standby}"), || {
        let takeover = probe.sightings().takeover_by(standby, at, Instant::now());
        takeover.last.is_some().then_some(takeover)
    });
    let Ok(taken) = taken else {
        bail!("no takeover by {standby} within {GIVE_UP:?}\n{}", bed.logs());
    };
    thread::sleep(AFTER);
    let to = Instant::now();
    let stalls = probe.stalls_since(from);
    if let Some(stall) = stalls.iter().max_by_key(|stall| stall.late) {
        return Ok(Verdict::Discard(format!("the probe did not run for {:?}", stall.late)));
    }
    if bed.lab.owners().overrun_since(from) {
        return Ok(Verdict::Discard("the kernel dropped address events".to_owned()));
    }
    let sightings = probe.sightings();
    let outage = sightings.worst_outage(from, to).map(|(_, outage)| outage.longest).unwrap_or_default();
    let duals = bed.probed.iter().map(|ip| bed.lab.owners().between(*ip, at, to).dual);
    let mut run = vec![("outage_ms", ms(outage)), ("dual_ms", ms(duals.max().unwrap_or_default()))];
    let ago = bed.peer.decided_ago(&bed.lab, standby)?;
    let decided =
        ago.and_then(|ago| Instant::now().checked_sub(ago)).map(|decision| decision.saturating_duration_since(at));
    run.extend(decided.map(|decided| ("decided_ms", ms(decided))));
    if bed.probed.len() > 1 {
        let (first, last) = (taken.first.unwrap_or_default(), taken.last.unwrap_or_default());
        run.extend([("first_ms", ms(first)), ("last_ms", ms(last))]);
        if let Some(decided) = decided {
            run.push(("first_after_decision_ms", ms(first.saturating_sub(decided))));
            run.push(("last_after_decision_ms", ms(last.saturating_sub(decided))));
        }
    }
    Ok(Verdict::Good(run))
}

/// What both nodes cost while nothing happens and nobody asks.
fn idle(bed: &Bed<'_>, options: &Options) -> Result<Run> {
    bed.calm()?;
    thread::sleep(Duration::from_secs(5));
    let usages = || -> Result<Vec<Usage>> { Ok(bed.lab.nodes().map(|node| node.usage()).collect::<Result<_, _>>()?) };
    let (start, before) = (Instant::now(), usages()?);
    thread::sleep(Duration::from_secs(options.idle_seconds));
    let (after, time) = (usages()?, start.elapsed());
    let costs: Vec<Usage> = after.iter().zip(&before).map(|(after, before)| *after - *before).collect();
    let run: Duration = costs.iter().map(|cost| cost.run).sum();
    let ticks: Duration = costs.iter().map(|cost| cost.ticks).sum();
    let percent = |spent: Duration| spent.as_secs_f64() / time.as_secs_f64() * 100.0;
    let mib = |kib: u64| kib as f64 / 1024.0;
    Ok(vec![
        ("cpu_percent", percent(run)),
        ("cpu_ticks_percent", percent(ticks)),
        ("rss_mib", mib(costs.iter().map(|cost| cost.rss_kib).max().unwrap_or_default())),
        ("pss_mib", mib(costs.iter().map(|cost| cost.pss_kib).max().unwrap_or_default())),
    ])
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
