//! Nodes out of maps, a network that loses, repeats and reorders, crashes between any two steps: in the end every tree is the same,
//! and everything that was ever written is in it, or was overwritten by who knew it and is in a trash, or is kept aside.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rules_sync::merge::{Verdict, merge};
use rules_sync::version::{Content, Entry, Seen};

type Path = u8;

/// A node: its tree, and what the courier knows and keeps.
#[derive(Clone, Debug)]
struct Node {
    name: String,
    active: bool,
    /// Its clock: how much it is ahead of the others.
    ahead: u64,
    disk: BTreeMap<Path, Content>,
    store: BTreeMap<Path, Entry>,
    owed: BTreeSet<(usize, Path)>,
    trash: BTreeSet<Content>,
    aside: BTreeSet<Content>,
}

/// What is under way.
#[derive(Clone, Debug)]
enum Message {
    Items { from: usize, to: usize, items: Vec<(Path, Entry)> },
    Known { from: usize, to: usize, items: Vec<(Path, Entry)> },
}

#[derive(Clone, Debug)]
enum Step {
    Write {
        node: usize,
        path: Path,
    },
    Delete {
        node: usize,
        path: Path,
    },
    Scan {
        node: usize,
    },
    Send {
        node: usize,
        to: usize,
    },
    Deliver {
        at: usize,
    },
    Repeat {
        at: usize,
    },
    Lose {
        at: usize,
    },
    /// It dies after the file is in its place and before that is written down.
    DieWhileApplying {
        at: usize,
    },
    Switchover {
        to: usize,
    },
}

struct World {
    nodes: Vec<Node>,
    messages: Vec<Message>,
    millis: u64,
    written: Vec<Content>,
    /// By a hand that had it before its eyes.
    overwritten: BTreeSet<Content>,
    /// Every change, as it was first known.
    changes: Vec<(Path, Entry)>,
}

impl World {
    fn new(nodes: usize, ahead: u64) -> Self {
        let node = |index: usize| Node {
            name: format!("n{index}"),
            active: index == 0,
            ahead: if index == 1 { ahead } else { 0 },
            disk: BTreeMap::new(),
            store: BTreeMap::new(),
            owed: BTreeSet::new(),
            trash: BTreeSet::new(),
            aside: BTreeSet::new(),
        };
        Self {
            nodes: (0..nodes).map(node).collect(),
            messages: Vec::new(),
            millis: 1_000,
            written: Vec::new(),
            overwritten: BTreeSet::new(),
            changes: Vec::new(),
        }
    }

    fn take(&mut self, step: &Step) {
        self.millis += 1;
        let (nodes, messages) = (self.nodes.len(), self.messages.len());
        match *step {
            Step::Write { node, path } => {
                let size = u64::try_from(self.written.len()).expect("a small number");
                let content = Content::File { digest: [0; 32], size, mode: 0o644 };
                let before = self.nodes[node % nodes].disk.insert(path, content.clone());
                self.overwritten.extend(before);
                self.written.push(content);
            }
            Step::Delete { node, path } => {
                let before = self.nodes[node % nodes].disk.remove(&path);
                self.overwritten.extend(before);
            }
            Step::Scan { node } => self.scan(node % nodes),
            Step::Send { node, to } => self.send(node % nodes, to % nodes),
            Step::Deliver { at } if messages > 0 => {
                let message = self.messages.remove(at % messages);
                self.deliver(message, false);
            }
            Step::Repeat { at } if messages > 0 => {
                let message = self.messages[at % messages].clone();
                self.deliver(message, false);
            }
            Step::DieWhileApplying { at } if messages > 0 => {
                let message = self.messages.remove(at % messages);
                self.deliver(message, true);
            }
            Step::Lose { at } if messages > 0 => {
                self.messages.remove(at % messages);
            }
            Step::Deliver { .. } | Step::Repeat { .. } | Step::Lose { .. } | Step::DieWhileApplying { .. } => {}
            Step::Switchover { to } => {
                let to = to % nodes;
                self.nodes.iter_mut().enumerate().for_each(|(index, node)| node.active = index == to);
            }
        }
    }

    fn scan(&mut self, node: usize) {
        let paths: BTreeSet<Path> =
            self.nodes[node].disk.keys().chain(self.nodes[node].store.keys()).copied().collect();
        for path in paths {
            self.look(node, path);
        }
    }

    /// What the disk holds is known.
    fn look(&mut self, index: usize, path: Path) {
        let (millis, nodes) = (self.millis, self.nodes.len());
        let node = &mut self.nodes[index];
        let here = node.disk.get(&path).cloned().unwrap_or(Content::Gone);
        let seen = Seen { node: &node.name, active: node.active, millis: millis + node.ahead };
        let entry = match node.store.get(&path) {
            Some(known) if known.content == here => return,
            None if here == Content::Gone => return,
            Some(known) => known.changed(seen, here),
            None => Entry::first(seen, here),
        };
        self.changes.push((path, entry.clone()));
        node.store.insert(path, entry);
        node.owed.extend((0..nodes).filter(|to| *to != index).map(|to| (to, path)));
    }

    fn send(&mut self, node: usize, to: usize) {
        let sender = &self.nodes[node];
        let owed = sender.owed.iter().filter(|(peer, _)| *peer == to);
        let items: Vec<_> = owed.map(|(_, path)| (*path, sender.store[path].clone())).collect();
        if !items.is_empty() {
            self.messages.push(Message::Items { from: node, to, items });
        }
    }

    fn deliver(&mut self, message: Message, dies: bool) {
        match message {
            Message::Known { from, to, items } => {
                let node = &mut self.nodes[to];
                for (path, entry) in items {
                    if node.store.get(&path).is_some_and(|known| entry.follows(known)) {
                        node.owed.remove(&(from, path));
                    }
                }
            }
            Message::Items { from, to, items } => {
                for (path, theirs) in &items {
                    self.apply(to, from, *path, theirs, dies);
                }
                if !dies {
                    self.messages.push(Message::Known { from: to, to: from, items });
                }
            }
        }
    }

    fn apply(&mut self, to: usize, from: usize, path: Path, theirs: &Entry, dies: bool) {
        // What was changed here meanwhile is a change like any other.
        self.look(to, path);
        let nodes = self.nodes.len();
        let node = &mut self.nodes[to];
        let verdict = merge(node.store.get(&path), theirs);
        let here = node.disk.get(&path).cloned();
        match &verdict {
            Verdict::Known | Verdict::Note(_) => {}
            Verdict::KeepTheirs(_) => {
                node.aside.insert(theirs.content.clone());
            }
            Verdict::Take(entry) | Verdict::TakeAndKeepOurs(entry) => {
                let keep = if matches!(verdict, Verdict::Take(_)) { &mut node.trash } else { &mut node.aside };
                keep.extend(here);
                match &entry.content {
                    Content::Gone => node.disk.remove(&path),
                    content @ (Content::File { .. } | Content::Link { .. } | Content::Directory { .. }) => {
                        node.disk.insert(path, content.clone())
                    }
                };
            }
        }
        if let Some(entry) = verdict.entry().filter(|_| !dies) {
            let news = !theirs.follows(entry);
            node.store.insert(path, entry.clone());
            node.owed.extend((0..nodes).filter(|peer| *peer != to && (*peer != from || news)).map(|peer| (peer, path)));
        }
    }

    /// No more faults: everybody looks, sends and hears until nobody owes anything.
    fn end(&mut self) {
        for _ in 0..20 {
            for node in 0..self.nodes.len() {
                self.scan(node);
                for to in 0..self.nodes.len() {
                    self.send(node, to);
                }
            }
            while !self.messages.is_empty() {
                let message = self.messages.remove(0);
                self.deliver(message, false);
            }
            if self.nodes.iter().all(|node| node.owed.is_empty()) {
                return;
            }
        }
        panic!("it does not come to an end");
    }

    fn check(&self) {
        let first = &self.nodes[0];
        for node in &self.nodes[1..] {
            assert_eq!(node.disk, first.disk, "{} and {}", node.name, first.name);
            for (path, entry) in &first.store {
                assert_eq!(node.store[path].content, entry.content);
            }
        }
        for (path, last) in &first.store {
            let changes = || self.changes.iter().filter(|(changed, _)| changed == path).map(|(_, entry)| entry);
            let won = changes().find(|entry| entry.stamp == last.stamp).expect("somebody made it");
            let made_from_it = changes().find(|entry| entry.follows(won) && !won.follows(entry));
            assert_eq!(made_from_it, None, "{won:?} is back");
        }
        for content in self.written.iter().filter(|content| !self.overwritten.contains(content)) {
            let kept = |node: &Node| {
                node.disk.values().any(|it| it == content)
                    || node.trash.contains(content)
                    || node.aside.contains(content)
            };
            assert!(self.nodes.iter().any(kept), "{content:?} is lost");
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let (node, path, at) = (0..3usize, 0..3u8, 0..100usize);
    prop_oneof![
        4 => (node.clone(), path.clone()).prop_map(|(node, path)| Step::Write { node, path }),
        1 => (node.clone(), path).prop_map(|(node, path)| Step::Delete { node, path }),
        3 => node.clone().prop_map(|node| Step::Scan { node }),
        4 => (node.clone(), node.clone()).prop_map(|(node, to)| Step::Send { node, to }),
        5 => at.clone().prop_map(|at| Step::Deliver { at }),
        1 => at.clone().prop_map(|at| Step::Repeat { at }),
        1 => at.clone().prop_map(|at| Step::Lose { at }),
        1 => at.prop_map(|at| Step::DieWhileApplying { at }),
        1 => node.prop_map(|to| Step::Switchover { to }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn every_tree_is_the_same_in_the_end_and_nothing_is_lost(
        nodes in 2..4usize,
        ahead in prop_oneof![Just(0), Just(3_600_000u64)],
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut world = World::new(nodes, ahead);
        for step in &steps {
            world.take(step);
        }
        world.end();
        world.check();
    }
}
