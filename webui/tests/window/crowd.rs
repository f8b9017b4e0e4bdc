//! Many who look, and some who only hold a place.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use avamgr_webui::serve::CONNECTIONS;

use crate::house::House;

/// As many as the issue of a busy control room.
const STREAMS: usize = 500;

#[test]
fn five_hundred_who_look_are_all_told() {
    let house = House::start();
    let mut streams: Vec<_> = (0..STREAMS).map(|_| house.events()).collect();
    for events in &mut streams {
        events.wait("history");
    }
    house.record("for all");
    for events in &mut streams {
        assert_eq!(events.wait("entry")["text"], "for all");
    }
    assert_eq!(house.get("/api/v1/status").status, 200, "and there is room for more");
}

#[test]
fn who_asks_once_finds_room_however_many_look_on() {
    let house = House::start();
    let mut streams = Vec::new();
    for _ in 0..640 {
        streams.push(house.events());
    }
    for events in &mut streams {
        events.wait("history");
    }
    let mut another = house.connect();
    another.write_all(b"GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut begin = [0; 12];
    another.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 503");
    // What it was told at the beginning may be too old by now to be believed.
    house.tell(|_| ());
    house.wait("a load balancer to be answered", || house.get("/active/dre").status == 200);
    assert_eq!(house.get("/metrics").status, 200);
}

#[test]
fn who_reads_nothing_costs_nobody_anything() {
    let house = House::start();
    let mut deaf = house.connect();
    deaf.write_all(b"GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut events = house.events();
    events.wait("history");
    // More than every buffer on the way to the deaf one holds.
    let long = "x".repeat(10_000);
    for _ in 0..2_000 {
        house.record(&long);
    }
    house.record("the last");
    let mut told = events.next();
    while !told.1.to_string().contains("the last") {
        told = events.next();
    }
    assert_eq!(house.get("/readyz").status, 200);
}

#[test]
fn who_finds_no_room_is_told_so_and_room_comes_back() {
    let house = House::start();
    let mut held = Vec::new();
    while held.len() < CONNECTIONS {
        held.push(house.connect());
    }
    house.wait("no room", || house.get("/healthz").status == 503);
    // Who asks nothing is dismissed after a while; who leaves is gone at once.
    held.truncate(CONNECTIONS / 2);
    house.wait("room", || house.get("/healthz").status == 200);
    let mut idle = held.remove(0);
    idle.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(idle.read(&mut [0; 16]).unwrap(), 0, "nobody keeps a place for nothing");
}

#[test]
fn what_is_no_request_is_refused() {
    let house = House::start();
    for bad in [
        "\r\n\r\n\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", "x".repeat(400_000)),
        format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(400_000)),
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}\r\n\r\n".to_owned(),
    ] {
        let mut stream = house.connect();
        // It may be refused before it was said to the end.
        let _ = stream.write_all(bad.as_bytes());
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        let refused = ["400", "404", "414", "421", "431"].iter().any(|code| said.contains(&format!("HTTP/1.1 {code}")));
        assert!(said.is_empty() || refused, "{:.60}: {said:.300}", bad);
    }
    assert_eq!(house.get("/healthz").status, 200);
}
