//! Init scripts that keep to the standard, and init scripts that do not.

use std::time::Duration;

use avamgr_core::config::{Check, LsbConfig, ResourceConfig, ResourceKind};
use avamgr_core::node::{Order, Report};
use tokio::time::Instant;

use crate::stage::{Files, SLACK, STOP, Stage, eventually, monitor, reason};

/// A well-written script. A file `VERB.do` beside it is run first and may spoil everything.
const SCRIPT: &str = r#"#!/bin/sh
cd "${0%/*}" || exit 1
echo "$1" >> calls
[ -e "$1.do" ] && . "./$1.do"
# A zombie does not run, however long init takes to collect it.
running() { [ -e pid ] && grep -q '^State:.[^Z]' "/proc/$(cat pid)/status" 2>/dev/null; }
case "$1" in
    start) running && exit 0; setsid sleep 300 > /dev/null 2>&1 & echo $! > pid; exit 0 ;;
    stop) running && kill "$(cat pid)"; rm -f pid; exit 0 ;;
    status) running && exit 0; [ -e pid ] && exit 1; exit 3 ;;
    *) echo "usage: $0 start|stop|status"; exit 2 ;;
esac
"#;

/// Takes its time to end, while its script removes the pid file at once.
const SLOW: &str = r#"setsid sh -c 'trap "sleep 0.4; exit" TERM; echo $$ > pid; while :; do sleep 0.01; done' > /dev/null 2>&1 &
while [ ! -s pid ]; do sleep 0.01; done; exit 0"#;

// --- by the book ---

#[tokio::test]
async fn it_starts_runs_and_stops_and_may_be_asked_twice() {
    let mut stage = script();
    stage.started().await;
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    assert_eq!(stage.files().read("calls"), "start\nstatus\n");
    stage.stopped(None).await;
    stage.stopped(None).await;
}

#[tokio::test]
async fn a_start_of_what_runs_already_is_a_success_and_leaves_it_alone() {
    let mut stage = script();
    stage.started().await;
    let pid = stage.files().read("pid");
    stage.restart_daemon();
    stage.started().await;
    assert_eq!(stage.files().read("pid"), pid);
    stage.stopped(None).await;
}

#[tokio::test]
async fn what_runs_is_adopted_without_a_start_and_what_does_not_has_failed() {
    let mut stage = script();
    stage.started().await;
    let (pid, calls) = (stage.files().read("pid"), stage.files().read("calls"));
    stage.readopt().await;
    stage.expect(Report::Started).await;
    assert_eq!(stage.files().read("pid"), pid);
    assert_eq!(stage.files().read("calls"), calls + "status\n");
    stage.files().write("status.do", "exit 3");
    stage.readopt().await;
    assert!(reason(stage.report().await).contains("ended while"));
    stage.files().write("status.do", "");
    stage.stopped(None).await;
}

#[tokio::test]
async fn stop_may_answer_that_nothing_runs() {
    let mut stage = script();
    stage.expect(Report::Able).await;
    stage.files().write("stop.do", "exit 7");
    stage.stopped(None).await;
}

#[tokio::test]
async fn every_status_code_after_a_stop_is_taken_as_the_standard_says() {
    for (code, stopped) in
        [(0, false), (1, true), (2, true), (3, true), (4, false), (99, false), (150, false), (255, false)]
    {
        let mut stage = script();
        stage.expect(Report::Able).await;
        stage.files().write("status.do", &format!("exit {code}"));
        stage.order(STOP);
        let report = stage.report().await;
        assert_eq!(report == Report::Stopped, stopped, "{code}: {report:?}");
        assert!(stopped || matches!(report, Report::StopFailed(_)), "{code}: {report:?}");
    }
}

#[tokio::test]
async fn a_start_that_is_refused_says_why_in_words() {
    let words =
        ["generic", "arguments", "not implemented", "privileges", "not installed", "not configured", "not running"];
    for (code, word) in (1..).zip(words) {
        let mut stage = script();
        stage.expect(Report::Able).await;
        stage.files().write("start.do", &format!("echo no license >&2; exit {code}"));
        stage.order(Order::Start);
        let report = stage.report().await;
        assert!(matches!(report, Report::StartFailed(_)), "{report:?}");
        let reason = reason(report);
        let all = [format!("start exited with status {code}"), word.to_owned(), "no license".to_owned()];
        assert!(all.iter().all(|part| reason.contains(part)), "{reason}");
    }
}

// --- scripts that lie ---

#[tokio::test]
async fn a_start_is_believed_only_when_status_agrees() {
    let mut stage = script_with(|config| config.start_timeout = Duration::from_millis(400));
    stage.expect(Report::Able).await;
    stage.files().write("start.do", "exit 0");
    stage.order(Order::Start);
    let report = stage.report().await;
    assert!(matches!(&report, Report::StartFailed(reason) if reason.contains("3: not running")), "{report:?}");
}

#[tokio::test]
async fn a_pid_file_may_come_a_moment_after_the_end_of_start() {
    let mut stage = script();
    stage.expect(Report::Able).await;
    stage.files().write("start.do", "(sleep 0.3; setsid sleep 300 & echo $! > pid) > /dev/null 2>&1 & exit 0");
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    stage.stopped(None).await;
}

#[tokio::test]
async fn a_stop_that_does_nothing_is_tried_twice_and_then_its_processes_are_killed() {
    let mut stage = script();
    stage.started().await;
    stage.files().write("stop.do", "exit 0");
    stage.stopped(None).await;
    assert_eq!(stage.files().read("calls"), "start\nstatus\nstop\nstatus\nstop\nstatus\nstatus\n");
}

#[tokio::test]
async fn a_stop_that_fails_once_succeeds_at_the_second_try() {
    let mut stage = script();
    stage.started().await;
    stage.files().write("stop.do", "rm stop.do; exit 1");
    stage.stopped(None).await;
    assert_eq!(stage.files().read("calls"), "start\nstatus\nstop\nstatus\nstop\nstatus\n");
}

#[tokio::test]
async fn a_stop_that_only_sends_a_signal_is_not_believed_before_the_service_is_gone() {
    let mut stage = script();
    stage.expect(Report::Able).await;
    stage.files().write("start.do", SLOW);
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    let took = stage.stopped(None).await;
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(2), "{took:?}");

    let mut deaf = script_with(|config| config.stop_timeout = Duration::from_millis(600));
    deaf.expect(Report::Able).await;
    deaf.files().write("start.do", &SLOW.replace("sleep 0.4; exit", ":"));
    deaf.order(Order::Start);
    deaf.expect(Report::Started).await;
    let took = deaf.stopped(None).await;
    assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn what_was_not_started_by_us_and_cannot_be_stopped_is_never_called_stopped() {
    let mut stage = script();
    stage.expect(Report::Able).await;
    let mut stranger = tokio::process::Command::new("sleep").arg("300").kill_on_drop(true).spawn().unwrap();
    stage.files().write("pid", &stranger.id().unwrap().to_string());
    stage.files().write("stop.do", "echo busy; exit 1");
    stage.order(STOP);
    let report = stage.report().await;
    assert!(matches!(report, Report::StopFailed(_)), "{report:?}");
    let reason = reason(report);
    assert!(
        reason.contains("stop exited with status 1") && reason.contains("busy") && reason.contains("mark"),
        "{reason}"
    );
    assert!(stranger.try_wait().unwrap().is_none(), "a stranger has been killed");
    stranger.kill().await.unwrap();
    stage.stopped(None).await;
}

// --- scripts that hang ---

#[tokio::test]
async fn a_start_that_hangs_is_killed_and_cleaned_up() {
    let mut stage = script_with(|config| config.start_timeout = Duration::from_millis(300));
    stage.expect(Report::Able).await;
    stage.files().write("start.do", "setsid sleep 300 > /dev/null 2>&1 & echo waiting for the disk; sleep 301");
    stage.order(Order::Start);
    let before = Instant::now();
    let report = stage.report().await;
    assert!(
        matches!(&report, Report::StartFailed(reason) if reason.contains("did not end within 300") && reason.contains("disk")),
        "{report:?}"
    );
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    assert_eq!(stage.processes().await, 0, "what it had started before it hung");
}

#[tokio::test]
async fn a_stop_during_a_start_leaves_nothing_that_the_script_does_not_know_of_yet() {
    let mut stage = script();
    stage.expect(Report::Able).await;
    stage.files().write("start.do", "setsid sleep 300 > /dev/null 2>&1 & sleep 301");
    stage.order(Order::Start);
    eventually(async || stage.processes().await == 3).await;
    let took = stage.stopped(None).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    stage.quiet(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn a_stop_that_hangs_is_killed_and_everything_is_gone_within_the_bound() {
    for bound in [20, 200, 1000].map(Duration::from_millis) {
        let mut stage = script();
        stage.started().await;
        stage.files().write("stop.do", "sleep 300");
        let took = stage.stopped(Some(bound)).await;
        eprintln!("hanging stop script, bound {bound:?}: stopped after {took:.1?}");
        assert!(took <= bound + SLACK, "{took:?}");
    }
}

#[tokio::test]
async fn a_status_that_hangs_proves_nothing_and_a_stop_does_not_wait_for_it() {
    let bound = Duration::from_millis(800);
    let mut stage = script();
    stage.started().await;
    stage.files().write("status.do", "sleep 300");
    let before = Instant::now();
    stage.order(Order::Stop { within: Some(bound) });
    let report = stage.report().await;
    assert!(matches!(report, Report::StopFailed(_)), "{report:?}");
    assert!(before.elapsed() <= bound + SLACK, "{:?}", before.elapsed());
    assert_eq!(stage.processes().await, 0, "all the same, it has been stopped");
    stage.files().remove("status.do");
    stage.stopped(None).await;
}

// --- watching ---

#[tokio::test]
async fn a_service_that_dies_is_reported_with_the_words_of_its_status() {
    let mut stage = watched();
    stage.started().await;
    stage.quiet(Duration::from_millis(200)).await;
    kill_service(&stage.files());
    let report = stage.report().await;
    assert!(
        matches!(&report, Report::Failed(reason) if reason.contains("1: dead, its pid file is still there")),
        "{report:?}"
    );
    stage.quiet(Duration::from_millis(200)).await;
    stage.stopped(None).await;
}

#[tokio::test]
async fn one_unknown_status_is_no_failure_but_three_are() {
    let mut stage = watched();
    stage.started().await;
    stage.files().write("status.do", "rm status.do; exit 4");
    stage.quiet(Duration::from_millis(300)).await;
    stage.files().write("status.do", "exit 4");
    let report = stage.report().await;
    assert!(matches!(&report, Report::Failed(reason) if reason.contains("4: unknown")), "{report:?}");
    stage.files().remove("status.do");
    assert!(matches!(stage.report().await, Report::Well(_)));
    stage.stopped(None).await;
}

// --- scripts that cannot be run ---

#[tokio::test]
async fn a_script_that_is_missing_or_not_executable_is_said_with_a_hint() {
    let mut stage = Stage::new(|files| lsb(files.path("missing")));
    let words = reason(stage.report().await);
    assert!(words.contains("missing") && words.contains("No such file"), "{words}");
    stage.order(Order::Start);
    assert!(matches!(stage.report().await, Report::StartFailed(_)));
    stage.expect_stopped().await;

    let mut stage = Stage::new(|files| {
        files.write("closed", SCRIPT);
        lsb(files.path("closed"))
    });
    let words = reason(stage.report().await);
    assert!(words.contains("not executable") && words.contains("chmod +x"), "{words}");
    stage.expect_stopped().await;
}

#[tokio::test]
async fn a_script_that_is_removed_while_its_service_runs_does_not_keep_it_from_being_stopped() {
    let mut stage = script();
    stage.started().await;
    stage.files().remove("script");
    stage.stopped(None).await;
}

// --- helpers ---

impl Stage {
    async fn expect_stopped(&mut self) {
        self.order(STOP);
        self.expect(Report::Stopped).await;
    }
}

fn script() -> Stage {
    script_with(|_| {})
}

fn script_with(set: impl FnOnce(&mut ResourceConfig)) -> Stage {
    Stage::with(|files| lsb(files.script("script", SCRIPT)), set)
}

/// Its status is asked as often as its monitor looks.
fn watched() -> Stage {
    script_with(|config| config.monitors = vec![monitor(Check::Script(vec!["true".into()]))])
}

fn lsb(script: String) -> ResourceKind {
    ResourceKind::Lsb(LsbConfig { script: script.into() })
}

fn kill_service(files: &Files) {
    let pid: i32 = files.read("pid").trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}
