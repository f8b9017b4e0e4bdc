//! Who votes must be the same everywhere: nodes that count different voters can find two majorities that share none.
//!
//! A digest of the voters travels in every frame and stands on disk. A node *doubts* its own when it comes up with another one
//! than it left with, or when as many nodes contradict it as agree with it. It takes nothing over and gives no vote then, until
//! every other node counts as it does or an operator vouches for those that are silent. What it serves already it goes on
//! serving; the many are not stopped by one node with an old file.

use crate::cluster::NodeId;
use crate::node::Node;
use crate::node::event::Voting;
use crate::node::obstacle::Obstacle;
use crate::wire::Heartbeat;

/// On disk while the voters are in doubt: no set of voters has this digest.
pub(super) const DOUBTED: u32 = 1;

impl Node {
    /// Whom a peer counts, by a frame that is fresh.
    pub(super) fn hear_voters(&mut self, frame: &Heartbeat) {
        let same = frame.voters == self.voters;
        let Some(peer) = self.peers.get_mut(&frame.from) else { return };
        peer.voters_match = Some(same);
        let id = peer.id;
        self.alarm(!same, Voting::OtherVoters { peer: id }, Voting::SameVoters { peer: id });
    }

    /// A vote of this node may be asked for by whoever sent the frame.
    pub(super) fn votes_for(&self, frame: &Heartbeat) -> bool {
        self.voters_settled && frame.voters == self.voters
    }

    /// Whether what this config says may be counted on.
    pub(super) fn judge_voters(&mut self) {
        let count = |same| self.peers.values().filter(|peer| peer.voters_match == Some(same)).count();
        let (agree, contradict) = (count(true), count(false));
        if contradict > agree {
            self.voters_settled = false;
        } else if agree == self.peers.len() {
            self.voters_settled = true;
        }
        self.alarm(!self.voters_settled, Voting::VotersDoubted, Voting::VotersSettled);
    }

    /// What stands in the way of being ACTIVE because of them.
    pub(super) fn voters_obstacles(&self) -> Vec<Obstacle> {
        if self.voters_settled {
            return Vec::new();
        }
        let others: Vec<Obstacle> = self.contradicting().map(|peer| Obstacle::OtherVoters { peer }).collect();
        if others.is_empty() { vec![Obstacle::VotersChanged] } else { others }
    }

    /// An operator vouches that no silent node counts other voters.
    pub(super) fn confirm_voters(&mut self) -> Result<String, String> {
        let heard = |id: &NodeId| self.peers.get(id).is_some_and(|peer| peer.state.is_alive());
        if let Some(peer) = self.contradicting().find(heard) {
            return Err(Obstacle::OtherVoters { peer }.sentence(&self.config, self.now));
        }
        if self.voters_settled {
            return Ok("the voters of this config are not in doubt: there is nothing to confirm".to_owned());
        }
        self.voters_settled = true;
        let silent: Vec<NodeId> = self.contradicting().collect();
        for id in silent {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.voters_match = None;
            }
            self.alarm(false, Voting::OtherVoters { peer: id }, Voting::SameVoters { peer: id });
        }
        Ok("the voters of this config count from now on".to_owned())
    }

    fn contradicting(&self) -> impl Iterator<Item = NodeId> {
        self.peers.values().filter(|peer| peer.voters_match == Some(false)).map(|peer| peer.id)
    }
}
