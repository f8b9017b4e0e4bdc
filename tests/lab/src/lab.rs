//! The lab: builds what a plan says, knows every host and cable, and leaves nothing behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Context, LabError, Result};
use crate::holder::Holder;
use crate::host::Host;
use crate::netlink::Carrier;
use crate::owners::Owners;
use crate::plan::Plan;
use crate::scratch::Scratch;
use crate::switch::Switch;
use crate::wait::wait_until;
use crate::worker::Worker;

/// The kernel follows within milliseconds; a machine that is busy elsewhere gets this long.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);

/// A running lab. Dropping it ends every process, network and file of it.
#[derive(Debug)]
pub struct Lab {
    pub(crate) plan: Plan,
    pub(crate) hosts: BTreeMap<String, Host>,
    pub(crate) owners: Owners,
    pub(crate) state: Mutex<State>,
    // Ends after the hosts, whose interfaces hang on it.
    pub(crate) switch: Arc<Switch>,
    scratch: Scratch,
}

/// What changes with power.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The threads that watch and serve each node with power.
    pub(crate) workers: BTreeMap<String, Vec<Worker>>,
    /// Holders of hosts without power: their interfaces wait in the old network namespace for the new one.
    pub(crate) retired: BTreeMap<String, Arc<Holder>>,
}

impl Lab {
    /// Builds the plan and gives power to every host.
    pub fn start(plan: Plan) -> Result<Self> {
        Self::start_in(plan, &std::env::temp_dir())
    }

    /// Builds the plan with its scratch directory below `dir`.
    pub fn start_in(plan: Plan, dir: &Path) -> Result<Self> {
        plan.check()?;
        let scratch = Scratch::below(dir)?;
        let switch = Arc::new(Switch::start(&plan.networks)?);
        let hosts = plan.hosts.iter().map(|host| {
            let dir = scratch.path().join(&host.name);
            (host.name.clone(), Host::new(host.clone(), dir))
        });
        let hosts: BTreeMap<String, Host> = hosts.collect();
        let (owners, state) = (Owners::default(), Mutex::default());
        let lab = Self { plan, hosts, owners, state, switch, scratch };
        for host in lab.hosts.values() {
            fs::create_dir_all(host.dir()).on(host.name(), "make its directory")?;
            lab.power_on(host.name())?;
        }
        lab.settle()?;
        Ok(lab)
    }

    /// A host by its name.
    pub fn host(&self, name: &str) -> Result<Host> {
        self.hosts.get(name).cloned().ok_or_else(|| LabError::Unknown {
            kind: "host",
            name: name.to_owned(),
            known: self.hosts.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// The nodes of the cluster, in the order of the plan.
    pub fn nodes(&self) -> impl Iterator<Item = Host> {
        self.plan.hosts.iter().filter_map(|host| self.hosts.get(&host.name)).filter(|host| host.is_node()).cloned()
    }

    /// The record of who owned which address when.
    #[must_use]
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// What the lab was built from.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The directory of everything the lab writes, as seen from outside. It goes with the lab.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.scratch.path().to_owned()
    }

    /// Asks the kernels of all nodes what they own, compares it with the record, and names every difference.
    pub fn cross_check_owners(&self, settle: Duration) -> Result<()> {
        let mut differences = Vec::new();
        let agreed = wait_until(settle, "", || {
            differences = self.nodes().flat_map(|node| self.differences_of(&node)).collect();
            differences.is_empty()
        });
        agreed.map_err(|_| LabError::Waited {
            what: format!("the record of owners to agree with the kernels; {}", differences.join("; ")),
            limit: settle,
        })
    }

    fn differences_of(&self, node: &Host) -> Vec<String> {
        let recorded = self.owners.owned_by(node.name());
        let Ok(netlink) = node.netlink() else {
            return recorded.iter().map(|what| format!("{} is off and has {what}", node.name())).collect();
        };
        let (Ok(addresses), Ok(prefixes)) = (netlink.addresses(), netlink.local_prefixes()) else {
            return vec![format!("{} does not say what it owns", node.name())];
        };
        let truth = crate::owners::everything(&addresses, &prefixes);
        truth
            .symmetric_difference(&recorded)
            .map(|what| {
                format!("{what} on {} is {}", node.name(), if truth.contains(what) { "missed" } else { "gone" })
            })
            .collect()
    }

    /// Waits until the kernel has followed the last orders: a carrier comes a moment after its cable, and frames sent
    /// in between are lost.
    pub fn settle(&self) -> Result<()> {
        let mut behind = Vec::new();
        let settled = wait_until(SETTLE_WITHIN, "", || {
            behind = self.switch.behind().unwrap_or_else(|error| vec![error.to_string()]);
            for host in self.hosts.values().filter(|host| host.is_on()) {
                behind.extend(self.nics_behind(host));
            }
            behind.is_empty()
        });
        settled.map_err(|_| LabError::Waited {
            what: format!("the kernel to follow on {}", behind.join(", ")),
            limit: SETTLE_WITHIN,
        })?;
        // The kernel shows a carrier a moment before it sends through it, but under a lock that every change takes.
        self.switch.barrier()?;
        for host in self.hosts.values().filter(|host| host.is_on()) {
            host.netlink()?.barrier().on(host.name(), "wait for its kernel")?;
        }
        Ok(())
    }

    /// The interfaces of a host that do not yet see of their cable what they should.
    fn nics_behind(&self, host: &Host) -> Vec<String> {
        let links = host.netlink().ok().and_then(|netlink| netlink.links().ok()).unwrap_or_default();
        let wanted = self.switch.wanted_carriers(host.name());
        let behind = wanted.iter().filter(|(nic, carrier)| {
            links
                .iter()
                .find(|link| link.name == *nic)
                .is_none_or(|link| link.carrier != Carrier::Down && (link.carrier == Carrier::Up) != *carrier)
        });
        behind.map(|(nic, _)| format!("{} of {}", nic, host.name())).collect()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.state().workers.clear();
        for host in self.hosts.values() {
            // What cannot be killed now ends with this process: the holder exits when its control socket closes.
            let _ = host.kill_all();
        }
    }
}

/// A moment in a story, to measure from.
#[must_use]
pub fn mark() -> Instant {
    Instant::now()
}
