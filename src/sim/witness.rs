//! The witness of the world: the real table of votes, on a machine of its own that comes and goes. It stands for etcd as well.

use std::time::Duration;

use super::clock::Clock;
use super::{Quality, World};
use crate::cluster::{GroupId, Incarnation, LinkId, NodeId};
use crate::lease::witness::Witness;
use crate::time::Instant;
use crate::wire::Heartbeat;

/// The third site.
#[derive(Clone, Debug, Hash)]
pub(super) struct Site {
    clock: Clock,
    /// `None` while it is off.
    witness: Option<Witness>,
    /// The longest promise it may have made, on its disk.
    longest: Duration,
    /// Per host: requests get there.
    hears: Vec<bool>,
    /// Per host: answers come back.
    answers: Vec<bool>,
    quality: Quality,
}

impl Site {
    pub(super) fn new(hosts: usize, rate_ppm: i32) -> Self {
        Self {
            clock: Clock::new(rate_ppm),
            witness: None,
            longest: Duration::ZERO,
            hears: vec![true; hosts],
            answers: vec![true; hosts],
            quality: Quality::GOOD,
        }
    }
}

impl World {
    /// Starts the witness, if it is off.
    pub fn start_witness(&mut self) {
        if self.site.is_none() {
            return;
        }
        self.order(None, "start of the witness");
        let incarnation = Incarnation(self.random.bits().max(1));
        // etcd does not know how wrong clocks may be.
        let ppm = if self.config.etcd.is_some() { 0 } else { self.config.timers.clock_rate_ppm };
        let now = self.now;
        if let Some(site) = self.site.as_mut().filter(|site| site.witness.is_none()) {
            site.witness = Some(Witness::new(incarnation, site.longest, ppm, site.clock.local(now)));
        }
    }

    /// The witness dies: what it has promised is forgotten.
    pub fn stop_witness(&mut self) {
        self.order(None, "end of the witness");
        if let Some(site) = &mut self.site {
            site.witness = None;
        }
    }

    /// Whether requests of a host get to the witness, and whether its answers come back.
    pub fn set_way_to_witness(&mut self, node: NodeId, hears: bool, answers: bool) {
        let text = format!("the witness hears {} {hears}, is heard {answers}", self.config.node_name(node));
        self.order(None, &text);
        self.open_way(node, hears, answers);
    }

    /// What the way to the witness does to frames, in both directions.
    pub fn set_witness_quality(&mut self, quality: Quality) {
        self.order(None, &format!("way to the witness: {quality:?}"));
        if let Some(site) = &mut self.site {
            site.quality = quality;
        }
    }

    /// The witness, while it runs.
    pub fn witness(&self) -> Option<&Witness> {
        self.site.as_ref()?.witness.as_ref()
    }

    /// Until when, in the world's time, a host's kernel lets a group's addresses answer; what is over is no right.
    pub fn right_until(&self, node: NodeId, group: GroupId) -> Option<Instant> {
        let host = self.host(node)?;
        Some(host.clock.world(*host.kernel.as_ref()?.rights.get(&group)?))
    }

    pub(super) fn heal_way_to_witness(&mut self) {
        for node in self.config.node_ids() {
            self.open_way(node, true, true);
        }
        if let Some(site) = &mut self.site {
            site.quality = Quality::GOOD;
        }
    }

    fn open_way(&mut self, node: NodeId, hears: bool, answers: bool) {
        let Some(site) = &mut self.site else { return };
        if let (Some(in_), Some(out)) = (site.hears.get_mut(node.index()), site.answers.get_mut(node.index())) {
            (*in_, *out) = (hears, answers);
        }
    }

    /// A frame leaves for the witness, or for a node from there.
    pub(super) fn send_by_site(&mut self, heartbeat: Heartbeat) {
        let Some(quality) = self.site.as_ref().map(|site| site.quality) else { return };
        if self.random.chance(quality.loss_ppm) {
            return;
        }
        if self.random.chance(quality.duplicate_ppm) {
            self.travel(LinkId::WITNESS, heartbeat.clone(), quality);
        }
        self.travel(LinkId::WITNESS, heartbeat, quality);
    }

    pub(super) fn frame_at_site(&mut self, request: &Heartbeat) {
        let now = self.now;
        let Some(site) = &mut self.site else { return };
        if !site.hears.get(request.from.index()).is_some_and(|open| *open) {
            return;
        }
        let local = site.clock.local(now);
        let Some(witness) = &mut site.witness else { return };
        let answer = witness.handle(local, request);
        site.longest = site.longest.max(witness.longest_asked());
        witness.allow(site.longest);
        if let Ok(mut answer) = answer {
            answer.sent_nanos = local.as_nanos();
            self.send_by_site(answer);
        }
    }

    /// Whether an answer of the witness gets to a host.
    pub(super) fn site_answers(&self, node: NodeId) -> bool {
        self.site.as_ref().is_some_and(|site| site.answers.get(node.index()).is_some_and(|open| *open))
    }
}
