use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use avamgr_core::cluster::CheckId;
use avamgr_core::config::{MonitorConfig, ReadyConfig};
use avamgr_core::node::Input;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::*;
use crate::inputs;

const TIME: Duration = Duration::from_secs(2);

// --- tcp ---

#[tokio::test]
async fn a_port_that_accepts_is_well_and_one_that_does_not_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    check_well(Check::Tcp(address.to_string())).await;
    check_well(Check::Tcp(format!("localhost:{}", address.port()))).await;
    // Bound, so that nobody else takes it, and not listening.
    let deaf = tokio::net::TcpSocket::new_v4().unwrap();
    deaf.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = deaf.local_addr().unwrap();
    check_failing(Check::Tcp(address.to_string()), &format!("connect to {address}: connection refused")).await;
}

#[tokio::test]
async fn an_ipv6_port_is_reached_by_address_and_by_localhost() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
    let address = listener.local_addr().unwrap();
    check_well(Check::Tcp(address.to_string())).await;
    check_well(Check::Tcp(format!("localhost:{}", address.port()))).await;
}

#[tokio::test]
async fn a_name_is_refused_with_a_hint_instead_of_being_looked_up() {
    check_failing(Check::Tcp("db.example.com:80".into()), "db.example.com is a name").await;
    check_failing(Check::Http("http://db.example.com/".into()), "write its address").await;
    check_failing(Check::Tcp("127.0.0.1".into()), "address:port").await;
    check_failing(Check::Tcp("127.0.0.1:x".into()), "x is not a port").await;
}

#[tokio::test]
async fn a_port_that_never_answers_times_out() {
    // A full backlog: the kernel drops what comes then.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let _first = tokio::net::TcpStream::connect(address).await.unwrap();
    let before = Instant::now();
    let error = check_once(Check::Tcp(address.to_string()), Duration::from_millis(100)).await.unwrap_err();
    assert!(error.contains("no answer within 100ms"), "{error}");
    assert!(before.elapsed() < Duration::from_secs(1));
}

// --- http ---

#[tokio::test]
async fn a_page_is_well_with_2xx_and_3xx_only() {
    for (answer, well) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.0 204 No Content\r\n\r\n", true),
        ("HTTP/1.1 302 Found\r\n", true),
        ("HTTP/1.1 204", true),
        ("HTTP/1.1 404 Not Found\r\n\r\n", false),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
        ("HTTP/1.1 2xx\r\n", false),
        ("SSH-2.0-OpenSSH_9.2\r\n", false),
        ("", false),
    ] {
        let address = server(answer).await;
        let result = check_once(Check::Http(format!("http://{address}/health?x=1")), TIME).await;
        assert_eq!(result.is_ok(), well, "{answer:?}: {result:?}");
    }
}

#[tokio::test]
async fn what_a_page_answered_instead_is_said() {
    let address = server("HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
    check_failing(Check::Http(format!("http://{address}/")), "status 503 Service Unavailable, expected 2xx or 3xx")
        .await;
    let address = server("220 smtp ready\r\n").await;
    check_failing(Check::Http(format!("http://{address}/")), "answered \"220 smtp ready\"").await;
    check_failing(Check::Http("https://127.0.0.1/".into()), "only http://").await;
    check_failing(Check::Http("http://127.0.0.1/a b".into()), "no spaces").await;
}

#[tokio::test]
async fn a_server_that_sends_for_ever_without_a_line_end_is_not_read_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Ok(written) = stream.write(&[b'x'; 1024]).await {
            count.fetch_add(written, Ordering::Relaxed);
        }
    });
    check_failing(Check::Http(format!("http://{address}/")), "xxx").await;
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let error = check_once(Check::Http(format!("http://{address}/")), Duration::from_millis(100)).await.unwrap_err();
    assert!(error.contains("no answer within 100ms"), "{error}");
}

// --- process ---

#[tokio::test]
async fn a_process_is_found_by_its_name_until_it_ends() {
    let directory = TempDir::new().unwrap();
    // Longer than the kernel keeps, and shared in its first 15 bytes with another.
    let name = format!("avamgr-check-long-{}", std::process::id());
    let path = directory.path().join(&name);
    assert!(std::process::Command::new("cp").arg("/bin/sleep").arg(&path).status().unwrap().success());
    let mut checker = Checker::new(&Check::Process(name.clone()));
    assert_eq!(checker.run(TIME).await.unwrap_err().to_string(), format!("no process named {name} runs"));
    let mut child = tokio::process::Command::new(&path).arg("60").spawn().unwrap();
    assert!(checker.run(TIME).await.is_ok());
    assert!(checker.run(TIME).await.is_ok(), "found again where it was");
    let other = Checker::new(&Check::Process(format!("{name}x"))).run(TIME).await;
    assert!(other.is_err(), "a longer name is another name");
    child.start_kill().unwrap();
    sleep(Duration::from_millis(50)).await;
    // Not collected yet: a zombie does not count.
    assert!(checker.run(TIME).await.is_err());
    child.wait().await.unwrap();
}

#[tokio::test]
async fn a_script_with_an_interpreter_is_found_by_its_own_name() {
    let directory = TempDir::new().unwrap();
    let path = script(&directory, "watched-script-x", "#!/bin/sh\nsleep 60\n");
    let mut child = tokio::process::Command::new(path).kill_on_drop(true).spawn().unwrap();
    sleep(Duration::from_millis(50)).await;
    check_well(Check::Process("watched-script-x".into())).await;
    child.start_kill().unwrap();
}

// --- script ---

#[tokio::test]
async fn a_script_says_yes_with_0_and_no_with_its_last_words() {
    check_well(sh("exit 0")).await;
    check_failing(
        sh("echo queue full; exit 2"),
        "exited with status 2, expected status 0; last output: \"queue full\"",
    )
    .await;
    check_failing(sh("kill -9 $$"), "killed by signal 9").await;
    check_failing(Check::Script(vec!["/no/such".into()]), "/no/such").await;
    let error = check_once(sh("sleep 60"), Duration::from_millis(100)).await.unwrap_err();
    assert!(error.contains("did not end within 100ms and was killed"), "{error}");
}

#[tokio::test]
async fn a_script_that_comes_later_is_found_later() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("check");
    let mut checker = Checker::new(&Check::Script(vec![path.to_string_lossy().into_owned()]));
    assert!(checker.run(TIME).await.is_err());
    script(&directory, "check", "#!/bin/sh\nexit 0\n");
    assert!(checker.run(TIME).await.is_ok());
    std::fs::remove_file(&path).unwrap();
    assert!(checker.run(TIME).await.is_err());
    script(&directory, "check", "#!/bin/sh\nexit 0\n");
    assert!(checker.run(TIME).await.is_ok());
}

// --- counting ---

#[tokio::test]
async fn a_monitor_speaks_after_fall_failures_and_after_rise_successes() {
    let directory = TempDir::new().unwrap();
    let flag = directory.path().join("well");
    let calls = directory.path().join("calls");
    std::fs::write(&flag, "").unwrap();
    let check = sh(&format!("echo >> {}; test -e {}", calls.display(), flag.display()));
    let mut monitors = Monitors::new(&[monitor(check, 3, 2)]);
    let count = || std::fs::read_to_string(&calls).map_or(0, |calls| calls.len());
    // A check under way is repeated when the wait is dropped, so this only ends by the outer bound.
    assert!(timeout(Duration::from_millis(200), monitors.change()).await.is_err(), "nothing to say while all is well");
    std::fs::remove_file(&flag).unwrap();
    let before = count();
    let Change::Failing(reason) = timeout(Duration::from_secs(5), monitors.change()).await.unwrap() else { panic!() };
    assert!(reason.ends_with("(3 times in a row)"), "{reason}");
    assert!((3..=4).contains(&(count() - before)), "{} checks", count() - before);
    assert!(!monitors.well());
    assert!(timeout(Duration::from_millis(200), monitors.change()).await.is_err(), "said once");
    std::fs::write(&flag, "").unwrap();
    let before = count();
    assert!(matches!(timeout(Duration::from_secs(5), monitors.change()).await, Ok(Change::Well(_))));
    assert!((2..=3).contains(&(count() - before)));
    assert!(monitors.well());
}

#[tokio::test]
async fn a_slow_monitor_does_not_delay_another() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut slow = monitor(sh("sleep 5"), 1, 1);
    slow.timeout = Duration::from_secs(6);
    let mut monitors = Monitors::new(&[slow, monitor(Check::Tcp(dead.to_string()), 2, 1)]);
    let change = timeout(Duration::from_secs(1), monitors.change()).await.unwrap();
    assert!(matches!(change, Change::Failing(reason) if reason.contains("refused")));
}

#[tokio::test]
async fn a_ready_check_says_what_it_is_at_first_and_then_each_change() {
    let directory = TempDir::new().unwrap();
    let flag = directory.path().join("up");
    let (inputs, mut received) = inputs::channel();
    let config =
        ReadyConfig { name: "tomcat".into(), monitor: monitor(sh(&format!("test -e {}", flag.display())), 2, 2) };
    let task = tokio::spawn(watch_ready(CheckId(3), config, inputs));
    let mut next = async || match timeout(Duration::from_secs(5), received.recv()).await.unwrap() {
        Some(Input::Ready { check: CheckId(3), result }) => result,
        other => panic!("{other:?}"),
    };
    let first = next().await.unwrap_err();
    assert!(first.contains("status 1"), "{first}");
    std::fs::write(&flag, "").unwrap();
    assert_eq!(next().await, Ok(()));
    std::fs::remove_file(&flag).unwrap();
    assert!(next().await.is_err());
    task.abort();
    let _ = task.await;
    assert!(received.recv().await.is_none(), "nothing but changes");
}

// --- helpers ---

async fn check_once(check: Check, time: Duration) -> Result<(), String> {
    Checker::new(&check).run(time).await.map_err(|error| error.to_string())
}

async fn check_well(check: Check) {
    let result = check_once(check.clone(), TIME).await;
    assert_eq!(result, Ok(()), "{check:?}");
}

async fn check_failing(check: Check, words: &str) {
    let error = check_once(check, TIME).await.unwrap_err();
    assert!(error.contains(words), "{error:?} does not say {words:?}");
}

fn sh(script: &str) -> Check {
    Check::Script(["sh", "-c", script].map(str::to_owned).to_vec())
}

fn monitor(check: Check, fall: u32, rise: u32) -> MonitorConfig {
    MonitorConfig { check, interval: Duration::from_millis(20), timeout: TIME, fall, rise }
}

fn script(directory: &TempDir, name: &str, text: &str) -> std::path::PathBuf {
    let path = directory.path().join(name);
    // Written by a child: a child of another test, forked while we hold the file open, would make it "busy".
    let mut write = std::process::Command::new("sh");
    write.args(["-c", "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", text]).arg(&path);
    assert!(write.status().unwrap().success());
    path
}

/// Answers one request with this and closes.
async fn server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 512];
        let count = stream.read(&mut request).await.unwrap();
        assert!(request[..count].starts_with(b"GET /"), "{:?}", String::from_utf8_lossy(&request[..count]));
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    address
}
