//! The authority `etcd` on real kernels: a pair, and a real etcd on the neutral network.

use std::time::Duration;

use avamgr_lab::{Answers, Plan, Process, VIP, mark, story, wait_until};

use crate::lease::Leased;
use crate::pair::{GROUP, Outcome, PAIR, Pair, SLEEPER, SOON, V4_AND_V6, cluster, vip};

/// Where etcd listens.
const ETCD: &str = "http://172.16.8.250:2379";
/// The lease, and what etcd may need until it has noticed its end.
const LEASE: Duration = Duration::from_secs(3);
const EXPIRY: Duration = Duration::from_secs(1);

/// A pair and its etcd.
struct Held {
    leased: Leased,
    etcd: Option<Process>,
}

impl Held {
    /// Both nodes up, hadev1 ACTIVE.
    fn start() -> Result<Self, Box<dyn std::error::Error>> {
        let table = format!("[etcd]\nendpoints = \"{ETCD}\"");
        let config = format!("{}\n{table}\n{GROUP}{SLEEPER}\n", cluster(PAIR, "", &V4_AND_V6));
        let pair = Pair::install_all(Plan::pair().switched(), &config)?;
        let answers = Answers::start(&pair.node("client")?, VIP.parse()?, pair.lab.nodes())?;
        // A switchover there and back is sooner than a lease here.
        let mut held = Self { leased: Leased { pair, witness: None, answers, lease: LEASE / 10 }, etcd: None };
        held.start_etcd()?;
        for (node, role) in PAIR.iter().zip(["active", "standby"]) {
            held.pair_mut().start_daemon(node)?;
            held.pair().wait_role(node, role)?;
        }
        held.pair().probe.wait_for_answer(vip(), "hadev1", SOON)?;
        std::thread::sleep(LEASE / 2);
        Ok(held)
    }

    fn pair(&self) -> &Pair {
        &self.leased.pair
    }

    fn pair_mut(&mut self) -> &mut Pair {
        &mut self.leased.pair
    }

    fn start_etcd(&mut self) -> Outcome {
        let mut command = self.pair().node("arbitrator")?.command("etcd");
        command.args(["--data-dir=/run/etcd", "--log-level=error"]);
        command.args([format!("--listen-client-urls={ETCD}"), format!("--advertise-client-urls={ETCD}")]);
        self.etcd = Some(command.spawn()?);
        Ok(())
    }

    fn kill_etcd(&mut self) -> Outcome {
        if let Some(etcd) = self.etcd.take() {
            etcd.kill9()?;
            etcd.wait(SOON)?;
        }
        Ok(())
    }

    fn status(&self, node: &str) -> Result<String, Box<dyn std::error::Error>> {
        Ok(String::from_utf8(self.pair().avamgr(node, &["status"])?.stdout)?)
    }
}

#[test]
fn a_leaseholder_of_etcd_without_power_is_followed() {
    story(|| {
        let held = Held::start()?;
        let status = held.status("hadev2")?;
        println!("{status}");
        assert!(status.contains("etcd: promised to hadev1, term 1"), "{status}");
        let fault = mark();
        held.pair().lab.power_off("hadev1")?;
        let took = held.leased.taken_over_by("hadev2", fault)?;
        println!("takeover after power-off: {took:?}");
        assert!(took < LEASE + EXPIRY, "{took:?}");
        held.leased.one_owner()
    });
}

#[test]
fn a_killed_daemon_goes_dark_with_its_lease_in_etcd_and_joins_again() {
    story(|| {
        let mut held = Held::start()?;
        let fault = mark();
        held.pair().daemon("hadev1").kill9()?;
        held.pair_mut().start_daemon("hadev1")?;
        println!("takeover after kill -9: {:?}", {
            wait_until(SOON, "a node to serve again", || PAIR.iter().any(|node| held.pair().role(node) == "active"))?;
            fault.elapsed()
        });
        held.leased.one_owner()
    });
}

#[test]
fn the_links_are_lost_and_etcd_is_seen_by_both_and_nothing_moves() {
    story(|| {
        let held = Held::start()?;
        let (begin, before) = (mark(), held.pair().all_role_changes());
        held.leased.part_the_nodes()?;
        std::thread::sleep(LEASE * 2);
        assert_eq!(held.pair().all_role_changes(), before);
        assert!(held.pair().outage(begin) < Duration::from_millis(200), "{:?}", held.pair().outage(begin));
        held.leased.one_owner()
    });
}

#[test]
fn etcd_is_lost_for_a_moment_and_nothing_moves_and_for_long_and_nobody_serves() {
    story(|| {
        let mut held = Held::start()?;
        let (begin, before) = (mark(), held.pair().all_role_changes());
        held.kill_etcd()?;
        std::thread::sleep(Duration::from_millis(500));
        held.start_etcd()?;
        std::thread::sleep(LEASE);
        assert_eq!(held.pair().all_role_changes(), before);
        assert!(held.pair().outage(begin) < Duration::from_millis(200), "{:?}", held.pair().outage(begin));
        let lost = mark();
        held.kill_etcd()?;
        held.pair().wait_role("hadev1", "standby")?;
        println!("let go {:?} after etcd was lost", lost.elapsed());
        let let_go = mark();
        std::thread::sleep(Duration::from_secs(2));
        let silence = held.leased.answers.settled().longest_silence(let_go, mark());
        assert!(silence > Duration::from_secs(1), "nobody serves: {silence:?}");
        for node in PAIR {
            assert_eq!(held.pair().role(node), "standby");
            held.pair().wait_alarm(node, "etcd", true)?;
            let why = String::from_utf8(held.pair().avamgr(node, &["why"])?.stdout)?;
            assert!(why.contains("etcd does not answer"), "{why}");
        }
        held.start_etcd()?;
        let back = mark();
        let served = || PAIR.iter().any(|node| held.pair().role(node) == "active");
        wait_until(SOON, "a node to serve again", served)?;
        println!("served again {:?} after etcd came back", back.elapsed());
        held.leased.one_owner()
    });
}

#[test]
fn a_switchover_by_way_of_etcd_waits_for_no_time() {
    story(|| {
        let held = Held::start()?;
        for (from, to) in [("hadev1", "hadev2"), ("hadev2", "hadev1")] {
            let order = mark();
            let output = held.pair().avamgr(from, &["switchover", "dre"])?;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            let took = held.leased.taken_over_by(to, order)?;
            println!("switchover to {to}: {took:?}");
            assert!(took < LEASE / 2, "{took:?}");
            held.pair().wait_role(from, "standby")?;
            std::thread::sleep(LEASE / 2);
        }
        let order = mark();
        held.pair().daemon("hadev1").terminate()?;
        let took = held.leased.taken_over_by("hadev2", order)?;
        println!("takeover after an orderly stop: {took:?}");
        assert!(took < LEASE / 2, "{took:?}");
        held.leased.one_owner()
    });
}
