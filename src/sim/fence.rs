//! The devices that turn a host off from outside.

use std::time::Duration;

use super::queue::Happening;
use super::{Conduct, World};
use crate::cluster::NodeId;
use crate::node::Input;
use crate::node::action::FenceId;

/// What the device of a host does when it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FenceDevice {
    /// Whether it works; one that hangs is given up by its caller.
    pub conduct: Conduct,
    /// It says that it has worked, and has not.
    pub lies: bool,
    /// How long it takes.
    pub takes: Duration,
}

impl FenceDevice {
    /// As it should be.
    pub const GOOD: Self = Self { conduct: Conduct::Well, lies: false, takes: Duration::from_millis(300) };
}

/// How long a call may take.
const GIVEN_UP: Duration = Duration::from_secs(5);

impl World {
    /// What the device of a host does from now on.
    pub fn set_fence_device(&mut self, node: NodeId, device: FenceDevice) {
        self.order(Some(node), &format!("its fence device: {device:?}"));
        if let Some(host) = self.host_mut(node) {
            host.fence_device = device;
        }
    }

    /// A daemon uses the device of another host.
    pub(super) fn use_fence_device(&mut self, by: NodeId, fence: FenceId, target: NodeId) {
        let Some(device) = self.host(target).map(|host| host.fence_device) else { return };
        let takes = if device.conduct == Conduct::Hangs { GIVEN_UP } else { device.takes };
        let run = self.host(by).map_or(0, |host| host.run);
        self.queue.push(self.now + takes, Happening::Fenced { by, run, fence, target });
    }

    /// It has done its work or not; whether its caller still lives does not matter to it.
    pub(super) fn fence_device_done(&mut self, by: NodeId, run: u32, fence: FenceId, target: NodeId) {
        let Some(device) = self.host(target).map(|host| host.fence_device) else { return };
        let result = match (device.conduct, device.lies) {
            (Conduct::Well, false) => {
                self.power_lost(target);
                Ok("its device says so".to_owned())
            }
            (Conduct::Well, true) => Ok("its device says so".to_owned()),
            (Conduct::Fails, _) => Err("its device refuses".to_owned()),
            (Conduct::Hangs, _) => Err("its device does not answer".to_owned()),
        };
        if self.host_mut(by).is_some_and(|host| host.daemon_of(run).is_some()) {
            self.deliver(by, Input::Fenced { fence, result });
        }
    }
}
