//! The virtual machine itself: a pair lives in it as on any other machine.

use avamgr_lab::{Plan, story};

use crate::pair::{Pair, SLEEPER, config};

#[test]
fn a_pair_starts_and_one_node_is_active() {
    story(|| {
        let pair = Pair::start(Plan::pair(), &config("", SLEEPER))?;
        assert_eq!((pair.role("hadev1").as_str(), pair.role("hadev2").as_str()), ("active", "standby"));
        pair.never_two_owners()
    });
}
