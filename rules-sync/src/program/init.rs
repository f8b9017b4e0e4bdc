//! `rules-sync init`: asks for the directories, as an installer would, and writes them into the config. Everything else in the file
//! stays as it is, and nothing is written that is not valid.

use std::env;
use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use avamgr_core::config::{parse_replication, split_variable};

use super::args::{Args, InitArgs};
use super::show::print;

/// Variables that the rules engine finds its directories by.
const USUAL: [(&str, &str); 2] = [("re", "RE_CONFDIR"), ("erlbf", "ERLBF_RE_CONFDIR")];

pub(super) fn init(args: &Args, order: &InitArgs) -> Result<()> {
    let path = &args.config;
    let old = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    if old.lines().any(|line| line.trim_start().starts_with("[rules]")) {
        bail!("{} has a table [rules] already: change it there, then run `rules-sync check`", path.display());
    }
    let directories = if order.directories.is_empty() { ask_all()? } else { named(&order.directories)? };
    if directories.is_empty() {
        bail!("no directory was named: nothing is written");
    }
    let mut text = old.clone();
    if old.is_empty() {
        text.push_str(&nodes()?);
    }
    text.push_str(&table(&directories));
    if let Err(errors) = parse_replication(&text, &path.display().to_string()) {
        bail!("nothing is written, because the config would be invalid\n{errors}");
    }
    print(&table(&directories))?;
    if !order.yes && !agreed(&format!("Write this to {}?", path.display()))? {
        bail!("nothing is written");
    }
    write(path, &text)?;
    print(&format!("written to {}; copy it to the other nodes, then `rules-sync check` on each\n", path.display()))?;
    Ok(())
}

/// As a whole or not at all.
fn write(path: &Path, text: &str) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory).with_context(cannot)?;
    let new = path.with_extension("toml.new");
    fs::write(&new, text).with_context(cannot)?;
    let mode = fs::metadata(path).map_or(0o644, |meta| meta.permissions().mode() & 0o777);
    fs::set_permissions(&new, Permissions::from_mode(mode)).with_context(cannot)?;
    fs::rename(&new, path).with_context(cannot)
}

fn table(directories: &[(String, String)]) -> String {
    let quoted = |(name, path): &(String, String)| format!("{name} = {}", toml::Value::String(path.clone()));
    let list: Vec<String> = directories.iter().map(quoted).collect();
    format!(
        "\n# Directories of rules that are the same on every node.\n[rules]\ndirectories = {{ {} }}\n",
        list.join(", ")
    )
}

/// `name=path`, or a path whose last part is the name.
fn named(given: &[String]) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for text in given {
        let (name, path) = match text.split_once('=') {
            Some((name, path)) => (name.to_owned(), path.to_owned()),
            None => (name_of(text), text.clone()),
        };
        all.push((name, path));
    }
    Ok(all)
}

/// What to call a directory: the last part of its path, or of its variable.
fn name_of(path: &str) -> String {
    if let Some((_, variable)) = USUAL.iter().map(|(name, variable)| (name, *variable)).find(|(_, variable)| {
        split_variable(path).is_some_and(|(written, rest)| written == *variable && rest.is_empty())
    }) {
        let usual = USUAL.iter().find(|(_, other)| *other == variable);
        return usual.map_or_else(String::new, |(name, _)| (*name).to_owned());
    }
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    last.chars().map(plain).collect::<String>().trim_matches('-').to_owned()
}

fn ask(question: &str, preset: &str) -> Result<String> {
    let hint = if preset.is_empty() { String::new() } else { format!(" [{preset}]") };
    print(&format!("{question}{hint}: "))?;
    io::stdout().flush()?;
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        bail!("nobody answers: say --directory PATH --yes");
    }
    let answer = line.trim();
    Ok(if answer.is_empty() { preset.to_owned() } else { answer.to_owned() })
}

fn agreed(question: &str) -> Result<bool> {
    Ok(matches!(ask(&format!("{question} (yes or no)"), "no")?.as_str(), "y" | "yes"))
}

fn ask_all() -> Result<Vec<(String, String)>> {
    print(
        "Directories whose files are the same on every node: a path, or $VARIABLE that each node sets for itself.\n",
    )?;
    let mut all = Vec::new();
    for (name, variable) in USUAL {
        let set = env::var_os(variable).map(|value| value.to_string_lossy().into_owned());
        let said = set.map_or_else(|| "is not set here".to_owned(), |value| format!("is {value} here"));
        let answer = ask(&format!("Directory of {variable} ({said}; - for none)"), &format!("${variable}"))?;
        if answer != "-" {
            all.push((name.to_owned(), answer));
        }
    }
    loop {
        let path = ask("Another directory (nothing: that is all)", "")?;
        if path.is_empty() {
            return Ok(all);
        }
        let name = ask("Its name on all nodes", &name_of(&path))?;
        all.push((name, path));
    }
}

/// A config without anything else: the nodes and one link.
fn nodes() -> Result<String> {
    print("There is no config yet: two nodes and the link between them are needed.\n")?;
    let cluster = ask("Name of the cluster", "rules")?;
    let own = hostname::get().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let one = ask("Hostname of the first node", own.split('.').next().unwrap_or_default())?;
    let one_address = ask("Its address on the link", "")?;
    let two = ask("Hostname of the other node", "")?;
    let two_address = ask("Its address on the link", "")?;
    let interface = ask("Interface of the link", "eth1")?;
    let quoted = |text: String| toml::Value::String(text).to_string();
    let (one, two) = (quoted(one), quoted(two));
    Ok(format!(
        "[cluster]\nname = {}\nnodes = [{one}, {two}]\n\n[[link]]\nname = \"primary\"\ninterface = {}\n\
         address = {{ {one} = {}, {two} = {} }}\n",
        quoted(cluster),
        quoted(interface),
        quoted(one_address),
        quoted(two_address)
    ))
}
