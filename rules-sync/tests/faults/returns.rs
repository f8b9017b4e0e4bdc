//! A node that comes back with an old tree, and one that has lost what it had.

use std::fs;
use std::time::{Duration, SystemTime};

use avamgr_lab::{story, wait_until};

use crate::bed::{Bed, Setup};
use crate::node::{Node, SOON};

const FILES: usize = 60;
const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn rule(number: usize) -> String {
    format!("d{}/r{number:03}", number % 4)
}

fn fill(bed: &Bed, node: usize) {
    for directory in 0..4 {
        fs::create_dir(bed.nodes[node].path(format!("d{directory}"))).unwrap();
    }
    for number in 0..FILES {
        bed.write(node, rule(number), format!("first of {number}"));
    }
}

/// Everything of the first half was changed meanwhile; what is older than that is put back on `b`.
fn come_back(bed: &Bed, forget: bool) {
    let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
    fill(bed, 0);
    bed.wait_settled(SOON);
    // Of these the node knows a second version, and has the first one when it comes back.
    for number in (0..FILES).step_by(3) {
        bed.write(0, rule(number), format!("second of {number}"));
    }
    bed.wait_settled(SOON);
    b.stop();
    for number in 0..FILES {
        match number % 6 {
            0 | 1 => bed.write(0, rule(number), format!("third of {number}")),
            3 | 4 => a.remove(rule(number)),
            _ => {}
        }
        // It is overwritten by hand on both.
        bed.ledger.excuse(format!("second of {number}").as_bytes());
    }
    fs::rename(a.path("d3"), a.path("moved")).unwrap();
    for number in 0..20 {
        bed.write(0, format!("new{number}"), format!("new {number}"));
    }
    for number in 0..FILES {
        let path = b.path(rule(number));
        fs::write(&path, format!("first of {number}")).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::now() - WEEK).unwrap();
    }
    if forget {
        fs::remove_dir_all(b.state()).unwrap();
    }
    let wanted = a.snapshot();
    b.start();
    let conflicts = bed.finish(SOON);
    println!("{} conflicts", conflicts.len());
    let differences = crate::tree::differences(&wanted, &a.snapshot());
    assert!(differences.is_empty(), "what was done meanwhile is undone (wanted / found): {differences:#?}");
}

#[test]
fn a_node_that_returns_after_a_week_with_an_old_tree_undoes_nothing() {
    story(|| {
        come_back(&Setup::default().start(), false);
        Ok(())
    });
}

#[test]
fn a_node_that_returns_with_an_old_tree_and_without_its_store_undoes_nothing() {
    story(|| {
        come_back(&Setup::default().start(), true);
        Ok(())
    });
}

fn wait_held(node: &Node, held: bool) {
    let words = if held { "a directory to be held" } else { "no directory to be held" };
    node.wait_status(words, |status| status.directories.iter().all(|it| it.held.is_some() == held));
}

#[test]
fn a_directory_that_was_emptied_meanwhile_empties_no_other_until_an_operator_says_so() {
    story(|| {
        let bed = Setup::default().start();
        let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
        fill(&bed, 0);
        bed.wait_settled(SOON);
        let before = a.snapshot();
        b.stop();
        (0..4).for_each(|directory| b.remove(format!("d{directory}")));
        b.start();
        wait_held(b, true);
        b.wait_notice("has lost everything at once");
        bed.wait_reachable();
        assert_eq!(a.snapshot(), before, "nothing of it is deleted elsewhere");
        // What is new goes on, and lifts nothing.
        bed.write(0, "new", "made meanwhile");
        bed.nodes[1].wait_holds("new", b"made meanwhile");
        assert!(a.path(rule(1)).exists());
        a.remove("new");
        b.wait_gone("new");
        let forced = b.ask(&["resync", "--force"]);
        assert!(forced.status.success(), "{}", String::from_utf8_lossy(&forced.stderr));
        for number in 0..FILES {
            a.wait_gone(rule(number));
        }
        wait_held(b, false);
        bed.finish(SOON);
        assert_eq!(a.kept("trash").len(), FILES, "it is all in the trash, and what was deleted by hand nobody keeps");
        Ok(())
    });
}

#[test]
fn what_somebody_removes_while_it_runs_is_removed_everywhere_and_be_it_all() {
    story(|| {
        let bed = Setup::default().start();
        let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
        fill(&bed, 0);
        bed.write(0, "beside", "the directories");
        bed.wait_settled(SOON);
        (0..4).for_each(|directory| a.remove(format!("d{directory}")));
        a.remove("beside");
        (0..4).for_each(|directory| b.wait_gone(format!("d{directory}")));
        b.wait_gone("beside");
        bed.finish(SOON);
        assert_eq!(b.kept("trash").len(), FILES + 1, "{:?}", b.kept("trash"));
        wait_held(a, false);
        Ok(())
    });
}

#[test]
fn a_directory_that_is_replaced_by_an_empty_one_is_held_until_it_has_everything_again() {
    story(|| {
        let bed = Setup::default().start();
        let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
        fill(&bed, 0);
        bed.wait_settled(SOON);
        let before = a.snapshot();
        let aside = b.disk().join("aside");
        fs::rename(b.rules(), &aside).unwrap();
        fs::create_dir(b.rules()).unwrap();
        wait_held(b, true);
        assert_eq!(a.snapshot(), before);
        for directory in 0..4 {
            fs::rename(aside.join(format!("d{directory}")), b.path(format!("d{directory}"))).unwrap();
        }
        wait_held(b, false);
        bed.write(0, rule(1), "changed afterwards");
        b.wait_holds(rule(1), b"changed afterwards");
        assert_eq!(bed.finish(SOON).len(), 0);
        assert_eq!(a.snapshot().len(), before.len());
        Ok(())
    });
}

#[test]
fn a_directory_that_is_taken_away_and_comes_back_is_replicated_again() {
    story(|| {
        let bed = Setup::default().start();
        let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
        fill(&bed, 0);
        bed.wait_settled(SOON);
        let before = a.snapshot();
        let aside = b.disk().join("aside");
        fs::rename(b.rules(), &aside).unwrap();
        b.wait_status("the directory to be missed", |status| status.directories[0].trouble.is_some());
        bed.write(0, "meanwhile", "made while it was away");
        fs::rename(&aside, b.rules()).unwrap();
        b.wait_holds("meanwhile", b"made while it was away");
        bed.wait_settled(SOON);
        assert_eq!(a.snapshot().len(), before.len() + 1);
        // Deleted with all that is in it, and made again from a copy.
        let copy = b.disk().join("copy");
        assert!(std::process::Command::new("cp").arg("-a").arg(b.rules()).arg(&copy).status()?.success());
        fs::remove_dir_all(b.rules()).unwrap();
        b.wait_status("the directory to be missed", |status| status.directories[0].trouble.is_some());
        fs::rename(&copy, b.rules()).unwrap();
        bed.finish(SOON);
        // Some deletions may have been seen before the directory was gone: what came back is not.
        wait_until(SOON, "everything to be there again", || a.snapshot().len() == before.len() + 1)?;
        b.wait_status("no trouble", |status| status.directories[0].trouble.is_none());
        Ok(())
    });
}

#[test]
fn what_a_killed_program_had_replaced_is_in_the_trash_also_when_its_directory_comes_later() {
    story(|| {
        let bed = Setup { rules: "user = \"root\"".to_owned(), ..Setup::default() }.start();
        let b = &bed.nodes[1];
        bed.write(0, "rule", "first");
        b.wait_holds("rule", b"first");
        b.stop();
        let area = b.state().join("area/re");
        fs::write(area.join("staging/000000000000009-00000000"), "replaced")?;
        fs::write(area.join("kept/000000000000008-00000000"), "replaced before")?;
        let away = b.disk().join("away");
        fs::rename(b.rules(), &away)?;
        b.start();
        b.wait_status("it to be missed", |status| status.directories.iter().all(|it| it.trouble.is_some()));
        fs::rename(&away, b.rules())?;
        b.wait_notice("2 contents it had replaced are in the trash");
        assert_eq!(b.kept("trash").len(), 2);
        assert_eq!(bed.finish(SOON).len(), 0);
        Ok(())
    });
}
