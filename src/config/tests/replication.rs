//! `[rules]`: what it means, in a whole config and for the program that does it.

use std::path::Path;
use std::time::Duration;

use super::{COURIER, PAIR, SAMPLE, changed, good};
use crate::cluster::GroupId;
use crate::config::keys::{DIRECTORIES_MAX, GLOBS_MAX};
use crate::config::{Config, Direction, LinkKind, Replication, RulesConfig, parse_replication, parse_with_warnings};

/// The rules of `PAIR` with these lines.
fn rules(lines: &str) -> RulesConfig {
    let config = good(&changed("", &format!("[rules]\ndirectories = {{ re = \"/etc/re\" }}\n{lines}")));
    config.rules.unwrap_or_else(|| panic!("{lines}"))
}

fn courier(text: &str) -> Replication {
    parse_replication(text, "courier.toml").unwrap_or_else(|errors| panic!("{errors}")).0
}

/// Everything the courier has to say about a text, one line each.
fn said(text: &str) -> Vec<String> {
    let list = match parse_replication(text, "courier.toml") {
        Ok((_, warnings)) => warnings,
        Err(errors) => errors,
    };
    list.findings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_table_with_directories_alone_has_the_defaults_of_the_manual() {
    let rules = rules("");
    let directories: Vec<(&str, &str)> =
        rules.directories.iter().map(|(name, path)| (name.as_str(), path.as_str())).collect();
    assert_eq!(directories, [("re", "/etc/re")]);
    assert_eq!(rules.include, [""; 0]);
    assert_eq!(rules.exclude, ["*~", ".*.sw[a-p]", ".#*", "#*#"]);
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

#[test]
fn the_courier_needs_no_more_than_nodes_a_link_and_rules() {
    let replication = courier(COURIER);
    assert_eq!((replication.cluster.as_str(), replication.group.as_ref()), ("pair", None));
    assert_eq!(replication.nodes, ["a1", "b2"]);
    let [link] = replication.links.as_slice() else { panic!("{:?}", replication.links) };
    let addresses: Vec<String> = link.udp().unwrap().addresses.iter().map(ToString::to_string).collect();
    assert_eq!((link.kind, addresses), (LinkKind::Dedicated, vec!["10.1.0.1".to_owned(), "10.1.0.2".to_owned()]));
    assert_eq!(replication.rules, rules(""));
    assert_eq!(replication.key_file, Path::new("/etc/avamgr/keys"));
    assert_eq!(replication.socket, Path::new("/run/avamgr/avamgr.sock"));
    let other = courier(&format!("{COURIER}group = \"dre\"\n[daemon]\nkey_file = \"/k\"\nsocket = \"/c\"\n"));
    assert_eq!((other.key_file.as_path(), other.socket.as_path()), (Path::new("/k"), Path::new("/c")));
    assert_eq!(other.group.as_deref(), Some("dre"), "the daemon may know a group that is not in this file");
}

#[test]
fn the_courier_takes_a_whole_config_as_well() {
    let replication = courier(SAMPLE);
    let config = good(SAMPLE);
    assert_eq!(replication.nodes, config.nodes);
    assert_eq!(Some(&replication.rules), config.rules.as_ref());
    assert_eq!(replication.links, config.links[..2], "the neutral path is no dedicated link");
    assert_eq!(replication.group.as_deref(), Some("dre"), "the first group, unless another is written");
    let two =
        "[[group]]\nname = \"two\"\n[[group.resource]]\nname = \"more\"\nexec = \"more\"\n[rules]\ngroup = \"two\"\n";
    let text = changed("", &format!("{two}directories = {{ re = \"/etc/re\" }}"));
    assert_eq!(courier(&text).group.as_deref(), Some("two"));
    assert_eq!(good(&text).rules.and_then(|rules| rules.group), Some(GroupId(1)));
}

#[test]
fn the_courier_does_not_judge_timers() {
    let text =
        changed("", "[timers]\ndead_time = \"9s\"\nhold_time = \"1ms\"\n[rules]\ndirectories = { re = \"/etc/re\" }");
    assert!(parse_with_warnings(&text, "x").is_err());
    assert_eq!(said(&text), [""; 0]);
}

#[test]
fn the_courier_is_told_all_at_once_what_it_needs() {
    assert_eq!(
        said(""),
        [
            "line 1, column 1: `cluster` is missing (add a [cluster] table)",
            "line 1, column 1: `link` must be there: rules travel over dedicated links (add a [[link]] table with the \
             address of each node)",
            "line 1, column 1: `rules` is missing: there is nothing to replicate (add a [rules] table with directories = \
             { re = \"$RE_CONFDIR\" })",
        ]
    );
    let alone = "[cluster]\nname = \"one\"\nnodes = \"a1\"\n[rules]\ndirectories = { re = \"/etc/re\" }\n";
    let two = "line 3, column 9: `cluster.nodes` must name at least two nodes (name the other node: rules are replicated \
               to it)";
    assert_eq!(
        said(&format!("{alone}[[link]]\nname = \"l\"\ninterface = \"i\"\naddress = {{ a1 = \"10.0.0.1\" }}")),
        [two]
    );
}

#[test]
fn the_courier_is_told_what_is_wrong_anywhere() {
    let table = [
        (
            "nodes = [\"a1\", \"b2\"]",
            "nodes = [\"a1\", \"b2\"]\nstandalone = true",
            "line 4, column 14: `cluster.standalone = true` leaves nobody to replicate rules to (leave it out, or do not \
             run rules-sync)",
        ),
        (
            ", b2 = \"10.1.0.2\"",
            "",
            "line 8, column 11: `link.one.address.b2` is missing (every node of [cluster] needs one: add b2 = ...)",
        ),
        (
            "\"10.1.0.2\"",
            "\"10.1.0.1\"",
            "line 8, column 35: `link.one.address.b2 = \"10.1.0.1\"` must be an address of its own, but 10.1.0.1 is already \
             the address of link one",
        ),
        (
            "[rules]",
            "[limits]\nfailover = 1\n[rules]",
            "line 11, column 1: `limits.failover` is not a known key (did you mean `failovers`?)",
        ),
        (
            "[rules]",
            "[[link]]\nname = \"two\"\ninterface = \"eth3\"\naddress = { a1 = \"10.2.0.1\", b2 = \"10.2.0.2\" }\n[rules]",
            "line 12, column 13: `link.two.interface = \"eth3\"` must be another one than that of link one: on a1 both are \
             eth3",
        ),
        (
            "name = \"one\"",
            "name = \"neutral\"",
            "line 6, column 8: `link.neutral.name = \"neutral\"` is the name of the path that [arbitrator] describes (give \
             the link another name)",
        ),
    ];
    for (from, to, expected) in table {
        assert_eq!(COURIER.matches(from).count(), 1, "{from}");
        assert_eq!(said(&COURIER.replace(from, to)), [expected]);
    }
}
