//! `[rules]`: what it means.

use std::path::Path;
use std::time::Duration;

use super::{PAIR, SAMPLE, changed, good};
use crate::config::keys::{DIRECTORIES_MAX, GLOBS_MAX};
use crate::config::{Config, Direction, RulesConfig, parse_with_warnings};

/// The rules of `PAIR` with these lines.
fn rules(lines: &str) -> RulesConfig {
    let config = good(&changed("", &format!("[rules]\ndirectories = {{ re = \"/etc/re\" }}\n{lines}")));
    config.rules.unwrap_or_else(|| panic!("{lines}"))
}

#[test]
fn a_table_with_directories_alone_has_the_defaults_of_the_manual() {
    let rules = rules("");
    let directories: Vec<(&str, &str)> =
        rules.directories.iter().map(|(name, path)| (name.as_str(), path.as_str())).collect();
    assert_eq!(directories, [("re", "/etc/re")]);
    assert_eq!(rules.include, [""; 0]);
    assert_eq!(rules.exclude, ["*~", ".*.sw[a-p]", ".#*", "#*#", "4913"]);
    assert_eq!((rules.direction, rules.group, rules.port), (Direction::Both, None, 6942));
    assert_eq!((rules.ssh.as_ref(), rules.user.as_ref()), (None, None));
    assert_eq!((rules.keep_time, rules.keep_size), (Duration::from_secs(30 * 86_400), 1024));
    assert_eq!(rules.audit_interval, Duration::from_secs(3_600));
    assert_eq!(rules.state_dir, Path::new("/var/lib/avamgr-rules"));
    assert_eq!(rules.socket, Path::new("/run/avamgr-rules/rules.sock"));
}

/// Beside its meaning this holds the words of the control socket and of the log.
#[test]
fn every_key_of_the_rules_arrives() {
    let lines = r#"
        include = "*.conf"
        exclude = ["tmp/**", "*.{bak,old}"]
        direction = "active-to-standby"
        group = "two"
        port = 7000
        ssh = "ssh -i '/etc/a key'"
        user = "re"
        keep_time = "2d"
        keep_size_mib = 7
        audit_interval = "90s"
        state_dir = "/s"
        socket = "/c"
        [rules.directories]
        re = "$RE_CONFDIR"
        "erl.bf" = "${ERLBF}/more"
        [[group]]
        name = "two"
        [[group.resource]]
        name = "more"
        exec = "more"
    "#;
    let config = good(&changed("", &format!("[rules]{lines}")));
    let facts = serde_json::to_string_pretty(&config.rules).unwrap_or_default();
    let expected = include_str!("every_rule.json").trim_end();
    assert_eq!(facts, expected);
    let text = serde_json::to_string(&config).unwrap_or_default();
    let back: Result<Config, String> = serde_json::from_str(&text).map_err(|error| error.to_string());
    assert_eq!(back, Ok(config));
}

#[test]
fn an_exclusion_of_nothing_is_written_as_an_empty_list() {
    assert_eq!(rules("exclude = []").exclude, [""; 0]);
    assert_eq!(rules("exclude = \"*.tmp\"").exclude, ["*.tmp"]);
}

#[test]
fn both_directions_have_their_word() {
    assert_eq!(rules("direction = \"both\"").direction, Direction::Both);
    assert_eq!(rules("direction = \"active-to-standby\"").direction, Direction::ActiveToStandby);
}

#[test]
fn nodes_agree_on_rules_too_and_a_config_without_them_is_what_it_was() {
    let digest = |more: &str| good(&changed("", more)).digest;
    let with = digest("[rules]\ndirectories = { re = \"/etc/re\" }");
    assert_ne!(with, digest(""));
    assert_ne!(with, digest("[rules]\ndirectories = { re = \"/etc/other\" }"));
    assert_eq!(with, digest("[rules]\nport = 6942\ndirectories = { re = '/etc/re' }"));
    assert!(!serde_json::to_string(&good(PAIR)).unwrap_or_default().contains("rules"));
}

#[test]
fn a_node_alone_has_nobody_to_replicate_to() {
    let pair = changed("", "[rules]\ndirectories = { re = \"/etc/re\" }");
    let text = pair.replace("name = \"pair\"", "name = \"pair\"\nstandalone = true");
    let (alone, written) = (good(&pair).alone(), good(&text));
    assert_eq!((alone.rules.as_ref(), written.rules.as_ref()), (None, None));
    assert_eq!(alone.digest, written.digest);
}

#[test]
fn the_sample_replicates_what_is_asked_for() {
    let rules = good(SAMPLE).rules.map(|rules| (rules.directories, rules.direction));
    let expected = [("erlbf", "$ERLBF_RE_CONFDIR"), ("re", "$RE_CONFDIR")];
    let expected = expected.map(|(name, path)| (name.to_owned(), path.to_owned())).into();
    assert_eq!(rules, Some((expected, Direction::Both)));
}

#[test]
fn limits_are_good_up_to_their_last_and_not_beyond() {
    let lists = |directories: usize, globs: usize| {
        let directories: String = (0..directories).map(|n| format!("d{n} = \"/d{n}\", ")).collect();
        let globs: String = (0..globs).map(|n| format!("\"g{n}\", ")).collect();
        let text = changed("", &format!("[rules]\nexclude = [{globs}]\ndirectories = {{ {directories} }}"));
        let list = parse_with_warnings(&text, "x").map_or_else(|errors| errors, |(_, warnings)| warnings);
        list.findings.iter().map(|finding| finding.problem.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(lists(DIRECTORIES_MAX, GLOBS_MAX), [""; 0]);
    assert_eq!(lists(DIRECTORIES_MAX + 1, 1), ["must name at most 64 directories, not 65"]);
    assert_eq!(lists(1, GLOBS_MAX + 1), ["must be a list of 0 to 256 strings"]);
}
