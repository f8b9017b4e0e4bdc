//! Somebody sets the clock while a pair runs. Nothing is decided by the time of day, so nothing happens.

use std::error::Error;
use std::time::{Duration, SystemTime};

use avamgr_lab::{Plan, mark, on_a_steady_machine, story};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};
use serde_json::Value;

use crate::pair::{Outcome, PAIR, Pair, SLEEPER, config, text};
use crate::tools::{told_since, told_so_far};

const HOUR: i64 = 3600;

/// The dead time but for what is heard in time at the latest.
const SPARE: Duration = Duration::from_millis(100);

/// Sets the clock of the machine, which both nodes share, so many seconds further. The machine is this story's alone.
fn step(seconds: i64) -> Outcome {
    let before = SystemTime::now();
    let since_epoch = TimeSpec::from(before.duration_since(SystemTime::UNIX_EPOCH)?);
    clock_settime(ClockId::CLOCK_REALTIME, since_epoch + TimeSpec::new(seconds, 0))?;
    let after = SystemTime::now();
    let far = Duration::from_secs(seconds.unsigned_abs());
    let moved = if seconds > 0 { after.duration_since(before)? } else { before.duration_since(after)? };
    assert!(moved.abs_diff(far) < Duration::from_secs(1), "the clock went by {moved:?} and not by {seconds} s");
    Ok(())
}

/// The time as it was, so that the next story does not begin an hour off.
struct Restored(i64);

impl Restored {
    fn step(&mut self, seconds: i64) -> Outcome {
        step(seconds)?;
        self.0 += seconds;
        Ok(())
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        if self.0 != 0 {
            // A story that fails has said why.
            let _ = step(-self.0);
        }
    }
}

/// The whole history of a node as the operator gets it.
fn history(pair: &Pair, node: &str) -> Result<Vec<Value>, Box<dyn Error>> {
    let output = pair.avamgr(node, &["history", "--last", "all", "--json"])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Entries are in the order in which things happened, whatever the clock said; `orders` of them are the operator's, in turn.
fn is_in_order(entries: &[Value], orders: usize) -> Outcome {
    let numbers: Vec<u64> = entries.iter().filter_map(|entry| entry["number"].as_u64()).collect();
    assert!(numbers.len() == entries.len() && numbers.is_sorted_by(|one, next| one + 1 == *next), "{numbers:?}");
    let is_order = |entry: &&Value| text(&entry["text"]).starts_with("root: maintenance ");
    let told: Vec<&Value> = entries.iter().filter(is_order).collect();
    let each: Vec<String> = told.iter().map(|entry| text(&entry["text"])).collect();
    let wanted: Vec<&str> =
        ["root: maintenance on", "root: maintenance off"].into_iter().cycle().take(orders).collect();
    assert_eq!(each, wanted);
    // Without this the clock of the daemon was never set.
    let times: Vec<String> = told.iter().map(|entry| text(&entry["time"])).collect();
    assert!(orders == 0 || !times.is_sorted(), "no entry is older than the one before it: {times:?}");
    Ok(())
}

#[test]
fn steps_of_an_hour_forwards_and_backwards_change_nothing() {
    story(|| {
        on_a_steady_machine(SPARE, || {
            let pair = Pair::start(Plan::pair(), &config("", SLEEPER))?;
            let (changes, told, begin) = (pair.all_role_changes(), told_so_far(&pair)?, mark());
            let mut clock = Restored(0);
            let steps = [HOUR, -HOUR, -HOUR, HOUR, HOUR, -HOUR];
            for (place, seconds) in steps.iter().enumerate() {
                clock.step(*seconds)?;
                std::thread::sleep(Duration::from_secs(2));
                let order = if place % 2 == 0 { "on" } else { "off" };
                assert!(pair.avamgr("hadev1", &["maintenance", order])?.status.success());
            }
            for round in 0..50 {
                clock.step(if round % 2 == 0 { HOUR } else { -HOUR })?;
                std::thread::sleep(Duration::from_millis(37));
            }
            std::thread::sleep(Duration::from_secs(2));
            let (told, outage) = (told_since(&pair, &told)?, pair.outage(begin));
            println!("outage {outage:?}, {told:#?}");
            assert_eq!(pair.all_role_changes(), changes, "{told:#?}");
            let is_trouble =
                |sentence: &&String| [" is down: ", "isolated", "silent on"].iter().any(|word| sentence.contains(word));
            assert_eq!(told.iter().filter(is_trouble).collect::<Vec<_>>(), Vec::<&String>::new());
            assert!(outage < Duration::from_millis(500), "the address was away for {outage:?}");
            for node in PAIR {
                is_in_order(&history(&pair, node)?, if *node == "hadev1" { steps.len() } else { 0 })?;
            }
            pair.never_two_owners()
        })
    });
}
