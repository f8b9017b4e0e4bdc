//! Directories of rules that a program of its own (`rules-sync`) keeps the same on every node. The decision about who is
//! ACTIVE does not depend on any of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::value;
use crate::cluster::GroupId;

/// Directories of rules and how they are replicated.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RulesConfig {
    /// 1..=64 directories by their names, which are the same on every node: an absolute path, or one that begins with a
    /// variable (`$NAME`, `$NAME/more`, `${NAME}/more`). Each node looks it up in its environment: see
    /// [`split_variable`](super::split_variable).
    pub directories: BTreeMap<String, String>,
    /// Globs of what is replicated; empty = everything. One without `/` is about the name of a file wherever it lies, one
    /// with `/` about its path from the directory on.
    pub include: Vec<String>,
    /// Globs of what is not, even if it is included.
    pub exclude: Vec<String>,
    /// Who may change the rules.
    pub direction: Direction,
    /// The group whose ACTIVE node has the last word when two nodes have changed the same file; the first group unless set.
    pub group: Option<GroupId>,
    /// TCP port, the same on every node.
    pub port: u16,
    /// The remote shell files travel through, program and arguments; `None` = a daemon of our own listens on `port`.
    pub ssh: Option<Vec<String>>,
    /// Account to run as; the owner of the directories unless set.
    pub user: Option<String>,
    /// How long is kept what was overwritten or deleted or has lost a conflict, 1 min to 3650 days.
    #[serde(with = "value::as_text")]
    pub keep_time: Duration,
    /// How much of it is kept, in MiB, 1..=1_048_576; the oldest goes first.
    pub keep_size: u32,
    /// Between two times at which every file is read again and compared with the other nodes, 1 s to 7 days.
    #[serde(with = "value::as_text")]
    pub audit_interval: Duration,
    /// Where versions and what is kept live.
    pub state_dir: PathBuf,
    /// The control socket of `rules-sync`.
    pub socket: PathBuf,
}

/// Who may change the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Every node; what is changed on one travels to all others.
    Both,
    /// The ACTIVE node alone; what is changed on another one does not travel.
    ActiveToStandby,
}
