//! Which files the archive has, and where each comes from. Nothing here looks at anything.

use std::path::{Path, PathBuf};

use avamgr_core::config::Config;
use toml::Table;

use super::archive::stem;
use crate::courier::keep::{self, beside};
use crate::window;

/// Lines of the journal of a day: enough for what somebody can read.
const LINES_MAX: &str = "200000";
/// Since when the journal is read.
const SINCE: &str = "--since=-1day";
/// The settings of the service, on Debian and elsewhere.
const SETTINGS: [&str; 2] = ["/etc/default/dre", "/etc/sysconfig/dre"];
/// The service of systemd.
const UNIT: &str = "dre.service";

/// Where the report is made.
#[derive(Clone, Debug)]
pub struct Site {
    /// The config file.
    pub config_file: PathBuf,
    /// Its text, if it can be read.
    pub config_text: Option<String>,
    /// What it says, if it is valid.
    pub config: Option<Config>,
    /// Another control socket than the config's.
    pub socket: Option<PathBuf>,
    /// The file of this program.
    pub own: PathBuf,
    /// Name of this node.
    pub node: String,
    /// Name of the cluster.
    pub cluster: String,
    /// When it is made, RFC 3339 in UTC.
    pub made: String,
    /// Say what is to be done on the other nodes.
    pub peers: bool,
}

impl Site {
    /// Name of the archive without its end, and of the one directory in it.
    pub fn stem(&self) -> String {
        stem(&self.cluster, &self.node, &self.made)
    }

    /// The other nodes.
    pub fn others(&self) -> Vec<&str> {
        let nodes = self.config.iter().flat_map(|config| &config.nodes);
        nodes.map(String::as_str).filter(|name| *name != self.node).collect()
    }
}

/// Where a part comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    File(PathBuf),
    Command(Vec<String>),
    Text(String),
}

/// One file of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) file: String,
    pub(super) source: Source,
    /// Whether it is worth a word when it is not there.
    pub(super) is_expected: bool,
}

fn file(name: &str, path: &Path, is_expected: bool) -> Part {
    Part { file: name.to_owned(), source: Source::File(path.to_owned()), is_expected }
}

fn command<'a>(name: &str, words: impl IntoIterator<Item = &'a str>) -> Part {
    let words = words.into_iter().map(str::to_owned).collect();
    Part { file: name.to_owned(), source: Source::Command(words), is_expected: true }
}

/// Every part.
pub(super) fn parts(site: &Site) -> Vec<Part> {
    let mut parts = vec![config(site)];
    parts.extend(SETTINGS.map(|path| {
        let name = path.trim_start_matches("/etc/").replace('/', "-");
        file(&format!("config/{name}"), Path::new(path), false)
    }));
    let state_dir = site.config.as_ref().map_or(Path::new("/var/lib/avamgr"), |config| &config.daemon.state_dir);
    parts.push(file("state/state.json", &state_dir.join("state.json"), false));
    parts.extend(told(site));
    parts.extend(rules(site));
    parts.extend(versions(site));
    parts.extend(network());
    parts.extend(journal());
    if site.peers && !site.others().is_empty() {
        parts.push(Part { file: "peers.txt".to_owned(), source: Source::Text(peers(site)), is_expected: true });
    }
    parts
}

/// The config as it is on disk, unless nobody can tell a secret in it from another word.
fn config(site: &Site) -> Part {
    const NAME: &str = "config/avamgr.toml";
    if site.config_text.as_ref().is_none_or(|text| text.parse::<Table>().is_ok()) {
        return file(NAME, &site.config_file, true);
    }
    let text = "# It is no TOML, so nobody can tell what in it is secret: it was left out. check.txt says what is wrong with it.\n";
    Part { file: NAME.to_owned(), source: Source::Text(text.to_owned()), is_expected: true }
}

/// What the verbs of the command line say.
fn told(site: &Site) -> Vec<Part> {
    let own = site.own.to_string_lossy();
    let config = site.config_file.to_string_lossy();
    let socket = site.socket.as_ref().map(|path| path.to_string_lossy());
    let verb = |name: &str, words: &[&str]| {
        let mut all = vec![own.as_ref(), "--config", config.as_ref()];
        all.extend(socket.iter().flat_map(|path| ["--socket", path.as_ref()]));
        all.extend(words);
        command(name, all)
    };
    vec![
        verb("status.txt", &["status"]),
        verb("status.json", &["status", "--json"]),
        verb("why.txt", &["why"]),
        verb("why.json", &["why", "--json"]),
        verb("check.txt", &["check"]),
        verb("check.json", &["check", "--json"]),
        verb("config/running.json", &["config", "show"]),
        verb("history.jsonl", &["history", "--json", "--last", "all"]),
    ]
}

/// A program of ours: beside this one, else where PATH leads.
fn ours(site: &Site, program: &str) -> String {
    beside(program, &site.own).map_or_else(|| program.to_owned(), |path| path.to_string_lossy().into_owned())
}

/// Where a config that cannot be read might have rules, they are asked for too.
fn rules(site: &Site) -> Vec<Part> {
    if site.config.as_ref().is_some_and(|config| config.rules.is_none()) {
        return Vec::new();
    }
    let (program, config) = (ours(site, keep::PROGRAM), site.config_file.to_string_lossy());
    let asked = |name: &str, more: &[&str]| {
        command(name, [program.as_str(), "--config", config.as_ref()].into_iter().chain(more.iter().copied()))
    };
    vec![asked("rules/status.txt", &["status"]), asked("rules/status.json", &["--json", "status"])]
}

fn versions(site: &Site) -> Vec<Part> {
    let mut parts = vec![
        command("versions/avamgr.txt", [site.own.to_string_lossy().as_ref(), "--version"]),
        file("versions/kernel.txt", Path::new("/proc/version"), true),
        file("versions/distribution.txt", Path::new("/etc/os-release"), true),
    ];
    let has_rules = site.config.as_ref().is_none_or(|config| config.rules.is_some());
    let has_page = site.config.as_ref().is_none_or(|config| config.web.is_some());
    let programs = [("avamgrd", true), (keep::PROGRAM, has_rules), (window::PROGRAM, has_page)];
    parts.extend(
        programs.into_iter().filter(|(_, wanted)| *wanted).map(|(program, _)| {
            command(&format!("versions/{program}.txt"), [ours(site, program).as_str(), "--version"])
        }),
    );
    parts
}

fn network() -> Vec<Part> {
    vec![
        command("network/addresses.txt", ["ip", "-details", "-statistics", "address", "show"]),
        command("network/routes.txt", ["ip", "-details", "route", "show", "table", "all"]),
        command("network/routes6.txt", ["ip", "-6", "-details", "route", "show", "table", "all"]),
        command("network/rules.txt", ["ip", "rule", "show"]),
        command("network/rules6.txt", ["ip", "-6", "rule", "show"]),
        command("network/neighbours.txt", ["ip", "neighbour", "show"]),
        command("network/nftables.txt", ["nft", "list", "ruleset"]),
    ]
}

/// What our programs logged, and what systemd said of the service.
fn journal() -> Vec<Part> {
    let begin = ["journalctl", "--no-pager", "--quiet", "--utc", "--output=short-iso-precise", SINCE, "-n", LINES_MAX];
    let ours = ["avamgrd", keep::PROGRAM, window::PROGRAM].into_iter().flat_map(|name| ["-t", name]);
    vec![
        command("journal/programs.txt", begin.into_iter().chain(ours)),
        command("journal/service.txt", begin.into_iter().chain(["-u", UNIT])),
    ]
}

/// What the reader of this archive does not have yet.
fn peers(site: &Site) -> String {
    let others = site.others();
    let mut text = format!(
        "This is the report of {} alone. What it knows of {} is in status.txt, status.json and history.jsonl: roles, links,\n\
         clock, and when each was heard last. What they know themselves is in a report of their own, made there with\n\n",
        site.node,
        others.join(", ")
    );
    for other in others {
        text.push_str(&format!("    avamgr report        # on {other}\n"));
    }
    text.push_str("\nSend the archives together. All times in them are UTC.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(config: Option<&str>) -> Site {
        Site {
            config_file: "/etc/avamgr/avamgr.toml".into(),
            config_text: config.map(str::to_owned),
            config: config.map(|text| avamgr_core::config::parse(text, "test").unwrap()),
            socket: Some("/run/other.sock".into()),
            own: "/usr/bin/avamgr".into(),
            node: "hadev1".to_owned(),
            cluster: "hadev".to_owned(),
            made: "2026-11-21T14:38:42Z".to_owned(),
            peers: true,
        }
    }

    fn names(site: &Site) -> Vec<String> {
        parts(site).into_iter().map(|part| part.file).collect()
    }

    #[test]
    fn each_file_comes_once_and_from_the_socket_that_was_named() {
        let sample = include_str!("../../../etc/avamgr.toml");
        let mut files = names(&site(Some(sample)));
        let count = files.len();
        files.sort();
        files.dedup();
        assert_eq!(files.len(), count, "{files:?}");
        let all = parts(&site(Some(sample)));
        let status = all.iter().find(|part| part.file == "status.txt").map(|part| &part.source);
        let words = "/usr/bin/avamgr --config /etc/avamgr/avamgr.toml --socket /run/other.sock status";
        assert_eq!(status, Some(&Source::Command(words.split(' ').map(str::to_owned).collect())));
    }

    #[test]
    fn what_the_config_does_not_have_is_not_asked_for_unless_nobody_knows() {
        let sample = include_str!("../../../etc/avamgr.toml");
        let without = sample.lines().take_while(|line| *line != "[rules]").collect::<Vec<_>>().join("\n");
        assert!(!names(&site(Some(&without))).iter().any(|name| name.starts_with("rules/")));
        assert!(names(&site(Some(sample))).contains(&"rules/status.txt".to_owned()));
        assert!(names(&site(None)).contains(&"rules/status.txt".to_owned()));
    }

    #[test]
    fn the_other_nodes_are_named_unless_nobody_wants_to_know() {
        let sample = include_str!("../../../etc/avamgr.toml");
        let with = site(Some(sample));
        assert_eq!(with.others(), ["hadev2"]);
        assert!(peers(&with).contains("avamgr report        # on hadev2"));
        assert!(!names(&Site { peers: false, ..with }).contains(&"peers.txt".to_owned()));
    }
}
