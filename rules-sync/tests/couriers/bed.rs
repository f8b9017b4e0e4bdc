//! Nodes with real trees and stores, whose batches are carried by hand.

use std::fs;
use std::path::PathBuf;

use rules_sync::courier::{Courier, Moment, Portion};
use rules_sync::directory::Directory;
use rules_sync::filter::Filter;
use rules_sync::place::Place;
use rules_sync::plan::Limits;
use rules_sync::spool::Spool;
use rules_sync::store::Store;

const LIMITS: Limits = Limits { items: 4_096, bytes: 1 << 26 };
const NAMES: [&str; 3] = ["a", "b", "c"];

/// A node of the bed; it has no courier while it is down.
pub(crate) struct Node {
    root: tempfile::TempDir,
    pub(crate) name: &'static str,
    peers: Vec<String>,
    one_way: bool,
    courier: Option<Courier>,
}

impl Node {
    fn new(name: &'static str, peers: Vec<String>, one_way: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("rules")).unwrap();
        let mut node = Self { root, name, peers, one_way, courier: None };
        node.start();
        node
    }

    pub(crate) fn start(&mut self) {
        let path = |name: &str| self.root.path().join(name);
        fs::create_dir_all(path("state")).unwrap();
        let store = Store::open(&path("state").join("store")).unwrap();
        let mut courier = Courier::new(self.name, &self.peers, store, self.one_way).unwrap();
        let directory = Directory::open(&path("rules"), &path("area"), Filter::default()).unwrap();
        courier.gain("re", directory).unwrap();
        self.courier = Some(courier);
    }

    pub(crate) fn stop(&mut self) {
        self.courier = None;
    }

    /// Its state directory is empty.
    pub(crate) fn lose_store(&mut self) {
        self.stop();
        fs::remove_dir_all(self.root.path().join("state")).unwrap();
    }

    pub(crate) fn path(&self, way: &str) -> PathBuf {
        self.root.path().join("rules").join(way)
    }

    pub(crate) fn write(&self, way: &str, text: &str) {
        fs::write(self.path(way), text).unwrap();
    }

    pub(crate) fn text(&self, way: &str) -> Option<String> {
        fs::read_to_string(self.path(way)).ok()
    }

    pub(crate) fn courier(&self) -> &Courier {
        self.courier.as_ref().unwrap()
    }

    /// What lost a conflict; else what is in the trash.
    pub(crate) fn kept(&self, conflicts: bool) -> Vec<String> {
        let kept = self.courier().store().kept().unwrap().into_iter().filter(|(_, kept)| kept.conflict == conflicts);
        let mut texts: Vec<_> = kept
            .map(|(name, kept)| fs::read_to_string(self.courier().kept_path(&name, &kept).unwrap()).unwrap())
            .collect();
        texts.sort();
        texts
    }

    pub(crate) fn owes(&self) -> u64 {
        self.peers.iter().map(|peer| self.courier().store().backlog(peer).unwrap().paths).sum()
    }
}

/// The nodes, the time, and who is ACTIVE.
pub(crate) struct Bed {
    pub(crate) nodes: Vec<Node>,
    pub(crate) active: Option<&'static str>,
    pub(crate) millis: u64,
}

impl Bed {
    pub(crate) fn new(count: usize, one_way: bool) -> Self {
        let names = &NAMES[..count];
        let peers = |me: &str| names.iter().filter(|name| **name != me).map(|name| (*name).to_owned()).collect();
        let nodes = names.iter().map(|name| Node::new(name, peers(name), one_way)).collect();
        // What is written now is not older.
        Self { nodes, active: Some("a"), millis: 1_000_000 }
    }

    fn moment(&mut self) -> Moment<'static> {
        self.millis += 1;
        Moment { active: self.active, millis: self.millis }
    }

    /// Everybody hears who is ACTIVE now.
    pub(crate) fn switch(&mut self, active: Option<&'static str>) {
        self.active = active;
        let moment = self.moment();
        for courier in self.nodes.iter_mut().filter_map(|node| node.courier.as_mut()) {
            courier.follow_role(moment).unwrap();
        }
    }

    pub(crate) fn look(&mut self, node: usize) {
        let moment = self.moment();
        let courier = self.nodes[node].courier.as_mut().unwrap();
        courier.look(&[Place::root("re").unwrap()], false, moment).unwrap();
    }

    /// One batch; whether there was anything to say, and somebody to say it and to hear it.
    pub(crate) fn send(&mut self, from: usize, to: usize) -> bool {
        let moment = self.moment();
        let (sender_name, name) = (self.nodes[from].name, self.nodes[to].name);
        let is_up = |node: &Node| node.courier.is_some();
        if !is_up(&self.nodes[from]) || !is_up(&self.nodes[to]) {
            return false;
        }
        let sender = &mut self.nodes[from];
        let outbox = Spool::open(&sender.root.path().join("out").join(name)).unwrap();
        let all = |_: &_| Portion::All;
        let courier = sender.courier.as_mut().unwrap();
        let composed = courier.compose(name, moment.millis, &outbox, LIMITS, moment, all).unwrap();
        if composed.manifest.is_none() {
            return false;
        }
        let moment = self.moment();
        let receiver = &mut self.nodes[to];
        let inbox = Spool::open(&receiver.root.path().join("in").join(sender_name)).unwrap();
        for entry in fs::read_dir(outbox.path()).unwrap() {
            let path = entry.unwrap().path();
            fs::rename(&path, inbox.path().join(path.file_name().unwrap())).unwrap();
        }
        receiver.courier.as_mut().unwrap().take_in(sender_name, &inbox, moment).unwrap();
        true
    }

    /// Those that hold the same know it.
    fn compare(&self) {
        for (one, other) in self.nodes.iter().flat_map(|one| self.nodes.iter().map(move |other| (one, other))) {
            let (Some(ours), Some(theirs)) = (&one.courier, &other.courier) else { continue };
            if one.name != other.name && ours.sum().unwrap() == theirs.sum().unwrap() {
                ours.met(other.name).unwrap();
            }
        }
    }

    /// Until nobody has anything to say.
    pub(crate) fn settle(&mut self) {
        for _ in 0..20 {
            let mut said = false;
            for from in 0..self.nodes.len() {
                if self.nodes[from].courier.is_some() {
                    self.look(from);
                }
                for to in (0..self.nodes.len()).filter(|to| *to != from) {
                    said |= self.send(from, to);
                }
            }
            if !said {
                self.compare();
                return;
            }
        }
        panic!("they do not come to an end");
    }
}
