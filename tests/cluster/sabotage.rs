//! Every safety rule of lease and fencing is broken on purpose once: a checker that does not notice has checked nothing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use avamgr_core::sabotage::{Rule, break_rule};

use crate::explore::{explore, under_leases};
use crate::random::{RunSeed, attempt, one_random_run_under_leases, one_random_run_with_fencing};

/// A broken rule is caught within so many seeds, and none of them fails when no rule is broken.
const SEEDS: u64 = 1_000;

/// Who has to catch it.
#[derive(Clone, Copy)]
enum Catcher {
    /// It takes a certain moment.
    Explorer,
    /// It takes more nodes, or no special moment.
    Seeds,
    /// It takes fence devices.
    FencingSeeds,
}

fn catcher(rule: Rule) -> Catcher {
    match rule {
        Rule::LeaseCountsFromSending
        | Rule::PromiseCountsFromReceipt
        | Rule::ClocksAreWrong
        | Rule::OnePromiseAtATime
        | Rule::OnlyTheHolderGivesBack
        | Rule::RestartedVoterAbstains
        | Rule::OwnVoteIsFree
        | Rule::PromiseIsOurs
        | Rule::ReleaseWhenDown => Catcher::Explorer,
        Rule::MajorityDecides | Rule::ClaimIsGrantedFirst | Rule::LapsedHolderStops | Rule::LeaseEnds => Catcher::Seeds,
        Rule::SilentNodesAreFenced | Rule::OnlyAProofFences => Catcher::FencingSeeds,
    }
}

#[test]
fn sabotage_of_any_rule_is_caught() {
    for rule in Rule::ALL {
        let began = Instant::now();
        let (tried, sentence) = match catcher(rule) {
            Catcher::Explorer => by_exploring(rule),
            Catcher::Seeds => by_seeds(Some(rule), one_random_run_under_leases),
            Catcher::FencingSeeds => by_seeds(Some(rule), one_random_run_with_fencing),
        };
        let seconds = began.elapsed().as_secs_f64();
        let sentence = sentence.unwrap_or_else(|| panic!("{rule:?} is broken, and nobody notices: {tried}"));
        println!("{rule:?}: {tried}, {seconds:.1} s: {sentence}");
        assert!(is_about_safety(&sentence), "{rule:?}: {sentence}");
    }
}

#[test]
fn sabotage_of_nothing_is_not_noticed() {
    for run in [one_random_run_under_leases as RunSeed, one_random_run_with_fencing] {
        let (tried, sentence) = by_seeds(None, run);
        assert_eq!(sentence, None, "{tried}");
    }
}

/// The slowest clock holds the lease first: there a mistake of a clock matters most.
fn by_exploring(rule: Rule) -> (String, Option<String>) {
    let mut bounds = under_leases();
    bounds.rates.swap(0, 1);
    let findings = explore(&bounds, &|| break_rule(Some(rule)));
    let sentence = findings.failure.and_then(|told| Some(told.rsplit_once("]: ")?.1.to_owned()));
    (format!("{} states", findings.states), sentence)
}

/// Seeds on every processor until one of them fails.
fn by_seeds(rule: Option<Rule>, run: RunSeed) -> (String, Option<String>) {
    let (next, found) = (AtomicU64::new(1), Mutex::new(None::<(u64, String)>));
    let try_one = |seed| {
        if let (Err(error), _) = attempt(seed, None, run)
            && (rule.is_none() || is_about_safety(&error))
        {
            let mut found = found.lock().expect("no worker panics");
            *found = found.take().into_iter().chain([(seed, error)]).min();
            next.store(SEEDS + 1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                break_rule(rule);
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed <= SEEDS) {
                    try_one(seed);
                }
            });
        }
    });
    match found.into_inner().expect("no worker panics") {
        Some((seed, error)) => (format!("seed {seed}"), Some(error)),
        None => (format!("{SEEDS} seeds"), None),
    }
}

/// That nobody serves a group is another matter than that two do.
fn is_about_safety(error: &str) -> bool {
    !error.starts_with('L') && !error.starts_with("a role changed")
}
