//! From the config and the environment to what the loop has to be told.

use std::collections::BTreeMap;
use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use avamgr::keys;
use avamgr_core::config::{Direction, Replication, split_variable};

use crate::courier::keep::Retention;
use crate::filter::Filter;
use crate::rsync::Password;
use crate::run::{Line, Settings};

/// What the secrets of the rsync daemons are made for.
const PURPOSE: &str = "rules";

/// What the config means on this node.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) directories: BTreeMap<String, PathBuf>,
    pub(super) filter: Filter,
    pub(super) listen: Vec<SocketAddr>,
    pub(super) peers: BTreeMap<String, Vec<Line>>,
}

/// Which node this is: as told, else by the hostname, with or without domain.
pub(super) fn node(replication: &Replication, told: Option<&str>) -> Result<String> {
    let name = match told {
        Some(told) => told.to_owned(),
        None => hostname::get().context("this host has no name")?.to_string_lossy().into_owned(),
    };
    let short = name.split('.').next().unwrap_or_default();
    let nodes = &replication.nodes;
    let found = nodes.iter().find(|node| **node == name).or_else(|| nodes.iter().find(|node| *node == short));
    found
        .cloned()
        .ok_or_else(|| anyhow!("{name} is none of the nodes ({}): set the hostname, or say --node", nodes.join(", ")))
}

/// What the config means on this node.
pub(super) fn find(replication: &Replication, node: &str) -> Result<Found> {
    let me = replication.nodes.iter().position(|name| name == node).context("the node is not in the config")?;
    let rules = &replication.rules;
    let mut directories = BTreeMap::new();
    for (name, text) in &rules.directories {
        directories.insert(name.clone(), directory(name, text)?);
    }
    apart(&directories, &rules.state_dir)?;
    let mut peers = BTreeMap::new();
    for (index, name) in replication.nodes.iter().enumerate().filter(|(index, _)| *index != me) {
        let line = |link: &avamgr_core::config::LinkConfig| {
            let addresses = &link.udp()?.addresses;
            let to = SocketAddr::new(*addresses.get(index)?, rules.port);
            Some(Line { from: *addresses.get(me)?, to })
        };
        peers.insert(name.clone(), replication.links.iter().filter_map(line).collect());
    }
    let own =
        replication.links.iter().filter_map(|link| Some(SocketAddr::new(*link.udp()?.addresses.get(me)?, rules.port)));
    let listen = if rules.ssh.is_some() { Vec::new() } else { own.collect() };
    let filter = Filter::new(&rules.include, &rules.exclude).map_err(|reason| anyhow!(reason))?;
    Ok(Found { directories, filter, listen, peers })
}

/// No directory lies in another one, nor has ours in it: what variables say is known here only.
fn apart(directories: &BTreeMap<String, PathBuf>, state: &Path) -> Result<()> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    for (name, path) in directories {
        let path = real(path);
        if real(state).starts_with(&path) || path.starts_with(real(state)) {
            bail!("directory {name}: {} and state_dir {} lie in each other", path.display(), state.display());
        }
        let others = directories.iter().filter(|(other, _)| *other != name);
        for (other, other_path) in others {
            if real(other_path).starts_with(&path) {
                bail!("directories {name} and {other} lie in each other: {}", path.display());
            }
        }
    }
    Ok(())
}

/// A path, or what a variable says and the rest of a path.
fn directory(name: &str, text: &str) -> Result<PathBuf> {
    let Some((variable, rest)) = split_variable(text) else { return Ok(PathBuf::from(text)) };
    let value = env::var_os(variable).filter(|value| !value.is_empty()).ok_or_else(|| {
        anyhow!("directory {name}: the variable {variable} is not set: set it in /etc/default/dre, or write the path")
    })?;
    let mut path = PathBuf::from(value);
    if !path.is_absolute() {
        bail!("directory {name}: the variable {variable} is {}, which is no path from / on", path.display());
    }
    path.push(rest.trim_start_matches('/'));
    Ok(path)
}

/// Everything the loop has to be told. Reads the keys: they may be closed to whom we become.
pub(super) fn settings(replication: &Replication, node: &str, found: Found) -> Result<Settings> {
    let keys = keys::load(&replication.key_file)?;
    let purpose = format!("{PURPOSE} {}", replication.cluster);
    let mut passwords: Vec<Password> =
        keys.keys.iter().map(|key| Password { key: key.number, text: key.secret.derive(&purpose) }).collect();
    passwords.sort_by_key(|password| password.key != keys.sending);
    let rules = &replication.rules;
    Ok(Settings {
        me: node.to_owned(),
        directories: found.directories,
        filter: found.filter,
        state: rules.state_dir.clone(),
        listen: found.listen,
        peers: found.peers,
        passwords,
        shell: rules.ssh.clone(),
        one_way: rules.direction == Direction::ActiveToStandby,
        retention: Retention { time: rules.keep_time, bytes: u64::from(rules.keep_size) * 1024 * 1024 },
        audit: rules.audit_interval,
    })
}
