//! Why something has happened, as a node's own events tell it, in whole courses of failovers.

use std::time::Duration;

use avamgr_core::cluster::{LinkId, NodeId, Role};
use avamgr_core::control::sentence;
use avamgr_core::node::Action;
use avamgr_core::node::event::chain::{self, chain};
use avamgr_core::node::event::{Event, Fact, LinkDownCause, UpgradeStep};
use avamgr_core::sim::What;

use crate::checked::Checked;
use crate::script::{Told, order, plan};

const N1: NodeId = NodeId(0);
const N2: NodeId = NodeId(1);

/// A story that is played, and what one node has told of it.
struct Course {
    world: Checked,
    of: NodeId,
    events: Vec<Event>,
}

impl Course {
    /// Two nodes of such a cluster come up; then these orders are given, and what `of` tells is written down.
    fn play(cluster: &str, of: NodeId, orders: &[&str]) -> Self {
        let mut course = Self { world: Checked::new(plan(cluster), None), of, events: Vec::new() };
        for line in ["boot all", "run 3s"].iter().chain(orders) {
            if let Told::Run(time) | Told::Settle(time) = order(&mut course.world, line) {
                course.run(time);
            }
        }
        course.run(Duration::from_secs(8));
        course
    }

    fn run(&mut self, time: Duration) {
        let Self { world, of, events } = self;
        world.run_watched(time, &mut |_, notes| {
            for note in notes.iter().filter(|note| note.host == Some(*of)) {
                if let What::Did(Action::Event(event)) = &note.what {
                    events.push(event.clone());
                }
            }
        });
    }

    /// What led to the last event of this kind, as sentences, with that one at the end.
    fn why(&self, is_it: impl Fn(&Fact) -> bool) -> Vec<String> {
        let events: Vec<&Event> = self.events.iter().collect();
        let of = events.iter().rposition(|event| is_it(&event.fact)).expect("it has happened");
        let steps = chain(&events, of);
        assert!(steps.len() <= chain::STEPS_MAX);
        let places = steps.iter().map(|step| step.event).chain([of]);
        let config = self.world.config();
        places.map(|place| sentence::describe(events[place], config, self.of)).collect()
    }
}

/// Each line of the chain begins so, in this order, and there is no other.
fn assert_chain(told: &[String], expected: &[&str]) {
    let fits = told.len() == expected.len() && told.iter().zip(expected).all(|(told, begins)| told.contains(begins));
    assert!(fits, "expected {expected:#?}\n{told:#?}");
}

fn becomes(role: Role) -> impl Fn(&Fact) -> bool {
    move |fact| matches!(fact, Fact::RoleChanged { to, .. } if *to == role)
}

#[test]
fn the_peer_loses_its_power() {
    let course = Course::play("cluster neutral", N2, &["power-off n1"]);
    assert_chain(
        &course.why(becomes(Role::Active)),
        &[
            "primary to n1 is down",
            "secondary to n1 is down",
            "n1 is silent",
            "STANDBY -> ACTIVATING",
            "dre/dre-vip1: started",
            "dre/dre-svc: started",
            "ACTIVATING -> ACTIVE",
        ],
    );
}

#[test]
fn tipc_loses_its_last_way() {
    let lost = ["bearer n2->n1 0 up", "bearer n2->n1 0 down"];
    let course = Course::play("cluster tipc", N2, &lost);
    let is_down = |fact: &Fact| matches!(fact, Fact::LinkDown { .. });
    assert_chain(&course.why(is_down), &["bearer primary of link primary does not reach n1", "primary to n1 is down"]);
}

#[test]
fn the_power_is_lost_and_a_lease_is_taken_over() {
    let course = Course::play("cluster lease witness", N2, &["power-off n1"]);
    assert_chain(
        &course.why(becomes(Role::Active)),
        &[
            "primary to n1 is down",
            "secondary to n1 is down",
            "n1 is silent",
            "no other node has its lease any more",
            "dre/dre-vip1: started",
            "dre/dre-svc: started",
            "ACTIVATING -> ACTIVE",
        ],
    );
}

#[test]
fn a_link_that_came_back_explains_nothing() {
    let course = Course::play("cluster", N2, &["cut primary", "run 2s", "mend primary", "run 2s", "power-off n1"]);
    assert_chain(
        &course.why(|fact| matches!(fact, Fact::PeerSilent { .. })),
        &["primary to n1 is down", "secondary to n1 is down", "n1 is silent"],
    );
}

#[test]
fn a_node_is_isolated() {
    let course = Course::play("cluster", N1, &["isolate n1"]);
    assert_chain(
        &course.why(becomes(Role::Standby)),
        &[
            "primary to n2 is late",
            "secondary to n2 is late",
            "primary to n2 is down",
            "secondary to n2 is down",
            "n2 is silent",
            "arbitrator does not answer",
            "isolated: every link",
            "ACTIVE -> DEACTIVATING",
            "dre/dre-vip1: stopped",
            "dre/dre-svc: stopped",
            "DEACTIVATING -> STANDBY",
        ],
    );
}

#[test]
fn an_operator_moves_a_group_and_the_target_fails() {
    let course = Course::play("cluster", N1, &["start-of n2 dre-svc fails", "switchover n1 to n2"]);
    assert_chain(
        &course.why(becomes(Role::Active)),
        &[
            "operator: switchover --to n2",
            "n1 to n2 has begun",
            "ordered by operator",
            "dre/dre-vip1: stopped",
            "dre/dre-svc: stopped",
            "DEACTIVATING -> STANDBY",
            "n1 owns nothing any more",
            "n2 is FAULT",
            "n1 takes it back",
            "STANDBY -> ACTIVATING",
            "dre/dre-vip1: started",
            "dre/dre-svc: started",
            "ACTIVATING -> ACTIVE",
        ],
    );
}

#[test]
fn a_resource_fails_for_good() {
    let course = Course::play("cluster", N1, &["start-of n1 dre-svc fails", "lose n1 dre-svc"]);
    assert_chain(
        &course.why(becomes(Role::Fault)),
        &[
            "dre/dre-svc: failed",
            "dre/dre-svc: stopped",
            "attempt 1 of 2",
            "could not be started",
            "attempt 2 of 2",
            "could not be started",
            "failed here for good",
            "dre/dre-vip1: stopped",
            "DEACTIVATING -> FAULT",
        ],
    );
}

#[test]
fn a_node_is_taken_out() {
    let course = Course::play("cluster", N1, &["offline n1"]);
    assert_chain(
        &course.why(becomes(Role::Standby)),
        &[
            "operator: offline",
            "offline (by operator)",
            "this node is held",
            "dre/dre-vip1: stopped",
            "dre/dre-svc: stopped",
            "DEACTIVATING -> STANDBY",
        ],
    );
}

#[test]
fn a_check_fails() {
    let course = Course::play("cluster ready", N1, &["ready n1 fails"]);
    assert_chain(&course.why(becomes(Role::Deactivating)), &["ready check cache fails", "ACTIVE -> DEACTIVATING"]);
}

#[test]
fn what_was_before_a_restart_explains_nothing_after_it() {
    let course = Course::play("cluster", N1, &["power-off n2", "run 2s", "kill n1", "run 3s", "start n1"]);
    assert_chain(
        &course.why(becomes(Role::Standby)),
        &["started", "dre/dre-vip1: stopped", "dre/dre-svc: stopped", "DEACTIVATING -> STANDBY"],
    );
}

#[test]
fn a_node_that_was_turned_off_is_taken_over() {
    let course = Course::play("cluster fenced", N2, &["power-off n1"]);
    assert_chain(
        &course.why(becomes(Role::Activating)),
        &[
            "primary to n1 is down",
            "secondary to n1 is down",
            "n1 is silent",
            "is being turned off",
            "n1 is off",
            "STANDBY -> ACTIVATING",
        ],
    );
}

#[test]
fn a_hold_that_is_lifted_lets_a_takeover_go_on() {
    let course = Course::play("cluster", N1, &["offline n1 5s", "run 1s", "power-off n2"]);
    assert_chain(
        &course.why(becomes(Role::Activating)),
        &[
            "operator: offline",
            "offline (by operator)",
            "primary to n2 is down",
            "secondary to n2 is down",
            "n2 is silent",
            "online again",
            "STANDBY -> ACTIVATING",
        ],
    );
}

#[test]
fn a_chain_is_no_longer_than_its_bound_and_ends() {
    let at = avamgr_core::time::Instant::BOOT;
    let link = |number| Fact::LinkDown { link: LinkId(number), peer: N2, cause: LinkDownCause::NoCarrier };
    let facts = (0..200).map(|number| link(number % 100)).chain([Fact::PeerSilent { peer: N2 }]);
    let many: Vec<Event> = facts.map(|fact| Event { at, fact }).collect();
    let many: Vec<&Event> = many.iter().collect();
    assert_eq!(chain(&many, 200).len(), chain::STEPS_MAX);
    let (command, refused) = ("upgrade".to_owned(), None);
    let order = Fact::Command { who: "root".to_owned(), command, refused };
    let step = || Fact::Upgrade { step: UpgradeStep::Begun };
    let deep: Vec<Event> =
        std::iter::repeat_with(step).take(100).chain([order]).map(|fact| Event { at, fact }).collect();
    let deep: Vec<&Event> = deep.iter().collect();
    assert_eq!(chain(&deep, 90).len(), chain::DEPTH_MAX + 1, "the order belongs to each of them");
    assert!(chain(&deep, 1000).is_empty());
}

#[test]
fn an_upgrade_goes_step_by_step() {
    let course = Course::play("cluster", N1, &["upgrade n1"]);
    assert_chain(
        &course.why(|fact| matches!(fact, Fact::Upgrade { .. })),
        &["operator: upgrade", "the others are told", "everybody knows", "restarted in place"],
    );
}
