//! Turning another node off, and being turned off: the devices, and the rules about them that hold for a whole cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Config, value};
use crate::cluster::NodeId;

/// What holds for all devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FencingConfig {
    /// When a node that was fenced may take part again.
    pub rejoin: Rejoin,
}

/// When a node that was fenced may take part again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rejoin {
    /// When an operator says so: somebody should have looked at it.
    #[default]
    Clear,
    /// As soon as it is back.
    Auto,
}

/// One device that can turn one node off.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FenceConfig {
    /// Whom it turns off.
    pub node: NodeId,
    /// 1..=9: levels are tried in order until all devices of one have succeeded.
    pub level: u8,
    /// The program that speaks to the device.
    pub agent: PathBuf,
    /// Whether the node is turned on again.
    pub action: FenceAction,
    /// What the agent is told, in the order of the names.
    pub options: BTreeMap<String, String>,
    /// A file with more of them, for what nobody may read.
    pub secrets: Option<PathBuf>,
    /// Bound for one call of the agent, 1 s to 10 min.
    #[serde(with = "value::as_text")]
    pub timeout: Duration,
}

/// What is done to a node. Either way it is known to be down before anybody acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FenceAction {
    /// It is turned off and stays so.
    Off,
    /// It is turned off, and on again afterwards.
    Reboot,
}

/// The timer of this machine that resets it when nobody feeds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WatchdogConfig {
    /// Its device file.
    pub device: PathBuf,
    /// From the last feeding to the reset, in whole seconds.
    #[serde(with = "value::as_text")]
    pub timeout: Duration,
}

impl Config {
    /// Whether a node can be turned off from outside.
    pub fn fences(&self, node: NodeId) -> bool {
        self.fences.iter().any(|fence| fence.node == node)
    }

    /// Whether every node can be turned off from outside.
    pub(super) fn fences_all(&self) -> bool {
        !self.nodes.is_empty() && self.node_ids().all(|node| self.fences(node))
    }
}
