//! Rules that are the same on both nodes, with the real `rules-sync` beside each daemon: it comes, comes back and goes with the
//! daemon, and its troubles are never those of the daemon.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use avamgr_lab::{Plan, story, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::pair::{Outcome, PAIR, Pair, SLEEPER, SOON, config, program, text};

/// Where the rules are, in every story.
const RULES: &str = "\n[rules]\ndirectories = { re = \"/run/re\" }\nstate_dir = \"/run/rules-state\"\n";

/// Whose they are: the courier becomes that account.
const OWNER: &str = "65534";

fn ruled() -> String {
    format!("{}{RULES}", config("", SLEEPER))
}

fn with_directory(pair: &Pair, name: &str) -> Outcome {
    let node = pair.node(name)?;
    assert!(node.command("mkdir").arg("/run/re").output()?.status.success());
    assert!(node.command("chown").args([OWNER, "/run/re"]).output()?.status.success());
    Ok(())
}

/// The couriers of a node: `rules-sync run`, and no rsync of its.
fn couriers(pair: &Pair, name: &str) -> Result<Vec<i32>, Box<dyn Error>> {
    let command = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let is_one = |pid: &i32| command(pid).contains("rules-sync\0run\0");
    Ok(pair.node(name)?.pids()?.into_iter().filter(is_one).collect())
}

/// Everything of the courier: what else it has running listens for rsync.
fn offspring(pair: &Pair, name: &str) -> Result<Vec<i32>, Box<dyn Error>> {
    let command = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let is_one = |pid: &i32| command(pid).contains("rsync") || command(pid).contains("rules-sync");
    Ok(pair.node(name)?.pids()?.into_iter().filter(is_one).collect())
}

fn one_courier(pair: &Pair, name: &str, but: Option<i32>) -> Result<i32, Box<dyn Error>> {
    let there = || match couriers(pair, name).unwrap_or_default().as_slice() {
        [one] if Some(*one) != but => Some(*one),
        _ => None,
    };
    let waited = wait_until(SOON, format!("one courier of {name}"), || there().is_some());
    if waited.is_err() {
        pair.tell();
    }
    waited?;
    Ok(there().ok_or("it was there")?)
}

fn wait_line(pair: &Pair, name: &str, begin: &str) -> Outcome {
    let line = || {
        let said = pair.avamgr(name, &["status"]).ok()?;
        assert!(said.status.success(), "a trouble of the rules is none of the roles");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        said.lines().find(|line| line.starts_with("rules: ")).map(str::to_owned)
    };
    let waited = wait_until(SOON, format!("{begin} in the status of {name}"), || {
        line().is_some_and(|line| line.starts_with(begin))
    });
    if waited.is_err() {
        println!("{name} says: {:?}", line());
        pair.tell();
    }
    Ok(waited?)
}

fn travels(pair: &Pair, from: &str, to: &str, name: &str) -> Outcome {
    let path = format!("/run/re/{name}");
    pair.node(from)?.write(&path, name)?;
    let there = || pair.node(to).and_then(|node| Ok(node.read(&path)?)).is_ok_and(|text| text == name);
    let waited = wait_until(SOON, format!("{path} of {from} on {to}"), there);
    if waited.is_err() {
        pair.tell();
    }
    Ok(waited?)
}

fn gone(pair: &Pair, name: &str) -> Outcome {
    Ok(wait_until(SOON, format!("nothing of the courier is left on {name}"), || {
        offspring(pair, name).is_ok_and(|pids| pids.is_empty())
    })?)
}

fn start() -> Result<Pair, Box<dyn Error>> {
    let pair = Pair::start_with(Plan::pair(), &ruled(), with_directory)?;
    for name in PAIR {
        one_courier(&pair, name, None)?;
        wait_line(&pair, name, "rules: in sync (")?;
    }
    Ok(pair)
}

#[test]
fn the_courier_comes_with_the_daemon_comes_back_when_killed_and_goes_with_it() {
    story(|| {
        let pair = start()?;
        travels(&pair, "hadev1", "hadev2", "one")?;
        travels(&pair, "hadev2", "hadev1", "two")?;
        let active = || pair.status("hadev1").is_ok_and(|status| status["rules"]["status"]["active"] == "hadev1");
        wait_until(SOON, "the courier to know who is ACTIVE", active)?;
        let status = pair.status("hadev1")?;
        let rules = &status["rules"];
        assert_eq!(rules["status"]["node"], "hadev1", "{rules}");
        assert_eq!(rules["trouble"], Value::Null, "{rules}");
        assert!(rules["status"]["now"].is_number() && rules["answered"].is_number(), "{rules}");
        assert_eq!(rules["status"]["notices"].as_array().map(Vec::len), Some(0), "they are in the history");
        pair.wait_event("hadev1", "rules: rules-sync runs (process ")?;
        let first = one_courier(&pair, "hadev1", None)?;
        kill(Pid::from_raw(first), Signal::SIGKILL)?;
        let second = one_courier(&pair, "hadev1", Some(first))?;
        pair.wait_event("hadev1", "rules: rules-sync was killed by signal 9 (SIGKILL)")?;
        wait_line(&pair, "hadev1", "rules: in sync (")?;
        travels(&pair, "hadev1", "hadev2", "three")?;
        assert_eq!(one_courier(&pair, "hadev1", None)?, second);
        let told = |words: &str| {
            pair.events("hadev1").map_or(0, |events| events.iter().filter(|event| event.contains(words)).count())
        };
        wait_until(SOON, "the second run in the history", || told("rules-sync runs") == 2)?;
        assert_eq!((told("was killed by signal 9"), told("rules-sync runs")), (1, 2), "each thing is told once");
        let said = pair.avamgr("hadev1", &["check"])?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        for found in ["is that of rules-sync, which runs", "/run/re is there", "rules directory re"] {
            assert!(said.contains(found), "{found}: {said}");
        }
        pair.daemon("hadev1").terminate()?;
        pair.daemon("hadev1").wait(SOON)?;
        assert_eq!(offspring(&pair, "hadev1")?, [0; 0], "it has gone before the daemon");
        pair.wait_role("hadev2", "active")?;
        wait_line(&pair, "hadev2", "rules: NOT IN SYNC (")?;
        pair.never_two_owners()
    });
}

#[test]
fn after_an_upgrade_and_after_the_death_of_the_daemon_there_is_one_courier_again() {
    story(|| {
        let mut pair = start()?;
        let first = one_courier(&pair, "hadev1", None)?;
        let said = pair.avamgr("hadev1", &["upgrade"])?;
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let second = one_courier(&pair, "hadev1", Some(first))?;
        wait_line(&pair, "hadev1", "rules: in sync (")?;
        travels(&pair, "hadev1", "hadev2", "after-upgrade")?;
        pair.daemon("hadev1").kill9()?;
        pair.wait_role("hadev2", "active")?;
        pair.start_daemon("hadev1")?;
        pair.wait_role("hadev1", "standby")?;
        one_courier(&pair, "hadev1", Some(second))?;
        wait_line(&pair, "hadev1", "rules: in sync (")?;
        travels(&pair, "hadev1", "hadev2", "after-death")
    });
}

#[test]
fn a_reload_starts_replaces_and_ends_the_courier() {
    story(|| {
        let without = config("", SLEEPER);
        let pair = Pair::start_with(Plan::pair(), &without, with_directory)?;
        assert_eq!(couriers(&pair, "hadev1")?, [0; 0], "without [rules] nothing is started");
        assert_eq!(pair.status("hadev1")?["rules"], Value::Null);
        let reload = |config: &str| -> Outcome {
            for name in PAIR {
                pair.node(name)?.write("/etc/avamgr/avamgr.toml", config)?;
                let said = pair.avamgr(name, &["reload"])?;
                assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
            }
            Ok(())
        };
        reload(&ruled())?;
        let first = one_courier(&pair, "hadev1", None)?;
        wait_line(&pair, "hadev1", "rules: in sync (")?;
        reload(&ruled())?;
        assert_eq!(one_courier(&pair, "hadev1", None)?, first, "nothing has changed");
        reload(&format!("{}exclude = [\"*.tmp\"]\n", ruled()))?;
        let second = one_courier(&pair, "hadev1", Some(first))?;
        let keys = format!("1 {}\n2 {} send\n", "0123456789abcdef".repeat(4), "fedcba9876543210".repeat(4));
        for name in PAIR {
            pair.node(name)?.write("/etc/avamgr/keys", &keys)?;
        }
        reload(&format!("{}exclude = [\"*.tmp\"]\n", ruled()))?;
        one_courier(&pair, "hadev1", Some(second))?;
        wait_line(&pair, "hadev1", "rules: in sync (")?;
        reload(&without)?;
        gone(&pair, "hadev1")?;
        let ended = || pair.status("hadev1").is_ok_and(|status| status["rules"].is_null());
        wait_until(SOON, "no rules in the status", ended)?;
        assert_eq!(pair.role("hadev1"), "active");
        Ok(())
    });
}

#[test]
fn a_daemon_without_its_courier_serves_on_and_says_so() {
    story(|| {
        let mut pair = Pair::install_all(Plan::pair(), &ruled())?;
        for name in PAIR {
            with_directory(&pair, name)?;
            alone(&pair, name)?;
            pair.start_program(name, "/run/alone/avamgrd")?;
        }
        pair.wait_role("hadev1", "active")?;
        pair.wait_role("hadev2", "standby")?;
        pair.wait_event("hadev1", "rules: rules-sync cannot be started: program rules-sync is not in PATH")?;
        wait_line(&pair, "hadev1", "rules: rules-sync is not running")?;
        let trouble = |status: Value| text(&status["rules"]["trouble"]).starts_with("cannot be started");
        wait_until(SOON, "the trouble in the status", || pair.status("hadev1").is_ok_and(trouble))?;
        let status = pair.status("hadev1")?;
        assert_eq!(status["alarms"].as_array().map(Vec::len), Some(0), "{}", status["alarms"]);
        let said = pair.avamgr("hadev2", &["switchover"])?;
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        // What is installed later is found.
        let path: PathBuf = pair.node("hadev1")?.path("/run/alone/rules-sync");
        fs::copy(program("rules-sync"), path)?;
        one_courier(&pair, "hadev1", None)?;
        pair.never_two_owners()
    });
}

/// The daemon in a directory of its own, with nothing beside it.
fn alone(pair: &Pair, name: &str) -> Outcome {
    let node = pair.node(name)?;
    assert!(node.command("mkdir").arg("/run/alone").output()?.status.success());
    fs::copy(program("avamgrd"), node.path("/run/alone/avamgrd"))?;
    Ok(())
}
