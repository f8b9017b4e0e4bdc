//! The watchdog of a host. A daemon that dies or stands still is played without it: what the kernel keeps is looked at there.

use super::World;
use super::queue::Happening;
use crate::cluster::NodeId;
use crate::time::Instant;

impl World {
    /// After each round of a daemon: fed, or left to run out.
    pub(super) fn feed_watchdog(&mut self, at: NodeId) {
        let Some(host) = self.hosts.get_mut(at.index()) else { return };
        let (Some(watchdog), Some(daemon)) = (&host.config.watchdog, &host.daemon) else { return };
        let (due, fed) = (self.now + watchdog.timeout, daemon.node.feeds_watchdog());
        let Some(kernel) = &mut host.kernel else { return };
        if fed {
            kernel.reset = None;
        } else if kernel.reset.is_none() {
            kernel.reset = Some(due);
            self.queue.push(due, Happening::Reset { at, due });
        }
    }

    /// Its time is over, unless it was fed again: the machine is as after a loss of power.
    pub(super) fn watchdog_is_due(&mut self, at: NodeId, due: Instant) {
        let kernel = self.host(at).and_then(|host| host.kernel.as_ref());
        if kernel.is_some_and(|kernel| kernel.reset == Some(due)) {
            self.power_lost(at);
        }
    }
}
