//! The tasks of the resources, and what they look after in the kernel.

use std::time::Duration;

use super::World;
use super::host::{Conduct, Late, Up};
use super::note::{KernelChange, What};
use super::queue::Happening;
use crate::cluster::{NodeId, ResourceId};
use crate::config::ResourceKind;
use crate::node::{Input, Order, Report};
use crate::time::Instant;

/// From a change in the kernel to the task's word about it.
const NOTICED: Duration = Duration::from_micros(100);

impl World {
    /// Gives a task its next order; the one under way is void.
    pub(super) fn order_resource(&mut self, at: NodeId, resource: ResourceId, order: Order) {
        let Some(after) = self.order_time(at, resource, order) else {
            return;
        };
        let run = self.host(at).map_or(0, |host| host.run);
        let Some(device) = self.host_mut(at).and_then(|host| host.devices.get_mut(&resource)) else {
            return;
        };
        match order {
            // Said and done: nothing of it is under way afterwards.
            Order::Announce => return,
            Order::Start | Order::Adopt => device.wanted = true,
            Order::Stop { .. } => device.wanted = false,
        }
        device.order += 1;
        device.doing = Some(order);
        let order = device.order;
        self.queue.push(self.now + after, Happening::Step { at, run, resource, order });
    }

    /// How long a task takes for an order, or until it gives up.
    fn order_time(&self, at: NodeId, resource: ResourceId, order: Order) -> Option<Duration> {
        let behaviour = self.behaviour(at, resource)?;
        let config = self.config.resource(resource)?;
        Some(match order {
            Order::Announce => Duration::ZERO,
            Order::Adopt => NOTICED,
            Order::Start => match behaviour.start {
                Conduct::Well | Conduct::Fails => behaviour.start_time,
                Conduct::Hangs => config.start_timeout,
            },
            Order::Stop { within } => {
                let bound = within.map_or(config.stop_timeout, |within| within.min(config.stop_timeout));
                match behaviour.stop {
                    Conduct::Well if self.owns(at, resource) => behaviour.stop_time.min(bound),
                    Conduct::Hangs | Conduct::Fails if self.owns(at, resource) => bound,
                    Conduct::Well | Conduct::Hangs | Conduct::Fails => NOTICED,
                }
            }
        })
    }

    /// The order under way comes to its end.
    pub(super) fn resource_steps(&mut self, at: NodeId, run: u32, resource: ResourceId, number: u64) {
        let Some(daemon) = self.host_mut(at).and_then(|host| host.daemon_of(run)) else {
            return;
        };
        if daemon.paused.is_some() {
            daemon.keep(Late::Step { resource, order: number });
            return;
        }
        let Some(device) = self.host_mut(at).and_then(|host| host.devices.get_mut(&resource)) else {
            return;
        };
        if device.order != number {
            return;
        }
        let Some(order) = device.doing.take() else {
            return;
        };
        let behaviour = device.behaviour.clone();
        let report = match order {
            Order::Start => match (&behaviour.unable, behaviour.start) {
                (Some(reason), _) => Report::StartFailed(reason.clone()),
                (None, Conduct::Well) => {
                    self.comes_up(at, resource);
                    Report::Started
                }
                (None, Conduct::Fails) if behaviour.stop == Conduct::Fails => {
                    self.comes_up(at, resource);
                    Report::StopFailed(
                        "exited with 1 before it was ready, and a child survived every signal".to_owned(),
                    )
                }
                (None, Conduct::Fails) => Report::StartFailed("exited with 1 before it was ready".to_owned()),
                (None, Conduct::Hangs) => Report::StartFailed("not ready in time".to_owned()),
            },
            Order::Stop { .. } => match behaviour.stop {
                Conduct::Fails if self.owns(at, resource) => Report::StopFailed("survived every signal".to_owned()),
                // What hangs is killed in the end.
                Conduct::Well | Conduct::Hangs | Conduct::Fails => {
                    self.goes_down(at, resource, KernelChange::Down(resource));
                    Report::Stopped
                }
            },
            Order::Adopt if self.owns(at, resource) => Report::Started,
            Order::Adopt => Report::Failed("it is not there any more".to_owned()),
            Order::Announce => return,
        };
        self.later(at, NOTICED, Input::Report { resource, report });
    }

    fn comes_up(&mut self, at: NodeId, resource: ResourceId) {
        let now = self.now;
        let Some(kernel) = self.host_mut(at).and_then(|host| host.kernel.as_mut()) else {
            return;
        };
        let fresh = kernel.up.insert(resource, Up { since: now, expires: None, by_hand: false }).is_none();
        if fresh {
            self.note(Some(at), What::Kernel(KernelChange::Up(resource)));
        }
    }

    fn goes_down(&mut self, at: NodeId, resource: ResourceId, change: KernelChange) -> bool {
        let Some(kernel) = self.host_mut(at).and_then(|host| host.kernel.as_mut()) else {
            return false;
        };
        let was_up = kernel.up.remove(&resource).is_some();
        if was_up {
            self.note(Some(at), What::Kernel(change));
        }
        was_up
    }

    /// What runs dies by itself, or somebody else removes it. Its task tells of a process and repairs an address.
    pub(super) fn is_lost(&mut self, at: NodeId, resource: ResourceId) {
        let was_by_hand = self.is_by_hand(at, resource);
        if !self.goes_down(at, resource, KernelChange::Lost(resource)) {
            return;
        }
        if !self.is_wanted(at, resource) {
            if was_by_hand {
                let report = Report::Gone("nothing of it is here any more".to_owned());
                self.later(at, self.config.timers.guard_lifetime, Input::Report { resource, report });
            }
            return;
        }
        if self.is_vip(resource) {
            // A daemon that stands still notices when it goes on.
            if self.is_running(at) {
                self.repair(at, resource);
            }
        } else {
            let report = Report::Failed("exited with 139".to_owned());
            self.later(at, NOTICED, Input::Report { resource, report });
        }
    }

    /// Somebody else brings it up. Where it should be down, its task notices that at its next look.
    pub(super) fn strays(&mut self, at: NodeId, resource: ResourceId) {
        self.comes_up(at, resource);
        if let Some(up) =
            self.host_mut(at).and_then(|host| host.kernel.as_mut()).and_then(|kernel| kernel.up.get_mut(&resource))
        {
            up.by_hand = true;
        }
        let is_idle = self.host(at).and_then(|host| host.devices.get(&resource)).is_some_and(|it| it.doing.is_none());
        if is_idle && !self.is_wanted(at, resource) {
            let report = Report::Stray("put there by somebody else".to_owned());
            self.later(at, self.config.timers.guard_lifetime, Input::Report { resource, report });
        }
    }

    fn repair(&mut self, at: NodeId, resource: ResourceId) {
        self.comes_up(at, resource);
        let report = Report::Notice("somebody removed an address; it is back".to_owned());
        self.later(at, NOTICED, Input::Report { resource, report });
    }

    fn is_wanted(&self, at: NodeId, resource: ResourceId) -> bool {
        let device = self.host(at).and_then(|host| host.devices.get(&resource));
        device.is_some_and(|device| device.wanted && device.doing.is_none())
    }

    pub(super) fn is_vip(&self, resource: ResourceId) -> bool {
        matches!(self.config.resource(resource).map(|resource| &resource.kind), Some(ResourceKind::Vip(_)))
    }
}

/// The lifetimes of addresses, and of processes that are the daemon's children.
impl World {
    /// Nobody refreshes the addresses of a host from now on.
    pub(super) fn stop_refreshing(&mut self, at: NodeId) {
        let timers = &self.config.timers;
        let (lifetime, refresh) = (timers.guard_lifetime, timers.guard_refresh);
        let now = self.now;
        for (resource, since) in self.addresses(at) {
            let age = u64::try_from(now.since(since).as_nanos()).unwrap_or(u64::MAX);
            let period = u64::try_from(refresh.as_nanos()).unwrap_or(u64::MAX).max(1);
            let last_refresh = now - Duration::from_nanos(age % period);
            let due = last_refresh + lifetime + self.random.up_to(self.noise.expiry);
            self.set_expiry(at, resource, Some(due));
            self.queue.push(due, Happening::Expiry { at, resource, due });
        }
    }

    /// The daemon's tasks go on after `still`: what is still there is refreshed, unless it should have gone by now: who
    /// owns an address that was not refreshed for so long is not for its task to say.
    pub(super) fn refresh_again(&mut self, at: NodeId, still: Duration) {
        let over = still >= self.config.timers.guard_lifetime;
        for (resource, _) in self.addresses(at) {
            self.set_expiry(at, resource, None);
            if over {
                self.goes_down(at, resource, KernelChange::Down(resource));
            }
        }
        let Some(host) = self.host(at) else { return };
        let wanted: Vec<ResourceId> = host.devices.keys().copied().filter(|id| self.is_wanted(at, *id)).collect();
        for resource in wanted {
            if !self.is_vip(resource) || self.owns(at, resource) {
                continue;
            }
            let report = Report::Failed("its lifetime in the kernel ran out".to_owned());
            self.later(at, NOTICED, Input::Report { resource, report });
        }
    }

    pub(super) fn expiry(&mut self, at: NodeId, resource: ResourceId, due: Instant) {
        let Some(kernel) = self.host(at).and_then(|host| host.awake()) else {
            return;
        };
        let is_over = kernel.up.get(&resource).is_some_and(|up| up.expires == Some(due) && due <= self.now);
        if is_over {
            self.goes_down(at, resource, KernelChange::Expired(resource));
        }
    }

    /// The children of a daemon die with it.
    pub(super) fn processes_die(&mut self, at: NodeId) {
        let Some(kernel) = self.host(at).and_then(|host| host.kernel.as_ref()) else {
            return;
        };
        let ids: Vec<ResourceId> = kernel.up.keys().copied().collect();
        for resource in ids {
            let kind = self.config.resource(resource).map(|resource| &resource.kind);
            if matches!(kind, Some(ResourceKind::Exec(_))) {
                self.goes_down(at, resource, KernelChange::Lost(resource));
            }
        }
    }

    fn addresses(&self, at: NodeId) -> Vec<(ResourceId, Instant)> {
        let Some(kernel) = self.host(at).and_then(|host| host.kernel.as_ref()) else {
            return Vec::new();
        };
        kernel.up.iter().filter(|(id, _)| self.is_vip(**id)).map(|(id, up)| (*id, up.since)).collect()
    }

    fn set_expiry(&mut self, at: NodeId, resource: ResourceId, expires: Option<Instant>) {
        let kernel = self.host_mut(at).and_then(|host| host.kernel.as_mut());
        if let Some(up) = kernel.and_then(|kernel| kernel.up.get_mut(&resource)) {
            up.expires = expires;
        }
    }
}
