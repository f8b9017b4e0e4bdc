//! What all nodes must agree on: who is who, one config, the keys. A disagreement is an alarm and moves nothing.

use std::time::Duration;

use avamgr_lab::{Plan, mark, story, wait_until};

use crate::pair::{Outcome, PAIR, Pair, SLEEPER, SOON, config, program};

fn pair() -> Result<Pair, Box<dyn std::error::Error>> {
    Pair::start(Plan::pair(), &config("", SLEEPER))
}

fn run(pair: &Pair, name: &str, arguments: &[&str]) -> Outcome {
    let output = pair.avamgr(name, arguments)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "avamgr {arguments:?} on {name}: {said}");
    Ok(())
}

#[test]
fn a_third_host_that_runs_as_hadev1_is_an_alarm_and_nothing_falls() {
    story(|| {
        // A clone of hadev1 that was given addresses of its own, but not a name of its own. It has config and keys.
        let text = config("", SLEEPER);
        let pair = Pair::start(Plan::nodes(3), &text)?;
        let (before, begin) = (pair.all_role_changes(), mark());
        pair.install("hadev3", &text)?;
        let clone = pair.node("hadev3")?.command(program("avamgrd")).args(["--node", "hadev1"]).spawn()?;
        pair.wait_alarm("hadev2", "hadev1", true)?;
        std::thread::sleep(Duration::from_secs(3));
        assert!(clone.ended()?.is_none(), "the clone runs: {}", clone.log());
        assert_eq!(pair.role("hadev3"), "standby", "the clone owns nothing");
        assert_eq!(pair.all_role_changes(), before, "nothing moved");
        assert_eq!(pair.role("hadev1"), "active");
        assert!(pair.outage(begin) < Duration::from_millis(300), "{:?}", pair.outage(begin));
        clone.kill9()?;
        pair.wait_alarm("hadev2", "hadev1", false)?;
        pair.never_two_owners()
    });
}

#[test]
fn another_config_is_an_alarm_on_both_and_gone_when_the_files_agree() {
    story(|| {
        let mut pair = pair()?;
        let before = pair.all_role_changes();
        let other = config("link_rise = 5", SLEEPER);
        // One node has the new file: by reload first, then both by reload.
        pair.node("hadev1")?.write("/etc/avamgr/avamgr.toml", &other)?;
        run(&pair, "hadev1", &["reload"])?;
        for name in PAIR {
            pair.wait_alarm(name, "config", true)?;
        }
        pair.node("hadev2")?.write("/etc/avamgr/avamgr.toml", &other)?;
        run(&pair, "hadev2", &["reload"])?;
        for name in PAIR {
            pair.wait_alarm(name, "config", false)?;
        }
        assert_eq!(pair.all_role_changes(), before, "a reload moves nothing");
        // And by a restart of the STANDBY node, with what no reload takes.
        let third = config("link_rise = 5", &SLEEPER.replace("100000", "100001"));
        pair.node("hadev2")?.write("/etc/avamgr/avamgr.toml", &third)?;
        pair.daemon("hadev2").terminate()?;
        pair.daemon("hadev2").wait(SOON)?;
        pair.start_daemon("hadev2")?;
        for name in PAIR {
            pair.wait_alarm(name, "config", true)?;
        }
        assert_eq!(pair.role("hadev1"), "active");
        pair.node("hadev2")?.write("/etc/avamgr/avamgr.toml", &other)?;
        pair.daemon("hadev2").terminate()?;
        pair.daemon("hadev2").wait(SOON)?;
        pair.start_daemon("hadev2")?;
        pair.wait_role("hadev2", "standby")?;
        for name in PAIR {
            pair.wait_alarm(name, "config", false)?;
        }
        assert_eq!(pair.role("hadev1"), "active");
        pair.never_two_owners()
    });
}

/// What a node has refused so far, of every cause, on every link.
fn refused(pair: &Pair, name: &str) -> u64 {
    let status = pair.status(name).unwrap_or_default();
    let links = status["peers"][0]["links"].as_array().cloned().unwrap_or_default();
    let causes = links.iter().filter_map(|link| link["refused"].as_object());
    causes.flatten().filter_map(|(_, count)| count.as_u64()).sum()
}

const KEYS: &str = "/etc/avamgr/keys";

/// Gives the key file of hadev1 to hadev2, and lets one node after the other take it into use.
fn spread(pair: &Pair) -> Outcome {
    let keys = pair.node("hadev1")?.read(KEYS)?;
    // Written into the file that is there, so that its mode stays.
    pair.node("hadev2")?.write(KEYS, keys)?;
    for name in PAIR {
        run(pair, name, &["reload"])?;
        std::thread::sleep(Duration::from_millis(700));
    }
    Ok(())
}

#[test]
fn keys_are_changed_on_running_nodes_without_a_frame_lost() {
    story(|| {
        let pair = pair()?;
        let (before, begin) = (pair.all_role_changes(), mark());
        let bad = PAIR.iter().map(|name| refused(&pair, name)).collect::<Vec<_>>();
        run(&pair, "hadev1", &["keygen", KEYS])?;
        spread(&pair)?;
        let both = pair.node("hadev1")?.read(KEYS)?;
        let lines = both.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
        let sends: Vec<bool> = lines.map(|line| line.ends_with(" send")).collect();
        assert_eq!(sends, [true, false], "keygen adds a key and does not send with it");
        run(&pair, "hadev1", &["keygen", "--send-with", "2", KEYS])?;
        spread(&pair)?;
        run(&pair, "hadev1", &["keygen", "--remove", "1", KEYS])?;
        spread(&pair)?;
        // Long enough for a link to be down if the nodes no longer understood each other.
        std::thread::sleep(Duration::from_secs(2));
        let after = PAIR.iter().map(|name| refused(&pair, name)).collect::<Vec<_>>();
        assert_eq!(after, bad, "refused frames");
        assert_eq!(pair.all_role_changes(), before);
        let down = |name: &str| pair.events(name).map(|events| events.iter().any(|event| event.contains(" is down")));
        assert!(!down("hadev1")? && !down("hadev2")?, "no link was down for a moment");
        assert!(pair.outage(begin) < Duration::from_millis(300), "{:?}", pair.outage(begin));
        old_key_is_refused(&pair)
    });
}

/// A node that is started with the old key is not believed any more.
fn old_key_is_refused(pair: &Pair) -> Outcome {
    let before = refused(pair, "hadev1");
    pair.node("hadev2")?.write(KEYS, format!("1 {} send\n", "0123456789abcdef".repeat(4)))?;
    run(pair, "hadev2", &["reload"])?;
    wait_until(SOON, "the old key to be refused", || refused(pair, "hadev1") > before)?;
    Ok(())
}
