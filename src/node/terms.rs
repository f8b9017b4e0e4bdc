//! Terms: learned from everybody, except those from the far future, and brought back by an operator where a disk was damaged.

use crate::cluster::{GroupId, NodeId, Term};
use crate::lease::Vote;
use crate::node::Node;
use crate::node::event::{AlarmKey, Voting};
use crate::node::obstacle::Obstacle;
use crate::node::peer::Peer;
use crate::wire::Heartbeat;

impl Node {
    /// The highest term anybody speaks of is known. One from the far future would use up all of them: it is not believed.
    pub(super) fn learn_terms(&mut self, id: GroupId) {
        let seen = self.group(id).seen_term;
        let terms = || self.peers.values().map(|peer| peer.term(id));
        let highest = terms().filter(|term| term.is_plausible_after(seen)).max().unwrap_or_default();
        let alarming = |key: &AlarmKey| matches!(key, AlarmKey::Term(group, _) if *group == id);
        let strange = terms().any(|term| !term.is_plausible_after(seen)) || self.alarms.keys().any(alarming);
        self.group_mut(id).seen_term = seen.max(highest);
        if strange {
            // Of a peer that says nothing any more the alarm stays as it was.
            let word = |peer: &Peer| Some((peer.id, peer.group(id)?.term));
            let words: Vec<_> = self.peers.values().filter_map(word).collect();
            words.into_iter().for_each(|(peer, term)| self.judge_term(id, peer, term));
        }
    }

    /// The same for what the witness says of its votes.
    pub(super) fn learn_terms_of_witness(&mut self, frame: &Heartbeat) {
        for id in self.config.clone().group_ids() {
            let group = self.group_mut(id);
            let word = frame.groups.iter().find(|word| word.digest == group.name_digest);
            let Some(term) = word.map(|word| word.term) else { continue };
            if term.is_plausible_after(group.seen_term) {
                group.seen_term = group.seen_term.max(term);
            }
            self.judge_term(id, NodeId::WITNESS, term);
        }
    }

    /// The term of this node itself is the one that no number of takeovers leads to, by what everybody else knows.
    pub(super) fn term_obstacle(&self, id: GroupId) -> Option<Obstacle> {
        let group = self.group(id);
        let promised = Some(group.vote.term()).filter(|term| *term != Term::default());
        let words = self.peers.values().filter_map(|peer| Some(peer.group(id)?.term)).chain(promised);
        let theirs = words.filter(|term| !group.seen_term.next().is_plausible_after(*term)).max()?;
        Some(Obstacle::TermFromFuture { ours: group.seen_term, theirs })
    }

    /// Raises or clears the alarm about the term that a node or the witness speaks of.
    fn judge_term(&mut self, id: GroupId, voter: NodeId, term: Term) {
        let ours = self.group(id).seen_term;
        let raised = Voting::TermFromFuture { group: id, voter, term, ours };
        self.alarm(!term.is_plausible_after(ours), raised, Voting::TermPlausible { group: id, voter });
    }

    /// An operator has seen that this node is the one whose term is damaged: it goes on from the highest that any living peer
    /// knows.
    pub(super) fn reset_term(&mut self, id: GroupId) -> Result<String, String> {
        let name = self.config.group_name(id).to_owned();
        let group = self.group(id);
        if group.holds() || group.claim.is_some() {
            return Err(format!("{name} is {} here: move it away first", group.role));
        }
        let ours = group.seen_term;
        let unheard = self.peers.values().find(|peer| !peer.state.is_alive() || peer.group(id).is_none());
        if let Some(peer) = unheard {
            let peer = self.config.node_name(peer.id);
            return Err(format!("{peer} is not heard: what is the newest term of {name} only all nodes together know"));
        }
        let newest = self.peers.values().map(|peer| peer.term(id)).max().unwrap_or_default();
        let vote_is_sound = group.vote.term().is_plausible_after(newest);
        let newest = if vote_is_sound { newest.max(group.vote.term()) } else { newest };
        if newest >= ours {
            return Err(format!("a peer knows term {newest} of {name}, this node {ours}: the damage is not here"));
        }
        let group = self.group_mut(id);
        (group.seen_term, group.term) = (newest, newest);
        if !vote_is_sound {
            // It was this node's own: nobody else is given one for such a term.
            group.vote = Vote::default();
        }
        self.persistence.forget_term(id);
        self.tell(Voting::TermReset { group: id, from: ours, to: newest });
        Ok(format!("{name}: this node goes on from term {newest}"))
    }
}
