//! A real watchdog (an i6300ESB, as the machine's own hardware): it resets the machine of a daemon that does not go on, in the
//! promised time, and no other one.
//!
//! A story that ends in a reset is a boot of its own: `tests/vm/run` reads its lines, sees the second boot, and judges.

use std::error::Error;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use avamgr_lab::{Plan, story};

use crate::pair::{GROUP, Outcome, PAIR, Pair, SLEEPER, V4_AND_V6, cluster};

/// What hadev1's config asks of its watchdog: the promised time from the last feeding to the reset.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Later than that a machine that is still there has not been reset.
const TOO_LATE: Duration = Duration::from_secs(6);

/// What the watchdog of the machine says of itself.
fn device(fact: &str) -> Result<String, Box<dyn Error>> {
    Ok(fs::read_to_string(format!("/sys/class/watchdog/watchdog0/{fact}"))?.trim().to_owned())
}

/// A pair whose failover budget is large enough for whole seconds. The machine has one watchdog: hadev1 has it.
fn pair() -> Result<Pair, Box<dyn Error>> {
    let loaded = Command::new("modprobe").arg("i6300esb").status()?;
    assert!(loaded.success(), "no driver for the watchdog: {loaded}");
    assert_eq!((device("identity")?.as_str(), device("state")?.as_str()), ("i6300ESB timer", "inactive"));
    let links = cluster(PAIR, "", &V4_AND_V6).replace("failover_budget = \"1s\"", "failover_budget = \"10s\"");
    let config = format!("{links}{GROUP}{SLEEPER}");
    let guarded = format!("{config}\n[watchdog]\ndevice = \"/dev/watchdog\"\ntimeout = \"{}s\"\n", TIMEOUT.as_secs());
    Pair::start_with(
        Plan::pair(),
        &config,
        |pair, node| {
            if node == "hadev1" { pair.install(node, &guarded) } else { Ok(()) }
        },
    )
}

/// For several times the bound nothing happens while the daemon lives.
fn is_left_alone(pair: &Pair) -> Outcome {
    assert_eq!((device("state")?.as_str(), device("timeout")?), ("active", TIMEOUT.as_secs().to_string()));
    std::thread::sleep(3 * TIMEOUT);
    assert_eq!((pair.role("hadev1"), device("state")?), ("active".to_owned(), "active".to_owned()));
    Ok(())
}

/// Tells how long the machine is still there. The last line that comes out is the time of the reset.
fn wait_for_reset(pair: &Pair, what: &str) -> Outcome {
    let begin = Instant::now();
    println!("VM: {what}, to be reset within {} ms", TIMEOUT.as_millis());
    while begin.elapsed() < TOO_LATE {
        println!("VM: there after {} ms, hadev2 is {}", begin.elapsed().as_millis(), pair.role("hadev2"));
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("the machine is there {TOO_LATE:?} later").into())
}

#[test]
#[ignore = "the machine is reset"]
fn a_machine_whose_daemon_hangs_is_reset() {
    story(|| {
        let pair = pair()?;
        is_left_alone(&pair)?;
        pair.daemon("hadev1").stop()?;
        wait_for_reset(&pair, "the daemon hangs")
    });
}

#[test]
#[ignore = "the machine is reset"]
fn a_machine_whose_daemon_is_killed_is_reset() {
    story(|| {
        let pair = pair()?;
        is_left_alone(&pair)?;
        pair.daemon("hadev1").kill9()?;
        wait_for_reset(&pair, "the daemon is killed")
    });
}

#[test]
fn a_machine_whose_daemon_ends_as_told_goes_on() {
    story(|| {
        let pair = pair()?;
        is_left_alone(&pair)?;
        pair.daemon("hadev1").terminate()?;
        let ended = pair.daemon("hadev1").wait(Duration::from_secs(15))?;
        assert!(ended.success(), "{ended}");
        assert_eq!(device("state")?, "inactive");
        std::thread::sleep(2 * TIMEOUT);
        Ok(())
    });
}

#[test]
fn a_machine_whose_killed_daemon_is_started_again_in_time_goes_on() {
    story(|| {
        let mut pair = pair()?;
        is_left_alone(&pair)?;
        pair.daemon("hadev1").kill9()?;
        pair.start_daemon("hadev1")?;
        std::thread::sleep(3 * TIMEOUT);
        assert_eq!(device("state")?, "active");
        assert!(pair.daemon("hadev1").ended()?.is_none());
        // It is orderly again: nothing of the kill is left.
        pair.daemon("hadev1").terminate()?;
        pair.daemon("hadev1").wait(Duration::from_secs(15))?;
        assert_eq!(device("state")?, "inactive");
        Ok(())
    });
}
