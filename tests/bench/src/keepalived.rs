//! keepalived as the distribution ships it: VRRPv3, unicast, no preemption, adverts on the service network.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use avamgr_lab::{Cidr, Host, Lab, Process};

use crate::measure::Scenario;
use crate::peer::{Peer, Vips};

const CONFIG: &str = "/etc/keepalived/keepalived.conf";

/// Addresses that fit into one advert; the others ride along.
const ADVERTISED_VIPS: usize = 200;

/// A keepalived pair.
#[derive(Debug)]
pub(crate) struct Keepalived {
    interval: Duration,
    version: String,
    running: Mutex<BTreeMap<String, Process>>,
}

impl Keepalived {
    /// The one that is installed on this machine.
    pub(crate) fn new(interval: Duration) -> Result<Self> {
        let output = std::process::Command::new("keepalived").arg("--version").output();
        let output = output.context("run keepalived --version (Debian: apt-get install keepalived)")?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().unwrap_or_default().trim().to_owned();
        Ok(Self { interval, version, running: Mutex::default() })
    }

    /// Starts over the process's record of a node; what ran there before is gone.
    fn remember(&self, node: &str, process: Process) {
        self.lock().insert(node.to_owned(), process);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Process>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self, node: &Host, place: usize, peers: &[String], vips: &[Cidr]) -> String {
        let advertised = vips.len().min(ADVERTISED_VIPS);
        let block = |vips: &[Cidr]| -> String {
            vips.iter().fold(String::new(), |mut text, vip| {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "        {vip} dev eth1");
                text
            })
        };
        let excluded = match block(&vips[advertised..]) {
            rest if rest.is_empty() => String::new(),
            rest => format!("    virtual_ipaddress_excluded {{\n{rest}    }}\n"),
        };
        format!(
            "global_defs {{\n    router_id {name}\n    vrrp_version 3\n}}\nvrrp_instance bench {{\n    state BACKUP\n    \
             interface eth1\n    virtual_router_id 51\n    priority {priority}\n    advert_int {advert}\n    \
             nopreempt\n    unicast_src_ip {own}\n    unicast_peer {{\n{peers}    }}\n    virtual_ipaddress \
             {{\n{vips}    }}\n{excluded}}}\n",
            name = node.name(),
            priority = 100 - 10 * place,
            advert = self.interval.as_secs_f64(),
            own = service_address(node).unwrap_or_default(),
            peers = peers.iter().map(|peer| format!("        {peer}\n")).collect::<String>(),
            vips = block(&vips[..advertised]),
        )
    }
}

impl Peer for Keepalived {
    fn profile(&self) -> String {
        format!("keepalived, advert {:?}", self.interval)
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn interval(&self) -> Duration {
        self.interval
    }

    fn program(&self) -> &'static str {
        "keepalived"
    }

    fn heartbeats(&self) -> &'static str {
        "meta l4proto vrrp"
    }

    fn can(&self, scenario: Scenario) -> bool {
        !matches!(scenario, Scenario::Prefix | Scenario::Parted | Scenario::Clusters)
    }

    fn install(&self, lab: &Lab, vips: &Vips) -> Result<()> {
        let Vips::Single(vips) = vips else { bail!("keepalived manages single addresses only") };
        self.lock().clear();
        for (place, node) in lab.nodes().enumerate() {
            let others = lab.nodes().filter(|other| other.name() != node.name());
            let peers: Vec<String> = others.filter_map(|other| service_address(&other)).collect();
            node.write(CONFIG, self.config(&node, place, &peers, vips))?;
        }
        Ok(())
    }

    fn start(&self, lab: &Lab, node: &str) -> Result<()> {
        // One that was killed and not waited for is still there for keepalived: "daemon is already running".
        let before = self.lock().remove(node);
        before.map(|process| process.wait(Duration::from_secs(10))).transpose()?;
        let process = lab.host(node)?.command("keepalived").args(["--dont-fork", "--use-file", CONFIG]).spawn()?;
        self.remember(node, process);
        Ok(())
    }

    fn switchover(&self, _lab: &Lab, active: &str) -> Result<()> {
        let process = self.lock().get(active).cloned();
        process.with_context(|| format!("keepalived does not run on {active}"))?.terminate()?;
        Ok(())
    }

    fn after_switchover(&self, lab: &Lab, formerly_active: &str) -> Result<()> {
        let process = self.lock().remove(formerly_active);
        process.context("no keepalived to wait for")?.wait(Duration::from_secs(10))?;
        self.start(lab, formerly_active)
    }
}

/// A node's own IPv4 address on the service network.
fn service_address(node: &Host) -> Option<String> {
    let nic = node.plan().nics.iter().find(|nic| nic.name == "eth1")?;
    nic.addresses.iter().find(|cidr| cidr.ip.is_ipv4()).map(|cidr| cidr.ip.to_string())
}
