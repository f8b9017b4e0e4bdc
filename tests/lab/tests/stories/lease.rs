//! The authority `lease` on real kernels: a pair, and a witness on the neutral network.

use std::time::Duration;

use avamgr_lab::{Plan, Process, mark, story};

use crate::pair::{GROUP, Outcome, PAIR, Pair, SLEEPER, SOON, V4_AND_V6, cluster, program, vip};

/// Where the witness listens.
const WITNESS: &str = "172.16.8.250";

/// A pair and its witness.
pub(crate) struct Leased {
    pub(crate) pair: Pair,
    pub(crate) witness: Option<Process>,
}

impl Leased {
    /// Both nodes up, hadev1 ACTIVE, the witness asked by both.
    pub(crate) fn start(plan: Plan, timers: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let config = format!(
            "{}\n[witness]\naddress = \"{WITNESS}\"\ninterface = \"eth0\"\n{GROUP}{SLEEPER}\n",
            cluster(PAIR, timers, &V4_AND_V6)
        );
        let mut leased = Self { pair: Pair::install_all(plan, &config)?, witness: None };
        let keys = format!("1 {} send\n", "fedcba9876543210".repeat(4));
        for (host, path) in PAIR.iter().map(|node| (*node, "witness.keys")).chain([("arbitrator", "hadev.keys")]) {
            let host = leased.pair.node(host)?;
            let path = format!("/etc/avamgr/{path}");
            host.write(&path, &keys)?;
            host.command("chmod").args(["600", &path]).output()?;
        }
        let settings = "[[cluster]]\nname = \"hadev\"\nkey_file = \"/etc/avamgr/hadev.keys\"\n";
        leased.pair.node("arbitrator")?.write("/etc/avamgr/witness.toml", settings)?;
        leased.start_witness()?;
        for (node, role) in PAIR.iter().zip(["active", "standby"]) {
            leased.pair.start_daemon(node)?;
            leased.pair.wait_role(node, role)?;
        }
        leased.pair.probe.wait_for_answer(vip(), "hadev1", SOON)?;
        std::thread::sleep(Duration::from_millis(1200));
        Ok(leased)
    }

    pub(crate) fn start_witness(&mut self) -> Outcome {
        self.witness = Some(self.pair.node("arbitrator")?.command(program("avamgr-witness")).spawn()?);
        Ok(())
    }
}

fn settle() {
    std::thread::sleep(Duration::from_secs(2));
}

#[test]
fn every_link_cut_and_the_witness_seen_by_both_moves_nothing() {
    story(|| {
        let leased = Leased::start(Plan::pair().switched(), "")?;
        let pair = &leased.pair;
        let before = pair.all_role_changes();
        let cut = mark();
        for link in ["hb1", "hb2"] {
            pair.lab.pull(link)?;
        }
        settle();
        assert_eq!(pair.all_role_changes(), before);
        assert!(pair.outage(cut) < Duration::from_millis(200), "{:?}", pair.outage(cut));
        Ok(())
    });
}

#[test]
fn a_stopped_daemon_goes_dark_with_its_lease_and_the_other_takes_over() {
    story(|| {
        let leased = Leased::start(Plan::pair().switched(), "")?;
        let pair = &leased.pair;
        let stopped = mark();
        pair.daemon("hadev1").stop()?;
        pair.wait_role("hadev2", "active")?;
        pair.probe.wait_for_answer(vip(), "hadev2", SOON)?;
        println!("outage of a stopped daemon: {:?}", pair.outage(stopped));
        pair.daemon("hadev1").cont()?;
        pair.wait_role("hadev1", "standby")?;
        settle();
        assert_eq!(pair.role("hadev2"), "active");
        Ok(())
    });
}

#[test]
fn a_pair_with_short_intervals_keeps_its_lease() {
    story(|| {
        let leased = Leased::start(Plan::pair().switched(), "heartbeat_interval = \"10ms\"")?;
        let pair = &leased.pair;
        let (before, from) = (pair.all_role_changes(), mark());
        std::thread::sleep(Duration::from_secs(5));
        println!("outage in a quiet time: {:?}", pair.outage(from));
        assert_eq!(pair.all_role_changes(), before);
        leased.witness.as_ref().ok_or("a witness")?.kill9()?;
        let from = mark();
        std::thread::sleep(Duration::from_secs(5));
        println!("outage without the witness: {:?}", pair.outage(from));
        let status = String::from_utf8(pair.avamgr("hadev1", &["status"])?.stdout)?;
        assert!(status.contains("hadev2: promised to hadev1"), "{status}");
        assert!(status.contains("the witness does not answer"), "{status}");
        assert_eq!(pair.all_role_changes(), before);
        Ok(())
    });
}
