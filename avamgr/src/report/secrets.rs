//! The secrets of this node: what stands in its secret files, and what its config says in the clear.
//!
//! The config is searched as TOML, key by key, also when it is no valid config: a report is asked for when something is wrong.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use avamgr_core::config::command_words;
use toml::{Table, Value};

use super::clean::is_secret_name;
use super::fetch::{read, within};

/// Shorter values are found in ordinary words: hiding them would only spoil everything else.
const VALUE_MIN: usize = 4;
/// The values of an environment have no names we know: those that look like more than a setting are taken for secrets.
const ENVIRONMENT_MIN: usize = 8;
/// A word of a secret file that is longer than any name in it.
const WORD_MIN: usize = 33;
/// A line of a secret file that says something by itself, as those of a private key do.
const LINE_MIN: usize = 16;
/// Keys of the config whose value is the path of a secret file.
const FILE_KEYS: [&str; 4] = ["key_file", "secrets", "users", "certificate"];
/// Those files where the config does not say otherwise.
const FILES: [&str; 4] = ["/etc/avamgr/keys", "/etc/avamgr/users", "/etc/avamgr/web.pem", "/etc/avamgr/witness.keys"];

/// What must not leave the node.
#[derive(Clone, Default)]
pub(super) struct Secrets {
    pub(super) values: BTreeSet<String>,
    /// Secret files that are there and could not be read.
    pub(super) unread: Vec<String>,
}

/// What the config says: secrets, and files of them.
#[derive(Debug, Default)]
struct Found {
    values: BTreeSet<String>,
    files: BTreeSet<PathBuf>,
}

impl Secrets {
    /// All that this process may know; each file within `patience`.
    pub(super) fn gather(config: Option<&str>, patience: Duration) -> Self {
        let mut found =
            config.and_then(|text| text.parse::<Table>().ok()).map(|table| search(&table)).unwrap_or_default();
        found.files.extend(FILES.map(PathBuf::from));
        let mut secrets = Self { values: found.values, unread: Vec::new() };
        for path in found.files {
            secrets.take_in(&path, patience);
        }
        secrets
    }

    fn take_in(&mut self, path: &Path, patience: Duration) {
        let wanted = path.to_owned();
        let there = path.symlink_metadata().is_ok();
        match within(patience, move || read(&wanted)) {
            Ok((bytes, _)) => self.values.extend(of_file(&String::from_utf8_lossy(&bytes))),
            // What is not there holds no secret.
            Err(_) if !there => {}
            Err(why) => self.unread.push(format!(
                "{}: {why}: what is in it could not be searched for, only what looks like a secret was removed (run it as root)",
                path.display()
            )),
        }
    }
}

/// What is secret in a file of keys, options, users or PEM: every line that says something, every long word, every value.
fn of_file(text: &str) -> BTreeSet<String> {
    let mut values = BTreeSet::new();
    let lines = text.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("-----")) {
        if line.len() >= LINE_MIN {
            values.insert(line.to_owned());
        }
        values.extend(line.split_whitespace().filter(|word| word.len() >= WORD_MIN).map(str::to_owned));
        if let Some((name, value)) = line.split_once('=')
            && name.trim().chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            keep(&mut values, value.trim(), VALUE_MIN);
        }
    }
    values
}

fn keep(values: &mut BTreeSet<String>, value: &str, least: usize) {
    if value.len() >= least {
        values.insert(value.to_owned());
    }
}

fn search(table: &Table) -> Found {
    let mut found = Found::default();
    search_table(table, false, &mut found);
    found
}

/// `is_environment`: its names are a program's own.
fn search_table(table: &Table, is_environment: bool, found: &mut Found) {
    for (name, value) in table {
        match value {
            Value::Table(inner) => search_table(inner, name == "environment", found),
            Value::Array(items) => search_list(items, found),
            Value::String(text) => search_text(name, text, is_environment, found),
            Value::Integer(number) if is_secret_name(name) => keep(&mut found.values, &number.to_string(), VALUE_MIN),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
        }
    }
}

fn search_text(name: &str, text: &str, is_environment: bool, found: &mut Found) {
    let is_path = text.starts_with('/');
    if is_path && FILE_KEYS.contains(&name) {
        found.files.insert(text.into());
    } else if is_secret_name(name) {
        keep(&mut found.values, text, VALUE_MIN);
    } else if is_environment && !is_path {
        keep(&mut found.values, text, ENVIRONMENT_MIN);
    }
    // As it is run, with quoted words as one.
    match command_words(text) {
        Some(words) => search_words(&words.iter().map(String::as_str).collect::<Vec<_>>(), found),
        None => search_words(&text.split_whitespace().collect::<Vec<_>>(), found),
    }
}

fn search_list(items: &[Value], found: &mut Found) {
    let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
    search_words(&words, found);
    for item in items {
        match item {
            Value::Table(inner) => search_table(inner, false, found),
            Value::Array(items) => search_list(items, found),
            Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
        }
    }
}

/// A command line: `--password=X`, `--password X`, `TOKEN=X`, `http://user:X@host`, and the key that `ssh -i` names.
fn search_words(words: &[&str], found: &mut Found) {
    let bare = |word: &str| word.trim_matches(['"', '\'']).to_owned();
    for (at, word) in words.iter().enumerate() {
        let next = words.get(at + 1).map(|next| bare(next));
        if let Some((name, value)) = word.split_once('=')
            && is_secret_name(name)
        {
            keep(&mut found.values, &bare(value), VALUE_MIN);
        } else if word.starts_with('-') && is_secret_name(word) {
            keep(&mut found.values, &next.unwrap_or_default(), VALUE_MIN);
        } else if let (true, Some(path)) = (*word == "-i", next.filter(|next| next.starts_with('/'))) {
            found.files.insert(path.into());
        }
        let credentials = word.split_once("://").and_then(|(_, rest)| rest.split('/').next()?.rsplit_once('@'));
        if let Some((credentials, _)) = credentials {
            let password = credentials.split_once(':').map_or(credentials, |(_, password)| password);
            keep(&mut found.values, password, VALUE_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Found {
        search(&text.parse().unwrap())
    }

    #[test]
    fn the_config_is_searched_wherever_a_secret_may_stand() {
        let text = r#"
            [[fence]]
            options = { ip = "172.16.6.54", username = "avamgr", passwd = "in-options" }
            secrets = "/etc/avamgr/fence-hadev1"
            [[group]]
            on_role_change = "/etc/avamgr/hook --password=of-the-hook --token next-word --db-pass 'some quoted words'"
            [[group.resource]]
            exec = ["run", "--api-key", "of-the-list", "http://me:of-the-url@host/path"]
            environment = { LANG = "C", DB = "of-the-environment", HOME = "/var/lib/something" }
            [rules]
            ssh = "ssh -i /etc/avamgr/rules_key -o BatchMode=yes"
            [etcd]
            key_file = "/etc/avamgr/etcd.pem"
            ca_file = "/etc/avamgr/ca.pem"
        "#;
        let found = found(text);
        let values: Vec<&str> = found.values.iter().map(String::as_str).collect();
        let expected = [
            "in-options",
            "next-word",
            "of-the-environment",
            "of-the-hook",
            "of-the-list",
            "of-the-url",
            "some quoted words",
        ];
        assert_eq!(values, expected);
        let files: Vec<String> = found.files.iter().map(|path| path.display().to_string()).collect();
        assert_eq!(files, ["/etc/avamgr/etcd.pem", "/etc/avamgr/fence-hadev1", "/etc/avamgr/rules_key"]);
    }

    #[test]
    fn the_secrets_of_every_kind_of_file_are_known_and_names_are_none() {
        let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        assert!(of_file(&format!("# heartbeat keys\n1 {hex} send\n")).contains(hex));
        assert!(of_file("# of the board\npassword = a=b # c\nlanplus=1\n").contains("a=b # c"));
        assert!(!of_file("lanplus=1\n").contains("1"));
        let hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA";
        let users = of_file(&format!("user alice operator {hash}\n"));
        assert!(users.contains(hash) && !users.contains("alice"));
        let pem =
            "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEG\nCCqGSM49AwEHBG0w\n-----END PRIVATE KEY-----\n";
        assert_eq!(of_file(pem).len(), 2);
    }
}
