//! What can be seen of a node from outside.

use std::time::Duration;

use crate::cluster::{CheckId, GroupId, LinkId, NodeId, ResourceId, Role, Term};
use crate::config::{LinkKind, ResourceConfig, ResourceKind};
use crate::control::sentence;
use crate::control::{
    AlarmStatus, ArbitratorAddressStatus, ArbitratorStatus, BearerStatus, CheckStatus, DriverStatus, GroupStatus,
    HoldStatus, LeaseStatus, LinkStatus, PeerGroupStatus, PeerStatus, ResourceStatus, Status, VoteStatus,
    WitnessStatus,
};
use crate::node::event::{Fact, HoldKind};
use crate::node::link::{Link, LinkState};
use crate::node::obstacle::Obstacle;
use crate::node::peer::{Peer, PeerState};
use crate::node::resources::{self, RunState};
use crate::node::{Event, Node};
use crate::time::Instant;

impl Node {
    /// Everything an operator can see. `now` may be later than the last input.
    pub fn status(&self, now: Instant) -> Status {
        Status {
            now: now.max(self.now),
            node: self.config.node_name(self.me).to_owned(),
            cluster: self.config.cluster.clone(),
            safety_class: self.config.safety_class(),
            started: self.started,
            peers: self.peers.values().map(|peer| self.peer_status(peer)).collect(),
            arbitrator: self.arbitrator_status(),
            witness: self.witness_status(),
            isolated: self.isolated,
            groups: self.config.group_ids().map(|id| self.group_status(id)).collect(),
            ready: self.check_status(),
            holds: self.hold_status(),
            alarms: self.alarm_status(),
            driver: DriverStatus::default(),
            rules: None,
        }
    }

    fn peer_status(&self, peer: &Peer) -> PeerStatus {
        let groups = self.config.group_ids().filter_map(|id| {
            peer.group(id).map(|state| PeerGroupStatus {
                group: self.config.group_name(id).to_owned(),
                role: state.role,
                term: state.term,
                able: state.able,
            })
        });
        PeerStatus {
            node: self.config.node_name(peer.id).to_owned(),
            state: peer.state.word().to_owned(),
            heard: peer.heard,
            config_matches: peer.config_matches,
            clock_offset_millis: peer.clock_offset_millis,
            groups: groups.collect(),
            links: peer.links.keys().filter_map(|id| self.link_status(peer, *id)).collect(),
        }
    }

    fn link_status(&self, peer: &Peer, id: LinkId) -> Option<LinkStatus> {
        let link: &Link = peer.links.get(&id)?;
        let neutral = self.config.links.get(id.index()).is_some_and(|config| config.kind == LinkKind::Neutral);
        let (state, cause) = match link.state {
            LinkState::Up => ("up", None),
            LinkState::Suspect => ("suspect", None),
            LinkState::Down(_) if neutral && peer.state == PeerState::Alive => ("idle", None),
            LinkState::Down(cause) => ("down", Some(cause.word().to_owned())),
        };
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Some(LinkStatus {
            link: self.config.link_name(id).to_owned(),
            state: state.to_owned(),
            since: link.since,
            cause,
            heard: link.heard,
            peer_hears_us: link.peer_hears_us,
            carrier: self.carriers.get(&id).copied().unwrap_or(true),
            bearers: self.bearer_statuses(link, id),
            rtt_micros: link.rtt.map(micros),
            jitter_micros: link.jitter.map(micros),
            loss_percent: link.loss_percent(),
            sent: link.sent,
            received: link.received,
            late: link.late,
            refused: link.refused.iter().map(|(cause, count)| (cause.to_string(), *count)).collect(),
        })
    }

    fn bearer_statuses(&self, link: &Link, id: LinkId) -> Vec<BearerStatus> {
        let Some(config) = self.config.links.get(id.index()) else { return Vec::new() };
        let told = link.bearers.iter().map(|(bearer, up, since)| BearerStatus {
            bearer: config.bearer_name(bearer).to_owned(),
            up,
            since,
            tolerance_millis: None,
            priority: None,
            counters: std::collections::BTreeMap::new(),
        });
        told.collect()
    }

    fn arbitrator_status(&self) -> Option<ArbitratorStatus> {
        let arbitrator = self.arbitrator.as_ref()?;
        let config = self.config.arbitrator.as_ref()?;
        let addresses = config.ping.iter().zip(&arbitrator.addresses).map(|(address, seen)| ArbitratorAddressStatus {
            address: *address,
            answered: seen.answered,
            rtt_micros: seen.rtt.and_then(|rtt| u64::try_from(rtt.as_micros()).ok()),
        });
        Some(ArbitratorStatus {
            state: arbitrator.state.word().to_owned(),
            asked: arbitrator.decided,
            addresses: addresses.collect(),
        })
    }

    fn witness_status(&self) -> Option<WitnessStatus> {
        let witness = self.witness.as_ref()?;
        let config = &self.config;
        Some(WitnessStatus {
            voter: config.outside_voter_name().to_owned(),
            address: match (&config.witness, &config.etcd) {
                (Some(witness), _) => witness.address.to_string(),
                (None, Some(etcd)) => etcd.endpoints.join(", "),
                (None, None) => String::new(),
            },
            state: witness.state.word().to_owned(),
            since: witness.since,
            heard: witness.heard,
            rtt_micros: witness.rtt.and_then(|rtt| u64::try_from(rtt.as_micros()).ok()),
        })
    }

    fn lease_status(&self, id: GroupId) -> LeaseStatus {
        let group = self.group(id);
        let name = |node: NodeId| self.config.node_name(node).to_owned();
        let vote = |voter: NodeId, given: Option<(NodeId, Term, Instant)>| VoteStatus {
            voter: if voter == NodeId::WITNESS { self.config.outside_voter_name().to_owned() } else { name(voter) },
            holder: given.map(|(holder, _, _)| name(holder)),
            term: given.map(|(_, term, _)| term),
            until: given.map(|(_, _, until)| until),
        };
        let own = group.vote.promise(self.now).map(|promise| {
            // Our own vote for ourselves lasts as long as we want it.
            let until = if promise.holder == self.me { self.now } else { promise.until };
            (promise.holder, promise.term, until)
        });
        let witness = self.witness.iter().map(|_| NodeId::WITNESS);
        let nodes = self.peers.keys().copied().filter(|_| self.votes());
        let others = nodes.chain(witness).map(|voter| {
            let known = group.known.get(&voter).filter(|known| self.now < known.until);
            vote(voter, known.map(|known| (known.holder, known.term, known.until)))
        });
        LeaseStatus {
            held_until: self.lease_end(id).filter(|end| *end > self.now),
            majority: self.config.majority(),
            votes: self.votes().then(|| vote(self.me, own)).into_iter().chain(others).collect(),
        }
    }

    fn group_status(&self, id: GroupId) -> GroupStatus {
        let group = self.group(id);
        let sentence = |obstacle: Obstacle| obstacle.sentence(&self.config, self.now);
        let obstacles = match group.serves() {
            true => self.withheld(id),
            false => self.obstacles(id).into_iter().map(sentence).collect(),
        };
        GroupStatus {
            group: self.config.group_name(id).to_owned(),
            role: group.role,
            term: group.told_term(),
            since: group.since,
            cause: sentence::describe_cause(&group.cause, id, &self.config, self.me),
            active_node: self.active_node(id).map(|node| self.config.node_name(node).to_owned()),
            obstacles,
            able: self.is_able(id),
            position: self.position(id),
            failovers: u32::try_from(group.failovers.len()).unwrap_or(u32::MAX),
            switchover: group
                .release
                .as_ref()
                .map(|release| format!("to {}: {:?}", self.config.node_name(release.to), release.stage).to_lowercase()),
            lease: self.leases().then(|| self.lease_status(id)),
            resources: self.config.resource_ids(id).filter_map(|id| self.resource_status(id)).collect(),
        }
    }

    /// Our place in the order of succession: 1 = ACTIVE, then those that could take over, the preferred node first, then by
    /// rank; 0 = cannot take over.
    pub(super) fn position(&self, id: GroupId) -> u8 {
        if self.group(id).role == Role::Active {
            return 1;
        }
        if !self.is_able(id) {
            return 0;
        }
        let preferred = self.config.groups.get(id.index()).map(|group| group.preferred);
        let order = |node: NodeId| (Some(node) != preferred, node);
        let able = self.peers.values().filter(|peer| peer.is_able(id) && peer.role(id) != Role::Active);
        let before = able.filter(|peer| order(peer.id) < order(self.me)).count();
        u8::try_from(before).unwrap_or(u8::MAX).saturating_add(2)
    }

    fn active_node(&self, id: GroupId) -> Option<NodeId> {
        if self.group(id).role == Role::Active {
            return Some(self.me);
        }
        let heard = |peer: &&Peer| peer.state.is_alive() || peer.state == PeerState::OneWay;
        self.peers.values().filter(heard).find(|peer| peer.role(id) == Role::Active).map(|peer| peer.id)
    }

    fn resource_status(&self, id: ResourceId) -> Option<ResourceStatus> {
        let config = self.config.resource(id)?;
        let state = self.group(id.group).resources.get(usize::from(id.index))?;
        let (kind, what) = describe_resource(config);
        Some(ResourceStatus {
            resource: config.name.clone(),
            kind: kind.to_owned(),
            state: state.state.word().to_owned(),
            since: state.since,
            failure: state.failure.clone(),
            failed: state.failed.filter(|_| state.failure.is_some()),
            failures: u32::try_from(state.failures.len()).unwrap_or(u32::MAX),
            unable: state.able.clone().and_then(Result::err),
            held: state.held,
            what,
        })
    }

    fn check_status(&self) -> Vec<CheckStatus> {
        let checks = self.config.ready.iter().enumerate().filter_map(|(index, check)| {
            let seen = self.ready.get(&CheckId(u8::try_from(index).ok()?));
            Some(CheckStatus {
                check: check.name.clone(),
                ready: seen.map(|(_, result)| result.is_ok()),
                reason: seen.and_then(|(_, result)| result.clone().err()),
                since: seen.map_or(self.started, |(at, _)| *at),
            })
        });
        checks.collect()
    }

    fn hold_status(&self) -> Vec<HoldStatus> {
        let mut holds = Vec::new();
        if let Some((since, offline)) = self.offline {
            holds.push(HoldStatus { hold: HoldKind::Offline, group: None, since, until: offline.until });
        }
        if let Some(since) = self.maintenance {
            holds.push(HoldStatus { hold: HoldKind::Maintenance, group: None, since, until: None });
        }
        for group in &self.groups {
            if let Some(since) = group.flap_hold {
                let name = self.config.group_name(group.id).to_owned();
                holds.push(HoldStatus { hold: HoldKind::Flap, group: Some(name), since, until: None });
            }
        }
        holds
    }

    /// Every standing alarm: those that were told when they began, and those that the state itself says.
    fn alarm_status(&self) -> Vec<AlarmStatus> {
        let mut facts: Vec<(Instant, Fact)> = self.alarms.values().cloned().collect();
        for group in &self.groups {
            if let Some(since) = group.flap_hold {
                let count = u32::try_from(group.failovers.len()).unwrap_or(u32::MAX);
                facts.push((since, Fact::FlapLimit { group: group.id, count }));
            }
            if let Some(owner) = group.probe.owner.as_ref().filter(|_| group.probe.owner_told) {
                facts.push((group.probe.next, Fact::VipAnswered { group: group.id, owner: owner.clone() }));
            }
            if group.role == Role::Fault {
                let (from, to, cause) = (Role::Deactivating, group.role, group.cause.clone());
                let term = group.told_term();
                let position = self.position(group.id);
                facts.push((group.since, Fact::RoleChanged { group: group.id, from, to, term, position, cause }));
            }
            facts.extend(self.resource_alarms(group.id));
        }
        for peer in self.peers.values().filter(|peer| peer.state == PeerState::Degraded) {
            facts.push((peer.since, Fact::PeerDegraded { peer: peer.id }));
        }
        for peer in self.peers.values().filter(|peer| peer.state == PeerState::Silent) {
            facts.push((peer.since, Fact::PeerSilent { peer: peer.id }));
        }
        facts.extend(self.link_alarms());
        facts.sort_by_key(|(since, _)| *since);
        let sentence =
            |since: Instant, fact: Fact| sentence::describe(&Event { at: since, fact }, &self.config, self.me);
        facts.into_iter().map(|(since, fact)| AlarmStatus { since, text: sentence(since, fact) }).collect()
    }

    /// A peer that is alive should be heard on every dedicated link: one more fault may be one too many.
    fn link_alarms(&self) -> Vec<(Instant, Fact)> {
        let alive = self.peers.values().filter(|peer| peer.state == PeerState::Alive);
        let links = || alive.clone().flat_map(|peer| peer.links.iter().map(|(id, link)| (peer.id, *id, link)));
        let bearers = links().filter(|(_, _, link)| link.is_alive()).flat_map(|(peer, id, link)| {
            let lost = link.bearers.iter().filter(|(_, up, _)| !up);
            lost.map(move |(bearer, up, since)| (since, Fact::Bearer { link: id, peer, bearer, up }))
        });
        let downs = links()
            .filter(|(_, id, _)| {
                self.config.links.get(id.index()).is_some_and(|config| config.kind != LinkKind::Neutral)
            })
            .filter_map(|(peer, id, link)| match link.state {
                LinkState::Down(cause) => Some((link.since, Fact::LinkDown { link: id, peer, cause })),
                LinkState::Up | LinkState::Suspect => None,
            });
        downs.chain(bearers).collect()
    }

    fn resource_alarms(&self, id: GroupId) -> Vec<(Instant, Fact)> {
        use crate::node::event::ResourceChange;
        let group = self.group(id);
        let mut facts = Vec::new();
        let withheld = self.withheld(id);
        for (resource, state) in self.config.resource_ids(id).zip(&group.resources) {
            let is_vip = self.config.resource(resource).is_some_and(resources::is_vip);
            let change = match (state.state, &state.failure, &state.able) {
                (RunState::Stuck(_), Some(reason), _) if state.stop_failure.is_some() => {
                    ResourceChange::StopFailed { reason: reason.clone() }
                }
                (RunState::Stray, _, _) => ResourceChange::Stray { reason: state.stray.clone().unwrap_or_default() },
                // Maintenance: it stays as it is.
                (RunState::Stuck(_), Some(reason), _) => ResourceChange::Failed { reason: reason.clone() },
                (RunState::Stopped | RunState::Backoff(_), _, _)
                    if is_vip && !state.held && group.serves() && !withheld.is_empty() =>
                {
                    ResourceChange::Unable { reason: withheld.join("; ") }
                }
                // Where the group is not, a failure that is over is history.
                (RunState::Backoff(_), Some(reason), _) if group.role != Role::Standby => {
                    ResourceChange::Failed { reason: reason.clone() }
                }
                (_, _, Some(Err(reason))) => ResourceChange::Unable { reason: reason.clone() },
                (_, _, _) => continue,
            };
            facts.push((state.since, Fact::Resource { resource, change }));
        }
        for (check, (since, result)) in &self.ready {
            if let Err(reason) = result {
                facts.push((*since, Fact::CheckFailed { check: *check, reason: reason.clone() }));
            }
        }
        facts
    }
}

fn describe_resource(config: &ResourceConfig) -> (&'static str, String) {
    match &config.kind {
        ResourceKind::Vip(vip) => {
            let mut nets: Vec<String> = vip
                .addresses
                .iter()
                .chain(&vip.ranges)
                .take(4)
                .map(|net| format!("{}/{}", net.address, net.prefix))
                .collect();
            let more = (vip.addresses.len() + vip.ranges.len()).saturating_sub(nets.len());
            if more > 0 {
                nets.push(format!("and {more} more"));
            }
            ("vip", nets.join(", "))
        }
        ResourceKind::Exec(exec) => ("exec", exec.command.join(" ")),
        ResourceKind::Lsb(lsb) => ("lsb", lsb.script.display().to_string()),
        ResourceKind::Systemd(systemd) => ("systemd", systemd.unit.clone()),
    }
}
