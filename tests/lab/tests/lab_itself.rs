//! The lab proves itself: every piece a story leans on is shown to do what it says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use avamgr_lab::{
    Announcements, Carrier, Cidr, Host, Lab, Plan, Probe, VIP, VIP6, Way, story, wait_until,
};

const SOON: Duration = Duration::from_secs(3);

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Sends `count` datagrams to each other's address and counts what arrives.
fn deliver(from: &Host, to: &Host, address: &str, count: u32) -> u32 {
    let bind = if address.contains(':') {
        "[::]:9999"
    } else {
        "0.0.0.0:9999"
    };
    let receiver = to.in_netns(|| UdpSocket::bind(bind)).unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let any = if address.contains(':') {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    };
    let sender = from.in_netns(|| UdpSocket::bind(any)).unwrap();
    let target = (ip(address), 9999);
    let mut got = 0;
    let mut buffer = [0; 16];
    for _ in 0..count {
        // A link without carrier refuses, which counts as lost.
        let _ = sender.send_to(b"frame", target);
        // Emptied at once, so that the socket's buffer loses nothing.
        receiver.set_nonblocking(true).unwrap();
        while receiver.recv(&mut buffer).is_ok() {
            got += 1;
        }
        receiver.set_nonblocking(false).unwrap();
    }
    while receiver.recv(&mut buffer).is_ok() {
        got += 1;
    }
    got
}

fn pair(lab: &Lab) -> (Host, Host) {
    (lab.host("hadev1").unwrap(), lab.host("hadev2").unwrap())
}

#[test]
fn nodes_are_separate_machines() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, b) = pair(&lab);
        let out = a
            .command("sh")
            .args([
                "-c",
                "hostname; echo $$; ls /run /sys/class/net; cat /etc/hostname",
            ])
            .output()?;
        let text = String::from_utf8(out.stdout)?;
        assert!(text.starts_with("hadev1\n"), "{text}");
        assert!(
            text.contains("eth4") && text.contains("lock") && text.ends_with("hadev1\n"),
            "{text}"
        );
        a.write("/etc/avamgr/avamgr.toml", "only on a")?;
        assert_eq!(
            a.command("cat")
                .arg("/etc/avamgr/avamgr.toml")
                .output()?
                .stdout,
            b"only on a"
        );
        assert!(
            !b.command("cat")
                .arg("/etc/avamgr/avamgr.toml")
                .output()?
                .status
                .success()
        );
        assert!(!std::path::Path::new("/etc/avamgr/avamgr.toml").exists());
        // The machine's own files stay readable, and its programs run.
        assert!(
            a.command("cat")
                .arg("/etc/passwd")
                .output()?
                .stdout
                .starts_with(b"root:")
        );
        assert!(a.write("/etc/passwd", "never").is_err());
        Ok(())
    });
}

#[test]
fn every_network_carries_both_families() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, b) = pair(&lab);
        for address in [
            "172.16.11.55",
            "fd00:13::55",
            "172.16.9.55",
            "2001:db8:9::55",
        ] {
            assert_eq!(deliver(&a, &b, address, 3), 3, "{address}");
        }
        let (client, arbitrator) = (lab.host("client")?, lab.host("arbitrator")?);
        assert_eq!(deliver(&client, &b, "172.16.9.55", 3), 3);
        assert_eq!(deliver(&a, &arbitrator, "172.16.6.250", 3), 3);
        assert_eq!(deliver(&a, &arbitrator, "2001:db8:8::250", 3), 3);
        Ok(())
    });
}

#[test]
fn a_pulled_cable_takes_the_carrier_of_both_ends_and_gives_it_back() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, b) = pair(&lab);
        let carriers = || (a.carrier("eth3").unwrap(), b.carrier("eth3").unwrap());
        lab.pull("hb1")?;
        wait_until(SOON, "no carrier", || {
            carriers() == (Carrier::NoCarrier, Carrier::NoCarrier)
        })?;
        assert_eq!(a.carrier("eth4")?, Carrier::Up);
        assert_eq!(deliver(&a, &b, "172.16.13.55", 2), 2);
        lab.plug("hb1")?;
        wait_until(SOON, "carrier", || carriers() == (Carrier::Up, Carrier::Up))?;
        // Back to back, one end's cable and one end's interface are the other end's carrier too.
        lab.pull_at("hb1", "hadev1")?;
        wait_until(SOON, "no carrier", || {
            carriers() == (Carrier::NoCarrier, Carrier::NoCarrier)
        })?;
        lab.heal_all()?;
        lab.settle()?;
        assert_eq!(deliver(&a, &b, "172.16.11.55", 2), 2);
        a.set_interface("eth3", false)?;
        wait_until(SOON, "no carrier at b", || {
            carriers() == (Carrier::Down, Carrier::NoCarrier)
        })?;
        a.set_interface("eth3", true)?;
        wait_until(SOON, "carrier", || carriers() == (Carrier::Up, Carrier::Up))?;
        Ok(())
    });
}

#[test]
fn silence_and_one_way_cuts_leave_the_carrier() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, b) = pair(&lab);
        assert_eq!(
            (
                deliver(&a, &b, "172.16.11.55", 2),
                deliver(&b, &a, "172.16.11.54", 2)
            ),
            (2, 2)
        );
        lab.silence("hb1")?;
        assert_eq!(
            (
                deliver(&a, &b, "172.16.11.55", 2),
                deliver(&b, &a, "172.16.11.54", 2)
            ),
            (0, 0)
        );
        assert_eq!(
            (a.carrier("eth3")?, b.carrier("eth3")?),
            (Carrier::Up, Carrier::Up)
        );
        lab.heal("hb1")?;
        assert_eq!(
            (
                deliver(&a, &b, "172.16.11.55", 2),
                deliver(&b, &a, "172.16.11.54", 2)
            ),
            (2, 2)
        );
        lab.cut_one_way("hb1", "hadev1", Way::From)?;
        assert_eq!(
            (
                deliver(&a, &b, "172.16.11.55", 2),
                deliver(&b, &a, "172.16.11.54", 2)
            ),
            (0, 2)
        );
        lab.heal("hb1")?;
        lab.cut_one_way("hb1", "hadev1", Way::To)?;
        assert_eq!(
            (
                deliver(&a, &b, "172.16.11.55", 2),
                deliver(&b, &a, "172.16.11.54", 2)
            ),
            (2, 0)
        );
        assert_eq!(
            (a.carrier("eth3")?, b.carrier("eth3")?),
            (Carrier::Up, Carrier::Up)
        );
        Ok(())
    });
}

#[test]
fn thirty_percent_loss_is_thirty_percent() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, b) = pair(&lab);
        assert_eq!(deliver(&a, &b, "172.16.11.55", 1000), 1000);
        lab.lose("hb1", 30)?;
        let got = deliver(&a, &b, "172.16.11.55", 2000);
        // Six standard deviations around 1400.
        assert!((1277..=1523).contains(&got), "{got} of 2000 arrived");
        assert_eq!(deliver(&a, &b, "172.16.13.55", 100), 100);
        Ok(())
    });
}

#[test]
fn power_off_is_sudden_and_power_on_is_a_fresh_machine() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, b) = pair(&lab);
        a.add_addresses("eth1", &[cidr("172.16.9.61/24")])?;
        let cry = "trap 'echo cried > /etc/avamgr/cry' TERM HUP; while :; do sleep 0.01; done";
        a.write("/etc/avamgr/keep", "kept")?;
        a.write("/run/gone", "volatile")?;
        let process = a.command("sh").args(["-c", cry]).spawn()?;
        wait_until(SOON, "the VIP in the record", || {
            lab.owners().of(ip(VIP)) == ["hadev1"]
        })?;
        let off = lab.power_off("hadev1")?;
        assert!(off.took < Duration::from_millis(50), "{off:?}");
        assert!(process.ended()?.is_some() && !a.is_on() && a.command("true").spawn().is_err());
        assert!(lab.owners().of(ip(VIP)).is_empty());
        wait_until(SOON, "no carrier at b", || {
            b.carrier("eth3").unwrap() == Carrier::NoCarrier
        })?;
        assert_eq!(b.carrier("eth1")?, Carrier::Up);
        let before = b.netlink()?.link("eth3")?;
        lab.power_on("hadev1")?;
        wait_until(SOON, "carrier at b", || {
            b.carrier("eth3").unwrap() == Carrier::Up
        })?;
        assert_eq!(b.netlink()?.link("eth3")?.index, before.index);
        assert!(
            !a.has_address(ip(VIP))?
                && a.has_address(ip("172.16.9.54"))?
                && a.has_address(ip("fd00:11::54"))?
        );
        assert_eq!(
            (a.read("/etc/avamgr/keep")?, a.read("/run/gone").is_err()),
            ("kept".to_owned(), true)
        );
        assert!(a.read("/etc/avamgr/cry").is_err());
        assert_eq!(a.pids()?, Vec::<i32>::new());
        assert_eq!(deliver(&b, &a, "172.16.11.54", 2), 2);
        assert_eq!(deliver(&b, &a, "2001:db8:9::54", 2), 2);
        Ok(())
    });
}

#[test]
fn a_stopped_host_does_nothing_until_it_goes_on() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, _) = pair(&lab);
        let process = a
            .command("sh")
            .args(["-c", "while :; do echo tick; sleep 0.01; done"])
            .spawn()?;
        wait_until(SOON, "ticks", || process.log().len() > 20)?;
        a.freeze()?;
        let before = process.log().len();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(process.log().len(), before);
        a.thaw()?;
        wait_until(SOON, "ticks again", || process.log().len() > before)?;
        Ok(())
    });
}

/// What a lab might leave on the machine.
fn traces() -> (BTreeSet<String>, BTreeSet<String>) {
    let names = |dir: &str| -> BTreeSet<String> {
        fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    let own = std::process::id().to_string();
    let parent = |pid: &String| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_child = |stat: &str| {
        stat.rsplit(") ")
            .next()
            .and_then(|rest| rest.split(' ').nth(1))
            == Some(own.as_str())
    };
    let children = names("/proc")
        .into_iter()
        .filter(|pid| is_child(&parent(pid)))
        .collect();
    (children, names("/sys/class/net"))
}

#[test]
fn nothing_is_left_behind_even_by_a_panic() {
    alone("nothing_is_left_behind_even_by_a_panic", || {
        story(|| {
            let before = traces();
            let scratch = leave_by_panic();
            let after = traces();
            assert_eq!(before.0, after.0, "processes");
            assert_eq!(before.1, after.1, "interfaces");
            assert!(!scratch.exists());
            Ok(())
        });
    });
}

/// Gives a test that counts or stops its own process a process of its own.
fn alone(test: &str, body: impl FnOnce()) {
    if std::env::args().any(|arg| arg == "--exact") {
        return body();
    }
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    let output = again
        .args(["--exact", test, "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

fn leave_by_panic() -> std::path::PathBuf {
    let (tell, told) = std::sync::mpsc::channel();
    let outcome = std::thread::spawn(move || {
        let lab = Lab::start(Plan::pair()).unwrap();
        let node = lab.host("hadev1").unwrap();
        // A daemon that has left its session, its parent and its signals behind.
        let daemon = "setsid sh -c 'trap \"\" TERM HUP INT; sleep 1000' & exit 0";
        node.command("sh").args(["-c", daemon]).spawn().unwrap();
        wait_until(SOON, "the daemon", || !node.pids().unwrap().is_empty()).unwrap();
        tell.send((lab.scratch(), node.pids().unwrap())).unwrap();
        // A panic without the noise of its message.
        std::panic::resume_unwind(Box::new("on purpose"));
    })
    .join();
    assert!(outcome.is_err());
    let (scratch, pids) = told.recv().unwrap();
    assert!(!pids.is_empty());
    for pid in pids {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        assert!(comm.is_empty(), "{pid} ({comm}) lives on");
    }
    scratch
}

#[test]
fn the_record_of_owners_tells_dual_and_nobody() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, b) = pair(&lab);
        let vip = [cidr("172.16.9.61/24")];
        let start = Instant::now();
        a.add_addresses("eth1", &vip)?;
        wait_until(SOON, "a owns it", || lab.owners().of(ip(VIP)) == ["hadev1"])?;
        b.add_addresses("eth1", &vip)?;
        std::thread::sleep(Duration::from_millis(60));
        a.del_addresses("eth1", &vip)?;
        wait_until(SOON, "b owns it alone", || {
            lab.owners().of(ip(VIP)) == ["hadev2"]
        })?;
        let mid = Instant::now();
        b.del_addresses("eth1", &vip)?;
        std::thread::sleep(Duration::from_millis(40));
        b.add_prefix("eth1", cidr("172.16.9.60/30"))?;
        wait_until(SOON, "b owns it by a prefix", || {
            lab.owners().of(ip(VIP)) == ["hadev2"]
        })?;
        lab.cross_check_owners(SOON)?;
        let (first, second) = (
            lab.owners().between(ip(VIP), start, mid),
            lab.owners().between(ip(VIP), mid, Instant::now()),
        );
        assert!((60..200).contains(&first.dual.as_millis()), "{first:?}");
        assert!(
            (40..200).contains(&second.nobody.as_millis()) && second.dual.is_zero(),
            "{second:?}"
        );
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
        assert!(
            (290..600).contains(&outage.longest.as_millis()),
            "{outage:?}"
        );
        let takeover = probe
            .sightings()
            .takeover_by("hadev2", fault, Instant::now());
        assert!(
            takeover.first.is_some_and(|first| first.as_millis() >= 290),
            "{takeover:?}"
        );
        assert_eq!(
            (capture.of(ip(VIP), fault).len(), capture.since(fault).len()),
            (1, 1)
        );
        assert_eq!(
            capture.of(ip(VIP), fault)[0].mac.to_vec(),
            b.netlink()?.link("eth1")?.mac
        );
        Ok(())
    });
}

#[test]
fn a_prefix_answers_from_all_its_addresses() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, _) = pair(&lab);
        let targets: Vec<IpAddr> = (128..192)
            .map(|last| IpAddr::from([172, 16, 9, last]))
            .collect();
        let probe = Probe::start(&lab.host("client")?, &targets)?;
        let start = Instant::now();
        a.add_prefix("eth1", cidr("172.16.9.128/26"))?;
        wait_until(SOON, "an answer of every address", || {
            probe
                .sightings()
                .takeover_by("hadev1", start, Instant::now())
                .silent
                .is_empty()
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
        let vips: Vec<Cidr> = (0..4000u32)
            .map(|n| Cidr {
                ip: std::net::Ipv4Addr::from(0xac11_0000 + n).into(),
                len: 32,
            })
            .collect();
        let start = Instant::now();
        a.add_addresses("eth1", &vips)?;
        wait_until(SOON, "all of them in the record", || {
            vips.iter()
                .all(|vip| lab.owners().owned_by("hadev1").contains(vip))
        })?;
        lab.cross_check_owners(SOON)?;
        assert!(!lab.owners().overrun_since(start));
        Ok(())
    });
}

#[test]
fn a_hung_probe_knows_it() {
    alone("a_hung_probe_knows_it", || {
        story(|| {
            let lab = Lab::start(Plan::pair())?;
            let probe = Probe::start(&lab.host("client")?, &[ip("172.16.9.54")])?;
            probe.wait_for_answer(ip("172.16.9.54"), "hadev1", SOON)?;
            let start = Instant::now();
            hang_this_process(Duration::from_millis(200));
            std::thread::sleep(Duration::from_millis(20));
            let stalls = probe.stalls_since(start);
            assert!(
                stalls
                    .iter()
                    .any(|stall| stall.late > Duration::from_millis(150)),
                "{stalls:?}"
            );
            Ok(())
        });
    });
}

/// A stop that a helper ends: this process cannot.
fn hang_this_process(time: Duration) {
    let script = format!(
        "kill -STOP $PPID; sleep {}; kill -CONT $PPID",
        time.as_secs_f64()
    );
    assert!(
        std::process::Command::new("sh")
            .args(["-c", &script])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn orders_to_what_is_not_there_are_refused_by_name() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let error = lab.pull("hb3").unwrap_err().to_string();
        assert!(
            error.contains("no cable `hb3`") && error.contains("hb1 at hadev1"),
            "{error}"
        );
        assert!(
            lab.host("hadev3")
                .unwrap_err()
                .to_string()
                .contains("client, hadev1, hadev2")
        );
        let error = lab.host("hadev1")?.carrier("eth9").unwrap_err().to_string();
        assert!(error.starts_with("hadev1: interface eth9: "), "{error}");
        let error = lab
            .host("hadev1")?
            .command("no-such-program")
            .spawn()
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("hadev1: start `no-such-program`: "),
            "{error}"
        );
        lab.power_off("hadev2")?;
        assert!(
            lab.host("hadev2")?
                .netlink()
                .unwrap_err()
                .to_string()
                .contains("powered off")
        );
        Ok(())
    });
}

#[test]
fn the_cost_of_a_program_is_seen() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, b) = pair(&lab);
        a.command("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()?;
        let before = (a.usage()?, b.usage()?);
        std::thread::sleep(Duration::from_millis(400));
        let cost = (a.usage()? - before.0, b.usage()? - before.1);
        assert!(
            cost.0.run > Duration::from_millis(40) && cost.0.rss_kib > 100 && cost.0.processes == 1,
            "{cost:?}"
        );
        assert_eq!((cost.1.run, cost.1.processes), (Duration::ZERO, 0));
        Ok(())
    });
}
