//! A grip on a peer's processes, and on its heartbeats alone: what a fault of the peer itself is made of.

use std::fs;

use anyhow::{Context, Result, ensure};
use avamgr_lab::Host;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::peer::Peer;

/// Name of our table in a node's rules; loading it again replaces it.
const TABLE: &str = "bench";

/// Sends a signal to all processes of the peer on a node; children of the same name included.
pub(crate) fn signal(peer: &dyn Peer, node: &Host, signal: Signal) -> Result<()> {
    let mut hit = 0;
    for pid in node.pids()? {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.starts_with(peer.program()) {
            kill(Pid::from_raw(pid), signal).with_context(|| format!("{signal} to {}", name.trim()))?;
            hit += 1;
        }
    }
    ensure!(hit > 0, "{} does not run on {}", peer.program(), node.name());
    Ok(())
}

/// Loses so many percent of the heartbeats that reach these nodes, on every path; nothing else is lost.
pub(crate) fn lose_heartbeats(peer: &dyn Peer, nodes: impl Iterator<Item = Host>, percent: u32) -> Result<()> {
    let loss = match percent {
        0 => String::new(),
        100 => format!("{} drop", peer.heartbeats()),
        part => format!("{} numgen random mod 100 < {part} drop", peer.heartbeats()),
    };
    let rules = format!(
        "table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n chain heartbeats {{\n  type filter hook \
         input priority 0;\n  {loss}\n }}\n}}\n"
    );
    for node in nodes {
        node.write("/run/bench.nft", &rules)?;
        let output = node.command("nft").args(["-f", "/run/bench.nft"]).output()?;
        ensure!(output.status.success(), "nft on {}: {}", node.name(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
