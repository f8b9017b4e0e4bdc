//! The authority `lease` on real kernels: a pair, and a witness on the neutral network.

use std::fs;
use std::time::{Duration, Instant};

use avamgr_lab::{Answers, Plan, Process, VIP, Way, mark, on_a_steady_machine, story};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::pair::{GROUP, Outcome, PAIR, Pair, SLEEPER, SOON, V4_AND_V6, cluster, program, vip};
use crate::strangers::{play, record};

/// Where the witness listens.
const WITNESS: &str = "172.16.8.250";

/// What cannot be reached of the nodes by each other on the neutral network, while the witness can.
pub(crate) const APART: &str = "table ip story {\n\
    chain in {\n type filter hook input priority 0;\n ip saddr 172.16.8.51 drop\n }\n\
    chain out {\n type filter hook output priority 0;\n ip daddr 172.16.8.51 drop\n }\n}\n";

/// The standard interval between two heartbeats.
const INTERVAL: Duration = Duration::from_millis(100);

/// A short one: a machine that stands still for longer may lose a lease.
pub(crate) const SHORT: Duration = Duration::from_millis(10);

/// Of so many intervals is a lease.
const INTERVALS: u32 = 3;

/// A pair and its witness.
pub(crate) struct Leased {
    pub(crate) pair: Pair,
    pub(crate) witness: Option<Process>,
    pub(crate) answers: Answers,
    /// How long a lease is.
    pub(crate) lease: Duration,
}

impl Leased {
    /// Both nodes up, hadev1 ACTIVE, the witness asked by both.
    pub(crate) fn start(plan: Plan) -> Result<Self, Box<dyn std::error::Error>> {
        Self::start_at(plan, INTERVAL, "")
    }

    /// The same with another interval between two heartbeats.
    pub(crate) fn start_at(plan: Plan, interval: Duration, timers: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let mut leased = Self::install(plan, interval, timers)?;
        leased.start_witness()?;
        for (node, role) in PAIR.iter().zip(["active", "standby"]) {
            leased.pair.start_daemon(node)?;
            leased.pair.wait_role(node, role)?;
        }
        leased.pair.probe.wait_for_answer(vip(), "hadev1", SOON)?;
        std::thread::sleep(Duration::from_millis(1200));
        Ok(leased)
    }

    /// Everything in its place and nothing started.
    fn install(plan: Plan, interval: Duration, timers: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let timers = format!("heartbeat_interval = \"{}ms\"\n{timers}", interval.as_millis());
        let config = format!(
            "{}\n[witness]\naddress = \"{WITNESS}\"\ninterface = \"eth0\"\n{GROUP}{SLEEPER}\n",
            cluster(PAIR, &timers, &V4_AND_V6)
        );
        let pair = Pair::install_all(plan, &config)?;
        let answers = Answers::start(&pair.node("client")?, VIP.parse()?, pair.lab.nodes())?;
        let leased = Self { pair, witness: None, answers, lease: interval * INTERVALS };
        for (host, path) in PAIR.iter().map(|node| (*node, "witness.keys")).chain([("arbitrator", "hadev.keys")]) {
            leased.write_keys(host, path, "fedcba9876543210")?;
        }
        let settings = "[[cluster]]\nname = \"hadev\"\nkey_file = \"/etc/avamgr/hadev.keys\"\n";
        leased.pair.node("arbitrator")?.write("/etc/avamgr/witness.toml", settings)?;
        Ok(leased)
    }

    fn write_keys(&self, host: &str, path: &str, quarter: &str) -> Outcome {
        let host = self.pair.node(host)?;
        let path = format!("/etc/avamgr/{path}");
        host.write(&path, format!("1 {} send\n", quarter.repeat(4)))?;
        host.command("chmod").args(["600", &path]).output()?;
        Ok(())
    }

    pub(crate) fn start_witness(&mut self) -> Outcome {
        self.witness = Some(self.pair.node("arbitrator")?.command(program("avamgr-witness")).spawn()?);
        Ok(())
    }

    pub(crate) fn kill_witness(&mut self) -> Outcome {
        if let Some(witness) = self.witness.take() {
            witness.kill9()?;
            witness.wait(SOON)?;
        }
        Ok(())
    }

    fn witness_status(&self) -> Result<String, Box<dyn std::error::Error>> {
        let output = self.pair.node("arbitrator")?.command(program("avamgr-witness")).arg("status").output()?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A signal to all our processes of a node, and to none of its service.
    pub(crate) fn signal_ours(&self, node: &str, signal: Signal) -> Outcome {
        for pid in self.pair.node(node)?.pids()? {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if name.starts_with("avamgr") {
                // One that has just ended needs no signal.
                let _ = kill(Pid::from_raw(pid), signal);
            }
        }
        Ok(())
    }

    /// The nodes hear nothing of each other any more; both reach the witness.
    pub(crate) fn part_the_nodes(&self) -> Outcome {
        let node = self.pair.node("hadev1")?;
        node.write("/run/story.nft", APART)?;
        let output = node.command("nft").args(["-f", "/run/story.nft"]).output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.pair.lab.pull_all(&["hb1", "hb2"])?;
        Ok(())
    }

    /// `next` answers for the address within [`SOON`]; returns how long after `fault`.
    pub(crate) fn taken_over_by(&self, next: &str, fault: Instant) -> Result<Duration, Box<dyn std::error::Error>> {
        self.pair.wait_role(next, "active")?;
        self.pair.probe.wait_for_answer(vip(), next, SOON)?;
        let first = self.answers.settled().first_of(next, fault);
        Ok(first.ok_or("the sampler has not seen it")?.duration_since(fault))
    }

    /// Never did two nodes answer for the address in one moment, and it was looked at.
    pub(crate) fn one_owner(&self) -> Outcome {
        let seen = self.answers.settled();
        println!("{} rounds, {:.1} % of the time counts", seen.asked, seen.share() * 100.0);
        let returns = seen.returns_within(self.lease);
        if !seen.both.is_empty() || !returns.is_empty() {
            self.pair.tell();
            return Err(format!("two owners: {:?}, {returns:?}", seen.both).into());
        }
        // A machine that is busy with other stories stands still now and then; one that looks too seldom proves nothing.
        assert!(seen.share() > 0.2, "the sampler ran for {:.1} % of the time only", seen.share() * 100.0);
        Ok(())
    }
}

fn settle() {
    std::thread::sleep(Duration::from_secs(2));
}

fn leased() -> Result<Leased, Box<dyn std::error::Error>> {
    Leased::start(Plan::pair().switched())
}

#[test]
fn every_link_cut_and_the_witness_seen_by_both_moves_nothing() {
    story(|| {
        let leased = leased()?;
        let before = leased.pair.all_role_changes();
        let cut = mark();
        leased.part_the_nodes()?;
        settle();
        assert_eq!(leased.pair.all_role_changes(), before);
        let silence = leased.answers.settled().longest_silence(cut, mark());
        assert!(leased.pair.outage(cut) < Duration::from_millis(200), "{:?}, {silence:?}", leased.pair.outage(cut));
        assert_eq!(leased.pair.role("hadev1"), "active");
        leased.one_owner()
    });
}

#[test]
fn a_killed_daemon_goes_dark_with_its_lease_and_joins_again() {
    story(|| {
        let mut leased = leased()?;
        let fault = mark();
        leased.pair.daemon("hadev1").kill9()?;
        println!("takeover after kill -9: {:?}", leased.taken_over_by("hadev2", fault)?);
        leased.pair.start_daemon("hadev1")?;
        leased.pair.wait_role("hadev1", "standby")?;
        settle();
        assert_eq!(leased.pair.role("hadev2"), "active");
        leased.one_owner()
    });
}

#[test]
fn without_nftables_the_lifetime_of_the_addresses_is_the_guard_and_a_takeover_waits_for_it() {
    story(|| {
        let mut leased = Leased::install(Plan::pair().switched(), INTERVAL, "")?;
        leased.start_witness()?;
        for (node, role) in PAIR.iter().zip(["active", "standby"]) {
            leased.pair.start_daemon_without_nftables(node)?;
            leased.pair.wait_role(node, role)?;
        }
        leased.pair.probe.wait_for_answer(vip(), "hadev1", SOON)?;
        let status = String::from_utf8(leased.pair.avamgr("hadev1", &["status"])?.stdout)?;
        assert!(status.contains("gone within 3 s of the last refresh") && !status.contains("nftables"), "{status}");
        let check = leased.pair.node("hadev1")?.command(program("avamgr")).arg("check").without_nftables().output()?;
        let check = String::from_utf8(check.stdout)?;
        assert!(check.contains("use a kernel with nftables"), "{check}");
        let fault = mark();
        leased.signal_ours("hadev1", Signal::SIGKILL)?;
        let takeover = leased.taken_over_by("hadev2", fault)?;
        println!("takeover after kill -9 without a guard in the kernel: {takeover:?}");
        assert!(takeover > Duration::from_secs(1), "the addresses were still there: {takeover:?}");
        leased.one_owner()
    });
}

#[test]
fn everything_of_ours_stopped_goes_dark_with_its_lease_and_yields_when_it_goes_on() {
    story(|| {
        let leased = leased()?;
        let fault = mark();
        leased.signal_ours("hadev1", Signal::SIGSTOP)?;
        println!("takeover after SIGSTOP: {:?}", leased.taken_over_by("hadev2", fault)?);
        settle();
        let resumed = mark();
        leased.signal_ours("hadev1", Signal::SIGCONT)?;
        leased.pair.wait_role("hadev1", "standby")?;
        settle();
        assert_eq!(leased.pair.role("hadev2"), "active");
        println!("outage after SIGCONT: {:?}", leased.pair.outage(resumed));
        leased.one_owner()
    });
}

#[test]
fn without_the_table_a_stopped_node_is_heard_on_the_service_network_and_waited_for() {
    story(|| {
        let leased = leased()?;
        let fault = mark();
        leased.signal_ours("hadev1", Signal::SIGSTOP)?;
        let flushed = leased.pair.node("hadev1")?.command("nft").args(["flush", "ruleset"]).output()?;
        assert!(flushed.status.success(), "{}", String::from_utf8_lossy(&flushed.stderr));
        // Until the lifetime of the addresses is over.
        println!("takeover without the table: {:?}", leased.taken_over_by("hadev2", fault)?);
        leased.one_owner()
    });
}

#[test]
fn without_the_table_and_deaf_to_the_question_a_stopped_node_is_a_second_owner_and_the_sampler_sees_it() {
    story(|| {
        // What the other stories would see if the kernel did not hold the lease.
        const MUTE: &str = "flush ruleset\ntable arp story {\n chain out {\n type filter hook output priority 0;\n drop\n }\n}\n\
            table ip6 story {\n chain out {\n type filter hook output priority 0;\n icmpv6 type nd-neighbor-advert drop\n }\n}\n";
        let leased = leased()?;
        leased.signal_ours("hadev1", Signal::SIGSTOP)?;
        let node = leased.pair.node("hadev1")?;
        node.write("/run/story.nft", MUTE)?;
        let output = node.command("nft").args(["-f", "/run/story.nft"]).output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        leased.pair.wait_role("hadev2", "active")?;
        let seen = leased.answers.settled();
        println!("{} rounds with two owners", seen.both.len());
        assert!(seen.both.len() > 10, "{:?}", seen.changes);
        Ok(())
    });
}

#[test]
fn a_leaseholder_without_power_is_followed_behind_switches() {
    story(|| {
        let leased = leased()?;
        let fault = mark();
        leased.pair.lab.power_off("hadev1")?;
        println!("takeover after power-off: {:?}", leased.taken_over_by("hadev2", fault)?);
        leased.one_owner()
    });
}

#[test]
fn the_witness_dies_and_comes_back_and_nothing_moves() {
    story(|| {
        let mut leased = leased()?;
        let (begin, before) = (mark(), leased.pair.all_role_changes());
        leased.kill_witness()?;
        for node in PAIR {
            leased.pair.wait_alarm(node, "witness", true)?;
        }
        settle();
        leased.start_witness()?;
        for node in PAIR {
            leased.pair.wait_alarm(node, "witness", false)?;
        }
        settle();
        assert_eq!(leased.pair.all_role_changes(), before);
        assert!(leased.pair.outage(begin) < Duration::from_millis(200), "{:?}", leased.pair.outage(begin));
        leased.one_owner()
    });
}

#[test]
fn without_witness_and_links_nobody_serves_and_why_says_so() {
    story(|| {
        let mut leased = leased()?;
        leased.kill_witness()?;
        leased.pair.wait_alarm("hadev1", "witness", true)?;
        leased.part_the_nodes()?;
        leased.pair.wait_role("hadev1", "standby")?;
        let let_go = mark();
        settle();
        assert!(leased.answers.settled().longest_silence(let_go, mark()) > Duration::from_secs(1), "nobody serves");
        for node in PAIR {
            assert_eq!(leased.pair.role(node), "standby");
            let why = String::from_utf8(leased.pair.avamgr(node, &["why"])?.stdout)?;
            assert!(why.contains("voters") || why.contains("majority"), "{why}");
            leased.pair.wait_alarm(node, "witness", true)?;
        }
        leased.start_witness()?;
        let back = mark();
        let served = || PAIR.iter().any(|node| leased.pair.role(node) == "active");
        avamgr_lab::wait_until(SOON, "a node to serve again", served)?;
        println!("served again {:?} after the witness came back", back.elapsed());
        leased.one_owner()
    });
}

#[test]
fn a_switchover_there_and_back_without_the_witness() {
    story(|| {
        let mut leased = leased()?;
        leased.kill_witness()?;
        leased.pair.wait_alarm("hadev1", "witness", true)?;
        for (from, to) in [("hadev1", "hadev2"), ("hadev2", "hadev1")] {
            let order = mark();
            let output = leased.pair.avamgr(from, &["switchover", "dre"])?;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            println!("switchover to {to}: {:?}", leased.taken_over_by(to, order)?);
            leased.pair.wait_role(from, "standby")?;
            settle();
        }
        leased.one_owner()
    });
}

#[test]
fn a_table_that_somebody_flushes_is_put_back() {
    story(|| {
        let leased = leased()?;
        let (begin, before) = (mark(), leased.pair.all_role_changes());
        let node = leased.pair.node("hadev1")?;
        let tables = || -> Result<String, Box<dyn std::error::Error>> {
            let output = node.command("nft").args(["list", "ruleset"]).output()?;
            Ok(String::from_utf8(output.stdout)?)
        };
        assert!(tables()?.contains("table netdev avamgr_hadev"), "{}", tables()?);
        node.command("nft").args(["flush", "ruleset"]).output()?;
        let back = || tables().is_ok_and(|text| text.contains("table netdev avamgr_hadev") && text.contains("drop"));
        avamgr_lab::wait_until(SOON, "the table to be put back", back)?;
        println!("put back {:?} after the flush; log:\n{}", begin.elapsed(), node.log("avamgrd"));
        settle();
        assert_eq!(leased.pair.all_role_changes(), before);
        // It is a gate again, and not only a table.
        let fault = mark();
        leased.signal_ours("hadev1", Signal::SIGSTOP)?;
        leased.taken_over_by("hadev2", fault)?;
        leased.one_owner()
    });
}

#[test]
fn a_witness_with_another_key_gives_no_vote_and_both_sides_count_why() {
    story(|| {
        let mut leased = Leased::install(Plan::pair().switched(), INTERVAL, "")?;
        leased.write_keys("arbitrator", "hadev.keys", "0123456776543210")?;
        leased.start_witness()?;
        leased.pair.start_daemon("hadev1")?;
        settle();
        assert_eq!(leased.pair.role("hadev1"), "standby", "one voter of three is no majority");
        let status = leased.witness_status()?;
        assert!(status.contains("digest"), "{status}");
        let why = String::from_utf8(leased.pair.avamgr("hadev1", &["why"])?.stdout)?;
        assert!(why.contains("voters") || why.contains("majority"), "{why}");
        leased.one_owner()
    });
}

#[test]
fn recorded_requests_of_a_former_holder_change_no_vote() {
    story(|| {
        let leased = leased()?;
        let node = leased.pair.node("hadev1")?;
        let frames = record(&node, "eth0", [[172, 16, 8, 50], [172, 16, 8, 250]], 20)?;
        let fault = mark();
        leased.pair.daemon("hadev1").kill9()?;
        leased.taken_over_by("hadev2", fault)?;
        let before = leased.pair.role_changes("hadev2")?;
        play(&node, "eth0", &frames)?;
        let status = leased.witness_status()?;
        assert!(status.contains("replayed"), "{status}");
        settle();
        assert_eq!((leased.pair.role_changes("hadev2")?, leased.pair.role("hadev2")), (before, "active".to_owned()));
        leased.one_owner()
    });
}

#[test]
fn one_way_cuts_to_the_witness_move_nothing() {
    story(|| {
        let leased = leased()?;
        let before = leased.pair.all_role_changes();
        for way in [Way::From, Way::To] {
            leased.pair.lab.cut_one_way("neutral", "hadev1", way)?;
            settle();
            leased.pair.lab.heal_all()?;
        }
        assert_eq!(leased.pair.all_role_changes(), before);
        leased.one_owner()
    });
}

#[test]
fn three_nodes_need_no_witness_and_the_next_in_rank_takes_over() {
    story(|| {
        const NODES: &[&str] = &["hadev1", "hadev2", "hadev3"];
        let config = cluster(NODES, "", &V4_AND_V6).replace("[cluster]\n", "[cluster]\nauthority = \"lease\"\n");
        let pair = Pair::start_nodes(NODES, Plan::nodes(3), &format!("{config}{GROUP}{SLEEPER}"), |_, _| Ok(()))?;
        let answers = Answers::start(&pair.node("client")?, VIP.parse()?, pair.lab.nodes())?;
        let leased = Leased { pair, witness: None, answers, lease: INTERVAL * INTERVALS };
        settle();
        let fault = mark();
        leased.pair.lab.power_off("hadev1")?;
        println!("takeover among three: {:?}", leased.taken_over_by("hadev2", fault)?);
        assert_eq!(leased.pair.role("hadev3"), "standby");
        leased.one_owner()
    });
}

#[test]
fn short_intervals_keep_the_lease_with_the_witness_and_without() {
    story(|| on_a_steady_machine(SHORT, keeps_the_lease_with_the_witness_and_without));
}

fn keeps_the_lease_with_the_witness_and_without() -> Outcome {
    let mut leased = Leased::start_at(Plan::pair().switched(), SHORT, "")?;
    let (from, before) = (mark(), leased.pair.all_role_changes());
    settle();
    println!("longest outage in a quiet time: {:?}", leased.pair.outage(from));
    leased.kill_witness()?;
    leased.pair.wait_alarm("hadev1", "the witness does not answer", true)?;
    let from = mark();
    settle();
    println!("longest outage without the witness: {:?}", leased.pair.outage(from));
    let status = String::from_utf8(leased.pair.avamgr("hadev1", &["status"])?.stdout)?;
    assert!(status.contains("hadev2: promised to hadev1"), "{status}");
    assert_eq!(leased.pair.all_role_changes(), before);
    leased.one_owner()
}
