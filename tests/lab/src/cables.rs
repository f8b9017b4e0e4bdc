//! The cables and what is wrong with them.
//!
//! All cables end in one namespace, the switch, which no node can see. A fault changes the wanted state of some cables;
//! [`Cables::apply`] then brings the kernel there: ports with one netlink write, losses with one nft transaction.
//!
//! A port of the switch that goes down takes the carrier of the host's interface with it, as a pulled cable does, while
//! the interface stays administratively up.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::error::{Context, LabError, Result};
use crate::namespaces::Namespaces;
use crate::netlink::{Netlink, Request, set_controller, set_up};
use crate::plan::Wiring;

/// The switch as errors name it.
pub(crate) const SWITCH: &str = "switch";

/// Loss is counted in thousandths.
pub(crate) const ALL_LOST: u16 = 1000;

/// One cable: from a host's interface to a port of the switch.
#[derive(Clone, Debug)]
pub(crate) struct Cable {
    pub(crate) host: String,
    pub(crate) nic: String,
    pub(crate) network: String,
    pub(crate) wiring: Wiring,
    pub(crate) port: String,
    pub(crate) port_index: u32,
    pub(crate) bridge_index: u32,
    pub(crate) wanted: Condition,
    applied: Applied,
}

/// What a story has done to a cable and its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// The host has power.
    pub(crate) powered: bool,
    /// The host has its interface up.
    pub(crate) nic_up: bool,
    /// The cable is plugged.
    pub(crate) plugged: bool,
    /// Frames vanish both ways while the carrier stays.
    pub(crate) silent: bool,
    /// Thousandths of the frames from the host that vanish.
    pub(crate) lost_from: u16,
    /// Thousandths of the frames to the host that vanish.
    pub(crate) lost_to: u16,
}

impl Condition {
    /// Nothing wrong.
    pub(crate) const SOUND: Self =
        Self { powered: true, nic_up: true, plugged: true, silent: false, lost_from: 0, lost_to: 0 };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Applied {
    up: bool,
    bridged: bool,
}

impl Cable {
    /// A cable whose port has just been made: on its bridge and down.
    pub(crate) fn new(host: &str, nic: &str, network: &str, wiring: Wiring) -> Self {
        Self {
            host: host.to_owned(),
            nic: nic.to_owned(),
            network: network.to_owned(),
            wiring,
            port: crate::plan::port_name(host, nic),
            port_index: 0,
            bridge_index: 0,
            wanted: Condition { powered: false, ..Condition::SOUND },
            applied: Applied { up: false, bridged: true },
        }
    }

    /// Whether this end alone would carry.
    fn end_alive(&self) -> bool {
        self.wanted.powered && self.wanted.plugged
    }
}

/// All cables of a lab.
#[derive(Debug)]
pub(crate) struct Cables {
    pub(crate) all: Vec<Cable>,
    rules: String,
}

impl Cables {
    pub(crate) fn new(all: Vec<Cable>) -> Self {
        Self { all, rules: String::new() }
    }

    /// Brings ports and losses to the wanted state; returns the moment just before the ports changed.
    pub(crate) fn apply(&mut self, fault: &str, netlink: &Netlink, namespaces: &Namespaces) -> Result<Instant> {
        let rules = self.wanted_rules();
        if rules != self.rules {
            apply_rules(fault, &rules, namespaces)?;
            self.rules = rules;
        }
        let (requests, states) = self.port_changes();
        let at = Instant::now();
        if !requests.is_empty() {
            netlink.batch(requests).on(SWITCH, fault)?;
        }
        for (cable, state) in self.all.iter_mut().zip(states) {
            cable.applied = state;
        }
        Ok(at)
    }

    fn port_changes(&self) -> (Vec<Request>, Vec<Applied>) {
        let mut requests = Vec::new();
        let mut states = Vec::new();
        for cable in &self.all {
            let state = Applied { up: self.wants_up(cable), bridged: !cable.wanted.silent };
            if state.up != cable.applied.up {
                requests.push(set_up(cable.port_index, state.up));
            }
            if state.bridged != cable.applied.bridged {
                let bridge = if state.bridged { cable.bridge_index } else { 0 };
                requests.push(set_controller(cable.port_index, bridge));
            }
            states.push(state);
        }
        (requests, states)
    }

    /// Back to back, an end carries only while the other end does.
    pub(crate) fn wants_up(&self, cable: &Cable) -> bool {
        let others = || self.all.iter().filter(|other| other.network == cable.network && other.port != cable.port);
        cable.end_alive()
            && match cable.wiring {
                Wiring::Switched => true,
                Wiring::Direct => others().all(|other| other.end_alive() && other.wanted.nic_up),
            }
    }

    fn wanted_rules(&self) -> String {
        let mut rules = String::new();
        for cable in &self.all {
            push_rule(&mut rules, "iifname", &cable.port, cable.wanted.lost_from);
            push_rule(&mut rules, "oifname", &cable.port, cable.wanted.lost_to);
        }
        rules
    }
}

fn push_rule(rules: &mut String, side: &str, port: &str, lost: u16) {
    let chance = match lost {
        0 => return,
        ALL_LOST.. => String::new(),
        lost => format!("numgen random mod {ALL_LOST} < {lost} "),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(rules, "    {side} \"{port}\" {chance}counter drop");
}

/// Replaces all rules of the lab in one transaction.
fn apply_rules(fault: &str, rules: &str, namespaces: &Namespaces) -> Result<()> {
    let script = format!(
        "add table bridge lab\ndelete table bridge lab\ntable bridge lab {{\n  chain faults {{\n    \
         type filter hook forward priority 0; policy accept;\n{rules}  }}\n}}\n"
    );
    let output = namespaces.in_net(|| run_nft(&script));
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(LabError::Nft {
            fault: fault.to_owned(),
            answer: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(LabError::NoNft { fault: fault.to_owned() }),
        Err(error) => Err(error).on(SWITCH, format!("run nft for {fault}")),
    }
}

fn run_nft(script: &str) -> io::Result<std::process::Output> {
    // An ordinary account's PATH often lacks the administrator's directories.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let program = path.split(':').map(|dir| std::path::Path::new(dir).join("nft")).find(|path| path.is_file());
    let program = program.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let mut nft = Command::new(program)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = nft.stdin.take() {
        stdin.write_all(script.as_bytes())?;
    }
    nft.wait_with_output()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cables(wiring: Wiring) -> Cables {
        let cable = |host: &str| {
            let mut cable = Cable::new(host, "eth3", "hb1", wiring);
            cable.wanted = Condition::SOUND;
            cable
        };
        Cables::new(vec![cable("a"), cable("b")])
    }

    fn up(cables: &Cables) -> Vec<bool> {
        cables.all.iter().map(|cable| cables.wants_up(cable)).collect()
    }

    #[test]
    fn back_to_back_both_ends_lose_carrier_and_through_a_switch_only_one() {
        for (wiring, want) in [(Wiring::Direct, [false, false]), (Wiring::Switched, [false, true])] {
            let mut cables = cables(wiring);
            assert_eq!(up(&cables), [true, true]);
            cables.all[0].wanted.powered = false;
            assert_eq!(up(&cables), want, "{wiring:?}, power");
            cables.all[0].wanted = Condition { plugged: false, ..Condition::SOUND };
            assert_eq!(up(&cables), want, "{wiring:?}, cable");
        }
    }

    #[test]
    fn an_interface_taken_down_shows_at_the_other_end_and_leaves_its_own_port_to_come_back() {
        let mut cables = cables(Wiring::Direct);
        cables.all[0].wanted.nic_up = false;
        assert_eq!(up(&cables), [true, false]);
    }

    #[test]
    fn losses_become_rules() {
        let mut cables = cables(Wiring::Direct);
        assert_eq!(cables.wanted_rules(), "");
        cables.all[0].wanted.lost_from = 300;
        cables.all[1].wanted.lost_to = ALL_LOST;
        assert_eq!(
            cables.wanted_rules(),
            "    iifname \"a.eth3\" numgen random mod 1000 < 300 counter drop\n    oifname \"b.eth3\" counter drop\n"
        );
    }
}
