//! Cables, power and processes: who is ACTIVE, and what the client sees.

use std::time::Duration;

use avamgr_lab::{Plan, Way, mark, story, wait_until};

use crate::pair::{Outcome, Pair, SLEEPER, SOON, config, vip};

fn pair() -> Result<Pair, Box<dyn std::error::Error>> {
    Pair::start(Plan::pair(), &config("", SLEEPER))
}

fn settle() {
    std::thread::sleep(Duration::from_secs(2));
}

#[test]
fn power_off_of_the_active_node_ends_in_a_takeover_and_its_return_changes_nothing() {
    story(|| {
        let mut pair = pair()?;
        let off = mark();
        pair.lab.power_off("hadev1")?;
        pair.wait_role("hadev2", "active")?;
        pair.probe.wait_for_answer(vip(), "hadev2", SOON)?;
        println!("outage after power-off with carrier loss: {:?}", pair.outage(off));
        let why = String::from_utf8(pair.avamgr("hadev2", &["why"])?.stdout)?;
        assert!(why.contains("because hadev1 silent for"), "the decision, not its last step: {why}");
        let changes = pair.role_changes("hadev2")?;
        pair.lab.power_on("hadev1")?;
        pair.start_daemon("hadev1")?;
        pair.wait_role("hadev1", "standby")?;
        let back = mark();
        settle();
        assert_eq!(pair.role("hadev1"), "standby", "the role does not come back by itself");
        assert_eq!(pair.role_changes("hadev2")?, changes, "nothing moved");
        assert!(pair.outage(back) < Duration::from_millis(200), "{:?}", pair.outage(back));
        pair.never_two_owners()
    });
}

#[test]
fn power_off_behind_switches_is_found_by_silence() {
    story(|| {
        let pair = Pair::start(Plan::pair().switched(), &config("heartbeat_interval = \"50ms\"", SLEEPER))?;
        let off = mark();
        pair.lab.power_off("hadev1")?;
        pair.wait_role("hadev2", "active")?;
        pair.probe.wait_for_answer(vip(), "hadev2", SOON)?;
        println!("outage after power-off behind switches, 50 ms heartbeats: {:?}", pair.outage(off));
        pair.never_two_owners()
    });
}

#[test]
fn one_cable_cut_moves_nothing() {
    story(|| {
        let pair = pair()?;
        let cut = mark();
        for link in ["hb1", "hb2"] {
            let before = pair.role_changes("hadev1")? + pair.role_changes("hadev2")?;
            pair.lab.pull(link)?;
            pair.wait_event("hadev2", "is down: our interface has no carrier")?;
            settle();
            let after = pair.role_changes("hadev1")? + pair.role_changes("hadev2")?;
            assert_eq!(before, after, "{link}");
            pair.lab.plug(link)?;
            settle();
        }
        assert!(pair.outage(cut) < Duration::from_millis(200), "{:?}", pair.outage(cut));
        pair.never_two_owners()
    });
}

#[test]
fn both_cables_cut_the_neutral_path_keeps_the_peace() {
    story(|| {
        let pair = pair()?;
        let before = pair.role_changes("hadev1")? + pair.role_changes("hadev2")?;
        let cut = pair.lab.pull_all(&["hb1", "hb2"])?;
        settle();
        let status = pair.status("hadev2")?;
        assert_eq!(status["peers"][0]["state"], "degraded", "{status}");
        let after = pair.role_changes("hadev1")? + pair.role_changes("hadev2")?;
        assert_eq!(before, after);
        pair.lab.heal_all()?;
        pair.wait_event("hadev1", "link primary to hadev2 is up")?;
        settle();
        assert!(pair.outage(cut) < Duration::from_millis(200), "{:?}", pair.outage(cut));
        pair.never_two_owners()
    });
}

#[test]
fn an_isolated_active_node_steps_down_and_the_other_takes_over() {
    story(|| {
        // Its links and its neutral network are gone; its service network is not, so it must go before the other comes.
        let pair = pair()?;
        pair.lab.silence_at("neutral", "hadev1")?;
        pair.lab.pull_all(&["hb1", "hb2"])?;
        pair.wait_event("hadev1", "isolated")?;
        pair.wait_role("hadev1", "standby")?;
        pair.wait_role("hadev2", "active")?;
        pair.probe.wait_for_answer(vip(), "hadev2", SOON)?;
        pair.lab.heal_all()?;
        settle();
        assert_eq!(pair.role("hadev1"), "standby");
        assert_eq!(pair.role("hadev2"), "active");
        pair.never_two_owners()
    });
}

#[test]
fn a_killed_daemon_leaves_no_address_behind_for_ever() {
    story(|| {
        let mut pair = pair()?;
        pair.daemon("hadev1").kill9()?;
        pair.wait_role("hadev2", "active")?;
        wait_until(SOON, "only hadev2 to own the VIP", || pair.lab.owners().of(vip()) == ["hadev2"])?;
        pair.never_two_owners()?;
        pair.start_daemon("hadev1")?;
        pair.wait_role("hadev1", "standby")?;
        settle();
        assert_eq!(pair.role("hadev2"), "active");
        pair.never_two_owners()
    });
}

#[test]
fn a_stopped_daemon_loses_its_addresses_and_yields_when_it_goes_on() {
    story(|| {
        let pair = pair()?;
        pair.daemon("hadev1").stop()?;
        pair.wait_role("hadev2", "active")?;
        wait_until(SOON, "only hadev2 to own the VIP", || pair.lab.owners().of(vip()) == ["hadev2"])?;
        settle();
        let resumed = mark();
        pair.daemon("hadev1").cont()?;
        pair.wait_role("hadev1", "standby")?;
        settle();
        assert_eq!(pair.role("hadev2"), "active");
        println!("outage after the hang: {:?}", pair.outage(resumed));
        assert!(pair.outage(resumed) < Duration::from_millis(300), "{:?}", pair.outage(resumed));
        Ok(())
    });
}

#[test]
fn a_one_way_cut_of_both_links_makes_no_second_owner() {
    story(|| {
        let pair = pair()?;
        let before = pair.role_changes("hadev1")? + pair.role_changes("hadev2")?;
        pair.lab.cut_one_way("hb1", "hadev1", Way::From)?;
        pair.lab.cut_one_way("hb2", "hadev1", Way::From)?;
        settle();
        let after = pair.role_changes("hadev1")? + pair.role_changes("hadev2")?;
        assert_eq!(before, after);
        pair.lab.heal_all()?;
        settle();
        pair.never_two_owners()
    });
}

#[test]
fn a_third_of_all_heartbeats_lost_moves_nothing() {
    story(|| {
        let pair = pair()?;
        let begin = mark();
        let before = pair.role_changes("hadev1")? + pair.role_changes("hadev2")?;
        pair.lab.lose("hb1", 30)?;
        pair.lab.lose("hb2", 30)?;
        std::thread::sleep(Duration::from_secs(6));
        let after = pair.role_changes("hadev1")? + pair.role_changes("hadev2")?;
        assert_eq!(before, after);
        assert!(pair.outage(begin) < Duration::from_millis(200), "{:?}", pair.outage(begin));
        pair.never_two_owners()
    });
}

#[test]
fn both_see_the_arbitrator_and_not_each_other_the_known_exception_of_the_ping_class() {
    story(|| -> Outcome {
        // Nothing is left between the nodes: links cut, the service network split at hadev1, the neutral network lets
        // both reach the arbitrator but drops what they say to each other.
        let pair = pair()?;
        let node = pair.node("hadev1")?;
        let rules = "table ip story {\n\
            chain in {\n type filter hook input priority 0;\n ip saddr 172.16.8.51 drop\n }\n\
            chain out {\n type filter hook output priority 0;\n ip daddr 172.16.8.51 drop\n }\n}\n";
        node.write("/run/story.nft", rules)?;
        let output = node.command("nft").args(["-f", "/run/story.nft"]).output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        pair.lab.silence_at("lan", "hadev1")?;
        pair.lab.pull_all(&["hb1", "hb2"])?;
        pair.wait_role("hadev2", "active")?;
        assert_eq!(pair.role("hadev1"), "active", "this is what the ping class cannot prevent");
        let healed = pair.lab.heal_all()?;
        // Who yields has seen both; the other one may hear of it when the stop has begun already.
        pair.wait_event("hadev1", "at the same time")?;
        pair.wait_role("hadev1", "standby")?;
        assert_eq!(pair.role("hadev2"), "active", "the newer term stays");
        settle();
        println!("outage after the heal: {:?}", pair.outage(healed));
        assert_eq!(pair.lab.owners().of(vip()), ["hadev2"]);
        Ok(())
    });
}
