//! The page for operators and the unit against the program: every command line in them is understood, every verb is explained.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, Parser as _};
use rules_sync::program::args::Args;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn page() -> String {
    fs::read_to_string(root().join("docs/rules.md")).unwrap()
}

#[test]
fn every_command_on_the_page_is_understood() {
    let page = page();
    let in_blocks = page.lines().filter(|line| line.starts_with("rules-sync ")).map(str::to_owned);
    let in_text = page.split('`').skip(1).step_by(2).filter(|code| code.starts_with("rules-sync ")).map(str::to_owned);
    let all: Vec<String> = in_blocks.chain(in_text).filter(|line| line.contains(' ')).collect();
    assert!(all.len() > 10, "{all:?}");
    for line in all {
        let words = line.split('#').next().unwrap().split_whitespace();
        Args::try_parse_from(words).unwrap_or_else(|error| panic!("`{line}`: {error}"));
    }
}

#[test]
fn every_verb_has_its_place_on_the_page() {
    let page = page();
    for verb in Args::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let name = verb.get_name();
        let told = page.contains(&format!("rules-sync {name}")) || matches!(name, "run" | "completion" | "help");
        assert!(told, "`rules-sync {name}` is not on the page");
    }
}

#[test]
fn the_unit_gives_the_program_options_it_has() {
    let unit = fs::read_to_string(root().join("etc/systemd/avamgr-rules.service")).unwrap();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    Args::try_parse_from(start.split_whitespace()).unwrap();
}
