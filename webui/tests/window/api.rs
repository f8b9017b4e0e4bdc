//! The description of the API (OpenAPI) and the API are the same. Besides what is here, every answer that any test of this
//! house sees is held against it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use avamgr_core::control::{HistoryEntry, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::access::{LONG, SWITCHOVER, Visitor, send};
use crate::contract::Contract;
use crate::house::House;
use crate::rules::have_rules;
use crate::samples::samples;

/// All methods that change something or ask something.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

/// It never ends: the tests of what is live read it, and look at each event in the same way.
const STREAM: (&str, &str) = ("GET", "/api/v1/events");

fn paths(contract: &Contract) -> BTreeSet<String> {
    contract.operations().into_iter().map(|(_, path)| path).collect()
}

#[test]
fn what_is_described_is_there_and_nothing_else() {
    let house = House::start();
    let operations = house.contract().operations();
    assert!(operations.len() > 10, "{operations:?}");
    for path in paths(house.contract()) {
        // Whoever reads a stream without end waits for ever: the tests of what is live know that it is there.
        for method in METHODS.into_iter().filter(|method| (*method, path.as_str()) != STREAM) {
            let answer = send(&house, method, &path.replace(['{', '}'], ""), "", "");
            let is_there = answer.status != 405 && !answer.body.contains("there is nothing at");
            assert_eq!(
                is_there,
                operations.contains(&(method.to_owned(), path.clone())),
                "{method} {path}: {answer:?}"
            );
        }
    }
}

/// Each route comes with its description (`routes!`): a bare one is for the page only.
#[test]
fn no_route_is_without_a_description() {
    let mut rooms = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut bare = Vec::new();
    while let Some(room) = rooms.pop() {
        for path in std::fs::read_dir(&room).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => rooms.push(path),
                false if std::fs::read_to_string(&path).unwrap().contains(".route(") => bare.push(path),
                false => {}
            }
        }
    }
    assert!(matches!(bare.as_slice(), [page] if page.ends_with("src/page.rs")), "{bare:?}");
}

/// An operation as one would ask for it, and the status of the answer.
type Case<'a> = (&'a str, &'a str, u16);

fn ask(house: &House, headers: &str, body: &str, cases: &[Case<'_>]) -> BTreeSet<(String, String)> {
    let mut asked = BTreeSet::new();
    for (method, path, status) in cases {
        let answer = send(house, method, path, headers, body);
        assert_eq!(answer.status, *status, "{method} {path}: {answer:?}");
        if (200..300).contains(status) {
            asked.extend(house.contract().find(method, path));
        }
    }
    asked
}

#[test]
fn every_operation_answers_as_it_is_described() {
    let house = House::asking(LONG);
    let (alice, bob) = (Visitor::new(&house, "alice"), Visitor::new(&house, "bob"));
    let login = r#"{"name":"alice","password":"password of alice"}"#;
    house.wait("the history", || alice.get(&house, "/api/v1/history").status == 200);
    let mut asked = ask(&house, "", login, &[("POST", "/api/v1/session", 204)]);
    let open = [
        ("GET", "/api/v1/openapi.json", 200),
        ("GET", "/api/v1/session", 200),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/active/dre", 200),
        ("GET", "/active/other", 404),
        ("GET", "/active/%ff", 400),
        ("GET", "/api/v1/status", 401),
    ];
    asked.extend(ask(&house, "", "", &open));
    let key = "idempotency-key: one\r\n";
    let words = format!("{}x-csrf-token: {}\r\n{key}", alice.cookie, alice.csrf);
    let slow = r#"{"command":"resource","resource":"dre/r","verb":"stop"}"#;
    asked.extend(ask(&house, &words, slow, &[("POST", "/api/v1/commands", 202)]));
    ask(&house, &words, SWITCHOVER, &[("POST", "/api/v1/commands", 409)]);
    ask(&house, &words, "{", &[("POST", "/api/v1/commands", 400)]);
    ask(&house, &words, "{}", &[("POST", "/api/v1/commands", 422)]);
    ask(&house, &bob.cookie, SWITCHOVER, &[("POST", "/api/v1/commands", 403)]);
    let closed = [
        ("GET", "/api/v1/status", 200),
        ("GET", "/api/v1/history", 200),
        ("GET", "/api/v1/history?last=1", 200),
        ("GET", "/api/v1/history?last=x", 400),
        ("GET", "/api/v1/history?since=x", 400),
        ("GET", "/api/v1/history?text=switchover", 200),
        ("GET", "/api/v1/history/export", 200),
        ("GET", "/api/v1/history/1/why", 200),
        ("GET", "/api/v1/history/999999/why", 404),
        ("GET", "/api/v1/history/x/why", 400),
        ("GET", "/api/v1/rules/conflicts", 200),
        ("GET", "/api/v1/commands/one", 202),
        ("GET", "/api/v1/commands/other", 404),
        ("GET", "/api/v1/commands/one?wait=x", 400),
        ("GET", "/metrics", 200),
    ];
    ask(&house, &bob.cookie, "", &[("GET", "/api/v1/rules/conflicts", 404)]);
    have_rules(&house, &bob);
    ask(&house, &bob.cookie, "", &[("GET", "/api/v1/rules/conflicts", 503)]);
    house.bring_courier();
    asked.extend(ask(&house, &alice.cookie, "", &closed));
    ask(&house, &alice.cookie, "", &[("DELETE", "/api/v1/session", 403)]);
    asked.extend(ask(&house, &words, "", &[("DELETE", "/api/v1/session", 204)]));
    asked.insert((STREAM.0.to_owned(), STREAM.1.to_owned()));
    assert_eq!(asked, house.contract().operations());
}

/// Each shape of a document of this name, as it is described, is one of the type, and says all that the type says.
fn shapes<T: Serialize + DeserializeOwned>(house: &House, name: &str) -> Vec<T> {
    let document = house.contract().document();
    let shapes = samples(document, &json!({ "$ref": format!("#/components/schemas/{name}") }));
    let read = |shape: Value| {
        let read: T = serde_json::from_value(shape.clone()).unwrap_or_else(|error| panic!("{error}: {shape:#}"));
        assert_eq!(serde_json::to_value(&read).unwrap(), shape, "the type says something else");
        read
    };
    shapes.into_iter().map(read).collect()
}

/// Places in a document at which nothing is told.
fn empty_places(at: &str, document: &Value) -> Vec<String> {
    let inside = |(name, it): (String, &Value)| empty_places(&format!("{at}/{name}"), it);
    match document {
        Value::Null => vec![at.to_owned()],
        Value::Array(items) if items.is_empty() => vec![at.to_owned()],
        Value::Object(items) if items.is_empty() => vec![at.to_owned()],
        Value::Array(items) => items.first().map(|it| inside(("0".to_owned(), it))).unwrap_or_default(),
        Value::Object(items) => items.iter().flat_map(|(name, it)| inside((name.clone(), it))).collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

#[test]
fn a_status_with_everything_in_it_is_as_it_is_described() {
    let house = House::start();
    for shape in shapes::<Status>(&house, "Status") {
        let ago = avamgr::clock::now() - Duration::from_secs(1);
        house.tell(|status| *status = Status { now: ago, ..shape.clone() });
        house.wait("it to be told", || house.get("/api/v1/status").json()["status"]["node"] == "text");
        house.tell(|status| status.now = avamgr::clock::now());
        house.wait("the other one", || house.get("/api/v1/status").json()["status"]["node"] == "hadev1");
    }
    let first = serde_json::to_value(&shapes::<Status>(&house, "Status")[0]).unwrap();
    assert_eq!(empty_places("", &first), [""; 0]);
}

#[test]
fn whatever_can_happen_is_as_it_is_described() {
    let house = House::start();
    let entries = shapes::<HistoryEntry>(&house, "HistoryEntry");
    assert!(entries.len() > 60, "there is more that can happen than {}", entries.len());
    entries.iter().for_each(|entry| house.remember(entry.clone()));
    let told = || house.get("/api/v1/history?last=1024").json()["entries"].as_array().cloned().unwrap_or_default();
    house.wait("all of it to be told", || told().len() == entries.len());
    let mut events = house.events();
    assert!(!events.wait("history").as_array().unwrap().is_empty());
}

#[test]
fn the_manual_tells_of_every_path() {
    let house = House::start();
    let manual = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/web.md")).unwrap();
    let (_, table) = manual.split_once("| URL | answers |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| "));
    let place = |row: &str| {
        row.split('`').nth(1).unwrap().split(['?', ' ']).find(|word| word.starts_with('/')).map(str::to_owned)
    };
    let told: BTreeSet<String> = rows.filter_map(place).collect();
    let described = paths(house.contract()).into_iter().map(|path| {
        [("{group}", "GROUP"), ("{id}", "ID"), ("{number}", "NUMBER")]
            .into_iter()
            .fold(path, |path, (name, told)| path.replace(name, told))
    });
    assert_eq!(told, described.collect());
}
