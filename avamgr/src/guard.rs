//! The kernel holds a copy of the lease: without a renewal in time the VIPs of a group go dark, whatever has become of us.
//!
//! A table of nftables drops everything that is from or for a VIP, on the interfaces that have VIPs, unless the group of
//! the VIP has time left in the kernel ([`ruleset`]). A group gets time by [`Handle::open`] when it becomes ACTIVE, more by
//! [`Handle::hold`] with each renewal of the lease, and none any more by [`Handle::close`]. It never has time beyond its
//! lease, and what is cut off for that is in [`State::bound`].
//!
//! * A renewal takes hold only while there is time left ([`kernel`]): one that was computed before we stood still opens
//!   nothing. What has lapsed stays dark until the owner of the lease opens it again.
//! * The kernel itself refuses a request that it comes to late: it would give too much time.
//! * Only the thread of this room ([`thread`]) waits for the kernel. Orders are left in a mailbox without waiting, and the
//!   latest one of each group counts.
//! * A table that somebody else has changed or removed lets everything pass. That is found with the next renewal, or within
//!   a second, and it is installed again.
//!
//! What it does not do: gate what comes in on interfaces that have no VIP, or over the loopback; and count the time for
//! which the machine is suspended, which the kernel's timeouts leave out.

mod kernel;
mod mailbox;
mod ruleset;
mod support;
mod thread;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use avamgr_core::cluster::{GroupId, NodeId};
use avamgr_core::config::{Config, IpNet, ResourceKind};
use avamgr_core::time::Instant;

use crate::netlink;
use crate::resources::vip::group::interface_name;
use kernel::Kernel;
pub use kernel::earliness;
use mailbox::Mailbox;
use ruleset::{Addresses, Ruleset};
pub use support::{Support, support};

/// What is guarded on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The name of the table; not used by anybody else.
    pub table: String,
    /// Interfaces that have VIPs.
    pub interfaces: BTreeSet<String>,
    /// Groups that have VIPs. No address is in two of them.
    pub groups: BTreeMap<GroupId, Vips>,
}

/// The VIPs of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vips {
    /// The name of the group, for people.
    pub name: String,
    /// Single addresses, thousands if need be.
    pub addresses: Vec<IpAddr>,
    /// Whole prefixes, a few: each costs every packet a comparison.
    pub ranges: Vec<IpNet>,
}

impl Plan {
    /// All VIPs of a config, on the interfaces they have on this node. The table is called after the cluster.
    pub fn of(config: &Config, node: NodeId) -> Self {
        let mut plan = Self { table: format!("avamgr_{}", config.cluster), ..Self::default() };
        for (group, id) in config.groups.iter().zip((0..=u8::MAX).map(GroupId)) {
            for resource in &group.resources {
                match &resource.kind {
                    ResourceKind::Vip(vip) => {
                        plan.interfaces.insert(interface_name(vip, node));
                        let vips = plan.groups.entry(id).or_default();
                        vips.name.clone_from(&group.name);
                        vips.addresses.extend(vip.addresses.iter().map(|net| net.address));
                        vips.ranges.extend(&vip.ranges);
                    }
                    ResourceKind::Exec(_) | ResourceKind::Lsb(_) | ResourceKind::Systemd(_) => {}
                }
            }
        }
        plan
    }

    fn ruleset(&self, egress: bool) -> Ruleset {
        let group = |(group, vips): (&GroupId, &Vips)| {
            let (v4, v6) = vips.addresses.iter().partition(|address| address.is_ipv4());
            Addresses { number: number(*group), v4, v6, ranges: vips.ranges.clone() }
        };
        Ruleset { table: self.table.clone(), egress, groups: self.groups.iter().map(group).collect() }
    }
}

/// What stands for a group in the kernel. Zero stands for none.
fn number(group: GroupId) -> u32 {
    u32::from(group.0) + 1
}

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nothing from or for its VIPs passes; nobody has asked for more.
    Closed,
    /// It is about to be opened.
    Opening,
    /// Its VIPs can be reached.
    Open,
    /// It was not renewed in time, and nothing passes until it is opened again.
    Lapsed,
}

/// A group as the kernel has it, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What guards it: `nftables`.
    pub kind: &'static str,
    /// Where it stands.
    pub gate: Gate,
    /// The end of the lease that the kernel knows; `None` unless it is open.
    pub until: Option<Instant>,
    /// What is promised: when it goes dark without us.
    pub bound: Arc<str>,
    /// Why the kernel does not do what it was last told; tried again all the time.
    pub error: Option<String>,
}

/// The room could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This host cannot hold a lease.
    #[error("the kernel cannot guard the VIPs: {0}")]
    Unsupported(String),
    /// The table could not be installed or deleted.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// The system has no thread left.
    #[error("cannot start the thread of the guard: {0}")]
    Thread(#[from] io::Error),
}

/// The table and the thread that keeps it. Dropped without [`Self::end`], the table stays as it is and the VIPs go dark with
/// their leases.
#[derive(Debug)]
pub struct Guard {
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<Result<(), netlink::Error>>>,
}

impl Guard {
    /// Installs the table in the network namespace of this thread, anew and with all groups closed, and starts the thread.
    /// Takes milliseconds for thousands of addresses.
    ///
    /// `held` are the groups that pass already, by the grace of the program before, and until when they may: their VIPs go on to
    /// be reached without a gap.
    ///
    /// `realtime` asks for the same scheduling as the heartbeats have. `notice` is told, on that thread, what people should
    /// know: who has meddled, what does not work and works again. It must not wait.
    ///
    /// # Errors
    /// When this host has not got what it takes ([`support`]), or refuses.
    pub fn start(
        plan: &Plan,
        held: &BTreeMap<GroupId, Instant>,
        realtime: bool,
        notice: impl FnMut(String) + Send + 'static,
    ) -> Result<Self, Error> {
        let Support { egress } = support().map_err(Error::Unsupported)?;
        let interfaces: Vec<_> = plan.interfaces.iter().cloned().collect();
        let held: BTreeMap<GroupId, Instant> =
            held.iter().filter(|(group, _)| plan.groups.contains_key(group)).map(|(g, until)| (*g, *until)).collect();
        let numbers: Vec<(u32, Instant)> = held.iter().map(|(group, until)| (number(*group), *until)).collect();
        let (kernel, taken) = Kernel::install(plan.ruleset(egress), &interfaces, &numbers)?;
        let held = if taken { held } else { BTreeMap::new() };
        let mailbox = Arc::new(Mailbox::new(plan.groups.keys().copied(), &held, promise(egress).into()));
        let served = Arc::clone(&mailbox);
        let names = plan.groups.iter().map(|(group, vips)| (*group, vips.name.clone())).collect();
        let thread = thread::spawn(kernel, interfaces, names, served, realtime, Box::new(notice))?;
        Ok(Self { mailbox, thread: Some(thread) })
    }

    /// For those who give orders and look.
    pub fn handle(&self) -> Handle {
        Handle { mailbox: Arc::clone(&self.mailbox) }
    }

    /// The orderly end: the table is deleted. Everything passes from then on, so the VIPs must be gone.
    ///
    /// # Errors
    /// When the table could not be deleted.
    pub fn end(mut self) -> Result<(), Error> {
        self.mailbox.end(true);
        Ok(self.join()?)
    }

    fn join(&mut self) -> Result<(), netlink::Error> {
        let ended = self.thread.take().map(JoinHandle::join);
        // A panic has been reported by its own hook.
        ended.and_then(Result::ok).unwrap_or(Ok(()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.mailbox.end(false);
        let _ = self.join();
    }
}

/// Removes what an earlier daemon has left of a guard, where there is one.
///
/// # Errors
/// When the kernel refuses. A kernel without nftables has none.
pub fn clear(plan: &Plan) -> Result<(), Error> {
    Ok(kernel::clear(&plan.ruleset(true))?)
}

/// The way to the guard. Orders of a group come from one place (the loop that owns its lease) and never wait; groups without
/// VIPs are always open.
#[derive(Clone, Debug)]
pub struct Handle {
    mailbox: Arc<Mailbox>,
}

impl Handle {
    /// Lets a group pass until `until` (`CLOCK_BOOTTIME`) at most, also after a lapse.
    pub fn open(&self, group: GroupId, until: Instant) {
        self.mailbox.open(group, until);
    }

    /// Renews: lets a group pass until `until` at most, if it passes. Tells where it stands, as far as it is known before
    /// this renewal: [`Gate::Lapsed`] is for the caller to decide about.
    pub fn hold(&self, group: GroupId, until: Instant) -> Gate {
        self.mailbox.hold(group, until);
        self.gate(group)
    }

    /// Lets a group not pass any more.
    pub fn close(&self, group: GroupId) {
        self.mailbox.close(group);
    }

    /// Waits until the VIPs of a group can be reached, as ordered by the last [`Self::open`] or one to come. May be dropped
    /// while it waits.
    pub async fn opened(&self, group: GroupId) {
        let mut changes = self.mailbox.changes();
        while self.gate(group) != Gate::Open {
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Where a group stands. Never waits.
    pub fn gate(&self, group: GroupId) -> Gate {
        self.mailbox.told(group).map_or(Gate::Open, |told| told.gate)
    }

    /// A group as the kernel has it; `None` where it has no VIPs.
    pub fn state(&self, group: GroupId) -> Option<State> {
        let told = self.mailbox.told(group)?;
        Some(State {
            kind: "nftables",
            gate: told.gate,
            until: (told.gate == Gate::Open).then_some(told.until),
            bound: Arc::clone(&self.mailbox.bound),
            error: self.mailbox.error(),
        })
    }

    /// What is promised, for all groups.
    pub fn bound(&self) -> &str {
        &self.mailbox.bound
    }
}

fn promise(egress: bool) -> String {
    let early = earliness().as_millis();
    let sent = if egress { "" } else { "; only what is received is stopped, what is sent needs Linux 5.16" };
    format!("nftables: dark at the end of the lease, at most {early} ms early{sent}")
}
