//! Power, and hosts that hang.

use std::time::Duration;

use avamgr_lab::{Carrier, Lab, Plan, VIP, story, wait_until};

use crate::{SOON, cidr, deliver, ip, pair};

#[test]
fn power_off_is_sudden_and_power_on_is_a_fresh_machine() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, b) = pair(&lab);
        a.add_addresses("eth1", &[cidr("172.16.9.61/24")])?;
        // Whoever could still act when the cables die would be heard here.
        let cry = "while read up < /sys/class/net/eth1/carrier && test $up = 1; do :; done; echo >/etc/avamgr/cry";
        a.write("/etc/avamgr/keep", "kept")?;
        a.write("/run/gone", "volatile")?;
        let process = a.command("sh").args(["-c", cry]).spawn()?;
        wait_until(SOON, "the VIP in the record", || lab.owners().of(ip(VIP)) == ["hadev1"])?;
        let off = lab.power_off("hadev1")?;
        assert!(off.took < Duration::from_millis(500), "{off:?}");
        assert!(process.ended()?.is_some() && !a.is_on() && a.command("true").spawn().is_err());
        assert!(lab.owners().of(ip(VIP)).is_empty());
        wait_until(SOON, "no carrier at b", || b.carrier("eth3").unwrap() == Carrier::NoCarrier)?;
        assert_eq!(b.carrier("eth1")?, Carrier::Up);
        let before = b.netlink()?.link("eth3")?;
        lab.power_on("hadev1")?;
        wait_until(SOON, "carrier at b", || b.carrier("eth3").unwrap() == Carrier::Up)?;
        assert_eq!(b.netlink()?.link("eth3")?.index, before.index);
        assert!(!a.has_address(ip(VIP))? && a.has_address(ip("172.16.9.54"))? && a.has_address(ip("fd00:11::54"))?);
        assert_eq!((a.read("/etc/avamgr/keep")?, a.read("/run/gone").is_err()), ("kept".to_owned(), true));
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
        let process = a.command("sh").args(["-c", "while :; do echo tick; sleep 0.01; done"]).spawn()?;
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
