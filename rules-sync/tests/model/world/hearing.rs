//! What a node hears of its own tree, and looks at when it rests.

use std::time::Duration;

use rules_sync::place::Place;
use rules_sync::settle::{Hint, Settle};

use super::World;

impl World {
    pub(super) fn now(&self) -> Duration {
        Duration::from_millis(self.millis)
    }

    pub(super) fn happens(&mut self, node: usize, path: &Place, hint: Hint) {
        let now = self.now();
        self.nodes[node].restless.see(now, path.clone(), hint);
    }

    pub(super) fn deafen(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        (node.restless, node.deaf) = (Settle::default(), true);
    }

    pub(super) fn look_at_what_rests(&mut self, index: usize) {
        let now = self.now();
        if self.may_change(index) {
            let places = self.nodes[index].restless.take(now, 2);
            places.iter().for_each(|place| self.look(index, place));
        }
    }
}
