//! `[fencing]`, `[[fence]]` and `[watchdog]`.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::error::{Finding, Place};
use crate::config::reader::{Nodes, Placed, Table};
use crate::config::value::{VARIABLE_LETTERS, is_variable};
use crate::config::{FenceAction, FencingConfig, Rejoin};

use super::node;

/// `[fencing]`
pub(in crate::config) struct Fencing {
    pub(in crate::config) place: Place,
    pub(in crate::config) written: bool,
    pub(in crate::config) settings: FencingConfig,
}

/// `[[fence]]`
pub(in crate::config) struct Fence {
    pub(in crate::config) place: Place,
    /// Index of the node.
    pub(in crate::config) node: Option<usize>,
    pub(in crate::config) level: Option<Placed<u32>>,
    pub(in crate::config) agent: Option<PathBuf>,
    pub(in crate::config) action: FenceAction,
    pub(in crate::config) options: Vec<(String, String)>,
    pub(in crate::config) secrets: Option<PathBuf>,
    pub(in crate::config) timeout: Option<Placed<Duration>>,
}

/// `[watchdog]`
pub(in crate::config) struct Watchdog {
    pub(in crate::config) device: Option<PathBuf>,
    pub(in crate::config) timeout: Option<Placed<Duration>>,
}

fn path(table: &Table<'_>, name: &str) -> Option<PathBuf> {
    table.text(name).map(|path| path.value.into())
}

pub(super) fn read_fencing(table: &Table<'_>) -> Fencing {
    let auto = table.text("rejoin").is_some_and(|word| word.as_str() == "auto");
    let rejoin = if auto { Rejoin::Auto } else { Rejoin::Clear };
    Fencing { place: table.place.clone(), written: table.is_written(), settings: FencingConfig { rejoin } }
}

pub(super) fn read_fence(table: &Table<'_>, nodes: &Nodes) -> Fence {
    let reboot = table.text("action").is_some_and(|word| word.as_str() == "reboot");
    Fence {
        place: table.place.clone(),
        node: node(table, "node", nodes),
        level: table.integer("level"),
        agent: path(table, "agent"),
        action: if reboot { FenceAction::Reboot } else { FenceAction::Off },
        options: read_options(table),
        secrets: path(table, "secrets"),
        timeout: table.time("timeout"),
    }
}

pub(super) fn read_watchdog(table: &Table<'_>) -> Watchdog {
    Watchdog { device: path(table, "device"), timeout: table.time("timeout") }
}

/// The agent is told one option in each line, as `name=value`: nothing may be taken for a line or an option of its own.
fn read_options(table: &Table<'_>) -> Vec<(String, String)> {
    let options = table.strings("options", is_variable, VARIABLE_LETTERS);
    let options: Vec<(String, String)> = options.into_iter().map(|(name, text)| (name, text.value)).collect();
    for (name, value) in &options {
        let place = table.place_of("options").join(name);
        if name == "action" {
            let finding = Finding::conflict(&place, "is what we tell the agent ourselves").without_value();
            table.findings.put(finding.hint("write action = \"off\" or \"reboot\" beside `options`"));
        }
        if value.contains(['\n', '\r']) {
            let finding = Finding::conflict(&place, "must be one line: each line is an option for the agent");
            table.findings.put(finding.without_value());
        }
        if is_secret(name) {
            let fact = "can be read by everybody who may look at the config";
            let hint = "write it into a file with mode 0600 and name that file in `secrets`";
            table.findings.put(Finding::warning(&place, fact).without_value().hint(hint));
        }
    }
    options
}

/// By what the agents call such options: `password`, `passwd`, `snmp_priv_passwd`, `secret_key`.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    // `passwd_script` and its like name a program that tells the password.
    !name.ends_with("_script") && ["passw", "secret", "token"].iter().any(|word| name.contains(word))
}
