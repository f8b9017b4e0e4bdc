//! `avamgr fence test`: every device is asked, none is used.

use std::process::Command;

use serde_json::Value;

use crate::site::{GOOD, Site};

struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

/// On a host with these devices for the second node; its first one has an agent that is as good.
fn avamgr(site: &Site, devices: &[String], args: &[&str]) -> Run {
    let text = site.text(devices).replace("/bin/false", &site.path("other").display().to_string());
    run(site, &text, args)
}

fn run(site: &Site, config: &str, args: &[&str]) -> Run {
    site.agent("other", "cat > /dev/null; exit 0");
    site.write("avamgr.toml", config, 0o644);
    let mut command = Command::new(env!("CARGO_BIN_EXE_avamgr"));
    let config = site.path("avamgr.toml");
    let output = command.args(["--config", config.to_str().unwrap()]).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn every_device_is_asked_and_none_is_used() {
    let site = Site::new();
    site.agent("agent", GOOD);
    site.write("power", "on\n", 0o644);
    let run = avamgr(&site, &[site.device("agent", "options = { plug = \"7\" }")], &["fence", "test"]);
    assert_eq!(run.code, Some(0), "{}{}", run.out, run.err);
    let lines: Vec<&str> = run.out.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("  ok     a1  level 1  other         on in ")), "{}", run.out);
    assert!(lines.iter().any(|line| line.starts_with("  ok     b2  level 1  agent plug=7  on in ")), "{}", run.out);
    assert_eq!(site.read("orders"), "action=status\nplug=7\naction=monitor\nplug=7\n");
    assert_eq!(site.read("power"), "on\n");
}

#[test]
fn a_device_that_does_not_answer_is_named_and_the_others_are_asked_all_the_same() {
    let site = Site::new();
    site.agent("agent", "echo no route to host >&2; exit 1");
    let devices = [site.device("agent", ""), site.device("missing", "level = 2")];
    let run = avamgr(&site, &devices, &["fence", "test"]);
    assert_eq!(run.code, Some(1), "{}{}", run.out, run.err);
    let said = "ERROR  b2  level 1  agent    agent status exited with status 1; last output: \"no route to host\" in ";
    assert!(run.out.contains(said), "{}", run.out);
    assert!(run.out.contains("missing cannot be run: No such file"), "{}", run.out);
    assert!(
        run.out.contains("  ok     a1  level 1  other    on in ") && run.out.ends_with("2 of 3 devices not ready\n")
    );
    let json = avamgr(&site, &devices, &["--json", "fence", "test"]);
    assert_eq!(json.code, Some(1));
    let report: Value = serde_json::from_str(&json.out).unwrap();
    let devices = report["devices"].as_array().unwrap();
    let seen: Vec<(&str, u64, bool)> = devices
        .iter()
        .map(|it| (it["node"].as_str().unwrap(), it["level"].as_u64().unwrap(), it["good"].as_bool().unwrap()))
        .collect();
    assert_eq!(seen, [("a1", 1, true), ("b2", 1, false), ("b2", 2, false)]);
}

#[test]
fn a_device_that_says_off_of_the_node_that_asks_is_the_wrong_one() {
    let site = Site::new();
    site.agent("agent", GOOD);
    site.write("power", "off\n", 0o644);
    let devices = [site.device("agent", "")];
    let other = avamgr(&site, &devices, &["fence", "test", "b2"]);
    assert!(other.code == Some(0) && other.out.contains("  agent  off in "), "{}", other.out);
    let me = hostname::get().unwrap().to_string_lossy().split('.').next().unwrap().to_owned();
    let text = site.text(&devices).replace("b2", &me);
    let run = run(&site, &text, &["fence", "test", &me]);
    assert!(run.code == Some(1) && run.out.contains("the wrong plug?"), "{}{}", run.out, run.err);
}

#[test]
fn one_that_hangs_is_waited_for_as_long_as_it_has_and_said_so() {
    let site = Site::new();
    site.agent("agent", "sleep 1000");
    let slow = site.device("agent", "").replace("1s", "6s");
    let run = avamgr(&site, &[slow], &["fence", "test"]);
    assert_eq!(run.code, Some(1), "{}", run.err);
    assert!(run.out.contains("agent status did not end within 6 s and was killed"), "{}", run.out);
    assert!(run.err.contains("still waiting for agent (b2)"), "{}", run.err);
}

#[test]
fn a_config_without_devices_and_an_unknown_node_are_refused() {
    let site = Site::new();
    let none = run(&site, include_str!("../../../src/config/tests/pair.toml"), &["fence", "test"]);
    assert!(none.code == Some(3) && none.err.contains("no [[fence]] device"), "{}", none.err);
    let stranger = avamgr(&site, &[site.device("other", "")], &["fence", "test", "c3"]);
    assert!(stranger.code == Some(3) && stranger.err.contains("c3 is none of the nodes"), "{}", stranger.err);
}

#[test]
fn the_check_of_a_host_looks_at_agents_and_secrets() {
    let site = Site::new();
    let secrets = site.write("secrets", "password=geheim\n", 0o644);
    let device = site.device("missing", &format!("secrets = \"{}\"", secrets.display()));
    let run = avamgr(&site, &[device], &["check", "--node", "a1"]);
    assert_eq!(run.code, Some(1));
    assert!(run.out.contains("safety class ping+fencing"), "{}", run.out);
    assert!(run.out.contains("fence device of b2") && run.out.contains("missing cannot be run"), "{}", run.out);
    assert!(run.out.contains("has mode 0644") && !run.out.contains("geheim"), "{}", run.out);
}
