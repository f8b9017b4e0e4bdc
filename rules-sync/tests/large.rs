//! Trees whose paths and links are as long as they can be: no batch is larger than what a peer reads.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rules_sync::courier::{Courier, Moment, Portion, Taken};
use rules_sync::directory::Directory;
use rules_sync::filter::Filter;
use rules_sync::manifest::{Ask, MAX_BYTES};
use rules_sync::place::Place;
use rules_sync::plan::Limits;
use rules_sync::spool::Spool;
use rules_sync::store::Store;

const NOW: Moment<'static> = Moment { active: None, millis: 1_000 };
/// Only the size counts.
const LIMITS: Limits = Limits { items: 100_000, bytes: u64::MAX };

struct Node {
    root: tempfile::TempDir,
    courier: Courier,
    peer: &'static str,
    inbox: Spool,
    outbox: Spool,
    batch: u64,
    /// It tells nothing new.
    silent: bool,
}

impl Node {
    fn new(me: &'static str, peer: &'static str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir(path("r")).unwrap();
        let directory = Directory::open(&path("r"), &path("area"), Filter::default()).unwrap();
        let store = Store::open(&path("store")).unwrap();
        let mut courier = Courier::new(me, &[peer.to_owned()], store, false).unwrap();
        courier.gain("re", directory).unwrap();
        let (inbox, outbox) = (Spool::open(&path("in")).unwrap(), Spool::open(&path("out")).unwrap());
        Self { root, courier, peer, inbox, outbox, batch: 0, silent: false }
    }

    fn rules(&self) -> PathBuf {
        self.root.path().join("r")
    }

    fn look(&mut self) {
        let found = self.courier.look(&[Place::root("re").unwrap()], false, NOW).unwrap();
        assert!(found.troubles.is_empty(), "{:?}", found.troubles);
    }

    /// One batch to the other one, by hand; what it brought, or nothing when there was nothing to say.
    fn tell(&mut self, other: &mut Self) -> Option<Taken> {
        self.batch += 1;
        let portion = if self.silent { Portion::Nothing } else { Portion::All };
        let composed = self.courier.compose(self.peer, self.batch, &self.outbox, LIMITS, NOW, |_| portion);
        composed.unwrap().manifest?;
        for entry in fs::read_dir(self.outbox.path()).unwrap() {
            let entry = entry.unwrap();
            assert!(entry.metadata().unwrap().len() <= MAX_BYTES, "{} bytes", entry.metadata().unwrap().len());
            fs::rename(entry.path(), other.inbox.path().join(entry.file_name())).unwrap();
        }
        let taken = other.courier.take_in(other.peer, &other.inbox, NOW).unwrap();
        assert!(taken.doubts.is_empty() && taken.later.is_empty(), "{:?} {:?}", taken.doubts, taken.later);
        Some(taken)
    }
}

fn pair() -> (Node, Node) {
    (Node::new("n1", "n2"), Node::new("n2", "n1"))
}

/// Until neither has anything to say.
fn settle(one: &mut Node, two: &mut Node) {
    for _ in 0..50 {
        let told = [one.tell(two).is_some(), two.tell(one).is_some()];
        if told == [false, false] {
            return;
        }
    }
    panic!("they do not come to an end");
}

/// A directory so deep that a name in it makes a path of almost 4 KiB, of bytes that are written as three.
fn deep(root: &Path) -> PathBuf {
    let mut path = root.to_owned();
    let name = OsString::from_vec(vec![0xff; 250]);
    while path.as_os_str().len() < 3_700 {
        path.push(&name);
    }
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn links_that_point_as_far_as_they_can_arrive_however_many_there_are() {
    let (mut one, mut two) = pair();
    let target = OsString::from_vec(vec![0xff; 4_095]);
    for number in 0..4_200 {
        symlink(&target, one.rules().join(format!("link{number}"))).unwrap();
    }
    one.look();
    settle(&mut one, &mut two);
    assert_eq!(fs::read_dir(two.rules()).unwrap().count(), 4_200);
    assert_eq!(fs::read_link(two.rules().join("link4199")).unwrap().into_os_string(), target);
}

#[test]
fn paths_as_long_as_they_can_be_arrive_and_are_compared_and_asked_for() {
    let (mut one, mut two) = pair();
    let inside = deep(&one.rules());
    for number in 0..6_000 {
        symlink("x", inside.join(format!("rule{number:04}"))).unwrap();
    }
    one.look();
    settle(&mut one, &mut two);
    let paths = one.courier.sum().unwrap();
    assert_eq!((two.courier.sum().unwrap(), paths.paths > 6_000), (paths, true));
    // One of the last is another one there.
    let there = two.rules().join(inside.strip_prefix(one.rules()).unwrap());
    fs::remove_file(there.join("rule5999")).unwrap();
    two.look();
    two.silent = true;
    one.courier.ask("n2", Ask::All);
    let (mut parts, mut differences) = (0, Vec::new());
    loop {
        one.tell(&mut two);
        let taken = two.tell(&mut one).unwrap();
        let part = taken.all.expect("it was asked for");
        parts += 1;
        differences.extend(one.courier.differences(&part).unwrap());
        match part.until {
            Some(until) => one.courier.ask_for_more("n2", until),
            None => break,
        }
    }
    assert!(parts > 1, "it had room in one manifest");
    assert_eq!(differences.len(), 1, "{differences:?}");
    two.silent = false;
    // Each is wanted several times more, and all of them have come in the end.
    let all = one.courier.holds_after(None).unwrap().marks;
    one.courier.repair("n2", (0..6).flat_map(|_| all.keys()), NOW).unwrap();
    settle(&mut one, &mut two);
    assert_eq!(one.courier.sum().unwrap(), two.courier.sum().unwrap());
}
