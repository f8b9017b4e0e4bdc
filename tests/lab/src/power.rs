//! Power: off without any farewell, on as after a reboot.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cables::Condition;
use crate::echo;
use crate::error::{Context, Result};
use crate::holder::Holder;
use crate::host::Host;
use crate::lab::Lab;
use crate::netlink::{Carrier, Netlink, add_address, add_route, move_link, set_up};
use crate::plan::NicPlan;
use crate::sysctl;
use crate::syslog;

/// A power fault as it was done.
#[derive(Clone, Copy, Debug)]
pub struct PowerOff {
    /// The moment just before the cables went dead.
    pub at: Instant,
    /// From the first signal until all cables were dead.
    pub took: Duration,
}

impl Lab {
    /// Takes the power from a host: all its processes stop in mid-instruction, all its cables die in one write, then
    /// everything is killed. Nothing in the host gets to say goodbye.
    pub fn power_off(&self, name: &str) -> Result<PowerOff> {
        let host = self.host(name)?;
        let begin = Instant::now();
        host.freeze()?;
        let at = self.switch.change(&format!("power off {name}"), |cables| {
            cables.iter_mut().filter(|cable| cable.host == name).for_each(|cable| cable.wanted.powered = false);
        })?;
        let took = begin.elapsed();
        let mut state = self.state();
        // The watch ends before its node's record is closed, or a late word would open it again.
        drop(state.workers.remove(name));
        self.owners.power_off(name, at);
        if let Some(holder) = host.kill_all()? {
            state.retired.insert(name.to_owned(), holder);
        }
        Ok(PowerOff { at, took })
    }

    /// Gives power to a host: new namespaces, no processes, addresses as planned. Its private files are those it had,
    /// except `/run`; its cables are in the state faults have left them in.
    pub fn power_on(&self, name: &str) -> Result<()> {
        let host = self.host(name)?;
        if host.is_on() {
            return Ok(());
        }
        let holder = Holder::start(name)?;
        host.files().mount(holder.namespaces()).on(name, "put its private files in place")?;
        self.write_names(&host)?;
        let netlink = holder.namespaces().in_net(|| {
            sysctl::write_all(&sysctl::HOST)?;
            sysctl::write_all(&host.plan().sysctls)?;
            Netlink::open()
        });
        let netlink = netlink.on(name, "set up its kernel")?;
        self.install_nics(&host, &holder)?;
        configure(&host, &netlink)?;
        host.set_running(holder, netlink);
        self.start_workers(&host)?;
        self.switch.change(&format!("power on {name}"), |cables| {
            for cable in cables.iter_mut().filter(|cable| cable.host == name) {
                cable.wanted = Condition { powered: true, nic_up: true, ..cable.wanted };
            }
        })?;
        Ok(())
    }

    /// A reboot: power off, and on again.
    pub fn reboot(&self, name: &str) -> Result<PowerOff> {
        let off = self.power_off(name)?;
        self.power_on(name)?;
        Ok(off)
    }

    /// New cables for a new host; a host that comes back keeps its interfaces, so that the other ends never notice.
    fn install_nics(&self, host: &Host, holder: &Holder) -> Result<()> {
        let netns = holder.namespaces().net();
        let retired = self.state().retired.remove(host.name());
        let Some(retired) = retired else {
            return self.switch.lay_cables(&self.plan, host.name(), &host.plan().nics, netns);
        };
        let old = retired.namespaces().in_net(Netlink::open).on(host.name(), "look into its old network")?;
        for nic in &host.plan().nics {
            let step = "move it to the rebooted host";
            let index = old.link(&nic.name).at(host.name(), &nic.name, step)?.index;
            old.request(move_link(index, netns)).at(host.name(), &nic.name, step)?;
        }
        Ok(())
    }

    fn start_workers(&self, host: &Host) -> Result<()> {
        let running = host.running()?;
        let mut workers = Vec::new();
        if host.plan().own_syslog {
            workers.push(syslog::start(host.files()).on(host.name(), "start its syslog")?);
        }
        if host.is_node() {
            let (switch, name) = (Arc::downgrade(&self.switch), host.name().to_owned());
            let on_link = move |nic: &str, up: bool| {
                if let Some(switch) = switch.upgrade() {
                    // The story sees at the other end that its carrier did not follow.
                    let _ = switch.follow_nic(&name, nic, up);
                }
            };
            let watch = self.owners.watch(host.name(), &running, on_link);
            workers.push(watch.on(host.name(), "watch its addresses")?);
            workers.push(echo::start(host.name(), &running).on(host.name(), "start its echo service")?);
        }
        self.state().workers.insert(host.name().to_owned(), workers);
        Ok(())
    }

    /// Every host knows every other by name, at its first address of each family.
    fn write_names(&self, host: &Host) -> Result<()> {
        let mut names = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
        for other in &self.plan.hosts {
            let addresses = other.nics.iter().flat_map(|nic| &nic.addresses);
            let v4 = addresses.clone().find(|cidr| cidr.ip.is_ipv4());
            let v6 = addresses.clone().find(|cidr| cidr.ip.is_ipv6());
            for cidr in v4.into_iter().chain(v6) {
                names.push_str(&format!("{} {}\n", cidr.ip, other.name));
            }
        }
        host.write("/etc/hosts", names)?;
        host.write("/etc/hostname", format!("{}\n", host.name()))
    }
}

/// Raises the interfaces and gives them their addresses and routes, in that order: a raised interface keeps its IPv6.
fn configure(host: &Host, netlink: &Netlink) -> Result<()> {
    let links = netlink.links().on(host.name(), "list its interfaces")?;
    let mut raise = Vec::new();
    for link in links.iter().filter(|link| link.carrier == Carrier::Down) {
        raise.push(set_up(link.index, true));
    }
    netlink.batch(raise).on(host.name(), "raise its interfaces")?;
    for nic in &host.plan().nics {
        let index = netlink.link(&nic.name).at(host.name(), &nic.name, "find it")?.index;
        let addresses = nic.addresses.iter().map(|cidr| add_address(index, cidr.ip, cidr.len)).collect();
        netlink.batch(addresses).at(host.name(), &nic.name, "give it its addresses")?;
        netlink.batch(routes(index, nic)).at(host.name(), &nic.name, "give it its routes")?;
    }
    Ok(())
}

fn routes(index: u32, nic: &NicPlan) -> Vec<crate::netlink::Request> {
    let unique: BTreeSet<(IpAddr, u8)> = nic.on_link.iter().map(|cidr| (cidr.ip, cidr.len)).collect();
    unique.into_iter().map(|prefix| add_route(index, prefix, None)).collect()
}
