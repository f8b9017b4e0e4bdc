//! Bad cables: frames that are delayed, lost, doubled, overtaken and damaged on both dedicated links, at default settings.
//! Nobody takes over for that, and what the cables did is found in the counters.

use std::error::Error;
use std::time::Duration;

use avamgr_lab::{Plan, mark, on_a_steady_machine, story, wait_until};
use serde_json::Value;

use crate::pair::{Outcome, PAIR, Pair, SLEEPER, SOON, config, text};
use crate::tools::{links, run, told_since, told_so_far};

/// The dedicated links.
const CABLES: [&str; 2] = ["eth3", "eth4"];

/// Heartbeats a second, from the default failover budget.
const PACE: u64 = 10;

/// Between the worst distance of two frames on these cables and the dead time: a machine that stands still for longer takes a
/// link down, as it must.
const SPARE: Duration = Duration::from_millis(50);

/// Links that an emulated machine may lose by standing still for many short times; cables that are too bad for the dead time
/// lose dozens.
const STALLS: usize = 3;

/// A story of a machine that runs.
fn steady(body: impl FnMut() -> Outcome) {
    story(|| on_a_steady_machine(SPARE, body));
}

/// What was seen of bad cables.
struct Endured {
    pair: Pair,
    /// Both links as both nodes see them.
    links: Vec<Value>,
    /// Links that went down.
    downs: Vec<String>,
}

impl Endured {
    /// Refused frames on one of the links, by cause, as the daemons have counted them.
    fn refused(&self, link: &str, cause: &str) -> u64 {
        let of_link = self.links.iter().filter(|seen| seen["link"] == link);
        of_link.filter_map(|seen| seen["refused"][cause].as_u64()).sum()
    }

    /// The same on both links.
    fn refused_on_both(&self, cause: &str) -> u64 {
        self.refused("primary", cause) + self.refused("secondary", cause)
    }

    /// A measured value, of each link at each node.
    fn each(&self, value: &str) -> Vec<u64> {
        self.links.iter().map(|link| link[value].as_u64().unwrap_or_default()).collect()
    }
}

/// Lets the cables be bad for a while: no role changes, the address stays and answers, frames go on to arrive; and all is
/// well when the cables are.
fn endure(how: &str, lasts: Duration) -> Result<Endured, Box<dyn Error>> {
    let pair = Pair::start(Plan::pair(), &config("", SLEEPER))?;
    for node in PAIR {
        // What damages a frame behind the network card is not found by the kernel: without a checksum there is only the seal.
        run(&pair, node, "tc qdisc add dev eth3 ingress")?;
        let blank = "action pedit munge offset 26 u16 set 0";
        run(&pair, node, &format!("tc filter add dev eth3 parent ffff: protocol ip flower ip_proto udp {blank}"))?;
    }
    let (changes, told, before) = (pair.all_role_changes(), told_so_far(&pair)?, links(&pair)?);
    for (node, cable) in ends() {
        run(&pair, node, &format!("tc qdisc add dev {cable} root netem {how}"))?;
    }
    let begin = mark();
    std::thread::sleep(lasts);
    let (links, outage, told) = (links(&pair)?, pair.outage(begin), told_since(&pair, &told)?);
    let is_down = |sentence: &&String| sentence.contains("link ") && sentence.contains(" is down: ");
    let downs: Vec<String> = told.iter().filter(is_down).cloned().collect();
    let late = told.iter().filter(|sentence| sentence.contains(" is late: ")).count();
    println!("{how}: outage {outage:?}, {late} times late, {} times down", downs.len());
    links.iter().for_each(|link| println!("  {link}"));
    assert_eq!(pair.all_role_changes(), changes, "a false failover: {told:#?}");
    assert_eq!((pair.role("hadev1"), pair.role("hadev2")), ("active".to_owned(), "standby".to_owned()));
    assert!(outage < Duration::from_millis(500), "the address was away for {outage:?}");
    for (now, before) in links.iter().zip(&before) {
        let heard = now["received"].as_u64().unwrap_or_default() - before["received"].as_u64().unwrap_or_default();
        assert!(heard > lasts.as_secs() * PACE / 2, "a cable that carries nothing is none of this story: {now}");
    }
    for (node, cable) in ends() {
        run(&pair, node, &format!("tc qdisc del dev {cable} root"))?;
    }
    wait_until(SOON, "both links to be up", || is_well(&pair))?;
    assert_eq!(pair.all_role_changes(), changes, "a false failover at the heal: {told:#?}");
    pair.never_two_owners()?;
    Ok(Endured { pair, links, downs })
}

fn ends() -> impl Iterator<Item = (&'static str, &'static str)> {
    PAIR.iter().flat_map(|node| CABLES.map(|cable| (*node, cable)))
}

fn is_well(pair: &Pair) -> bool {
    let all_up = links(pair).is_ok_and(|links| links.iter().all(|link| text(&link["state"]) == "up"));
    all_up && PAIR.iter().all(|node| pair.status(node).is_ok_and(|status| status["alarms"] == Value::Array(Vec::new())))
}

#[test]
fn a_delay_of_100_ms_give_or_take_50_takes_no_link_down() {
    steady(|| {
        let seen = endure("delay 100ms 50ms", Duration::from_secs(15))?;
        assert_eq!(seen.downs, Vec::<String>::new());
        let trips = seen.each("rtt_micros");
        assert!(trips.iter().all(|trip| (150_000..300_000).contains(trip)), "{trips:?}");
        let jitters = seen.each("jitter_micros");
        assert!(jitters.iter().all(|jitter| *jitter > 10_000), "{jitters:?}");
        Ok(())
    });
}

#[test]
fn a_tenth_of_the_frames_lost_moves_nothing_and_is_shown() {
    steady(|| {
        // A link is down when two heartbeats in a row are lost and the third is no earlier than the dead time.
        let seen = endure("loss 10%", Duration::from_secs(12))?;
        let lost = seen.each("loss_percent");
        assert!(lost.iter().all(|percent| (1..50).contains(percent)), "{lost:?}");
        Ok(())
    });
}

#[test]
fn frames_that_come_twice_count_once_and_take_no_link_down() {
    steady(|| {
        let seen = endure("duplicate 20%", Duration::from_secs(12))?;
        assert_eq!(seen.downs, Vec::<String>::new());
        let twice = seen.refused_on_both("replayed");
        assert!(twice > 20, "only {twice} duplicates were refused");
        assert!(seen.each("loss_percent").iter().all(|percent| *percent == 0), "what comes twice is not lost");
        Ok(())
    });
}

#[test]
fn frames_that_overtake_each_other_are_refused_and_take_no_link_down() {
    steady(|| {
        let seen = endure("delay 120ms reorder 25%", Duration::from_secs(12))?;
        assert!(seen.downs.len() <= STALLS, "{:?}", seen.downs);
        let overtaken = seen.refused_on_both("replayed");
        assert!(overtaken > 5, "only {overtaken} frames were overtaken");
        Ok(())
    });
}

#[test]
fn a_tenth_of_the_frames_damaged_is_refused_by_the_seal_and_moves_nothing() {
    steady(|| {
        let seen = endure("corrupt 10%", Duration::from_secs(12))?;
        let refused = seen.refused("primary", "digest");
        assert!(refused > 5, "only {refused} damaged frames came as far as the seal");
        // With its checksum a damaged frame is dropped by the kernel: it never comes as far.
        assert_eq!(seen.refused("secondary", "digest"), 0);
        let counted = dropped_by_checksum(&seen.pair)?;
        assert!(counted > 5, "only {counted} damaged frames came to the kernel");
        Ok(())
    });
}

/// What the kernels of both nodes have refused on IPv6.
fn dropped_by_checksum(pair: &Pair) -> Result<u64, Box<dyn Error>> {
    let mut sum = 0;
    for node in PAIR {
        let output = pair.node(node)?.command("cat").arg("/proc/net/snmp6").output()?;
        let counters = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = counters.lines().find(|line| line.starts_with("Udp6InCsumErrors")).ok_or("no such counter")?;
        sum += line.split_whitespace().nth(1).ok_or("no number")?.parse::<u64>()?;
    }
    Ok(sum)
}

#[test]
fn everything_at_once_moves_nothing() {
    steady(|| {
        let how = "delay 100ms 50ms loss 5% duplicate 5% corrupt 5% reorder 10%";
        let seen = endure(how, Duration::from_secs(20))?;
        assert!(seen.refused("primary", "digest") > 0 && seen.refused_on_both("replayed") > 0);
        assert!(seen.each("loss_percent").iter().any(|percent| *percent > 0));
        assert!(seen.each("rtt_micros").iter().all(|trip| *trip > 100_000));
        Ok(())
    });
}
