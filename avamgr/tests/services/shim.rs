//! The shim with its service: what it does without its daemon, and for the next one.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use avamgr::clock;
use avamgr::process::aside::Aside;
use avamgr::process::shim::{Attached, Post};
use avamgr::process::{Child, Line, Program, Sink, nowhere};
use avamgr_core::config::{ExecConfig, ResourceKind};
use avamgr_core::node::{Order, Report};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use crate::stage::{Files, GROUP, SLACK, Stage, eventually, parent_and_state, reason};

/// `stop_bound` of the stage.
const GRACE: Duration = Duration::from_secs(1);

/// Deaf to TERM, with a child, one that has left its session, and one whose parent has ended.
const DEAF_FAMILY: &str =
    "trap '' TERM; sleep 300 & setsid sleep 301 & (setsid sleep 302 &); while :; do sleep 303; done";
const DEAF_COUNT: usize = 5;

// --- the right ---

#[tokio::test]
async fn a_deaf_family_is_gone_when_right_and_grace_are_over_and_not_before() {
    let mut stage = Stage::new(|files| keeper_of(files, DEAF_FAMILY));
    stage.started().await;
    eventually(async || stage.processes().await == DEAF_COUNT).await;
    let end = clock::now() + Duration::from_millis(600);
    stage.right.extend(GROUP, end);
    let shim = shim_of(&stage);
    while clock::now() < end + GRACE - Duration::from_millis(50) {
        assert_eq!(stage.processes().await, DEAF_COUNT, "nobody has lost anything before");
        sleep(Duration::from_millis(10)).await;
    }
    eventually(async || stage.processes().await == 0).await;
    let gone = clock::now();
    eprintln!("gone {:?} after the end of right and grace", gone.since(end + GRACE));
    assert!(gone >= end + GRACE && gone < end + GRACE + SLACK);
    let reason = reason(stage.report().await);
    assert!(reason.contains("SIGKILL"), "{reason}");
    eventually(async || parent_and_state(shim).is_none()).await;
}

#[tokio::test]
async fn one_that_hears_term_is_asked_when_half_of_the_grace_is_over() {
    let mut stage = Stage::new(|files| {
        let ended = files.path("ended");
        keeper_of(files, &format!("trap 'touch {ended}; exit 0' TERM; while :; do sleep 0.02; done"))
    });
    stage.started().await;
    let end = clock::now() + Duration::from_millis(600);
    stage.right.extend(GROUP, end);
    eventually(async || stage.files().exists("ended")).await;
    let asked = clock::now();
    assert!(asked >= end + GRACE / 2 && asked < end + GRACE / 2 + SLACK, "{:?}", asked.since(end));
}

#[tokio::test]
async fn a_right_that_is_renewed_in_the_first_half_of_the_grace_goes_on() {
    let mut stage = Stage::new(|files| keeper_of(files, "exec sleep 300"));
    stage.started().await;
    for _ in 0..5 {
        stage.right.extend(GROUP, clock::now());
        stage.quiet(GRACE / 4).await;
    }
    assert_eq!(stage.processes().await, 1);
    stage.stopped(None).await;
}

#[tokio::test]
async fn a_daemon_with_other_groups_goes_on_giving_the_right() {
    let mut stage = Stage::new(|files| keeper_of(files, "exec sleep 300"));
    stage.started().await;
    let groups = ["another", stage.place.group.as_str()];
    let next = avamgr::right::Right::open(&stage.place.runtime, &groups).unwrap();
    let end = clock::now() + GRACE * 5;
    next.extend(avamgr_core::cluster::GroupId(1), end);
    // The old file, where nobody writes any more.
    stage.right.revoke(GROUP);
    stage.quiet(GRACE * 2).await;
    assert_eq!(stage.processes().await, 1);
    stage.stopped(None).await;
}

#[tokio::test]
async fn without_a_right_nothing_is_started() {
    let mut stage = Stage::new(|files| keeper_of(files, "exec sleep 300"));
    stage.right.revoke(GROUP);
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    let report = stage.report().await;
    assert!(matches!(&report, Report::StartFailed(reason) if reason.contains("no right to run")), "{report:?}");
    assert_eq!(stage.processes().await, 0);
}

// --- the next daemon ---

#[tokio::test]
async fn the_next_daemon_goes_on_with_the_same_process_hears_it_and_stops_it() {
    let mut stage = Stage::new(|files| {
        let say = files.path("say");
        keeper_of(files, &format!("while ! test -e {say}; do sleep 0.02; done; echo 'last words'; exit 3"))
    });
    stage.started().await;
    let pid = service_of(&stage);
    for _ in 0..3 {
        stage.readopt().await;
        stage.expect(Report::Started).await;
        assert_eq!(service_of(&stage), pid);
        assert!(parent_and_state(pid).is_some());
    }
    stage.files().write("say", "");
    let report = stage.report().await;
    let told =
        matches!(&report, Report::Failed(reason) if reason.contains("status 3") && reason.contains("last words"));
    assert!(told, "{report:?}");
    stage.stopped(None).await;
}

#[tokio::test]
async fn what_was_adopted_is_stopped_whole() {
    let mut stage =
        Stage::with(|files| keeper_of(files, DEAF_FAMILY), |config| config.stop_timeout = Duration::from_millis(300));
    stage.started().await;
    eventually(async || stage.processes().await == DEAF_COUNT).await;
    let shim = shim_of(&stage);
    stage.readopt().await;
    stage.expect(Report::Started).await;
    let took = stage.stopped(None).await;
    assert!(took >= Duration::from_millis(300) && took < Duration::from_millis(300) + GRACE, "{took:?}");
    eventually(async || parent_and_state(shim).is_none()).await;
}

#[tokio::test]
async fn what_has_ended_meanwhile_or_runs_otherwise_than_it_would_today_is_not_adopted_but_ended() {
    let mut stage = Stage::new(|files| keeper_of(files, DEAF_FAMILY));
    stage.config.stop_timeout = Duration::from_millis(100);
    stage.started().await;
    let shim = shim_of(&stage);
    stage.config.kind = keeper_of(&stage.files(), "exec sleep 304");
    stage.readopt().await;
    eventually(async || stage.processes().await == 0 && parent_and_state(shim).is_none()).await;
    assert!(matches!(stage.report().await, Report::Failed(_)));
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    kill(Pid::from_raw(service_of(&stage)), Signal::SIGKILL).unwrap();
    assert!(matches!(stage.report().await, Report::Failed(_)));
    stage.readopt().await;
    assert!(matches!(stage.report().await, Report::Failed(_)));
    assert_eq!(stage.processes().await, 0);
}

#[tokio::test]
async fn where_no_shim_is_nothing_is_adopted() {
    let mut stage = Stage::new(|files| keeper_of(files, "exec sleep 300"));
    stage.expect(Report::Able).await;
    stage.readopt().await;
    let report = stage.report().await;
    assert!(matches!(&report, Report::Failed(reason) if reason.contains("ended while")), "{report:?}");
}

#[tokio::test]
async fn of_what_nobody_took_the_newest_is_kept_and_the_rest_counted() {
    let stage = Stage::new(|files| keeper_of(files, "exec sleep 300"));
    let post = post(&stage);
    let done = stage.files().path("done");
    let script =
        format!("echo first; while ! test -e {done}.go; do sleep 0.01; done; seq 100000; touch {done}; exec sleep 300");
    let program = program(&script);
    let executable = program.resolve().await.unwrap();
    let (sink, lines) = collector();
    let mut attached = Attached::spawn(post.clone(), executable.clone(), 7, sink).unwrap();
    attached.begun(&executable).await.unwrap();
    eventually(async || *lines.lock().unwrap() == ["first"]).await;
    drop(attached);
    stage.files().write("done.go", "");
    eventually(async || stage.files().exists("done")).await;
    let (sink, lines) = collector();
    let mut attached = Attached::call(&post, sink).await.unwrap().expect("a shim");
    assert!(attached.keeps(7) && !attached.keeps(8));
    eventually(async || attached.last_line().as_deref() == Some("100000")).await;
    let first = lines.lock().unwrap()[0].clone();
    let lost: usize = first.strip_prefix("lost ").unwrap().parse().unwrap();
    assert_eq!(lines.lock().unwrap()[1], (lost + 1).to_string(), "the line after the last one lost");
    attached.stop(Instant::now(), Instant::now() + GRACE).await.unwrap();
}

// --- the end of the shim itself ---

#[tokio::test]
async fn a_shim_that_is_killed_is_a_failure_and_its_family_is_found_and_ended() {
    let mut stage = Stage::new(|files| keeper_of(files, DEAF_FAMILY));
    stage.config.stop_timeout = Duration::from_millis(100);
    stage.restart_daemon();
    stage.started().await;
    eventually(async || stage.processes().await == DEAF_COUNT).await;
    let shim = shim_of(&stage);
    kill(Pid::from_raw(shim), Signal::SIGKILL).unwrap();
    let report = stage.report().await;
    assert!(matches!(&report, Report::Failed(reason) if reason.contains("lost its shim")), "{report:?}");
    eventually(async || stage.processes().await == DEAF_COUNT - 1).await;
    stage.stopped(None).await;
    eventually(async || parent_and_state(shim).is_none()).await;
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    stage.stopped(None).await;
}

#[tokio::test]
async fn a_shim_that_hangs_does_not_keep_the_service_from_being_stopped() {
    let mut stage = Stage::new(|files| keeper_of(files, "sleep 300 & setsid sleep 301 & wait"));
    stage.started().await;
    for adopted in [false, true] {
        let shim = shim_of(&stage);
        kill(Pid::from_raw(shim), Signal::SIGSTOP).unwrap();
        if adopted {
            stage.readopt().await;
            assert!(matches!(stage.report().await, Report::Failed(_)));
        }
        let took = stage.stopped(Some(Duration::from_millis(800))).await;
        assert!(took < Duration::from_millis(800) + SLACK * 4, "{took:?}");
        if !adopted {
            stage.order(Order::Start);
            stage.expect(Report::Started).await;
        }
    }
}

#[tokio::test]
async fn a_shim_that_is_asked_to_end_ends_its_service_first() {
    let mut stage = Stage::new(|files| keeper_of(files, "sleep 300 & setsid sleep 301 & wait"));
    stage.started().await;
    let shim = shim_of(&stage);
    kill(Pid::from_raw(shim), Signal::SIGTERM).unwrap();
    assert!(matches!(stage.report().await, Report::Failed(_)));
    eventually(async || stage.processes().await == 0 && parent_and_state(shim).is_none()).await;
}

// --- what it costs ---

#[tokio::test]
async fn it_is_small_collects_orphans_and_leads_a_session_of_its_own() {
    let orphans = "for i in 1 2 3 4 5; do (setsid sh -c 'sleep 0.01; exit 1' &); done";
    let mut stage = Stage::new(|files| keeper_of(files, &format!("{orphans}; exec sleep 300")));
    stage.started().await;
    let shim = shim_of(&stage);
    eventually(async || stage.processes().await == 1).await;
    eventually(async || zombies_of(shim) == 0).await;
    assert_eq!(nix::unistd::getsid(Some(Pid::from_raw(shim))), Ok(Pid::from_raw(shim)));
    let status = std::fs::read_to_string(format!("/proc/{shim}/status")).unwrap();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    eprintln!("a shim: {} KiB resident, {} KiB of its own", kib("VmRSS:"), kib("RssAnon:"));
    assert!(status.contains("Name:\tavamgr-shim") && kib("Threads:") == 1, "{status}");
    assert!(kib("RssAnon:") <= 3 * 1024, "{status}");
    let socket = format!("{}:{}", stage.place.group, stage.config.name);
    let mode = std::fs::metadata(stage.place.runtime.join("shim").join(socket)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    stage.stopped(None).await;
}

#[tokio::test]
async fn a_start_through_a_shim_takes_milliseconds_more() {
    let stage = Stage::new(|files| keeper_of(files, "exec sleep 300"));
    let executable = program("exec sleep 300").resolve().await.unwrap();
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        let before = Instant::now();
        let child = Child::spawn(&executable, nowhere()).unwrap();
        direct.push(before.elapsed());
        drop(child);
        let before = Instant::now();
        let mut attached = Attached::spawn(post(&stage), executable.clone(), 0, nowhere()).unwrap();
        attached.begun(&executable).await.unwrap();
        through.push(before.elapsed());
        attached.stop(Instant::now(), Instant::now() + GRACE).await.unwrap();
    }
    direct.sort();
    through.sort();
    eprintln!("start: {:.2?} as a child, {:.2?} through a shim (median)", direct[7], through[7]);
    assert!(through[7] < Duration::from_millis(100), "{through:?}");
}

// --- helpers ---

/// Writes its number, then becomes what the script says.
fn keeper_of(files: &Files, script: &str) -> ResourceKind {
    let script = format!("echo $$ > {}; {script}", files.path("pid"));
    let command = ["sh", "-c", &script].map(str::to_owned).to_vec();
    ResourceKind::Exec(ExecConfig { command, environment: BTreeMap::new(), directory: None, user: None, ready: None })
}

fn service_of(stage: &Stage) -> i32 {
    stage.files().read("pid").trim().parse().unwrap()
}

fn shim_of(stage: &Stage) -> i32 {
    parent_and_state(service_of(stage)).unwrap().0
}

fn zombies_of(parent: i32) -> usize {
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent_and_state(*pid) == Some((parent, 'Z'))).count()
}

fn post(stage: &Stage) -> Post {
    let place = &stage.place;
    Post {
        program: place.shim.clone(),
        runtime: place.runtime.clone(),
        group: place.group.clone(),
        resource: "other".to_owned(),
        grace: GRACE,
    }
}

fn program(script: &str) -> Program {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    Program { command, lookups: Aside::default(), ..Program::default() }
}

fn collector() -> (Sink, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&lines);
    let sink: Sink = Arc::new(move |line| {
        into.lock().unwrap().push(match line {
            Line::Text(text) => text.to_owned(),
            Line::Dropped(count) => format!("dropped {count}"),
            Line::Lost(count) => format!("lost {count}"),
        });
    });
    (sink, lines)
}
