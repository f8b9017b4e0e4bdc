//! What a group tells a program of the operator.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A program that is run on every change of role.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HookConfig {
    /// Program and arguments.
    pub command: Vec<String>,
    /// After this time it is killed, with its whole process group.
    pub timeout: Duration,
    /// How it is told.
    pub style: HookStyle,
}

/// How a hook is told what happened. The environment is set in every style.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookStyle {
    /// By its environment alone.
    Environment,
    /// With the arguments of a keepalived `notify` script too; called only for the roles keepalived knows.
    Keepalived,
}
