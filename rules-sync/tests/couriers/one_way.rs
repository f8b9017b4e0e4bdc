//! Where only the ACTIVE node may change anything, and the role moves.

use std::fs;

use crate::bed::Bed;

fn start(count: usize) -> Bed {
    let mut bed = Bed::new(count, true);
    for way in ["rule", "other", "third"] {
        bed.nodes[0].write(way, &format!("{way} of the beginning"));
    }
    bed.settle();
    bed
}

/// Every tree is that of the ACTIVE node, and nobody has anything left to say.
fn assert_same(bed: &Bed, ways: &[(&str, Option<&str>)]) {
    for node in &bed.nodes {
        for (way, text) in ways {
            assert_eq!(node.text(way).as_deref(), *text, "{way} on {}", node.name);
        }
        assert_eq!((node.owes(), node.courier().strays().len()), (0, 0), "on {}", node.name);
    }
}

fn change_unsent(bed: &mut Bed) {
    bed.nodes[0].write("rule", "changed and not sent");
    bed.nodes[0].write("new", "made and not sent");
    fs::remove_file(bed.nodes[0].path("other")).unwrap();
    bed.look(0);
}

#[test]
fn what_the_former_active_node_had_not_sent_is_undone_there_and_kept() {
    for edits in [false, true] {
        let mut bed = start(2);
        change_unsent(&mut bed);
        bed.switch(Some("b"));
        if edits {
            bed.nodes[1].write("rule", "changed by the new ACTIVE node");
        }
        bed.settle();
        let rule = if edits { "changed by the new ACTIVE node" } else { "rule of the beginning" };
        assert_same(&bed, &[("rule", Some(rule)), ("new", None), ("other", Some("other of the beginning"))]);
        assert_eq!(bed.nodes[0].kept(true), ["changed and not sent", "made and not sent"]);
        assert_eq!(bed.nodes[1].kept(true), [""; 0]);
        // It goes on as always, and nothing is a conflict any more.
        bed.nodes[1].write("rule", "next");
        bed.nodes[1].write("new", "made there");
        bed.settle();
        assert_same(&bed, &[("rule", Some("next")), ("new", Some("made there"))]);
        bed.switch(Some("a"));
        bed.nodes[0].write("rule", "and back");
        bed.settle();
        assert_same(&bed, &[("rule", Some("and back"))]);
        assert_eq!((bed.nodes[0].kept(true).len(), bed.nodes[1].kept(true).len()), (2, 0));
    }
}

#[test]
fn so_it_is_when_the_former_active_node_was_down_meanwhile() {
    let mut bed = start(2);
    change_unsent(&mut bed);
    bed.nodes[0].stop();
    bed.switch(Some("b"));
    bed.nodes[1].write("third", "changed meanwhile");
    bed.settle();
    bed.nodes[0].start();
    bed.switch(Some("b"));
    bed.settle();
    assert_same(&bed, &[("rule", Some("rule of the beginning")), ("new", None), ("third", Some("changed meanwhile"))]);
    assert_eq!(bed.nodes[0].kept(true), ["changed and not sent", "made and not sent"]);
}

#[test]
fn what_was_sent_and_not_confirmed_is_no_conflict() {
    let mut bed = start(2);
    change_unsent(&mut bed);
    bed.send(0, 1);
    bed.switch(Some("b"));
    bed.nodes[1].write("rule", "changed by who knew it");
    bed.settle();
    assert_same(&bed, &[("rule", Some("changed by who knew it")), ("new", Some("made and not sent")), ("other", None)]);
    assert_eq!(bed.nodes.iter().flat_map(|node| node.kept(true)).count(), 0);
}

#[test]
fn of_three_nodes_the_new_active_one_tells_what_the_former_had_told_it_alone() {
    let mut bed = start(3);
    assert_same(&bed, &[("rule", Some("rule of the beginning"))]);
    change_unsent(&mut bed);
    bed.send(0, 1);
    bed.nodes[0].stop();
    bed.switch(Some("b"));
    bed.settle();
    assert_eq!(bed.nodes[2].text("rule").as_deref(), Some("changed and not sent"));
    bed.nodes[0].start();
    bed.switch(Some("b"));
    bed.settle();
    assert_same(&bed, &[("rule", Some("changed and not sent")), ("new", Some("made and not sent")), ("other", None)]);
    assert_eq!(bed.nodes.iter().flat_map(|node| node.kept(true)).count(), 0);
}

#[test]
fn what_a_third_node_alone_was_told_is_undone_there_too() {
    let mut bed = start(3);
    change_unsent(&mut bed);
    bed.send(0, 2);
    bed.switch(Some("b"));
    bed.settle();
    assert_same(&bed, &[("rule", Some("rule of the beginning")), ("other", Some("other of the beginning"))]);
    assert_eq!(bed.nodes[0].kept(true), ["changed and not sent", "made and not sent"]);
}

#[test]
fn what_is_changed_while_nobody_is_active_is_put_back_when_somebody_is() {
    let mut bed = start(2);
    bed.switch(None);
    bed.nodes[1].write("rule", "changed while nobody was ACTIVE");
    bed.nodes[1].write("stray", "made while nobody was ACTIVE");
    bed.settle();
    assert_eq!(bed.nodes[1].text("rule").as_deref(), Some("changed while nobody was ACTIVE"));
    bed.switch(Some("a"));
    bed.settle();
    assert_eq!(bed.nodes[1].text("rule").as_deref(), Some("rule of the beginning"));
    assert_eq!(bed.nodes[1].kept(true), ["changed while nobody was ACTIVE"]);
    assert_eq!((bed.nodes[1].courier().strays().len(), bed.nodes[0].text("stray")), (1, None), "it stays a stray");
}

#[test]
fn an_active_node_that_has_lost_its_store_learns_from_the_others() {
    let mut bed = start(2);
    bed.nodes[0].write("rule", "newer");
    bed.settle();
    bed.nodes[0].lose_store();
    bed.nodes[0].write("rule", "out of a backup");
    fs::remove_file(bed.nodes[0].path("third")).unwrap();
    bed.nodes[0].start();
    bed.switch(Some("a"));
    bed.settle();
    assert_same(&bed, &[("rule", Some("newer")), ("third", Some("third of the beginning"))]);
    assert!(bed.nodes.iter().any(|node| node.kept(true) == ["out of a backup"]));
    // From now on its word counts again.
    bed.nodes[1].write("rule", "changed on the STANDBY node");
    bed.look(1);
    bed.nodes[0].write("rule", "changed on the ACTIVE node");
    bed.settle();
    assert_same(&bed, &[("rule", Some("changed on the ACTIVE node"))]);
}

#[test]
fn a_stray_keeps_its_directory_and_nothing_is_owed_for_it() {
    let mut bed = Bed::new(2, true);
    fs::create_dir(bed.nodes[0].path("d")).unwrap();
    bed.nodes[0].write("d/rule", "1");
    bed.nodes[0].write("stays", "a directory that is empty would be held");
    bed.settle();
    assert_eq!(bed.nodes[1].text("d/rule").as_deref(), Some("1"));
    bed.nodes[1].write("d/stray", "2");
    bed.settle();
    fs::remove_dir_all(bed.nodes[0].path("d")).unwrap();
    bed.settle();
    assert_eq!((bed.nodes[1].text("d/rule"), bed.nodes[1].text("d/stray").as_deref()), (None, Some("2")));
    assert_eq!(bed.nodes[0].owes(), 0);
}
