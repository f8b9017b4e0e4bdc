//! Who may look, who may steer, and in whose name.

use std::time::Duration;

use avamgr::clock;
use avamgr::users::secret::password_hash;
use avamgr::users::{Right, User};
use serde_json::Value;

use crate::house::{Answer, House, SOON};

pub(crate) const LONG: Duration = Duration::from_secs(3600);
pub(crate) const SWITCHOVER: &str = r#"{"command":"switchover","group":"dre"}"#;

/// A request with these headers, each with its end of line.
pub(crate) fn send(house: &House, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    let length = body.len();
    house.ask(&format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{kind}{headers}\r\n{body}"
    ))
}

fn log_in(house: &House, name: &str, password: &str) -> Answer {
    send(house, "POST", "/api/v1/session", "", &format!(r#"{{"name":"{name}","password":"{password}"}}"#))
}

/// The headers of somebody who is in.
pub(crate) struct Visitor {
    pub(crate) cookie: String,
    pub(crate) csrf: String,
}

impl Visitor {
    pub(crate) fn new(house: &House, name: &str) -> Self {
        let answer = log_in(house, name, &format!("password of {name}"));
        assert_eq!(answer.status, 204, "{answer:?}");
        // Names of headers were made small, what they say was too: the session is taken as it was sent.
        let line = answer.sent.lines().find(|line| line.to_lowercase().starts_with("set-cookie: ")).unwrap().to_owned();
        let (_, cookie) = line.split_once(": ").unwrap();
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
        let cookie = format!("cookie: {}\r\n", cookie.split(';').next().unwrap());
        let csrf = send(house, "GET", "/api/v1/session", &cookie, "").json()["csrf"].as_str().unwrap().to_owned();
        Self { cookie, csrf }
    }

    pub(crate) fn get(&self, house: &House, path: &str) -> Answer {
        send(house, "GET", path, &self.cookie, "")
    }

    pub(crate) fn order(&self, house: &House, more: &str, wish: &str) -> Answer {
        let headers = format!("{}x-csrf-token: {}\r\n{more}", self.cookie, self.csrf);
        send(house, "POST", "/api/v1/commands?wait=8", &headers, wish)
    }
}

/// What has happened; nothing as long as the window has not heard of it.
pub(crate) fn words(history: &Value) -> String {
    let entries = history["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(|entry| entry["text"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
fn where_nobody_is_asked_anybody_looks_and_nobody_steers() {
    let house = House::start();
    let session = house.get("/api/v1/session").json();
    assert_eq!((&session["asks"], &session["user"]), (&false.into(), &Value::Null));
    let refused = send(&house, "POST", "/api/v1/commands", "", SWITCHOVER);
    assert!(refused.status == 403 && refused.body.contains("nobody steers here"), "{refused:?}");
    assert_eq!(log_in(&house, "alice", "password of alice").status, 404);
}

#[test]
fn where_somebody_is_asked_nothing_is_told_to_strangers_but_whether_it_is_well() {
    let house = House::asking(LONG);
    for path in ["/api/v1/status", "/api/v1/history", "/api/v1/events", "/metrics", "/api/v1/commands/x"] {
        let answer = house.get(path);
        assert!(answer.status == 401 && answer.head.contains("www-authenticate: bearer"), "{path}: {answer:?}");
        for stranger in ["cookie: avamgr-80=x\r\n", "cookie: avamgr-80=\r\n", "authorization: Bearer x\r\n"] {
            assert_eq!(send(&house, "GET", path, stranger, "").status, 401, "{path} {stranger}");
        }
    }
    assert_eq!(send(&house, "POST", "/api/v1/commands", "", SWITCHOVER).status, 401);
    assert_eq!(send(&house, "DELETE", "/api/v1/session", "", "").status, 401);
    for path in ["/", "/assets/page.js", "/healthz", "/readyz", "/active/dre", "/api/v1/session"] {
        assert_eq!(house.get(path).status, 200, "{path}");
    }
}

#[test]
fn an_operator_steers_and_the_history_says_who_it_was() {
    let house = House::asking(LONG);
    let alice = Visitor::new(&house, "alice");
    let session = alice.get(&house, "/api/v1/session").json();
    assert_eq!((&session["user"], &session["right"]), (&"alice".into(), &"operator".into()));
    let done = alice.order(&house, "", SWITCHOVER);
    assert_eq!(done.status, 200, "{done:?}");
    let order = done.json();
    assert_eq!(order["answer"]["answer"], "done", "{order}");
    assert_eq!((&order["user"], &order["words"]), (&"alice".into(), &"switchover dre".into()));
    assert!(order["events"].to_string().contains("stopped"), "{order}");
    let found = alice.get(&house, &format!("/api/v1/commands/{}", order["id"].as_str().unwrap())).json();
    assert_eq!(found["answer"], order["answer"]);
    let told = || words(&alice.get(&house, "/api/v1/history").json());
    house.wait("the history to say who", || told().contains("alice at 127.0.0.1 through "));
    let refused = alice.order(&house, "", r#"{"command":"online"}"#).json();
    assert_eq!(refused["answer"]["reason"], "it is online");
    let plan = alice.order(&house, "", r#"{"command":"switchover","group":"dre","dry_run":true}"#).json();
    assert_eq!(plan["answer"]["steps"][0], "move it");
}

#[test]
fn an_order_that_is_sent_twice_is_carried_out_once() {
    let house = House::asking(LONG);
    let alice = Visitor::new(&house, "alice");
    let key = "idempotency-key: one-1\r\n";
    let (first, second) = (alice.order(&house, key, SWITCHOVER), alice.order(&house, key, SWITCHOVER));
    assert_eq!((&first.json()["answer"], first.json()["id"].as_str()), (&second.json()["answer"], Some("one-1")));
    let told = || words(&alice.get(&house, "/api/v1/history").json());
    house.wait("the history", || told().contains("switchover dre"));
    assert_eq!(told().matches("switchover dre").count(), 1, "{}", told());
    assert_eq!(alice.order(&house, key, r#"{"command":"online"}"#).status, 409);
    assert_eq!(alice.order(&house, "idempotency-key: a/b\r\n", SWITCHOVER).status, 400);
}

#[test]
fn what_is_under_way_can_be_followed() {
    let house = House::asking(LONG);
    let alice = Visitor::new(&house, "alice");
    let headers = format!("{}x-csrf-token: {}\r\nidempotency-key: slow\r\n", alice.cookie, alice.csrf);
    let wish = r#"{"command":"resource","resource":"dre/r","verb":"stop"}"#;
    let order = send(&house, "POST", "/api/v1/commands", &headers, wish);
    assert!(order.status == 202 && order.json()["answer"].is_null(), "{order:?}");
    house.wait("its events", || alice.get(&house, "/api/v1/commands/slow").body.contains("resource stop dre/r"));
    assert_eq!(alice.get(&house, "/api/v1/commands/other").status, 404);
}

#[test]
fn a_viewer_looks_and_steers_nothing() {
    let house = House::asking(LONG);
    let bob = Visitor::new(&house, "bob");
    assert_eq!(bob.get(&house, "/api/v1/status").status, 200);
    let refused = bob.order(&house, "", SWITCHOVER);
    assert!(refused.status == 403 && refused.body.contains("bob may look, and not steer"), "{refused:?}");
}

#[test]
fn only_the_page_of_the_session_changes_something() {
    let house = House::asking(LONG);
    let alice = Visitor::new(&house, "alice");
    let order = |headers: String| send(&house, "POST", "/api/v1/commands?wait=8", &headers, SWITCHOVER).status;
    assert_eq!(order(alice.cookie.clone()), 403, "a form of another page has the cookie at best");
    assert_eq!(order(format!("{}x-csrf-token: guess\r\n", alice.cookie)), 403);
    let whole = format!("{}x-csrf-token: {}\r\n", alice.cookie, alice.csrf);
    assert_eq!(order(format!("{whole}origin: http://evil.example\r\n")), 403);
    assert_eq!(order(format!("{whole}origin: null\r\n")), 403);
    assert_eq!(order(format!("{whole}origin: http://localhost\r\n")), 200);
    let elsewhere = "origin: http://evil.example\r\n";
    let login = r#"{"name":"alice","password":"password of alice"}"#;
    assert_eq!(send(&house, "POST", "/api/v1/session", elsewhere, login).status, 403);
}

#[test]
fn who_has_left_or_was_taken_out_is_out_at_once() {
    let mut house = House::asking(LONG);
    let (alice, bob) = (Visitor::new(&house, "alice"), Visitor::new(&house, "bob"));
    let whole = format!("{}x-csrf-token: {}\r\n", alice.cookie, alice.csrf);
    let left = send(&house, "DELETE", "/api/v1/session", &whole, "");
    assert!(left.status == 204 && left.head.contains("max-age=0"), "{left:?}");
    assert_eq!(alice.get(&house, "/api/v1/status").status, 401);
    let mut stream = house.connect();
    std::io::Write::write_all(
        &mut stream,
        format!("GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n{}\r\n", bob.cookie).as_bytes(),
    )
    .unwrap();
    assert_eq!(bob.get(&house, "/api/v1/status").status, 200);
    house.change_users(|users| assert!(users.remove("bob")));
    assert_eq!(bob.get(&house, "/api/v1/status").status, 401);
    let (mut seen, end) = (Vec::new(), clock::now() + SOON);
    loop {
        let mut piece = [0; 4096];
        match std::io::Read::read(&mut stream, &mut piece).unwrap() {
            0 => break,
            read => seen.extend_from_slice(&piece[..read]),
        }
        assert!(clock::now() < end, "he sees it still");
    }
    assert!(String::from_utf8_lossy(&seen).contains("event: status"), "it has ended, and was a stream");
}

#[test]
fn another_password_ends_the_sessions_of_the_old_one() {
    let mut house = House::asking(LONG);
    let alice = Visitor::new(&house, "alice");
    house.change_users(|users| {
        let hash = password_hash("another one").unwrap();
        users.put(User { hash, ..users.named("alice").unwrap().clone() });
    });
    assert_eq!(alice.get(&house, "/api/v1/status").status, 401);
    assert_eq!(log_in(&house, "alice", "password of alice").status, 401);
    assert_eq!(log_in(&house, "alice", "another one").status, 204);
}

#[test]
fn who_does_nothing_for_long_is_asked_again() {
    let house = House::asking(Duration::from_secs(2));
    let alice = Visitor::new(&house, "alice");
    let asked = clock::now();
    house.wait("the session to be over", || alice.get(&house, "/api/v1/status").status == 401);
    assert!(clock::now().since(asked) > Duration::from_secs(1), "looking is no sign of life, and it was not at once");
}

#[test]
fn a_program_shows_its_token_each_time() {
    let mut house = House::asking(LONG);
    let (looks, steers) = (house.token("prometheus", Right::Viewer), house.token("deploy", Right::Operator));
    let as_token = |token: &str| format!("authorization: Bearer {token}\r\n");
    assert_eq!(send(&house, "GET", "/metrics", &as_token(&looks), "").status, 200);
    assert_eq!(send(&house, "POST", "/api/v1/commands", &as_token(&looks), SWITCHOVER).status, 403);
    let done = send(&house, "POST", "/api/v1/commands?wait=8", &as_token(&steers), SWITCHOVER);
    assert_eq!((done.status, &done.json()["user"]), (200, &"deploy".into()));
    assert_eq!(log_in(&house, "deploy", &steers).status, 401, "a token is no password");
    house.change_users(|users| assert!(users.remove("deploy")));
    assert_eq!(send(&house, "GET", "/metrics", &as_token(&steers), "").status, 401);
}

#[test]
fn wrong_passwords_are_slowed_down() {
    let house = House::asking(LONG);
    for name in ["nobody", "", "no name at all"] {
        assert_eq!(log_in(&house, name, "not her password").status, 401, "{name}");
    }
    for _ in 0..5 {
        let answer = log_in(&house, "alice", "not her password");
        assert!(answer.status == 401 && answer.body.contains("wrong name or password"), "{answer:?}");
    }
    let slowed = log_in(&house, "alice", "password of alice");
    assert!(slowed.status == 429 && slowed.head.contains("retry-after: "), "{slowed:?}");
    house.wait("the next try", || log_in(&house, "alice", "password of alice").status == 204);
}

#[test]
fn a_body_that_is_too_long_or_does_not_come_keeps_nobody_out() {
    let house = House::asking(LONG);
    let long = "x".repeat(17 * 1024);
    let answer = send(&house, "POST", "/api/v1/session", "", &format!(r#"{{"name":"{long}","password":""}}"#));
    assert_eq!(answer.status, 413, "{answer:?}");
    let mut slow = house.connect();
    slow.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let begun = b"POST /api/v1/session HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{";
    std::io::Write::write_all(&mut slow, begun).unwrap();
    let mut said = String::new();
    let ended = std::io::Read::read_to_string(&mut slow, &mut said);
    assert!(ended.is_ok() && said.starts_with("HTTP/1.1 408"), "{ended:?}: {said}");
}

#[test]
fn whoever_is_there_stays() {
    let house = House::asking(Duration::from_secs(2));
    let alice = Visitor::new(&house, "alice");
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(alice.get(&house, "/api/v1/session").json()["user"], "alice");
    }
    assert_eq!(alice.get(&house, "/api/v1/status").status, 200);
}

#[test]
fn what_is_no_order_is_refused_in_words() {
    let house = House::asking(LONG);
    let alice = Visitor::new(&house, "alice");
    for (wish, status) in [
        ("", 415),
        ("{", 400),
        ("{}", 422),
        (r#"{"command":"upgrade","binary":"/tmp/x"}"#, 422),
        (r#"{"command":"fence","node":"hadev2","verb":"shoot"}"#, 422),
        (r#"{"command":"online","more":1}"#, 422),
        (r#"{"command":"maintenance"}"#, 422),
    ] {
        let answer = alice.order(&house, "", wish);
        assert!(answer.status == status && answer.head.contains("application/problem+json"), "{wish}: {answer:?}");
    }
    let nonsense = alice.order(&house, "", r#"{"command":"switchover","to":"a\u001bb"}"#).json();
    assert!(nonsense["answer"]["reason"].as_str().unwrap().contains("cannot be printed"), "{nonsense}");
}

#[test]
fn without_its_users_file_nobody_is_let_in() {
    let mut house = House::asking(LONG);
    let alice = Visitor::new(&house, "alice");
    let path = house.users_file();
    std::fs::write(&path, "user alice operator nonsense\n").unwrap();
    let answer = alice.get(&house, "/api/v1/status");
    assert!(answer.status == 503 && answer.body.contains("line 1"), "{answer:?}");
    assert_eq!(log_in(&house, "alice", "password of alice").status, 503);
    assert_eq!(house.get("/active/dre").status, 200, "load balancers go on");
    house.change_users(|_| ());
    assert_eq!(alice.get(&house, "/api/v1/status").status, 200);
}

#[test]
fn an_order_to_a_daemon_that_is_gone_is_refused() {
    let mut house = House::asking(LONG);
    let alice = Visitor::new(&house, "alice");
    house.lose_daemon();
    let answer = alice.order(&house, "", SWITCHOVER).json();
    assert!(answer["answer"]["reason"].as_str().unwrap().contains("nothing was done"), "{answer}");
}
