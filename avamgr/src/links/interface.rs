//! What is known of a network interface: written by the carrier watch, read by links and arbitrators.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A network interface by name. Reading it costs nothing and asks nobody: looking an interface up by name may make the
/// kernel load a module, which would hold up the heartbeats.
#[derive(Debug)]
pub struct Interface {
    name: String,
    /// 0 = there is no interface of this name, or nobody has looked yet.
    index: AtomicU32,
    up: AtomicBool,
    known: AtomicBool,
}

impl Interface {
    /// An interface nobody has looked at yet.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            index: AtomicU32::new(0),
            up: AtomicBool::new(false),
            known: AtomicBool::new(false),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number now; another one means that it was deleted and made again. `None` = not there, or not looked at yet.
    pub fn index(&self) -> Option<u32> {
        Some(self.index.load(Ordering::Relaxed)).filter(|index| *index != 0)
    }

    /// Whether frames can pass; `None` = not looked at yet.
    pub fn up(&self) -> Option<bool> {
        self.known.load(Ordering::Relaxed).then(|| self.up.load(Ordering::Relaxed))
    }

    /// Takes note of what the kernel says; index 0 = there is none of this name.
    pub(super) fn set(&self, index: u32, up: bool) {
        self.index.store(index, Ordering::Relaxed);
        self.up.store(up && index != 0, Ordering::Relaxed);
        self.known.store(true, Ordering::Relaxed);
    }
}
