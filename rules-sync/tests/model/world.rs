//! Nodes out of maps, a network that loses, repeats and reorders, and crashes between any two steps. What is decided is decided by
//! the rooms of the program: `Settle`, `batch` and `order`, `merge`, `obey` and `answer`.

mod ending;
mod hearing;
mod step;

use std::collections::{BTreeMap, BTreeSet};

use rules_sync::merge::{Verdict, merge};
use rules_sync::obey::{Answer, answer, obey};
use rules_sync::place::Place;
use rules_sync::plan::{Item, Limits, batch, order};
use rules_sync::settle::{Hint, Settle};
use rules_sync::version::{Content, Entry, Seen, counter};

pub(crate) use step::Step;

/// So little that nearly everything takes several batches.
const LIMITS: Limits = Limits { items: 3, bytes: 5 };

/// What a node has on its disk besides the rules, and loses with its state.
#[derive(Clone, Debug, Default)]
struct Store {
    number: u64,
    records: BTreeMap<Place, Entry>,
    owed: BTreeSet<(usize, Place)>,
    /// The stores of the others.
    numbers: BTreeMap<usize, u64>,
    met: BTreeSet<usize>,
    was_active: bool,
    looked: bool,
}

/// A node: its tree, and what the courier knows and keeps.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    name: String,
    active: Option<usize>,
    /// Its clock: how much it is ahead of the others.
    ahead: u64,
    disk: BTreeMap<Place, Content>,
    store: Store,
    /// What of it a crash leaves.
    durable: Store,
    /// Changes that a crash undoes.
    noted: Vec<(Place, Entry)>,
    trash: BTreeSet<Content>,
    aside: BTreeSet<Content>,
    /// What it has heard of and not looked at yet.
    restless: Settle<Place>,
    /// It has not heard everything, and has not looked at everything since.
    deaf: bool,
}

/// What is under way.
#[derive(Clone, Debug)]
struct Message {
    from: usize,
    to: usize,
    store: u64,
    news: Vec<Item>,
    known: Vec<Item>,
    wants: Vec<Place>,
}

pub(crate) struct World {
    one_way: bool,
    active: usize,
    nodes: Vec<Node>,
    messages: Vec<Message>,
    millis: u64,
    stores: u64,
    written: Vec<Content>,
    /// By a hand that had it before its eyes.
    overwritten: BTreeSet<Content>,
    /// Every change, as it was first known.
    changes: Vec<(Place, Entry)>,
}

fn place(path: u8) -> Place {
    Place::try_from(format!("re/{path}")).expect("a place")
}

impl World {
    pub(crate) fn new(nodes: usize, ahead: u64, one_way: bool) -> Self {
        let node = |index: usize| {
            let store = Store { number: u64::try_from(index).expect("a few"), ..Store::default() };
            Node {
                name: format!("n{index}"),
                active: Some(0),
                ahead: if index == 1 { ahead } else { 0 },
                disk: BTreeMap::new(),
                durable: store.clone(),
                store,
                noted: Vec::new(),
                trash: BTreeSet::new(),
                aside: BTreeSet::new(),
                restless: Settle::default(),
                deaf: true,
            }
        };
        Self {
            one_way,
            active: 0,
            nodes: (0..nodes).map(node).collect(),
            messages: Vec::new(),
            millis: 1_000,
            stores: 10,
            written: Vec::new(),
            overwritten: BTreeSet::new(),
            changes: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self, step: &Step) {
        self.millis += 1;
        let (nodes, messages) = (self.nodes.len(), self.messages.len());
        match *step {
            Step::Write { node, path, done } => {
                self.write(node % nodes, place(path), if done { Hint::Done } else { Hint::Writing });
            }
            Step::Delete { node, path } => {
                let before = self.nodes[node % nodes].disk.remove(&place(path));
                self.overwritten.extend(before);
                self.happens(node % nodes, &place(path), Hint::Done);
            }
            Step::Rename { node, path, to } if path != to => {
                let disk = &mut self.nodes[node % nodes].disk;
                if let Some(content) = disk.remove(&place(path)) {
                    self.overwritten.extend(disk.insert(place(to), content));
                    self.happens(node % nodes, &place(path), Hint::Done);
                    self.happens(node % nodes, &place(to), Hint::Done);
                }
            }
            Step::Scan { node } => self.scan(node % nodes),
            Step::Look { node } => self.look_at_what_rests(node % nodes),
            Step::Wait { millis } => self.millis += millis,
            Step::Overflow { node } => self.deafen(node % nodes),
            Step::Send { node, to } => self.send(node % nodes, to % nodes),
            Step::Deliver { at } if messages > 0 => {
                let message = self.messages.remove(at % messages);
                self.deliver(message, None);
            }
            Step::Repeat { at } if messages > 0 => self.deliver(self.messages[at % messages].clone(), None),
            Step::DieInBatch { at, after } if messages > 0 => {
                let message = self.messages.remove(at % messages);
                self.deliver(message, Some(after));
            }
            Step::Lose { at } if messages > 0 => drop(self.messages.remove(at % messages)),
            Step::Deliver { .. }
            | Step::Repeat { .. }
            | Step::Lose { .. }
            | Step::DieInBatch { .. }
            | Step::Rename { .. } => {}
            Step::Die { node } => self.die(node % nodes),
            Step::LoseStore { node } => self.lose_store(node % nodes),
            Step::Switchover { to } => {
                self.active = to % nodes;
                (0..nodes).for_each(|node| self.hear(node, Some(self.active)));
            }
            Step::Hear { node, active } => self.hear(node % nodes, active.map(|active| active % nodes)),
        }
    }

    fn write(&mut self, node: usize, path: Place, hint: Hint) {
        self.happens(node, &path, hint);
        let size = u64::try_from(self.written.len()).expect("a small number");
        let content = Content::File { digest: [0; 32], size, mode: 0o644 };
        let before = self.nodes[node].disk.insert(path, content.clone());
        self.overwritten.extend(before);
        self.written.push(content);
    }

    fn lose_store(&mut self, node: usize) {
        self.deafen(node);
        self.write_down(node);
        self.stores += 1;
        let node = &mut self.nodes[node];
        // What it alone knew to be gone is forgotten.
        let lost = counter(&node.name, node.store.number);
        self.changes.retain(|(_, entry)| entry.stamp.node != lost);
        node.store = Store { number: self.stores, ..Store::default() };
        node.durable = node.store.clone();
    }

    /// What is known is on the disk.
    fn write_down(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.durable = node.store.clone();
        self.changes.append(&mut node.noted);
    }

    fn die(&mut self, index: usize) {
        self.deafen(index);
        let node = &mut self.nodes[index];
        node.store = node.durable.clone();
        node.noted.clear();
        let active = node.active;
        self.hear(index, active);
    }

    fn may_change(&self, node: usize) -> bool {
        !self.one_way || self.nodes[node].active == Some(node)
    }

    fn tells(&self, node: usize, peer: usize) -> bool {
        self.may_change(node) || self.nodes[node].active == Some(peer)
    }

    fn may_owe(&self, node: usize, peer: usize) -> bool {
        self.tells(node, peer) || self.nodes[node].active.is_none()
    }

    /// As the courier follows a role.
    fn hear(&mut self, index: usize, active: Option<usize>) {
        let peers: Vec<usize> = (0..self.nodes.len()).filter(|peer| *peer != index).collect();
        let node = &mut self.nodes[index];
        node.active = active;
        let (Some(active), true) = (active, self.one_way) else { return };
        let becomes = active == index && !node.store.was_active;
        node.store.was_active = active == index;
        if becomes {
            let known: Vec<Place> = node.store.records.keys().cloned().collect();
            node.store.owed.extend(peers.iter().flat_map(|peer| known.iter().map(|place| (*peer, place.clone()))));
        }
        if active != index {
            node.store.owed = node.store.owed.iter().map(|(_, place)| (active, place.clone())).collect();
        }
        self.write_down(index);
        if active != index {
            self.ask_for_strays(index, active);
        }
    }

    fn ask_for_strays(&mut self, index: usize, active: usize) {
        let node = &self.nodes[index];
        let known = |place: &Place| node.store.records.get(place).map_or(Content::Gone, |entry| entry.content.clone());
        let here = |place: &Place| node.disk.get(place).cloned().unwrap_or(Content::Gone);
        let paths: BTreeSet<&Place> = node.disk.keys().chain(node.store.records.keys()).collect();
        let wants: Vec<Place> = paths.into_iter().filter(|place| known(place) != here(place)).cloned().collect();
        if !wants.is_empty() {
            let (news, known) = (Vec::new(), Vec::new());
            self.messages.push(Message { from: index, to: active, store: node.store.number, news, known, wants });
        }
    }

    fn scan(&mut self, index: usize) {
        let node = &self.nodes[index];
        let paths: BTreeSet<Place> = node.disk.keys().chain(node.store.records.keys()).cloned().collect();
        if self.may_change(index) {
            paths.iter().for_each(|path| self.look(index, path));
            let node = &mut self.nodes[index];
            (node.store.looked, node.deaf) = (true, false);
        } else if let Some(active) = self.nodes[index].active {
            self.ask_for_strays(index, active);
        }
    }

    /// What a path would be known as after a look; `None` = as it is known.
    fn found(&self, index: usize, path: &Place) -> Option<Entry> {
        let node = &self.nodes[index];
        let here = node.disk.get(path).cloned().unwrap_or(Content::Gone);
        let name = counter(&node.name, node.store.number);
        let seen = Seen { node: &name, active: node.active == Some(index), millis: self.millis + node.ahead };
        match node.store.records.get(path) {
            Some(known) if known.content == here => None,
            None if here == Content::Gone => None,
            Some(known) => Some(known.changed(seen, here)),
            None if node.store.looked => Some(Entry::first(seen, here)),
            None => Some(Entry::found(seen, here)),
        }
    }

    fn look(&mut self, index: usize, path: &Place) {
        if let Some(entry) = self.found(index, path) {
            self.note(index, path, entry);
        }
    }

    /// It is known, and everybody has to be told.
    fn note(&mut self, index: usize, path: &Place, entry: Entry) {
        let peers = (0..self.nodes.len()).filter(|peer| *peer != index);
        let node = &mut self.nodes[index];
        node.store.owed.extend(peers.map(|peer| (peer, path.clone())));
        node.noted.push((path.clone(), entry.clone()));
        node.store.records.insert(path.clone(), entry);
    }

    fn send(&mut self, index: usize, to: usize) {
        if index == to || !self.tells(index, to) {
            return;
        }
        self.write_down(index);
        let store = &self.nodes[index].store;
        let owed = store.owed.iter().filter(|(peer, _)| *peer == to);
        let items = owed.map(|(_, place)| Item { place: place.clone(), entry: store.records[place].clone() });
        let news = batch(items, LIMITS);
        if !news.is_empty() {
            let (known, wants) = (Vec::new(), Vec::new());
            self.messages.push(Message { from: index, to, store: store.number, news, known, wants });
        }
    }

    /// `dies`: after so many items.
    fn deliver(&mut self, message: Message, dies: Option<usize>) {
        let Message { from, to, store, mut news, known, wants } = message;
        let may_owe = self.may_owe(to, from);
        let node = &mut self.nodes[to].store;
        let is_new = node.numbers.insert(from, store) != Some(store);
        if is_new {
            node.met.remove(&from);
        }
        if is_new && may_owe {
            node.owed.extend(node.records.keys().map(|place| (from, place.clone())));
        }
        let confirms = !known.is_empty();
        for item in known {
            if node.records.get(&item.place).is_some_and(|known| item.entry.follows(known)) {
                node.owed.remove(&(from, item.place));
            }
        }
        let wants = wants.into_iter().filter(|place| may_owe && node.records.contains_key(place));
        node.owed.extend(wants.collect::<Vec<_>>().into_iter().map(|place| (from, place)));
        if confirms && self.one_way && self.nodes[to].active == Some(from) {
            self.ask_for_strays(to, from);
        }
        // All that follows is noted at once.
        self.write_down(to);
        order(&mut news);
        let mut known = Vec::new();
        for (index, item) in news.iter().enumerate() {
            if dies.is_some_and(|after| index >= after) {
                break;
            }
            let rest = &news[index + 1..];
            if self.receive(to, from, item, rest) {
                known.push(item.clone());
            }
        }
        if dies.is_some() {
            return self.die(to);
        }
        self.write_down(to);
        self.compare(to, from);
        if !known.is_empty() {
            let store = self.nodes[to].store.number;
            let (news, wants) = (Vec::new(), Vec::new());
            self.messages.push(Message { from: to, to: from, store, news, known, wants });
        }
    }

    /// Who holds the same has met.
    fn compare(&mut self, one: usize, other: usize) {
        let holds = |node: usize| {
            let records = self.nodes[node].store.records.iter();
            let held = records.filter(|(_, entry)| entry.content != Content::Gone);
            held.map(|(place, entry)| (place, &entry.content)).collect::<BTreeMap<_, _>>()
        };
        if holds(one) == holds(other) {
            for (node, peer) in [(one, other), (other, one)] {
                self.nodes[node].store.met.insert(peer);
                self.nodes[node].durable.met.insert(peer);
            }
        }
    }

    /// Whether it is known then.
    fn receive(&mut self, to: usize, from: usize, item: &Item, rest: &[Item]) -> bool {
        let node = &self.nodes[to];
        let obeys = self.one_way && node.active == Some(from);
        if self.one_way && !obeys {
            let ours = node.store.records.get(&item.place);
            if !self.may_change(to) {
                return ours.is_some_and(|ours| ours.follows(&item.entry));
            }
            let name = counter(&node.name, node.store.number);
            let seen = Seen { node: &name, active: true, millis: self.millis + node.ahead };
            match answer(ours, &item.entry, seen, !node.store.met.contains(&from)) {
                Answer::Known => return true,
                Answer::Merge => {}
                Answer::Told => {
                    self.nodes[to].store.owed.insert((from, item.place.clone()));
                    return false;
                }
                Answer::Overruled(entry) => {
                    self.note(to, &item.place, entry);
                    return false;
                }
            }
        }
        self.apply(to, from, item, rest, obeys);
        true
    }

    fn apply(&mut self, to: usize, from: usize, item: &Item, rest: &[Item], obeys: bool) {
        let (path, theirs) = (&item.place, &item.entry);
        let verdict = if obeys {
            let node = &self.nodes[to];
            let here = node.disk.get(path).cloned().unwrap_or(Content::Gone);
            let name = counter(&node.name, node.store.number);
            let seen = Seen { node: &name, active: false, millis: self.millis + node.ahead };
            let learns = !node.store.met.contains(&from);
            obey(node.store.records.get(path), &here, theirs, seen, &self.nodes[from].name, learns)
        } else {
            self.look_before(to, from, item);
            merge(self.nodes[to].store.records.get(path), theirs)
        };
        self.put(to, path, theirs, &verdict, rest);
        let Some(entry) = verdict.entry() else { return };
        if obeys && !self.changes.iter().any(|(_, change)| change == entry) {
            self.nodes[to].noted.push((path.clone(), entry.clone()));
        }
        let nodes = self.nodes.len();
        let store = &mut self.nodes[to].store;
        store.records.insert(path.clone(), entry.clone());
        let knows = theirs.follows(entry);
        let peers = (0..nodes).filter(|peer| *peer != to);
        if obeys {
            store.owed.retain(|(_, place)| place != path);
            store.owed.extend((!knows).then(|| (from, path.clone())));
        } else {
            store.owed.extend(peers.filter(|peer| !(knows && *peer == from)).map(|peer| (peer, path.clone())));
        }
    }

    /// What was changed here meanwhile is a change like any other, unless we have put it there and were killed.
    fn look_before(&mut self, to: usize, from: usize, item: &Item) {
        let Some(changed) = self.found(to, &item.place) else { return };
        let known = self.nodes[to].store.records.get(&item.place);
        if changed.content == item.entry.content && known.is_none_or(|known| item.entry.follows(known)) {
            let others = (0..self.nodes.len()).filter(|peer| *peer != to && *peer != from);
            let node = &mut self.nodes[to].store;
            node.records.insert(item.place.clone(), item.entry.clone());
            node.owed.extend(others.map(|peer| (peer, item.place.clone())));
        } else {
            self.note(to, &item.place, changed);
        }
    }

    fn put(&mut self, to: usize, path: &Place, theirs: &Entry, verdict: &Verdict, rest: &[Item]) {
        // What the courier does is heard like anything else.
        self.happens(to, path, Hint::Done);
        let node = &mut self.nodes[to];
        match verdict {
            Verdict::Known | Verdict::Note(_) => {}
            Verdict::KeepTheirs(_) => drop(node.aside.insert(theirs.content.clone())),
            Verdict::Take(entry) | Verdict::TakeAndKeepOurs(entry) => {
                let here = node.disk.get(path).cloned();
                let keep = if matches!(verdict, Verdict::Take(_)) { &mut node.trash } else { &mut node.aside };
                keep.extend(here.clone());
                if entry.content == Content::Gone {
                    let renamed = rest.iter().any(|item| Some(&item.entry.content) == here.as_ref());
                    assert!(!renamed, "{path} was renamed, and is gone before it is there");
                    node.disk.remove(path);
                } else {
                    node.disk.insert(path.clone(), entry.content.clone());
                }
            }
        }
    }
}
