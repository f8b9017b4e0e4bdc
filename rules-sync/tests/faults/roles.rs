//! Changes from the ACTIVE node only: who that is says the daemon, or here somebody in its place.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use avamgr::clock;
use avamgr_core::cluster::{Role, SafetyClass, Term};
use avamgr_core::control::frame::{MAX_REPLY_BYTES, encode};
use avamgr_core::control::{DriverStatus, GroupStatus, PeerGroupStatus, PeerStatus, Reply, Status};
use avamgr_lab::story;

use crate::bed::{Bed, Setup, link};
use crate::node::SOON;

type Active = Arc<Mutex<&'static str>>;

fn status(me: &str, active: &str) -> Status {
    let role = |node: &str| if node == active { Role::Active } else { Role::Standby };
    let other = if me == "a" { "b" } else { "a" };
    let group = GroupStatus {
        group: "g".to_owned(),
        role: role(me),
        term: Term(1),
        since: clock::now(),
        cause: String::new(),
        active_node: Some(active.to_owned()),
        obstacles: Vec::new(),
        able: true,
        position: 1,
        failovers: 0,
        switchover: None,
        lease: None,
        resources: Vec::new(),
    };
    let said = PeerGroupStatus { group: "g".to_owned(), role: role(other), term: Term(1), able: true };
    let peer = PeerStatus {
        node: other.to_owned(),
        state: "alive".to_owned(),
        heard: None,
        config_matches: Some(true),
        clock_offset_millis: None,
        groups: vec![said],
        links: Vec::new(),
    };
    Status {
        rules: None,
        now: clock::now(),
        node: me.to_owned(),
        cluster: "faults".to_owned(),
        safety_class: SafetyClass::Standalone,
        started: clock::now(),
        peers: vec![peer],
        arbitrator: None,
        witness: None,
        isolated: false,
        groups: vec![group],
        ready: Vec::new(),
        holds: Vec::new(),
        alarms: Vec::new(),
        driver: DriverStatus {
            version: String::new(),
            pid: 1,
            scheduling: String::new(),
            guard: String::new(),
            link_counters: BTreeMap::new(),
        },
    }
}

/// A daemon that has much to do.
const SLOW: Duration = Duration::from_millis(150);

/// Answers every line with the status. Ends with the process: nobody waits for it.
fn serve(socket: &Path, me: &str, active: &Active) {
    let listener = UnixListener::bind(socket).unwrap();
    let (me, active) = (me.to_owned(), Arc::clone(active));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (me, active) = (me.clone(), Arc::clone(&active));
            thread::spawn(move || answer(&stream, &me, &active));
        }
    });
}

fn answer(stream: &UnixStream, me: &str, active: &Active) {
    for line in BufReader::new(stream).lines() {
        let active = *active.lock().unwrap();
        let reply = encode(&Reply::Status { status: Box::new(status(me, active)) }, MAX_REPLY_BYTES).unwrap();
        let mut to = stream;
        thread::sleep(SLOW);
        if line.is_err() || to.write_all(&reply).is_err() {
            return;
        }
    }
}

const ONE_WAY: &str = "direction = \"active-to-standby\"";

fn start(rules: &str, active: &Active) -> Bed {
    let bed = Setup { rules: rules.to_owned(), ..Setup::default() }.make();
    for node in &bed.nodes {
        serve(&node.daemon_socket(), &node.name, active);
        node.prepare(None);
        node.start();
    }
    bed.wait_reachable();
    wait_active(&bed, "a");
    bed
}

fn wait_active(bed: &Bed, name: &str) {
    for node in &bed.nodes {
        node.wait_status("the role to be known", |status| status.active.as_deref() == Some(name));
    }
}

#[test]
fn only_the_active_nodes_changes_travel_and_what_was_changed_elsewhere_is_put_back_and_kept() {
    story(|| {
        let active: Active = Arc::new(Mutex::new("a"));
        let bed = start(ONE_WAY, &active);
        let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
        fs::create_dir(a.path("sub")).unwrap();
        for way in ["rule", "sub/rule", "other"] {
            bed.write(0, way, format!("{way} of the ACTIVE node"));
            b.wait_holds(way, format!("{way} of the ACTIVE node").as_bytes());
        }
        // Changed, deleted and made on the other one.
        bed.write(1, "rule", "changed on the STANDBY node");
        b.wait_holds("rule", b"rule of the ACTIVE node");
        b.remove("sub/rule");
        b.wait_holds("sub/rule", b"sub/rule of the ACTIVE node");
        bed.write(1, "stray", "made on the STANDBY node");
        b.wait_status("the stray to be told", |status| status.directories[0].strays == 1);
        assert!(b.kept("conflicts").iter().any(|it| it.place == "re/rule"), "{:?}", b.kept("conflicts"));
        bed.write(0, "other", "changed on the ACTIVE node");
        b.wait_holds("other", b"changed on the ACTIVE node");
        assert!(!a.path("stray").exists() && a.read("rule") == Some(b"rule of the ACTIVE node".to_vec()));
        // The right moves, and with it what was made there before.
        *active.lock().unwrap() = "b";
        wait_active(&bed, "b");
        bed.write(1, "rule", "changed on the new ACTIVE node");
        a.wait_holds("rule", b"changed on the new ACTIVE node");
        a.wait_holds("stray", b"made on the STANDBY node");
        bed.write(0, "rule", "changed on the former ACTIVE node");
        a.wait_holds("rule", b"changed on the new ACTIVE node");
        a.remove("other");
        a.wait_holds("other", b"changed on the ACTIVE node");
        b.remove("sub");
        a.wait_gone("sub");
        println!("{} conflicts", bed.finish(SOON).len());
        Ok(())
    });
}

#[test]
fn what_the_former_active_node_could_not_send_is_undone_there_and_kept_as_a_conflict() {
    story(|| {
        let active: Active = Arc::new(Mutex::new("a"));
        let bed = start(ONE_WAY, &active);
        let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
        for way in ["rule", "both", "other"] {
            bed.write(0, way, format!("{way} of the beginning"));
        }
        bed.wait_settled(SOON);
        bed.lab.pull(&link(0))?;
        for way in ["rule", "both", "new"] {
            bed.write(0, way, format!("{way} that could not be sent"));
        }
        a.remove("other");
        a.wait_status("it to be owed", |status| status.peers[0].owed == 4);
        *active.lock().unwrap() = "b";
        wait_active(&bed, "b");
        bed.write(1, "both", "both of the new ACTIVE node");
        // It is overwritten by hand on both.
        bed.ledger.excuse(b"both of the beginning");
        bed.lab.heal_all()?;
        bed.lab.settle()?;
        a.wait_holds("rule", b"rule of the beginning");
        a.wait_holds("both", b"both of the new ACTIVE node");
        a.wait_holds("other", b"other of the beginning");
        a.wait_gone("new");
        bed.finish(SOON);
        assert_eq!(b.read("rule"), Some(b"rule of the beginning".to_vec()));
        let mut kept: Vec<String> = a.kept("conflicts").into_iter().map(|it| it.place).collect();
        kept.sort();
        assert_eq!(
            (kept, b.kept("conflicts").len()),
            (["re/both", "re/new", "re/rule"].map(str::to_owned).to_vec(), 0)
        );
        Ok(())
    });
}

#[test]
fn what_was_changed_while_nobody_was_active_is_put_back_when_somebody_is() {
    story(|| {
        let active: Active = Arc::new(Mutex::new("a"));
        let bed = start(ONE_WAY, &active);
        let b = &bed.nodes[1];
        bed.write(0, "rule", "of the ACTIVE node");
        bed.wait_settled(SOON);
        *active.lock().unwrap() = "nobody";
        for node in &bed.nodes {
            node.wait_status("nobody to be ACTIVE", |status| status.active.is_none());
        }
        bed.write(1, "rule", "changed while nobody was ACTIVE");
        b.wait_status("the stray to be told", |status| status.directories[0].strays == 1);
        *active.lock().unwrap() = "a";
        b.wait_holds("rule", b"of the ACTIVE node");
        assert!(b.kept("conflicts").iter().any(|it| it.place == "re/rule"));
        bed.finish(SOON);
        Ok(())
    });
}

#[test]
fn what_was_changed_while_it_was_down_counts_as_the_active_nodes() {
    story(|| {
        for rules in ["", ONE_WAY] {
            let active: Active = Arc::new(Mutex::new("a"));
            let bed = start(rules, &active);
            let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
            bed.write(0, "rule", "of the beginning");
            bed.wait_settled(SOON);
            a.stop();
            bed.ledger.excuse(b"of the beginning");
            bed.write(0, "rule", "changed on the ACTIVE node while it was down");
            thread::sleep(Duration::from_millis(50));
            bed.write(1, "rule", "changed later on the other one");
            b.wait_status("it to be known", |status| status.peers[0].owed == 1 || status.directories[0].strays == 1);
            a.start();
            b.wait_holds("rule", b"changed on the ACTIVE node while it was down");
            bed.finish(SOON);
            assert_eq!(a.read("rule"), Some(b"changed on the ACTIVE node while it was down".to_vec()));
        }
        Ok(())
    });
}

#[test]
fn a_daemon_that_hangs_delays_the_start_for_a_moment_only() {
    story(|| {
        let bed = Setup { nodes: 2, ..Setup::default() }.make();
        for node in &bed.nodes {
            // Nobody answers.
            std::mem::forget(UnixListener::bind(node.daemon_socket()).unwrap());
            node.prepare(None);
            node.start();
        }
        bed.wait_reachable();
        bed.write(0, "rule", "it goes on");
        bed.nodes[1].wait_holds("rule", b"it goes on");
        bed.finish(SOON);
        Ok(())
    });
}
