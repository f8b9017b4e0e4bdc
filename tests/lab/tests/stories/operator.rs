//! What an operator does: `service dre`, moving, holding, looking, and mistakes that must not hurt.

use std::process::Output;
use std::time::Duration;

use avamgr_lab::{Plan, mark, story, wait_until};

use crate::pair::{Outcome, Pair, SLEEPER, SOON, config, program, text, vip};

fn pair() -> Result<Pair, Box<dyn std::error::Error>> {
    Pair::start(Plan::pair(), &config("", SLEEPER))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The init script of the project, as an operator would call it.
fn service(pair: &Pair, name: &str, verb: &str) -> Result<Output, Box<dyn std::error::Error>> {
    Ok(pair.node(name)?.command("/etc/init.d/dre").arg(verb).output()?)
}

fn install_service(pair: &Pair, name: &str, more: &str) -> Outcome {
    let node = pair.node(name)?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../etc/init.d/dre");
    node.write("/etc/init.d/dre", std::fs::read(script)?)?;
    let output = node.command("chmod").args(["755", "/etc/init.d/dre"]).output()?;
    assert!(output.status.success());
    let programs = program("avamgrd").parent().map(|path| path.display().to_string()).unwrap_or_default();
    node.write("/etc/default/dre", format!("PATH={programs}:$PATH\nexport PATH\nLOG_TARGET=syslog\n{more}\n"))?;
    Ok(())
}

#[test]
fn service_dre_starts_hands_over_and_stops() {
    story(|| {
        let pair = Pair::install_all(Plan::pair().with_syslog(), &config("", SLEEPER))?;
        for name in ["hadev1", "hadev2"] {
            install_service(&pair, name, "")?;
            assert_eq!(service(&pair, name, "status")?.status.code(), Some(3), "not running yet");
            let output = service(&pair, name, "start")?;
            assert!(output.status.success(), "{name}: {}", said(&output));
        }
        pair.wait_role("hadev1", "active")?;
        pair.wait_role("hadev2", "standby")?;
        let output = service(&pair, "hadev1", "status")?;
        assert!(output.status.success() && said(&output).contains("ACTIVE"), "{}", said(&output));
        let output = service(&pair, "hadev1", "reload")?;
        assert!(output.status.success(), "{}", said(&output));
        let stop = mark();
        let output = service(&pair, "hadev1", "stop")?;
        assert!(output.status.success(), "{}", said(&output));
        pair.wait_role("hadev2", "active")?;
        pair.probe.wait_for_answer(vip(), "hadev2", SOON)?;
        println!("outage of `service dre stop` on the ACTIVE node: {:?}", pair.outage(stop));
        assert!(pair.outage(stop) < Duration::from_millis(500), "{:?}", pair.outage(stop));
        assert_eq!(service(&pair, "hadev1", "status")?.status.code(), Some(3));
        let output = service(&pair, "hadev2", "restart")?;
        assert!(output.status.success(), "{}", said(&output));
        pair.wait_role("hadev2", "active")?;
        pair.never_two_owners()
    });
}

#[test]
fn standalone_runs_one_node_without_peer_or_arbitrator() {
    story(|| {
        let pair = Pair::install_all(Plan::pair(), &config("", SLEEPER))?;
        install_service(&pair, "hadev2", "STANDALONE=yes\nLOG_TARGET=stderr")?;
        pair.lab.silence("neutral")?;
        let output = service(&pair, "hadev2", "start")?;
        assert!(output.status.success(), "{}", said(&output));
        pair.wait_role("hadev2", "active")?;
        let status = pair.status("hadev2")?;
        assert_eq!(status["safety_class"], "standalone");
        Ok(())
    });
}

#[test]
fn a_switchover_is_planned_refused_or_done_from_either_node() {
    story(|| {
        let pair = pair()?;
        let plan = pair.avamgr("hadev1", &["switchover", "--dry-run"])?;
        assert!(plan.status.success() && said(&plan).contains("release"), "{}", said(&plan));
        assert_eq!(pair.role("hadev1"), "active", "a dry run moves nothing");
        let refused = pair.avamgr("hadev1", &["switchover", "--to", "hadev1"])?;
        assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
        let done = pair.avamgr("hadev2", &["switchover"])?;
        assert!(done.status.success(), "{}", said(&done));
        assert_eq!(pair.role("hadev2"), "active");
        let back = pair.avamgr("hadev2", &["switchover", "dre", "--to", "hadev1"])?;
        assert!(back.status.success(), "{}", said(&back));
        assert_eq!(pair.role("hadev1"), "active");
        pair.never_two_owners()
    });
}

#[test]
fn a_target_that_fails_gives_the_group_back() {
    story(|| {
        // The service starts only where its file is.
        let service = "[[group.resource]]\nname = \"picky\"\nexec = [\"sh\", \"-c\", \"test -e /run/well && exec sleep 100000\"]\n\
                       restart = { max = 0, window = \"10s\" }\n";
        let pair = Pair::start_with(Plan::pair(), &config("", service), |pair, name| {
            if name == "hadev1" {
                pair.node(name)?.write("/run/well", "")?;
            }
            Ok(())
        })?;
        let output = pair.avamgr("hadev1", &["switchover"])?;
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        pair.wait_role("hadev1", "active")?;
        pair.probe.wait_for_answer(vip(), "hadev1", SOON)?;
        pair.never_two_owners()
    });
}

#[test]
fn offline_hands_over_and_ends_by_itself_and_maintenance_keeps_hands_off() {
    story(|| {
        let pair = pair()?;
        let output = pair.avamgr("hadev1", &["offline", "--for", "3s"])?;
        assert!(output.status.success(), "{}", said(&output));
        pair.wait_role("hadev2", "active")?;
        let refused = pair.avamgr("hadev2", &["switchover", "--to", "hadev1"])?;
        assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
        pair.wait_event("hadev1", "end was reached").or_else(|_| pair.wait_event("hadev1", "offline"))?;
        wait_until(SOON, "the hold to end", || {
            pair.status("hadev1").is_ok_and(|status| status["holds"].as_array().is_some_and(Vec::is_empty))
        })?;
        assert!(pair.avamgr("hadev1", &["maintenance", "on"])?.status.success());
        pair.lab.power_off("hadev2")?;
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(pair.role("hadev1"), "standby", "nothing is taken over during maintenance");
        let why = pair.avamgr("hadev1", &["why"])?;
        assert!(said(&why).contains("maintenance"), "{}", said(&why));
        assert!(pair.avamgr("hadev1", &["maintenance", "off"])?.status.success());
        pair.wait_role("hadev1", "active")?;
        pair.never_two_owners()
    });
}

#[test]
fn resources_are_stopped_started_and_restarted_by_hand() {
    story(|| {
        let pair = pair()?;
        let state = || -> String {
            pair.status("hadev1")
                .map_or_else(|_| String::new(), |status| text(&status["groups"][0]["resources"][1]["state"]))
        };
        for (verb, expected) in [("stop", "stopped"), ("start", "started"), ("restart", "started")] {
            let output = pair.avamgr("hadev1", &["resource", verb, "service"])?;
            assert!(output.status.success(), "{verb}: {}", said(&output));
            wait_until(SOON, format!("the service to be {expected} after {verb}"), || state() == expected)?;
        }
        assert_eq!(pair.role("hadev1"), "active");
        assert_eq!(pair.avamgr("hadev2", &["resource", "stop", "service"])?.status.code(), Some(3));
        Ok(())
    });
}

#[test]
fn an_unreachable_daemon_is_unknown_never_active() {
    story(|| {
        let pair = pair()?;
        pair.daemon("hadev1").kill9()?;
        let output = pair.avamgr("hadev1", &["status"])?;
        assert_eq!(output.status.code(), Some(4), "{}", said(&output));
        assert!(said(&output).contains("UNKNOWN"), "{}", said(&output));
        assert!(!said(&output).contains("ACTIVE"), "{}", said(&output));
        Ok(())
    });
}

#[test]
fn a_bad_file_on_reload_changes_nothing_and_check_tells_before() {
    story(|| {
        let pair = pair()?;
        let node = pair.node("hadev1")?;
        let bad = config("", SLEEPER).replace("failover_budget = \"1s\"", "failover_budgte = \"1s\"\ncolour = 7");
        node.write("/etc/avamgr/avamgr.toml", bad)?;
        let check = pair.avamgr("hadev1", &["check"])?;
        assert_eq!(check.status.code(), Some(5), "{}", said(&check));
        assert!(said(&check).contains("failover_budget") && said(&check).contains("colour"), "{}", said(&check));
        let reload = pair.avamgr("hadev1", &["reload"])?;
        assert_eq!(reload.status.code(), Some(3), "{}", said(&reload));
        assert_eq!(pair.role("hadev1"), "active");
        node.write("/etc/avamgr/avamgr.toml", config("link_rise = 5", SLEEPER))?;
        let reload = pair.avamgr("hadev1", &["reload"])?;
        assert!(reload.status.success(), "{}", said(&reload));
        pair.wait_event("hadev2", "config")?;
        let check = pair.avamgr("hadev1", &["check"])?;
        assert!(said(&check).contains("hold"), "{}", said(&check));
        Ok(())
    });
}
