use std::collections::BTreeMap;
use std::net::IpAddr;

use avamgr_core::cluster::{SafetyClass, Term};
use avamgr_core::control::{
    AlarmStatus, ArbitratorAddressStatus, ArbitratorStatus, BearerStatus, LinkStatus, PeerGroupStatus, PeerStatus,
};
use avamgr_core::courier::{self, Watched};
use avamgr_core::node::event::HoldKind;

use super::*;

const NOW: Instant = Instant::from_millis(10_000_000);

fn before(millis: u64) -> Instant {
    NOW - Duration::from_millis(millis)
}

fn link(name: &str, interface_up: bool) -> LinkStatus {
    LinkStatus {
        link: name.to_owned(),
        state: if interface_up { "up" } else { "down" }.to_owned(),
        since: before(if interface_up { 7_260_000 } else { 12_000 }),
        cause: (!interface_up).then(|| "our interface has no carrier".to_owned()),
        heard: Some(before(if interface_up { 43 } else { 12_310 })),
        peer_hears_us: interface_up,
        carrier: interface_up,
        bearers: Vec::new(),
        rtt_micros: Some(312),
        jitter_micros: Some(18),
        loss_percent: Some(0),
        sent: 72_600,
        received: 72_590,
        late: 3,
        refused: BTreeMap::new(),
    }
}

fn peer() -> PeerStatus {
    PeerStatus {
        node: "hadev2".to_owned(),
        state: "alive".to_owned(),
        heard: Some(before(43)),
        config_matches: Some(true),
        clock_offset_millis: Some(-3),
        groups: vec![PeerGroupStatus { group: "dre".to_owned(), role: Role::Standby, term: Term(7), able: true }],
        links: vec![link("primary", true), link("secondary", false)],
    }
}

fn resource(name: &str, kind: &str, what: &str) -> ResourceStatus {
    ResourceStatus {
        resource: name.to_owned(),
        kind: kind.to_owned(),
        state: "started".to_owned(),
        since: before(11_900),
        failure: None,
        failed: None,
        failures: 0,
        unable: None,
        held: false,
        what: what.to_owned(),
    }
}

fn active() -> Status {
    Status {
        now: before(120),
        node: "hadev1".to_owned(),
        cluster: "hadev".to_owned(),
        safety_class: SafetyClass::Ping,
        started: before(7_320_000),
        peers: vec![peer()],
        arbitrator: Some(ArbitratorStatus {
            state: "reachable".to_owned(),
            asked: Some(before(312)),
            addresses: vec![ArbitratorAddressStatus {
                address: IpAddr::from([172, 16, 6, 250]),
                answered: Some(before(312)),
                rtt_micros: Some(240),
            }],
        }),
        isolated: false,
        witness: None,
        groups: vec![GroupStatus {
            lease: None,
            group: "dre".to_owned(),
            role: Role::Active,
            term: Term(7),
            since: before(11_800),
            cause: "all its resources are up".to_owned(),
            active_node: Some("hadev1".to_owned()),
            obstacles: Vec::new(),
            able: true,
            position: 1,
            failovers: 0,
            switchover: None,
            resources: vec![
                resource("traffic", "vip", "172.16.9.61/24, 2001:db8:9::61/64 on eth1"),
                resource("dre", "exec", "freeDiameterd -c /etc/freeDiameter/dre.conf"),
            ],
        }],
        ready: vec![CheckStatus { check: "tomcat".to_owned(), ready: Some(true), reason: None, since: before(90_000) }],
        holds: Vec::new(),
        alarms: Vec::new(),
        driver: DriverStatus {
            version: "0.1.0".to_owned(),
            pid: 4711,
            scheduling: "SCHED_RR 10, memory locked".to_owned(),
            guard: "address lifetime, within 4 s".to_owned(),
            link_counters: BTreeMap::new(),
        },
        rules: None,
    }
}

/// Everything that can be wrong with a standby.
fn troubled() -> Status {
    let mut status = active();
    status.isolated = true;
    status.alarms = vec![AlarmStatus { since: before(12_000), text: "hadev2 is silent on every path".to_owned() }];
    status.holds = vec![HoldStatus {
        hold: HoldKind::Offline,
        group: None,
        since: before(3_000),
        until: Some(NOW + Duration::from_secs(27)),
    }];
    let group = &mut status.groups[0];
    group.role = Role::Fault;
    group.cause = "resource dre failed here for good: exit code 3".to_owned();
    (group.able, group.position) = (false, 0);
    group.active_node = Some("hadev2".to_owned());
    group.obstacles = vec!["resource dre has failed".to_owned(), "this node is held: offline".to_owned()];
    group.failovers = 1;
    group.switchover = Some("to hadev1, waiting for hadev2 to release".to_owned());
    let dre = &mut group.resources[1];
    (dre.state, dre.failure, dre.failures) = ("failed".to_owned(), Some("exit code 3".to_owned()), 2);
    dre.failed = Some(before(4_000));
    dre.unable = Some("/usr/bin/freeDiameterd is not executable".to_owned());
    group.resources[0].held = true;
    let peer = &mut status.peers[0];
    (peer.state, peer.heard, peer.config_matches) = ("silent".to_owned(), Some(before(12_310)), Some(false));
    peer.clock_offset_millis = Some(2_500);
    peer.links[0].refused = BTreeMap::from([("replay".to_owned(), 3), ("source".to_owned(), 1)]);
    let arbitrator = status.arbitrator.as_mut().unwrap();
    arbitrator.state = "unreachable".to_owned();
    (arbitrator.addresses[0].answered, arbitrator.addresses[0].rtt_micros) = (None, None);
    status.ready[0] = CheckStatus {
        check: "tomcat".to_owned(),
        ready: Some(false),
        reason: Some("connection refused".to_owned()),
        since: before(90_000),
    };
    status.driver.link_counters = [("received", 480), ("sent", 490), ("bad_digest", 9), ("bad_cluster", 0)]
        .map(|(counter, count)| (format!("primary {counter}"), count))
        .into();
    status
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn a_healthy_active_node_at_a_glance() {
    let expected = "\
hadev1 of cluster hadev, safety class ping, as of 120 ms ago

dre  ACTIVE, term 7, for 11 s
    because  all its resources are up
    traffic  vip   started  for 11 s  172.16.9.61/24, 2001:db8:9::61/64 on eth1
    dre      exec  started  for 11 s  freeDiameterd -c /etc/freeDiameter/dre.conf

peer hadev2  alive, heard 43 ms ago, clock -3 ms
    dre  STANDBY  term 7, could take over
    primary    up    for 2 h 1 min  heard 43 ms ago  rtt 0.312 ms  jitter 18 us  loss 0 %
    secondary  DOWN  for 12 s       heard 12 s ago   rtt -         jitter -      loss -    our interface has no carrier
arbitrator  reachable, asked 312 ms ago
    172.16.6.250  answered 312 ms ago  rtt 0.240 ms
ready check  tomcat  ok  for 1 min 30 s
daemon 0.1.0, pid 4711, up 2 h 2 min; heartbeats SCHED_RR 10, memory locked; guard address lifetime, within 4 s
";
    assert_eq!(plain(&status(&active(), NOW)), expected);
}

/// As TIPC tells of it; of one without figures it has told nothing but whether it works.
fn bearer(name: &str, up: bool, figures: Option<[u32; 2]>, counters: &[(&str, u64)]) -> BearerStatus {
    BearerStatus {
        bearer: name.to_owned(),
        up,
        since: before(if up { 7_260_000 } else { 3_400 }),
        tolerance_millis: figures.map(|[tolerance, _]| tolerance),
        priority: figures.map(|[_, priority]| priority),
        counters: counters.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
    }
}

#[test]
fn what_carries_a_link_stands_below_it() {
    let mut status = active();
    let counters = [("received", 71), ("sent", 70), ("retransmitted", 2), ("out_of_order", 1), ("congested", 0)];
    status.peers[0].links[0].bearers =
        vec![bearer("eth3", true, Some([1_500, 10]), &counters), bearer("heartbeat", false, None, &[])];
    let expected = "
    primary    up    for 2 h 1 min  heard 43 ms ago  rtt 0.312 ms  jitter 18 us  loss 0 %
      bearer eth3       up    for 2 h 1 min  tolerance 1.500 s  priority 10  1 out of order, 2 retransmitted
      bearer heartbeat  DOWN  for 3.400 s    tolerance -        priority -
    secondary  DOWN  for 12 s       heard 12 s ago   rtt -         jitter -      loss -    our interface has no carrier
";
    let text = super::status(&status, NOW);
    assert!(plain(&text).contains(expected), "{}", plain(&text));
    let [good, bad] = [Styled::good("up"), Styled::bad("DOWN")].map(|state| state.to_string());
    assert!(text.contains(&format!("bearer eth3       {good}")), "{text:?}");
    assert!(text.contains(&format!("bearer heartbeat  {bad}")), "{text:?}");
}

#[test]
fn a_standby_says_which_place_it_has_in_the_succession() {
    let mut standby = active();
    let group = &mut standby.groups[0];
    (group.role, group.position) = (Role::Standby, 3);
    let text = plain(&status(&standby, NOW));
    assert!(text.contains("\n    position   3 in the order of succession\n"), "{text}");
}

#[test]
fn what_is_wrong_stands_on_top_with_its_way_out() {
    let expected = "\
hadev1 of cluster hadev, safety class ping, as of 120 ms ago

ISOLATED  every link is silent and the arbitrator does not answer
ALARM     hadev2 is silent on every path (for 12 s)
HOLD      offline of this node, for 3 s, for another 27 s

dre  FAULT, term 7, for 11 s
    because     resource dre failed here for good: exit code 3
    active on   UNKNOWN (hadev2 when it was last heard)
    in the way  resource dre has failed
                this node is held: offline
    under way   to hadev1, waiting for hadev2 to release
    lately      1 automatic takeover
    traffic  vip   started  for 11 s  172.16.9.61/24, 2001:db8:9::61/64 on eth1
      stopped by an operator: `avamgr resource start traffic` starts it
    dre      exec  FAILED   for 11 s  freeDiameterd -c /etc/freeDiameter/dre.conf
      last failure 4 s ago: exit code 3 (2 failures in its window)
      could not be started here: /usr/bin/freeDiameterd is not executable

peer hadev2  SILENT, heard 12 s ago, its config differs from ours, clock +2500 ms
    dre  UNKNOWN (was STANDBY)  term 7 when it was last heard
    primary    up    for 2 h 1 min  heard 43 ms ago  rtt 0.312 ms  jitter 18 us  loss 0 %  frames refused: 3 replay, 1 source
    secondary  DOWN  for 12 s       heard 12 s ago   rtt -         jitter -      loss -    our interface has no carrier
arbitrator  UNREACHABLE, asked 312 ms ago
    172.16.6.250  answered never  rtt -
ready check  tomcat  FAILED  for 1 min 30 s  connection refused
daemon 0.1.0, pid 4711, up 2 h 2 min; heartbeats SCHED_RR 10, memory locked; guard address lifetime, within 4 s
datagrams: primary 480 in 490 out
datagrams refused or lost: primary bad_digest 9
";
    assert_eq!(plain(&status(&troubled(), NOW)), expected);
}

#[test]
fn a_stale_snapshot_makes_every_role_unknown() {
    let later = NOW + Duration::from_secs(6);
    let text = plain(&status(&active(), later));
    assert!(text.contains("STALE: the decision loop of this daemon has not run for 6.120 s"), "{text}");
    assert!(text.contains("dre  UNKNOWN (was ACTIVE), term 7"), "{text}");
    assert!(text.contains("dre  UNKNOWN (was STANDBY)"), "{text}");
    assert_eq!(plain(&short(&active(), later)), "hadev1: dre UNKNOWN (was ACTIVE) (term 7)\n");
}

#[test]
fn one_line_is_enough_for_a_prompt() {
    assert_eq!(plain(&short(&active(), NOW)), "hadev1: dre ACTIVE (term 7)\n");
    assert_eq!(plain(&short(&troubled(), NOW)), "hadev1: dre FAULT (term 7), offline, ISOLATED, 1 alarm\n");
}

#[test]
fn thousands_of_addresses_do_not_flood_the_screen() {
    let mut many = active();
    let all: Vec<String> = (0..4000).map(|n| format!("172.16.{}.{}/24", n / 250, n % 250)).collect();
    many.groups[0].resources[0].what = all.join(", ");
    let text = plain(&status(&many, NOW));
    assert!(text.contains(", ... (4000 in all)"), "{text}");
    assert!(text.lines().all(|line| line.len() < 150));
}

#[test]
fn a_script_never_takes_a_stale_status_for_the_truth() {
    let snapshot = active();
    let json = |now| serde_json::to_value(StatusDocument::of(&snapshot, now)).unwrap();
    let fresh = json(NOW);
    assert_eq!((&fresh["state"], &fresh["age_millis"]), (&"known".into(), &120.into()));
    assert_eq!(fresh["status"]["groups"][0]["role"], "active");
    assert_eq!(serde_json::from_value::<Status>(fresh["status"].clone()).unwrap(), snapshot);
    let stale = json(NOW + Duration::from_secs(6));
    assert_eq!((&stale["state"], &stale["status"]), (&"stale".into(), &serde_json::Value::Null));
    assert_eq!(stale["last_known"]["groups"][0]["role"], "active");
    let unknown = serde_json::to_string(&StatusDocument::unknown("avamgrd is not running".to_owned())).unwrap();
    assert!(!unknown.contains("active"), "{unknown}");
}

#[test]
fn colours_mean_something() {
    let (good, bad) = (Styled::role(Role::Active, false).to_string(), Styled::role(Role::Fault, false).to_string());
    assert!(good.contains("\u{1b}[1m\u{1b}[32mACTIVE") && bad.contains("\u{1b}[1m\u{1b}[31mFAULT"), "{good:?} {bad:?}");
}

/// The courier of a pair, as of so long ago.
fn courier(millis: u64) -> Watched {
    let status = courier::Status {
        now: before(millis),
        node: "hadev1".to_owned(),
        version: "0.1.0".to_owned(),
        started: before(60_000),
        active: Some("hadev1".to_owned()),
        one_way: false,
        directories: vec![courier::DirectoryStatus {
            name: "re".to_owned(),
            path: "/etc/re".to_owned(),
            paths: 12,
            trouble: None,
            held: None,
            strays: 0,
        }],
        peers: Vec::new(),
        unsettled: 0,
        conflicts: 0,
        trash: 0,
        troubles: Vec::new(),
        troubles_omitted: 0,
        notices: Vec::new(),
    };
    Watched {
        pid: Some(4712),
        since: before(60_000),
        trouble: None,
        answered: Some(before(millis)),
        status: Some(Box::new(status)),
    }
}

/// The line about the rules.
fn rules_line(watched: Watched) -> String {
    let status = Status { rules: Some(watched), ..active() };
    let text = plain(&super::status(&status, NOW));
    text.lines().find(|line| line.starts_with("rules: ")).unwrap().to_owned()
}

#[test]
fn one_line_says_how_the_rules_stand_and_how_old_that_is() {
    assert!(!plain(&status(&active(), NOW)).contains("rules"), "where there are none, there is no line");
    assert_eq!(rules_line(courier(400)), "rules: in sync (12 paths in 1 directory), 400 ms ago");
    let mut behind = courier(400);
    behind.status.as_mut().unwrap().unsettled = 3;
    assert_eq!(rules_line(behind), "rules: NOT IN SYNC (3 paths changing), 400 ms ago");
    let silent = Watched { trouble: Some("no answer".to_owned()), ..courier(9_000) };
    assert_eq!(rules_line(silent), "rules: UNKNOWN: no answer; last seen in sync (12 paths in 1 directory), 9 s ago");
    let new = Watched { answered: None, status: None, ..courier(0) };
    assert_eq!(rules_line(new.clone()), "rules: UNKNOWN: rules-sync has not answered yet");
    let dead = Watched { pid: None, trouble: Some("was killed".to_owned()), since: before(12_000), ..new };
    assert_eq!(rules_line(dead), "rules: rules-sync is not running for 12 s: was killed");
    let dead = Watched { pid: None, trouble: Some("was killed".to_owned()), ..courier(400) };
    assert!(rules_line(dead).starts_with("rules: rules-sync is not running"), "however fresh its last word is");
}

#[test]
fn a_status_of_a_daemon_that_knows_no_rules_is_understood() {
    let mut value = serde_json::to_value(active()).unwrap();
    assert!(value.as_object_mut().unwrap().remove("rules").is_some());
    assert_eq!(serde_json::from_value::<Status>(value).unwrap(), active());
    let status = Status { rules: Some(courier(400)), ..active() };
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
}
