//! After the fault: the cables are back, the hung daemon goes on, the killed one is restarted. No client stays dark.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use avamgr_lab::{Announcements, Plan, Probe, VIP, VIP6, mark, story, wait_until};

use crate::pair::{Outcome, Pair, SLEEPER, SOON, config};

/// What no second phase may take, on a machine that is busy with other stories. The bench measures what it does take.
const BOUND: Duration = Duration::from_secs(1);

/// How long one looks on: longer than the second burst of announcements takes to come.
const WATCH: Duration = Duration::from_secs(3);

/// A pair, a client that asks for both addresses, and everything it is told of them.
struct Scene {
    pair: Pair,
    both: Probe,
    told: Announcements,
}

fn targets() -> [IpAddr; 2] {
    [VIP, VIP6].map(|address| address.parse().expect("an address"))
}

impl Scene {
    fn start() -> Result<Self, Box<dyn std::error::Error>> {
        let pair = Pair::start(Plan::pair(), &config("", SLEEPER))?;
        let client = pair.node("client")?;
        let both = Probe::start(&client, &targets())?;
        let told = Announcements::capture(&client)?;
        for target in targets() {
            both.wait_for_answer(target, "hadev1", SOON)?;
        }
        Ok(Self { pair, both, told })
    }

    fn ends_well(&self, what: &str, begin: Instant, winner: &str) -> Outcome {
        self.ends_within(BOUND, what, begin, winner)
    }

    /// From `begin` on, when the second phase began: `winner` alone owns both addresses and answers at both; the client was
    /// never dark for longer than `bound`.
    fn ends_within(&self, bound: Duration, what: &str, begin: Instant, winner: &str) -> Outcome {
        let owners = self.pair.lab.owners();
        for target in targets() {
            let owned = wait_until(SOON, format!("only {winner} to own {target}"), || owners.of(target) == [winner]);
            let answered = owned.and_then(|()| self.both.wait_for_answer(target, winner, SOON));
            if answered.is_err() {
                self.pair.tell();
            }
            answered?;
        }
        std::thread::sleep(WATCH);
        for target in targets() {
            let outage = self.both.outage_since(target, begin);
            println!("outage of {target} after {what}: {:?}", outage.longest);
            assert!(outage.longest < bound, "{target} after {what}: {outage:?}");
            assert_eq!(owners.of(target), [winner], "{what}");
        }
        assert_eq!(self.pair.role(winner), "active", "{what}");
        Ok(())
    }

    /// The winner has announced both addresses since `begin`, and nobody else had the last word.
    fn winner_announced(&self, begin: Instant, winner: &str) -> Outcome {
        let netlink = self.pair.node(winner)?.netlink()?;
        let mac = netlink.link("eth1")?.mac;
        for target in targets() {
            let last = self.told.of(target, begin).last().map(|one| one.mac.to_vec());
            assert_eq!(last, Some(mac.clone()), "the last word about {target} since the second phase began");
        }
        Ok(())
    }
}

/// Leaves nothing between the nodes that would keep them from being ACTIVE both: `apart` is cut off on the service network.
fn two_active(pair: &Pair, apart: &str) -> Outcome {
    let rules = "table ip story {\n\
        chain in {\n type filter hook input priority 0;\n ip saddr 172.16.8.51 drop\n }\n\
        chain out {\n type filter hook output priority 0;\n ip daddr 172.16.8.51 drop\n }\n}\n";
    let node = pair.node("hadev1")?;
    node.write("/run/story.nft", rules)?;
    let output = node.command("nft").args(["-f", "/run/story.nft"]).output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    pair.lab.silence_at("lan", apart)?;
    pair.lab.pull_all(&["hb1", "hb2"])?;
    pair.wait_role("hadev2", "active")?;
    assert_eq!(pair.role("hadev1"), "active");
    Ok(())
}

#[test]
fn two_active_nodes_become_one_when_the_cables_are_back_and_the_loser_had_the_client() {
    story(|| {
        let scene = Scene::start()?;
        two_active(&scene.pair, "hadev2")?;
        let healed = scene.pair.lab.heal_all()?;
        scene.pair.wait_role("hadev1", "standby")?;
        scene.ends_well("the heal, client with the loser", healed, "hadev2")?;
        scene.winner_announced(healed, "hadev2")
    });
}

#[test]
fn two_active_nodes_become_one_when_the_cables_are_back_and_the_winner_had_the_client() {
    story(|| {
        let scene = Scene::start()?;
        two_active(&scene.pair, "hadev1")?;
        let healed = scene.pair.lab.heal_all()?;
        scene.pair.wait_role("hadev1", "standby")?;
        scene.ends_well("the heal, client with the winner", healed, "hadev2")?;
        scene.winner_announced(healed, "hadev2")
    });
}

#[test]
fn only_the_service_network_heals_later_than_the_cables_and_the_client_finds_the_winner() {
    story(|| {
        // The loser has yielded long before the client's network is whole again; nothing changes a role then, and what
        // the client believes of the addresses is good for half a minute.
        let scene = Scene::start()?;
        two_active(&scene.pair, "hadev2")?;
        scene.pair.lab.plug("hb1")?;
        scene.pair.lab.plug("hb2")?;
        scene.pair.wait_role("hadev1", "standby")?;
        std::thread::sleep(Duration::from_secs(2));
        let healed = scene.pair.lab.heal_all()?;
        scene.ends_within(Duration::from_secs(8), "the heal of the service network", healed, "hadev2")
    });
}

#[test]
fn a_daemon_that_hung_for_three_seconds_goes_on_and_the_client_stays_with_the_winner() {
    story(|| {
        let scene = Scene::start()?;
        scene.pair.daemon("hadev1").stop()?;
        std::thread::sleep(Duration::from_secs(3));
        let resumed = mark();
        scene.pair.daemon("hadev1").cont()?;
        scene.pair.wait_role("hadev2", "active")?;
        scene.pair.wait_role("hadev1", "standby")?;
        scene.ends_well("a hang of 3 s", resumed, "hadev2")?;
        scene.winner_announced(resumed, "hadev2")
    });
}

#[test]
fn a_daemon_that_hung_for_a_second_goes_on_and_one_node_serves() {
    story(|| {
        // Its addresses outlive the hang, so either node may be the one; both or none may not.
        let scene = Scene::start()?;
        scene.pair.daemon("hadev1").stop()?;
        std::thread::sleep(Duration::from_secs(1));
        let resumed = mark();
        scene.pair.daemon("hadev1").cont()?;
        std::thread::sleep(Duration::from_secs(2));
        let roles = ["hadev1", "hadev2"].map(|name| scene.pair.role(name));
        let winner = if roles[0] == "active" { "hadev1" } else { "hadev2" };
        println!("after a hang of 1 s {winner} serves");
        assert!(roles.contains(&"standby".to_owned()), "{roles:?}");
        scene.ends_well("a hang of 1 s", resumed, winner)
    });
}

#[test]
fn a_killed_daemon_is_restarted_at_once_and_one_node_serves() {
    story(|| {
        let mut scene = Scene::start()?;
        let killed = mark();
        scene.pair.daemon("hadev1").kill9()?;
        // What an init that respawns takes.
        std::thread::sleep(Duration::from_millis(100));
        scene.pair.start_daemon("hadev1")?;
        let restarted = mark();
        let served = || ["hadev1", "hadev2"].into_iter().find(|name| scene.pair.role(name) == "active");
        wait_until(SOON, "a node to be ACTIVE", || served().is_some())?;
        let winner = served().ok_or("nobody is ACTIVE any more")?;
        println!("after a restart at once {winner} serves, {:?} after the kill", killed.elapsed());
        scene.ends_well("the restart of a killed daemon", restarted, winner)?;
        scene.pair.never_two_owners()
    });
}

#[test]
fn a_killed_daemon_is_restarted_late_and_its_node_joins_without_a_word() {
    story(|| {
        let mut scene = Scene::start()?;
        scene.pair.daemon("hadev1").kill9()?;
        scene.pair.wait_role("hadev2", "active")?;
        for target in targets() {
            scene.both.wait_for_answer(target, "hadev2", SOON)?;
        }
        let restarted = mark();
        scene.pair.start_daemon("hadev1")?;
        scene.pair.wait_role("hadev1", "standby")?;
        scene.ends_well("a late restart of a killed daemon", restarted, "hadev2")?;
        scene.pair.never_two_owners()
    });
}
