//! Three nodes: who comes next, and who after that.

use avamgr_lab::{Plan, mark, story};

use crate::pair::{GROUP, Outcome, Pair, SLEEPER, SOON, V4_AND_V6, cluster, vip};

const NODES: &[&str] = &["hadev1", "hadev2", "hadev3"];

fn three() -> Result<Pair, Box<dyn std::error::Error>> {
    let config = format!("{}{GROUP}{SLEEPER}", cluster(NODES, "", &V4_AND_V6));
    Pair::start_nodes(NODES, Plan::nodes(3), &config, |_, _| Ok(()))
}

/// The ACTIVE node loses its power; the next one in rank, and only that one, takes over.
fn next_takes_over(pair: &Pair, active: &str, next: &str) -> Outcome {
    let off = mark();
    pair.lab.power_off(active)?;
    pair.wait_role(next, "active")?;
    pair.probe.wait_for_answer(vip(), next, SOON)?;
    println!("outage after power-off of {active}, one of three: {:?}", pair.outage(off));
    Ok(())
}

#[test]
fn the_next_in_rank_takes_over_then_the_next_and_those_who_return_wait() {
    story(|| {
        let mut pair = three()?;
        next_takes_over(&pair, "hadev1", "hadev2")?;
        assert_eq!(pair.role("hadev3"), "standby");
        assert_eq!(pair.role_changes("hadev3")?, 1, "it became STANDBY at its start, and nothing else");
        next_takes_over(&pair, "hadev2", "hadev3")?;
        for name in ["hadev1", "hadev2"] {
            pair.lab.power_on(name)?;
            pair.start_daemon(name)?;
            pair.wait_role(name, "standby")?;
        }
        let changes = pair.role_changes("hadev3")?;
        std::thread::sleep(std::time::Duration::from_secs(2));
        assert_eq!(pair.role_changes("hadev3")?, changes, "the role does not go back by itself");
        assert_eq!(pair.lab.owners().of(vip()), ["hadev3"]);
        pair.never_two_owners()
    });
}

#[test]
fn a_switchover_goes_to_the_node_that_was_named_and_no_other() {
    story(|| {
        let pair = three()?;
        let output = pair.avamgr("hadev2", &["switchover", "dre", "--to", "hadev3"])?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(pair.role("hadev3"), "active");
        pair.wait_role("hadev1", "standby")?;
        assert_eq!(pair.role_changes("hadev2")?, 1, "hadev2 was not concerned");
        pair.never_two_owners()
    });
}
