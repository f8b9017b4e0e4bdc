//! Every way things can go, within bounds: real nodes and the real witness in a small world, one choice of the environment
//! in each slot of time, all combinations of a few faults, every rule after every event, and a good end at some of the ends.
//!
//! `EXPLORE_FAULTS=` and `EXPLORE_DEPTH=` (slots) widen the bounds.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use avamgr_core::sim::{Behaviour, Cable, Detail, Plan, World};

use crate::checked::Checked;
use crate::choices::{Choice, Cuts, menu};
use crate::invariants::Invariants;
use crate::liveness::{
    await_service, end_faults, help_of_an_operator, nobody_waits_without_a_reason, nothing_moves_for, recovery_bound,
};
use crate::random::{number, panic_text};
use crate::shape::{GroupShape, Shape, all_resources};

/// What is explored, and how far.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) shape: Shape,
    /// Rate errors of the clocks: one root each.
    pub(crate) rates: Vec<Vec<i32>>,
    pub(crate) slot: Duration,
    pub(crate) depth: usize,
    pub(crate) faults: u8,
    /// At one end in so many the faults end, and the group has to be served again.
    pub(crate) ends_well: u64,
}

/// More than a slot.
const SLOW_STOP: Duration = Duration::from_millis(80);

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) states: usize,
    pub(crate) leaves: u64,
    pub(crate) good_ends: u64,
    /// Ends after the exception of the class `ping`.
    pub(crate) exceptions: u64,
    pub(crate) failure: Option<String>,
}

/// A world in the middle of a course of things.
#[derive(Clone)]
struct State {
    world: World,
    invariants: Invariants,
    cuts: Cuts,
}

/// A choice, and the slot in which it was made.
type Course = Vec<(usize, Choice)>;

/// A cluster at rest in which an address does not go at once.
fn settle(world: &mut Checked) -> Result<(), String> {
    for node in world.config().clone().node_ids() {
        for resource in all_resources(&world.config().clone()) {
            let behaviour = world.behaviour(node, resource).cloned().expect("every host has every resource");
            world.set_behaviour(node, resource, Behaviour { stop_time: SLOW_STOP, ..behaviour });
        }
    }
    world.boot_all();
    world.run_ms(2_000)
}

impl State {
    fn root(plan: Plan) -> Result<Self, String> {
        let mut world = Checked::new(plan, None);
        settle(&mut world)?;
        let (world, invariants) = world.into_parts();
        Ok(Self { world, invariants, cuts: Cuts::new() })
    }

    fn step(&mut self, choice: &Choice, slot: Duration) -> Result<(), String> {
        let Self { world, invariants, cuts } = self;
        let mut result = Ok(());
        choice.begin(world, cuts);
        let run = || {
            world.run_watched(slot, &mut |world, notes| {
                if result.is_ok() {
                    result = invariants.check(world, notes).map_err(|error| format!("at {}: {error}", world.now()));
                }
            });
        };
        catch_unwind(AssertUnwindSafe(run)).map_err(|panic| panic_text(&*panic))?;
        choice.end(&mut self.world, &self.cuts);
        result
    }

    fn digest(&self) -> u64 {
        let mut hasher = Fold::default();
        (&self.world, &self.invariants, &self.cuts).hash(&mut hasher);
        hasher.finish()
    }
}

/// Multiply and fold: states are many and large, and nobody chooses them to collide.
#[derive(Default)]
struct Fold(u64);

impl Fold {
    fn add(&mut self, word: u64) {
        let wide =
            u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93_a076_1d64_78bd_642f);
        self.0 = u64::try_from((wide >> 64) & u128::from(u64::MAX)).unwrap_or(0)
            ^ u64::try_from(wide & u128::from(u64::MAX)).unwrap_or(0);
    }
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.add(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.add(u64::try_from(word).unwrap_or(u64::MAX));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What is a digest already is its own hash.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

const SHARDS: usize = 64;

/// The search: what all workers share.
struct Search<'a> {
    bounds: &'a Bounds,
    menu: Vec<Choice>,
    /// The states that were met, and with how many faults still to come.
    met: Vec<Mutex<HashMap<u64, u8, BuildHasherDefault<AsIs>>>>,
    leaves: AtomicU64,
    good_ends: AtomicU64,
    exceptions: AtomicU64,
    stop: AtomicBool,
    failure: Mutex<Option<(usize, Course, String)>>,
}

/// Explores all of it on every processor; `prepare` is called on each thread first. Stops at the first rule that is broken.
pub(crate) fn explore(bounds: &Bounds, prepare: &(dyn Fn() + Sync)) -> Findings {
    let search = Search {
        bounds,
        menu: menu(&bounds.shape.config()),
        met: (0..SHARDS).map(|_| Mutex::default()).collect(),
        leaves: AtomicU64::new(0),
        good_ends: AtomicU64::new(0),
        exceptions: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        failure: Mutex::new(None),
    };
    let spines: Vec<Vec<State>> = (0..bounds.rates.len()).map(|root| bounds.spine(root)).collect();
    let jobs: Vec<(usize, usize, &Choice)> = (0..spines.len())
        .flat_map(|root| (0..bounds.depth).map(move |slot| (root, slot)))
        .flat_map(|(root, slot)| search.menu.iter().map(move |choice| (root, slot, choice)))
        .collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                prepare();
                while let Some((root, slot, choice)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let from = &spines[*root][*slot];
                    search.branch(*root, from, *slot, bounds.faults, choice, &mut Vec::new());
                }
            });
        }
    });
    let failure = search.failure.lock().expect("no worker panics").take();
    let failure = failure.map(|(root, course, error)| {
        prepare();
        format!("{}\n\nrates {:?}: {course:?}: {error}", bounds.tell(root, &course), bounds.rates[root])
    });
    let spine_states = spines.iter().map(Vec::len).sum::<usize>();
    Findings {
        states: spine_states
            + search.met.iter().map(|shard| shard.lock().expect("no worker panics").len()).sum::<usize>(),
        leaves: search.leaves.into_inner(),
        good_ends: search.good_ends.into_inner(),
        exceptions: search.exceptions.into_inner(),
        failure,
    }
}

impl Bounds {
    fn plan(&self, root: usize) -> Plan {
        let plan = Plan::new(self.shape.config());
        Plan { cable: Cable::Switched, clock_rates_ppm: self.rates[root].clone(), ..plan }
    }

    /// The course of things without any fault.
    fn spine(&self, root: usize) -> Vec<State> {
        let mut state = State::root(self.plan(root)).expect("a quiet world");
        let chance = state.world.random().clone();
        let mut spine = Vec::new();
        for _ in 0..self.depth {
            spine.push(state.clone());
            state.step(&Choice::Nothing, self.slot).expect("a quiet world");
        }
        assert_eq!(*state.world.random(), chance, "something was left to chance");
        spine
    }

    /// The story of a course, for whoever has to understand what went wrong.
    fn tell(&self, root: usize, course: &Course) -> String {
        let mut world = Checked::new(self.plan(root), Some(Detail::Story));
        let mut cuts = Cuts::new();
        let mut tell = || {
            settle(&mut world)?;
            for slot in 0..self.depth {
                let choice = course.iter().find(|(at, _)| *at == slot).map_or(&Choice::Nothing, |(_, choice)| choice);
                choice.begin(&mut world, &mut cuts);
                world.run_for(self.slot)?;
                choice.end(&mut world, &cuts);
            }
            Ok::<(), String>(())
        };
        // How it ends is known.
        let _ = catch_unwind(AssertUnwindSafe(&mut tell));
        world.log.as_mut().map(avamgr_core::sim::Log::take_lines).unwrap_or_default().join("\n")
    }
}

impl Search<'_> {
    /// Lets the environment do `choice` in this slot, and then everything that may follow.
    fn branch(&self, root: usize, from: &State, slot: usize, left: u8, choice: &Choice, course: &mut Course) {
        if self.stop.load(Ordering::Relaxed) || !choice.applies(&from.world, &from.cuts) {
            return;
        }
        let is_fault = !matches!(choice, Choice::Nothing);
        let left = left - u8::from(is_fault);
        let mut state = from.clone();
        if is_fault {
            course.push((slot, choice.clone()));
        }
        match state.step(choice, self.bounds.slot) {
            Err(error) => self.fail(root, course, error),
            Ok(()) => self.follow(root, &state, slot + 1, left, course),
        }
        if is_fault {
            course.pop();
        }
    }

    fn follow(&self, root: usize, state: &State, slot: usize, left: u8, course: &mut Course) {
        let digest = state.digest();
        if !self.is_new(digest, left) {
            return;
        }
        if slot == self.bounds.depth {
            self.leaf(root, state, digest, course);
            return;
        }
        self.branch(root, state, slot, left, &Choice::Nothing, course);
        if left > 0 {
            for choice in &self.menu {
                self.branch(root, state, slot, left, choice, course);
            }
        }
    }

    /// Whether this state was not met before with as many faults to come.
    fn is_new(&self, digest: u64, left: u8) -> bool {
        let shard = usize::try_from(digest % 64).unwrap_or(0);
        let mut met = self.met[shard].lock().expect("no worker panics");
        match met.insert(digest, left) {
            Some(before) if before >= left => {
                met.insert(digest, before);
                false
            }
            Some(_) | None => true,
        }
    }

    fn leaf(&self, root: usize, state: &State, digest: u64, course: &Course) {
        self.leaves.fetch_add(1, Ordering::Relaxed);
        if state.invariants.owners.exceptions > 0 {
            self.exceptions.fetch_add(1, Ordering::Relaxed);
        }
        // The low bits choose the shard.
        if !(digest >> 32).is_multiple_of(self.bounds.ends_well) {
            return;
        }
        self.good_ends.fetch_add(1, Ordering::Relaxed);
        let mut world = Checked::resume(state.world.clone(), state.invariants.clone());
        let end =
            catch_unwind(AssertUnwindSafe(|| ends_well(&mut world))).unwrap_or_else(|panic| Err(panic_text(&*panic)));
        if let Err(error) = end {
            self.fail(root, course, format!("after the faults: {error}"));
        }
    }

    fn fail(&self, root: usize, course: &Course, error: String) {
        let mut failure = self.failure.lock().expect("no worker panics");
        if failure.is_none() {
            *failure = Some((root, course.clone(), error));
        }
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// L1 to L3, as after random faults.
fn ends_well(world: &mut Checked) -> Result<(), String> {
    let bound = recovery_bound(world);
    end_faults(world)?;
    world.run_for(world.config().timers.lease_time * 3)?;
    if await_service(world, bound).is_err() {
        nobody_waits_without_a_reason(world)?;
        help_of_an_operator(world)?;
        await_service(world, bound)?;
    }
    let quiet = world.config().timers.hold_time * 3;
    nothing_moves_for(world, quiet)
}

/// An address and nothing else, on two nodes.
fn small(lease: bool) -> Shape {
    let group = GroupShape { service: false, ..GroupShape::default() };
    // Longer than the dead time, so that the votes decide and not that somebody has just been heard.
    let lease_ms = lease.then_some(350);
    Shape { lease, witness: lease, lease_ms, groups: vec![group], ..Shape::default() }
}

/// Two nodes and a witness; every clock as wrong as it may be, in every combination but those in which all agree.
pub(crate) fn under_leases() -> Bounds {
    let rates = [
        [1_000, -1_000, -1_000],
        [-1_000, 1_000, 1_000],
        [1_000, 1_000, -1_000],
        [-1_000, -1_000, 1_000],
        [-1_000, 1_000, -1_000],
        [1_000, -1_000, 1_000],
    ];
    Bounds {
        shape: small(true),
        rates: rates.map(Vec::from).to_vec(),
        slot: Duration::from_millis(50),
        depth: number("EXPLORE_DEPTH").map_or(12, |depth| usize::try_from(depth).unwrap_or(12)),
        faults: number("EXPLORE_FAULTS").map_or(2, |faults| u8::try_from(faults).unwrap_or(2)),
        ends_well: 512,
    }
}

fn tell(name: &str, bounds: &Bounds, findings: &Findings, began: std::time::Instant) {
    println!(
        "{name}: {} distinct states, {} slots of {:?}, up to {} faults out of {}, {} roots, {} ends ({} followed to a good one), {:.1} s",
        findings.states,
        bounds.depth,
        bounds.slot,
        bounds.faults,
        menu(&bounds.shape.config()).len(),
        bounds.rates.len(),
        findings.leaves,
        findings.good_ends,
        began.elapsed().as_secs_f64(),
    );
}

#[test]
fn explored_leases_are_never_with_two_nodes_at_once() {
    let (bounds, began) = (under_leases(), std::time::Instant::now());
    let findings = explore(&bounds, &|| {});
    tell("leases explored", &bounds, &findings, began);
    assert_eq!(findings.failure, None);
    assert!(findings.states >= 1_000_000, "{} states are too few to prove anything", findings.states);
}

#[test]
fn explored_pings_have_the_known_exception_and_no_other() {
    let bounds = Bounds {
        shape: small(false),
        rates: vec![vec![1_000, -1_000]],
        slot: Duration::from_millis(100),
        depth: 12,
        faults: 2,
        ends_well: 512,
    };
    let began = std::time::Instant::now();
    let findings = explore(&bounds, &|| {});
    tell("pings explored", &bounds, &findings, began);
    assert_eq!(findings.failure, None);
    assert!(findings.exceptions > 0, "two owners who cannot see each other were not found");
    println!("{} ends with two owners", findings.exceptions);
}
