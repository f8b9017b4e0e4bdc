//! What a story can do to the cables.
//!
//! A cable is named by its network, or by its network and the host at its end. Pulled cables, silence and power work
//! everywhere; packet loss and one-way cuts need the `nft` program. Every order returns the moment just before it took
//! effect.

use std::time::Instant;

use crate::cables::{ALL_LOST, Cable, Condition};
use crate::error::{LabError, Result};
use crate::lab::Lab;

/// Which way frames travel, seen from the host at the end of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What the host sends.
    From,
    /// What the host would receive.
    To,
}

impl Lab {
    /// Pulls all cables of a network: every end loses its carrier.
    pub fn pull(&self, network: &str) -> Result<Instant> {
        self.on_cables("pull", network, None, |wanted| wanted.plugged = false)
    }

    /// Pulls one host's cable: its end loses the carrier, and back to back the other end too.
    pub fn pull_at(&self, network: &str, host: &str) -> Result<Instant> {
        self.on_cables("pull", network, Some(host), |wanted| wanted.plugged = false)
    }

    /// Plugs the cables of a network in again.
    pub fn plug(&self, network: &str) -> Result<Instant> {
        self.on_cables("plug", network, None, |wanted| wanted.plugged = true)
    }

    /// Plugs one host's cable in again.
    pub fn plug_at(&self, network: &str, host: &str) -> Result<Instant> {
        self.on_cables("plug", network, Some(host), |wanted| wanted.plugged = true)
    }

    /// Pulls several networks in the same instant.
    pub fn pull_all(&self, networks: &[&str]) -> Result<Instant> {
        for network in networks {
            self.must_exist(network, None)?;
        }
        self.switch.change(&format!("pull {}", networks.join(" and ")), |cables| {
            let hit = cables.iter_mut().filter(|cable| networks.contains(&cable.network.as_str()));
            hit.for_each(|cable| cable.wanted.plugged = false);
        })
    }

    /// Swallows all frames of a network while every carrier stays: a switch that hangs.
    pub fn silence(&self, network: &str) -> Result<Instant> {
        self.on_cables("silence", network, None, |wanted| wanted.silent = true)
    }

    /// Swallows all frames from and to one host while its carrier stays.
    pub fn silence_at(&self, network: &str, host: &str) -> Result<Instant> {
        self.on_cables("silence", network, Some(host), |wanted| wanted.silent = true)
    }

    /// Cuts one way of one host's cable; the other way and the carrier stay.
    pub fn cut_one_way(&self, network: &str, host: &str, way: Way) -> Result<Instant> {
        self.on_cables("cut one way of", network, Some(host), |wanted| lose(wanted, way, ALL_LOST))
    }

    /// Loses a part of the frames of a network by chance, each way of each pair of ends once.
    pub fn lose(&self, network: &str, percent: u8) -> Result<Instant> {
        let lost = u16::from(percent.min(100)) * (ALL_LOST / 100);
        self.on_cables("lose frames of", network, None, |wanted| lose(wanted, Way::From, lost))
    }

    /// Loses a part of the frames of one way of one host's cable by chance.
    pub fn lose_at(&self, network: &str, host: &str, way: Way, percent: u8) -> Result<Instant> {
        let lost = u16::from(percent.min(100)) * (ALL_LOST / 100);
        self.on_cables("lose frames of", network, Some(host), |wanted| lose(wanted, way, lost))
    }

    /// Mends a network: plugged, sounding both ways, nothing lost.
    pub fn heal(&self, network: &str) -> Result<Instant> {
        self.on_cables("heal", network, None, mend)
    }

    /// Mends all networks. Hosts without power stay without.
    pub fn heal_all(&self) -> Result<Instant> {
        self.switch.change("heal all", |cables| cables.iter_mut().for_each(|cable| mend(&mut cable.wanted)))
    }

    fn on_cables(
        &self,
        verb: &str,
        network: &str,
        host: Option<&str>,
        edit: impl Fn(&mut Condition),
    ) -> Result<Instant> {
        self.must_exist(network, host)?;
        let fault = format!("{verb} {network}{}", host.map(|host| format!(" at {host}")).unwrap_or_default());
        self.switch.change(&fault, |cables| {
            let hit = cables.iter_mut().filter(|cable| is_meant(cable, network, host));
            hit.for_each(|cable| edit(&mut cable.wanted));
        })
    }

    fn must_exist(&self, network: &str, host: Option<&str>) -> Result<()> {
        self.switch.with_cables(|cables| {
            if cables.iter().any(|cable| is_meant(cable, network, host)) {
                return Ok(());
            }
            let known: Vec<String> =
                cables.iter().map(|cable| format!("{} at {}", cable.network, cable.host)).collect();
            let name = host.map_or_else(|| network.to_owned(), |host| format!("{network} at {host}"));
            Err(LabError::Unknown { kind: "cable", name, known: known.join(", ") })
        })
    }
}

fn is_meant(cable: &Cable, network: &str, host: Option<&str>) -> bool {
    cable.network == network && host.is_none_or(|host| cable.host == host)
}

fn lose(wanted: &mut Condition, way: Way, lost: u16) {
    match way {
        Way::From => wanted.lost_from = lost,
        Way::To => wanted.lost_to = lost,
    }
}

fn mend(wanted: &mut Condition) {
    *wanted = Condition { powered: wanted.powered, nic_up: wanted.nic_up, ..Condition::SOUND };
}
