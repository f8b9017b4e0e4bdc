//! Links that are cut.

use std::time::Duration;

use avamgr::clock;
use avamgr_lab::story;

use crate::bed::{Setup, link};
use crate::node::SOON;

/// A change goes over the other link within this time.
const OVER: Duration = Duration::from_millis(2_500);
/// After an outage everything is the same within this time.
const AFTER: Duration = Duration::from_secs(2);

#[test]
fn what_one_link_does_not_carry_another_does() {
    story(|| {
        let bed = Setup { links: 2, alone: true, ..Setup::default() }.start();
        bed.write(0, "rule", "over the first link");
        bed.nodes[1].wait_holds("rule", b"over the first link");
        // Where a busy machine was slow at the beginning, the first one is found to answer at the next look.
        bed.nodes[0].wait_status("the first address", |status| status.peers[0].address == "10.77.1.2:6942");
        bed.lab.pull(&link(0))?;
        let begin = clock::now();
        bed.write(0, "rule", "over the second link");
        bed.nodes[1].wait_holds("rule", b"over the second link");
        let took = clock::now().since(begin);
        println!("over the second link after {took:?}");
        assert!(took <= OVER, "{took:?}");
        bed.nodes[0].wait_status("the other address", |status| status.peers[0].address == "10.77.2.2:6942");
        bed.write(1, "back", "over the second link");
        bed.nodes[0].wait_holds("back", b"over the second link");
        bed.lab.plug(&link(0))?;
        bed.nodes[0].wait_status("the first address", |status| status.peers[0].address == "10.77.1.2:6942");
        bed.finish(SOON);
        Ok(())
    });
}

#[test]
fn what_changes_while_no_link_carries_is_there_soon_after_one_does() {
    story(|| {
        let bed = Setup { links: 2, alone: true, ..Setup::default() }.start();
        for number in 0..100 {
            bed.write(0, format!("r{number}"), format!("before {number}"));
        }
        bed.wait_settled(SOON);
        bed.lab.pull_all(&[&link(0), &link(1)])?;
        let begin = clock::now();
        for number in 0..200 {
            bed.write(number % 2, format!("r{number}"), format!("meanwhile {number}"));
        }
        bed.nodes[0].wait_status("the peer to be missed", |status| !status.peers[0].reachable);
        let rest = Duration::from_secs(5).saturating_sub(clock::now().since(begin));
        std::thread::sleep(rest);
        bed.lab.heal_all()?;
        bed.lab.settle()?;
        let took = bed.wait_identical(SOON);
        println!("identical {took:?} after the links carry again");
        assert!(took <= AFTER, "{took:?}");
        assert_eq!(bed.finish(SOON).len(), 0);
        Ok(())
    });
}
