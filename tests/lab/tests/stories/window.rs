//! A node in a browser, with the real `avamgr-webui` beside each daemon: what it shows of faults and how soon, and that its
//! troubles, and those of whoever looks, are never the daemon's.

use std::error::Error;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use avamgr_lab::{Plan, mark, story, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::pair::{Outcome, PAIR, Pair, SLEEPER, SOON, config};

const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);

/// `[web]` is a table at the end of a file.
fn shown(timers: &str) -> String {
    format!("{}\n[web]\n", config(timers, SLEEPER))
}

/// A connection to the window of a node, from the node itself.
fn connect(pair: &Pair, name: &str) -> Result<TcpStream, Box<dyn Error>> {
    let stream = pair.node(name)?.in_netns(|| TcpStream::connect(SocketAddr::from(ADDRESS)))?;
    stream.set_read_timeout(Some(SOON))?;
    Ok(stream)
}

/// Status code and body.
fn get(pair: &Pair, name: &str, path: &str) -> Result<(u16, String), Box<dyn Error>> {
    let mut stream = connect(pair, name)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    let (head, body) = said.split_once("\r\n\r\n").ok_or("no answer")?;
    let code = head.split(' ').nth(1).ok_or("no status code")?.parse()?;
    Ok((code, body.to_owned()))
}

fn wait_code(pair: &Pair, name: &str, path: &str, code: u16) -> Outcome {
    let is_so = || get(pair, name, path).is_ok_and(|answer| answer.0 == code);
    let waited = wait_until(SOON, format!("{code} for {path} on {name}"), is_so);
    if waited.is_err() {
        println!("{name} says: {:?}", get(pair, name, "/api/v1/status"));
        pair.tell();
    }
    Ok(waited?)
}

/// The window of a node: one process.
fn window(pair: &Pair, name: &str) -> Result<i32, Box<dyn Error>> {
    let is_one = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with("avamgr-webui\0"))
    };
    let found: Vec<i32> = pair.node(name)?.pids()?.into_iter().filter(is_one).collect();
    let [pid] = found.as_slice() else { return Err(format!("{found:?}").into()) };
    Ok(*pid)
}

/// It is nobody special.
fn has_no_privileges(pid: i32) -> Outcome {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let values = |name: &str| -> Vec<&str> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().collect()
    };
    assert_eq!((values("Uid:"), values("CapEff:")), (vec!["65534"; 4], vec!["0000000000000000"]));
    Ok(())
}

/// Everything as it happens.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(pair: &Pair, name: &str) -> Result<Self, Box<dyn Error>> {
        let mut stream = connect(pair, name)?;
        write!(stream, "GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Waits for a document that is so; when that was.
    fn wait(&mut self, is_so: impl Fn(&Value) -> bool) -> Result<Instant, Box<dyn Error>> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err("the stream has ended".into());
            }
            let Some(data) = line.strip_prefix("data: ") else { continue };
            if is_so(&serde_json::from_str(data)?) {
                return Ok(mark());
            }
        }
    }
}

fn link_state<'a>(document: &'a Value, link: &str) -> Option<&'a str> {
    let links = document["status"]["peers"][0]["links"].as_array()?;
    links.iter().find(|it| it["link"] == link)?["state"].as_str()
}

#[test]
fn a_cut_cable_and_a_move_are_on_the_page_of_either_node_within_a_second() {
    story(|| {
        let pair = Pair::start(Plan::pair(), &shown(""))?;
        for name in PAIR {
            wait_code(&pair, name, "/readyz", 200)?;
            has_no_privileges(window(&pair, name)?)?;
        }
        assert_eq!((get(&pair, "hadev1", "/active/dre")?.0, get(&pair, "hadev2", "/active/dre")?.0), (200, 503));
        let mut pages = [Stream::open(&pair, "hadev1")?, Stream::open(&pair, "hadev2")?];
        let cut = mark();
        pair.lab.pull("hb1")?;
        for page in &mut pages {
            let seen = page.wait(|it| link_state(it, "primary") == Some("down"))?;
            assert!(seen.duration_since(cut) < Duration::from_secs(1), "{:?}", seen.duration_since(cut));
            println!("the cut cable was on the page after {:?}", seen.duration_since(cut));
        }
        pair.lab.heal_all()?;
        let moved = mark();
        assert!(pair.avamgr("hadev1", &["switchover"])?.status.success());
        for (page, role) in pages.iter_mut().zip(["standby", "active"]) {
            let seen = page.wait(|it| it["status"]["groups"][0]["role"] == role)?;
            println!("{role} was on the page {:?} after the order", seen.duration_since(moved));
        }
        wait_code(&pair, "hadev2", "/active/dre", 200)?;
        wait_code(&pair, "hadev1", "/active/dre", 503)?;
        Ok(())
    });
}

#[test]
fn the_window_comes_back_and_says_that_nobody_knows_when_the_daemon_is_gone() {
    story(|| {
        let pair = Pair::start(Plan::pair(), &shown(""))?;
        wait_code(&pair, "hadev1", "/readyz", 200)?;
        let first = window(&pair, "hadev1")?;
        kill(Pid::from_raw(first), Signal::SIGKILL)?;
        wait_until(SOON, "another window", || window(&pair, "hadev1").is_ok_and(|pid| pid != first))?;
        wait_code(&pair, "hadev1", "/readyz", 200)?;
        pair.wait_event("hadev1", "web page: avamgr-webui was killed by")?;
        // A daemon that hangs knows nothing, and nor does its window.
        let mut page = Stream::open(&pair, "hadev2")?;
        pair.daemon("hadev2").stop()?;
        page.wait(|it| it["state"] == "unknown" || it["state"] == "stale")?;
        wait_code(&pair, "hadev2", "/readyz", 503)?;
        pair.daemon("hadev2").cont()?;
        wait_code(&pair, "hadev2", "/readyz", 200)?;
        // It goes with the daemon.
        pair.daemon("hadev1").terminate()?;
        wait_until(SOON, "no window without a daemon", || window(&pair, "hadev1").is_err())?;
        Ok(())
    });
}

/// An account of every Debian that nobody logs in with.
const ACCOUNT: &str = "www-data";

/// Says something to the window of a node, as a program with a token; status code and document.
fn order(pair: &Pair, name: &str, token: &str, wish: &str) -> Result<(u16, Value), Box<dyn Error>> {
    let mut stream = connect(pair, name)?;
    stream.set_read_timeout(Some(2 * SOON))?;
    write!(
        stream,
        "POST /api/v1/commands?wait=30 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{wish}",
        wish.len()
    )?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    let (head, body) = said.split_once("\r\n\r\n").ok_or("no answer")?;
    let code = head.split(' ').nth(1).ok_or("no status code")?.parse()?;
    Ok((code, serde_json::from_str(body)?))
}

#[test]
fn an_operator_moves_a_group_from_either_nodes_page_and_the_history_has_his_name() {
    story(|| {
        let directory = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir()?;
        let file = directory.path().join("users");
        let table = format!("[web]\nuser = \"{ACCOUNT}\"\nusers = \"{}\"\n", file.display());
        let pair = Pair::start(Plan::pair(), &format!("{}\n{table}", config("", SLEEPER)))?;
        let made = pair.avamgr("hadev1", &["user", "token", "alice", "--right", "operator"])?;
        assert!(made.status.success(), "{made:?}");
        let token = String::from_utf8(made.stdout)?.trim().to_owned();
        for name in PAIR {
            wait_code(&pair, name, "/readyz", 200)?;
            assert_eq!(get(&pair, name, "/api/v1/status")?.0, 401, "he does not say who he is");
        }
        let switchover = r#"{"command":"switchover","group":"dre"}"#;
        for (page, active) in [("hadev2", "hadev2"), ("hadev2", "hadev1"), ("hadev1", "hadev2")] {
            let (code, told) = order(&pair, page, &token, switchover)?;
            assert_eq!((code, &told["answer"]["answer"]), (200, &"done".into()), "{told}");
            pair.wait_role(active, "active")?;
        }
        pair.wait_event("hadev1", &format!("alice at 127.0.0.1 through {ACCOUNT}"))?;
        let (_, told) = order(&pair, "hadev1", &token, r#"{"command":"offline"}"#)?;
        assert_eq!(told["answer"]["answer"], "done", "{told}");
        let (_, told) = order(&pair, "hadev2", &token, switchover)?;
        assert_eq!(told["answer"]["answer"], "refused", "there is nobody to move it to: {told}");
        let (_, told) = order(&pair, "hadev1", &token, r#"{"command":"online"}"#)?;
        assert_eq!(told["answer"]["answer"], "done", "{told}");
        pair.never_two_owners()
    });
}

/// Asks the same over and over on one connection, for so long; how often it was answered.
fn hammer(mut stream: TcpStream, time: Duration) -> Result<u64, std::io::Error> {
    let (end, mut answered) = (mark() + time, 0);
    let mut reader = BufReader::new(stream.try_clone()?);
    while mark() < end {
        stream.write_all(b"GET /api/v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length])?;
        answered += 1;
    }
    Ok(answered)
}

/// Heartbeats that have come later than the suspect time until now, on both nodes and all links.
fn late(pair: &Pair) -> Result<u64, Box<dyn Error>> {
    let mut late = 0;
    for name in PAIR {
        let status = pair.status(name)?;
        let links = status["peers"][0]["links"].as_array().ok_or("no links")?;
        late += links.iter().filter_map(|link| link["late"].as_u64()).sum::<u64>();
    }
    Ok(late)
}

/// Questions at once.
const HAMMERS: usize = 8;

#[test]
fn a_crowd_at_the_window_moves_nothing_at_10_ms() {
    story(|| {
        let pair = Pair::start(Plan::pair(), &shown("heartbeat_interval = \"10ms\""))?;
        for name in PAIR {
            wait_code(&pair, name, "/readyz", 200)?;
        }
        let (before, begin, time) = (pair.all_role_changes(), mark(), Duration::from_secs(10));
        let late_before = late(&pair)?;
        std::thread::sleep(time);
        let late_alone = late(&pair)? - late_before;
        let mut streams = Vec::new();
        for name in PAIR.iter().cycle().take(HAMMERS) {
            streams.push(connect(&pair, name)?);
        }
        let answered: u64 = std::thread::scope(|scope| {
            let all: Vec<_> = streams.into_iter().map(|stream| scope.spawn(move || hammer(stream, time))).collect();
            all.into_iter().map(|one| one.join().expect("a thread").unwrap_or(0)).sum()
        });
        println!("{} answers a second; outage {:?}", answered / time.as_secs(), pair.outage(begin));
        assert!(answered > 1_000, "{answered}: nobody asked much");
        let late_in_the_crowd = late(&pair)? - late_before - late_alone;
        println!("late heartbeats in {time:?}: {late_alone} without the crowd, {late_in_the_crowd} in it");
        if pair.all_role_changes() != before {
            pair.tell();
        }
        assert_eq!(pair.all_role_changes(), before);
        pair.never_two_owners()
    });
}
