//! Two owners are seen from outside, and one is not taken for two.

use std::thread::sleep;
use std::time::Duration;

use avamgr_lab::{Answers, Lab, Plan, VIP, mark};

use crate::{cidr, pair};

#[test]
fn an_address_that_two_nodes_answer_for_is_seen() {
    let lab = Lab::start(Plan::pair().switched()).unwrap();
    let (first, second) = pair(&lab);
    let answers = Answers::start(&lab.host("client").unwrap(), VIP.parse().unwrap(), lab.nodes()).unwrap();
    let vip = [cidr("172.16.9.61/24")];
    first.add_addresses("eth1", &vip).unwrap();
    sleep(Duration::from_millis(400));
    let one = answers.settled();
    assert!(one.answered > 200 && one.both.is_empty() && one.changes.is_empty(), "{one:?}");
    assert!(one.share() > 0.5, "{}", one.share());
    second.add_addresses("eth1", &vip).unwrap();
    sleep(Duration::from_millis(100));
    first.del_addresses("eth1", &vip).unwrap();
    let moved = mark();
    let two = answers.settled();
    assert!(two.both.len() > 30, "{two:?}");
    assert!(two.both.len() < 300 && two.longest_silence(moved, mark()) < Duration::from_secs(2));
    // One after the other is not two at once, and is found if it comes back too soon.
    let before = answers.settled();
    second.del_addresses("eth1", &vip).unwrap();
    first.add_addresses("eth1", &vip).unwrap();
    sleep(Duration::from_millis(50));
    first.del_addresses("eth1", &vip).unwrap();
    second.add_addresses("eth1", &vip).unwrap();
    sleep(Duration::from_millis(50));
    let after = answers.settled();
    assert_eq!(after.both.len(), before.both.len());
    assert!(after.returns_within(Duration::from_secs(1)).len() > before.returns_within(Duration::from_secs(1)).len());
    assert!(
        after.returns_within(Duration::from_millis(20)).len() == before.returns_within(Duration::from_millis(20)).len()
    );
}
