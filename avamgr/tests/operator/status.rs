//! A small, healthy status for tests.

use std::collections::BTreeMap;
use std::time::Duration;

use avamgr::clock;
use avamgr_core::cluster::{Role, SafetyClass, Term};
use avamgr_core::control::{
    DriverStatus, GroupStatus, HistoryEntry, PeerGroupStatus, PeerStatus, ResourceStatus, Status,
};
use avamgr_core::node::event::{Event, Fact, Severity};

/// hadev1, ACTIVE for `dre`, as of this moment.
pub(crate) fn active() -> Status {
    let now = clock::now();
    let ago = |seconds| now - Duration::from_secs(seconds);
    Status {
        now,
        node: "hadev1".to_owned(),
        cluster: "hadev".to_owned(),
        safety_class: SafetyClass::Ping,
        started: ago(60),
        peers: vec![PeerStatus {
            node: "hadev2".to_owned(),
            state: "alive".to_owned(),
            heard: Some(now),
            config_matches: Some(true),
            clock_offset_millis: Some(1),
            groups: vec![PeerGroupStatus { group: "dre".to_owned(), role: Role::Standby, term: Term(7), able: true }],
            links: Vec::new(),
        }],
        arbitrator: None,
        isolated: false,
        witness: None,
        groups: vec![GroupStatus {
            lease: None,
            group: "dre".to_owned(),
            role: Role::Active,
            term: Term(7),
            since: ago(12),
            cause: "hadev2 released it to this node".to_owned(),
            active_node: Some("hadev1".to_owned()),
            obstacles: Vec::new(),
            able: true,
            position: 1,
            failovers: 0,
            switchover: None,
            resources: vec![ResourceStatus {
                resource: "traffic".to_owned(),
                kind: "vip".to_owned(),
                state: "started".to_owned(),
                since: ago(12),
                failure: None,
                failed: None,
                failures: 0,
                unable: None,
                held: false,
                what: "172.16.9.61/24 on eth1".to_owned(),
            }],
        }],
        ready: Vec::new(),
        holds: Vec::new(),
        alarms: Vec::new(),
        driver: DriverStatus {
            version: "0.1.0".to_owned(),
            pid: 4711,
            scheduling: "normal".to_owned(),
            guard: "address lifetime, within 4 s".to_owned(),
            link_counters: BTreeMap::new(),
        },
        rules: None,
    }
}

/// An entry of the history with this text.
pub(crate) fn entry(fact: Fact, severity: Severity, text: &str) -> HistoryEntry {
    HistoryEntry {
        number: 0,
        time: "2026-03-01T03:12:45.123Z".to_owned(),
        node: "hadev1".to_owned(),
        event: Event { at: clock::now(), fact },
        severity,
        text: text.to_owned(),
    }
}
