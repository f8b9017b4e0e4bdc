//! The bed a measurement lies on: a lab with a peer on both nodes, brought back to the same calm before every run.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use avamgr_lab::{Answers, Cidr, Host, Lab, Plan, Probe, wait_for};

use crate::peer::{Peer, Vips};

/// The addresses of the scenarios with many of them; the client reaches them on the service network.
const MANY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 0);
const MANY_PREFIX: u8 = 16;

/// How many of many addresses are probed; each gets one request in this many milliseconds.
const SAMPLED: u32 = 20;

/// A pair that does not come up in this time never will.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// Both nodes run for this long, and this many heartbeats, before a fault.
const CALM: Duration = Duration::from_millis(1500);
const CALM_BEATS: u32 = 20;

/// A peer that moves by itself so often cannot be measured.
const CALM_TRIES: u32 = 10;

/// keepalived announces a second time five seconds after a takeover; with many addresses the burst would be measured.
const CALM_MANY: Duration = Duration::from_secs(7);

/// A lab, a peer and its addresses.
pub(crate) struct Bed<'a> {
    pub(crate) lab: Lab,
    pub(crate) peer: &'a dyn Peer,
    /// The addresses that are probed: all, or a sample with the first and the last.
    pub(crate) probed: Vec<IpAddr>,
    many: bool,
}

/// What addresses a bed has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// One address.
    One,
    /// So many single addresses.
    Many(u32),
    /// A prefix that holds at least so many.
    Prefix(u32),
}

impl<'a> Bed<'a> {
    /// Builds the lab and starts the peer on both nodes.
    pub(crate) fn make(peer: &'a dyn Peer, mut plan: Plan, load: Load) -> Result<Self> {
        let (vips, probed) = addresses(load)?;
        let whole = Cidr { ip: MANY.into(), len: MANY_PREFIX };
        for host in plan.hosts.iter_mut().filter(|host| host.name == "client") {
            host.nics.iter_mut().for_each(|nic| nic.on_link.push(whole));
        }
        let lab = Lab::start(plan.with_syslog())?;
        let bed = Self { lab, peer, probed, many: !matches!(load, Load::One) };
        peer.install(&bed.lab, &vips)?;
        for node in bed.lab.nodes() {
            peer.start(&bed.lab, node.name())?;
        }
        Ok(bed)
    }

    /// Waits until one node alone has all addresses and answers for them, and a while longer. A peer that moves meanwhile
    /// is given that while again, a few times; each time is told.
    pub(crate) fn calm(&self) -> Result<String> {
        for _ in 0..CALM_TRIES {
            if let Some(active) = self.try_calm()? {
                return Ok(active);
            }
            eprintln!("{} moved by itself", self.peer.profile());
        }
        bail!("{} does not stay where it is\n{}", self.peer.profile(), self.logs())
    }

    /// `None`: it moved.
    fn try_calm(&self) -> Result<Option<String>> {
        let probe = self.probe()?;
        let what = format!("one node to own and answer for all addresses of {}", self.peer.profile());
        let active = wait_for(UP_WITHIN, what, || {
            let active = self.active()?;
            let now = std::time::Instant::now();
            let recent = now.checked_sub(Duration::from_millis(u64::from(SAMPLED) * 5))?;
            probe.sightings().takeover_by(&active, recent, now).silent.is_empty().then_some(active)
        });
        let active = active.with_context(|| self.logs())?;
        drop(probe);
        let calm = CALM.max(self.peer.interval() * CALM_BEATS);
        thread::sleep(if self.many { calm.max(CALM_MANY) } else { calm });
        Ok((self.active().as_deref() == Some(active.as_str())).then_some(active))
    }

    /// The one node that has all probed addresses.
    pub(crate) fn active(&self) -> Option<String> {
        let mut active: Option<String> = None;
        for ip in &self.probed {
            let mut owners = self.lab.owners().of(*ip);
            let owner = owners.pop().filter(|_| owners.is_empty())?;
            if active.as_ref().is_some_and(|active| *active != owner) {
                return None;
            }
            active = Some(owner);
        }
        active
    }

    /// The node that is not `name`.
    pub(crate) fn other(&self, name: &str) -> Result<Host> {
        self.lab.nodes().find(|node| node.name() != name).context("a pair has two nodes")
    }

    /// A fresh probe of the probed addresses.
    pub(crate) fn probe(&self) -> Result<Probe> {
        Ok(Probe::start(&self.lab.host("client")?, &self.probed)?)
    }

    /// A fresh sampler of who answers for the one address.
    pub(crate) fn answers(&self) -> Result<Answers> {
        let Some(IpAddr::V4(address)) = self.probed.first() else { bail!("no IPv4 address is probed") };
        Ok(Answers::start(&self.lab.host("client")?, *address, self.lab.nodes())?)
    }

    /// Waits for a random part of a second, so that faults meet every phase of the heartbeat.
    pub(crate) fn random_phase() {
        let random = RandomState::new().build_hasher().finish();
        thread::sleep(Duration::from_micros(random % 1_000_000));
    }

    /// What the programs said last.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for node in self.lab.nodes() {
            for log in [node.read("/var/log/syslog").unwrap_or_default(), node.log("avamgrd"), node.log("keepalived")] {
                let lines: Vec<&str> = log.lines().collect();
                let last = &lines[lines.len().saturating_sub(12)..];
                text.extend(last.iter().map(|line| format!("  {}: {line}\n", node.name())));
            }
        }
        text
    }
}

/// The addresses of a load, and those of them that are probed.
fn addresses(load: Load) -> Result<(Vips, Vec<IpAddr>)> {
    let nth = |n: u32| -> IpAddr { Ipv4Addr::from(MANY.to_bits() + n).into() };
    let sample = |count: u32| -> Vec<IpAddr> {
        let steps = SAMPLED.min(count);
        (0..steps).map(|step| nth(1 + step * (count - 1) / (steps - 1).max(1))).collect()
    };
    Ok(match load {
        Load::One => {
            let vip: Cidr = "172.16.9.61/24".parse()?;
            (Vips::Single(vec![vip]), vec![vip.ip])
        }
        Load::Many(count) => {
            let vips = (1..=count).map(|n| Cidr { ip: nth(n), len: 32 }).collect();
            (Vips::Single(vips), sample(count))
        }
        Load::Prefix(count) => {
            let bits = (count + 1).next_power_of_two().trailing_zeros();
            let len = u8::try_from(32 - bits)?;
            (Vips::Prefix(Cidr { ip: MANY.into(), len }), sample(count))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_has_the_first_and_the_last() {
        let (vips, probed) = addresses(Load::Many(4000)).unwrap();
        let Vips::Single(vips) = vips else { panic!("single addresses") };
        assert_eq!((vips.len(), probed.len()), (4000, 20));
        assert_eq!((probed[0], probed[19]), (vips[0].ip, vips[3999].ip));
    }

    #[test]
    fn the_prefix_holds_them_all() {
        let (vips, probed) = addresses(Load::Prefix(4000)).unwrap();
        let Vips::Prefix(prefix) = vips else { panic!("a prefix") };
        assert_eq!(prefix.to_string(), "172.17.0.0/20");
        assert_eq!(probed[19].to_string(), "172.17.15.160");
    }

    #[test]
    fn one_of_many_is_a_sample_too() {
        assert_eq!(addresses(Load::Many(1)).unwrap().1.len(), 1);
    }
}
