//! The language is told in three places, the table in `keys.rs`, the manual and the sample: they say the same.

use std::collections::BTreeSet;

use super::{SAMPLE, changed, findings, good};
use crate::config::{Authority, Key, Preset, SECTIONS, Section, Takes};

const MANUAL: &str = include_str!("../../../docs/config.md");

/// How a table is written.
fn header(section: &Section) -> String {
    let several = |path: &str| {
        let last = path.rsplit('.').next();
        let parent = path.strip_suffix(last.unwrap_or_default()).map_or("", |parent| parent.trim_end_matches('.'));
        let keys = SECTIONS.iter().find(|section| section.path == parent).map_or(&[] as &[Key], |section| section.keys);
        keys.iter().any(|key| Some(key.name) == last && matches!(key.takes, Takes::Tables(_)))
    };
    match section.path {
        "" => "the file".to_owned(),
        path if several(path) => format!("`[[{path}]]`"),
        path => format!("`[{path}]`"),
    }
}

/// The row of a key in the manual, without its meaning.
fn row(key: &Key) -> String {
    format!("| `{}` | {} | {} |", key.name, key.takes.describe(), key.default())
}

#[test]
fn the_manual_has_a_row_for_each_key_with_what_it_takes_and_its_default() {
    let mut wrong = Vec::new();
    for section in SECTIONS {
        let title = format!("## {}\n", header(section));
        let Some((_, rest)) = MANUAL.split_once(&title) else {
            wrong.push(title);
            wrong.extend(section.keys.iter().map(row));
            continue;
        };
        let text = rest.split("\n## ").next().unwrap_or_default();
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
        for key in section.keys {
            let start = row(key);
            let told = rows.iter().any(|row| row.strip_prefix(&start).is_some_and(|meaning| meaning.len() > 10));
            if !told {
                wrong.push(start);
            }
        }
        let known: Vec<String> = section.keys.iter().map(row).collect();
        let strangers = rows.iter().filter(|row| !known.iter().any(|start| row.starts_with(start.as_str())));
        wrong.extend(strangers.map(|row| format!("not in the language: {row}")));
    }
    assert!(wrong.is_empty(), "docs/config.md:\n{}", wrong.join("\n"));
}

#[test]
fn the_sample_is_good_and_shows_every_key() {
    good(SAMPLE);
    let words: BTreeSet<&str> =
        SAMPLE.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect();
    let missing: Vec<&str> = SECTIONS
        .iter()
        .flat_map(|section| section.keys)
        .map(|key| key.name)
        .filter(|name| !words.contains(name))
        .collect();
    assert!(missing.is_empty(), "etc/avamgr.toml does not show {missing:?}");
}

#[test]
fn the_sample_has_nothing_to_warn_of() {
    assert_eq!(findings(SAMPLE), [""; 0]);
}

/// The comments of the sample are commands that an operator will uncomment one day.
#[test]
fn what_the_sample_comments_out_is_good_too() {
    let uncommented = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if rest.contains(" = ") || rest.starts_with('[') => rest.trim_start_matches("# ").to_owned(),
        Some(_) | None => line.to_owned(),
    };
    // The init script stands beside the unit to show both, etcd beside the witness, the watchdog is too slow for the budget of
    // the sample, and the numbers in [timers] are those that are derived.
    let all_but = |left_out: &[&str]| -> String {
        let blocks = SAMPLE.split("\n\n").filter(|block| !left_out.iter().any(|table| block.contains(table)));
        let lines = blocks.flat_map(|block| block.lines().chain([""])).filter(|line| !line.contains("lsb = "));
        lines
            .filter(|line| !left_out.iter().any(|key| line.contains(key)))
            .map(|line| uncommented(line) + "\n")
            .collect()
    };
    let etcd = good(
        &all_but(&["# [witness]", "# [watchdog]", "# lease_time"])
            .replace("authority = \"lease\"", "authority = \"etcd\""),
    );
    assert_eq!((etcd.authority, etcd.etcd.map(|etcd| etcd.endpoints.len())), (Authority::Etcd, Some(3)));
    let config = good(&all_but(&["# [etcd]", "# [watchdog]"]));
    assert_eq!(config.by_hand.len(), 25);
    let mut shown = config.timers.clone();
    shown.hold_time = good(SAMPLE).timers.hold_time;
    assert_eq!(shown, good(SAMPLE).timers, "the sample shows the timers as they are derived");
    assert_eq!(config.timers.hold_time, shown.hold_time);
}

/// A value that no key takes.
const NONSENSE: &str = "1979-05-27";

#[test]
fn every_key_of_the_language_is_read_by_somebody() {
    for section in SECTIONS {
        for key in section.keys {
            let text = with_nonsense(section, key.name);
            let said = findings(&text);
            let told =
                said.iter().any(|line| line.contains(&format!("{}` must be", key.name)) || line.contains(NONSENSE));
            assert!(told, "`{}` of [{}] can be anything: {said:?}", key.name, section.path);
        }
    }
}

/// A file in which one key has a value that it cannot take.
fn with_nonsense(section: &Section, key: &str) -> String {
    let line = format!("{key} = {NONSENSE}");
    let resource = "[[group]]\nname = \"more\"\n[[group.resource]]\nname = \"more\"\nexec = \"more\"\n";
    match section.path {
        "" => line,
        "cluster" => changed("name = \"pair\"", &line),
        "arbitrator" => changed("ping = [\"10.0.0.250\"]", &line),
        "group" => changed("", &format!("[[group]]\n{line}")),
        "group.resource" => changed("", &format!("[[group]]\n[[group.resource]]\n{line}")),
        "group.resource.restart" => changed("", &format!("{resource}restart = {{ {line} }}")),
        "group.resource.ready" => changed("", &format!("{resource}ready = {{ {line} }}")),
        "group.resource.monitor" => changed("", &format!("{resource}[[group.resource.monitor]]\n{line}")),
        "link" | "ready" | "fence" => changed("", &format!("[[{}]]\n{line}", section.path)),
        path => changed("", &format!("[{path}]\n{line}")),
    }
}

#[test]
fn every_default_is_a_value_that_could_be_written() {
    for (section, key) in SECTIONS.iter().flat_map(|section| section.keys.iter().map(move |key| (section, key))) {
        let plain = matches!(key.takes, Takes::Integer(..) | Takes::Flag);
        let value = match key.preset {
            Preset::Value(value) if plain => value.to_owned(),
            Preset::Value(value) => format!("\"{value}\""),
            Preset::List(_) => key.default().trim_matches('`').to_owned(),
            Preset::Required | Preset::Optional | Preset::Derived => continue,
        };
        let text = with_nonsense(section, key.name).replace(NONSENSE, &value);
        let said = findings(&text);
        let blamed = |line: &&String| [" = ", "["].iter().any(|end| line.contains(&format!(".{}{end}", key.name)));
        let blamed: Vec<&String> = said.iter().filter(blamed).collect();
        assert!(blamed.is_empty(), "the default of `{}` in [{}]: {blamed:?}", key.name, section.path);
    }
}
