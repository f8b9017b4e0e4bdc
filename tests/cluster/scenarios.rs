//! Stories: orders to the simulator and what follows, one column per node, compared with the file they are written in.
//!
//! `UPDATE=1` writes the files again. Every rule holds after every event of a story, too.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use avamgr_core::sim::{Detail, World};

use crate::checked::Checked;
use crate::script::{Told, order, plan};

#[test]
fn every_story_goes_as_it_is_written() {
    let update = std::env::var("UPDATE").is_ok();
    let mut different = Vec::new();
    for path in stories() {
        let written = std::fs::read_to_string(&path).expect("a story can be read");
        let told = tell(&written);
        if told == written {
            continue;
        }
        if update {
            std::fs::write(&path, &told).expect("a story can be written");
        } else {
            different.push(format!("{}\n{}", path.display(), first_difference(&written, &told)));
        }
    }
    assert!(different.is_empty(), "UPDATE=1 writes again what is meant to be so:\n{}", different.join("\n"));
}

fn stories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = std::fs::read_dir(folder).expect("the stories are there");
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(paths.len() > 25, "the stories are where they should be: {}", paths.len());
    paths
}

/// Plays the orders of a story and writes down what follows each of them.
fn tell(story: &str) -> String {
    let mut told = String::new();
    let mut world: Option<Checked> = None;
    for line in story.lines() {
        if line.starts_with('#') {
            told += line;
            told.push('\n');
        } else if line.starts_with("cluster") {
            let mut begun = Checked::new(plan(line), Some(Detail::Story));
            let head = begun.log.as_mut().map_or(String::new(), |log| log.head());
            let _ = writeln!(told, "{line}\n\n{head}");
            world = Some(begun);
        } else if let Some(text) = line.strip_prefix("> ") {
            let world = world.as_mut().expect("a story begins with its cluster");
            let _ = writeln!(told, "\n> {text}");
            told += &after_order(world, text);
        }
    }
    told
}

fn after_order(world: &mut Checked, text: &str) -> String {
    let (outcome, silently) = match order(world, text) {
        Told::Order => return String::new(),
        Told::Run(time) => (world.run_for(time), false),
        Told::Settle(time) => (world.run_for(time), true),
    };
    let mut lines = world.log.as_mut().map_or(Vec::new(), avamgr_core::sim::Log::take_lines);
    if silently {
        lines = vec!["     ...".to_owned()];
    }
    lines.push(state(world));
    lines.extend(outcome.err().map(|error| format!("BROKEN {error}")));
    lines.join("\n") + "\n"
}

/// What each node says it is, and what each kernel has.
fn state(world: &World) -> String {
    let config = world.config();
    let mut line = format!("{:>8}", "=");
    for node in config.node_ids() {
        let mut cell = Vec::new();
        for group in config.group_ids() {
            cell.push(world.role(node, group).map_or("no daemon".to_owned(), |role| role.to_string()));
            let owned = config.resource_ids(group).filter(|id| world.owns(node, *id));
            cell.extend(owned.map(|id| config.resource_name(id).to_owned()));
        }
        let text = if world.is_on(node) { cell.join(" ") } else { "off".to_owned() };
        let _ = write!(line, " | {text:<58}");
    }
    for resource in crate::shape::all_resources(config) {
        if config.node_ids().filter(|node| world.owns(*node, resource)).count() > 1 {
            let _ = write!(line, " | TWO OWNERS of {}", config.resource_name(resource));
        }
    }
    line.trim_end().to_owned()
}

fn first_difference(written: &str, told: &str) -> String {
    let mut lines = written.lines().zip(told.lines());
    match lines.find(|(written, told)| written != told) {
        Some((written, told)) => format!("  written: {written}\n  now:     {told}"),
        None => "  one is longer than the other".to_owned(),
    }
}
