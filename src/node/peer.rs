//! A peer, judged over all its links.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{GroupId, Incarnation, LinkId, NodeId, Role, Term};
use crate::config::{Config, LinkKind, Timers};
use crate::node::group::Group;
use crate::node::link::{Link, LinkState};
use crate::time::Instant;
use crate::wire::{ABSENCE_MAX, GroupState, Heartbeat, SwitchoverRequest};

/// Runs of one peer's daemon we remember as ended, so that their frames are never believed again.
const RETIRED_MAX: usize = 256;

/// What we believe of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum PeerState {
    /// Never heard since our start.
    Unknown,
    /// Heard both ways on a dedicated link.
    Alive,
    /// Heard both ways, on the neutral path only.
    Degraded,
    /// It was alive; every link is late.
    Suspect,
    /// We hear it, it does not hear us.
    OneWay,
    /// Not heard.
    Silent,
    /// It said goodbye and owns nothing.
    Left,
}

impl PeerState {
    /// For humans and programs.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Alive => "alive",
            Self::Degraded => "degraded",
            Self::Suspect => "suspect",
            Self::OneWay => "oneway",
            Self::Silent => "silent",
            Self::Left => "left",
        }
    }

    /// Both sides hear each other.
    pub(super) fn is_alive(self) -> bool {
        match self {
            Self::Alive | Self::Degraded | Self::Suspect => true,
            Self::Unknown | Self::OneWay | Self::Silent | Self::Left => false,
        }
    }
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Peer {
    pub(super) id: NodeId,
    pub(super) state: PeerState,
    /// Since when it has this state.
    pub(super) since: Instant,
    pub(super) links: BTreeMap<LinkId, Link>,
    /// The run of its daemon we talk with.
    pub(super) incarnation: Option<Incarnation>,
    /// Runs that have ended, oldest first: a recording of their frames is not believed.
    pub(super) retired: Vec<Incarnation>,
    /// Arrival of the last fresh frame on any link.
    pub(super) heard: Option<Instant>,
    /// It may be silent for this long after that, as its last word says.
    pub(super) absence: Duration,
    /// Number of its state as we know it.
    pub(super) revision: u32,
    /// Our revision it has taken note of.
    pub(super) seen_revision: u32,
    /// Its word on each group of ours; none on one by which it means something else.
    pub(super) groups: Vec<Option<GroupState>>,
    pub(super) request: Option<SwitchoverRequest>,
    /// Requests of this incarnation that were dealt with.
    pub(super) handled_nonce: u64,
    pub(super) left: bool,
    pub(super) config_matches: Option<bool>,
    /// It says that it has turned us off, before this run of ours.
    pub(super) fenced_us: bool,
    /// It counts the same voters as we do; what was heard last stands.
    pub(super) voters_match: Option<bool>,
    pub(super) clock_offset_millis: Option<i64>,
    pub(super) clock_alarm: bool,
    /// Frames of another run than the one that is alive have come from when to when.
    pub(super) strange: Option<(Instant, Instant)>,
}

impl Peer {
    pub(super) fn new(id: NodeId, config: &Config, now: Instant) -> Self {
        Self {
            id,
            state: PeerState::Unknown,
            since: now,
            links: config.link_ids().map(|link| (link, Link::new(now))).collect(),
            incarnation: None,
            retired: Vec::new(),
            heard: None,
            absence: Duration::ZERO,
            revision: 0,
            seen_revision: 0,
            groups: Vec::new(),
            request: None,
            handled_nonce: 0,
            left: false,
            config_matches: None,
            fenced_us: false,
            voters_match: None,
            clock_offset_millis: None,
            clock_alarm: false,
            strange: None,
        }
    }

    /// Forgets what the last run of its daemon said.
    pub(super) fn restart(&mut self, incarnation: Incarnation) {
        self.incarnation = Some(incarnation);
        self.revision = 0;
        self.seen_revision = 0;
        self.groups.clear();
        self.request = None;
        self.handled_nonce = 0;
        self.left = false;
        self.absence = Duration::ZERO;
        for link in self.links.values_mut() {
            link.restart();
        }
    }

    /// Remembers a run that has ended.
    pub(super) fn retire(&mut self, incarnation: Incarnation) {
        if self.retired.len() >= RETIRED_MAX {
            self.retired.remove(0);
        }
        self.retired.push(incarnation);
    }

    /// Whether a frame may be of the run that it has now. Another one than we talk with has to have heard us after that one was
    /// heard last: the recording of a run that we never heard has not.
    pub(super) fn may_be_of_its_run(&self, frame: &Heartbeat) -> bool {
        let is_later = || self.heard.is_none_or(|heard| Instant::from_nanos(frame.echo_nanos) > heard);
        self.incarnation.is_none_or(|known| known == frame.incarnation) || is_later()
    }

    /// Its word on a group.
    pub(super) fn group(&self, group: GroupId) -> Option<&GroupState> {
        self.groups.get(group.index())?.as_ref()
    }

    /// Its word on a group: the role, `Standby` when it has not said anything.
    pub(super) fn role(&self, group: GroupId) -> Role {
        self.group(group).map_or(Role::Standby, |state| state.role)
    }

    /// Its term of a group.
    pub(super) fn term(&self, group: GroupId) -> Term {
        self.group(group).map_or(Term::default(), |state| state.term)
    }

    /// It owns the group or is about to, without needing anybody's consent any more.
    pub(super) fn holds(&self, group: GroupId) -> bool {
        self.group(group).is_some_and(GroupState::holds)
    }

    /// Some address of the group may be up there.
    pub(super) fn has_addresses(&self, group: GroupId) -> bool {
        self.group(group).is_some_and(|state| state.addresses)
    }

    /// It asks for consent to become ACTIVE.
    pub(super) fn claims(&self, group: GroupId) -> bool {
        self.group(group).is_some_and(|state| state.claim)
    }

    /// It could take the group over.
    pub(super) fn is_able(&self, group: GroupId) -> bool {
        self.state.is_alive() && self.group(group).is_some_and(|state| state.able)
    }

    /// Its state, from its links.
    pub(super) fn judge(&self, config: &Config, now: Instant, floor: Instant) -> PeerState {
        let kind = |link: &LinkId| config.links.get(link.index()).map(|link| link.kind);
        let alive = |wanted: LinkKind| self.links.iter().any(|(id, link)| kind(id) == Some(wanted) && link.is_alive());
        let up = self.links.values().any(|link| link.state == LinkState::Up);
        if self.left {
            PeerState::Left
        } else if alive(LinkKind::Dedicated) || alive(LinkKind::Neutral) {
            match (up, alive(LinkKind::Dedicated)) {
                (false, _) => PeerState::Suspect,
                (true, true) => PeerState::Alive,
                (true, false) => PeerState::Degraded,
            }
        } else if self.is_heard(now, floor, &config.timers) {
            PeerState::OneWay
        } else if self.heard.is_none() {
            PeerState::Unknown
        } else {
            PeerState::Silent
        }
    }

    /// It has announced that it may be silent, and is.
    pub(super) fn is_away(&self, now: Instant, floor: Instant, dead_time: Duration) -> bool {
        let silent = |heard: Instant| now.since(heard.max(floor)) >= dead_time;
        !self.absence.is_zero() && self.heard.is_none_or(silent)
    }

    /// Any frame within the dead time, whether or not it hears us.
    fn is_heard(&self, now: Instant, floor: Instant, timers: &Timers) -> bool {
        let recent = |last: Instant| now.since(last.max(floor)) < timers.dead_time;
        let heard = |link: &Link| link.heard.is_some_and(|heard| recent(heard + link.absence));
        self.links.values().any(|link| heard(link) && link.state_allows_hearing())
    }

    /// Takes over what the frame says about the sender, unless a newer frame was here before (links reorder).
    pub(super) fn learn(&mut self, frame: &Heartbeat, ours: &[Group]) -> bool {
        let newer = frame.revision > self.revision;
        if frame.revision >= self.revision {
            self.revision = frame.revision;
            self.absence = frame.absence.min(ABSENCE_MAX);
            self.links.values_mut().for_each(|link| link.absence = self.absence);
            let word = |group: &Group| frame.groups.iter().find(|state| state.digest == group.digest).copied();
            self.groups.clear();
            self.groups.extend(ours.iter().map(word));
            self.request = frame.request.and_then(|wish| in_our_words(wish, frame, ours));
        }
        self.seen_revision = self.seen_revision.max(frame.seen_revision);
        newer
    }
}

/// A wish names the group by its place in the sender's config.
fn in_our_words(wish: SwitchoverRequest, frame: &Heartbeat, ours: &[Group]) -> Option<SwitchoverRequest> {
    let digest = frame.groups.get(wish.group.index())?.digest;
    let group = ours.iter().find(|group| group.digest == digest)?.id;
    Some(SwitchoverRequest { group, ..wish })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::LinkId;

    fn frame(ours: &[Group], revision: u32, role: Role) -> Heartbeat {
        let state = GroupState {
            digest: ours[0].digest,
            role,
            term: Term(1),
            claim: false,
            able: true,
            addresses: false,
            released_to: None,
            handover: None,
            wants_lease: false,
            promise: None,
        };
        Heartbeat {
            from: NodeId(1),
            to: NodeId(0),
            link: LinkId(0),
            incarnation: Incarnation(7),
            echo: Some(Incarnation(8)),
            sequence: u64::from(revision),
            sent_nanos: 0,
            echo_nanos: 0,
            echo_delay_nanos: 0,
            wall_millis: 0,
            config_digest: 0,
            hears_you: true,
            probe: false,
            leaving: false,
            revision,
            seen_revision: revision,
            groups: vec![state],
            request: None,
            lease: Duration::ZERO,
            voters: 0,
            fenced: Vec::new(),
            absence: Duration::ZERO,
        }
    }

    #[test]
    fn an_older_word_on_another_link_does_not_replace_a_newer_one() {
        let text = include_str!("../../etc/avamgr.toml");
        let config = crate::config::parse(text, "sample").unwrap();
        let ours = [Group::new(GroupId(0), &config, Term(0), Instant::BOOT)];
        let mut peer = Peer::new(NodeId(1), &config, Instant::BOOT);
        assert!(peer.learn(&frame(&ours, 2, Role::Active), &ours));
        assert!(!peer.learn(&frame(&ours, 1, Role::Standby), &ours));
        assert_eq!((peer.role(GroupId(0)), peer.revision, peer.seen_revision), (Role::Active, 2, 2));
        assert!(!peer.learn(&frame(&ours, 2, Role::Active), &ours), "the same word again is no news");
    }

    #[test]
    fn groups_are_known_by_what_they_mean_and_not_by_their_place() {
        let config = crate::config::parse(include_str!("../../etc/avamgr.toml"), "sample").unwrap();
        let mut ours = vec![Group::new(GroupId(0), &config, Term(0), Instant::BOOT)];
        let mut swapped = frame(&ours, 1, Role::Active);
        let other = GroupState { digest: !ours[0].digest, role: Role::Standby, ..swapped.groups[0] };
        swapped.groups.insert(0, other);
        swapped.request = Some(SwitchoverRequest { nonce: 1, group: GroupId(1), to: NodeId(0) });
        let mut peer = Peer::new(NodeId(1), &config, Instant::BOOT);
        peer.learn(&swapped, &ours);
        assert_eq!(peer.role(GroupId(0)), Role::Active);
        assert_eq!(peer.request.map(|wish| wish.group), Some(GroupId(0)));
        ours[0].digest ^= 1;
        peer.learn(&swapped, &ours);
        assert_eq!((peer.group(GroupId(0)), peer.request), (None, None));
    }
}
