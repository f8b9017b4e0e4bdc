//! The documents for humans against the program: every config in them is valid, every command line is understood, every
//! link leads to a file, and the table of exit codes is that of the program.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};

use avamgr::cli::args::{Cli, DaemonArgs};
use avamgr::exit::Exit;
use clap::Parser;

/// The top of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// README.md and everything in docs/, with their texts.
fn documents() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    paths.push(root().join("README.md"));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The fenced blocks of a language, each with the number of its first line.
fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String, bool)> = None;
    for (number, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        open = match (open, fence) {
            (None, Some(word)) => Some((number + 2, String::new(), word == language)),
            (None, None) => None,
            (Some((first, block, wanted)), Some(_)) => {
                blocks.extend(wanted.then_some((first, block)));
                None
            }
            (Some((first, block, wanted)), None) => Some((first, block + line.trim_start() + "\n", wanted)),
        };
    }
    assert!(open.is_none(), "a fence is not closed");
    blocks
}

#[test]
fn blocks_are_found_also_in_lists() {
    let text = "a\n```toml\nb = 1\n```\n```text\nc\n```\n1. d\n   ```toml\n   e = 2\n   ```\n";
    assert_eq!(blocks(text, "toml"), [(3, "b = 1\n".to_owned()), (10, "e = 2\n".to_owned())]);
}

#[test]
fn every_config_in_the_documents_is_valid() {
    let mut count = 0;
    for (path, text) in documents() {
        for (line, block) in blocks(&text, "toml") {
            let place = format!("{}:{line}", path.display());
            avamgr_core::config::parse(&block, &place).unwrap_or_else(|errors| panic!("{errors}"));
            count += 1;
        }
    }
    assert!(count > 0, "no config was found at all");
}

#[test]
fn every_command_in_the_documents_is_understood() {
    let mut count = 0;
    for (path, text) in documents() {
        for (first, block) in blocks(&text, "sh") {
            for (index, line) in block.lines().enumerate().filter(|(_, line)| line.starts_with("avamgr ")) {
                // What the shell would take for itself.
                let words = line.split(['#', '>', '|']).next().unwrap().split_whitespace();
                let place = format!("{}:{}", path.display(), first + index);
                Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{place}: `{line}`: {error}"));
                count += 1;
            }
        }
    }
    assert!(count > 20, "only {count} commands were found");
}

/// Targets of `[text](target)`, outside of blocks.
fn links(text: &str) -> Vec<String> {
    let mut in_block = false;
    let mut links = Vec::new();
    for line in text.lines() {
        in_block ^= line.trim_start().starts_with("```");
        if !in_block {
            links.extend(line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
        }
    }
    links
}

#[test]
fn every_link_leads_to_a_file() {
    for (path, text) in documents() {
        for link in links(&text).iter().filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let target = path.parent().unwrap().join(link.split('#').next().unwrap());
            assert!(target.exists(), "{}: {link} leads nowhere", path.display());
        }
    }
}

#[test]
fn the_exit_codes_are_those_of_the_program() {
    let name = |exit| match exit {
        Exit::Done => "done",
        Exit::Failed => "failed",
        Exit::Usage => "usage",
        Exit::Refused => "refused",
        Exit::Unreachable => "unreachable",
        Exit::ConfigInvalid => "config-invalid",
    };
    let all = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Refused, Exit::Unreachable, Exit::ConfigInvalid];
    let expected: Vec<String> = all.map(|exit| format!("| {} | {} | ", exit.code(), name(exit))).into();
    let text = fs::read_to_string(root().join("docs/exit-codes.md")).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert_eq!(rows.len(), expected.len(), "{rows:?}");
    for (row, expected) in rows.iter().zip(&expected) {
        assert!(row.starts_with(expected), "{row} is not {expected}...");
    }
}

#[test]
fn the_unit_gives_the_programs_options_they_have() {
    let unit = fs::read_to_string(root().join("etc/systemd/dre.service")).unwrap();
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();
    let defaults: Vec<(&str, &str)> =
        value("Environment").split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
    let mut start = value("ExecStart").to_owned();
    for (name, default) in defaults {
        start = start.replace(&format!("${{{name}}}"), default);
    }
    assert!(!start.contains('$'), "every variable has a default: {start}");
    let args = DaemonArgs::try_parse_from(start.split_whitespace()).unwrap();
    assert!(!args.standalone && args.log_target.as_deref() == Some("journald"), "{args:?}");
    Cli::try_parse_from(value("ExecReload").split_whitespace()).unwrap();
    let settings = fs::read_to_string(root().join("etc/default/dre")).unwrap();
    for line in settings.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, _) = line.split_once('=').unwrap();
        assert!(value("Environment").contains(&format!("{name}=")), "{name} has no default in the unit");
    }
}

#[test]
fn every_verb_has_its_place_in_the_documents() {
    let verbs = <Cli as clap::CommandFactory>::command();
    let all: String = documents().into_iter().map(|(_, text)| text).collect();
    for verb in verbs.get_subcommands().map(clap::Command::get_name) {
        assert!(all.contains(&format!("avamgr {verb}")) || verb == "demo", "`avamgr {verb}` is in no document");
    }
}
