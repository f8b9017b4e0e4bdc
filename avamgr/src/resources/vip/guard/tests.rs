use avamgr_core::config::IpNet;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn timers(lifetime: Duration, refresh: Duration) -> Timers {
    Timers {
        failover_budget: SECOND,
        heartbeat_interval: SECOND,
        suspect_time: SECOND,
        dead_time: SECOND,
        probe_interval: SECOND,
        link_rise: 1,
        arbitrator_timeout: SECOND,
        arbitrator_pace: SECOND,
        arbitrator_interval: SECOND,
        arbitrator_fall: 1,
        arbitrator_rise: 1,
        vip_probe_time: SECOND,
        stop_bound: SECOND,
        lease_time: Duration::ZERO,
        guard_margin: Duration::ZERO,
        fence_delay: Duration::ZERO,
        hold_time: SECOND,
        start_grace: SECOND,
        guard_lifetime: lifetime,
        guard_refresh: refresh,
        announce_delay: SECOND,
        announce_refresh: SECOND,
        switchover_timeout: SECOND,
        failback_settle: SECOND,
        clock_rate_ppm: 0,
    }
}

fn usual() -> Timers {
    timers(SECOND * 2, SECOND / 2)
}

fn config(v4: u8, v6: u16, ranges: bool) -> VipConfig {
    let v4 = (0..v4).map(|i| IpNet { address: [10, 0, 0, i].into(), prefix: 24 });
    let v6 = (0..v6).map(|i| IpNet { address: [0xfd00, 0, 0, 0, 0, 0, 0, i].into(), prefix: 64 });
    let range = ranges.then_some(IpNet { address: [10, 1, 0, 0].into(), prefix: 20 });
    VipConfig {
        interfaces: vec![],
        addresses: v4.chain(v6).collect(),
        ranges: range.into_iter().collect(),
        label: None,
    }
}

#[test]
fn few_ipv6_addresses_are_guarded_like_ipv4_ones() {
    for count in [1, 50, 141] {
        assert_eq!(Rhythm::v6(count, &usual()), Rhythm::v4(&usual()), "{count}");
    }
}

#[test]
fn many_ipv6_addresses_live_longer() {
    let rhythm = |count| {
        let Rhythm { lifetime, refresh } = Rhythm::v6(count, &usual());
        (lifetime.as_secs(), refresh.as_millis())
    };
    assert_eq!(rhythm(200), (3, 1_000));
    assert_eq!(rhythm(500), (19, 6_250));
    assert_eq!(rhythm(1_000), (75, 25_000));
    assert_eq!(rhythm(4_000), (1_200, 400_000));
}

#[test]
fn the_text_names_the_real_bound() {
    let text = |v4, v6, ranges| guard_description(&config(v4, v6, ranges), &usual());
    let short = "gone within 3 s of the last refresh (kernel lifetime 2 s, refreshed every 500 ms)";
    let long = "gone within 20 s of the last refresh (kernel lifetime 19 s, refreshed every 6.25 s)";
    assert_eq!(text(1, 0, false), short);
    assert_eq!(text(1, 1, true), format!("{short}; none for ranges"));
    assert_eq!(text(1, 500, false), format!("IPv4: {short}; IPv6: {long}"));
    assert_eq!(text(0, 500, false), long);
    assert_eq!(text(0, 0, true), "none for ranges");
}

proptest! {
    #[test]
    fn a_lifetime_is_whole_seconds_and_outlives_two_lost_refreshes(count in 0usize..20_000, seconds in 2u64..60) {
        let timers = timers(SECOND * u32::try_from(seconds).unwrap(), SECOND * u32::try_from(seconds).unwrap() / 4);
        let rhythm = Rhythm::v6(count, &timers);
        prop_assert!(rhythm.lifetime >= timers.guard_lifetime && rhythm.refresh >= timers.guard_refresh);
        prop_assert_eq!(rhythm.lifetime.subsec_nanos(), 0);
        prop_assert!(rhythm.refresh * 3 <= rhythm.lifetime);
    }

    #[test]
    fn refreshing_ipv6_addresses_takes_a_fiftieth_of_a_processor(count in 1usize..20_000) {
        let rhythm = Rhythm::v6(count, &usual());
        let cost = Duration::from_nanos(u64::try_from(count * count).unwrap() * V6_NANOS_PER_SQUARE);
        prop_assert!(cost <= rhythm.refresh / 50 || rhythm == Rhythm::v4(&usual()));
    }
}
