//! The clusters the tests are about, written as an operator would write them.

use std::fmt::Write as _;

use avamgr_core::cluster::{NodeId, ResourceId};
use avamgr_core::config::{Config, parse};

/// A cluster in few words.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) nodes: u8,
    pub(crate) interval_ms: u64,
    /// A heartbeat path on the neutral network.
    pub(crate) neutral: bool,
    /// The first link runs over TIPC, with two bearers.
    pub(crate) tipc: bool,
    /// A majority of voters decides.
    pub(crate) lease: bool,
    /// One of them is a witness.
    pub(crate) witness: bool,
    /// Every node can be turned off from outside.
    pub(crate) fenced: bool,
    /// Every node has a watchdog, of so many seconds.
    pub(crate) watchdog: Option<u64>,
    /// A node that was fenced may take part again by itself.
    pub(crate) rejoin: bool,
    /// How long the ACTIVE node is given to shoot first, unless it is derived.
    pub(crate) fence_delay_ms: Option<u64>,
    /// etcd is the only one.
    pub(crate) etcd: bool,
    /// How long a lease lasts, unless it is derived.
    pub(crate) lease_ms: Option<u64>,
    pub(crate) groups: Vec<GroupShape>,
    pub(crate) standalone: bool,
    /// More lines of `[limits]`.
    pub(crate) limits: String,
    pub(crate) ready_check: bool,
}

/// A group in few words; its addresses come before its service unless `service_first`.
#[derive(Clone, Debug)]
pub(crate) struct GroupShape {
    pub(crate) vips: u8,
    pub(crate) service: bool,
    pub(crate) service_first: bool,
    pub(crate) failback: bool,
}

impl Default for GroupShape {
    fn default() -> Self {
        Self { vips: 1, service: true, service_first: false, failback: false }
    }
}

impl Default for Shape {
    /// Two nodes, two links, one group with an address and a service.
    fn default() -> Self {
        Self {
            nodes: 2,
            interval_ms: 100,
            neutral: false,
            tipc: false,
            lease: false,
            witness: false,
            fenced: false,
            watchdog: None,
            rejoin: false,
            fence_delay_ms: None,
            etcd: false,
            lease_ms: None,
            groups: vec![GroupShape::default()],
            standalone: false,
            limits: String::new(),
            ready_check: false,
        }
    }
}

/// Names of the groups, in order.
const GROUPS: [&str; 2] = ["dre", "db"];

impl Shape {
    /// The checked config.
    pub(crate) fn config(&self) -> Config {
        let text = self.text();
        parse(&text, "shape").unwrap_or_else(|errors| panic!("{errors}\n{text}"))
    }

    /// The address of each node in a net.
    fn addresses(&self, net: &str) -> String {
        let each = |node: u8| format!("n{node} = \"{net}.{node}\"");
        (1..=self.nodes).map(each).collect::<Vec<_>>().join(", ")
    }

    fn links(&self) -> String {
        let udp = |name: &str, net: &str| {
            let address = self.addresses(net);
            format!("[[link]]\nname = \"{name}\"\ninterface = \"{name}\"\naddress = {{ {address} }}\n")
        };
        let first = if self.tipc {
            let address = self.addresses("1.1");
            let bearers = "[\"primary\", \"primary2\"]";
            format!(
                "[[link]]\nname = \"primary\"\ntransport = \"tipc\"\nnode_address = {{ {address} }}\nbearers = {bearers}\n"
            )
        } else {
            udp("primary", "10.0.1")
        };
        first + &udp("secondary", "10.0.2")
    }

    /// The file.
    fn text(&self) -> String {
        let names: Vec<String> = (1..=self.nodes).map(|node| format!("\"n{node}\"")).collect();
        let mut text = format!("[cluster]\nname = \"story\"\nnodes = [{}]\n", names.join(", "));
        if self.lease {
            text += "authority = \"lease\"\n";
        }
        if self.standalone {
            text += "standalone = true\n";
        } else {
            // Ten intervals, but the arbitrator needs its time at any interval.
            let budget = (self.interval_ms * 10).max(200);
            let _ = writeln!(text, "failover_budget = \"{budget}ms\"");
            let _ = writeln!(text, "[timers]\nheartbeat_interval = \"{}ms\"", self.interval_ms);
            if let Some(millis) = self.lease_ms {
                let _ = writeln!(text, "lease_time = \"{millis}ms\"");
            }
            if let Some(millis) = self.fence_delay_ms {
                let _ = writeln!(text, "fence_delay = \"{millis}ms\"");
            }
            let _ = writeln!(text, "[limits]\n{}", self.limits);
            text += &self.links();
            if self.neutral || !(self.lease || self.etcd) {
                let _ = writeln!(text, "[arbitrator]\nping = [\"10.0.9.250\"]\ninterface = \"neutral\"");
            }
            if self.neutral {
                let _ = writeln!(text, "address = {{ {} }}", self.addresses("10.0.9"));
            }
            if self.etcd {
                let _ = writeln!(text, "[etcd]\nendpoints = \"http://10.0.8.250:2379\"");
            }
            if self.witness {
                let _ = writeln!(text, "[witness]\naddress = \"10.0.8.250\"");
            }
        }
        if self.fenced {
            let _ = writeln!(text, "[fencing]\nrejoin = \"{}\"", if self.rejoin { "auto" } else { "clear" });
            for name in (1..=self.nodes).map(|node| format!("n{node}")) {
                let _ = writeln!(text, "[[fence]]\nnode = \"{name}\"\nagent = \"/bin/fence\"\ntimeout = \"5s\"");
            }
        }
        if let Some(seconds) = self.watchdog {
            let _ = writeln!(text, "[watchdog]\ntimeout = \"{seconds}s\"");
        }
        for (index, group) in self.groups.iter().enumerate() {
            text += &group.text(index);
        }
        if self.ready_check {
            text += "[[ready]]\nname = \"cache\"\nprocess = \"memcached\"\n";
        }
        text
    }
}

impl GroupShape {
    fn text(&self, index: usize) -> String {
        let name = GROUPS[index];
        let failback = if self.failback { "auto" } else { "manual" };
        let mut text = format!("[[group]]\nname = \"{name}\"\nfailback = \"{failback}\"\n");
        let mut service = String::new();
        if self.service {
            let _ = writeln!(service, "[[group.resource]]\nname = \"{name}-svc\"\nexec = \"/usr/bin/{name}\"");
            let _ = writeln!(service, "restart = {{ max = 2, window = \"20s\", backoff_max = \"400ms\" }}");
            let _ = writeln!(service, "start_timeout = \"1s\"\nstop_timeout = \"500ms\"");
        }
        let mut vips = String::new();
        for vip in 1..=self.vips {
            let _ = writeln!(vips, "[[group.resource]]\nname = \"{name}-vip{vip}\"\ninterface = \"lan\"");
            let _ = writeln!(vips, "vip = [\"192.0.2.{}/24\"]", index * 100 + usize::from(vip));
            let _ = writeln!(vips, "start_timeout = \"1s\"\nstop_timeout = \"500ms\"");
        }
        text += &if self.service_first { service + &vips } else { vips + &service };
        text
    }
}

/// Every resource of a config.
pub(crate) fn all_resources(config: &Config) -> Vec<ResourceId> {
    config.group_ids().flat_map(|group| config.resource_ids(group).collect::<Vec<_>>()).collect()
}

/// Every ordered pair of two nodes.
pub(crate) fn pairs(config: &Config) -> Vec<(NodeId, NodeId)> {
    let others = |one: NodeId| config.node_ids().filter(move |other| *other != one).map(move |other| (one, other));
    config.node_ids().flat_map(others).collect()
}
