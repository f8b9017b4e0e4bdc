//! What can happen.

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Whoever writes is done with it, or not.
    Write {
        node: usize,
        path: u8,
        done: bool,
    },
    Delete {
        node: usize,
        path: u8,
    },
    Rename {
        node: usize,
        path: u8,
        to: u8,
    },
    Scan {
        node: usize,
    },
    /// What is at rest is looked at, and nothing else.
    Look {
        node: usize,
    },
    Wait {
        millis: u64,
    },
    /// More has happened than it could hear.
    Overflow {
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
    /// It dies after so many items of a batch are in their places, and before any of that is written down.
    DieInBatch {
        at: usize,
        after: usize,
    },
    /// It dies: what did not have to be on the disk is not.
    Die {
        node: usize,
    },
    LoseStore {
        node: usize,
    },
    /// Everybody hears who is ACTIVE; or one node alone.
    Switchover {
        to: usize,
    },
    Hear {
        node: usize,
        active: Option<usize>,
    },
}
