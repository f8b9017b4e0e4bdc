//! Another program goes on with a running daemon: nothing is removed, restarted or moved, and clients notice nothing.

use std::error::Error;
use std::fs;
use std::process::Output;
use std::time::{Duration, Instant};

use avamgr_lab::{Answers, Plan, VIP, mark, on_a_steady_machine, story};

use crate::lease::{Leased, SHORT};
use crate::pair::{Outcome, PAIR, Pair, SLEEPER, config};

/// What a busy lab may be late by: at an interval of 10 ms the guard closes for a moment whenever the machine stands still.
const NOISE: Duration = Duration::from_millis(150);

/// How everything is before the upgrade.
struct Calm<'a> {
    pair: &'a Pair,
    answers: &'a Answers,
    since: Instant,
    services: Vec<i32>,
    daemons: Vec<i32>,
    roles: usize,
}

impl<'a> Calm<'a> {
    fn look(pair: &'a Pair, answers: &'a Answers) -> Result<Self, Box<dyn Error>> {
        let daemons = PAIR.iter().map(|node| pair.daemon(node).pid()).collect();
        let (services, roles) = (services(pair)?, pair.all_role_changes());
        assert_eq!(services.len(), 1, "the service runs once");
        Ok(Self { pair, answers, since: mark(), services, daemons, roles })
    }

    /// Nothing has moved since.
    fn lasts(&self) -> Outcome {
        std::thread::sleep(Duration::from_secs(3));
        let until = mark();
        let silence = self.answers.settled().longest_silence(self.since, until);
        println!("longest silence of the address: {silence:?}");
        let removed = self.pair.lab.owners().changes_since(self.since);
        let daemons: Vec<i32> = PAIR.iter().map(|node| self.pair.daemon(node).pid()).collect();
        let quiet = silence < NOISE && removed.is_empty() && self.pair.all_role_changes() == self.roles;
        if !quiet {
            self.pair.tell();
        }
        assert!(quiet, "{silence:?}, {removed:?}, {} role changes more", self.pair.all_role_changes() - self.roles);
        assert_eq!(services(self.pair)?, self.services, "the same process serves");
        assert_eq!(daemons, self.daemons);
        assert_eq!(self.answers.settled().owner_changes(self.since, mark()), 0);
        for node in PAIR {
            assert!(self.pair.daemon(node).ended()?.is_none(), "the daemon of {node} is the process it was");
        }
        Ok(())
    }
}

/// The processes of the service on both nodes.
fn services(pair: &Pair) -> Result<Vec<i32>, Box<dyn Error>> {
    let mut all = Vec::new();
    for node in PAIR {
        let pids = pair.node(node)?.pids()?;
        let command = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        all.extend(pids.into_iter().filter(|pid| command(pid).starts_with("sleep\x00100000")));
    }
    Ok(all)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Asks for it, and returns what was said.
fn upgrade(pair: &Pair, node: &str) -> Outcome {
    let output = pair.avamgr(node, &["upgrade"])?;
    let said = said(&output);
    println!("{node}: {said}");
    if !output.status.success() {
        pair.tell();
    }
    assert!(output.status.success() && said.contains("nothing moved"), "{said}");
    Ok(())
}

/// A pair under leases, both of whose programs are replaced, the ACTIVE one twice.
fn upgrades_under_leases(interval: Duration) -> Outcome {
    let leased = Leased::start_at(Plan::pair().switched(), interval, "")?;
    let calm = Calm::look(&leased.pair, &leased.answers)?;
    for node in ["hadev1", "hadev2", "hadev1"] {
        upgrade(&leased.pair, node)?;
        calm.lasts()?;
    }
    // What goes on is a whole daemon: it hands over, and what it has taken over ends with it.
    let output = leased.pair.avamgr("hadev1", &["switchover"])?;
    assert!(output.status.success(), "{}", said(&output));
    leased.pair.wait_role("hadev2", "active")?;
    assert!(!services(&leased.pair)?.iter().any(|pid| calm.services.contains(pid)));
    leased.one_owner()
}

#[test]
fn under_leases_nothing_moves_at_the_usual_interval() {
    story(|| upgrades_under_leases(Duration::from_millis(100)));
}

#[test]
fn under_leases_nothing_moves_at_ten_milliseconds() {
    story(|| on_a_steady_machine(SHORT, || upgrades_under_leases(SHORT)));
}

#[test]
fn with_an_arbitrator_nothing_moves_either() {
    story(|| {
        let pair = Pair::start(Plan::pair(), &config("heartbeat_interval = \"10ms\"", SLEEPER))?;
        let answers = Answers::start(&pair.node("client")?, VIP.parse()?, pair.lab.nodes())?;
        let calm = Calm::look(&pair, &answers)?;
        for node in ["hadev1", "hadev2", "hadev1"] {
            upgrade(&pair, node)?;
            calm.lasts()?;
        }
        pair.never_two_owners()
    });
}

#[test]
fn a_program_that_cannot_go_on_is_refused_and_nothing_happens() {
    story(|| {
        let leased = Leased::start(Plan::pair().switched())?;
        let pair = &leased.pair;
        let node = pair.node("hadev1")?;
        node.write("/run/unfit", "#!/bin/sh\necho 'format 7 is not known here' >&2\nexit 1\n")?;
        let calm = Calm::look(pair, &leased.answers)?;
        for (path, reason) in [("/run/unfit", "no executable file"), ("/run/none", "cannot be run")] {
            let output = pair.avamgr("hadev1", &["upgrade", "--binary", path])?;
            assert!(output.status.code() == Some(3) && said(&output).contains(reason), "{}", said(&output));
        }
        node.command("chmod").args(["755", "/run/unfit"]).output()?;
        let output = pair.avamgr("hadev1", &["upgrade", "--binary", "/run/unfit"])?;
        let said = said(&output);
        assert!(output.status.code() == Some(3) && said.contains("format 7 is not known here"), "{said}");
        pair.wait_event("hadev1", "refused")?;
        assert!(!pair.events("hadev1")?.iter().any(|event| event.contains("is replaced")));
        calm.lasts()
    });
}
