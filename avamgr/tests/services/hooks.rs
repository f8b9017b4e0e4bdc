//! Hooks: the operator's programs, one after the other, with what they are told.

use std::sync::Arc;
use std::time::Duration;

use avamgr::clock;
use avamgr::history::History;
use avamgr::hooks::{self, Hooks, WAITING_MAX};
use avamgr::scribe::Scribe;
use avamgr_core::cluster::{GroupId, NodeId, Role, Term};
use avamgr_core::config;
use avamgr_core::node::event::Cause;
use avamgr_core::node::{Event, Fact};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::stage::{Files, SLACK, eventually};

const ME: NodeId = NodeId(1);

/// A daemon's hooks, and what they leave in a directory.
struct Stage {
    directory: TempDir,
    hooks: Option<Hooks>,
    runner: JoinHandle<()>,
    history: Arc<History>,
}

impl Stage {
    /// The hook is this script, with the directory as its first argument; `more` stands in `[[group]]`.
    fn new(script: &str, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = Files(directory.path().to_owned());
        let path = files.script("hook", &format!("#!/bin/sh\ncd {}\n{script}\n", directory.path().display()));
        let group = format!("name = \"dre\"\non_role_change = \"{path} told\"\n{more}");
        let text = include_str!("../../../src/config/tests/pair.toml").replace("name = \"dre\"", &group);
        let config = config::parse(&text, "test").unwrap_or_else(|errors| panic!("{errors}"));
        let (_in_force, config) = watch::channel(Arc::new(config));
        let history = Arc::new(History::in_memory());
        let (hooks, runner) = hooks::channel(Scribe::new(ME, config, Arc::clone(&history)));
        Self { directory, hooks: Some(hooks), runner: tokio::spawn(runner.run()), history }
    }

    fn files(&self) -> Files {
        Files(self.directory.path().to_owned())
    }

    fn change(&self, from: Role, to: Role, term: u64) {
        let cause = Cause::Operator { who: "root".to_owned() };
        let fact = Fact::RoleChanged { group: GroupId(0), from, to, term: Term(term), position: 2, cause };
        self.hooks.as_ref().unwrap().hear(&Event { at: clock::now(), fact });
    }

    /// The daemon ends; every hook has been run.
    async fn end(&mut self) {
        self.hooks = None;
        timeout(Duration::from_secs(10), &mut self.runner).await.expect("the queue comes to its end").unwrap();
    }

    fn told(&self) -> Vec<String> {
        self.history.last(1_000).iter().map(|entry| entry.text.clone()).collect()
    }
}

#[tokio::test]
async fn hooks_run_in_order_however_slow_the_first_is() {
    let mut stage = Stage::new(
        "[ $AVAMGR_TERM = 1 ] && sleep 0.3\necho begin $AVAMGR_TERM >> log\nsleep 0.01\necho end $AVAMGR_TERM >> log",
        "",
    );
    let begun = Instant::now();
    for term in 1..=4 {
        stage.change(Role::Standby, Role::Activating, term);
    }
    assert!(begun.elapsed() < SLACK, "nobody waits for a hook");
    stage.end().await;
    let expected: String = (1..=4).map(|term| format!("begin {term}\nend {term}\n")).collect();
    assert_eq!(stage.files().read("log"), expected);
    assert_eq!(stage.told(), Vec::<String>::new(), "success is not worth a word");
}

#[tokio::test]
async fn a_hook_that_does_not_end_is_killed_with_its_group_and_the_next_one_runs() {
    let script = "[ $AVAMGR_TERM = 1 ] || { echo $AVAMGR_TERM > next; exit 0; }\necho looking\nsleep 60 & echo $! > child\nsleep 60";
    let mut stage = Stage::new(script, "hook_timeout = \"300ms\"");
    let begun = Instant::now();
    stage.change(Role::Standby, Role::Activating, 1);
    stage.change(Role::Activating, Role::Active, 2);
    stage.end().await;
    assert!(begun.elapsed() < Duration::from_millis(300) + 2 * SLACK, "{:?}", begun.elapsed());
    assert_eq!(stage.files().read("next"), "2\n");
    let child = format!("/proc/{}/comm", stage.files().read("child").trim());
    let sleeps = async || std::fs::read_to_string(&child).is_ok_and(|comm| comm.trim() == "sleep");
    eventually(async || !sleeps().await).await;
    let told = "dre: the hook for ACTIVATING failed: killed, it did not end within 300 ms; last output: \"looking\"";
    assert_eq!(stage.told(), [told]);
}

#[tokio::test]
async fn a_hook_is_told_everything_by_its_environment() {
    let mut stage = Stage::new("echo \"$@\" > arguments\nenv | grep ^AVAMGR_ | sort > environment", "");
    stage.change(Role::Standby, Role::Activating, 7);
    stage.end().await;
    assert_eq!(stage.files().read("arguments"), "told\n");
    assert_eq!(
        stage.files().read("environment"),
        "AVAMGR_CAUSE=ordered by root\nAVAMGR_CLUSTER=pair\nAVAMGR_FROM=standby\nAVAMGR_GROUP=dre\nAVAMGR_NODE=b2\n\
         AVAMGR_POSITION=2\nAVAMGR_ROLE=activating\nAVAMGR_TERM=7\n"
    );
}

#[tokio::test]
async fn a_script_for_keepalived_is_called_as_by_keepalived() {
    let mut stage = Stage::new("echo \"$@\" $AVAMGR_ROLE >> arguments", "hook_style = \"keepalived\"");
    for pair in
        [Role::Standby, Role::Activating, Role::Active, Role::Deactivating, Role::Fault, Role::Standby].windows(2)
    {
        stage.change(pair[0], pair[1], 7);
    }
    stage.end().await;
    assert_eq!(
        stage.files().read("arguments"),
        "told INSTANCE dre MASTER 99 active\ntold INSTANCE dre FAULT 99 fault\ntold INSTANCE dre BACKUP 99 standby\n"
    );
}

#[tokio::test]
async fn a_hook_that_fails_says_why_and_one_that_is_missing_too() {
    let mut stage = Stage::new("echo no route; exit 3", "");
    stage.change(Role::Activating, Role::Active, 7);
    eventually(async || stage.told().len() == 1).await;
    stage.files().remove("hook");
    stage.change(Role::Active, Role::Deactivating, 7);
    stage.end().await;
    let told = stage.told();
    assert_eq!(told[0], "dre: the hook for ACTIVE failed: exited with status 3; last output: \"no route\"");
    assert!(
        told[1].starts_with("dre: the hook for DEACTIVATING failed: ") && told[1].contains("cannot be run"),
        "{told:?}"
    );
}

#[tokio::test]
async fn when_too_many_wait_the_oldest_is_dropped_and_that_is_told() {
    let mut stage = Stage::new("touch begun\nuntil [ -e go ]; do sleep 0.01; done\necho $AVAMGR_TERM >> log", "");
    stage.change(Role::Standby, Role::Activating, 0);
    eventually(async || stage.files().exists("begun")).await;
    let last = u64::try_from(WAITING_MAX).unwrap() + 2;
    for term in 1..=last {
        stage.change(Role::Standby, Role::Activating, term);
    }
    let told = "dre: the hook for ACTIVATING failed: not run: 64 later ones wait already";
    assert_eq!(stage.told(), [told, told]);
    stage.files().write("go", "");
    stage.end().await;
    let expected: String = std::iter::once(0).chain(3..=last).map(|term| format!("{term}\n")).collect();
    assert_eq!(stage.files().read("log"), expected);
}
