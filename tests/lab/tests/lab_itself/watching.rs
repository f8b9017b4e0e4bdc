//! What the lab sees: owners, answers, announcements, cost.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use avamgr_lab::{Announcements, Cidr, Lab, Plan, Probe, VIP, VIP6, story, wait_until};

use crate::{SOON, alone, cidr, ip, pair};

#[test]
fn the_record_of_owners_tells_dual_and_nobody() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, b) = pair(&lab);
        let vip = [cidr("172.16.9.61/24")];
        let start = Instant::now();
        a.add_addresses("eth1", &vip)?;
        wait_until(SOON, "a owns it", || lab.owners().of(ip(VIP)) == ["hadev1"])?;
        // Each state is seen before it is counted, and lasts no longer than what surrounds it: this machine may stand still.
        let dual = Instant::now();
        b.add_addresses("eth1", &vip)?;
        wait_until(SOON, "both own it", || lab.owners().of(ip(VIP)).len() == 2)?;
        std::thread::sleep(Duration::from_millis(60));
        a.del_addresses("eth1", &vip)?;
        wait_until(SOON, "b owns it alone", || lab.owners().of(ip(VIP)) == ["hadev2"])?;
        let (dual, nobody) = (dual.elapsed(), Instant::now());
        b.del_addresses("eth1", &vip)?;
        wait_until(SOON, "nobody owns it", || lab.owners().of(ip(VIP)).is_empty())?;
        std::thread::sleep(Duration::from_millis(40));
        b.add_prefix("eth1", cidr("172.16.9.60/30"))?;
        wait_until(SOON, "b owns it by a prefix", || lab.owners().of(ip(VIP)) == ["hadev2"])?;
        let end = Instant::now();
        lab.cross_check_owners(SOON)?;
        let (first, second) =
            (lab.owners().between(ip(VIP), start, nobody), lab.owners().between(ip(VIP), nobody, Instant::now()));
        assert!((Duration::from_millis(60)..dual).contains(&first.dual), "{first:?} within {dual:?}");
        assert!((Duration::from_millis(40)..end - nobody).contains(&second.nobody), "{second:?}");
        assert!(second.dual.is_zero(), "{second:?}");
        assert!(!lab.owners().overrun_since(start));
        Ok(())
    });
}

#[test]
fn the_probe_sees_an_address_move_and_the_capture_hears_why() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, b) = pair(&lab);
        let client = lab.host("client")?;
        let vip = [cidr("172.16.9.61/24"), cidr("2001:db8:9::61/64")];
        let probe = Probe::start(&client, &[ip(VIP), ip(VIP6)])?;
        let capture = Announcements::capture(&client)?;
        a.add_addresses("eth1", &vip)?;
        probe.wait_for_answer(ip(VIP), "hadev1", SOON)?;
        probe.wait_for_answer(ip(VIP6), "hadev1", SOON)?;
        let start = Instant::now();
        std::thread::sleep(Duration::from_millis(300));
        assert!(probe.outage_since(ip(VIP), start).longest < Duration::from_millis(100));
        // Without an announcement the client keeps asking the old node, however right the addresses are.
        let fault = Instant::now();
        a.del_addresses("eth1", &vip)?;
        b.add_addresses("eth1", &vip)?;
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(probe.outage_since(ip(VIP), fault).ended_by, None);
        b.announce("eth1", VIP.parse()?)?;
        probe.wait_for_answer(ip(VIP), "hadev2", SOON)?;
        let outage = probe.outage_since(ip(VIP), fault);
        assert_eq!(outage.ended_by.as_deref(), Some("hadev2"));
        assert!((290..600).contains(&outage.longest.as_millis()), "{outage:?}");
        let takeover = probe.sightings().takeover_by("hadev2", fault, Instant::now());
        assert!(takeover.first.is_some_and(|first| first.as_millis() >= 290), "{takeover:?}");
        // The capture may hear it later than the client.
        wait_until(SOON, "the capture to hear it", || !capture.of(ip(VIP), fault).is_empty())?;
        assert_eq!((capture.of(ip(VIP), fault).len(), capture.since(fault).len()), (1, 1));
        assert_eq!(capture.of(ip(VIP), fault)[0].mac.to_vec(), b.netlink()?.link("eth1")?.mac);
        Ok(())
    });
}

#[test]
fn a_prefix_answers_from_all_its_addresses() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, _) = pair(&lab);
        let targets: Vec<IpAddr> = (128..192).map(|last| IpAddr::from([172, 16, 9, last])).collect();
        let probe = Probe::start(&lab.host("client")?, &targets)?;
        let start = Instant::now();
        a.add_prefix("eth1", cidr("172.16.9.128/26"))?;
        wait_until(SOON, "an answer of every address", || {
            probe.sightings().takeover_by("hadev1", start, Instant::now()).silent.is_empty()
        })?;
        assert_eq!(lab.owners().of(targets[40]), ["hadev1"]);
        Ok(())
    });
}

#[test]
fn thousands_of_addresses_are_added_and_recorded() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, _) = pair(&lab);
        let vips: Vec<Cidr> =
            (0..4000u32).map(|n| Cidr { ip: std::net::Ipv4Addr::from(0xac11_0000 + n).into(), len: 32 }).collect();
        let start = Instant::now();
        a.add_addresses("eth1", &vips)?;
        wait_until(SOON, "all of them in the record", || {
            vips.iter().all(|vip| lab.owners().owned_by("hadev1").contains(vip))
        })?;
        lab.cross_check_owners(SOON)?;
        assert!(!lab.owners().overrun_since(start));
        Ok(())
    });
}

#[test]
fn a_hung_probe_knows_it() {
    alone("watching::a_hung_probe_knows_it", || {
        story(|| {
            let lab = Lab::start(Plan::pair())?;
            let probe = Probe::start(&lab.host("client")?, &[ip("172.16.9.54")])?;
            probe.wait_for_answer(ip("172.16.9.54"), "hadev1", SOON)?;
            let start = Instant::now();
            hang_this_process(Duration::from_millis(200));
            std::thread::sleep(Duration::from_millis(20));
            let stalls = probe.stalls_since(start);
            assert!(stalls.iter().any(|stall| stall.late > Duration::from_millis(150)), "{stalls:?}");
            Ok(())
        });
    });
}

/// A stop that a helper ends: this process cannot.
fn hang_this_process(time: Duration) {
    let script = format!("kill -STOP $PPID; sleep {}; kill -CONT $PPID", time.as_secs_f64());
    assert!(std::process::Command::new("sh").args(["-c", &script]).status().unwrap().success());
}

#[test]
fn the_cost_of_a_program_is_seen() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, b) = pair(&lab);
        a.command("sh").args(["-c", "while :; do :; done"]).spawn()?;
        let before = (a.usage()?, b.usage()?);
        std::thread::sleep(Duration::from_millis(400));
        let cost = (a.usage()? - before.0, b.usage()? - before.1);
        assert!(cost.0.run > Duration::from_millis(40) && cost.0.rss_kib > 100 && cost.0.processes == 1, "{cost:?}");
        assert_eq!((cost.1.run, cost.1.processes), (Duration::ZERO, 0));
        Ok(())
    });
}
