//! Children that behave, and children that do not.

use std::collections::BTreeMap;
use std::time::Duration;

use avamgr_core::config::{Check, ExecConfig, ResourceKind};
use avamgr_core::node::{Order, Report};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::stage::{SLACK, STOP, Stage, eventually, monitor, reason};

const LONG: &str = "exec sleep 300";
const DEAF: &str = "trap '' TERM; sleep 300 & sh -c 'sleep 301 & sleep 302' & echo up; while :; do sleep 303; done";

// --- the quiet life ---

#[tokio::test]
async fn it_starts_runs_and_stops_again_and_again() {
    let mut stage = Stage::new(|_| sh(LONG));
    stage.started().await;
    assert_eq!(stage.processes().await, 1);
    stage.stopped(None).await;
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    stage.stopped(None).await;
    stage.stopped(None).await;
    stage.quiet(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn a_start_of_a_started_one_starts_nothing_else() {
    let mut stage = Stage::new(|_| sh(LONG));
    stage.started().await;
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    assert_eq!(stage.processes().await, 1);
    stage.stopped(None).await;
}

#[tokio::test]
async fn it_is_started_when_its_ready_check_holds() {
    let mut stage = Stage::new(|files| {
        let up = files.path("up");
        ready(&format!("sleep 0.2; touch {up}; exec sleep 300"), &format!("test -e {up}"))
    });
    stage.expect(Report::Able).await;
    let before = Instant::now();
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    assert!(stage.files().exists("up"));
    assert!(before.elapsed() >= Duration::from_millis(200), "{:?}", before.elapsed());
    stage.stopped(None).await;
}

// --- starts that fail ---

#[tokio::test]
async fn one_that_ends_at_once_has_failed_to_start_with_its_last_words() {
    let mut stage = Stage::new(|_| sh("echo 'cannot open dre.conf' >&2; exit 78"));
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    let report = stage.report().await;
    assert!(matches!(report, Report::StartFailed(_)), "{report:?}");
    let reason = reason(report);
    assert!(reason.contains("exited with status 78") && reason.contains("cannot open dre.conf"), "{reason}");
}

#[tokio::test]
async fn one_that_goes_into_the_background_is_told_to_stay_and_what_it_left_is_removed() {
    let mut stage = Stage::new(|_| sh("setsid sleep 300 & exit 0"));
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    let report = stage.report().await;
    assert!(matches!(&report, Report::StartFailed(reason) if reason.contains("foreground")), "{report:?}");
    assert_eq!(stage.processes().await, 0);
}

#[tokio::test]
async fn one_that_is_never_ready_is_stopped_after_the_start_timeout() {
    let mut stage = Stage::with(
        |_| ready("echo reading rules; exec sleep 300", "echo not yet; exit 1"),
        |config| config.start_timeout = Duration::from_millis(300),
    );
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    let before = Instant::now();
    let report = stage.report().await;
    assert!(matches!(report, Report::StartFailed(_)), "{report:?}");
    assert!(before.elapsed() < Duration::from_secs(1));
    let reason = reason(report);
    for words in ["not ready within 300ms", "not yet", "reading rules"] {
        assert!(reason.contains(words), "{reason:?} does not say {words:?}");
    }
    assert_eq!(stage.processes().await, 0);
}

#[tokio::test]
async fn one_that_dies_while_it_gets_ready_has_failed_at_once() {
    let mut stage = Stage::new(|_| ready("sleep 0.1; exit 4", "exit 1"));
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    let before = Instant::now();
    let reason = reason(stage.report().await);
    assert!(reason.contains("status 4"), "{reason}");
    assert!(before.elapsed() < Duration::from_millis(500), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_missing_program_is_said_before_it_is_needed_and_when_it_comes() {
    let mut stage = Stage::new(|files| command(&[&files.path("dre")]));
    let words = reason(stage.report().await);
    assert!(words.contains("dre cannot be run"), "{words}");
    stage.order(Order::Start);
    assert!(matches!(stage.report().await, Report::StartFailed(_)));
    stage.order(STOP);
    stage.expect(Report::Stopped).await;
    stage.files().script("dre", "#!/bin/sh\nexec sleep 300\n");
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    stage.stopped(None).await;
}

// --- failures ---

#[tokio::test]
async fn a_crash_is_reported_within_milliseconds() {
    let mut times = Vec::new();
    for _ in 0..11 {
        let mut stage =
            Stage::new(|files| sh(&format!("echo $$ > {}; echo serving; sleep 300 & wait", files.path("pid"))));
        stage.started().await;
        let pid: i32 = stage.files().read("pid").trim().parse().unwrap();
        let before = Instant::now();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        let report = stage.report().await;
        times.push(before.elapsed());
        assert!(
            matches!(&report, Report::Failed(reason) if reason.contains("SIGKILL") && reason.contains("serving")),
            "{report:?}"
        );
        assert_eq!(stage.processes().await, 1, "its child is still there until the order to stop");
        stage.stopped(None).await;
    }
    times.sort();
    eprintln!("death of a service to its report: median {:.2?}, at most {:.2?}", times[5], times[10]);
    // 5 ms on a quiet machine; other tests run beside this one.
    assert!(times[5] < Duration::from_millis(50), "{times:?}");
}

#[tokio::test]
async fn after_a_crash_it_can_be_stopped_and_started() {
    let mut stage = Stage::new(|_| sh("sleep 0.15; exit 5"));
    for _ in 0..2 {
        if stage.processes().await == 0 {
            stage.order(Order::Start);
        }
        while stage.report().await != Report::Started {}
        let report = stage.report().await;
        assert!(matches!(&report, Report::Failed(reason) if reason.contains("status 5")), "{report:?}");
        stage.stopped(None).await;
    }
}

#[tokio::test]
async fn a_port_that_closes_fails_the_service_once_although_the_process_lives() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut stage =
        Stage::with(|_| sh(LONG), |config| config.monitors = vec![monitor(Check::Tcp(address.to_string()))]);
    stage.started().await;
    stage.quiet(Duration::from_millis(100)).await;
    drop(listener);
    let report = stage.report().await;
    assert!(
        matches!(&report, Report::Failed(reason) if reason.contains("connection refused (2 times in a row)")),
        "{report:?}"
    );
    stage.quiet(Duration::from_millis(150)).await;
    let _again = TcpListener::bind(address).await.unwrap();
    assert!(matches!(stage.report().await, Report::Well(_)));
    stage.stopped(None).await;
}

#[tokio::test]
async fn monitors_do_not_run_while_it_is_stopped() {
    let mut stage = Stage::with(|_| sh(LONG), |config| config.monitors = vec![monitor(script("exit 1"))]);
    stage.expect(Report::Able).await;
    stage.quiet(Duration::from_millis(150)).await;
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    assert!(matches!(stage.report().await, Report::Failed(_)));
    stage.stopped(None).await;
    stage.quiet(Duration::from_millis(150)).await;
}

// --- stops ---

#[tokio::test]
async fn one_that_ignores_term_is_killed_after_its_stop_timeout_with_its_grandchildren() {
    let mut stage = Stage::with(|_| sh(DEAF), |config| config.stop_timeout = Duration::from_millis(300));
    stage.started().await;
    eventually(async || stage.processes().await >= 4).await;
    let took = stage.stopped(None).await;
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn when_time_is_short_everything_is_gone_within_the_bound() {
    for bound in [20, 200, 1000].map(Duration::from_millis) {
        let mut stage = Stage::new(|_| sh(DEAF));
        stage.started().await;
        let took = stage.stopped(Some(bound)).await;
        eprintln!("deaf service, bound {bound:?}: stopped after {took:.1?}");
        assert!(took <= bound + SLACK, "{took:?}");
        assert!(took >= bound / 3, "it had some time to end by itself: {took:?}");
    }
}

#[tokio::test]
async fn a_short_bound_takes_over_from_a_long_stop_under_way() {
    let mut stage = Stage::new(|_| sh(DEAF));
    stage.started().await;
    stage.order(STOP);
    stage.quiet(Duration::from_millis(100)).await;
    let took = stage.stopped(Some(Duration::from_millis(200))).await;
    assert!(took < Duration::from_millis(200) + SLACK, "{took:?}");
    stage.quiet(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn a_stop_during_a_start_leaves_nothing_running() {
    let mut stage = Stage::new(|_| ready("setsid sleep 300 & sleep 301", "exit 1"));
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    eventually(async || stage.processes().await == 3).await;
    stage.stopped(None).await;
    stage.quiet(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn orders_at_random_end_in_what_the_last_one_asked_for() {
    let mut stage = Stage::new(|_| sh("trap 'sleep 0.02; exit 0' TERM; while :; do sleep 0.01; done"));
    stage.expect(Report::Able).await;
    let mut seed: u32 = 12345;
    for round in 0..16 {
        for _ in 0..4 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let short = Order::Stop { within: Some(Duration::from_millis(80)) };
            stage.order([Order::Start, STOP, short, Order::Announce][seed as usize >> 30]);
            sleep(Duration::from_millis(u64::from(seed >> 8) % 60)).await;
        }
        let (last, wanted) = if round % 2 == 0 { (Order::Start, Report::Started) } else { (STOP, Report::Stopped) };
        stage.order(last);
        // Answers of the orders before may come first.
        let mut report = stage.report().await;
        while let Some(next) = {
            let patience = if report == wanted { Duration::from_millis(250) } else { Duration::from_secs(5) };
            stage.next_within(patience).await
        } {
            report = next;
        }
        assert_eq!(report, wanted, "round {round}");
        assert_eq!(stage.processes().await > 0, last != STOP, "round {round}");
    }
    stage.stopped(None).await;
}

// --- what an earlier daemon left ---

#[tokio::test]
async fn the_first_stop_removes_what_an_earlier_daemon_left_and_nothing_else() {
    let mut stage = Stage::new(|_| sh(LONG));
    let mut neighbour = Stage::new(|_| sh(LONG));
    neighbour.started().await;
    stage.expect(Report::Able).await;
    let mut leftovers = earlier_life(&stage, "trap '' TERM", "while :; do sleep 1; done").await;
    assert!(stage.processes().await >= 1);
    stage.config.stop_timeout = Duration::from_millis(200);
    stage.restart_daemon();
    stage.expect(Report::Able).await;
    stage.stopped(None).await;
    leftovers.wait().await.unwrap();
    assert_eq!(neighbour.processes().await, 1);
    neighbour.stopped(None).await;
}

#[tokio::test]
async fn a_start_without_a_stop_before_removes_leftovers_too() {
    let mut stage = Stage::new(|_| sh(LONG));
    let mut leftovers = earlier_life(&stage, "sleep 300 &", "wait").await;
    stage.started().await;
    leftovers.wait().await.unwrap();
    assert_eq!(stage.processes().await, 1);
    stage.stopped(None).await;
}

// --- helpers ---

/// A process that carries the resource's mark, but is not a child of its task. It has begun: one that is between two programs
/// shows no mark.
async fn earlier_life(stage: &Stage, begin: &str, go_on: &str) -> tokio::process::Child {
    let script = format!("{begin}\ntouch {}\n{go_on}", stage.files().path("begun"));
    let mut command = tokio::process::Command::new("setsid");
    command.args(["sh", "-c", &script]).env("AVAMGR_RESOURCE", stage.mark()).stdout(std::process::Stdio::null());
    let child = command.spawn().unwrap();
    eventually(async || stage.files().exists("begun") && stage.processes().await > 0).await;
    child
}

fn command(words: &[&str]) -> ResourceKind {
    let command = words.iter().map(|word| (*word).to_owned()).collect();
    ResourceKind::Exec(ExecConfig { command, environment: BTreeMap::new(), directory: None, user: None, ready: None })
}

fn sh(text: &str) -> ResourceKind {
    command(&["sh", "-c", text])
}

fn ready(text: &str, check: &str) -> ResourceKind {
    let ResourceKind::Exec(exec) = sh(text) else { unreachable!() };
    ResourceKind::Exec(ExecConfig { ready: Some(script(check)), ..exec })
}

fn script(text: &str) -> Check {
    Check::Script(["sh", "-c", text].map(str::to_owned).to_vec())
}
