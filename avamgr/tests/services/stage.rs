//! One resource with its task, and a directory of its own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use avamgr::inputs;
use avamgr::process::aside::Aside;
use avamgr::process::family::{Family, Mark};
use avamgr::resources::{OrderSender, Place, spawn};
use avamgr::right::Right;
use avamgr_core::cluster::{GroupId, NodeId, ResourceId};
use avamgr_core::config::{Check, MonitorConfig, ResourceConfig, ResourceKind, RestartConfig, Timers};
use avamgr_core::node::{Input, Order, Report};
use avamgr_core::time::Instant as Moment;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

pub(crate) const STOP: Order = Order::Stop { within: None };

/// What a busy machine adds to a bound; a quiet one adds nothing.
pub(crate) const SLACK: Duration = Duration::from_millis(300);

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const GROUP: GroupId = GroupId(0);
const ID: ResourceId = ResourceId { group: GROUP, index: 0 };

pub(crate) struct Stage {
    pub(crate) directory: TempDir,
    pub(crate) config: ResourceConfig,
    pub(crate) place: Place,
    /// Its services may run as long as the stage stands.
    pub(crate) right: Right,
    orders: OrderSender,
    received: mpsc::Receiver<Input>,
}

impl Drop for Stage {
    /// Whatever a failed test left running ends at the grace, and with it its shim.
    fn drop(&mut self) {
        self.right.revoke(GROUP);
    }
}

impl Stage {
    /// Starts the task; the kind is made of the directory.
    pub(crate) fn new(kind: impl FnOnce(&Files) -> ResourceKind) -> Self {
        Self::with(kind, |_| {})
    }

    /// The same, with other settings.
    pub(crate) fn with(kind: impl FnOnce(&Files) -> ResourceKind, set: impl FnOnce(&mut ResourceConfig)) -> Self {
        let directory = TempDir::new().unwrap();
        let mut config = ResourceConfig {
            name: "service".into(),
            kind: kind(&Files(directory.path().to_owned())),
            monitors: Vec::new(),
            start_timeout: Duration::from_secs(5),
            stop_timeout: Duration::from_secs(5),
            restart: RestartConfig { max: 3, window: PATIENCE, backoff: Duration::ZERO, backoff_max: Duration::ZERO },
        };
        set(&mut config);
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let place = Place {
            cluster: "test".into(),
            node_name: std::process::id().to_string(),
            node: NodeId(0),
            group: NUMBER.fetch_add(1, Ordering::Relaxed).to_string(),
            timers: timers(),
            guard: None,
            bus: None,
            runtime: directory.path().join("run"),
            shim: env!("CARGO_BIN_EXE_avamgrd").into(),
        };
        Self::at(directory, config, place)
    }

    /// The task of a resource at a place of its own.
    pub(crate) fn at(directory: TempDir, config: ResourceConfig, place: Place) -> Self {
        let right = Right::open(&place.runtime, &[&place.group]).unwrap();
        right.extend(GROUP, Moment::NEVER);
        let (orders, received) = task(&config, &place);
        Self { directory, config, place, right, orders, received }
    }

    pub(crate) fn files(&self) -> Files {
        Files(self.directory.path().to_owned())
    }

    /// The daemon is restarted, and goes on with what runs.
    pub(crate) async fn readopt(&mut self) {
        self.restart_daemon();
        self.expect(Report::Able).await;
        self.order(Order::Adopt);
    }

    /// The daemon is restarted: a new task for the same resource.
    pub(crate) fn restart_daemon(&mut self) {
        (self.orders, self.received) = task(&self.config, &self.place);
    }

    pub(crate) fn order(&self, order: Order) {
        assert!(self.orders.give(order));
    }

    pub(crate) async fn report(&mut self) -> Report {
        match timeout(PATIENCE, self.received.recv()).await.expect("no report") {
            Some(Input::Report { resource: ID, report }) => report,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn expect(&mut self, report: Report) {
        assert_eq!(self.report().await, report);
    }

    /// Able, then started.
    pub(crate) async fn started(&mut self) {
        self.expect(Report::Able).await;
        self.order(Order::Start);
        self.expect(Report::Started).await;
    }

    /// Stops it; nothing of it may be left. Answers how long it took.
    pub(crate) async fn stopped(&mut self, within: Option<Duration>) -> Duration {
        let before = Instant::now();
        self.order(Order::Stop { within });
        self.expect(Report::Stopped).await;
        let took = before.elapsed();
        assert_eq!(self.processes().await, 0, "something still runs");
        took
    }

    pub(crate) async fn quiet(&mut self, time: Duration) {
        if let Ok(report) = timeout(time, self.received.recv()).await {
            panic!("unexpected {report:?}");
        }
    }

    /// The next report, if one comes in this time.
    pub(crate) async fn next_within(&mut self, time: Duration) -> Option<Report> {
        match timeout(time, self.received.recv()).await.ok()? {
            Some(Input::Report { report, .. }) => Some(report),
            other => panic!("{other:?}"),
        }
    }

    /// What the resource's processes carry in their environment.
    pub(crate) fn mark(&self) -> String {
        self.family().mark.value().to_owned()
    }

    /// How many processes carry the resource's mark.
    pub(crate) async fn processes(&self) -> usize {
        self.family().members().await.len()
    }

    fn family(&self) -> Family {
        let mark = Mark::new(&self.place.cluster, &self.place.node_name, &self.place.group, &self.config.name);
        Family { mark, session: None, looks: Aside::default() }
    }
}

/// Number of the parent and state of a process.
pub(crate) fn parent_and_state(pid: i32) -> Option<(i32, char)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

/// The directory of a test.
pub(crate) struct Files(pub(crate) PathBuf);

impl Files {
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    /// An executable file. Written by a child: a child of another test, forked while we hold the file open, would make it
    /// "busy".
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        let write = ["-c", "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", text, &path];
        assert!(std::process::Command::new("sh").args(write).status().unwrap().success());
        path
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.0.join(name)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

pub(crate) async fn eventually(condition: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < PATIENCE, "never happened");
        sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn monitor(check: Check) -> MonitorConfig {
    let time = Duration::from_millis(500);
    MonitorConfig { check, interval: Duration::from_millis(20), timeout: time, fall: 2, rise: 2 }
}

/// The reason of a failure.
pub(crate) fn reason(report: Report) -> String {
    match report {
        Report::StartFailed(reason)
        | Report::StopFailed(reason)
        | Report::Failed(reason)
        | Report::Unable(reason)
        | Report::Well(reason)
        | Report::Stray(reason)
        | Report::Gone(reason)
        | Report::Notice(reason) => reason,
        Report::Started | Report::Stopped | Report::Able => panic!("{report:?} has no reason"),
    }
}

fn task(config: &ResourceConfig, place: &Place) -> (OrderSender, mpsc::Receiver<Input>) {
    let (inputs, received) = inputs::channel();
    (spawn(ID, config, place, inputs), received)
}

/// Services use none of these.
fn timers() -> Timers {
    let t = Duration::from_secs(1);
    Timers {
        failover_budget: t,
        heartbeat_interval: t,
        suspect_time: t,
        dead_time: t,
        probe_interval: t,
        link_rise: 1,
        arbitrator_timeout: t,
        arbitrator_pace: t,
        arbitrator_interval: t,
        arbitrator_fall: 1,
        arbitrator_rise: 1,
        vip_probe_time: t,
        stop_bound: t,
        lease_time: Duration::ZERO,
        guard_margin: Duration::ZERO,
        fence_delay: Duration::ZERO,
        hold_time: t,
        start_grace: t,
        guard_lifetime: t,
        guard_refresh: t,
        announce_delay: t,
        announce_refresh: t,
        switchover_timeout: t,
        failback_settle: t,
        clock_rate_ppm: 0,
    }
}
