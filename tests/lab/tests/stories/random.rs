//! Random faults in one long run: the address is never answered for by two nodes, and when all is well again one serves.
//!
//! `SEED=` chooses the faults (their moments are the machine's own), `FAULTS=` how many there are.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use avamgr_lab::{Plan, Way, mark, story, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lease::Leased;
use crate::pair::{Outcome, PAIR};

/// Half of what is usual, so that more happens in the time; and a run is nothing but failovers.
const INTERVAL: Duration = Duration::from_millis(50);
const LIMITS: &str = "[limits]\nfailovers = 1000";

/// The lease that follows from it.
const LEASE_MILLIS: u64 = 150;

/// One node serves by then when nothing is wrong any more, on a machine that is busy.
const HEALED_WITHIN: Duration = Duration::from_secs(30);

/// So many faults, and then everything heals.
const ROUND: usize = 10;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    LinkCut,
    LinkCutOneWay,
    AllLinksCut,
    Loss,
    Killed,
    Stopped,
    PowerOff,
    ServiceKilled,
    WitnessKilled,
    WitnessUnreachable,
    NeutralCutOneWay,
}

const ALL: [Fault; 11] = [
    Fault::LinkCut,
    Fault::LinkCutOneWay,
    Fault::AllLinksCut,
    Fault::Loss,
    Fault::Killed,
    Fault::Stopped,
    Fault::PowerOff,
    Fault::ServiceKilled,
    Fault::WitnessKilled,
    Fault::WitnessUnreachable,
    Fault::NeutralCutOneWay,
];

/// SplitMix64: the same seed, the same faults.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap_or(0)]
    }

    fn millis(&mut self, below: u64) -> Duration {
        Duration::from_millis(self.below(below))
    }
}

/// A fault, or two at once, and the time until the next.
struct Struck {
    what: String,
    from: Instant,
    to: Instant,
}

struct Run {
    leased: Leased,
    chance: Chance,
    struck: Vec<Struck>,
}

impl Run {
    fn strike(&mut self, fault: Fault) -> Outcome {
        let (node, link) = (self.chance.of(PAIR), self.chance.of(&["hb1", "hb2"]));
        let way = self.chance.of(&[Way::From, Way::To]);
        let percent = 10 + u8::try_from(self.chance.below(41))?;
        let lab = &self.leased.pair.lab;
        match fault {
            Fault::LinkCut => drop(lab.pull_at(link, node)?),
            Fault::LinkCutOneWay => drop(lab.cut_one_way(link, node, way)?),
            Fault::AllLinksCut => drop(lab.pull_all(&["hb1", "hb2"])?),
            Fault::Loss => {
                for network in ["hb1", "hb2", "neutral"] {
                    lab.lose(network, percent)?;
                }
            }
            Fault::Killed => {
                // It may be dead already. One that is still dying when all is mended would be taken for one that lives.
                let daemon = self.leased.pair.daemon(node);
                let _ = daemon.kill9();
                let _ = daemon.wait(HEALED_WITHIN)?;
            }
            Fault::Stopped if lab.host(node)?.is_on() => self.leased.signal_ours(node, Signal::SIGSTOP)?,
            Fault::PowerOff if lab.host(node)?.is_on() => drop(lab.power_off(node)?),
            Fault::ServiceKilled if lab.host(node)?.is_on() => self.kill_service(node)?,
            Fault::Stopped | Fault::PowerOff | Fault::ServiceKilled => {}
            Fault::WitnessKilled => self.leased.kill_witness()?,
            Fault::WitnessUnreachable => drop(lab.silence_at("neutral", node)?),
            Fault::NeutralCutOneWay => drop(lab.cut_one_way("neutral", node, way)?),
        }
        Ok(())
    }

    fn kill_service(&self, node: &str) -> Outcome {
        for pid in self.leased.pair.node(node)?.pids()? {
            if fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim() == "sleep" {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        Ok(())
    }

    /// Nothing is wrong any more; what has ended is started again, as an init would.
    fn mend(&mut self) -> Outcome {
        self.leased.pair.lab.heal_all()?;
        for node in PAIR {
            self.leased.pair.lab.power_on(node)?;
            self.leased.signal_ours(node, Signal::SIGCONT)?;
            if self.leased.pair.daemon(node).ended().map_or(true, |ended| ended.is_some()) {
                self.leased.pair.start_daemon(node)?;
            }
        }
        if self.leased.witness.is_none() {
            self.leased.start_witness()?;
        }
        Ok(())
    }

    /// A fault, now and then two, for a time around the lease.
    fn one(&mut self) -> Outcome {
        let from = mark();
        let first = self.chance.of(&ALL);
        let mut what = format!("{first:?}");
        self.strike(first)?;
        if self.chance.below(3) == 0 {
            let pause = self.chance.millis(LEASE_MILLIS);
            sleep(pause);
            let second = self.chance.of(&ALL);
            self.strike(second)?;
            what = format!("{first:?} + {second:?}");
        }
        let lasts = self.chance.millis(4 * LEASE_MILLIS);
        sleep(lasts);
        self.mend()?;
        let pause = self.chance.millis(2 * LEASE_MILLIS);
        sleep(pause);
        self.struck.push(Struck { what, from, to: mark() });
        Ok(())
    }

    /// Everything has healed: one node serves, and nobody else ever did at the same time.
    fn heals(&mut self) -> Outcome {
        for node in PAIR {
            // Failures of killed services are forgotten, as an operator would; a daemon that has just started may not hear it.
            let _ = self.leased.pair.avamgr(node, &["resource", "clear", "dre/service"])?;
        }
        let pair = &self.leased.pair;
        let calm = || {
            let roles = PAIR.iter().map(|node| pair.role(node)).collect::<Vec<_>>();
            roles.contains(&"active".to_owned()) && roles.contains(&"standby".to_owned())
        };
        let began = mark();
        let waited = wait_until(HEALED_WITHIN, "one node to be ACTIVE and the other STANDBY", calm);
        if waited.is_err() {
            pair.tell();
            for node in PAIR {
                println!("{}", String::from_utf8_lossy(&pair.avamgr(node, &["why"])?.stdout));
            }
        }
        waited?;
        println!("{} faults, healed after {:?}", self.struck.len(), began.elapsed());
        self.leased.one_owner().inspect_err(|_| self.summary())
    }

    fn summary(&self) {
        let seen = self.leased.answers.settled();
        let mut kinds: BTreeMap<&str, (usize, usize, Duration)> = BTreeMap::new();
        for Struck { what, from, to } in &self.struck {
            let kind = if what.contains('+') { "two at once" } else { what.as_str() };
            let (count, changes, silence) = kinds.entry(kind).or_default();
            *count += 1;
            *changes += seen.owner_changes(*from, *to);
            *silence = seen.longest_silence(*from, *to).max(*silence);
        }
        println!("| fault | count | changes of the owner | longest time without an owner |");
        println!("| --- | --- | --- | --- |");
        for (kind, (count, changes, silence)) in kinds {
            println!("| {kind} | {count} | {changes} | {} ms |", silence.as_millis());
        }
        // The kernel of a dead holder answers until its lease is over, so a silence often has its cause in the fault before.
        for (began, length) in seen.silences_over(Duration::from_millis(LEASE_MILLIS)) {
            let begun = self.struck.iter().filter(|struck| struck.from <= began);
            let mut last: Vec<&str> = begun.rev().take(3).map(|struck| struck.what.as_str()).collect();
            last.reverse();
            println!("nobody answered for {} ms; the last faults: {}", length.as_millis(), last.join(", "));
        }
        let two = seen.both.len();
        println!("{} samples, {:.1} % of the time counts, {two} with two owners", seen.asked, seen.share() * 100.0);
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn two_hundred_random_faults() {
    story(|| {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos();
        let seed = number("SEED").unwrap_or(clock.into());
        let faults = usize::try_from(number("FAULTS").unwrap_or(200))?;
        println!("SEED={seed} FAULTS={faults}");
        let leased = Leased::start_at(Plan::pair().switched(), INTERVAL, LIMITS)?;
        let mut run = Run { leased, chance: Chance(seed), struck: Vec::new() };
        for number in 1..=faults {
            run.one()?;
            if number % ROUND == 0 || number == faults {
                run.heals()?;
            }
        }
        run.summary();
        Ok(())
    });
}
