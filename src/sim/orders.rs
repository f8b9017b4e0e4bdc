//! What the teller of a story can do to a world. Every order leaves its note.

use std::sync::Arc;
use std::time::Duration;

use super::host::Kernel;
use super::note::{DaemonChange, KernelChange, What};
use super::queue::Happening;
use super::{Behaviour, Quality, World};
use crate::cluster::{CheckId, GroupId, LinkId, NodeId, ResourceId, Term};
use crate::config::Config;
use crate::control::Command;
use crate::node::action::RequestId;
use crate::node::{Input, Report};

/// Machines and daemons.
impl World {
    /// Gives every machine power and starts its daemon.
    pub fn boot_all(&mut self) {
        self.start_witness();
        for node in self.config.node_ids() {
            self.boot(node);
        }
    }

    /// Gives a machine power and starts its daemon; what was on its disk is there.
    pub fn boot(&mut self, node: NodeId) {
        let now = self.now;
        let Some(host) = self.host_mut(node).filter(|host| host.kernel.is_none()) else {
            return;
        };
        // An end given on the last boot's clock is still that far away.
        let shift = host.clock.local(now);
        host.clock.boot(now);
        if let Some(until) = host.disk.durable.offline.as_mut().and_then(|offline| offline.until.as_mut()) {
            *until = host.clock.local(now) + until.since(shift);
        }
        host.kernel = Some(Kernel::default());
        self.order(Some(node), "boot");
        self.note(Some(node), What::Kernel(KernelChange::Booted));
        self.tell_carriers();
        self.begin_daemon(node);
    }

    /// The machine loses power at once.
    pub fn power_off(&mut self, node: NodeId) {
        self.order(Some(node), "power off");
        self.power_lost(node);
    }

    /// The daemon is killed: nothing in it runs on, its addresses stay until their lifetime is over.
    pub fn kill_daemon(&mut self, node: NodeId) {
        self.order(Some(node), "kill -9 of the daemon");
        self.end_daemon(node, DaemonChange::Died);
    }

    /// Starts the daemon again.
    pub fn start_daemon(&mut self, node: NodeId) {
        self.order(Some(node), "start of the daemon");
        self.begin_daemon(node);
    }

    /// Asks the daemon to end in an orderly way, as a service manager does.
    pub fn shut_down(&mut self, node: NodeId) {
        self.order(Some(node), "stop of the daemon");
        self.later(node, Duration::ZERO, Input::Shutdown);
    }

    /// The daemon stands still for a while (SIGSTOP, starved); its kernel goes on.
    pub fn pause(&mut self, node: NodeId, time: Duration) {
        self.order(Some(node), &format!("daemon paused for {time:?}"));
        self.pause_daemon(node, self.now + time);
    }

    /// The whole machine stands still for a while (a virtual machine on hold); its clock goes on.
    pub fn freeze(&mut self, node: NodeId, time: Duration) {
        let due = self.now + time;
        self.order(Some(node), &format!("machine frozen for {time:?}"));
        if let Some(kernel) = self.host_mut(node).and_then(|host| host.kernel.as_mut()) {
            kernel.frozen = Some(kernel.frozen.map_or(due, |before| before.max(due)));
            self.queue.push(due, Happening::Thaw { at: node, due });
            self.pause_daemon(node, due);
        }
    }

    /// How long the program of a host's daemon takes to be replaced, from the next time on.
    pub fn set_exec_time(&mut self, node: NodeId, time: Duration) {
        if let Some(host) = self.host_mut(node) {
            host.exec_time = time;
        }
    }

    /// The wall clock of a host is this much off.
    pub fn set_wall_error(&mut self, node: NodeId, millis: i64) {
        self.order(Some(node), &format!("wall clock off by {millis} ms"));
        if let Some(host) = self.host_mut(node) {
            host.clock.wall_error_millis = millis;
        }
    }

    /// The disk of a host is full, or has room again.
    pub fn set_disk_full(&mut self, node: NodeId, full: bool) {
        self.order(Some(node), if full { "disk full" } else { "disk has room" });
        if let Some(host) = self.host_mut(node) {
            host.disk.full = full;
        }
    }

    /// The file with the terms is damaged while the daemon is down: what is on disk is a number nobody has ever reached.
    pub fn damage_term(&mut self, node: NodeId, group: GroupId, term: Term) {
        self.order(Some(node), &format!("term on disk is {term}"));
        if let Some(host) = self.host_mut(node) {
            host.disk.durable.terms.insert(group, term);
        }
    }

    /// How long one write takes.
    pub fn set_disk_delay(&mut self, node: NodeId, delay: Duration) {
        self.order(Some(node), &format!("disk takes {delay:?}"));
        if let Some(host) = self.host_mut(node) {
            host.disk.delay = delay;
        }
    }

    /// Another config file lies on a host; its daemon reads it at its next start.
    pub fn set_config(&mut self, node: NodeId, config: Config) {
        self.order(Some(node), "another config file");
        if let Some(host) = self.host_mut(node) {
            host.config = Arc::new(config);
        }
    }

    pub(super) fn order(&mut self, host: Option<NodeId>, text: &str) {
        self.note(host, What::Order(text.to_owned()));
    }
}

/// The network.
impl World {
    /// Nothing passes in this direction of a link, and nobody is told.
    pub fn cut(&mut self, link: LinkId, from: NodeId, to: NodeId) {
        let text = format!("cut {} {} -> {}", self.link_name(link), self.node_name(from), self.node_name(to));
        self.order(None, &text);
        self.network.set_cut(link, from, to, true);
    }

    /// It passes again.
    pub fn mend(&mut self, link: LinkId, from: NodeId, to: NodeId) {
        let text = format!("mend {} {} -> {}", self.link_name(link), self.node_name(from), self.node_name(to));
        self.order(None, &text);
        self.network.set_cut(link, from, to, false);
    }

    /// Cuts a link between every two hosts.
    pub fn cut_all(&mut self, link: LinkId) {
        let text = format!("cut {}", self.link_name(link));
        self.order(None, &text);
        self.set_cut_everywhere(link, true);
    }

    /// Mends a link between every two hosts.
    pub fn mend_all(&mut self, link: LinkId) {
        let text = format!("mend {}", self.link_name(link));
        self.order(None, &text);
        self.set_cut_everywhere(link, false);
    }

    /// Pulls a host's plug of a link: carrier is lost wherever the cable shows it.
    pub fn unplug(&mut self, link: LinkId, node: NodeId) {
        let text = format!("unplug {}", self.link_name(link));
        self.order(Some(node), &text);
        self.network.set_plugged(link, node, false);
        self.tell_carriers();
    }

    /// Puts it back.
    pub fn plug(&mut self, link: LinkId, node: NodeId) {
        let text = format!("plug {}", self.link_name(link));
        self.order(Some(node), &text);
        self.network.set_plugged(link, node, true);
        self.tell_carriers();
    }

    /// What one direction of a link does to its frames.
    pub fn set_quality(&mut self, link: LinkId, from: NodeId, to: NodeId, quality: Quality) {
        let loss = quality.loss_ppm / 10_000;
        let (link_name, from_name, to_name) = (self.link_name(link), self.node_name(from), self.node_name(to));
        let text = format!(
            "{link_name} {from_name} -> {to_name}: {loss} % loss, {:?} + {:?}",
            quality.latency, quality.jitter
        );
        self.order(None, &text);
        self.network.set_quality(link, from, to, quality);
    }

    /// Two hosts do not see each other on the service network, or do again.
    pub fn set_lan(&mut self, one: NodeId, other: NodeId, open: bool) {
        let verb = if open { "mend" } else { "cut" };
        let text = format!("{verb} service network {} - {}", self.node_name(one), self.node_name(other));
        self.order(None, &text);
        self.network.set_lan_cut(one, other, !open);
    }

    /// A host's plug of the service network is pulled, or put back: its addresses could not be used.
    pub fn set_lan_plug(&mut self, node: NodeId, plugged: bool) {
        self.order(Some(node), if plugged { "plug service network" } else { "unplug service network" });
        self.network.set_lan_plugged(node, plugged);
        let unable = (!plugged).then(|| "the interface has no carrier".to_owned());
        let Some(host) = self.host(node) else { return };
        let all: Vec<(ResourceId, Behaviour)> =
            host.devices.iter().map(|(id, device)| (*id, device.behaviour.clone())).collect();
        for (resource, behaviour) in all {
            if !self.is_vip(resource) {
                continue;
            }
            self.set_behaviour(node, resource, Behaviour { unable: unable.clone(), ..behaviour });
        }
    }

    /// The arbitrator answers a host, or does not.
    pub fn set_arbitrator(&mut self, node: NodeId, open: bool) {
        self.order(Some(node), if open { "arbitrator answers" } else { "arbitrator does not answer" });
        self.network.set_arbitrator(node, open);
    }

    /// Everything between the hosts is as on the first day.
    pub fn heal_network(&mut self) {
        self.order(None, "heal the network");
        for link in self.config.link_ids() {
            self.set_cut_everywhere(link, false);
            for node in self.config.node_ids() {
                self.network.set_plugged(link, node, true);
                for peer in self.config.node_ids() {
                    self.network.set_quality(link, node, peer, Quality::GOOD);
                }
            }
        }
        for node in self.config.node_ids() {
            self.network.set_lan_plugged(node, true);
            self.network.set_arbitrator(node, true);
            for peer in self.config.node_ids() {
                self.network.set_lan_cut(node, peer, false);
            }
        }
        self.heal_way_to_witness();
        self.tell_carriers();
    }

    fn set_cut_everywhere(&mut self, link: LinkId, cut: bool) {
        for from in self.config.node_ids() {
            for to in self.config.node_ids() {
                self.network.set_cut(link, from, to, cut);
            }
        }
    }

    fn link_name(&self, link: LinkId) -> String {
        self.config.link_name(link).to_owned()
    }

    fn node_name(&self, node: NodeId) -> String {
        self.config.node_name(node).to_owned()
    }
}

/// Resources, checks and operators.
impl World {
    /// How a resource behaves on a host from now on.
    pub fn set_behaviour(&mut self, node: NodeId, resource: ResourceId, behaviour: Behaviour) {
        let name = self.config.resource_name(resource).to_owned();
        let Some(device) = self.host_mut(node).and_then(|host| host.devices.get_mut(&resource)) else {
            return;
        };
        let before = std::mem::replace(&mut device.behaviour, behaviour.clone());
        if before == behaviour {
            return;
        }
        self.order(Some(node), &format!("{name}: start {:?}, stop {:?}", behaviour.start, behaviour.stop));
        if before.unable != behaviour.unable {
            let report = behaviour.unable.map_or(Report::Able, Report::Unable);
            self.later(node, Duration::ZERO, Input::Report { resource, report });
        }
    }

    /// What runs dies by itself, or somebody else removes an address.
    pub fn lose(&mut self, node: NodeId, resource: ResourceId) {
        let text = format!("{} is lost", self.config.resource_name(resource));
        self.order(Some(node), &text);
        self.is_lost(node, resource);
    }

    /// Somebody brings a resource up by hand.
    pub fn bring_up(&mut self, node: NodeId, resource: ResourceId) {
        let text = format!("{} is brought up by hand", self.config.resource_name(resource));
        self.order(Some(node), &text);
        self.strays(node, resource);
    }

    /// What a ready check sees on a host from now on.
    pub fn set_ready(&mut self, node: NodeId, check: CheckId, result: Result<(), String>) {
        let text = format!("check {} sees {result:?}", self.config.check_name(check));
        self.order(Some(node), &text);
        if let Some(slot) = self.host_mut(node).and_then(|host| host.ready.get_mut(check.index())) {
            *slot = result.clone();
        }
        self.later(node, Duration::ZERO, Input::Ready { check, result });
    }

    /// An operator's command at a host.
    pub fn command(&mut self, node: NodeId, command: Command) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.order(Some(node), &format!("operator: {command:?}"));
        self.later(node, Duration::ZERO, Input::Command { request, who: "operator".to_owned(), command });
        request
    }

    /// Any input at all, as if a task of the daemon had it.
    pub fn inject(&mut self, node: NodeId, input: Input) {
        self.later(node, Duration::ZERO, input);
    }
}
