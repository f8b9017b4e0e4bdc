//! Nodes that are turned off from outside, by a power switch that takes the power of the lab.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use avamgr_lab::{Answers, Plan, VIP, mark, story};

use crate::lease::APART;
use crate::pair::{GROUP, Outcome, PAIR, Pair, SLEEPER, SOON, V4_AND_V6, cluster, vip};

/// What the daemons call: it asks for the power of a node to be taken, and says what has become of it.
const AGENT: &str = r#"#!/bin/sh
while read -r line; do
    case $line in
    action=*) action=${line#action=} ;;
    plug=*) plug=${line#plug=} ;;
    esac
done
case $action in
off)
    [ ! -e /run/broken ] || { echo "the switch does not answer" >&2; exit 1; }
    touch "/run/$plug.wanted"
    while [ ! -e "/run/$plug.off" ]; do sleep 0.02; done
    ;;
status) [ ! -e "/run/$plug.off" ] || exit 2 ;;
esac
"#;

/// A power switch for each node, and the time the ACTIVE one has to shoot first.
fn fenced_pair(timers: &str) -> Result<Pair, Box<dyn std::error::Error>> {
    let devices: String = PAIR
        .iter()
        .map(|node| {
            format!(
                "[[fence]]\nnode = \"{node}\"\nagent = \"/etc/avamgr/switch\"\noptions = {{ plug = \"{node}\" }}\n\
                 timeout = \"5s\"\n"
            )
        })
        .collect();
    let config = format!("{}{devices}{GROUP}{SLEEPER}\n", cluster(PAIR, timers, &V4_AND_V6));
    Pair::start_with(Plan::pair(), &config, |pair, name| {
        let node = pair.node(name)?;
        node.write("/etc/avamgr/switch", AGENT)?;
        assert!(node.command("chmod").args(["755", "/etc/avamgr/switch"]).output()?.status.success());
        Ok(())
    })
}

/// Plays a story while the power switch does what it is asked to.
fn with_power_switch(pair: &Pair, body: impl FnOnce(&Pair) -> Outcome) -> Outcome {
    /// Also when the story fails.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let switch = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for (by, target) in [("hadev1", "hadev2"), ("hadev2", "hadev1")] {
                    let Ok(node) = pair.lab.host(by) else { continue };
                    let wanted = node.path(format!("/run/{target}.wanted"));
                    let done = node.path(format!("/run/{target}.off"));
                    if node.is_on() && wanted.exists() && !done.exists() {
                        // One that has no power already is off.
                        if pair.lab.host(target).is_ok_and(|host| host.is_on()) {
                            pair.lab.power_off(target).expect("a node can be turned off");
                        }
                        std::fs::write(done, "").expect("the node that asked is on");
                    }
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        let over = Over(&over);
        let told = body(pair);
        drop(over);
        switch.join().expect("the switch works");
        told
    })
}

fn cut_all(pair: &Pair) -> Outcome {
    let node = pair.node("hadev1")?;
    node.write("/run/story.nft", APART)?;
    let output = node.command("nft").args(["-f", "/run/story.nft"]).output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    pair.lab.pull_all(&["hb1", "hb2"])?;
    Ok(())
}

#[test]
fn a_silent_node_is_off_for_certain_before_it_is_followed() {
    story(|| {
        let pair = fenced_pair("fence_delay = \"500ms\"")?;
        with_power_switch(&pair, |pair| {
            let off = mark();
            pair.lab.power_off("hadev1")?;
            pair.wait_event("hadev2", "hadev1 is off: switch plug=hadev1 turned it off, its status confirms it")?;
            pair.wait_role("hadev2", "active")?;
            pair.probe.wait_for_answer(vip(), "hadev2", SOON)?;
            println!("outage with fencing: {:?}", pair.outage(off));
            assert!(pair.outage(off) >= Duration::from_millis(500), "it waits for its turn: {:?}", pair.outage(off));
            pair.wait_alarm("hadev2", "stays out until `avamgr fence clear hadev1`", true)
        })?;
        pair.never_two_owners()
    });
}

#[test]
fn parted_nodes_that_both_see_the_arbitrator_leave_one_that_serves() {
    story(|| {
        // Longer than the switch takes: the ACTIVE node is first.
        let pair = fenced_pair("fence_delay = \"2s\"")?;
        let answers = Answers::start(&pair.node("client")?, VIP.parse()?, pair.lab.nodes())?;
        with_power_switch(&pair, |pair| {
            let cut = mark();
            cut_all(pair)?;
            pair.wait_event("hadev1", "hadev2 is off")?;
            thread::sleep(Duration::from_secs(3));
            assert!(!pair.node("hadev2")?.is_on(), "the other one is off");
            assert_eq!(pair.role("hadev1"), "active");
            assert!(pair.outage(cut) < Duration::from_millis(200), "{:?}", pair.outage(cut));
            Ok(())
        })?;
        let seen = answers.settled();
        assert!(seen.both.is_empty(), "{:?}", seen.both);
        pair.never_two_owners()
    });
}

#[test]
fn without_a_confirmation_nothing_is_taken_over_until_an_operator_vouches() {
    story(|| {
        let pair = fenced_pair("fence_delay = \"100ms\"")?;
        pair.node("hadev2")?.write("/run/broken", "")?;
        let early = pair.avamgr("hadev2", &["fence", "confirm", "hadev1"])?;
        assert_eq!(early.status.code(), Some(3), "it is heard: {}", String::from_utf8_lossy(&early.stderr));
        pair.lab.power_off("hadev1")?;
        pair.wait_alarm("hadev2", "the switch does not answer", true)?;
        thread::sleep(Duration::from_secs(2));
        assert_eq!(pair.role("hadev2"), "standby");
        let why = String::from_utf8(pair.avamgr("hadev2", &["why"])?.stdout)?;
        assert!(why.contains("hadev1 could not be turned off"), "{why}");
        let done = pair.avamgr("hadev2", &["fence", "confirm", "hadev1"])?;
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        pair.wait_role("hadev2", "active")?;
        pair.wait_event("hadev2", "vouches for it")?;
        pair.never_two_owners()
    });
}
