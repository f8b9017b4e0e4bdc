//! What the bench asks of a program that moves addresses.

use std::time::Duration;

use anyhow::Result;
use avamgr_lab::{Cidr, Lab};

use crate::measure::Scenario;

/// The addresses a peer manages in a scenario.
#[derive(Clone, Debug)]
pub(crate) enum Vips {
    /// Single addresses.
    Single(Vec<Cidr>),
    /// One prefix whose every address is managed.
    Prefix(Cidr),
}

/// A program that keeps addresses on one of two nodes.
pub(crate) trait Peer {
    /// Its name and settings, for the table.
    fn profile(&self) -> String;

    /// What it says of its version.
    fn version(&self) -> String;

    /// Its heartbeat or advert interval.
    fn interval(&self) -> Duration;

    /// How the names of its processes begin.
    fn program(&self) -> &'static str;

    /// What an nftables rule matches its heartbeats by.
    fn heartbeats(&self) -> &'static str;

    /// How long ago `node` decided to take over, where the peer tells.
    fn decided_ago(&self, _lab: &Lab, _node: &str) -> Result<Option<Duration>> {
        Ok(None)
    }

    /// Whether it can do what a scenario asks.
    fn can(&self, scenario: Scenario) -> bool;

    /// Writes its config on every node.
    fn install(&self, lab: &Lab, vips: &Vips) -> Result<()>;

    /// Starts it on a node that does not run it.
    fn start(&self, lab: &Lab, node: &str) -> Result<()>;

    /// Begins a planned move away from `active`, and returns when the move has been ordered.
    fn switchover(&self, lab: &Lab, active: &str) -> Result<()>;

    /// After a move: brings back what the move has stopped on `formerly_active`.
    fn after_switchover(&self, lab: &Lab, formerly_active: &str) -> Result<()>;
}
