use super::*;
use crate::config::value::parse_duration;

/// Timers derived from what is given as `name value` pairs, with many facts unknown.
fn derived(given: &[(&str, &str)], facts: Facts) -> Timers {
    let value = |text: &str| match text.parse() {
        Ok(count) => TimerValue::Count(count),
        Err(_) => TimerValue::Time(parse_duration(text).unwrap_or_else(|error| panic!("{text}: {error}"))),
    };
    let given: Vec<(&str, TimerValue)> = given.iter().map(|(name, text)| (*name, value(text))).collect();
    derive(|name| given.iter().find(|(given, _)| *given == name).map(|(_, value)| value), &facts)
}

/// All timers as `name value`, in one line each.
fn told(timers: &Timers) -> Vec<String> {
    let mut timers = timers.clone();
    RULES.iter().map(|rule| format!("{} {}", rule.name, rule.field.get(&mut timers))).collect()
}

fn assert_told(given: &[(&str, &str)], expected: &[&str]) {
    let told = told(&derived(given, Facts::default()));
    for line in expected {
        assert!(told.iter().any(|told| told == line), "{given:?}: {line} is not in {told:#?}");
    }
}

#[test]
fn one_second_gives_what_the_manual_says() {
    let expected = [
        "failover_budget 1s",
        "heartbeat_interval 100ms",
        "suspect_time 150ms",
        "dead_time 300ms",
        "probe_interval 10ms",
        "link_rise 3",
        "arbitrator_timeout 50ms",
        "arbitrator_pace 50ms",
        "arbitrator_interval 1s",
        "arbitrator_fall 3",
        "arbitrator_rise 2",
        "vip_probe_time 8ms",
        "stop_bound 200ms",
        "clock_rate_ppm 1000",
        // (300 + 3 x 50 + 200) x 1.001 + 100 = 750.65, rounded up.
        "hold_time 751ms",
        "guard_margin 17ms",
        "lease_time 300ms",
        "start_grace 1s",
        "guard_lifetime 2s",
        "guard_refresh 500ms",
        "announce_delay 1s",
        "announce_refresh 1m",
        "switchover_timeout 10s",
        "failback_settle 1m",
        "fence_delay 5s",
    ];
    assert_eq!(told(&derived(&[], Facts::default())), expected);
    assert_eq!(told(&derived(&[("failover_budget", "1s")], Facts::default())), expected);
}

#[test]
fn everything_follows_from_an_interval_set_by_hand() {
    let expected = [
        "failover_budget 1s",
        "suspect_time 15ms",
        "dead_time 30ms",
        "probe_interval 1ms",
        "arbitrator_timeout 20ms",
        "stop_bound 200ms",
        // (30 + 3 x 20 + 200) x 1.001 + 10 = 300.29, rounded up.
        "hold_time 301ms",
        "start_grace 1s",
    ];
    assert_told(&[("heartbeat_interval", "10ms")], &expected);
}

#[test]
fn a_slow_interval_set_by_hand_takes_the_budget_along() {
    let expected =
        ["failover_budget 10s", "dead_time 3s", "arbitrator_timeout 500ms", "stop_bound 2s", "start_grace 6s"];
    assert_told(&[("heartbeat_interval", "1s")], &expected);
}

#[test]
fn a_long_budget_is_bounded_where_length_makes_no_sense() {
    let expected = ["heartbeat_interval 1m", "arbitrator_timeout 500ms", "stop_bound 10s", "failback_settle 6m"];
    assert_told(&[("failover_budget", "10m")], &expected);
}

#[test]
fn a_timer_set_by_hand_is_taken_as_it_is_and_followed() {
    let expected = ["heartbeat_interval 100ms", "dead_time 400ms", "hold_time 851ms", "start_grace 1s"];
    assert_told(&[("dead_time", "400ms")], &expected);
    assert_told(&[("hold_time", "2s")], &["hold_time 2s", "dead_time 300ms"]);
    assert_told(&[("arbitrator_fall", "5")], &["arbitrator_fall 5", "hold_time 851ms"]);
    assert_told(&[("arbitrator_pace", "80ms")], &["arbitrator_timeout 50ms", "hold_time 841ms"]);
    assert_told(&[("guard_lifetime", "8s")], &["guard_refresh 2s"]);
}

#[test]
fn the_interval_is_never_finer_than_a_millisecond() {
    assert_told(&[("failover_budget", "1055ms")], &["heartbeat_interval 105ms"]);
}

#[test]
fn many_addresses_live_longer_so_that_refreshing_them_stays_cheap() {
    let lifetime = |vips| derived(&[], Facts { vips, ..Facts::default() }).guard_lifetime.as_secs();
    assert_eq!([0, 1, 400, 401, 4_000].map(lifetime), [2, 2, 2, 3, 20]);
}

#[test]
fn a_switchover_is_given_the_time_of_the_slowest_resource() {
    let timeout = |secs| {
        derived(&[], Facts { longest_step: Duration::from_secs(secs), ..Facts::default() }).switchover_timeout.as_secs()
    };
    assert_eq!([0, 9, 10, 30].map(timeout), [10, 10, 11, 31]);
}

#[test]
fn nobody_waits_before_fencing_where_a_majority_decides() {
    let delay = |leases| derived(&[], Facts { leases, ..Facts::default() }).fence_delay.as_secs();
    assert_eq!([false, true].map(delay), [5, 0]);
}

#[test]
fn both_clocks_may_be_wrong() {
    let hold = |ppm| derived(&[("clock_rate_ppm", ppm)], Facts::default()).hold_time.as_millis();
    // 650 ms are stretched, 100 ms are not.
    assert_eq!([hold("0"), hold("1000"), hold("100000")], [750, 751, 815]);
}

#[test]
fn each_rule_stands_after_those_it_follows_from_and_names_them() {
    for (index, rule) in RULES.iter().enumerate() {
        for from in rule.from {
            assert!(RULES[..index].iter().any(|before| before.name == *from), "{} follows from {from}", rule.name);
            assert!(rule.formula.contains(from), "the formula of {} hides {from}", rule.name);
        }
        let hidden = RULES.iter().find(|other| {
            let named = rule.formula.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == other.name);
            named && !rule.from.contains(&other.name) && rule.name != "failover_budget"
        });
        assert!(hidden.is_none_or(|other| other.name == rule.name), "{} says it follows from another", rule.name);
    }
}

#[test]
fn every_timer_can_be_set_by_hand_and_none_is_forgotten() {
    let written = crate::config::keys::TIMERS.keys.iter().map(|key| key.name);
    let mut written: Vec<&str> = written.chain(["failover_budget"]).collect();
    let mut ruled: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
    let json = serde_json::to_value(nothing()).unwrap_or_default();
    let mut fields: Vec<&str> = json.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    written.sort_unstable();
    ruled.sort_unstable();
    fields.sort_unstable();
    assert_eq!(written, ruled);
    assert_eq!(ruled, fields);
}

#[test]
fn each_rule_fills_its_own_field() {
    for rule in &RULES {
        let value = match rule.field {
            Field::Time(..) => TimerValue::Time(Duration::from_secs(12_345)),
            Field::Count(..) => TimerValue::Count(12_345),
        };
        let mut timers = nothing();
        rule.field.set(&mut timers, value);
        let json = serde_json::to_value(&timers).unwrap_or_default();
        let field = json.get(rule.name).map(ToString::to_string).unwrap_or_default();
        assert!(field.contains("12345"), "{} fills another field", rule.name);
    }
}

#[test]
fn what_follows_from_an_unknown_timer_is_unknown_too() {
    let affected = |bad: &[&str], given: &[&str]| affected(bad.iter().copied(), |name| given.contains(&name)).join(" ");
    assert_eq!(affected(&["guard_lifetime"], &[]), "guard_lifetime guard_refresh");
    assert_eq!(affected(&["dead_time"], &[]), "dead_time hold_time lease_time start_grace failback_settle");
    assert_eq!(affected(&["dead_time"], &["hold_time", "lease_time", "start_grace"]), "dead_time");
}
