//! A bus of our own, and on it somebody who answers like systemd.

mod fake;

use avamgr_core::cluster::{GroupId, ResourceId};
use avamgr_core::config::{Check, MonitorConfig, ResourceKind, RestartConfig};
use avamgr_core::node::{Input, Order, Report};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::resources::{Driver, Mouth, OrderSender, Phase};
use fake::{Bus as FakeBus, Fake};

const ID: ResourceId = ResourceId { group: GroupId(0), index: 0 };
const STOP: Order = Order::Stop { within: None };
const GROUP: &str = "/system.slice/dre.service";

#[tokio::test]
async fn a_unit_starts_and_stops_and_may_be_asked_twice() {
    let mut stage = Stage::new(Fake::default()).await;
    stage.expect(Report::Able).await;
    for _ in 0..2 {
        stage.order(Order::Start);
        stage.expect(Report::Started).await;
        assert_eq!(stage.bus.state().active, "active");
        stage.order(STOP);
        stage.expect(Report::Stopped).await;
        assert_eq!(stage.bus.state().active, "inactive");
        stage.order(STOP);
        stage.expect(Report::Stopped).await;
    }
    stage.quiet().await;
}

#[tokio::test]
async fn a_unit_that_is_up_is_adopted_and_watched_and_one_that_is_not_has_failed() {
    let mut stage = Stage::new(Fake::default()).await;
    stage.expect(Report::Able).await;
    stage.order(Order::Adopt);
    assert!(matches!(stage.report().await, Report::Failed(reason) if reason.contains("ended while")));
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    let starts = || stage.bus.calls().iter().filter(|call| *call == "StartUnit").count();
    assert_eq!(starts(), 1);
    stage.order(Order::Adopt);
    stage.expect(Report::Started).await;
    assert_eq!(stage.bus.calls().iter().filter(|call| *call == "StartUnit").count(), 1);
    stage.quiet().await;
}

#[tokio::test]
async fn a_job_that_fails_says_what_systemd_says() {
    let fake = Fake { start_ends_as: ("failed", "failed", "exit-code"), ..Fake::default() };
    let mut stage = Stage::new(fake).await;
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    let report = stage.report().await;
    assert!(matches!(report, Report::StartFailed(_)), "{report:?}");
    let text = format!("{report:?}");
    assert!(text.contains("ended with \\\"failed\\\"") && text.contains("result exit-code"), "{text}");
    assert!(stage.bus.calls().contains(&"ResetFailedUnit".to_owned()));
}

#[tokio::test]
async fn a_job_that_is_done_is_believed_only_when_the_unit_is_active() {
    let fake = Fake { start_ends_as: ("done", "inactive", "success"), ..Fake::default() };
    let mut stage = Stage::new(fake).await;
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    let report = stage.report().await;
    assert!(matches!(&report, Report::StartFailed(reason) if reason.contains("inactive")), "{report:?}");
}

#[tokio::test]
async fn a_start_that_takes_too_long_is_taken_back() {
    let fake = Fake { start_hangs: true, ..Fake::default() };
    let mut stage = Stage::with(fake, |config| config.start_timeout = Duration::from_millis(300)).await;
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    let report = stage.report().await;
    assert!(matches!(&report, Report::StartFailed(reason) if reason.contains("longer than 300")), "{report:?}");
    assert_eq!(stage.bus.state().active, "inactive");
}

#[tokio::test]
async fn a_stop_during_a_start_ends_stopped() {
    let mut stage = Stage::new(Fake { start_hangs: true, ..Fake::default() }).await;
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    stage.until_called("StartUnit").await;
    stage.order(STOP);
    stage.expect(Report::Stopped).await;
    assert_eq!(stage.bus.state().active, "inactive");
    stage.quiet().await;
}

#[tokio::test]
async fn a_unit_that_does_not_stop_is_killed_within_the_bound() {
    let mut stage = Stage::new(Fake { stop_hangs: true, ..Fake::default() }).await;
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    let before = Instant::now();
    stage.order(Order::Stop { within: Some(Duration::from_millis(300)) });
    stage.expect(Report::Stopped).await;
    let took = before.elapsed();
    assert!(took >= Duration::from_millis(140) && took < Duration::from_millis(700), "{took:?}");
    assert!(stage.bus.calls().contains(&"KillUnit".to_owned()));
}

#[tokio::test]
async fn a_unit_that_survives_kill_is_never_called_stopped() {
    let mut stage = Stage::new(Fake { stop_hangs: true, kill_hangs: true, ..Fake::default() }).await;
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    let before = Instant::now();
    stage.order(Order::Stop { within: Some(Duration::from_millis(300)) });
    let report = stage.report().await;
    assert!(matches!(report, Report::StopFailed(_)), "{report:?}");
    assert!(before.elapsed() < Duration::from_millis(700), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_unit_that_leaves_processes_is_never_called_stopped() {
    let mut stage = Stage::new(Fake { control_group: GROUP, ..Fake::default() }).await;
    stage.populate(true);
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    stage.order(Order::Stop { within: Some(Duration::from_millis(300)) });
    let report = stage.report().await;
    let own = format!("process {}", std::process::id());
    assert!(
        matches!(&report, Report::StopFailed(reason) if reason.contains(GROUP) && reason.contains(&own)),
        "{report:?}"
    );
    assert!(stage.bus.calls().contains(&"KillUnit".to_owned()));
}

#[tokio::test]
async fn a_unit_is_stopped_when_what_it_has_left_is_killed() {
    let mut stage = Stage::new(Fake { control_group: GROUP, ..Fake::default() }).await;
    stage.populate(true);
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    stage.order(STOP);
    stage.until_called("KillUnit").await;
    stage.populate(false);
    stage.expect(Report::Stopped).await;
}

#[tokio::test]
async fn a_unit_that_fails_is_reported_at_once_and_once() {
    let mut stage = Stage::new(Fake::default()).await;
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    let before = Instant::now();
    stage.bus.set_state("failed", "failed", "signal").await;
    let report = stage.report().await;
    let took = before.elapsed();
    eprintln!("failure of a unit to its report: {took:.2?}");
    assert!(
        matches!(&report, Report::Failed(reason) if reason.contains("failed (failed), result signal")),
        "{report:?}"
    );
    assert!(took < Duration::from_millis(500), "{took:?}");
    stage.quiet().await;
    stage.bus.set_state("active", "running", "success").await;
    assert!(matches!(stage.report().await, Report::Well(_)));
}

#[tokio::test]
async fn a_unit_that_restarts_itself_is_told_to_leave_that_to_us() {
    let mut stage = Stage::new(Fake::default()).await;
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    stage.bus.set_state("activating", "auto-restart", "exit-code").await;
    let report = stage.report().await;
    assert!(matches!(&report, Report::Failed(reason) if reason.contains("Restart=no")), "{report:?}");
}

#[tokio::test]
async fn a_monitor_can_fail_a_unit_that_systemd_calls_active() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let check = Check::Tcp(listener.local_addr().unwrap().to_string());
    let time = Duration::from_millis(50);
    let monitor = MonitorConfig { check, interval: time, timeout: time, fall: 1, rise: 1 };
    let mut stage = Stage::with(Fake::default(), |config| config.monitors = vec![monitor]).await;
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    stage.quiet().await;
    drop(listener);
    let report = stage.report().await;
    assert!(matches!(&report, Report::Failed(reason) if reason.contains("connection refused")), "{report:?}");
}

#[tokio::test]
async fn a_unit_that_is_missing_or_masked_is_said_with_a_hint() {
    for (load, hint) in [("not-found", "install it"), ("masked", "unmask"), ("bad-setting", "systemctl status")] {
        let mut stage = Stage::new(Fake { load, ..Fake::default() }).await;
        let report = stage.report().await;
        assert!(
            matches!(&report, Report::Unable(reason) if reason.contains("dre.service") && reason.contains(hint)),
            "{report:?}"
        );
        stage.order(STOP);
        stage.expect(Report::Stopped).await;
    }
}

#[tokio::test]
async fn a_bus_without_systemd_and_a_host_without_a_bus_are_told_apart() {
    let bus = FakeBus::empty().await;
    let mut unit = unit(Some(bus.address.clone()));
    let error = unit.look().await.unwrap_err();
    assert!(matches!(error, SystemdError::NoSystemd(_)), "{error}");
    unit.address = Some("unix:path=/no/such/bus".into());
    let error = unit.look().await.unwrap_err();
    assert!(matches!(error, SystemdError::NoBus(_)), "{error}");
}

#[tokio::test]
async fn where_systemd_does_not_run_it_says_so_and_nothing_runs() {
    if std::path::Path::new("/run/systemd/system").is_dir() {
        return;
    }
    let error = unit(None).look().await.unwrap_err().to_string();
    assert!(error.starts_with("systemd does not run on this host") && error.contains("exec or lsb"), "{error}");
    unit(None).stop(Duration::from_secs(1), None).await.unwrap();
}

#[tokio::test]
async fn a_systemd_that_is_silent_is_given_up_in_time() {
    let mut stage = Stage::new(Fake::default()).await;
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    stage.bus.fall_silent();
    let before = Instant::now();
    stage.order(Order::Stop { within: Some(Duration::from_millis(300)) });
    let report = stage.report().await;
    assert!(matches!(&report, Report::StopFailed(reason) if reason.contains("did not answer")), "{report:?}");
    assert!(before.elapsed() < Duration::from_millis(700), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_lost_bus_is_no_failure_of_the_unit() {
    let mut stage = Stage::new(Fake::default()).await;
    stage.expect(Report::Able).await;
    stage.order(Order::Start);
    stage.expect(Report::Started).await;
    stage.bus.kill().await;
    let report = stage.report().await;
    assert!(matches!(&report, Report::Notice(words) if words.contains("cannot be watched")), "{report:?}");
    stage.quiet().await;
}

// --- helpers ---

struct Stage {
    bus: FakeBus,
    /// Where the kernel shows control groups.
    groups: TempDir,
    orders: OrderSender,
    received: mpsc::Receiver<Input>,
}

impl Stage {
    async fn new(fake: Fake) -> Self {
        Self::with(fake, |_| {}).await
    }

    async fn with(fake: Fake, set: impl FnOnce(&mut ResourceConfig)) -> Self {
        let bus = FakeBus::with_systemd(fake).await;
        let unit = SystemdConfig { unit: "dre.service".into() };
        let time = Duration::from_secs(5);
        let mut config = ResourceConfig {
            name: "dre".into(),
            kind: ResourceKind::Systemd(unit.clone()),
            monitors: Vec::new(),
            start_timeout: time,
            stop_timeout: time,
            restart: RestartConfig { max: 0, window: time, backoff: time, backoff_max: time },
        };
        set(&mut config);
        let (sender, orders) = mpsc::channel(16);
        let (inputs, received) = crate::inputs::channel();
        let groups = TempDir::new().unwrap();
        let mut service = Systemd::new(&config, &unit, Some(bus.address.clone()));
        service.unit.groups = ControlGroups::at(groups.path().to_owned());
        let mouth = Mouth { id: ID, inputs };
        let driver = Driver { service, orders, mouth, phase: Phase::Down, able: None, look_at: Instant::now() };
        tokio::spawn(driver.run());
        Self { bus, groups, orders: OrderSender(sender), received }
    }

    /// The unit's control group holds a process or not.
    fn populate(&self, populated: bool) {
        let group = self.groups.path().join(GROUP.trim_start_matches('/'));
        std::fs::create_dir_all(&group).unwrap();
        std::fs::write(group.join("cgroup.events"), format!("populated {}\nfrozen 0\n", u8::from(populated))).unwrap();
        let process = if populated { format!("{}\n", std::process::id()) } else { String::new() };
        std::fs::write(group.join("cgroup.procs"), process).unwrap();
    }

    fn order(&self, order: Order) {
        assert!(self.orders.give(order));
    }

    async fn report(&mut self) -> Report {
        match timeout(Duration::from_secs(10), self.received.recv()).await.expect("no report") {
            Some(Input::Report { resource: ID, report }) => report,
            other => panic!("{other:?}"),
        }
    }

    async fn expect(&mut self, report: Report) {
        assert_eq!(self.report().await, report);
    }

    async fn quiet(&mut self) {
        let report = timeout(Duration::from_millis(200), self.received.recv()).await;
        assert!(report.is_err(), "unexpected {report:?}");
    }

    async fn until_called(&self, method: &str) {
        let called = async {
            while !self.bus.calls().iter().any(|call| call == method) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(10), called).await.expect("it is not called");
    }
}

fn unit(address: Option<String>) -> Unit {
    Unit::new("dre.service".into(), address)
}
