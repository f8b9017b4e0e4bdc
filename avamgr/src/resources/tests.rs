//! The driver, with a service that does what the test says.

use std::sync::{Arc, Mutex};

use avamgr_core::cluster::GroupId;
use avamgr_core::node::Input;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::*;
use crate::inputs;

const ID: ResourceId = ResourceId { group: GroupId(0), index: 7 };
const STOP: Order = Order::Stop { within: None };

#[tokio::test]
async fn the_first_report_is_whether_it_could_be_started() {
    let mut able = Stage::new(Script::default()).await;
    assert_eq!(able.first, Report::Able);
    let unable = Stage::new(Script { able: Err("no such file".into()), ..Script::default() }).await;
    assert_eq!(unable.first, Report::Unable("no such file".into()));
    able.quiet().await;
}

#[tokio::test]
async fn start_and_stop_are_answered_and_can_be_repeated() {
    let mut stage = Stage::new(Script::default()).await;
    for _ in 0..2 {
        stage.order(Order::Start);
        assert_eq!(stage.report().await, Report::Started);
        stage.order(Order::Start);
        assert_eq!(stage.report().await, Report::Started);
        stage.order(STOP);
        assert_eq!(stage.report().await, Report::Stopped);
        stage.order(STOP);
        assert_eq!(stage.report().await, Report::Stopped);
    }
    assert_eq!(stage.calls(), ["start", "stop", "stop", "start", "stop", "stop"]);
    stage.order(Order::Announce);
    stage.quiet().await;
}

#[tokio::test]
async fn a_start_that_fails_is_cleaned_up_before_it_is_reported() {
    let mut stage = Stage::new(Script { start: Err("exited".into()), ..Script::default() }).await;
    stage.order(Order::Start);
    assert_eq!(stage.report().await, Report::StartFailed("exited".into()));
    assert_eq!(stage.calls(), ["start", "stop"]);
}

#[tokio::test]
async fn a_start_that_can_neither_succeed_nor_be_cleaned_up_is_a_failed_stop() {
    let mut stage =
        Stage::new(Script { start: Err("exited".into()), stop: Err("stuck".into()), ..Script::default() }).await;
    stage.order(Order::Start);
    assert_eq!(stage.report().await, Report::StopFailed("stuck".into()));
    stage.order(Order::Start);
    assert_eq!(stage.report().await, Report::StopFailed("stuck".into()));
    assert_eq!(stage.calls(), ["start", "stop", "stop"], "never started while something may still run");
}

#[tokio::test]
async fn a_stop_replaces_a_start_under_way_and_has_the_only_answer() {
    let mut stage = Stage::new(Script { start_hangs: true, ..Script::default() }).await;
    stage.order(Order::Start);
    stage.until_called("start").await;
    stage.order(STOP);
    assert_eq!(stage.report().await, Report::Stopped);
    assert_eq!(stage.calls(), ["start", "stop"]);
    stage.quiet().await;
}

#[tokio::test]
async fn a_start_during_a_stop_waits_for_its_end() {
    let mut stage = Stage::new(Script { stop_waits: true, ..Script::default() }).await;
    stage.order(STOP);
    stage.until_called("stop").await;
    stage.order(Order::Start);
    stage.quiet().await;
    stage.script.gate.add_permits(1);
    assert_eq!(stage.report().await, Report::Started);
    assert_eq!(stage.calls(), ["stop", "stop", "start"], "the stop is taken up again, never skipped");
}

#[tokio::test]
async fn a_second_stop_can_only_tighten_the_bound_of_the_first() {
    let mut stage = Stage::new(Script { stop_waits: true, ..Script::default() }).await;
    let tight = Order::Stop { within: Some(Duration::from_secs(1)) };
    for order in [STOP, tight, STOP, Order::Stop { within: Some(Duration::from_secs(60)) }] {
        stage.order(order);
        sleep(Duration::from_millis(10)).await;
    }
    stage.script.gate.add_permits(1);
    assert_eq!(stage.report().await, Report::Stopped);
    let bounds = stage.script.bounds.lock().unwrap().clone();
    assert_eq!(bounds[0], None);
    assert_eq!(bounds[1..].iter().filter(|bound| **bound == bounds[1]).count(), 3, "{bounds:?}");
    stage.quiet().await;
}

#[tokio::test]
async fn one_failure_is_reported_once_and_then_waits_for_orders() {
    let mut stage = Stage::new(Script::default()).await;
    stage.order(Order::Start);
    assert_eq!(stage.report().await, Report::Started);
    stage.see(Seen::Failed("port closed".into()));
    assert_eq!(stage.report().await, Report::Failed("port closed".into()));
    stage.see(Seen::Failed("exited".into()));
    assert_eq!(stage.report().await, Report::Notice("exited".into()));
    assert_eq!(stage.calls(), ["start"], "nothing is done without an order");
    stage.order(Order::Start);
    assert_eq!(stage.report().await, Report::Started);
    assert_eq!(stage.calls(), ["start", "stop", "start"], "a start after a failure begins with a stop");
}

#[tokio::test]
async fn what_is_well_again_is_started_and_can_fail_again() {
    let mut stage = Stage::new(Script::default()).await;
    stage.order(Order::Start);
    stage.report().await;
    for _ in 0..2 {
        stage.see(Seen::Failed("slow".into()));
        assert_eq!(stage.report().await, Report::Failed("slow".into()));
        stage.see(Seen::Well("answers".into()));
        assert_eq!(stage.report().await, Report::Well("answers".into()));
    }
    stage.order(Order::Start);
    assert_eq!(stage.report().await, Report::Started);
    assert_eq!(stage.calls(), ["start"]);
}

#[tokio::test]
async fn what_was_missing_for_a_start_is_reported_after_it_has_failed() {
    let mut stage =
        Stage::new(Script { start: Err("no file".into()), able_later: Err("no file".into()), ..Script::default() })
            .await;
    stage.order(Order::Start);
    assert_eq!(stage.report().await, Report::StartFailed("no file".into()));
    assert_eq!(stage.report().await, Report::Unable("no file".into()));
}

#[tokio::test]
async fn an_order_to_a_task_that_is_gone_is_refused() {
    let (sender, orders) = mpsc::channel(DEPTH);
    let sender = OrderSender(sender);
    assert!(sender.give(Order::Start));
    drop(orders);
    assert!(!sender.give(Order::Start));
}

#[tokio::test]
async fn what_is_adopted_counts_as_started_and_is_watched() {
    let mut stage = Stage::new(Script { adopt: Ok(true), ..Script::default() }).await;
    stage.order(Order::Adopt);
    assert_eq!((stage.first.clone(), stage.report().await), (Report::Able, Report::Started));
    stage.see(Seen::Failed("exited".into()));
    assert_eq!(stage.report().await, Report::Failed("exited".into()));
    stage.order(STOP);
    assert_eq!(stage.report().await, Report::Stopped);
    assert_eq!(stage.calls(), ["adopt", "stop"]);
}

#[tokio::test]
async fn what_cannot_be_adopted_has_failed_and_is_stopped_before_it_is_started() {
    for (adopt, reason) in [(Ok(false), LOST), (Err("not asked".to_owned()), "not asked")] {
        let mut stage = Stage::new(Script { adopt, ..Script::default() }).await;
        stage.order(Order::Adopt);
        assert_eq!(stage.report().await, Report::Failed(reason.to_owned()));
        stage.order(Order::Start);
        assert_eq!(stage.report().await, Report::Started);
        assert_eq!(stage.calls(), ["adopt", "stop", "start"]);
    }
}

// --- helpers ---

/// What the service does, and what it was asked.
#[derive(Clone, Debug)]
struct Script {
    able: Result<(), String>,
    able_later: Result<(), String>,
    /// What comes of an adoption.
    adopt: Result<bool, String>,
    start: Result<(), String>,
    stop: Result<(), String>,
    start_hangs: bool,
    /// A stop waits for a permit of the gate.
    stop_waits: bool,
    gate: Arc<Semaphore>,
    calls: Arc<Mutex<Vec<&'static str>>>,
    bounds: Arc<Mutex<Vec<Option<Instant>>>>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            able: Ok(()),
            able_later: Ok(()),
            adopt: Ok(false),
            start: Ok(()),
            stop: Ok(()),
            start_hangs: false,
            stop_waits: false,
            gate: Arc::new(Semaphore::new(0)),
            calls: Arc::default(),
            bounds: Arc::default(),
        }
    }
}

struct Actor {
    script: Script,
    sights: mpsc::UnboundedReceiver<Seen>,
}

impl Service for Actor {
    async fn able(&mut self) -> Result<(), String> {
        std::mem::replace(&mut self.script.able, self.script.able_later.clone())
    }

    async fn adopt(&mut self) -> Result<bool, String> {
        self.script.calls.lock().unwrap().push("adopt");
        self.script.adopt.clone()
    }

    async fn start(&mut self) -> Result<(), String> {
        self.script.calls.lock().unwrap().push("start");
        if self.script.start_hangs {
            std::future::pending::<()>().await;
        }
        self.script.start.clone()
    }

    async fn stop(&mut self, by: Option<Instant>) -> Result<(), String> {
        self.script.calls.lock().unwrap().push("stop");
        self.script.bounds.lock().unwrap().push(by);
        if self.script.stop_waits {
            self.script.gate.acquire().await.unwrap().forget();
        }
        self.script.stop.clone()
    }

    async fn watch(&mut self) -> Seen {
        match self.sights.recv().await {
            Some(seen) => seen,
            None => std::future::pending().await,
        }
    }
}

/// A driver with everything around it.
struct Stage {
    script: Script,
    orders: OrderSender,
    sights: mpsc::UnboundedSender<Seen>,
    received: mpsc::Receiver<Input>,
    first: Report,
}

impl Stage {
    async fn new(script: Script) -> Self {
        let (sender, orders) = mpsc::channel(DEPTH);
        let (sights, seen) = mpsc::unbounded_channel();
        let (inputs, received) = inputs::channel();
        drive(ID, Actor { script: script.clone(), sights: seen }, orders, inputs);
        let mut stage = Self { script, orders: OrderSender(sender), sights, received, first: Report::Able };
        stage.first = stage.report().await;
        stage
    }

    fn order(&self, order: Order) {
        assert!(self.orders.give(order));
    }

    fn see(&self, seen: Seen) {
        self.sights.send(seen).unwrap();
    }

    async fn report(&mut self) -> Report {
        match timeout(Duration::from_secs(2), self.received.recv()).await.expect("no report") {
            Some(Input::Report { resource: ID, report }) => report,
            other => panic!("{other:?}"),
        }
    }

    async fn quiet(&mut self) {
        assert!(timeout(Duration::from_millis(30), self.received.recv()).await.is_err(), "an unexpected report");
    }

    fn calls(&self) -> Vec<&'static str> {
        self.script.calls.lock().unwrap().clone()
    }

    async fn until_called(&self, call: &str) {
        while !self.calls().contains(&call) {
            sleep(Duration::from_millis(1)).await;
        }
    }
}
