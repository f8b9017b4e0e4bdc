//! House rules that a machine can check.
#![expect(clippy::disallowed_methods, reason = "the house is read from its files")]

use std::fs;
use std::path::{Path, PathBuf};

/// Longest file of code; tests may be longer.
const LINES_MAX: usize = 500;

fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for room in ["src", "avamgr", "tests", "webui", "rules-sync"] {
        collect(&root.join(room), &mut found);
    }
    assert!(found.len() > 50, "the rooms are where they should be: {} files", found.len());
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn is_test(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.contains("tests")
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    for path in sources().iter().filter(|path| !is_test(path)) {
        let lines = fs::read_to_string(path).unwrap().lines().count();
        assert!(
            lines <= LINES_MAX,
            "{} has {lines} lines, more than {LINES_MAX}: it wants to be two rooms",
            path.display()
        );
    }
}

#[test]
fn every_file_of_code_says_what_it_is() {
    for path in sources().iter().filter(|path| !is_test(path)) {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with("//!"), "{} does not begin with what it is for (//!)", path.display());
    }
}

#[test]
fn nothing_is_left_to_be_done_without_a_word_about_why() {
    let marks = ["TO".to_owned() + "DO", "FIX".to_owned() + "ME", "XX".to_owned() + "X"];
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            for mark in &marks {
                assert!(!line.contains(mark.as_str()), "{}:{}: {line}", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn the_decision_depends_on_nothing_that_touches_the_world() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let package = manifest.split("[package]").nth(1).unwrap();
    let dependencies = package.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    for outside in ["tokio", "nix", "libc", "netlink", "socket2", "axum", "tracing", "avamgr-lab"] {
        assert!(!dependencies.contains(outside), "the root package depends on {outside}");
    }
}
