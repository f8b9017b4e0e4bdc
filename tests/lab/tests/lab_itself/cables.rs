//! Hosts, networks, and what faults do to cables.

use avamgr_lab::{Carrier, Host, Lab, Plan, Way, story, wait_until};

use crate::{SOON, deliver, pair};

#[test]
fn nodes_are_separate_machines() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, b) = pair(&lab);
        let out =
            a.command("sh").args(["-c", "hostname; echo $$; ls /run /sys/class/net; cat /etc/hostname"]).output()?;
        let text = String::from_utf8(out.stdout)?;
        assert!(text.starts_with("hadev1\n"), "{text}");
        assert!(text.contains("eth4") && text.contains("lock") && text.ends_with("hadev1\n"), "{text}");
        a.write("/etc/avamgr/avamgr.toml", "only on a")?;
        assert_eq!(a.command("cat").arg("/etc/avamgr/avamgr.toml").output()?.stdout, b"only on a");
        assert!(!b.command("cat").arg("/etc/avamgr/avamgr.toml").output()?.status.success());
        assert!(!std::path::Path::new("/etc/avamgr/avamgr.toml").exists());
        // The machine's own files stay readable, and its programs run.
        assert!(a.command("cat").arg("/etc/passwd").output()?.stdout.starts_with(b"root:"));
        assert!(a.write("/etc/passwd", "never").is_err());
        Ok(())
    });
}

#[test]
fn every_network_carries_both_families() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, b) = pair(&lab);
        for address in ["172.16.11.55", "fd00:13::55", "172.16.9.55", "2001:db8:9::55"] {
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
        wait_until(SOON, "no carrier", || carriers() == (Carrier::NoCarrier, Carrier::NoCarrier))?;
        assert_eq!(a.carrier("eth4")?, Carrier::Up);
        assert_eq!(deliver(&a, &b, "172.16.13.55", 2), 2);
        lab.plug("hb1")?;
        wait_until(SOON, "carrier", || carriers() == (Carrier::Up, Carrier::Up))?;
        // Back to back, one end's cable and one end's interface are the other end's carrier too.
        lab.pull_at("hb1", "hadev1")?;
        wait_until(SOON, "no carrier", || carriers() == (Carrier::NoCarrier, Carrier::NoCarrier))?;
        lab.heal_all()?;
        lab.settle()?;
        assert_eq!(deliver(&a, &b, "172.16.11.55", 2), 2);
        a.set_interface("eth3", false)?;
        wait_until(SOON, "no carrier at b", || carriers() == (Carrier::Down, Carrier::NoCarrier))?;
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
        assert_eq!((deliver(&a, &b, "172.16.11.55", 2), deliver(&b, &a, "172.16.11.54", 2)), (2, 2));
        lab.silence("hb1")?;
        assert_eq!((deliver(&a, &b, "172.16.11.55", 2), deliver(&b, &a, "172.16.11.54", 2)), (0, 0));
        assert_eq!((a.carrier("eth3")?, b.carrier("eth3")?), (Carrier::Up, Carrier::Up));
        lab.heal("hb1")?;
        assert_eq!((deliver(&a, &b, "172.16.11.55", 2), deliver(&b, &a, "172.16.11.54", 2)), (2, 2));
        lab.cut_one_way("hb1", "hadev1", Way::From)?;
        assert_eq!((deliver(&a, &b, "172.16.11.55", 2), deliver(&b, &a, "172.16.11.54", 2)), (0, 2));
        lab.heal("hb1")?;
        lab.cut_one_way("hb1", "hadev1", Way::To)?;
        assert_eq!((deliver(&a, &b, "172.16.11.55", 2), deliver(&b, &a, "172.16.11.54", 2)), (2, 0));
        assert_eq!((a.carrier("eth3")?, b.carrier("eth3")?), (Carrier::Up, Carrier::Up));
        Ok(())
    });
}

#[test]
fn thirty_percent_loss_is_thirty_percent() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let (a, b) = pair(&lab);
        // The first frame waits for its neighbour to be found; no others shall queue behind it.
        assert_eq!(deliver(&a, &b, "172.16.11.55", 1), 1);
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
fn orders_to_what_is_not_there_are_refused_by_name() {
    story(|| {
        let lab = Lab::start(Plan::pair())?;
        let error = lab.pull("hb3").unwrap_err().to_string();
        assert!(error.contains("no cable `hb3`") && error.contains("hb1 at hadev1"), "{error}");
        assert!(lab.host("hadev3").unwrap_err().to_string().contains("client, hadev1, hadev2"));
        let error = lab.host("hadev1")?.carrier("eth9").unwrap_err().to_string();
        assert!(error.starts_with("hadev1: interface eth9: "), "{error}");
        let error = lab.host("hadev1")?.command("no-such-program").spawn().unwrap_err().to_string();
        assert!(error.starts_with("hadev1: start `no-such-program`: "), "{error}");
        lab.power_off("hadev2")?;
        assert!(lab.host("hadev2")?.netlink().unwrap_err().to_string().contains("powered off"));
        Ok(())
    });
}

#[test]
fn a_host_with_a_syslog_keeps_its_messages_to_itself() {
    story(|| {
        let lab = Lab::start(Plan::pair().with_syslog())?;
        let (a, b) = pair(&lab);
        a.command("logger").arg("the lab was here").output()?;
        let heard = |host: &Host| host.read("/var/log/syslog").unwrap().contains("the lab was here");
        wait_until(SOON, "the message", || heard(&a))?;
        assert!(!heard(&b));
        assert!(a.command("sh").args(["-c", "echo x > /dev/null"]).output()?.status.success());
        lab.reboot("hadev1")?;
        a.command("logger").arg("and again").output()?;
        wait_until(SOON, "the second message", || a.read("/var/log/syslog").unwrap().contains("and again"))?;
        Ok(())
    });
}
