//! Directories of rules that are the same on every node, and what the program that keeps them so (`rules-sync`) needs of
//! the file. The decision about who is ACTIVE does not depend on any of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::Findings;
use super::file::File;
use super::{ConfigErrors, LinkConfig, LinkKind, build, judged, read_file, rules, value};
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

/// What the program that replicates the rules needs of the file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Replication {
    /// Name of the cluster.
    pub cluster: String,
    /// Node names, at least two; the order is the rank.
    pub nodes: Vec<String>,
    /// Dedicated links over UDP in the order of the file, at least one, each with an address for every node; the neutral path
    /// where there are none.
    pub links: Vec<LinkConfig>,
    /// The directories and how they are replicated.
    pub rules: RulesConfig,
    /// The keys the nodes share.
    pub key_file: PathBuf,
    /// The control socket of the daemon, which knows who is ACTIVE.
    pub socket: PathBuf,
    /// Members of this unix group may steer, besides root and the account it runs as.
    pub operators: Option<String>,
    /// Name of the group whose ACTIVE node has the last word: the one that is written, otherwise the first one of the
    /// file; `None` where the file has no groups and names none.
    pub group: Option<String>,
}

/// What the program that replicates the rules needs of a text, and what is allowed but worth knowing; or everything that is
/// wrong with it. A whole `avamgr.toml` will do, and so will a file with `[cluster]`, one `[[link]]` and `[rules]`: nothing
/// here rests on groups, an arbitrator or timers. `source` is the name of the file, for humans.
pub fn parse_replication(text: &str, source: &str) -> Result<(Replication, ConfigErrors), ConfigErrors> {
    let findings = Findings::new(text);
    let found = read_file(text, &findings).and_then(|file| {
        rules::check_replication(&file, &findings);
        replication(&file)
    });
    judged(found, findings, source)
}

/// What rules travel over: the dedicated links over UDP, or the neutral path where every dedicated link is over TIPC.
pub fn ways(links: &[LinkConfig]) -> Vec<&LinkConfig> {
    let over_ip = |kind: LinkKind| links.iter().filter(move |link| link.kind == kind && link.udp().is_some());
    let dedicated: Vec<&LinkConfig> = over_ip(LinkKind::Dedicated).collect();
    if dedicated.is_empty() { over_ip(LinkKind::Neutral).collect() } else { dedicated }
}

/// `None` only where the rules have said that `[rules]` is missing or not used.
fn replication(file: &File) -> Option<Replication> {
    let config = build::build(file);
    let rules = config.rules?;
    let written = file.rules.as_ref().and_then(|rules| rules.group.as_ref()).map(|group| group.value.clone());
    Some(Replication {
        cluster: config.cluster,
        nodes: config.nodes,
        links: ways(&config.links).into_iter().cloned().collect(),
        rules,
        key_file: config.daemon.key_file,
        socket: config.daemon.socket,
        operators: config.daemon.operators,
        group: written.or_else(|| config.groups.first().map(|group| group.name.clone())),
    })
}
