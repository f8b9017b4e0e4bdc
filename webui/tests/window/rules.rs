//! The rules: what is told of them, and what can be ordered.

use avamgr::clock;
use avamgr_core::courier::{Status, Watched};
use avamgr_core::time::Instant;

use crate::access::{LONG, Visitor, words};
use crate::courier::{DEADLY, LOST};
use crate::house::House;

/// It runs and has said that so many versions wait for a word.
pub(crate) fn watched(now: Instant, conflicts: u64) -> Watched {
    let status = Status {
        now,
        node: "hadev1".to_owned(),
        version: "0.1.0".to_owned(),
        started: now,
        active: None,
        one_way: false,
        directories: Vec::new(),
        peers: Vec::new(),
        unsettled: 0,
        conflicts,
        trash: 0,
        troubles: Vec::new(),
        troubles_omitted: 0,
        notices: Vec::new(),
    };
    let (trouble, answered, status) = (None, Some(now), Some(Box::new(status)));
    Watched { pid: Some(7), since: now, trouble, answered, status }
}

/// As far as the daemon knows; it is there, and says nothing.
pub(crate) fn have_rules(house: &House, viewer: &Visitor) {
    house.tell_of_rules(watched(clock::now(), 0));
    house.tell(|_| ());
    house.wait("the rules", || viewer.get(house, "/api/v1/rules/conflicts").status != 404);
}

#[test]
fn what_lost_is_listed_and_a_word_about_it_is_carried_out_in_the_name_of_whoever_says_it() {
    let house = House::asking(LONG);
    let (alice, bob) = (Visitor::new(&house, "alice"), Visitor::new(&house, "bob"));
    let none = bob.get(&house, "/api/v1/rules/conflicts");
    assert!(none.status == 404 && none.body.contains("no rules are replicated"), "{none:?}");
    have_rules(&house, &bob);
    let nobody = bob.get(&house, "/api/v1/rules/conflicts");
    assert!(nobody.status == 503 && nobody.body.contains("rules-sync does not answer on "), "{nobody:?}");
    let refused = alice.order(&house, "", r#"{"command":"rules_resync"}"#).json();
    assert_eq!(refused["answer"]["answer"], "refused", "{refused}");

    house.bring_courier();
    let told = bob.get(&house, "/api/v1/rules/conflicts").json();
    let conflicts = told["conflicts"].as_array().unwrap();
    assert_eq!((conflicts.len(), &told["omitted"]), (50, &51.into()), "those that are read at once");
    assert_eq!((&conflicts[49]["name"], &conflicts[49]["by"]), (&LOST.into(), &"hadev2".into()));

    let resync = alice.order(&house, "", r#"{"command":"rules_resync"}"#).json();
    assert_eq!(resync["answer"]["text"], "4 paths were read and compared", "{resync}");
    assert_eq!((&resync["progress"]["done"], &resync["progress"]["total"]), (&4.into(), &4.into()), "{resync}");
    for command in ["rules_restore", "rules_settle"] {
        let wish = |name: &str| format!(r#"{{"command":"{command}","name":"{name}"}}"#);
        let done = alice.order(&house, "", &wish(LOST)).json();
        assert_eq!(done["answer"]["answer"], "done", "{done}");
        let unknown = alice.order(&house, "", &wish("1")).json();
        assert_eq!(unknown["answer"]["reason"], "there is no such version", "{unknown}");
        assert_eq!(bob.order(&house, "", &wish(LOST)).status, 403, "he may look");
    }
    assert_eq!(alice.order(&house, "", r#"{"command":"rules_resync","force":true}"#).status, 422);
    let died = alice.order(&house, "", &format!(r#"{{"command":"rules_restore","name":"{DEADLY}"}}"#)).json();
    assert_eq!(died["answer"]["answer"], "failed", "nobody knows whether it was done: {died}");
    let told = || words(&alice.get(&house, "/api/v1/history?last=500").json());
    house.wait("the history to say who", || told().contains("rules-sync conflicts restore 1 of alice at 127.0.0.1"));
    assert!(told().contains(&format!("rules-sync conflicts settle {LOST}")), "{}", told());
}
