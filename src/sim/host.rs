//! One machine: its kernel, its disk, its daemon and what the daemon's resources do when ordered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::fence::FenceDevice;
use super::queue::{Key, Probe};
use crate::cluster::{GroupId, NodeId, ResourceId};
use crate::config::Config;
use crate::node::{Durable, Input, Node, Order};
use crate::time::Instant;

/// Frames a stopped daemon's sockets keep for it; the kernel drops what comes after.
const SOCKET_BUFFER_FRAMES: usize = 256;

/// How a start or stop goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Conduct {
    /// As it should.
    Well,
    /// It fails at once when ordered.
    Fails,
    /// It never ends by itself; the daemon gives up at its timeout.
    Hangs,
}

/// What a resource does on one host when ordered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Behaviour {
    /// From the order to being up and ready.
    pub start_time: Duration,
    /// From the order to being down.
    pub stop_time: Duration,
    /// How a start goes.
    pub start: Conduct,
    /// How a stop goes.
    pub stop: Conduct,
    /// Why it could not be started here.
    pub unable: Option<String>,
}

/// A resource's task in the daemon, and the thing it looks after.
#[derive(Clone, Debug, Hash)]
pub(super) struct Device {
    pub(super) behaviour: Behaviour,
    /// The order under way.
    pub(super) doing: Option<Order>,
    /// Number of the last order: a new one replaces the one under way.
    pub(super) order: u64,
    /// When it has said something last, and when that gets to the daemon.
    pub(super) last_word: (Instant, Instant),
    /// The last order was to be up: somebody else's removal is repaired.
    pub(super) wanted: bool,
}

/// Something that is up in a kernel: an address, or a process.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Up {
    pub(super) since: Instant,
    /// When the kernel removes it by itself; `None` while a daemon refreshes it, and for processes.
    pub(super) expires: Option<Instant>,
    /// Somebody else brought it up.
    pub(super) by_hand: bool,
}

/// What is there as long as the machine has power.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Kernel {
    pub(super) up: BTreeMap<ResourceId, Up>,
    /// Until when it lets the addresses of a group answer, on the host's clock.
    pub(super) rights: BTreeMap<GroupId, Instant>,
    /// When its watchdog, which is not fed, resets it.
    pub(super) reset: Option<Instant>,
    /// The whole machine stands still (a virtual machine on hold) until then.
    pub(super) frozen: Option<Instant>,
}

/// What survives everything.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Disk {
    pub(super) durable: Durable,
    pub(super) full: bool,
    pub(super) delay: Duration,
    /// Orders to write that are not on the disk yet.
    pub(super) writing: BTreeMap<u64, Durable>,
    /// When the last of them will be.
    pub(super) busy_until: Instant,
}

/// Something that waits for a daemon that stands still.
#[derive(Clone, Debug, Hash)]
pub(super) enum Late {
    Input(Input),
    Step { resource: ResourceId, order: u64 },
    Question(Probe),
}

/// One run of the daemon.
#[derive(Clone, Debug)]
pub(super) struct Daemon {
    pub(super) node: Node,
    pub(super) started: Instant,
    /// It stands still until then.
    pub(super) paused: Option<Instant>,
    /// When it began to stand still.
    pub(super) paused_since: Instant,
    pub(super) late: Vec<Late>,
    /// Its program is being replaced: what the next one gets.
    pub(super) saved: Option<Vec<u8>>,
    /// The entry in the queue for its deadline.
    pub(super) deadline: Option<Key>,
}

impl Daemon {
    pub(super) fn new(node: Node, started: Instant) -> Self {
        Self { node, started, paused: None, paused_since: started, late: Vec::new(), saved: None, deadline: None }
    }

    /// Keeps something for later; frames only as long as the socket has room.
    pub(super) fn keep(&mut self, late: Late) {
        let is_frame = |late: &Late| matches!(late, Late::Input(Input::Heartbeat { .. }));
        if is_frame(&late) && self.late.iter().filter(|late| is_frame(late)).count() >= SOCKET_BUFFER_FRAMES {
            return;
        }
        self.late.push(late);
    }
}

/// One machine.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) id: NodeId,
    /// The config file as it lies here.
    pub(super) config: Arc<Config>,
    pub(super) clock: Clock,
    pub(super) disk: Disk,
    pub(super) devices: BTreeMap<ResourceId, Device>,
    /// `None` without power.
    pub(super) kernel: Option<Kernel>,
    /// `None` while no daemon runs.
    pub(super) daemon: Option<Daemon>,
    /// How long the next program takes to begin.
    pub(super) exec_time: Duration,
    /// Number of the last run of the daemon: what an older run still had under way is void.
    pub(super) run: u32,
    /// The same of the ready checks.
    pub(super) checks_last_word: (Instant, Instant),
    /// The same of the watch over the carriers.
    pub(super) carriers_last_word: (Instant, Instant),
    /// What turns this machine off from outside.
    pub(super) fence_device: FenceDevice,
    /// What the ready checks see.
    pub(super) ready: Vec<Result<(), String>>,
}

impl Host {
    /// The kernel, unless the machine is off or stands still.
    pub(super) fn awake(&self) -> Option<&Kernel> {
        self.kernel.as_ref().filter(|kernel| kernel.frozen.is_none())
    }

    pub(super) fn owns(&self, resource: ResourceId) -> bool {
        self.kernel.as_ref().is_some_and(|kernel| kernel.up.contains_key(&resource))
    }

    /// The daemon of this run, if it is still the one.
    pub(super) fn daemon_of(&mut self, run: u32) -> Option<&mut Daemon> {
        if self.run == run { self.daemon.as_mut() } else { None }
    }
}
