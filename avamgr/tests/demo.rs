//! The newcomer's first command, end to end: as the account that tests, as an ordinary one, on a terminal, sabotaged.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::{Pid, Uid};

/// The account nobody.
const NOBODY: u32 = 65534;
/// What the demo promises.
const WHOLE_PLAY: Duration = Duration::from_secs(30);
const STEPS: [&str; 7] = ["start", "switchover", "one cable cut", "both cut", "cables back", "power-off", "return"];

/// One demo at a time: they measure, and there are few processors.
static STAGE: Mutex<()> = Mutex::new(());

/// A place of its own, in which nothing may be left, and a program that any account may run.
struct Place {
    dir: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Place {
    fn new() -> Self {
        let alone = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::Builder::new().prefix("demo-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        // The path to the built one may be closed to others.
        fs::copy(env!("CARGO_BIN_EXE_avamgr"), dir.path().join("avamgr")).unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        fs::set_permissions(dir.path().join("tmp"), Permissions::from_mode(0o777)).unwrap();
        Self { dir, _alone: alone }
    }

    fn tmp(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    fn demo(&self) -> Command {
        let mut command = Command::new(self.dir.path().join("avamgr"));
        command.arg("demo").env("TMPDIR", self.tmp()).current_dir("/").stdin(Stdio::null());
        command
    }

    fn left_behind(&self) -> Vec<PathBuf> {
        fs::read_dir(self.tmp()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

fn assert_whole_play(text: &str, status: ExitStatus, took: Duration) {
    assert!(status.success(), "{status}\n{text}");
    assert!(text.contains("7 of 7 steps behaved"), "{text}");
    for step in STEPS {
        let row = text.lines().find(|line| line.trim_start().starts_with(step) && line.ends_with(" ok"));
        assert!(row.is_some(), "the table has no good row for {step}\n{text}");
    }
    let moved = |step: &str| text.lines().any(|line| line.trim_start().starts_with(step) && line.contains(" -> "));
    assert!(moved("switchover") && moved("power-off"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours without a terminal\n{text}");
    assert!(took < WHOLE_PLAY, "it took {took:?}\n{text}");
}

fn play(place: &Place, mut command: Command) {
    let begun = SystemTime::now();
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_whole_play(&text, output.status, begun.elapsed().unwrap());
    assert_eq!(place.left_behind(), Vec::<PathBuf>::new());
}

#[test]
fn every_step_behaves() {
    let place = Place::new();
    play(&place, place.demo());
}

#[test]
fn an_ordinary_account_needs_nothing() {
    if !Uid::effective().is_root() {
        // Then `every_step_behaves` has shown it already.
        return;
    }
    let place = Place::new();
    let mut command = place.demo();
    command.uid(NOBODY).gid(NOBODY);
    play(&place, command);
}

/// The processes of a demo that were called by this name on this node.
fn programs(place: &Place, name: &str, node: &str) -> Vec<Pid> {
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let ours = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        let program = words.first().map(|word| PathBuf::from(String::from_utf8_lossy(word).into_owned()));
        program.is_some_and(|path| path.starts_with(place.dir.path()) && path.ends_with(name))
            && words.contains(&node.as_bytes())
    };
    numbers.filter(ours).map(Pid::from_raw).collect()
}

fn read_until(lines: &mut impl BufRead, mark: &str, seen: &mut String) {
    while !seen.contains(mark) {
        assert_ne!(lines.read_line(seen).unwrap(), 0, "it ended before `{mark}`\n{seen}");
    }
}

#[test]
fn a_step_that_misbehaves_is_named_and_fails_the_demo() {
    let place = Place::new();
    let mut demo = place.demo().stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap());
    let mut seen = String::new();
    read_until(&mut lines, "ONE CABLE CUT", &mut seen);
    // hadev1 is STANDBY since the switchover.
    let daemons = programs(&place, "avamgrd", "hadev1");
    assert_eq!(daemons.len(), 1, "{seen}");
    kill(daemons[0], Signal::SIGSTOP).unwrap();
    lines.read_to_string(&mut seen).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(1), "{seen}");
    for words in [
        "one cable cut: not as expected",
        "expected  primary down, secondary up",
        "seen      primary ",
        "last events of hadev1",
        "last events of hadev2",
        "2 of 7 steps behaved",
        "not played",
    ] {
        assert!(seen.contains(words), "`{words}` is missing\n{seen}");
    }
    let kept = seen.lines().find_map(|line| line.strip_prefix("  logs, configs and histories: ")).unwrap();
    for file in ["hadev1/avamgrd.log", "hadev2/avamgrd.log", "hadev2/avamgr.toml"] {
        assert!(Path::new(kept).join(file).metadata().unwrap().len() > 0, "{file}");
    }
    assert_eq!(place.left_behind(), [PathBuf::from(kept)], "the lab is gone, what it wrote is kept");
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let place = Place::new();
    let mut demo = place.demo().stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap());
    let mut seen = String::new();
    read_until(&mut lines, "SWITCHOVER", &mut seen);
    kill(Pid::from_raw(i32::try_from(demo.id()).unwrap()), Signal::SIGINT).unwrap();
    lines.read_to_string(&mut seen).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(1), "{seen}");
    assert!(seen.contains("ended before its time"), "{seen}");
    assert_eq!(place.left_behind(), Vec::<PathBuf>::new());
    for node in ["hadev1", "hadev2"] {
        assert_eq!(programs(&place, "avamgrd", node), []);
    }
}

/// A demo on a terminal of its own.
struct Visitor {
    demo: Child,
    master: fs::File,
    slave: OwnedFd,
    seen: String,
}

impl Visitor {
    fn start(place: &Place) -> Self {
        let pty = openpty(None, None).unwrap();
        let slave = || Stdio::from(pty.slave.try_clone().unwrap());
        let demo = place.demo().env("TERM", "xterm").stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
        Self { demo, master: pty.master.into(), slave: pty.slave, seen: String::new() }
    }

    /// Reads until `words` appear after everything that was read before; an end without them fails the test.
    fn sees(&mut self, words: &str) {
        let mut new = String::new();
        let mut piece = [0; 4096];
        while !new.contains(words) {
            assert_eq!(self.demo.try_wait().unwrap(), None, "it ended before `{words}`\n{}{new}", self.seen);
            let count = self.master.read(&mut piece).unwrap();
            new.push_str(&anstream::adapter::strip_str(&String::from_utf8_lossy(&piece[..count])).to_string());
        }
        self.seen.push_str(&new);
    }

    fn presses(&mut self, key: &str) {
        self.master.write_all(key.as_bytes()).unwrap();
    }

    fn reads_keys_singly(&self) -> bool {
        !tcgetattr(&self.slave).unwrap().local_flags.contains(LocalFlags::ICANON)
    }
}

#[test]
fn on_a_terminal_the_cluster_is_the_visitors() {
    let place = Place::new();
    let mut visitor = Visitor::start(&place);
    visitor.sees("now it is yours");
    visitor.sees("q quit");
    assert!(visitor.reads_keys_singly());
    // Two keys in one piece are two orders.
    visitor.presses("12");
    visitor.sees("heard on the neutral path only");
    visitor.presses("h");
    visitor.sees("hadev1 is alive");
    visitor.presses("s");
    visitor.sees("switchover done: hadev2 is ACTIVE");
    visitor.presses("p");
    visitor.sees("hadev1  dre: ACTIVATING -> ACTIVE");
    visitor.presses("b");
    visitor.sees("hadev1 is alive");
    visitor.sees("STANDBY");
    visitor.presses("k");
    visitor.sees("hadev2  dre: ACTIVATING -> ACTIVE");
    visitor.presses("b");
    visitor.sees("start of avamgrd on hadev1");
    visitor.presses("q");
    // The terminal's buffer must not fill up while we wait.
    let mut master = visitor.master.try_clone().unwrap();
    thread::spawn(move || std::io::copy(&mut master, &mut std::io::sink()));
    let status = visitor.demo.wait().unwrap();
    assert!(status.success(), "{status}\n{}", visitor.seen);
    assert!(!visitor.reads_keys_singly(), "the terminal is as it was");
    assert_eq!(place.left_behind(), Vec::<PathBuf>::new());
}
