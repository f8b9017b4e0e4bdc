//! What can be seen of a world: every order, input, action and change of a kernel, in the order in which it happened.

use crate::cluster::{NodeId, ResourceId};
use crate::node::{Action, Input};
use crate::time::Instant;

/// One thing that was seen.
#[derive(Clone, Debug)]
pub struct Note {
    /// When, in the world's time.
    pub at: Instant,
    /// Where; `None` for an order to the world as a whole.
    pub host: Option<NodeId>,
    /// What.
    pub what: What,
}

/// What was seen.
#[derive(Clone, Debug)]
pub enum What {
    /// Whoever tells the story did something to the world.
    Order(String),
    /// A node took an input.
    Handled(Input),
    /// A node asked for something.
    Did(Action),
    /// Something happened to a daemon.
    Daemon(DaemonChange),
    /// Something came up in a kernel, or went away.
    Kernel(KernelChange),
}

/// What happened to a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaemonChange {
    /// It began.
    Started,
    /// It was killed, or its machine lost power.
    Died,
    /// It ended in an orderly way.
    Exited,
    /// It stands still.
    Paused,
    /// It goes on.
    Resumed,
}

/// What happened in a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelChange {
    /// The machine has power.
    Booted,
    /// The machine has no power any more; everything in it is gone.
    PowerLost,
    /// An address or a process is there.
    Up(ResourceId),
    /// It is gone, because the daemon wanted it.
    Down(ResourceId),
    /// It is gone, because nobody refreshed its lifetime.
    Expired(ResourceId),
    /// It is gone by itself, or somebody else removed it.
    Lost(ResourceId),
}
