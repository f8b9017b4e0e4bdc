//! The bed a measurement lies on: two nodes and a link, a tree that both have, and a system that keeps it so.

use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use avamgr_lab::{Cidr, HostKind, HostPlan, Lab, NetworkPlan, NicPlan, Plan, Process, Wiring};

use crate::account::Account;
use crate::attic::Attic;
use crate::compare::{Ended, wait_identical};
use crate::processes::Processes;
use crate::system::{ADDRESSES, INTERFACE, NODES, Site, System};
use crate::tree::{Tree, text};

/// The size of a rule.
pub(crate) const RULE_BYTES: usize = 4096;

/// A system that does not replicate its first change in this time never will.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The change that shows it is made anew so often: incron does nothing at its start.
const READY_TRY: Duration = Duration::from_secs(2);

/// After this the files made before are not of the same second as what is measured.
const CALM: Duration = Duration::from_millis(1500);

/// The file that shows that a system works.
const READY: &str = "ready";

/// How large the tree is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Directories, all in the root.
    pub(crate) dirs: usize,
    /// Files, the same number in each.
    pub(crate) files: usize,
}

impl Size {
    /// A small tree.
    pub(crate) const SMALL: Self = Self { dirs: 20, files: 200 };
    /// A large one.
    pub(crate) const LARGE: Self = Self { dirs: 500, files: 50_000 };

    /// The path of a file of the tree.
    pub(crate) fn file(self, number: usize) -> String {
        format!("d{:03}/f{number:05}.rules", number % self.dirs)
    }
}

/// Two nodes with a running system.
pub(crate) struct Bed<'a> {
    pub(crate) system: &'a dyn System,
    pub(crate) size: Size,
    /// The tree of the first node: all changes are made through it.
    pub(crate) tree: Tree,
    /// The tree of the other.
    pub(crate) copy: PathBuf,
    pub(crate) daemons: [Process; 2],
    pub(crate) site: Site,
    accounts: [Account; 2],
    processes: [Processes; 2],
    /// Ends everything that runs on the nodes when it goes.
    pub(crate) lab: Lab,
    attic: Rc<Attic>,
}

impl<'a> Bed<'a> {
    /// Makes the nodes and the tree, starts the system and waits until it works.
    pub(crate) fn make(system: &'a dyn System, size: Size, attic: &Rc<Attic>) -> Result<Self> {
        let lab = Lab::start(plan()?)?;
        let hosts = [lab.host(NODES[0])?, lab.host(NODES[1])?];
        let rules = [hosts[0].dir().join("rules"), hosts[1].dir().join("rules")];
        let tree = fill(Tree::make(&rules[0])?, size)?;
        let copied = Command::new("cp").arg("-a").args(&rules).status().context("run cp")?;
        ensure!(copied.success(), "cp -a: {copied}");
        let accounts = [Account::of(&hosts[0])?, Account::of(&hosts[1])?];
        let processes = [Processes::of(&hosts[0])?, Processes::of(&hosts[1])?];
        let copy = rules[1].clone();
        let site = Site { hosts, rules };
        let daemons = system.start(&site)?;
        let mut bed =
            Self { system, size, tree, copy, daemons, site, accounts, processes, lab, attic: Rc::clone(attic) };
        bed.ready()?;
        Ok(bed)
    }

    fn ready(&mut self) -> Result<()> {
        let end = Instant::now() + READY_WITHIN;
        for attempt in 1.. {
            let content = text(&format!("{READY} {attempt}"), RULE_BYTES + attempt);
            self.tree.write(READY, &content)?;
            let (until, seen) = (Instant::now() + READY_TRY, self.copy.join(READY));
            while Instant::now() < until {
                if std::fs::read(&seen).is_ok_and(|found| found == content) {
                    self.expect_identical(end.saturating_duration_since(Instant::now()))?;
                    // What was made so far is no burden for what is measured: whoever waits for the disk waits for all of it.
                    nix::unistd::sync();
                    thread::sleep(CALM);
                    return Ok(());
                }
                thread::sleep(Duration::from_millis(10));
            }
            self.check_alive()?;
            let name = self.system.name();
            ensure!(Instant::now() < end, "{name} has replicated nothing in {READY_WITHIN:?}\n{}", self.logs());
        }
        Ok(())
    }

    /// An error when a main process has ended.
    pub(crate) fn check_alive(&self) -> Result<()> {
        for daemon in &self.daemons {
            if let Some(status) = daemon.ended()? {
                bail!("a daemon of {} has ended: {status}\n{}", self.system.name(), self.logs());
            }
        }
        Ok(())
    }

    /// Waits for identical trees, and fails when they do not become so.
    pub(crate) fn expect_identical(&self, limit: Duration) -> Result<Instant> {
        match self.identical(limit, &|| true)? {
            Ended::Identical(at) => Ok(at),
            Ended::Never(difference) => bail!("the trees are not identical: {difference}\n{}", self.logs()),
        }
    }

    /// Waits for identical trees.
    pub(crate) fn identical(&self, limit: Duration, go_on: &dyn Fn() -> bool) -> Result<Ended> {
        wait_identical(&self.tree, &self.copy, limit, go_on)
    }

    /// Where the books of the nodes are now.
    pub(crate) fn mark(&self) -> [usize; 2] {
        [self.accounts[0].mark(), self.accounts[1].mark()]
    }

    /// rsyncs that have ended on both nodes since.
    pub(crate) fn rsyncs_since(&self, marks: [usize; 2]) -> Result<usize> {
        Ok(self.accounts[0].rsyncs_since(marks[0])? + self.accounts[1].rsyncs_since(marks[1])?)
    }

    /// Processor time of everything on each node.
    pub(crate) fn cpu(&self) -> [Duration; 2] {
        [self.processes[0].cpu(), self.processes[1].cpu()]
    }

    /// What the programs said last.
    pub(crate) fn logs(&self) -> String {
        let mut said = String::new();
        for (daemon, node) in self.daemons.iter().zip(NODES) {
            let log = daemon.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(12)..];
            said.extend(last.iter().map(|line| format!("  {node}: {line}\n")));
        }
        said
    }
}

impl Drop for Bed<'_> {
    fn drop(&mut self) {
        self.system.stop(&self.daemons);
        for host in &self.site.hosts {
            // What cannot be put aside goes with the lab.
            if let Err(error) = self.attic.take(host.dir()) {
                eprintln!("{error:#}");
            }
        }
    }
}

/// Two hosts and a cable.
fn plan() -> Result<Plan> {
    let host = |node: usize| -> Result<HostPlan> {
        let address: Cidr = format!("{}/24", ADDRESSES[node]).parse()?;
        let nic = NicPlan {
            name: INTERFACE.to_owned(),
            network: INTERFACE.to_owned(),
            addresses: vec![address],
            on_link: Vec::new(),
        };
        // A guest: nobody watches addresses here, so nothing of the lab runs while the system is measured.
        let (name, kind) = (NODES[node].to_owned(), HostKind::Guest);
        Ok(HostPlan { name, kind, nics: vec![nic], sysctls: Vec::new(), own_syslog: false })
    };
    let network = NetworkPlan { name: INTERFACE.to_owned(), wiring: Wiring::Direct };
    Ok(Plan { networks: vec![network], hosts: vec![host(0)?, host(1)?] })
}

fn fill(mut tree: Tree, size: Size) -> Result<Tree> {
    for dir in 0..size.dirs {
        tree.mkdir(&format!("d{dir:03}"))?;
    }
    for number in 0..size.files {
        tree.write(&size.file(number), &text(&format!("first {number}"), RULE_BYTES))?;
    }
    tree.link("link.rules", &size.file(0))?;
    tree.chmod(&size.file(1), 0o640)?;
    Ok(tree)
}
