//! `[rules]`.

use crate::config::error::{Finding, Place};
use crate::config::keys::DIRECTORIES_MAX;
use crate::config::reader::{Placed, Table};
use crate::config::value::Grammar;
use crate::config::{Direction, RulesConfig};

use super::{port, time};

/// `[rules]`
pub(in crate::config) struct Rules {
    pub(in crate::config) place: Place,
    /// By their names.
    pub(in crate::config) directories: Vec<(String, Placed<String>)>,
    /// The name as written; it is looked up among the groups later.
    pub(in crate::config) group: Option<Placed<String>>,
    pub(in crate::config) state_dir: Option<Placed<String>>,
    /// Everything that means something by itself.
    pub(in crate::config) settings: RulesConfig,
}

pub(super) fn read_rules(table: &Table<'_>) -> Rules {
    let directories = read_directories(table);
    let state_dir = table.text("state_dir");
    let values = |list: Vec<Placed<String>>| list.into_iter().map(|glob| glob.value).collect();
    let standby = table.text("direction").is_some_and(|word| word.as_str() == "active-to-standby");
    Rules {
        place: table.place.clone(),
        settings: RulesConfig {
            directories: directories.iter().map(|(name, path)| (name.clone(), path.value.clone())).collect(),
            include: values(table.list("include")),
            exclude: values(table.list("exclude")),
            direction: if standby { Direction::ActiveToStandby } else { Direction::Both },
            group: None,
            port: port(table),
            ssh: table.command("ssh").map(|command| command.value),
            user: table.text("user").map(|user| user.value),
            keep_time: time(table, "keep_time"),
            keep_size: table.integer("keep_size_mib").map_or(1, |size| *size),
            audit_interval: time(table, "audit_interval"),
            state_dir: state_dir.as_ref().map(|path| path.value.clone().into()).unwrap_or_default(),
            socket: table.text("socket").map(|path| path.value.into()).unwrap_or_default(),
        },
        directories,
        group: table.text("group"),
        state_dir,
    }
}

/// The directories whose name and path are good.
fn read_directories(table: &Table<'_>) -> Vec<(String, Placed<String>)> {
    const LETTERS: &str = "1 to 32 letters, digits and `.`, `_`, `-`, beginning with a letter or digit";
    let before = table.findings.errors();
    let mut directories = table.strings("directories", |name| Grammar::Name.check(name).is_ok(), LETTERS);
    let all_read = table.findings.errors() == before;
    let place = table.place_of("directories");
    if directories.is_empty() && all_read {
        let finding = Finding::conflict(&place, "must name at least one directory").without_value();
        table.findings.put(finding.hint("for example directories = { re = \"$RE_CONFDIR\" }"));
    }
    if directories.len() > DIRECTORIES_MAX {
        let rule = format!("must name at most {DIRECTORIES_MAX} directories, not {}", directories.len());
        let hint = "name a directory above several of them; what is below it is replicated as well";
        table.findings.put(Finding::conflict(&place, rule).without_value().hint(hint));
    }
    directories.retain(|(_, path)| table.good(Grammar::Directory, path));
    directories
}
