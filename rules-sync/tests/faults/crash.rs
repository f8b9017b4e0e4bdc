//! What is killed in the middle of its work.

use std::fs;

use avamgr_lab::{story, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bed::{Bed, Setup, address};
use crate::node::SOON;

const BURST: usize = 500;

fn burst(bed: &Bed, round: usize, numbers: std::ops::Range<usize>) {
    for number in numbers {
        // New ones and such that are there already.
        let way = format!("d{}/r{:03}", number % 5, number / (1 + round % 2));
        if let Some(own) = bed.nodes[0].read(&way) {
            bed.ledger.excuse(&own);
        }
        bed.write(0, way, format!("rule {number} of round {round}"));
    }
}

fn directories(bed: &Bed) {
    (0..5).for_each(|directory| fs::create_dir(bed.nodes[0].path(format!("d{directory}"))).unwrap());
}

fn has_come(bed: &Bed, round: usize) -> usize {
    let words = format!("of round {round}");
    let is_of = |content: Option<Vec<u8>>| content.is_some_and(|it| String::from_utf8_lossy(&it).ends_with(&words));
    bed.nodes[1].snapshot().keys().filter(|way| is_of(bed.nodes[1].read(way))).count()
}

#[test]
fn a_courier_that_is_killed_while_it_sends_goes_on_where_it_was() {
    story(|| {
        let bed = Setup::default().start();
        directories(&bed);
        for round in 0..4 {
            burst(&bed, round, 0..BURST / 2);
            bed.nodes[0].kill();
            burst(&bed, round, BURST / 2..BURST);
            bed.nodes[0].start();
            bed.wait_settled(SOON);
        }
        println!("conflicts: {}", bed.finish(SOON).len());
        Ok(())
    });
}

#[test]
fn a_courier_that_is_killed_while_it_takes_in_goes_on_where_it_was() {
    story(|| {
        let bed = Setup::default().start();
        directories(&bed);
        for round in 0..4 {
            burst(&bed, round, 0..BURST);
            wait_until(SOON, "some of it", || has_come(&bed, round) > 50 * round)?;
            bed.nodes[1].kill();
            println!("round {round}: killed when {} had come", has_come(&bed, round));
            bed.nodes[1].start();
            bed.wait_settled(SOON);
        }
        println!("conflicts: {}", bed.finish(SOON).len());
        Ok(())
    });
}

#[test]
fn rsyncs_that_are_killed_in_the_middle_of_a_burst_cost_nothing_but_time() {
    story(|| {
        let bed = Setup::default().start();
        directories(&bed);
        let mut killed = 0;
        for round in 0..2 {
            for part in 0..10 {
                burst(&bed, round, part * BURST / 10..(part + 1) * BURST / 10);
                for node in &bed.nodes {
                    // One that has ended meanwhile needs no killing; nobody else is in the node's namespace.
                    killed += node
                        .rsyncs()
                        .into_iter()
                        .filter(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL).is_ok())
                        .count();
                }
            }
            bed.wait_settled(SOON);
        }
        println!("{killed} rsyncs killed");
        assert!(killed > 0);
        bed.finish(SOON);
        Ok(())
    });
}

#[test]
fn files_that_vanish_while_they_are_sent_keep_nobody_up() {
    story(|| {
        let bed = Setup::default().start();
        for number in 0..500 {
            let path = bed.nodes[0].path(format!("gone{number}"));
            fs::write(&path, format!("for a moment {number}")).unwrap();
            if number % 3 == 0 {
                std::thread::yield_now();
            }
            fs::remove_file(&path).unwrap();
            if number % 50 == 0 {
                bed.write(0, format!("stays{number}"), format!("stays {number}"));
            }
        }
        assert_eq!(bed.finish(SOON).len(), 0);
        assert_eq!(bed.nodes[1].snapshot().len(), 10);
        Ok(())
    });
}

#[test]
fn what_a_killed_rsync_has_left_goes_and_what_a_slow_one_writes_stays() {
    story(|| {
        let bed = Setup::default().start();
        let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
        let inbox = b.state().join("in/a");
        for way in [".00000000000000000009.c.aBcDeF", ".~tmp~/00000000000000000009.c"] {
            fs::create_dir_all(inbox.join(way).parent().unwrap())?;
            fs::write(inbox.join(way), "a half")?;
        }
        // It takes longer than all the looks at what lies there.
        let spool = a.host.dir().join("slow");
        fs::create_dir(&spool)?;
        fs::write(spool.join("00000000000000000010.c"), vec![7; 85 * 1024])?;
        let mut command = a.host.command("rsync");
        let slow = command
            .args(["--recursive", "--whole-file", "--ignore-times", "--timeout=10", "--bwlimit=1"])
            .arg(format!("--password-file={}", a.state().join("password").display()))
            .arg(format!("{}/", spool.display()))
            .arg(format!("rsync://a.1@{}:6942/from-a/", address(0, 1)))
            .output()?;
        assert!(slow.status.success(), "{}", String::from_utf8_lossy(&slow.stderr));
        let left: Vec<_> = fs::read_dir(&inbox)?.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["00000000000000000010.c"]);
        Ok(())
    });
}
