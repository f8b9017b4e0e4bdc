//! What is told as it happens.

use std::time::Duration;

use avamgr_core::cluster::Role;

use crate::house::House;

#[test]
fn who_looks_is_told_how_it_stands_what_was_and_what_happens() {
    let house = House::start();
    house.record("before");
    house.wait("it to be known", || house.get("/api/v1/history").body.contains("before"));
    let mut events = house.events();
    let (first, status) = events.next();
    assert_eq!((first.as_str(), &status["state"]), ("status", &"known".into()));
    let past = events.wait("history");
    assert_eq!(past[0]["text"], "before");
    house.tell(|status| status.groups[0].role = Role::Deactivating);
    house.record("now");
    assert_eq!(events.wait("entry")["text"], "now");
    let mut role = events.wait("status")["status"]["groups"][0]["role"].clone();
    while role != "deactivating" {
        role = events.wait("status")["status"]["groups"][0]["role"].clone();
    }
}

#[test]
fn a_daemon_that_falls_silent_is_told_and_so_is_its_return() {
    let mut house = House::start();
    let mut events = house.events();
    house.lose_daemon();
    while events.wait("status")["state"] != "unknown" {}
    house.bring_daemon();
    house.tell(|_| ());
    while events.wait("status")["state"] != "known" {}
}

#[test]
fn what_has_happened_is_told_at_once() {
    let house = House::start();
    let mut events = house.events();
    events.wait("history");
    let mut took: Vec<Duration> = Vec::new();
    for number in 0..20 {
        let begun = avamgr::clock::now();
        house.record(&number.to_string());
        assert_eq!(events.wait("entry")["text"], number.to_string());
        took.push(avamgr::clock::now().since(begun));
    }
    took.sort_unstable();
    // Asking once in a while would take a quarter of a second.
    assert!(took[10] < Duration::from_millis(100), "{took:?}");
}
