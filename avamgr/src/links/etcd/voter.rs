//! One round with etcd: what the node wants of each lease, and what etcd says of them afterwards.
//!
//! ```text
//! /prefix/cluster/group         {"node":"hadev1","run":"…","term":7}   on an etcd lease of this run and group
//! /prefix/cluster/group/term    7                                      stays: the next holder's term is higher
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use avamgr_core::cluster::{Incarnation, LinkId, NodeId, Term};
use avamgr_core::config::Config;
use avamgr_core::lease::Wish;
use avamgr_core::time::Instant;
use avamgr_core::wire::{GroupState, Heartbeat, Promised};
use serde::{Deserialize, Serialize};

use super::EtcdError;
use super::api::{self, Entry, Put};
use super::client::Client;
use crate::chance;

/// A holder that is no node of our config.
const STRANGER: NodeId = NodeId(u8::MAX - 1);

/// What stands in the key of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    node: String,
    run: String,
    term: u64,
}

/// One group's lease as this run knows it.
struct Group {
    digest: u32,
    key: String,
    term_key: String,
    /// The etcd lease that its key is on, or is to be on.
    lease: Option<i64>,
    /// Etcd leases that were given back and may not be over yet.
    over: Vec<i64>,
}

/// This node's side of the leases in etcd.
pub(super) struct Voter {
    nodes: Vec<String>,
    me: NodeId,
    prefix: String,
    groups: Vec<Group>,
    /// Seconds.
    ttl: u64,
    incarnation: Incarnation,
    answers: u64,
}

type Held = BTreeMap<String, Entry>;

impl Voter {
    pub(super) fn new(config: &Config, prefix: &str, me: NodeId) -> Result<Self> {
        let prefix = format!("/{prefix}/{}/", config.cluster);
        let group = |group: &avamgr_core::config::GroupConfig| Group {
            digest: group.name_digest(),
            key: format!("{prefix}{}", group.name),
            term_key: format!("{prefix}{}/term", group.name),
            lease: None,
            over: Vec::new(),
        };
        let groups = config.groups.iter().map(group).collect();
        let time = config.timers.lease_time;
        let ttl = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let incarnation = Incarnation(chance::random()?.max(1));
        Ok(Self { nodes: config.nodes.clone(), me, prefix, groups, ttl, incarnation, answers: 0 })
    }

    /// Renews, gives back and claims what the frame wishes, then says how the leases stand. Nothing counts unless all of it was
    /// confirmed.
    pub(super) async fn round(&mut self, client: &mut Client, frame: &Heartbeat) -> Result<Vec<GroupState>, EtcdError> {
        for state in &frame.groups {
            self.renew_or_give_back(client, state).await?;
        }
        let mut held = api::range(client, &self.prefix).await?;
        let mut claimed = false;
        for state in &frame.groups {
            claimed |= self.claim(client, frame, state, &held).await?;
        }
        if claimed {
            held = api::range(client, &self.prefix).await?;
        }
        Ok(frame.groups.iter().filter_map(|state| self.word(frame, state, &held)).collect())
    }

    async fn renew_or_give_back(&mut self, client: &mut Client, state: &GroupState) -> Result<(), EtcdError> {
        let needed = self.ttl;
        let Some(group) = self.groups.iter_mut().find(|group| group.digest == state.digest) else { return Ok(()) };
        match (state.wish(), group.lease) {
            (Wish::Lease(_), Some(id)) => match api::keep_alive(client, id).await? {
                0 => group.lease = None,
                granted if granted < needed => return Err(EtcdError::Short { granted, needed }),
                _ => {}
            },
            (Wish::Nothing, _) => group.over.extend(group.lease.take()),
            (Wish::Lease(_), None) | (Wish::Wait, _) => {}
        }
        // Also where it has no key: a claim that is still on its way to etcd must not find it.
        while let Some(id) = group.over.last() {
            api::revoke(client, *id).await?;
            group.over.pop();
        }
        Ok(())
    }

    /// `true` = something was tried: what was held may be so no more.
    async fn claim(
        &mut self,
        client: &mut Client,
        frame: &Heartbeat,
        state: &GroupState,
        held: &Held,
    ) -> Result<bool, EtcdError> {
        let Wish::Lease(term) = state.wish() else { return Ok(false) };
        let needed = self.ttl;
        let Some(group) = self.groups.iter().position(|group| group.digest == state.digest) else { return Ok(false) };
        let (entry, seen) = (held.get(&self.groups[group].key), self.seen_term(&self.groups[group], held));
        let free = entry.is_none_or(|entry| Some(entry.lease) == self.groups[group].lease);
        if !free || term <= seen {
            return Ok(false);
        }
        let name = self.nodes.get(self.me.index()).cloned().unwrap_or_default();
        let claim = Claim { node: name, run: run_of(frame), term: term.0 };
        let group = &mut self.groups[group];
        let lease = match group.lease {
            Some(lease) => lease,
            None => {
                let (lease, granted) = api::grant(client, needed).await?;
                if granted < needed {
                    return Err(EtcdError::Short { granted, needed });
                }
                *group.lease.insert(lease)
            }
        };
        let revision = |key: &str| held.get(key).map_or(0, |entry| entry.revision);
        let value = serde_json::to_string(&claim).unwrap_or_default();
        let promise = Put { key: &group.key, value, lease, seen: revision(&group.key) };
        let highest =
            Put { key: &group.term_key, value: term.0.to_string(), lease: 0, seen: revision(&group.term_key) };
        api::put_all(client, &[promise, highest]).await?;
        Ok(true)
    }

    /// The highest term that was ever promised.
    fn seen_term(&self, group: &Group, held: &Held) -> Term {
        let told = held.get(&group.term_key).and_then(|entry| std::str::from_utf8(&entry.value).ok()?.parse().ok());
        let promised = held.get(&group.key).and_then(claim_in).map(|claim| claim.term);
        Term(told.max(promised).unwrap_or_default())
    }

    fn word(&self, frame: &Heartbeat, state: &GroupState, held: &Held) -> Option<GroupState> {
        let group = self.groups.iter().find(|group| group.digest == state.digest)?;
        let promise = held.get(&group.key).map(|entry| self.promised(frame, group, entry));
        Some(GroupState { term: self.seen_term(group, held), promise, ..GroupState::nothing(state.digest) })
    }

    /// Whose it is. What is ours by its name alone is an earlier run's: in no term that anybody asks for.
    fn promised(&self, frame: &Heartbeat, group: &Group, entry: &Entry) -> Promised {
        let left = Duration::from_secs(self.ttl);
        let Some(claim) = claim_in(entry) else { return Promised { holder: STRANGER, term: Term::default(), left } };
        let index = self.nodes.iter().position(|node| *node == claim.node);
        let holder = index.and_then(|index| u8::try_from(index).ok()).map_or(STRANGER, NodeId);
        let ours = group.lease == Some(entry.lease) && claim.run == run_of(frame);
        let term = if holder == self.me && !ours { Term::default() } else { Term(claim.term) };
        Promised { holder, term, left }
    }

    /// As a voter answers `frame`, whose round began at `begun`.
    pub(super) fn answer(&mut self, frame: &Heartbeat, begun: Instant, groups: Vec<GroupState>) -> Heartbeat {
        self.answers += 1;
        Heartbeat {
            from: NodeId::WITNESS,
            to: frame.from,
            link: LinkId::WITNESS,
            incarnation: self.incarnation,
            echo: Some(frame.incarnation),
            sequence: self.answers,
            sent_nanos: 0,
            echo_nanos: frame.sent_nanos,
            echo_delay_nanos: begun.as_nanos().saturating_sub(frame.sent_nanos),
            wall_millis: 0,
            config_digest: 0,
            hears_you: true,
            probe: false,
            leaving: false,
            revision: 0,
            seen_revision: 0,
            groups,
            request: None,
            lease: Duration::ZERO,
            voters: 0,
            fenced: Vec::new(),
            absence: Duration::ZERO,
        }
    }
}

fn run_of(frame: &Heartbeat) -> String {
    format!("{:016x}", frame.incarnation.0)
}

fn claim_in(entry: &Entry) -> Option<Claim> {
    serde_json::from_slice(&entry.value).ok()
}
