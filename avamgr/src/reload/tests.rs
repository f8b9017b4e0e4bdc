//! What a reload replaces, and what it must leave alone.

use std::sync::Mutex;

use avamgr_core::config;

use super::*;
use crate::control::outbox;

const CONFIG: &str = "[cluster]\nname = \"c\"\nnodes = [\"a\"]\nstandalone = true\nfailover_budget = \"1s\"\n\
                      [[group]]\nname = \"g\"\n[[group.resource]]\nname = \"r\"\nexec = \"sleep 1\"\n";

fn config(timers: &str) -> Config {
    config::parse(&format!("{CONFIG}[timers]\n{timers}\n"), "test").unwrap()
}

/// What the reload of a file answers, and what the loop is told; the loop's own answer is `word`.
fn reload(timers: &str, word: Result<(), String>) -> (Answer, Vec<&'static str>, bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (in_force, watched) = watch::channel(Arc::new(config("")));
    let (tunes, mut queue) = mpsc::channel(4);
    let (outbox, _words) = outbox::channel();
    let new = Mutex::new(Some(config(timers)));
    let read = Box::new(move || new.lock().unwrap().take().ok_or_else(|| anyhow::anyhow!("read twice")));
    let reloader = Reloader::new(read, in_force, tunes, outbox);
    let told = async {
        let mut told = Vec::new();
        while let Some(tune) = queue.recv().await {
            match tune {
                Tune::Save(_) => told.push("save"),
                Tune::Keys(..) => told.push("keys"),
                Tune::Config(_, answer) => {
                    told.push("config");
                    answer.send(word.clone()).unwrap();
                }
            }
        }
        told
    };
    let asked = async move {
        let answer = reloader.reload("root".to_owned()).await;
        drop(reloader);
        answer
    };
    let (answer, told) = runtime.block_on(async { tokio::join!(asked, told) });
    let replaced = watched.borrow().digest != config("").digest;
    (answer, told, replaced)
}

fn refused(answer: Answer) -> String {
    match answer {
        Answer::Refused { reason } => reason,
        other @ (Answer::Done { .. } | Answer::Plan { .. } | Answer::Failed { .. }) => panic!("{other:?}"),
    }
}

#[test]
fn the_config_is_judged_before_the_keys_are_touched() {
    let (answer, told, replaced) = reload("link_rise = 7", Ok(()));
    assert!(matches!(answer, Answer::Done { .. }), "{answer:?}");
    assert_eq!((told, replaced), (vec!["config", "keys"], true));
}

#[test]
fn a_refused_reload_replaces_nothing_not_even_the_keys() {
    let (answer, told, replaced) = reload("link_rise = 7", Err("group".to_owned()));
    assert!(refused(answer).contains("changes of group need a restart"));
    assert_eq!((told, replaced), (vec!["config"], false));
}

#[test]
fn timers_that_running_tasks_hold_need_a_restart_and_are_named() {
    let (answer, told, replaced) =
        reload("guard_lifetime = \"4s\"\nguard_refresh = \"300ms\"\nannounce_delay = \"2s\"", Ok(()));
    let reason = refused(answer);
    let names = "timers.guard_lifetime, timers.guard_refresh, timers.announce_delay";
    assert!(reason.contains(&format!("changes of {names} need a restart of the daemon")), "{reason}");
    assert_eq!((told, replaced), (Vec::new(), false));
    for timer in ["dead_time = \"250ms\"", "announce_refresh = \"2m\""] {
        let reason = refused(reload(timer, Ok(())).0);
        let name = timer.split(' ').next().unwrap();
        assert!(reason.contains(&format!("timers.{name}")), "{reason}");
    }
}

fn differing(old: &str, new: &str) -> String {
    let parse = |text: &str| config::parse(text, "test").unwrap();
    differences(&parse(old), &parse(new)).join(", ")
}

#[test]
fn a_timer_that_follows_from_a_changed_one_is_named_by_what_was_written() {
    let with = |timers: &str| format!("{CONFIG}[timers]\n{timers}\n");
    let slower = CONFIG.replace("\"1s\"", "\"2s\"");
    assert_eq!(differing(CONFIG, &slower), "cluster.failover_budget (through dead_time)");
    let interval = with("heartbeat_interval = \"50ms\"");
    assert_eq!(differing(CONFIG, &interval), "timers.heartbeat_interval (through dead_time)");
    assert_eq!(differing(&interval, CONFIG), "timers.heartbeat_interval (through dead_time)");
    assert_eq!(differing(CONFIG, &with("guard_lifetime = \"4s\"")), "timers.guard_lifetime (through guard_refresh)");
    assert_eq!(differing(CONFIG, &with("link_rise = 7")), "");
}

#[test]
fn every_part_that_differs_is_named() {
    let other = CONFIG
        .replace("\"1s\"", "\"2s\"")
        .replace("sleep 1", "sleep 2")
        .replace("name = \"c\"", "name = \"d\"")
        .replace("[[group]]", "[daemon]\nrealtime = false\nsocket = \"/s\"\n[[group]]");
    let expected =
        "cluster.name, daemon.socket, daemon.realtime, [[group]] g, cluster.failover_budget (through dead_time)";
    assert_eq!(differing(CONFIG, &other), expected);
    let more = format!("{CONFIG}[[group]]\nname = \"h\"\n[[group.resource]]\nname = \"s\"\nexec = \"sleep 3\"\n");
    assert_eq!(differing(CONFIG, &more), "[[group]] h");
}

#[test]
fn a_hook_is_changed_by_a_reload() {
    let hook = CONFIG.replace("name = \"g\"", "name = \"g\"\non_role_change = \"told\"");
    assert_eq!((differing(CONFIG, &hook), differing(&hook, CONFIG)), (String::new(), String::new()));
}

#[test]
fn an_unchanged_file_is_how_keys_are_changed() {
    let (answer, told, replaced) = reload("", Ok(()));
    assert!(matches!(answer, Answer::Done { .. }), "{answer:?}");
    assert_eq!((told, replaced), (vec!["keys"], false));
}
