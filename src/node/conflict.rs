//! Two nodes serve, or this one must not any more: who yields, and who announces again.

use std::cmp::Reverse;

use crate::cluster::{GroupId, NodeId, Role, Term};
use crate::config::ResourceKind;
use crate::node::event::{Cause, Fact};
use crate::node::peer::PeerState;
use crate::node::{Action, Node, Order};

impl Node {
    /// Two nodes serve: the older term yields at once; the winner announces again when nobody else has the addresses.
    pub(super) fn resolve_conflict(&mut self, id: GroupId) {
        let group = self.group(id);
        if !group.serves() {
            self.group_mut(id).unsettled = false;
            return;
        }
        let (ours, conflict) = (group.term, group.conflict);
        let heard = || self.peers.values().filter(|peer| peer.state.is_alive() || peer.state == PeerState::OneWay);
        let held = heard().any(|peer| peer.holds(id));
        let addresses = heard().any(|peer| peer.has_addresses(id));
        let rival = heard().find(|peer| peer.holds(id) && peer.role(id) != Role::Deactivating);
        let rival = rival.map(|peer| (peer.id, peer.term(id), peer.role(id)));
        let group = self.group_mut(id);
        group.unsettled |= addresses || rival.is_some();
        if let Some((peer, theirs, role)) = rival {
            if conflict != Some(peer) {
                group.conflict = Some(peer);
                self.tell(Fact::DualActive { group: id, peer, ours, theirs });
            }
            if self.yields_to(id, peer, theirs, role) {
                self.step_down(id, Cause::OlderTerm { peer, term: theirs }, None);
            }
            return;
        }
        // A loser may take its time to stop its services; clients need to know where the addresses are now.
        if group.unsettled && !addresses {
            group.unsettled = false;
            self.announce(id);
        }
        let group = self.group_mut(id);
        if !held && !group.unsettled && group.conflict.take().is_some() {
            self.tell(Fact::ConflictEnded { group: id });
        }
    }

    /// Both sides judge alike: the newer term stays; of the same term the one that is ACTIVE already, so that nothing that
    /// is served is stopped for something that is not; then the first in rank.
    fn yields_to(&self, id: GroupId, peer: NodeId, theirs: Term, role: Role) -> bool {
        let group = self.group(id);
        let key = |term: Term, role: Role, node: NodeId| (term, role == Role::Active, Reverse(node));
        key(theirs, role, peer) > key(group.term, group.role, self.me)
    }

    fn announce(&mut self, id: GroupId) {
        let config = self.config.clone();
        for resource in config.resource_ids(id) {
            if config.resource(resource).is_some_and(|resource| matches!(resource.kind, ResourceKind::Vip(_))) {
                self.outbox.push_back(Action::Resource { resource, order: Order::Announce });
            }
        }
    }

    pub(super) fn yield_when_isolated(&mut self, id: GroupId) {
        let group = self.group(id);
        let started = group.role == Role::Deactivating && group.cause == Cause::Start;
        if self.isolated && !started {
            let within = self.config.timers.stop_bound;
            // In maintenance nobody else takes it over: it comes back with the network.
            let takes_back = self.maintenance.is_some() && group.serves();
            self.group_mut(id).reclaim |= takes_back;
            self.step_down(id, Cause::Isolated, Some(within));
        }
    }

    /// Somebody answers for addresses that have gone from our own kernel: while we stood still, or were slow, another
    /// node has taken over.
    pub(super) fn yield_answered_addresses(&mut self, id: GroupId) {
        let group = self.group(id);
        if group.serves() && group.probe.owner.is_some() && self.lacks_addresses(id) {
            self.step_down(id, Cause::RightLost, None);
        }
    }
}
