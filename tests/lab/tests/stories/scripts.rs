//! Init scripts that are missing, may not be run, hang or fail: said in status and `why`, and never pretended away.

use std::time::Duration;

use avamgr_lab::{Plan, story, wait_until};
use serde_json::Value;

use crate::pair::{Outcome, PAIR, Pair, SOON, config, text, vip};

const SCRIPT: &str = "/etc/init.d/router";

/// A well-behaved script; faults are put in place of a verb.
const WELL: &str = "#!/bin/sh\n\
    case $1 in\n\
    start) START touch /run/router ;;\n\
    stop) STOP rm -f /run/router ;;\n\
    status) test -e /run/router || exit 3 ;;\n\
    esac\n";

fn script(start: &str, stop: &str) -> String {
    WELL.replace("START", start).replace("STOP", stop)
}

const ROUTER: &str = "[[group.resource]]\nname = \"router\"\nlsb = \"/etc/init.d/router\"\n\
    start_timeout = \"1s\"\nstop_timeout = \"1s\"\nrestart = { max = 1, window = \"1m\", backoff = \"100ms\" }\n\
    [[group.resource.monitor]]\nscript = \"true\"\ninterval = \"500ms\"\n";

fn put(pair: &Pair, name: &str, contents: &str, mode: &str) -> Outcome {
    let node = pair.node(name)?;
    node.write(SCRIPT, contents)?;
    let output = node.command("chmod").args([mode, SCRIPT]).output()?;
    assert!(output.status.success());
    Ok(())
}

/// A pair whose nodes each have a script, made by `of`; nothing is awaited yet.
fn pair(of: impl Fn(&str) -> Option<(String, &'static str)>) -> Result<Pair, Box<dyn std::error::Error>> {
    let mut pair = Pair::install_all(Plan::pair(), &config("", ROUTER))?;
    for name in PAIR {
        if let Some((contents, mode)) = of(name) {
            put(&pair, name, &contents, mode)?;
        }
        pair.start_daemon(name)?;
    }
    Ok(pair)
}

fn router(status: &Value) -> &Value {
    &status["groups"][0]["resources"][1]
}

/// Waits until status and `why` of a node both contain `words`.
fn both_say(pair: &Pair, name: &str, words: &str) -> Outcome {
    let status = || pair.status(name).unwrap_or_default().to_string();
    let said = wait_until(SOON, format!("the status of {name} to say: {words}"), || status().contains(words));
    if said.is_err() {
        println!("{}", status());
        pair.tell();
    }
    said?;
    let output = pair.avamgr(name, &["why"])?;
    let why = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(why.contains(words), "`{words}` is not in why of {name}:\n{why}");
    Ok(())
}

#[test]
fn a_node_without_the_script_is_not_chosen_until_it_is_there() {
    story(|| {
        let pair = pair(|name| (name == "hadev2").then(|| (script("", ""), "755")))?;
        pair.wait_role("hadev2", "active")?;
        pair.probe.wait_for_answer(vip(), "hadev2", SOON)?;
        assert_eq!(pair.role("hadev1"), "standby");
        both_say(&pair, "hadev1", SCRIPT)?;
        let refused = pair.avamgr("hadev2", &["switchover"])?;
        assert_eq!(refused.status.code(), Some(3), "{}", String::from_utf8_lossy(&refused.stdout));
        put(&pair, "hadev1", &script("", ""), "755")?;
        wait_until(Duration::from_secs(30), "hadev1 to be able", || {
            pair.status("hadev1").is_ok_and(|status| status["groups"][0]["able"] == true)
        })?;
        let done = pair.avamgr("hadev2", &["switchover"])?;
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
        pair.wait_role("hadev1", "active")?;
        pair.never_two_owners()
    });
}

#[test]
fn a_script_that_may_not_be_run_is_named_with_its_mode() {
    story(|| {
        let pair = pair(|name| Some((script("", ""), if name == "hadev1" { "644" } else { "755" })))?;
        pair.wait_role("hadev2", "active")?;
        both_say(&pair, "hadev1", "execut")?;
        pair.never_two_owners()
    });
}

#[test]
fn a_start_that_hangs_is_killed_retried_and_given_to_the_other_node() {
    story(|| {
        let hangs = |name: &str| if name == "hadev1" { "exec sleep 1000; " } else { "" };
        let pair = pair(|name| Some((script(hangs(name), ""), "755")))?;
        pair.wait_event("hadev1", "will be restarted")?;
        pair.wait_role("hadev2", "active")?;
        pair.wait_role("hadev1", "fault")?;
        pair.wait_alarm("hadev1", "DEACTIVATING -> FAULT", true)?;
        both_say(&pair, "hadev1", "did not end within 1.0s")?;
        let sleeps = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|it| it == "sleep\n");
        assert!(!pair.node("hadev1")?.pids()?.iter().any(sleeps), "nothing of the script is left");
        put(&pair, "hadev1", &script("", ""), "755")?;
        let output = pair.avamgr("hadev1", &["resource", "clear", "dre/router"])?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        pair.wait_role("hadev1", "standby")?;
        pair.wait_alarm("hadev1", "DEACTIVATING -> FAULT", false)?;
        let done = pair.avamgr("hadev1", &["switchover"])?;
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
        pair.never_two_owners()
    });
}

#[test]
fn a_stop_that_fails_blocks_the_node_with_an_alarm_until_the_service_is_down() {
    story(|| {
        // What it runs is a file, so there is nothing to kill: only the script can stop it, and it will not.
        let fails = |name: &str| if name == "hadev1" { "exit 1; " } else { "" };
        let pair = pair(|name| Some((script("", fails(name)), "755")))?;
        pair.wait_role("hadev1", "active")?;
        pair.probe.wait_for_answer(vip(), "hadev1", SOON)?;
        let output = pair.avamgr("hadev1", &["switchover"])?;
        println!("{:?} {}", output.status, String::from_utf8_lossy(&output.stdout));
        both_say(&pair, "hadev1", "router stop")?;
        std::thread::sleep(Duration::from_secs(2));
        assert_ne!(pair.role("hadev2"), "active", "what may still run on hadev1 is not started a second time");
        pair.wait_alarm("hadev1", "router", true)?;
        let status = pair.status("hadev1")?;
        println!("{} {}", text(&status["groups"][0]["role"]), router(&status));
        // The operator mends the script.
        put(&pair, "hadev1", &script("", ""), "755")?;
        wait_until(Duration::from_secs(30), "one node to be ACTIVE", || {
            PAIR.iter().any(|name| pair.role(name) == "active")
        })?;
        pair.wait_alarm("hadev1", "router stop", false)?;
        pair.never_two_owners()
    });
}
