//! What an operator is told while a node is being turned off, and what outlasts a restart of the one who did it.

use std::time::Duration;

use avamgr_core::cluster::{NodeId, Role};
use avamgr_core::sim::World;

use crate::alarms::{DRE, N1, N2, alarms, obstacles, play};
use crate::checked::Checked;
use crate::script::plan;

/// A pair with fence devices after these orders.
fn fenced(more: &str, orders: &[&str]) -> Checked {
    let mut world = Checked::new(plan(&format!("cluster fenced switched {more}")), None);
    play(&mut world, &["boot all", "settle"]);
    play(&mut world, orders);
    world
}

fn role(world: &World, node: NodeId) -> Option<Role> {
    world.role(node, DRE)
}

/// The one obstacle that is about being off.
fn about_off(world: &World, node: NodeId) -> String {
    obstacles(world, node).into_iter().find(|it| it.contains("off")).unwrap_or_default()
}

const FAILED: &str = "n1 could not be turned off, so nothing that it may own is taken over: ";

#[test]
fn why_says_how_far_a_fence_is() {
    let mut world = fenced("", &["fence-device n1 hangs", "power-off n1", "run 350ms"]);
    assert_eq!(about_off(&world, N2), "n1 is not heard and has to be turned off first");
    play(&mut world, &["run 5s"]);
    assert!(about_off(&world, N2).starts_with("n1 is being turned off, for "), "{}", about_off(&world, N2));
    play(&mut world, &["run 1m", "fence-device n1 fails", "run 1m"]);
    let failed = about_off(&world, N2);
    assert!(failed.starts_with("n1 could not be turned off: ") && failed.contains("; tried again in "), "{failed}");
    assert!(alarms(&world, N2).iter().any(|alarm| alarm.starts_with(FAILED)), "{:?}", alarms(&world, N2));
    assert_eq!(role(&world, N2), Some(Role::Standby));
    play(&mut world, &["fence n2 confirm n1", "run 2s"]);
    assert_eq!(role(&world, N2), Some(Role::Active));
    assert!(!alarms(&world, N2).iter().any(|alarm| alarm.starts_with(FAILED)), "{:?}", alarms(&world, N2));
}

#[test]
fn a_run_that_never_heard_its_peer_says_what_an_operator_can_do() {
    let mut world = Checked::new(plan("cluster fenced vips=0"), None);
    play(&mut world, &["boot n2", "run 1m"]);
    let why = about_off(&world, N2);
    assert!(why.starts_with("n1 was never heard by this daemon") && why.contains("`avamgr fence confirm n1`"), "{why}");
    assert_eq!(role(&world, N2), Some(Role::Standby));
    play(&mut world, &["fence n2 confirm n1", "run 2s"]);
    assert_eq!(role(&world, N2), Some(Role::Active));
}

#[test]
fn a_run_that_never_heard_its_peer_turns_it_off_when_nobody_answers_for_the_address() {
    let mut world = Checked::new(plan("cluster fenced"), None);
    play(&mut world, &["boot n2", "run 1m"]);
    assert_eq!(role(&world, N2), Some(Role::Active));
    assert_eq!(alarms(&world, N2), ["n1 is off: its device says so; it stays out until `avamgr fence clear n1`"]);
}

#[test]
fn a_device_that_lied_to_the_last_run_is_not_believed_by_the_next_one() {
    let cut = ["cut primary", "cut secondary", "fence-device n1 lies", "fence n2 now n1", "run 2s", "kill n2"];
    let mut world = fenced("lease witness", &cut);
    play(&mut world, &["start n2", "run 2s"]);
    let before = "n1 is off: fenced before this daemon was started; it stays out until `avamgr fence clear n1`";
    assert!(alarms(&world, N2).iter().any(|alarm| alarm == before), "{:?}", alarms(&world, N2));
    play(&mut world, &["heal", "run 1s"]);
    let lied = "n1 is heard although its fence device says that it is off: the device is not believed, check its wiring and its \
                options";
    assert_eq!(role(&world, N1), Some(Role::Active));
    let since = alarms(&world, N2);
    assert!(!since.iter().any(|alarm| alarm.starts_with("n1 is off")), "{since:?}");
    assert_eq!(since, [lied]);
}

#[test]
fn a_failed_fence_is_over_when_both_hear_each_other_and_not_before() {
    let mut world = fenced("", &["fence-device n1 fails", "isolate n1", "run 30s"]);
    let failed = |world: &World| alarms(world, N2).iter().any(|alarm| alarm.starts_with(FAILED));
    assert!(failed(&world), "{:?}", alarms(&world, N2));
    // It is heard and does not hear: that comes and goes with a bad cable.
    play(&mut world, &["mend primary n1->n2", "run 1s"]);
    let state = world.node(N2).expect("it runs").status(world.local(N2)).peers[0].state.clone();
    assert!(failed(&world) && state == "oneway", "{state}: {:?}", alarms(&world, N2));
    play(&mut world, &["heal", "run 1s"]);
    assert!(!failed(&world), "{:?}", alarms(&world, N2));
}

#[test]
fn an_upgrade_waits_until_what_it_knows_is_written() {
    for (delay, leaves_at_once) in [(0, true), (300, false)] {
        let mut world = Checked::new(plan("cluster"), None);
        play(&mut world, &["boot all", "settle"]);
        world.set_disk_delay(N2, Duration::from_millis(delay));
        play(&mut world, &["offline n2", "run 10ms", "upgrade n2 1900ms", "run 200ms"]);
        assert_eq!(!world.is_running(N2), leaves_at_once, "the disk takes {delay} ms");
        play(&mut world, &["run 200ms"]);
        assert!(!world.is_running(N2), "it is written by now");
    }
}
