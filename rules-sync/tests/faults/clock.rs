//! A node whose clock is wrong.

use std::path::Path;

use avamgr_lab::story;

use crate::bed::{Bed, Setup};
use crate::node::SOON;

/// A library in front of the C library that tells another time. There is no namespace of this clock.
const LIBRARIES: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"];

fn start(offset: &str) -> Bed {
    let library = LIBRARIES.into_iter().find(|it| Path::new(it).exists());
    let library = library.expect("this story needs libfaketime (Debian: apt-get install faketime)");
    let bed = Setup::default().make();
    let set = [
        ("LD_PRELOAD", library),
        ("FAKETIME", offset),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    let set = set.map(|(key, value)| (key.to_owned(), value.to_owned()));
    bed.nodes[1].environment.lock().unwrap().extend(set);
    for node in &bed.nodes {
        node.prepare(None);
        node.start();
    }
    bed.wait_reachable();
    bed
}

fn tell(offset: &str) {
    let bed = start(offset);
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    for round in 0..10 {
        // Each after the other, so that none is a conflict, whatever the clocks say.
        bed.write(0, "rule", format!("round {round} of a"));
        b.wait_holds("rule", format!("round {round} of a").as_bytes());
        bed.write(1, "rule", format!("round {round} of b"));
        a.wait_holds("rule", format!("round {round} of b").as_bytes());
    }
    bed.write(1, "going", "it will be deleted");
    a.wait_holds("going", b"it will be deleted");
    a.remove("going");
    b.wait_gone("going");
    assert_eq!(bed.finish(SOON).len(), 0);
    // At once on both: one wins on both, the other one is kept.
    bed.lab.pull("hb1").unwrap();
    bed.ledger.excuse(b"round 9 of b");
    bed.write(0, "rule", "at once, of a");
    bed.write(1, "rule", "at once, of b");
    a.wait_status("the link to be missed", |status| !status.peers[0].reachable && status.peers[0].owed == 1);
    b.wait_status("the link to be missed", |status| !status.peers[0].reachable && status.peers[0].owed == 1);
    bed.lab.heal_all().unwrap();
    bed.wait_reachable();
    let conflicts = bed.finish(SOON);
    assert!(conflicts.iter().any(|it| it.place == "re/rule"), "{conflicts:?}");
    println!("{offset}: {:?} won", String::from_utf8_lossy(&a.read("rule").unwrap()));
    let log = b.log();
    println!("{}", log.lines().next().unwrap_or_default());
}

#[test]
fn a_clock_that_is_an_hour_ahead_makes_no_conflicts_and_loses_nothing() {
    story(|| {
        tell("+1h");
        Ok(())
    });
}

#[test]
fn a_clock_that_is_an_hour_behind_makes_no_conflicts_and_loses_nothing() {
    story(|| {
        tell("-1h");
        Ok(())
    });
}
