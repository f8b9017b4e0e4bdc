//! A node that has lost its store, or whose state was never there, against one that knows what has happened.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use crate::bed::Bed;

/// Both have had the rule, and the other one has made a newer version of it.
fn history() -> Bed {
    let mut bed = Bed::new(2, false);
    bed.nodes[0].write("rule", "first");
    bed.settle();
    bed.nodes[1].write("rule", "second");
    bed.settle();
    assert_eq!(bed.nodes[0].text("rule").as_deref(), Some("second"));
    bed
}

fn texts(bed: &Bed, way: &str) -> Vec<Option<String>> {
    bed.nodes.iter().map(|node| node.text(way)).collect()
}

#[test]
fn what_the_active_node_finds_with_a_new_store_wins_against_nothing_that_was_changed() {
    let mut bed = history();
    bed.nodes[0].lose_store();
    // Out of a backup, and newer than everything by its time.
    bed.nodes[0].write("rule", "restored");
    bed.nodes[0].write("mine", "only here");
    bed.nodes[0].start();
    bed.settle();
    assert_eq!(texts(&bed, "rule"), vec![Some("second".to_owned()); 2]);
    assert_eq!(texts(&bed, "mine"), vec![Some("only here".to_owned()); 2]);
    let conflicts: Vec<String> = bed.nodes.iter().flat_map(|node| node.kept(true)).collect();
    assert!(!conflicts.is_empty() && conflicts.iter().all(|text| text == "restored"), "{conflicts:?}");
    assert_eq!(bed.nodes.iter().map(|node| node.owes()).sum::<u64>(), 0);
}

#[test]
fn what_only_the_other_node_has_changed_wins_against_what_the_active_node_finds() {
    let mut bed = Bed::new(2, false);
    bed.nodes[1].write("rule", "made by who has a history");
    bed.look(1);
    bed.nodes[1].write("rule", "and changed");
    bed.look(1);
    bed.nodes[0].write("rule", "out of a backup");
    bed.settle();
    assert_eq!(texts(&bed, "rule"), vec![Some("and changed".to_owned()); 2]);
    assert!(bed.nodes.iter().any(|node| node.kept(true) == ["out of a backup"]));
}

#[test]
fn what_is_found_again_as_it_was_is_no_conflict() {
    let mut bed = history();
    bed.nodes[0].lose_store();
    bed.nodes[0].start();
    bed.settle();
    assert_eq!(texts(&bed, "rule"), vec![Some("second".to_owned()); 2]);
    assert_eq!(bed.nodes.iter().flat_map(|node| node.kept(true)).count(), 0);
}

#[test]
fn what_is_changed_after_the_loss_is_a_change_whatever_the_lost_store_had_counted() {
    let mut bed = history();
    bed.nodes[0].write("stays", "a directory that is empty would be held");
    for text in ["third", "fourth", "fifth"] {
        bed.nodes[0].write("rule", text);
        bed.settle();
    }
    fs::remove_file(bed.nodes[0].path("rule")).unwrap();
    bed.settle();
    assert_eq!(texts(&bed, "rule"), vec![None, None]);
    bed.nodes[0].lose_store();
    bed.nodes[0].start();
    bed.look(0);
    bed.nodes[0].write("rule", "made after the loss");
    bed.settle();
    assert_eq!(texts(&bed, "rule"), vec![Some("made after the loss".to_owned()); 2]);
}

#[test]
fn of_two_nodes_that_know_nothing_the_active_one_is_right() {
    let mut bed = Bed::new(2, false);
    bed.nodes[0].write("rule", "of the ACTIVE node");
    bed.nodes[1].write("rule", "of the other one");
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    File::options().write(true).open(bed.nodes[0].path("rule")).unwrap().set_modified(old).unwrap();
    bed.settle();
    assert_eq!(texts(&bed, "rule"), vec![Some("of the ACTIVE node".to_owned()); 2]);
    let conflicts: Vec<String> = bed.nodes.iter().flat_map(|node| node.kept(true)).collect();
    assert!(!conflicts.is_empty() && conflicts.iter().all(|text| text == "of the other one"), "{conflicts:?}");
}

#[test]
fn a_directory_that_was_never_looked_at_is_found_once() {
    let mut bed = Bed::new(2, false);
    bed.look(0);
    bed.nodes[0].write("rule", "made by the ACTIVE node");
    bed.look(1);
    bed.nodes[1].write("rule", "made by the other one");
    bed.settle();
    assert_eq!(texts(&bed, "rule"), vec![Some("made by the ACTIVE node".to_owned()); 2]);
    bed.nodes[1].stop();
    bed.nodes[1].start();
    bed.nodes[1].write("other", "made while it was down");
    bed.settle();
    bed.nodes[0].write("other", "made by who has seen it");
    bed.settle();
    assert_eq!(texts(&bed, "other"), vec![Some("made by who has seen it".to_owned()); 2]);
}
