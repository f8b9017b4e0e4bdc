//! One question, one answer.

use std::collections::BTreeMap;
use std::time::Duration;

use avamgr_core::cluster::Role;
use avamgr_core::control::{
    AlarmStatus, ArbitratorAddressStatus, ArbitratorStatus, BearerStatus, LeaseStatus, LinkStatus, Status,
    WitnessStatus,
};

use serde_json::Value;

use crate::house::House;

#[test]
fn the_status_is_the_daemons_with_its_age() {
    let house = House::start();
    let answer = house.get("/api/v1/status");
    let document = answer.json();
    assert_eq!((answer.status, &document["state"]), (200, &"known".into()), "{answer:?}");
    let status: Status = serde_json::from_value(document["status"].clone()).unwrap();
    assert_eq!((status.node.as_str(), status.groups[0].role), ("hadev1", Role::Active));
    assert!(document["age_millis"].as_u64().unwrap() < 10_000);
    house.tell(|status| status.groups[0].role = Role::Fault);
    house.wait("the change", || house.get("/api/v1/status").json()["status"]["groups"][0]["role"] == "fault");
}

#[test]
fn nobody_is_told_old_news_as_the_truth() {
    let mut house = House::start();
    house.tell(|status| status.now = avamgr::clock::now() - Duration::from_secs(60));
    house.wait("a stale status", || house.get("/api/v1/status").json()["state"] == "stale");
    let document = house.get("/api/v1/status").json();
    assert!(document["status"].is_null() && document["last_known"]["node"] == "hadev1", "{document}");
    assert_eq!((house.get("/readyz").status, house.get("/active/dre").status), (503, 503));
    house.lose_daemon();
    house.wait("an unknown status", || house.get("/api/v1/status").body.contains("avamgrd is not running"));
    let document = house.get("/api/v1/status").json();
    assert!(document["state"] == "unknown" && document["last_known"].is_null(), "{document}");
    let problem = house.get("/active/dre");
    assert!(problem.status == 503 && problem.head.contains("application/problem+json"), "{problem:?}");
    assert_eq!(house.get("/healthz").status, 200, "it is the daemon that is not well");
    house.bring_daemon();
    house.tell(|_| ());
    house.wait("the daemon to be known again", || house.get("/active/dre").status == 200);
}

#[test]
fn a_load_balancer_finds_the_active_node_of_each_group_only() {
    let house = House::start();
    assert_eq!(house.get("/active/dre").status, 200);
    assert_eq!(house.get("/active/other").status, 404);
    for role in Role::ALL {
        house.tell(|status| status.groups[0].role = role);
        let wanted = if role == Role::Active { 200 } else { 503 };
        let is_told = || house.get("/active/dre").body.contains(&format!("hadev1 is {role} in dre"));
        house.wait("the role to be told", is_told);
        assert_eq!(house.get("/active/dre").status, wanted, "{role}");
    }
}

#[test]
fn a_load_balancer_is_not_told_of_a_right_that_may_be_over() {
    let house = House::start();
    let lease = |left: i64| {
        move |status: &mut Status| {
            let until = status.now + Duration::from_secs(60) - Duration::from_secs(60_u64.saturating_add_signed(-left));
            status.groups[0].lease = Some(LeaseStatus { held_until: Some(until), majority: 2, votes: Vec::new() });
        }
    };
    house.tell(lease(30));
    house.wait("a lease", || house.get("/api/v1/status").body.contains("held_until"));
    assert_eq!(house.get("/active/dre").status, 200);
    house.tell(lease(-1));
    house.wait("the end of it", || house.get("/active/dre").body.contains("its lease is over"));
    assert_eq!(house.get("/active/dre").status, 503);
    house.tell(|status| status.now = avamgr::clock::now() - Duration::from_secs(3));
    house.wait("doubt", || house.get("/active/dre").body.contains("some time ago"));
    assert_eq!((house.get("/active/dre").status, house.get("/active/%ff").status), (503, 400));
    assert_eq!(house.get("/readyz").status, 200, "it is not that long ago");
}

#[test]
fn a_history_that_cannot_be_had_is_not_told_as_an_empty_one() {
    let mut house = House::without_daemon();
    house.wait("the reason", || house.get("/api/v1/history").body.contains("avamgrd is not running"));
    assert_eq!(house.get("/api/v1/history").status, 503);
    house.bring_daemon();
    house.record("one");
    house.wait("an entry", || house.get("/api/v1/history").status == 200);
    assert!(house.get("/api/v1/history").json()["trouble"].is_null());
    house.lose_daemon();
    house.wait("the trouble", || !house.get("/api/v1/history").json()["trouble"].is_null());
    assert_eq!(house.get("/api/v1/history").json()["entries"][0]["text"], "one", "what is known is told");
}

#[test]
fn the_history_is_told_up_to_what_was_asked() {
    let mut house = House::start();
    for number in 0..5 {
        house.record(&format!("event {number}"));
    }
    let texts = |house: &House, path: &str| -> Vec<String> {
        let document = house.get(path).json();
        // Before the daemon was asked for it there is none.
        let entries = document["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
        entries.iter().map(|entry| entry["text"].as_str().unwrap().to_owned()).collect()
    };
    house.wait("all five", || texts(&house, "/api/v1/history").len() == 5);
    assert_eq!(texts(&house, "/api/v1/history?last=2"), ["event 3", "event 4"]);
    // Neither doubled nor lost while the daemon was away.
    house.lose_daemon();
    house.record("event 5");
    house.bring_daemon();
    house.wait("the sixth", || texts(&house, "/api/v1/history").len() == 6);
    assert_eq!(texts(&house, "/api/v1/history?last=1"), ["event 5"]);
    let bad = house.get("/api/v1/history?last=many");
    assert!(bad.status == 400 && bad.json()["detail"].as_str().unwrap().contains("last"), "{bad:?}");
    assert_eq!(house.get("/api/v1/history?first=1").status, 400, "what is not understood is not passed over");
}

#[test]
fn the_whole_history_is_searched_exported_and_explained() {
    let house = House::start();
    for number in 1..=1500 {
        house.record(&format!("event {number}"));
        if number % 500 == 0 {
            house.flush();
        }
    }
    house.record_silence();
    let numbers = |path: &str| -> Vec<u64> {
        let document = house.get(path).json();
        let entries = document["entries"].as_array().unwrap_or_else(|| panic!("{path}: {document}"));
        entries.iter().map(|entry| entry["number"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers("/api/v1/history?last=2&before=100"), [98, 99]);
    assert_eq!(numbers("/api/v1/history?text=Event%207&last=2"), [798, 799]);
    assert_eq!(numbers("/api/v1/history?severity=warning&text=&group="), [1501, 1502]);
    assert_eq!(numbers("/api/v1/history?since=2026-03-01T03:12:46Z"), [0; 0]);
    for (wrong, why) in
        [("severity=bad", "info, warning or alarm"), ("since=x", "as in 2h"), ("group=x", "no group `x`")]
    {
        let answer = house.get(&format!("/api/v1/history?{wrong}"));
        assert!(answer.status == 400 && answer.body.contains(why), "{answer:?}");
    }
    let export = house.get("/api/v1/history/export");
    assert!(export.head.contains("application/x-ndjson"), "{}", export.head);
    let lines = export.body.lines().filter(|line| line.starts_with('{'));
    let told: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((told.len(), &told[0]["number"], &told[1501]["number"]), (1502, &1.into(), &1502.into()));
    assert_eq!(house.get("/api/v1/history/export?text=event%20799").body.matches("event 799").count(), 1);
    let why = house.get("/api/v1/history/1502/why").json();
    assert_eq!((&why["chain"][0]["entry"]["number"], &why["chain"][0]["led_to"]), (&1501.into(), &1502.into()));
    assert_eq!((house.get("/api/v1/history/9999/why").status, house.get("/api/v1/history/x/why").status), (404, 400));
}

#[test]
fn the_figures_are_what_prometheus_takes() {
    let mut house = House::start();
    house.tell(|status| {
        status.alarms.push(AlarmStatus { since: status.now, text: "bad".to_owned() });
        status.peers[0].links.push(link(status.now));
    });
    house.wait("the alarm", || house.get("/metrics").body.contains("avamgr_alarms 1.0"));
    let answer = house.get("/metrics");
    assert!(answer.head.contains("application/openmetrics-text"), "{answer:?}");
    for line in [
        "avamgr_up 1.0",
        "avamgr_group_active{group=\"dre\"} 1.0",
        "avamgr_group_role{group=\"dre\",role=\"active\"} 1.0",
        "avamgr_group_role{group=\"dre\",role=\"fault\"} 0.0",
        "avamgr_link_up{peer=\"hadev2\",link=\"primary\"} 1.0",
        "avamgr_link_rtt_seconds{peer=\"hadev2\",link=\"primary\"} 0.00012",
        "avamgr_link_loss_ratio{peer=\"hadev2\",link=\"primary\"} 0.03",
        "avamgr_link_frames_refused_total{peer=\"hadev2\",link=\"primary\",cause=\"replayed\"} 4",
        "# TYPE avamgr_link_frames_sent counter",
        "avamgr_bearer_up{peer=\"hadev2\",link=\"primary\",bearer=\"eth3\"} 1.0",
        "avamgr_bearer_tolerance_seconds{peer=\"hadev2\",link=\"primary\",bearer=\"eth3\"} 1.5",
        "avamgr_bearer_priority{peer=\"hadev2\",link=\"primary\",bearer=\"eth3\"} 10.0",
        "avamgr_bearer_retransmitted_total{peer=\"hadev2\",link=\"primary\",bearer=\"eth3\"} 2",
        "avamgr_bearer_up{peer=\"hadev2\",link=\"primary\",bearer=\"eth4\"} 0.0",
        "# HELP avamgr_bearer_retransmitted Packets sent again, because the peer had missed them.",
        "# TYPE avamgr_bearer_retransmitted counter",
        "# TYPE avamgr_bearer_up gauge",
    ] {
        assert!(answer.body.lines().any(|it| it == line), "{line}\n{}", answer.body);
    }
    assert!(answer.body.ends_with("# EOF\n"));
    let unknown = [
        "avamgr_bearer_congested",
        "avamgr_bearer_tolerance_seconds{peer=\"hadev2\",link=\"primary\",bearer=\"eth4\"}",
    ];
    assert!(unknown.iter().all(|it| !answer.body.contains(it)), "what TIPC has not told has no figure");
    house.lose_daemon();
    house.wait("no more than that it is down", || house.get("/metrics").body.contains("avamgr_up 0.0"));
    assert!(!house.get("/metrics").body.contains("avamgr_group_active{"), "what is not known has no figure");
}

#[test]
fn alerts_and_dashboard_ask_for_figures_that_there_are() {
    let house = House::start();
    house.tell(|status| {
        let (now, address) = (status.now, "192.0.2.1".parse().unwrap());
        let asked = ArbitratorAddressStatus { address, answered: None, rtt_micros: None };
        status.arbitrator =
            Some(ArbitratorStatus { state: "reachable".to_owned(), asked: None, addresses: vec![asked] });
        let (voter, state, address) = ("witness".to_owned(), "reachable".to_owned(), "192.0.2.2:1".to_owned());
        status.witness = Some(WitnessStatus { voter, address, state, since: now, heard: None, rtt_micros: None });
        status.groups[0].lease = Some(LeaseStatus { held_until: None, majority: 2, votes: Vec::new() });
        status.peers[0].links.push(link(now));
    });
    house.wait("all of it", || house.get("/metrics").body.contains("avamgr_witness_reachable"));
    let told = house.get("/metrics").body;
    let etc = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc");
    for file in ["prometheus/avamgr.rules.yml", "grafana/avamgr.json"] {
        let text = std::fs::read_to_string(etc.join(file)).unwrap();
        let names: Vec<&str> = text
            .match_indices("avamgr_")
            .map(|(at, _)| text[at..].split(|it: char| !it.is_ascii_lowercase() && it != '_').next().unwrap())
            .collect();
        assert!(names.len() > 10, "{file}: {names:?}");
        for name in names {
            let begins = [format!("{name} "), format!("{name}{{")];
            assert!(told.lines().any(|line| begins.iter().any(|it| line.starts_with(it))), "{file}: {name}\n{told}");
        }
    }
}

#[test]
fn what_is_not_there_or_not_allowed_is_said_in_words() {
    let house = House::start();
    let missing = house.get("/api/v1/nothing");
    assert!(missing.status == 404 && missing.json()["detail"].as_str().unwrap().contains("/api/v1/nothing"));
    assert_eq!(house.get("/assets/..%2Fsrc%2Flib.rs").status, 404);
    let post =
        house.ask("POST /api/v1/status HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    assert!(post.status == 405 && post.json()["status"] == 405, "{post:?}");
}

#[test]
fn a_page_elsewhere_that_has_taken_our_address_reads_nothing() {
    let house = House::start();
    let called =
        |host: &str| house.ask(&format!("GET /api/v1/status HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
    for host in ["localhost", "127.0.0.1:8080", "[::1]:8080", "hadev1:8080"] {
        assert_eq!(called(host).status, 200, "{host}");
    }
    let other = called("evil.example");
    assert!(other.status == 421 && !other.body.contains("\"groups\""), "{other:?}");
}

#[test]
fn the_page_comes_whole_and_with_its_protection() {
    let house = House::start();
    let page = house.get("/");
    assert_eq!(page.status, 200);
    for file in ["style.css", "page.js", "icon.svg"] {
        assert!(page.body.contains(&format!("/assets/{file}")), "{file}");
    }
    let mut weight = page.body.len();
    for file in
        ["style.css", "page.js", "timeline.js", "view.js", "steer.js", "orders.js", "chart.js", "words.js", "icon.svg"]
    {
        let asset = house.get(&format!("/assets/{file}"));
        assert_eq!(asset.status, 200, "{file}");
        weight += asset.body.len();
    }
    assert!(weight < 150 * 1024, "{weight} bytes");
    for protection in
        ["content-security-policy: default-src 'none'", "x-content-type-options: nosniff", "cache-control: no-store"]
    {
        assert!(page.head.contains(protection), "{}", page.head);
    }
    assert!(
        !page.body.contains("<style") && !page.body.contains("style=") && !page.body.contains("onclick"),
        "the policy forbids it"
    );
}

/// One over TIPC, with a bearer that works and one of which nothing is known but that it does not.
pub(crate) fn link(now: avamgr_core::time::Instant) -> LinkStatus {
    let bearer = |bearer: &str, up, since| BearerStatus {
        bearer: bearer.to_owned(),
        up,
        since,
        tolerance_millis: None,
        priority: None,
        counters: BTreeMap::new(),
    };
    let known = BearerStatus {
        tolerance_millis: Some(1_500),
        priority: Some(10),
        counters: [("sent", 70), ("retransmitted", 2), ("out_of_order", 0)]
            .map(|(name, count)| (name.to_owned(), count))
            .into(),
        ..bearer("eth3", true, now)
    };
    LinkStatus {
        link: "primary".to_owned(),
        state: "up".to_owned(),
        since: now,
        cause: None,
        heard: Some(now),
        peer_hears_us: true,
        carrier: true,
        bearers: vec![known, bearer("eth4", false, now - Duration::from_secs(200))],
        rtt_micros: Some(120),
        jitter_micros: Some(7),
        loss_percent: Some(3),
        sent: 10,
        received: 9,
        late: 0,
        refused: [("replayed".to_owned(), 4)].into(),
    }
}
