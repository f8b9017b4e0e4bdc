//! Edits, however they come.

use std::time::Duration;

use avamgr_lab::story;

use crate::bed::Setup;
use crate::node::SOON;

#[test]
fn a_second_edit_of_the_same_size_within_the_same_second_arrives() {
    story(|| {
        let bed = Setup { alone: true, ..Setup::default() }.start();
        let mut slowest = Duration::ZERO;
        for round in 0..20 {
            let text = |edit: u8| format!("round {round:02}, edit {edit}: of always the same size");
            bed.write(0, "rule", text(1));
            bed.nodes[1].wait_holds("rule", text(1).as_bytes());
            bed.write(0, "rule", text(2));
            let begin = avamgr::clock::now();
            bed.nodes[1].wait_holds("rule", text(2).as_bytes());
            slowest = slowest.max(avamgr::clock::now().since(begin));
        }
        println!("the slowest second edit took {slowest:?}");
        assert_eq!(bed.finish(SOON).len(), 0, "nothing of it is a conflict");
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
        Ok(())
    });
}
