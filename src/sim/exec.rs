//! The program of a daemon is replaced by another one: as a pause in which nobody listens, with the node as text on the way.

use std::sync::Arc;

use super::World;
use crate::cluster::NodeId;
use crate::node::{Input, Node, Saved};

impl World {
    /// The program before hands over.
    ///
    /// # Panics
    /// When the text of the node is not the node.
    #[expect(clippy::expect_used, reason = "a node that cannot be written down is a defect that a test has to see")]
    pub(super) fn replace_program(&mut self, at: NodeId) {
        let until = self.now + self.host(at).map(|host| host.exec_time).unwrap_or_default();
        let Some(daemon) = self.host_mut(at).and_then(|host| host.daemon.as_mut()) else { return };
        daemon.saved = Some(daemon.node.save().expect("a node is plain data"));
        if let Some(key) = daemon.deadline.take() {
            self.queue.remove(key);
        }
        self.pause_daemon(at, until);
    }

    /// The program after takes over. What tasks of the one before still had to say is lost.
    #[expect(clippy::expect_used, reason = "a node that cannot be read again is a defect that a test has to see")]
    pub(super) fn next_program(&mut self, at: NodeId) {
        let local = self.local(at);
        let Some(host) = self.host_mut(at) else { return };
        host.run += 1;
        let Some(daemon) = host.daemon.as_mut() else { return };
        let Some(text) = daemon.saved.take() else { return };
        daemon.late.clear();
        // A config that was changed is found out before.
        let config = Arc::clone(daemon.node.config());
        let saved = Saved::read(&text, &config, at).expect("what was written can be read");
        assert_eq!(saved.node(), &daemon.node, "a node is another one after it was written down");
        daemon.node = Node::resume(saved, config, local);
        self.first_words(at);
        self.handle(at, Input::Deadline);
    }
}
