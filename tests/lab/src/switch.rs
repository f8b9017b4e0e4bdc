//! The place where all cables end: a namespace with one bridge per network, out of reach of every node.

use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::cables::{Cable, Cables, SWITCH};
use crate::error::{Context, Result};
use crate::holder::Holder;
use crate::netlink::{Carrier, Netlink, Nic, new_bridge, new_veth};
use crate::plan::{NetworkPlan, NicPlan, Plan};
use crate::sysctl;

/// The switch of a lab.
#[derive(Debug)]
pub(crate) struct Switch {
    holder: Holder,
    netlink: Netlink,
    cables: Mutex<Cables>,
}

impl Switch {
    /// A switch with all networks and no cables.
    pub(crate) fn start(networks: &[NetworkPlan]) -> Result<Self> {
        let holder = Holder::start(SWITCH)?;
        let netlink = holder.namespaces().in_net(|| {
            sysctl::write_all(&sysctl::SWITCH)?;
            Netlink::open()
        });
        let netlink = netlink.on(SWITCH, "prepare its network")?;
        for network in networks {
            netlink.request(new_bridge(&network.name)).at(SWITCH, &network.name, "make a bridge")?;
        }
        Ok(Self { holder, netlink, cables: Mutex::new(Cables::new(Vec::new())) })
    }

    /// Lays the cables of a host to the network namespace it has now. Ports stay down until the host has power.
    pub(crate) fn lay_cables(&self, plan: &Plan, host: &str, nics: &[NicPlan], netns: BorrowedFd<'_>) -> Result<()> {
        for (place, nic) in nics.iter().enumerate() {
            let Some(network) = plan.networks.iter().find(|network| network.name == nic.network) else {
                continue;
            };
            let mut cable = Cable::new(host, &nic.name, &network.name, network.wiring);
            let step = "lay its cable";
            cable.bridge_index = self.netlink.link(&network.name).at(host, &nic.name, step)?.index;
            let mac = mac(plan, host, place);
            let end = Nic { name: &nic.name, mac, netns };
            self.netlink.request(new_veth(&cable.port, cable.bridge_index, &end)).at(host, &nic.name, step)?;
            cable.port_index = self.netlink.link(&cable.port).at(host, &nic.name, step)?.index;
            self.cables().all.push(cable);
        }
        Ok(())
    }

    /// Changes cables and brings the kernel there; returns the moment just before the ports changed.
    pub(crate) fn change(&self, fault: &str, edit: impl FnOnce(&mut [Cable])) -> Result<Instant> {
        let mut cables = self.cables();
        edit(&mut cables.all);
        cables.apply(fault, &self.netlink, self.holder.namespaces())
    }

    /// A host raised an interface or took it down: back to back, the other end's carrier follows.
    pub(crate) fn follow_nic(&self, host: &str, nic: &str, up: bool) -> Result<()> {
        let is_meant = |cable: &Cable| cable.host == host && cable.nic == nic;
        let news = self.with_cables(|cables| cables.iter().any(|cable| is_meant(cable) && cable.wanted.nic_up != up));
        if news {
            self.change(&format!("follow {nic} of {host}"), |cables| {
                let meant = cables.iter_mut().filter(|cable| is_meant(cable));
                meant.for_each(|cable| cable.wanted.nic_up = up);
            })?;
        }
        Ok(())
    }

    /// Looks at the cables.
    pub(crate) fn with_cables<T>(&self, look: impl FnOnce(&[Cable]) -> T) -> T {
        look(&self.cables().all)
    }

    /// Which interfaces of a host are to see a carrier.
    pub(crate) fn wanted_carriers(&self, host: &str) -> Vec<(String, bool)> {
        let cables = self.cables();
        let of_host = cables.all.iter().filter(|cable| cable.host == host);
        of_host.map(|cable| (cable.nic.clone(), cables.wants_up(cable))).collect()
    }

    /// The ports whose carrier does not yet say what was ordered.
    pub(crate) fn behind(&self) -> Result<Vec<String>> {
        let links = self.netlink.links().on(SWITCH, "list its ports")?;
        let cables = self.cables();
        let behind = cables.all.iter().filter(|cable| {
            let up = cables.wants_up(cable) && cable.wanted.nic_up;
            let port = links.iter().find(|link| link.index == cable.port_index);
            port.is_none_or(|port| (port.carrier == Carrier::Up) != up)
        });
        Ok(behind.map(|cable| format!("port {}", cable.port)).collect())
    }

    /// Returns when the kernel is done with what it was doing.
    pub(crate) fn barrier(&self) -> Result<()> {
        self.netlink.barrier().on(SWITCH, "wait for its kernel")
    }

    fn cables(&self) -> MutexGuard<'_, Cables> {
        self.cables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hardware address that stays the same through power cycles and says whose it is: host, interface.
fn mac(plan: &Plan, host: &str, nic: usize) -> [u8; 6] {
    let place = plan.hosts.iter().position(|candidate| candidate.name == host).unwrap_or_default();
    [0x02, 0xa0, 0, 0, u8::try_from(place + 1).unwrap_or(0xff), u8::try_from(nic + 1).unwrap_or(0xff)]
}
