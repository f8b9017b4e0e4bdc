use super::*;
use crate::config::parse;

const PAIR: &str = include_str!("../tests/pair.toml");

fn config(more: &str) -> Config {
    parse(&format!("{PAIR}\n{more}"), "avamgr.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

fn told(config: &Config) -> Vec<String> {
    let word = |rule: &Inequality| match (rule.holds, rule.required) {
        (true, _) => "holds",
        (false, true) => "broken",
        (false, false) => "advice",
    };
    inequalities(config).iter().map(|rule| format!("{} {}: {rule}", word(rule), rule.name)).collect()
}

#[test]
fn every_inequality_is_told_with_both_sides() {
    let hold = "(dead_time + arbitrator_fall x max(arbitrator_timeout, arbitrator_pace) + stop_bound) x (1 + clock_rate_ppm \
                / 1000000) + heartbeat_interval = 751ms <= hold_time = 751ms";
    let expected = [
        "holds late frame: heartbeat_interval = 100ms < suspect_time = 150ms",
        "holds suspect first: suspect_time = 150ms < dead_time = 300ms",
        "holds a lost frame: 2 x heartbeat_interval = 200ms <= dead_time = 300ms",
        "holds probe pace: 2 x probe_interval = 20ms <= heartbeat_interval = 100ms",
        "holds time to probe: suspect_time + 2 x probe_interval = 170ms <= dead_time = 300ms",
        "holds start grace: 2 x dead_time = 600ms <= start_grace = 1s",
        "holds arbitrator timeout: arbitrator_timeout = 50ms <= arbitrator_interval = 1s",
        &format!("holds hold time: {hold}"),
        "holds failover budget: hold_time + vip_probe_time = 759ms <= failover_budget = 1s",
        "holds switchover timeout: start_timeout of dre/svc = 30s < switchover_timeout = 31s",
        "holds guard refresh: 3 x guard_refresh = 1.5s <= guard_lifetime = 2s",
        "advice guard within hold: guard_lifetime + 1s = 3s <= hold_time = 751ms",
        "holds restart pause of dre/ip: backoff = 100ms <= backoff_max = 5s",
        "holds restart window of dre/ip: the pauses before 3 restarts = 700ms < window = 1m",
        "holds restart pause of dre/svc: backoff = 100ms <= backoff_max = 5s",
        "holds restart window of dre/svc: the pauses before 3 restarts = 700ms < window = 1m",
        "advice stop of dre/svc when isolated: stop_timeout = 10s <= stop_bound = 200ms",
    ];
    assert_eq!(told(&config("")), expected);
}

#[test]
fn the_guard_fits_into_a_long_hold_time() {
    let told = told(&config("[timers]\nheartbeat_interval = \"500ms\""));
    assert!(
        told.contains(&"holds guard within hold: guard_lifetime + 1s = 3s <= hold_time = 3.754s".to_owned()),
        "{told:#?}"
    );
}

#[test]
fn a_node_alone_has_no_peer_to_time() {
    let names: Vec<String> = inequalities(&config("").alone()).into_iter().map(|rule| rule.name).collect();
    let expected = [
        "guard refresh",
        "restart pause of dre/ip",
        "restart window of dre/ip",
        "restart pause of dre/svc",
        "restart window of dre/svc",
    ];
    assert_eq!(names, expected);
}

#[test]
fn going_back_by_itself_is_a_rule_only_where_it_is_asked_for() {
    let auto = "[[group]]\nname = \"two\"\nfailback = \"auto\"\n[[group.resource]]\nname = \"svc\"\nexec = \"dred\"";
    assert!(told(&config(auto)).contains(&"holds failback: start_grace = 1s <= failback_settle = 1m".to_owned()));
    assert!(!told(&config("")).iter().any(|line| line.contains("failback")));
}

#[test]
fn pauses_double_up_to_the_longest() {
    let restart = |max: u32, backoff, backoff_max| {
        let text = format!(
            "[[group]]\nname = \"two\"\n[[group.resource]]\nname = \"svc\"\nexec = \"dred\"\nrestart = {{ max = {max}, \
             window = \"1h\", backoff = \"{backoff}\", backoff_max = \"{backoff_max}\" }}"
        );
        format_duration(pauses(&config(&text).groups[1].resources[0]))
    };
    assert_eq!(restart(0, "1s", "4s"), "0s");
    assert_eq!(restart(1, "1s", "4s"), "1s");
    assert_eq!(restart(5, "1s", "4s"), "15s");
    assert_eq!(restart(1_000, "0s", "4s"), "0s");
}

#[test]
fn derived_timers_hold_together_from_the_smallest_budget_to_the_largest() {
    for millis in (175..3_000).chain([5_000, 60_000, 600_000]) {
        let text = PAIR.replace("name = \"pair\"", &format!("name = \"pair\"\nfailover_budget = \"{millis}ms\""));
        assert_eq!(parse(&text, "avamgr.toml").map(|_| ()).map_err(|errors| errors.to_string()), Ok(()), "{millis} ms");
    }
}

#[test]
fn derived_timers_hold_together_at_any_interval() {
    for millis in (2..120).chain([250, 500, 1_000, 10_000, 60_000]) {
        config(&format!("[timers]\nheartbeat_interval = \"{millis}ms\""));
    }
}
