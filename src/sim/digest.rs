//! A world as a value: two worlds with the same hash go the same way, whatever the names of the runs still to come.
//!
//! The generator of chance is left out (a search sees to it that nothing is left to it), and so are the config, which is the
//! same everywhere in a search, and the numbers of the entries in the queue, whose order counts.

use std::hash::{Hash, Hasher};

use super::World;
use super::host::{Daemon, Host};
use super::queue::Queue;

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { config: _, now, random: _, noise: _, queue, network, hosts, site, notes: _, requests: _ } = self;
        (now, queue, network, hosts, site).hash(state);
    }
}

impl Hash for Host {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { id, config: _, clock, disk, devices, kernel, daemon, run, .. } = self;
        (id, clock, disk, devices, kernel, daemon, run).hash(state);
        (self.checks_last_word, self.carriers_last_word, &self.ready, self.fence_device).hash(state);
    }
}

impl Hash for Daemon {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { node, started, paused, paused_since, late, saved, deadline: _ } = self;
        (node, started, paused, paused_since, late, saved).hash(state);
    }
}

impl Hash for Queue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (at, happening) in self.entries() {
            (at, happening).hash(state);
        }
    }
}
