//! The hands of every daemon in the world: inputs in, one full drain of actions out, then sleep until the deadline.

use std::time::Duration;

use super::host::{Daemon, Late};
use super::note::{DaemonChange, KernelChange, What};
use super::queue::{Happening, Probe};
use super::{Quality, World};
use crate::cluster::{CheckId, GroupId, Incarnation, LinkId, NodeId};
use crate::config::ResourceKind;
use crate::node::action::{AskId, ProbeId};
use crate::node::input::VipOwner;
use crate::node::{Action, Durable, Input, Node, Report};
use crate::time::Instant;
use crate::wire::Heartbeat;

/// One question of a VIP probe to its answer, and the arbitrator's usual answer.
const ROUND_TRIP: Duration = Duration::from_micros(200);

/// Questions within the time of one VIP probe: one ARP request may get lost.
const QUESTIONS_PER_PROBE: u32 = 3;

/// A deadline that is over already is met this much later, so that time goes on whatever a node asks for.
const LEAST_WAIT: Duration = Duration::from_micros(1);

/// From the daemon's start to the first word of its resources' tasks.
const TASKS_READY: Duration = Duration::from_millis(1);

impl World {
    /// Gives an input to the node of a host; it waits while the daemon stands still and is lost when there is none.
    pub(super) fn deliver(&mut self, at: NodeId, input: Input) {
        let Some(daemon) = self.host_mut(at).and_then(|host| host.daemon.as_mut()) else {
            return;
        };
        if daemon.saved.is_some() {
            // Those who would have told are gone.
        } else if daemon.paused.is_some() {
            daemon.keep(Late::Input(input));
        } else {
            self.handle(at, input);
        }
    }

    pub(super) fn handle(&mut self, at: NodeId, input: Input) {
        self.note(Some(at), What::Handled(input.clone()));
        let local = self.local(at);
        if let Some(daemon) = self.daemon_mut(at) {
            daemon.node.handle(local, input);
        }
        while let Some(action) = self.daemon_mut(at).and_then(|daemon| daemon.node.poll_action()) {
            self.note(Some(at), What::Did(action.clone()));
            self.perform(at, action);
        }
        self.feed_watchdog(at);
        self.set_deadline(at);
    }

    fn perform(&mut self, at: NodeId, action: Action) {
        match action {
            Action::Send { link, heartbeat } => self.send(at, link, heartbeat),
            Action::Ask { ask, timeout } => self.ask(at, ask, timeout),
            Action::ProbeVips { probe, group, time } => self.probe(at, probe, group, time),
            Action::Persist { order, durable } => self.persist(at, order, durable),
            Action::Resource { resource, order } => self.order_resource(at, resource, order),
            Action::Right { group, until } => {
                if let Some(kernel) = self.host_mut(at).and_then(|host| host.kernel.as_mut()) {
                    kernel.rights.insert(group, until);
                }
            }
            Action::Fence { fence, target } => self.use_fence_device(at, fence, target),
            Action::Answer { .. } | Action::Event(_) => {}
            Action::Exit => self.end_daemon(at, DaemonChange::Exited),
            Action::Continue => self.replace_program(at),
        }
    }

    fn set_deadline(&mut self, at: NodeId) {
        let late = self.random.up_to(self.noise.timer);
        let now = self.now;
        let Some(host) = self.hosts.get_mut(at.index()) else {
            return;
        };
        let Some(daemon) = host.daemon.as_mut() else {
            return;
        };
        if let Some(key) = daemon.deadline.take() {
            self.queue.remove(key);
        }
        let due = host.clock.world(daemon.node.poll_deadline().0);
        if due != Instant::NEVER {
            let due = due.max(now + LEAST_WAIT) + late;
            daemon.deadline = Some(self.queue.push(due, Happening::Deadline { at, run: host.run }));
        }
    }

    pub(super) fn deadline(&mut self, at: NodeId, run: u32) {
        let Some(daemon) = self.host_mut(at).and_then(|host| host.daemon_of(run)) else {
            return;
        };
        daemon.deadline = None;
        // A daemon that stands still meets its deadline when it goes on.
        if daemon.paused.is_none() {
            self.handle(at, Input::Deadline);
        }
    }

    fn daemon_mut(&mut self, at: NodeId) -> Option<&mut Daemon> {
        self.host_mut(at)?.daemon.as_mut()
    }

    /// Something one of the daemon's own tasks will say after `after`. What one task says stays in its order.
    pub(super) fn later(&mut self, at: NodeId, after: Duration, input: Input) {
        let said = self.now + after;
        let mut due = said + self.random.up_to(self.noise.report);
        let Some(host) = self.host_mut(at) else {
            return;
        };
        // What is so now comes after what was so before, even if that has not been said yet.
        let tells_a_state = matches!(
            input,
            Input::Ready { .. }
                | Input::Carrier { .. }
                | Input::Report { report: Report::Able | Report::Unable(_), .. }
        );
        let last_word = match &input {
            Input::Report { resource, .. } => host.devices.get_mut(resource).map(|device| &mut device.last_word),
            Input::Ready { .. } => Some(&mut host.checks_last_word),
            Input::Heartbeat { .. } | Input::BadDatagram { .. } | Input::Namesake { .. } => None,
            Input::Carrier { .. } => Some(&mut host.carriers_last_word),
            Input::Refused { .. } | Input::Bearer { .. } => None,
            Input::Verdict { .. } | Input::VipProbe { .. } | Input::Persisted { .. } => None,
            Input::Fenced { .. } | Input::Command { .. } | Input::Shutdown | Input::Deadline => None,
        };
        if let Some((before, heard)) = last_word
            && (tells_a_state || said >= *before)
        {
            due = due.max(*heard);
            (*before, *heard) = (said.max(*before), due);
        }
        let run = host.run;
        self.queue.push(due, Happening::Input { at, run, input });
    }
}

/// Frames.
impl World {
    fn send(&mut self, at: NodeId, link: LinkId, mut heartbeat: Heartbeat) {
        let Some(host) = self.host(at) else { return };
        heartbeat.sent_nanos = host.clock.local(self.now).as_nanos();
        heartbeat.wall_millis = host.clock.wall_millis(self.now);
        let to = heartbeat.to;
        if link == LinkId::WITNESS {
            return self.send_by_site(heartbeat);
        }
        let quality = self.quality(link, at, to);
        if !self.link_open(link, at, to) || self.random.chance(quality.loss_ppm) {
            return;
        }
        if self.random.chance(quality.duplicate_ppm) {
            self.travel(link, heartbeat.clone(), quality);
        }
        self.travel(link, heartbeat, quality);
    }

    pub(super) fn travel(&mut self, link: LinkId, heartbeat: Heartbeat, quality: Quality) {
        let mut time = quality.latency + self.random.up_to(quality.jitter);
        if self.random.chance(quality.reorder_ppm) {
            time += self.random.up_to(quality.reorder_by);
        }
        self.queue.push(self.now + time, Happening::Frame { link, heartbeat });
    }

    pub(super) fn frame_arrives(&mut self, link: LinkId, heartbeat: Heartbeat) {
        let (from, to) = (heartbeat.from, heartbeat.to);
        if to == NodeId::WITNESS {
            return self.frame_at_site(&heartbeat);
        }
        let open = if from == NodeId::WITNESS { self.site_answers(to) } else { self.link_open(link, from, to) };
        if !open || !self.is_awake(to) {
            return;
        }
        let Some(host) = self.host(to) else { return };
        let listens = host.daemon.as_ref().is_some_and(|daemon| daemon.saved.is_none());
        if !listens && from == NodeId::WITNESS {
            return;
        }
        if !listens {
            let back = self.quality(link, to, from).latency;
            if self.link_open(link, to, from) {
                self.queue.push(self.now + back, Happening::Refused { link, at: from, from: to });
            }
            return;
        }
        let arrived = host.clock.local(self.now);
        let wall_millis = host.clock.wall_millis(self.now);
        self.deliver(to, Input::Heartbeat { link, arrived, wall_millis, heartbeat });
    }

    /// Tells every host what has become of its carrier.
    pub(super) fn tell_carriers(&mut self) {
        for link in self.config.link_ids() {
            for host in self.config.node_ids() {
                let carrier = self.network.carrier(link, host, &|host| self.is_on(host));
                if self.network.carrier_changed(link, host, carrier) {
                    self.later(host, Duration::ZERO, Input::Carrier { link, up: carrier });
                }
            }
        }
    }
}

/// Questions to the world outside, and the disk.
impl World {
    fn ask(&mut self, at: NodeId, ask: AskId, timeout: Duration) {
        let Some(arbitrator) = &self.config.arbitrator else {
            return;
        };
        let addresses = arbitrator.ping.len();
        let time = ROUND_TRIP + self.random.up_to(self.noise.arbitrator);
        let lost = self.random.chance(self.noise.arbitrator_loss_ppm);
        let answered = self.arbitrator_open(at) && !lost && time <= timeout;
        let asked = self.local(at);
        let (time, answer) = if answered { (time, Some(time)) } else { (timeout, None) };
        self.later(at, time, Input::Verdict { ask, asked, answers: vec![answer; addresses] });
    }

    fn probe(&mut self, at: NodeId, id: ProbeId, group: GroupId, time: Duration) {
        let Some(run) = self.host(at).map(|host| host.run) else {
            return;
        };
        let pace = time.saturating_sub(ROUND_TRIP) / QUESTIONS_PER_PROBE;
        let probe = Probe { id, group, asked: self.local(at), pace, left: QUESTIONS_PER_PROBE };
        self.queue.push(self.now + ROUND_TRIP.min(time), Happening::Question { at, run, probe });
    }

    /// One question of a probe may be answered now; without an answer the next one follows, or the end.
    pub(super) fn question(&mut self, at: NodeId, run: u32, probe: Probe) {
        let Some(daemon) = self.host_mut(at).and_then(|host| host.daemon_of(run)) else {
            return;
        };
        if daemon.paused.is_some() {
            daemon.keep(Late::Question(probe));
            return;
        }
        let Probe { id, group, asked, pace, left } = probe;
        let error = (!self.network.lan_plugged(at)).then(|| "the interface has no carrier".to_owned());
        let owner = self.vip_owner(at, group);
        if owner.is_none() && error.is_none() && left > 0 {
            let probe = Probe { left: left - 1, ..probe };
            self.queue.push(self.now + pace, Happening::Question { at, run, probe });
        } else {
            self.deliver(at, Input::VipProbe { probe: id, group, asked, owner, error });
        }
    }

    /// Who on the service network answers for an address of a group: a kernel, alive or not as its daemon may be.
    fn vip_owner(&self, asking: NodeId, group: GroupId) -> Option<VipOwner> {
        for resource in self.config.resource_ids(group) {
            let Some(ResourceKind::Vip(vip)) = self.config.resource(resource).map(|resource| &resource.kind) else {
                continue;
            };
            let others = self.config.node_ids().filter(|host| *host != asking);
            for host in others.filter(|host| self.lan_open(asking, *host) && self.is_awake(*host)) {
                if self.answers(host, resource) {
                    let net = vip.addresses.iter().chain(&vip.ranges).next()?;
                    return Some(VipOwner { address: net.address, mac: format!("02:00:00:00:00:{:02x}", host.0 + 1) });
                }
            }
        }
        None
    }

    fn persist(&mut self, at: NodeId, order: u64, durable: Durable) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(at.index()) else {
            return;
        };
        host.disk.busy_until = host.disk.busy_until.max(now) + host.disk.delay;
        host.disk.writing.insert(order, durable);
        self.queue.push(host.disk.busy_until, Happening::Written { at, run: host.run, order });
    }

    pub(super) fn written(&mut self, at: NodeId, run: u32, order: u64) {
        let Some(host) = self.host_mut(at).filter(|host| host.run == run) else {
            return;
        };
        let Some(durable) = host.disk.writing.remove(&order) else {
            return;
        };
        let result = if host.disk.full { Err("no space left on device".to_owned()) } else { Ok(()) };
        if result.is_ok() {
            host.disk.durable = durable;
        }
        self.deliver(at, Input::Persisted { order, result });
    }
}

/// The daemon's life.
impl World {
    /// Starts the daemon of a host that has power and none.
    pub(super) fn begin_daemon(&mut self, at: NodeId) {
        let incarnation = Incarnation(self.random.bits().max(1));
        let seed = self.random.bits();
        let now = self.now;
        let Some(host) = self.host_mut(at).filter(|host| host.kernel.is_some() && host.daemon.is_none()) else {
            return;
        };
        host.run += 1;
        // The guard is set up anew, and closed.
        if let Some(kernel) = &mut host.kernel {
            kernel.rights.clear();
        }
        host.disk.busy_until = now;
        let local = host.clock.local(now);
        let config = host.config.clone();
        let node = Node::new(config, host.id, incarnation, seed, host.disk.durable.clone(), local);
        host.daemon = Some(Daemon::new(node, now));
        self.note(Some(at), What::Daemon(DaemonChange::Started));
        self.first_words(at);
        // The node has asked for its first actions already.
        self.handle(at, Input::Deadline);
    }

    /// What the daemon's tasks say unasked when they begin.
    pub(super) fn first_words(&mut self, at: NodeId) {
        let Some(host) = self.host(at) else { return };
        let words: Vec<_> = host.devices.iter().map(|(id, device)| (*id, device.behaviour.unable.clone())).collect();
        let checks: Vec<_> = host.ready.clone();
        for (resource, unable) in words {
            let report = unable.map_or(Report::Able, Report::Unable);
            self.later(at, TASKS_READY, Input::Report { resource, report });
        }
        for (check, result) in (0u8..).map(CheckId).zip(checks) {
            self.later(at, TASKS_READY, Input::Ready { check, result });
        }
        for link in self.config.link_ids() {
            let carrier = self.network.carrier(link, at, &|host| self.is_on(host));
            self.network.carrier_changed(link, at, carrier);
            if !carrier {
                self.later(at, Duration::ZERO, Input::Carrier { link, up: false });
            }
        }
    }

    /// The daemon is no more. Its processes go with it, its addresses stay until their lifetime is over.
    pub(super) fn end_daemon(&mut self, at: NodeId, change: DaemonChange) {
        let Some(daemon) = self.host_mut(at).and_then(|host| host.daemon.take()) else {
            return;
        };
        if let Some(key) = daemon.deadline {
            self.queue.remove(key);
        }
        if let Some(host) = self.host_mut(at) {
            host.disk.writing.clear();
            for device in host.devices.values_mut() {
                device.doing = None;
                device.wanted = false;
            }
        }
        self.note(Some(at), What::Daemon(change));
        if daemon.paused.is_none() {
            self.stop_refreshing(at);
        }
        self.processes_die(at);
    }

    /// The daemon stands still for a while: stopped, or starved.
    pub(super) fn pause_daemon(&mut self, at: NodeId, due: Instant) {
        let Some(host) = self.hosts.get_mut(at.index()) else {
            return;
        };
        let Some(daemon) = host.daemon.as_mut() else {
            return;
        };
        let was_running = daemon.paused.is_none();
        if was_running {
            daemon.paused_since = self.now;
        }
        daemon.paused = Some(daemon.paused.map_or(due, |before| before.max(due)));
        self.queue.push(due, Happening::Resume { at, run: host.run, due });
        if was_running {
            self.note(Some(at), What::Daemon(DaemonChange::Paused));
            self.stop_refreshing(at);
        }
    }

    pub(super) fn resume(&mut self, at: NodeId, run: u32, due: Instant) {
        let Some(daemon) = self.host_mut(at).and_then(|host| host.daemon_of(run)) else {
            return;
        };
        if daemon.paused != Some(due) {
            return;
        }
        daemon.paused = None;
        let still = due.since(daemon.paused_since);
        let late = std::mem::take(&mut daemon.late);
        let missed_deadline = daemon.deadline.is_none();
        self.note(Some(at), What::Daemon(DaemonChange::Resumed));
        self.refresh_again(at, still);
        if self.daemon_mut(at).is_some_and(|daemon| daemon.saved.is_some()) {
            return self.next_program(at);
        }
        // The driver drains its sockets and tasks first, so that the decision judges by arrival times.
        for late in late {
            match late {
                Late::Input(input) => self.deliver(at, input),
                Late::Step { resource, order } => self.resource_steps(at, run, resource, order),
                Late::Question(probe) => self.question(at, run, probe),
            }
        }
        if missed_deadline && self.is_running(at) {
            self.handle(at, Input::Deadline);
        }
    }

    pub(super) fn thaw(&mut self, at: NodeId, due: Instant) {
        let Some(kernel) = self.host_mut(at).and_then(|host| host.kernel.as_mut()) else {
            return;
        };
        if kernel.frozen != Some(due) {
            return;
        }
        kernel.frozen = None;
        let over: Vec<_> = kernel.up.iter().filter_map(|(id, up)| Some((*id, up.expires?))).collect();
        for (resource, expires) in over {
            self.expiry(at, resource, expires);
        }
    }

    pub(super) fn power_lost(&mut self, at: NodeId) {
        self.end_daemon(at, DaemonChange::Died);
        if let Some(host) = self.host_mut(at)
            && host.kernel.take().is_some()
        {
            self.note(Some(at), What::Kernel(KernelChange::PowerLost));
            self.tell_carriers();
        }
    }
}
