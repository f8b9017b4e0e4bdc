//! How a history ends, and what must be so then.

use std::collections::BTreeMap;

use rules_sync::place::Place;

use super::{Message, Node, Step, World};

impl World {
    /// No more faults: everybody looks, sends and hears until nobody owes anything.
    pub(crate) fn end(&mut self) {
        self.take(&Step::Switchover { to: self.active });
        // Whoever starts says which store it has.
        for (from, to) in (0..9).map(|pair| (pair / 3, pair % 3)) {
            if from != to && from.max(to) < self.nodes.len() {
                let (store, empty) = (self.nodes[from].store.number, Vec::new());
                self.messages.push(Message { from, to, store, news: Vec::new(), known: empty, wants: Vec::new() });
            }
        }
        for _ in 0..60 {
            for node in 0..self.nodes.len() {
                self.see_everything(node);
                (0..self.nodes.len()).for_each(|to| self.send(node, to));
            }
            while !self.messages.is_empty() {
                let message = self.messages.remove(0);
                self.deliver(message, None);
            }
            if self.nodes.iter().all(|node| node.store.owed.is_empty()) {
                return;
            }
        }
        let owed: Vec<_> = self.nodes.iter().map(|node| (&node.store, &node.disk)).collect();
        panic!("it does not come to an end: {owed:#?}");
    }

    /// Whoever has heard everything needs to look at nothing else.
    fn see_everything(&mut self, node: usize) {
        if self.one_way || self.nodes[node].deaf {
            return self.scan(node);
        }
        while let Some(due) = self.nodes[node].restless.deadline() {
            let before = self.nodes[node].restless.len();
            self.millis = self.millis.max(u64::try_from(due.as_millis()).expect("no more than a few hours"));
            self.look_at_what_rests(node);
            assert!(self.nodes[node].restless.len() < before, "what is due is taken");
        }
        assert!(self.nodes[node].restless.is_empty(), "what is not at rest is due some day");
    }

    pub(crate) fn check(&self) {
        let first = &self.nodes[self.active];
        for node in &self.nodes {
            let is_stray = |place: &Place| self.one_way && !first.store.records.contains_key(place);
            let known: BTreeMap<_, _> = node.disk.iter().filter(|(place, _)| !is_stray(place)).collect();
            assert_eq!(known, first.disk.iter().collect(), "{} and {}", node.name, first.name);
            for (path, entry) in first.store.records.iter().filter(|_| !self.one_way) {
                assert_eq!(node.store.records[path].content, entry.content);
            }
        }
        for (path, last) in first.store.records.iter().filter(|_| !self.one_way) {
            let changes = || self.changes.iter().filter(|(changed, _)| changed == path).map(|(_, entry)| entry);
            let Some(won) = changes().find(|entry| entry.stamp == last.stamp) else { continue };
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
