//! The bed of a story: nodes with links between them, and what must be so at its end.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use avamgr::clock;
use avamgr::keys;
use avamgr_core::courier::KeptStatus;
use avamgr_core::time::Instant;
use avamgr_lab::{Cidr, HostKind, HostPlan, Lab, NetworkPlan, NicPlan, Plan, Wiring};

use crate::ledger::Ledger;
use crate::node::Node;
use crate::seats::{self, Seats};
use crate::tree::{Thing, differences, digest};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// What a story needs.
pub(crate) struct Setup {
    pub(crate) nodes: usize,
    pub(crate) links: usize,
    /// To whom the rules belong.
    pub(crate) owner: Option<u32>,
    /// Where rules and state are in each of them.
    pub(crate) disk: Option<PathBuf>,
    /// More of the config's `[rules]`.
    pub(crate) rules: String,
    /// It measures a time: nothing else may run.
    pub(crate) alone: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { nodes: 2, links: 1, owner: None, disk: None, rules: String::new(), alone: false }
    }
}

/// Nodes, links, and what was written.
pub(crate) struct Bed {
    pub(crate) nodes: Vec<Node>,
    pub(crate) ledger: Ledger,
    pub(crate) lab: Lab,
    _seats: Seats,
}

/// The link of a number, as the lab names it.
pub(crate) fn link(number: usize) -> String {
    format!("hb{}", number + 1)
}

/// The address of a node on a link.
pub(crate) fn address(link: usize, node: usize) -> String {
    format!("10.77.{}.{}", link + 1, node + 1)
}

impl Setup {
    /// The nodes with their configs; no program runs.
    pub(crate) fn make(self) -> Bed {
        let seats = if self.alone { seats::all() } else { seats::one() };
        let lab = Lab::start(self.plan()).unwrap();
        let nodes: Vec<Node> =
            (0..self.nodes).map(|node| Node::new(lab.host(NAMES[node]).unwrap(), self.disk.clone())).collect();
        let key = lab.scratch().join("key");
        keys::generate(&key).unwrap();
        for node in &nodes {
            fs::write(node.config(), self.config(node)).unwrap();
            fs::copy(&key, node.keys()).unwrap();
        }
        Bed { nodes, ledger: Ledger::default(), lab, _seats: seats }
    }

    /// Runs on every node.
    pub(crate) fn start(self) -> Bed {
        let owner = self.owner;
        let bed = self.make();
        for node in &bed.nodes {
            node.prepare(owner);
            node.start();
        }
        bed.wait_reachable();
        bed
    }

    fn plan(&self) -> Plan {
        let nic = |link_number: usize, node: usize| NicPlan {
            name: link(link_number),
            network: link(link_number),
            addresses: vec![format!("{}/24", address(link_number, node)).parse::<Cidr>().unwrap()],
            on_link: Vec::new(),
        };
        let host = |node: usize| HostPlan {
            name: NAMES[node].to_owned(),
            // Nobody watches addresses here.
            kind: HostKind::Guest,
            nics: (0..self.links).map(|link| nic(link, node)).collect(),
            sysctls: Vec::new(),
            own_syslog: false,
        };
        let wiring = if self.nodes == 2 { Wiring::Direct } else { Wiring::Switched };
        let networks = (0..self.links).map(|number| NetworkPlan { name: link(number), wiring }).collect();
        Plan { networks, hosts: (0..self.nodes).map(host).collect() }
    }

    fn config(&self, node: &Node) -> String {
        let names: Vec<String> = NAMES[..self.nodes].iter().map(|name| format!("{name:?}")).collect();
        let mut text = format!("[cluster]\nname = \"faults\"\nnodes = [{}]\n", names.join(", "));
        for number in 0..self.links {
            let each = (0..self.nodes).map(|node| format!("{} = {:?}", NAMES[node], address(number, node)));
            let (name, addresses) = (link(number), each.collect::<Vec<_>>().join(", "));
            text += &format!("[[link]]\nname = \"{name}\"\ninterface = \"{name}\"\naddress = {{ {addresses} }}\n");
        }
        text += &format!(
            "[rules]\ndirectories = {{ re = {:?} }}\nstate_dir = {:?}\nsocket = {:?}\n{}\n[daemon]\nkey_file = {:?}\nsocket = {:?}\n",
            node.rules(),
            node.state(),
            node.socket(),
            self.rules,
            node.keys(),
            node.daemon_socket(),
        );
        text
    }
}

impl Bed {
    pub(crate) fn wait_reachable(&self) {
        for node in &self.nodes {
            node.wait_status("every node to answer", |status| status.peers.iter().all(|peer| peer.reachable));
        }
    }

    /// Writes a file of a node in place, and takes note of its content.
    pub(crate) fn write(&self, node: usize, way: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let (way, content) = (way.as_ref(), content.as_ref());
        let path = self.nodes[node].path(way);
        self.nodes[node].visit(|| fs::write(&path, content));
        self.ledger.add(content, format!("{way:?} of {}: {}", self.nodes[node].name, words(content)));
    }

    /// Writes it beside, and renames it.
    pub(crate) fn save(&self, node: usize, way: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let (way, content) = (way.as_ref(), content.as_ref());
        let path = self.nodes[node].path(way);
        let mut beside = path.clone().into_os_string();
        beside.push(".new");
        self.nodes[node].visit(|| fs::write(&beside, content).and_then(|()| fs::rename(&beside, &path)));
        self.ledger.add(content, format!("{way:?} saved on {}: {}", self.nodes[node].name, words(content)));
    }

    fn differences(&self) -> Vec<String> {
        let first = self.nodes[0].snapshot();
        self.nodes[1..].iter().flat_map(|node| differences(&first, &node.snapshot())).collect()
    }

    /// Waits until all trees are the same; how long that took.
    pub(crate) fn wait_identical(&self, limit: Duration) -> Duration {
        let begin = clock::now();
        loop {
            let looked = clock::now();
            let differences = self.differences();
            if differences.is_empty() {
                return looked.since(begin);
            }
            self.check(begin, limit, &differences);
            // What is waited for needs the machine too.
            thread::sleep((clock::now().since(looked) * 2).max(Duration::from_millis(5)));
        }
    }

    fn check(&self, begin: Instant, limit: Duration, differences: &[String]) {
        if clock::now().since(begin) < limit {
            return;
        }
        let logs: String =
            self.nodes.iter().map(|it| format!("--- {}\n{}\n{}\n", it.name, it.facts(), it.log())).collect();
        panic!("after {limit:?} the trees are not the same:\n{}\n{logs}", differences.join("\n"));
    }

    /// Waits until all trees are the same and nobody has anything left to do.
    pub(crate) fn wait_settled(&self, limit: Duration) {
        let begin = clock::now();
        loop {
            self.wait_identical(limit.saturating_sub(clock::now().since(begin)));
            let quiet = self.nodes.iter().all(|node| {
                let is_done = |peer: &avamgr_core::courier::PeerStatus| peer.reachable && peer.owed == 0;
                node.status().is_some_and(|it| it.unsettled == 0 && it.peers.iter().all(is_done))
            });
            if quiet && self.differences().is_empty() {
                return;
            }
            self.check(begin, limit, &["somebody has something left to do".to_owned()]);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything is the same, nothing is lost, and every program runs. The conflicts of all nodes.
    pub(crate) fn finish(&self, limit: Duration) -> Vec<KeptStatus> {
        self.wait_settled(limit);
        let conflicts = self.check_lost();
        for node in &self.nodes {
            assert!(node.is_alive() && !node.log().contains("panicked"), "{}", node.log());
        }
        conflicts
    }

    fn check_lost(&self) -> Vec<KeptStatus> {
        let mut found = BTreeSet::new();
        let mut conflicts = Vec::new();
        for node in &self.nodes {
            found.extend(node.snapshot().values().filter_map(|thing| match thing {
                Thing::File(_, _, digest) => Some(*digest),
                Thing::Directory(_) | Thing::Link(_) | Thing::Other => None,
            }));
            let lost = node.kept("conflicts");
            for kept in lost.iter().chain(&node.kept("trash")) {
                found.extend(node.visit(|| Ok(fs::read(&kept.file).ok())).map(|content| digest(&content)));
            }
            conflicts.extend(lost);
        }
        let lost = self.ledger.lost(&found);
        assert!(lost.is_empty(), "{} contents are lost: {:?}", lost.len(), &lost[..lost.len().min(10)]);
        conflicts
    }
}

fn words(content: &[u8]) -> String {
    String::from_utf8_lossy(&content[..content.len().min(40)]).into_owned()
}
