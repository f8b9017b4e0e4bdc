//! The one queue of everything that is going to happen, in the order of its time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::{GroupId, LinkId, NodeId, ResourceId};
use crate::node::Input;
use crate::node::action::{FenceId, ProbeId};
use crate::time::Instant;
use crate::wire::Heartbeat;

/// Something that is going to happen.
#[derive(Clone, Debug, Hash)]
pub(super) enum Happening {
    /// A frame reaches the receiver's kernel.
    Frame { link: LinkId, heartbeat: Heartbeat },
    /// "Nobody listens there" reaches the sender's kernel.
    Refused { link: LinkId, at: NodeId, from: NodeId },
    /// Something one of the daemon's own tasks has to say; void when the daemon is another one by then.
    Input { at: NodeId, run: u32, input: Input },
    /// A resource's task gets on with its order; void when it has another order or the daemon is another one by then.
    Step { at: NodeId, run: u32, resource: ResourceId, order: u64 },
    /// The owners of a group's VIPs may answer one question of a probe; the last one ends it.
    Question { at: NodeId, run: u32, probe: Probe },
    /// What was written is on the disk.
    Written { at: NodeId, run: u32, order: u64 },
    /// The deadline of the node.
    Deadline { at: NodeId, run: u32 },
    /// The kernel removes an address whose lifetime is over, unless it was refreshed.
    Expiry { at: NodeId, resource: ResourceId, due: Instant },
    /// The fence device of a host has done its work, or has not.
    Fenced { by: NodeId, run: u32, fence: FenceId, target: NodeId },
    /// The watchdog of a host resets it, unless it was fed again.
    Reset { at: NodeId, due: Instant },
    /// A daemon that stood still goes on.
    Resume { at: NodeId, run: u32, due: Instant },
    /// A whole machine that stood still goes on.
    Thaw { at: NodeId, due: Instant },
}

/// A VIP probe under way.
#[derive(Clone, Debug, Hash)]
pub(super) struct Probe {
    pub(super) id: ProbeId,
    pub(super) group: GroupId,
    /// On the asking host's clock.
    pub(super) asked: Instant,
    /// From one question to the next.
    pub(super) pace: Duration,
    /// Questions still to come after this one.
    pub(super) left: u32,
}

/// Place of an entry: its time, then the order in which entries were made.
pub(super) type Key = (Instant, u64);

/// The queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    entries: BTreeMap<Key, Happening>,
    made: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Instant, happening: Happening) -> Key {
        self.made += 1;
        let key = (at, self.made);
        self.entries.insert(key, happening);
        key
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.entries.remove(&key);
    }

    /// All entries, in their order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Instant, &Happening)> {
        self.entries.iter().map(|(key, happening)| (key.0, happening))
    }

    /// When the next entry is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.entries.keys().next().map(|key| key.0)
    }

    pub(super) fn pop(&mut self) -> Option<(Instant, Happening)> {
        self.entries.pop_first().map(|(key, happening)| (key.0, happening))
    }
}
