//! Many seeds: a random cluster, random faults, every rule after every event, and a good end when the faults have ended.
//!
//! `RUNS=` changes how many seeds are tried, `FROM=` the first of them, `SURVEY=1` tries all of them although some fail and
//! lists these. `SEED=` replays one and writes all of it down.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use avamgr_core::sim::{Cable, Detail, Noise, Plan, Random};

use crate::checked::Checked;
use crate::faults::{Fault, choose_kinds, strike};
use crate::liveness::{
    await_service, end_faults, help_of_an_operator, nobody_waits_without_a_reason, nothing_moves_for, recovery_bound,
    start_what_is_held,
};
use crate::shape::{GroupShape, Shape};

/// Runs one seed; the cluster is left for a look when it fails.
pub(crate) type RunSeed = fn(u64, &mut Option<Checked>, Option<Detail>) -> Result<(), String>;

/// Seeds of a usual cluster tried unless `RUNS` says otherwise.
const RUNS: u64 = 40_000;

/// The same of one with fence devices, and of one whose programs are replaced.
const RUNS_MORE: u64 = 10_000;

#[test]
fn random_faults_break_no_rule_and_end_well() {
    try_seeds("random", RUNS, one_random_run);
}

#[test]
fn random_faults_under_leases_break_no_rule_and_end_well() {
    try_seeds("random-lease", RUNS, one_random_run_under_leases);
}

#[test]
fn random_faults_with_fencing_break_no_rule_and_end_well() {
    try_seeds("random-fencing", RUNS_MORE, one_random_run_with_fencing);
}

#[test]
fn random_faults_with_upgrades_break_no_rule_and_end_well() {
    try_seeds("random-upgrade", RUNS_MORE, one_random_run_with_upgrades);
}

#[test]
fn random_faults_over_tipc_break_no_rule_and_end_well() {
    try_seeds("random-tipc", RUNS_MORE, one_random_run_over_tipc);
}

/// Tries seeds on every processor; the first one that fails is played again with everything written down.
pub(crate) fn try_seeds(name: &str, runs: u64, run: RunSeed) {
    if let Some(seed) = number("SEED") {
        replay(name, seed, run);
        return;
    }
    let first = number("FROM").unwrap_or(1);
    let end = first + number("RUNS").unwrap_or(runs);
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failed: Vec<u64> = std::thread::scope(|scope| {
        let worker = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return None;
                }
                if let Err(error) = attempt(seed, None, run).0 {
                    if std::env::var("SURVEY").is_ok() {
                        println!("SURVEY {seed} {error}");
                        continue;
                    }
                    next.store(end, Ordering::Relaxed);
                    return Some(seed);
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().filter_map(|worker| worker.join().expect("a worker that ends")).collect()
    });
    if let Some(seed) = failed.into_iter().min() {
        replay(name, seed, run);
    }
}

/// Plays one seed with everything written down.
fn replay(name: &str, seed: u64, run: RunSeed) {
    let (result, lines) = attempt(seed, Some(Detail::Full), run);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{seed}.log"));
    let error = result.as_ref().err().cloned().unwrap_or_default();
    let text = format!("{}\n{error}\n", lines.join("\n"));
    std::fs::write(&path, text).expect("the log of a seed can be written");
    if let Err(error) = result {
        let (_, story) = attempt(seed, Some(Detail::Story), run);
        let last = story.iter().rev().take(60).rev().cloned().collect::<Vec<_>>().join("\n");
        panic!("{last}\n\nseed {seed}: {error}\nSEED={seed} plays it again; all of it is in {}", path.display());
    }
}

/// One seed; a panic of the decision is a failure as well.
pub(crate) fn attempt(seed: u64, detail: Option<Detail>, run: RunSeed) -> (Result<(), String>, Vec<String>) {
    let mut world = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, &mut world, detail)));
    let result = outcome.unwrap_or_else(|panic| Err(panic_text(&*panic)));
    let log = world.as_mut().and_then(|world| world.log.as_mut());
    (result, log.map_or(Vec::new(), avamgr_core::sim::Log::take_lines))
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("?"))
}

pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn one_random_run(seed: u64, slot: &mut Option<Checked>, detail: Option<Detail>) -> Result<(), String> {
    let mut random = Random::new(seed);
    let plan = random_plan(&mut random);
    run_plan(seed, random, plan, &[], slot, detail)
}

pub(crate) fn one_random_run_under_leases(
    seed: u64,
    slot: &mut Option<Checked>,
    detail: Option<Detail>,
) -> Result<(), String> {
    let mut random = Random::new(seed);
    let shape = random_shape(&mut random);
    let nodes = [2, 2, 2, 3, 3, 5][random.index(6)];
    let witness = nodes == 2 || random.chance(300_000);
    let etcd = random.chance(200_000);
    let shape = Shape { nodes, lease: !etcd, witness: witness && !etcd, etcd, ..shape };
    let plan = plan_of(&shape, &mut random);
    run_plan(seed, random, plan, &[], slot, detail)
}

pub(crate) fn one_random_run_with_fencing(
    seed: u64,
    slot: &mut Option<Checked>,
    detail: Option<Detail>,
) -> Result<(), String> {
    let mut random = Random::new(seed);
    let lease = random.chance(400_000);
    let shape = random_shape(&mut random);
    // Longer than the device takes, so that only one node is left to shoot; shorter than the faults go on.
    let fence_delay_ms = (!lease).then_some(400);
    let shape = Shape { lease, witness: lease, fenced: true, rejoin: true, fence_delay_ms, ..shape };
    let plan = plan_of(&shape, &mut random);
    run_plan(seed, random, plan, &[Fault::FenceDevice], slot, detail)
}

fn one_random_run_with_upgrades(seed: u64, slot: &mut Option<Checked>, detail: Option<Detail>) -> Result<(), String> {
    let mut random = Random::new(seed);
    let lease = random.chance(500_000);
    let shape = random_shape(&mut random);
    let plan = plan_of(&Shape { lease, witness: lease, ..shape }, &mut random);
    run_plan(seed, random, plan, &[Fault::Upgrade], slot, detail)
}

fn one_random_run_over_tipc(seed: u64, slot: &mut Option<Checked>, detail: Option<Detail>) -> Result<(), String> {
    let mut random = Random::new(seed);
    let lease = random.chance(300_000);
    let shape = random_shape(&mut random);
    let plan = plan_of(&Shape { lease, witness: lease, tipc: true, ..shape }, &mut random);
    run_plan(seed, random, plan, &[Fault::Bearer; 3], slot, detail)
}

fn run_plan(
    seed: u64,
    mut random: Random,
    plan: Plan,
    special: &[Fault],
    slot: &mut Option<Checked>,
    detail: Option<Detail>,
) -> Result<(), String> {
    let world = slot.insert(Checked::new(plan, detail));
    world.watch_strangers(seed);
    world.boot_all();
    let step = world.config().timers.hold_time * 2;
    let kinds = choose_kinds(&mut random, special);
    if random.chance(800_000) {
        // Most clusters have settled before the first fault.
        world.run_ms(1_500)?;
    }
    let faults = if world.config().fences.is_empty() { 10 } else { 25 };
    for _ in 0..3 + random.below(faults) {
        strike(world, &mut random, &kinds);
        let pause = if random.chance(300_000) { Duration::ZERO } else { random.up_to(step) };
        world.run_for(pause)?;
    }
    let bound = recovery_bound(world);
    end_faults(world)?;
    // Whoever was just started votes for nobody, and so a lease may still run out.
    world.run_for(world.config().timers.lease_time * 3)?;
    if await_service(world, bound).is_err() {
        nobody_waits_without_a_reason(world)?;
        help_of_an_operator(world)?;
        // What is on its way to be ACTIVE refuses an order to what was stopped by hand; nobody leaves it at that.
        let served = await_service(world, bound);
        if start_what_is_held(world)? { await_service(world, bound)? } else { served? }
    }
    if random.chance(50_000) {
        // Some things come late: a stop that is tried again, a lifetime.
        world.run_for(bound)?;
    }
    let quiet = world.config().timers.hold_time * 3;
    nothing_moves_for(world, quiet)
}

/// A random cluster in a random world.
pub(crate) fn random_plan(random: &mut Random) -> Plan {
    let shape = random_shape(random);
    plan_of(&shape, random)
}

fn plan_of(shape: &Shape, random: &mut Random) -> Plan {
    let config = shape.config();
    let clocks = config.nodes.len() + usize::from(config.has_voter_outside());
    let rates = (0..clocks).map(|_| i32::try_from(random.below(2_001)).unwrap_or(0) - 1_000).collect();
    let noise = Noise {
        report: random.up_to(Duration::from_millis(1)),
        timer: random.up_to(Duration::from_millis(2)),
        expiry: random.up_to(Duration::from_millis(500)),
        arbitrator: random.up_to(Duration::from_millis(3)),
        arbitrator_loss_ppm: if random.chance(300_000) { 20_000 } else { 0 },
    };
    let cable = if random.chance(500_000) { Cable::Direct } else { Cable::Switched };
    Plan { seed: random.bits(), cable, noise, clock_rates_ppm: rates, ..Plan::new(config) }
}

fn random_shape(random: &mut Random) -> Shape {
    let groups = if random.chance(250_000) { 2 } else { 1 };
    let limits = if random.chance(400_000) { "failovers = 2\nfailover_window = \"20s\"" } else { "" };
    Shape {
        nodes: if random.chance(150_000) { 3 } else { 2 },
        interval_ms: if random.chance(150_000) { 10 } else { 100 },
        neutral: random.chance(500_000),
        groups: (0..groups).map(|_| random_group(random)).collect(),
        limits: limits.to_owned(),
        ready_check: random.chance(100_000),
        ..Shape::default()
    }
}

fn random_group(random: &mut Random) -> GroupShape {
    let vips = if random.chance(150_000) { 0 } else { 1 + u8::try_from(random.below(2)).unwrap_or(0) };
    GroupShape {
        vips,
        service: vips == 0 || random.chance(700_000),
        service_first: random.chance(300_000),
        failback: random.chance(100_000),
    }
}
