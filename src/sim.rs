//! THE SIMULATOR: several nodes, virtual time, one event queue, one seed.
//!
//! A [`World`] is some hosts, each with a kernel (addresses and processes, which outlive the daemon), a disk, a clock that
//! is a little wrong, and a daemon that is a real [`Node`]; and a network between them that loses, delays, repeats
//! and reorders frames, in each direction on its own. Whoever tells the story gives orders ([`World::cut`],
//! [`World::power_off`], …), lets time pass and looks at what happened through [`Note`]s.
//!
//! Nothing in here decides anything: if two nodes own one address, the decision has put it there. It never reads a
//! clock or other chance than its seed, so a run can be repeated and searched.

mod clock;
mod digest;
mod driver;
mod exec;
mod fence;
mod host;
mod log;
mod network;
mod note;
mod orders;
mod phrase;
mod queue;
mod random;
mod resources;
mod watchdog;
mod witness;

use std::sync::Arc;
use std::time::Duration;

pub use fence::FenceDevice;
pub use host::{Behaviour, Conduct};
pub use log::{Detail, Log};
pub use network::{Cable, Quality};
pub use note::{DaemonChange, KernelChange, Note, What};
pub use random::Random;

use crate::cluster::{GroupId, LinkId, NodeId, ResourceId, Role, Term};
use crate::config::{Config, LinkKind, ResourceKind};
use crate::node::{Durable, Input, Node};
use crate::time::Instant;
use host::{Device, Disk, Host};
use network::Network;
use queue::{Happening, Queue};
use witness::Site;

/// How exact everything is that is not a heartbeat link. All zero in stories, so that they read well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// A task's word reaches the node up to this much later.
    pub report: Duration,
    /// A deadline is met up to this much late.
    pub timer: Duration,
    /// A kernel removes an address up to this much after its lifetime is over.
    pub expiry: Duration,
    /// An answer of the arbitrator takes up to this much longer.
    pub arbitrator: Duration,
    /// Questions to the arbitrator that get lost, in parts per million.
    pub arbitrator_loss_ppm: u32,
}

/// How a world is built.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The config of every node.
    pub config: Config,
    /// Seed of everything that is left to chance.
    pub seed: u64,
    /// How the dedicated links are built; the neutral path always has a switch.
    pub cable: Cable,
    /// How exact the rest is.
    pub noise: Noise,
    /// Rate error of each host's clock, then of the witness's; 0 where the list ends.
    pub clock_rates_ppm: Vec<i32>,
}

impl Plan {
    /// A quiet world with exact clocks and direct cables.
    pub fn new(config: Config) -> Self {
        Self { config, seed: 1, cable: Cable::Direct, noise: Noise::default(), clock_rates_ppm: Vec::new() }
    }
}

/// Some hosts, the network between them, and the time.
#[derive(Clone, Debug)]
pub struct World {
    config: Arc<Config>,
    now: Instant,
    random: Random,
    noise: Noise,
    queue: Queue,
    network: Network,
    hosts: Vec<Host>,
    site: Option<Site>,
    notes: Vec<Note>,
    requests: u64,
}

impl World {
    /// A world in which every machine is off. [`World::boot_all`] starts it.
    pub fn new(plan: Plan) -> Self {
        let config = Arc::new(plan.config);
        let cables: Vec<Cable> = config
            .links
            .iter()
            .map(|link| match link.kind {
                LinkKind::Dedicated if config.nodes.len() == 2 => plan.cable,
                LinkKind::Dedicated | LinkKind::Neutral => Cable::Switched,
            })
            .collect();
        let rate = |node: NodeId| plan.clock_rates_ppm.get(node.index()).copied().unwrap_or(0);
        let witness_rate = plan.clock_rates_ppm.get(config.nodes.len()).copied().unwrap_or(0);
        let site = config.has_voter_outside().then(|| Site::new(config.nodes.len(), witness_rate));
        let hosts = config.node_ids().map(|node| new_host(&config, node, rate(node))).collect();
        Self {
            network: Network::new(config.nodes.len(), &cables),
            hosts,
            site,
            now: Instant::BOOT,
            random: Random::new(plan.seed),
            noise: plan.noise,
            queue: Queue::default(),
            notes: Vec::new(),
            requests: 0,
            config,
        }
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        self.run_watched(time, &mut |_, _| {});
    }

    /// Lets time pass; `watch` is called after everything that happened, with what was seen of it.
    pub fn run_watched(&mut self, time: Duration, watch: &mut dyn FnMut(&Self, &[Note])) {
        let until = self.now + time;
        // Orders given since the last step have their notes too.
        self.show(watch);
        while self.queue.next().is_some_and(|at| at <= until) {
            self.step();
            self.show(watch);
        }
        self.now = until;
    }

    /// The world's time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The config the world was planned with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Chance, for a teller who wants to share the seed.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    fn show(&mut self, watch: &mut dyn FnMut(&Self, &[Note])) {
        let mut notes = std::mem::take(&mut self.notes);
        watch(self, &notes);
        // The room is used again.
        notes.clear();
        self.notes = notes;
    }

    /// Lets the next thing happen.
    fn step(&mut self) {
        let Some((at, happening)) = self.queue.pop() else {
            return;
        };
        self.now = at;
        match happening {
            Happening::Frame { link, heartbeat } => self.frame_arrives(link, heartbeat),
            Happening::Refused { link, at, from } => self.deliver(at, Input::Refused { link, from }),
            Happening::Input { at, run, input } => {
                if self.host(at).is_some_and(|host| host.run == run) {
                    self.deliver(at, input);
                }
            }
            Happening::Step { at, run, resource, order } => self.resource_steps(at, run, resource, order),
            Happening::Question { at, run, probe } => self.question(at, run, probe),
            Happening::Written { at, run, order } => self.written(at, run, order),
            Happening::Deadline { at, run } => self.deadline(at, run),
            Happening::Expiry { at, resource, due } => self.expiry(at, resource, due),
            Happening::Fenced { by, run, fence, target } => self.fence_device_done(by, run, fence, target),
            Happening::Reset { at, due } => self.watchdog_is_due(at, due),
            Happening::Resume { at, run, due } => self.resume(at, run, due),
            Happening::Thaw { at, due } => self.thaw(at, due),
        }
    }

    fn host(&self, node: NodeId) -> Option<&Host> {
        self.hosts.get(node.index())
    }

    fn host_mut(&mut self, node: NodeId) -> Option<&mut Host> {
        self.hosts.get_mut(node.index())
    }

    fn note(&mut self, host: Option<NodeId>, what: What) {
        self.notes.push(Note { at: self.now, host, what });
    }
}

/// What can be asked of a world.
impl World {
    /// The decision running on a host, if one is.
    pub fn node(&self, node: NodeId) -> Option<&Node> {
        Some(&self.host(node)?.daemon.as_ref()?.node)
    }

    /// What a host's own clock shows.
    pub fn local(&self, node: NodeId) -> Instant {
        self.host(node).map_or(Instant::BOOT, |host| host.clock.local(self.now))
    }

    /// The world's time at which a host's own clock shows this.
    pub fn world_time(&self, node: NodeId, local: Instant) -> Instant {
        self.host(node).map_or(Instant::BOOT, |host| host.clock.world(local))
    }

    /// The role of a group on a host; `None` while no daemon runs there.
    pub fn role(&self, node: NodeId, group: GroupId) -> Option<Role> {
        self.node(node).map(|node| node.role(group))
    }

    /// The term a host's daemon has for a group.
    pub fn term(&self, node: NodeId, group: GroupId) -> Option<Term> {
        self.node(node).map(|node| node.term(group))
    }

    /// The nodes on which a group is ACTIVE.
    pub fn active_nodes(&self, group: GroupId) -> Vec<NodeId> {
        self.config.node_ids().filter(|node| self.role(*node, group) == Some(Role::Active)).collect()
    }

    /// Whether a host's kernel has the address, or the process runs there, whatever its daemon thinks.
    pub fn owns(&self, node: NodeId, resource: ResourceId) -> bool {
        self.host(node).is_some_and(|host| host.owns(resource))
    }

    /// Whether a host has the address and its kernel lets it answer.
    pub fn answers(&self, node: NodeId, resource: ResourceId) -> bool {
        let guarded = self.config.leases() && self.is_vip(resource);
        let open = || self.right_until(node, resource.group).is_some_and(|until| self.now < until);
        self.owns(node, resource) && (!guarded || open())
    }

    /// The same, if somebody else brought it up.
    pub fn is_by_hand(&self, node: NodeId, resource: ResourceId) -> bool {
        let kernel = self.host(node).and_then(|host| host.kernel.as_ref());
        kernel.and_then(|kernel| kernel.up.get(&resource)).is_some_and(|up| up.by_hand)
    }

    /// Whether a host has power and does not stand still as a whole.
    pub fn is_awake(&self, node: NodeId) -> bool {
        self.host(node).is_some_and(|host| host.awake().is_some())
    }

    /// Whether a host has power.
    pub fn is_on(&self, node: NodeId) -> bool {
        self.host(node).is_some_and(|host| host.kernel.is_some())
    }

    /// Whether a daemon runs on a host and does not stand still.
    pub fn is_running(&self, node: NodeId) -> bool {
        self.host(node).and_then(|host| host.daemon.as_ref()).is_some_and(|daemon| daemon.paused.is_none())
    }

    /// When the daemon of a host was started.
    pub fn daemon_started(&self, node: NodeId) -> Option<Instant> {
        Some(self.host(node)?.daemon.as_ref()?.started)
    }

    /// What is on a host's disk.
    pub fn durable(&self, node: NodeId) -> Option<&Durable> {
        Some(&self.host(node)?.disk.durable)
    }

    /// What a resource does on a host when ordered.
    pub fn behaviour(&self, node: NodeId, resource: ResourceId) -> Option<&Behaviour> {
        Some(&self.host(node)?.devices.get(&resource)?.behaviour)
    }

    /// Whether a frame sent now would get to its receiver, luck aside.
    pub fn link_open(&self, link: LinkId, from: NodeId, to: NodeId) -> bool {
        self.network.passes(link, from, to, &|host| self.is_on(host))
    }

    /// The quality of one direction of a link.
    pub fn quality(&self, link: LinkId, from: NodeId, to: NodeId) -> Quality {
        self.network.quality(link, from, to)
    }

    /// Whether two hosts see each other on the service network.
    pub fn lan_open(&self, one: NodeId, other: NodeId) -> bool {
        self.network.lan_open(one, other)
    }

    /// Whether the arbitrator answers a host.
    pub fn arbitrator_open(&self, node: NodeId) -> bool {
        self.network.arbitrator_open(node) && self.is_on(node)
    }
}

fn new_host(config: &Arc<Config>, node: NodeId, rate_ppm: i32) -> Host {
    let all = config.group_ids().flat_map(|group| config.resource_ids(group).collect::<Vec<_>>());
    Host {
        id: node,
        config: Arc::clone(config),
        clock: clock::Clock::new(rate_ppm),
        disk: Disk { delay: Duration::from_millis(2), ..Disk::default() },
        devices: all.map(|id| (id, new_device(config, id))).collect(),
        kernel: None,
        daemon: None,
        exec_time: Duration::from_millis(20),
        run: 0,
        checks_last_word: (Instant::BOOT, Instant::BOOT),
        carriers_last_word: (Instant::BOOT, Instant::BOOT),
        fence_device: FenceDevice::GOOD,
        ready: vec![Ok(()); config.ready.len()],
    }
}

fn new_device(config: &Config, id: ResourceId) -> Device {
    let is_vip = matches!(config.resource(id).map(|resource| &resource.kind), Some(ResourceKind::Vip(_)));
    let millis = if is_vip { 1 } else { 20 };
    Device {
        behaviour: Behaviour {
            start_time: Duration::from_millis(millis),
            stop_time: Duration::from_millis(millis),
            start: Conduct::Well,
            stop: Conduct::Well,
            unable: None,
        },
        doing: None,
        order: 0,
        last_word: (Instant::BOOT, Instant::BOOT),
        wanted: false,
    }
}
