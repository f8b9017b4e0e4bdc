//! Two groups on one pair: each has its own place, and what happens to one is not the other's business.

use std::net::IpAddr;

use avamgr_lab::{Plan, Probe, mark, story, wait_until};

use crate::pair::{GROUP, Outcome, PAIR, Pair, SLEEPER, SOON, V4_AND_V6, cluster, text, vip};

/// The second group prefers the second node.
const MYSQL: &str = r#"
[[group]]
name = "mysql"
preferred = "hadev2"

[[group.resource]]
name = "mysql-vip"
vip = ["172.16.9.71/24"]
interface = "eth1"
"#;

fn second_vip() -> IpAddr {
    "172.16.9.71".parse().expect("an address")
}

fn two_groups() -> Result<(Pair, Probe), Box<dyn std::error::Error>> {
    let config =
        format!("{}{GROUP}{SLEEPER}{MYSQL}{}", cluster(PAIR, "", &V4_AND_V6), SLEEPER.replace("service", "db"));
    let pair = Pair::start(Plan::pair(), &config)?;
    let probe = Probe::start(&pair.node("client")?, &[second_vip()])?;
    probe.wait_for_answer(second_vip(), "hadev2", SOON)?;
    Ok((pair, probe))
}

/// The roles of both groups on a node.
fn roles(pair: &Pair, name: &str) -> [String; 2] {
    let status = pair.status(name).unwrap_or_default();
    [0, 1].map(|group: usize| text(&status["groups"][group]["role"]))
}

fn wait_roles(pair: &Pair, name: &str, wanted: [&str; 2]) -> Outcome {
    let waited = wait_until(SOON, format!("{name} to be {wanted:?}"), || roles(pair, name) == wanted);
    if waited.is_err() {
        pair.tell();
    }
    Ok(waited?)
}

#[test]
fn each_group_is_where_it_prefers_to_be_and_a_switchover_of_one_leaves_the_other() {
    story(|| {
        let (pair, second) = two_groups()?;
        wait_roles(&pair, "hadev1", ["active", "standby"])?;
        wait_roles(&pair, "hadev2", ["standby", "active"])?;
        let begin = mark();
        let output = pair.avamgr("hadev1", &["switchover", "dre"])?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        wait_roles(&pair, "hadev1", ["standby", "standby"])?;
        wait_roles(&pair, "hadev2", ["active", "active"])?;
        assert_eq!(second.sightings().answered_by(second_vip(), begin, mark()), ["hadev2".to_owned()].into());
        let moved = |event: &String| event.starts_with("mysql:") && event.contains(" -> ");
        let quiet = |name: &str| pair.events(name).map(|events| events.into_iter().filter(moved).count());
        let before = (quiet("hadev1")?, quiet("hadev2")?);
        let output = pair.avamgr("hadev2", &["switchover", "mysql", "--to", "hadev1"])?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        wait_roles(&pair, "hadev1", ["standby", "active"])?;
        wait_roles(&pair, "hadev2", ["active", "standby"])?;
        assert!(quiet("hadev1")? > before.0 && quiet("hadev2")? > before.1, "the words for a move are as expected");
        pair.never_two_owners()
    });
}

#[test]
fn a_power_off_takes_both_groups_to_the_survivor_and_alarms_are_said_once() {
    story(|| {
        let (pair, second) = two_groups()?;
        let off = mark();
        pair.lab.power_off("hadev2")?;
        wait_roles(&pair, "hadev1", ["active", "active"])?;
        second.wait_for_answer(second_vip(), "hadev1", SOON)?;
        println!("outage of the second group: {:?}", second.outage_since(second_vip(), off).longest);
        println!("outage of the first group, which was not concerned: {:?}", pair.outage(off));
        assert_eq!(pair.probe.sightings().answered_by(vip(), off, mark()), ["hadev1".to_owned()].into());
        let status = pair.status("hadev1")?;
        let alarms: Vec<String> =
            status["alarms"].as_array().into_iter().flatten().map(|alarm| text(&alarm["text"])).collect();
        let mut once = alarms.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), alarms.len(), "{alarms:?}");
        pair.never_two_owners()
    });
}
