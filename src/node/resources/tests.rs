use std::collections::BTreeMap;
use std::time::Duration;

use super::{Resource, RunState, all_down, all_up, next_orders};
use crate::cluster::NodeId;
use crate::config::{ExecConfig, Failback, GroupConfig, ResourceConfig, ResourceKind, RestartConfig, VipConfig};
use crate::node::action::Order;
use crate::node::event::ResourceChange;
use crate::node::input::Report;
use crate::time::Instant;

const RESTART: RestartConfig = RestartConfig {
    max: 2,
    window: Duration::from_secs(60),
    backoff: Duration::from_millis(100),
    backoff_max: Duration::from_secs(1),
};

fn resource(kind: ResourceKind) -> ResourceConfig {
    ResourceConfig {
        name: "r".into(),
        kind,
        monitors: Vec::new(),
        start_timeout: Duration::from_secs(10),
        stop_timeout: Duration::from_secs(10),
        restart: RESTART,
    }
}

/// `v` is a VIP, `s` a service.
fn group(shape: &str) -> GroupConfig {
    let kind = |letter| match letter {
        'v' => ResourceKind::Vip(VipConfig { interfaces: vec![], addresses: vec![], ranges: vec![], label: None }),
        _ => ResourceKind::Exec(ExecConfig {
            command: vec!["x".into()],
            environment: BTreeMap::new(),
            directory: None,
            user: None,
            ready: None,
        }),
    };
    GroupConfig {
        name: "dre".into(),
        failback: Failback::Manual,
        preferred: NodeId(0),
        hook: None,
        resources: shape.chars().map(|letter| resource(kind(letter))).collect(),
    }
}

/// Obeys every order at once until there is none; returns the order of what happened.
fn obey(resources: &mut [Resource], config: &GroupConfig, up: bool) -> Vec<String> {
    let now = Instant::from_millis(1);
    let mut log = Vec::new();
    loop {
        let orders = next_orders(resources, config, up, None, now);
        if orders.is_empty() {
            return log;
        }
        let step: Vec<String> = orders.iter().map(|(index, order)| format!("{}{index}", letter(*order))).collect();
        log.push(step.join(" "));
        for (index, order) in orders {
            let (state, report) = match order {
                Order::Start => (RunState::Starting, Report::Started),
                Order::Stop { .. } => (RunState::Stopping, Report::Stopped),
                Order::Announce | Order::Adopt => unreachable!("never ordered here"),
            };
            resources[index].turn(state, now);
            resources[index].on_report(now, report, up, &RESTART);
        }
    }
}

fn letter(order: Order) -> char {
    match order {
        Order::Start => '+',
        Order::Stop { .. } => '-',
        Order::Announce => '!',
        Order::Adopt => '=',
    }
}

fn all(shape: &str, state: RunState) -> Vec<Resource> {
    shape
        .chars()
        .map(|_| {
            let mut resource = Resource::new(Instant::BOOT);
            resource.state = state;
            resource
        })
        .collect()
}

#[test]
fn starts_go_in_file_order_with_neighbouring_vips_together() {
    for (shape, expected) in [
        ("vs", vec!["+0", "+1"]),
        ("svv", vec!["+0", "+1 +2"]),
        ("vvsvs", vec!["+0 +1", "+2", "+3", "+4"]),
        ("ss", vec!["+0", "+1"]),
    ] {
        let mut resources = all(shape, RunState::Stopped);
        assert_eq!(obey(&mut resources, &group(shape), true), expected, "{shape}");
        assert!(all_up(&resources), "{shape}");
    }
}

#[test]
fn stops_take_all_vips_first_then_services_backwards() {
    for (shape, expected) in [("vs", vec!["-0", "-1"]), ("svsv", vec!["-1 -3", "-2", "-0"]), ("ss", vec!["-1", "-0"])] {
        let mut resources = all(shape, RunState::Started);
        assert_eq!(obey(&mut resources, &group(shape), false), expected, "{shape}");
        assert!(all_down(&resources), "{shape}");
    }
}

#[test]
fn a_failed_resource_is_stopped_then_waits_then_is_started_again() {
    let config = group("s");
    let mut resources = all("s", RunState::Started);
    let t = Instant::from_millis(1_000);
    resources[0].on_report(t, Report::Failed("gone".into()), true, &RESTART);
    assert_eq!(next_orders(&resources, &config, true, None, t), vec![(0, Order::Stop { within: None })]);
    resources[0].turn(RunState::Stopping, t);
    resources[0].on_report(t, Report::Stopped, true, &RESTART);
    assert_eq!(next_orders(&resources, &config, true, None, t), vec![], "waits for its backoff");
    let later = t + Duration::from_millis(100);
    assert_eq!(next_orders(&resources, &config, true, None, later), vec![(0, Order::Start)]);
}

#[test]
fn failures_beyond_the_limit_exhaust_a_resource_until_the_window_has_passed() {
    let mut resource = Resource::new(Instant::BOOT);
    for millis in [0, 10, 20] {
        resource.turn(RunState::Started, Instant::BOOT);
        resource.on_report(Instant::from_millis(millis), Report::Failed("x".into()), true, &RESTART);
    }
    assert!(resource.is_exhausted(&RESTART));
    resource.forget_failures(Instant::from_millis(60_015), &RESTART);
    assert!(!resource.is_exhausted(&RESTART));
}

#[test]
fn backoff_doubles_up_to_its_limit() {
    let mut resource = Resource::new(Instant::BOOT);
    let mut waits = Vec::new();
    for _ in 0..6 {
        resource.fail(Instant::BOOT, "x".into());
        waits.push(resource.backoff(&RESTART).as_millis());
    }
    assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
}

#[test]
fn what_cannot_be_stopped_blocks_the_group_and_is_tried_again() {
    let config = group("vs");
    let mut resources = all("vs", RunState::Stopped);
    resources[1].state = RunState::Stopping;
    let t = Instant::from_millis(5);
    resources[1].on_report(t, Report::StopFailed("unkillable".into()), false, &RESTART);
    assert!(!all_down(&resources));
    assert_eq!(next_orders(&resources, &config, false, None, t), vec![]);
    let retry = t + super::STOP_RETRY;
    assert_eq!(next_orders(&resources, &config, false, None, retry), vec![(1, Order::Stop { within: None })]);
}

#[test]
fn a_start_that_leaves_something_behind_is_stopped_again_and_again() {
    let config = group("s");
    let mut resources = all("s", RunState::Starting);
    let t = Instant::from_millis(5);
    let told = resources[0].on_report(t, Report::StopFailed("unkillable".into()), true, &RESTART);
    assert!(matches!(told, Some(ResourceChange::StopFailed { .. })), "{told:?}");
    assert!(!all_down(&resources), "nobody else may start it");
    let retry = t + super::STOP_RETRY;
    assert_eq!(next_orders(&resources, &config, true, None, retry), vec![(0, Order::Stop { within: None })]);
    resources[0].turn(RunState::Stopping, retry);
    resources[0].on_report(retry, Report::Stopped, true, &RESTART);
    assert!(matches!(resources[0].state, RunState::Backoff(_)), "it counts as a failure");
}

#[test]
fn what_has_failed_and_is_well_again_before_it_was_stopped_runs() {
    let mut resource = Resource::new(Instant::BOOT);
    resource.on_report(Instant::BOOT, Report::Failed("connection refused".into()), true, &RESTART);
    resource.on_report(Instant::BOOT, Report::Well("it accepts connections".into()), true, &RESTART);
    assert_eq!(resource.state, RunState::Started);
    resource.turn(RunState::Stopping, Instant::BOOT);
    resource.on_report(Instant::BOOT, Report::StopFailed("unkillable".into()), true, &RESTART);
    resource.on_report(Instant::BOOT, Report::Well("it accepts connections".into()), true, &RESTART);
    assert!(matches!(resource.state, RunState::Stuck(_)), "it shall go");
    assert!(resource.hurry(Instant::from_millis(9)));
    assert_eq!(resource.state, RunState::Stuck(Instant::from_millis(9)), "whether it has gone is not for words to say");
}

#[test]
fn what_is_here_unasked_is_stopped_unless_it_is_to_be_here() {
    let stray = || Report::Stray("172.16.9.61/24 is on eth1".into());
    let config = group("v");
    for state in [RunState::Stopped, RunState::Backoff(Instant::BOOT)] {
        let mut resources = all("v", state);
        resources[0].on_report(Instant::BOOT, stray(), true, &RESTART);
        assert_eq!(resources[0].state, state, "the next start makes it ours");
        resources[0].on_report(Instant::BOOT, stray(), false, &RESTART);
        assert_eq!(resources[0].state, RunState::Stray);
        assert!(!all_down(&resources));
        let orders = next_orders(&resources, &config, false, None, Instant::BOOT);
        assert_eq!(orders, [(0, Order::Stop { within: None })]);
        resources[0].on_report(Instant::BOOT, Report::Gone("it is gone".into()), false, &RESTART);
        assert_eq!((resources[0].state, &resources[0].failure, &resources[0].stray), (RunState::Stopped, &None, &None));
    }
    let mut failed = Resource::new(Instant::BOOT);
    failed.on_report(Instant::BOOT, Report::Failed("stood still".into()), true, &RESTART);
    failed.on_report(Instant::BOOT, stray(), true, &RESTART);
    failed.on_report(Instant::BOOT, Report::Gone("it is gone".into()), true, &RESTART);
    assert!(matches!(failed.state, RunState::Stuck(_)), "that nothing is here does not make it run");
}

#[test]
fn every_report_is_defined_in_every_state() {
    let reports = || {
        let word = || "x".to_owned();
        vec![
            Report::Started,
            Report::StartFailed(word()),
            Report::Stopped,
            Report::StopFailed(word()),
            Report::Failed(word()),
            Report::Well(word()),
            Report::Stray(word()),
            Report::Gone(word()),
            Report::Able,
            Report::Unable(word()),
            Report::Notice(word()),
        ]
    };
    let now = Instant::from_millis(7);
    let states = [
        RunState::Stopped,
        RunState::Starting,
        RunState::Started,
        RunState::Stopping,
        RunState::Backoff(now),
        RunState::Stuck(now),
        RunState::Stray,
    ];
    for state in states {
        for report in reports() {
            for wanted in [true, false] {
                let mut resource = Resource::new(Instant::BOOT);
                resource.state = state;
                resource.on_report(now, report.clone(), wanted, &RESTART);
                let started = resource.state == RunState::Started;
                // What is well again had been ordered to start, and nobody has ordered it to stop.
                let well = matches!((state, &report), (RunState::Stuck(_), Report::Well(_)));
                let was =
                    state == RunState::Started || (state == RunState::Starting && report == Report::Started) || well;
                assert!(!started || was, "{state:?} {report:?}: nothing runs that was not ordered");
            }
        }
    }
}
