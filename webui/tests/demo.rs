//! The demo shows its nodes in a browser: while it runs, the page of each says what its daemon does.
//!
//! Run with the name or the arguments of a program of the demo this is that program; else it is the test.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use avamgr::clock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use serde_json::Value;

/// The account nobody.
const NOBODY: u32 = 65534;
/// A daemon of the demo is known to its page by then.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    if let Some(code) = avamgr::demo::called_by_name() {
        return code;
    }
    if std::env::args().nth(1).is_some_and(|first| first == "demo") {
        return avamgr::cli::main();
    }
    // What a runner asks a test program for before it runs it.
    if std::env::args().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    for account in [None, Some(NOBODY)].into_iter().take(if Uid::effective().is_root() { 2 } else { 1 }) {
        the_page_of_each_node_is_live_until_the_demo_ends(account);
        a_demo_that_is_killed_takes_its_pages_with_it(account);
    }
    without_the_program_the_demo_says_so_and_goes_on();
    ExitCode::SUCCESS
}

/// A place of its own, in which nothing may be left, with the programs that lie in it.
fn place(with_page: bool) -> tempfile::TempDir {
    let place = tempfile::Builder::new().prefix("demo-").tempdir_in("/tmp").unwrap();
    fs::create_dir(place.path().join("tmp")).unwrap();
    for directory in [place.path().to_owned(), place.path().join("tmp")] {
        fs::set_permissions(directory, Permissions::from_mode(0o777)).unwrap();
    }
    fs::copy(std::env::current_exe().unwrap(), place.path().join("avamgr")).unwrap();
    if with_page {
        fs::copy(env!("CARGO_BIN_EXE_avamgr-webui"), place.path().join("avamgr-webui")).unwrap();
    }
    place
}

struct Demo {
    child: Child,
    lines: BufReader<ChildStdout>,
    seen: String,
}

impl Demo {
    fn start(place: &Path, account: Option<u32>) -> Self {
        let mut command = Command::new(place.join("avamgr"));
        command.args(["demo", "--no-keys"]).env("TMPDIR", place.join("tmp")).current_dir("/").stdin(Stdio::null());
        if let Some(account) = account {
            command.uid(account).gid(account);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines, seen: String::new() }
    }

    fn reads_until(&mut self, words: &str) {
        while !self.seen.contains(words) {
            assert_ne!(self.lines.read_line(&mut self.seen).unwrap(), 0, "it ended before `{words}`\n{}", self.seen);
        }
    }

    /// The addresses it has printed.
    fn pages(&self) -> Vec<String> {
        let words = self.seen.split_whitespace();
        words.filter_map(|word| Some(word.strip_prefix("http://")?.trim_end_matches('/').to_owned())).collect()
    }
}

fn asked(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    said.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// The status that a page shows, once it is known.
fn status(address: &str) -> Value {
    let end = clock::now() + PATIENCE;
    loop {
        let said = asked(address, "/api/v1/status").unwrap_or_default();
        let document: Value = serde_json::from_str(&said).unwrap_or_default();
        if document["state"] == "known" {
            return document["status"].clone();
        }
        assert!(clock::now() < end, "{address} knows nothing: {said}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn left_behind(place: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(place.join("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn the_page_of_each_node_is_live_until_the_demo_ends(account: Option<u32>) {
    let place = place(true);
    let mut demo = Demo::start(place.path(), account);
    demo.reads_until("START");
    let pages = demo.pages();
    assert_eq!(pages.len(), 2, "{}", demo.seen);
    for (page, node) in pages.iter().zip(["hadev1", "hadev2"]) {
        assert!(page.starts_with("127.0.0.1:"), "{page}");
        let status = status(page);
        assert_eq!((&status["node"], &status["cluster"]), (&Value::from(node), &Value::from("demo")));
        assert!(asked(page, "/").unwrap().contains("<html"), "and there is a page");
    }
    // How the play goes on is no business of the pages.
    kill(Pid::from_raw(demo.child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    demo.lines.read_to_string(&mut demo.seen).unwrap();
    demo.child.wait().unwrap();
    for page in pages {
        assert!(TcpStream::connect(&page).is_err(), "{page} is still there");
    }
    assert_eq!(left_behind(place.path()), Vec::<std::path::PathBuf>::new());
}

fn a_demo_that_is_killed_takes_its_pages_with_it(account: Option<u32>) {
    let place = place(true);
    let mut demo = Demo::start(place.path(), account);
    demo.reads_until("START");
    let pages = demo.pages();
    assert_eq!(pages.len(), 2, "{}", demo.seen);
    assert_eq!(asked(&pages[0], "/healthz").as_deref(), Some("alive\n"));
    kill(Pid::from_raw(demo.child.id().try_into().unwrap()), Signal::SIGKILL).unwrap();
    demo.child.wait().unwrap();
    let end = clock::now() + PATIENCE;
    while pages.iter().any(|page| TcpStream::connect(page).is_ok()) {
        assert!(clock::now() < end, "a page has outlived its demo");
        thread::sleep(Duration::from_millis(20));
    }
}

fn without_the_program_the_demo_says_so_and_goes_on() {
    let place = place(false);
    let mut demo = Demo::start(place.path(), None);
    demo.reads_until("START");
    assert!(demo.seen.contains("no page for a browser: avamgr-webui is not beside this program"), "{}", demo.seen);
    kill(Pid::from_raw(demo.child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    demo.lines.read_to_string(&mut demo.seen).unwrap();
    demo.child.wait().unwrap();
    assert_eq!(left_behind(place.path()), Vec::<std::path::PathBuf>::new());
}
