//! Whoever writes an event down: into the log and into the history, in the words of the config in force.

use std::sync::Arc;

use avamgr_core::cluster::NodeId;
use avamgr_core::config::Config;
use avamgr_core::control::sentence;
use avamgr_core::node::Event;
use tokio::sync::watch;

use crate::control::outbox::wall_time;
use crate::history::History;
use crate::journal;

/// A pen. Cheap to clone; writing waits for nothing.
#[derive(Clone, Debug)]
pub struct Scribe {
    me: NodeId,
    config: watch::Receiver<Arc<Config>>,
    history: Arc<History>,
}

impl Scribe {
    /// Writes for `me`.
    pub fn new(me: NodeId, config: watch::Receiver<Arc<Config>>, history: Arc<History>) -> Self {
        Self { me, config, history }
    }

    /// The node whose events these are.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// The config in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.borrow())
    }

    /// Journals and records an event.
    pub fn write(&self, event: Event) {
        let time = wall_time(event.at);
        let entry = sentence::entry(event, time, &self.config.borrow(), self.me);
        journal::log(&entry);
        self.history.record(entry);
    }
}
