//! A node on its way from one program to the next.
//!
//! It goes on with the same incarnation and the same numbers, so that to its peers it is the node it was. The format is that of
//! one version of this program: whoever cannot read another's says so, and is not given the node.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cluster::{GroupId, NodeId, ResourceId};
use crate::config::Config;
use crate::node::absence::ABSENCE;
use crate::node::event::{Cause, Fact, UpgradeStep};
use crate::node::resources::RunState;
use crate::node::{Action, Node, Order};
use crate::time::Instant;

/// Grows with every change of what is in a [`Node`].
const FORMAT: u32 = 3;
/// Of the program that writes.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is read before the rest is believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Label {
    format: u32,
    version: String,
    config_digest: u64,
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    label: Label,
    node: &'a Node,
}

#[derive(Deserialize)]
struct Read {
    node: Node,
}

/// A node that another program has written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    label: Label,
    node: Node,
}

/// Why a node cannot be gone on with.
#[derive(Debug, Error)]
pub enum SavedError {
    /// It is not the text of a node.
    #[error("the state of the running daemon cannot be read: {0}; stop the old daemon and start the new one instead")]
    Text(#[from] serde_json::Error),
    /// Another version's.
    #[error(
        "the running daemon (version {version}) writes its state in format {format}, and this program (version {VERSION}) reads \
         format {FORMAT} only; stop the old daemon and start the new one instead"
    )]
    Format {
        /// Its format.
        format: u32,
        /// Who wrote it.
        version: String,
    },
    /// The file was changed.
    #[error(
        "the config file is not the one that the running daemon has; reload it, or put the old one back, and try again"
    )]
    Config,
    /// Another node's.
    #[error("the running daemon is node {theirs} of the config, and this one would be {ours}")]
    Node {
        /// Its place in the config.
        theirs: u8,
        /// Ours.
        ours: u8,
    },
}

/// What a new program looks after first, and tells when that is done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Return {
    from: String,
    silence: Duration,
    /// Resources that have not been looked at yet.
    awaited: BTreeSet<ResourceId>,
    /// Something was not as it was left.
    moved: bool,
}

impl Saved {
    /// Reads what [`Node::save`] has written. Whether it can be gone on with here is part of reading it.
    ///
    /// # Errors
    /// When it is another format's, another config's or another node's.
    pub fn read(text: &[u8], config: &Config, me: NodeId) -> Result<Self, SavedError> {
        let label: Label = serde_json::from_slice(text)?;
        if label.format != FORMAT {
            return Err(SavedError::Format { format: label.format, version: label.version });
        }
        if label.config_digest != config.digest {
            return Err(SavedError::Config);
        }
        let Read { node } = serde_json::from_slice(text)?;
        if node.me != me {
            return Err(SavedError::Node { theirs: node.me.0, ours: me.0 });
        }
        Ok(Self { label, node })
    }

    /// The node as it was.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Until when each group may be had here, as the node has last said.
    pub fn rights(&self) -> impl Iterator<Item = (GroupId, Instant)> {
        self.node.groups.iter().map(|group| (group.id, group.told_right))
    }
}

impl Node {
    /// Everything this node knows, for the program that goes on with it.
    ///
    /// # Errors
    /// Never in practice: it is plain data.
    pub fn save(&self) -> Result<Vec<u8>, SavedError> {
        let label = Label { format: FORMAT, version: VERSION.to_owned(), config_digest: self.config.digest };
        Ok(serde_json::to_vec(&Written { label, node: self })?)
    }

    /// Goes on with a node, at `now` on the clock it has always had. What it had started is looked for
    /// ([`Order::Adopt`]). After a longer silence than was announced somebody else may have taken over: then everything is
    /// brought down first.
    pub fn resume(saved: Saved, config: Arc<Config>, now: Instant) -> Self {
        let Saved { label, mut node } = saved;
        let silence = now.since(node.now);
        node.config = config;
        node.now = node.now.max(now);
        node.floor = node.now;
        node.next_heartbeat = node.now;
        node.absence = None;
        node.outbox.clear();
        node.forget_what_was_under_way();
        let overdue = silence > ABSENCE;
        node.returned = Some(Return { from: label.version, silence, awaited: BTreeSet::new(), moved: overdue });
        for id in node.config.clone().group_ids() {
            node.yield_when_lapsed(id);
            if overdue && node.group(id).serves() {
                let within = node.config.timers.stop_bound;
                node.step_down(id, Cause::RightLost, Some(within));
            }
            node.adopt(id);
        }
        node.take_note_of_own_state();
        node.probe_everybody();
        node.evaluate();
        node
    }

    /// Questions and writes whose answers went to the program before.
    fn forget_what_was_under_way(&mut self) {
        let now = self.now;
        for peer in self.peers.values_mut() {
            peer.links.values_mut().for_each(|link| link.excuse(now));
            peer.links.values_mut().for_each(|link| link.bearers.forget());
        }
        // A watch that begins anew tells of those that are down only.
        self.carriers.values_mut().for_each(|up| *up = true);
        if let Some(arbitrator) = &mut self.arbitrator {
            arbitrator.forgive();
            arbitrator.at_once(now);
        }
        if let Some(witness) = &mut self.witness {
            witness.forgive();
        }
        self.persistence.forget_write();
        for group in &mut self.groups {
            group.probe.in_flight = None;
            group.probe.unanswered = None;
            group.probe.ended = None;
        }
    }

    /// Says how long the right lasts, as far as it does, and has looked for what was started under it.
    fn adopt(&mut self, id: GroupId) {
        let group = self.group(id);
        let (serves, until) = (group.serves(), group.told_right);
        if until > self.now {
            self.outbox.push_back(Action::Right { group: id, until });
        }
        for resource in self.config.clone().resource_ids(id) {
            let state = self.group(id).resources.get(usize::from(resource.index)).map(|resource| resource.state);
            if serves && state == Some(RunState::Started) {
                if let Some(returned) = &mut self.returned {
                    returned.awaited.insert(resource);
                }
                self.outbox.push_back(Action::Resource { resource, order: Order::Adopt });
            }
        }
    }

    /// A resource has been looked at, or has met another fate.
    pub(super) fn adopted(&mut self, resource: ResourceId, well: bool) {
        if let Some(returned) = &mut self.returned
            && returned.awaited.remove(&resource)
        {
            returned.moved |= !well;
        }
    }

    /// Tells of the upgrade when everything has been looked at.
    pub(super) fn follow_return(&mut self) {
        if let Some(Return { from, silence, moved, .. }) = self.returned.take_if(|returned| returned.awaited.is_empty())
        {
            let to = VERSION.to_owned();
            self.tell(Fact::Upgrade { step: UpgradeStep::Done { from, to, silence, moved } });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Incarnation, LinkId};
    use crate::node::input::BadDatagram;
    use crate::node::{Durable, Input};

    fn config() -> Arc<Config> {
        Arc::new(crate::config::parse(include_str!("../../etc/avamgr.toml"), "sample").unwrap())
    }

    fn node(config: &Arc<Config>) -> Node {
        let now = Instant::from_millis(5);
        let mut node = Node::new(Arc::clone(config), NodeId(0), Incarnation(7), 1, Durable::default(), now);
        // A standing alarm, and a frame that was not believed.
        node.handle(now, Input::Persisted { order: 1, result: Err("no space left on device".into()) });
        node.handle(now, Input::BadDatagram { link: LinkId(0), cause: BadDatagram::Digest });
        while node.poll_action().is_some() {}
        node
    }

    #[test]
    fn a_node_comes_back_as_it_was() {
        let config = config();
        let node = node(&config);
        assert_eq!(node.alarms.len(), 1);
        let saved = Saved::read(&node.save().unwrap(), &config, NodeId(0)).unwrap();
        assert_eq!(saved.node(), &node);
    }

    #[test]
    fn another_format_another_config_and_another_node_are_refused() {
        let config = config();
        let text = String::from_utf8(node(&config).save().unwrap()).unwrap();
        let refused =
            |text: &str, config: &Config, me: u8| Saved::read(text.as_bytes(), config, NodeId(me)).unwrap_err();
        let ours = format!("\"format\":{FORMAT},");
        assert!(text.contains(&ours));
        let other = text.replacen(&ours, "\"format\":1,", 1);
        assert!(matches!(refused(&other, &config, 0), SavedError::Format { format: 1, .. }));
        let changed = Config { digest: !config.digest, ..(*config).clone() };
        assert!(matches!(refused(&text, &changed, 0), SavedError::Config));
        assert!(matches!(refused(&text, &config, 1), SavedError::Node { theirs: 0, ours: 1 }));
        assert!(matches!(refused(&text[..text.len() / 2], &config, 0), SavedError::Text(_)));
    }
}
