//! How often a peer is tried that cannot take anything.

use super::*;
use crate::manifest::News;
use crate::version::{Content, Entry, Seen};

fn batch(number: u64) -> Manifest {
    let seen = Seen { node: "a", active: false, millis: 1 };
    let place = Place::try_from(format!("re/{number}")).unwrap();
    let item = Item { place, entry: Entry::first(seen, Content::Gone) };
    let mut manifest = Manifest::new("a", number);
    manifest.news.push(News { item, content: None });
    manifest
}

#[test]
fn a_peer_that_takes_nothing_is_tried_about_once_a_second_and_then_goes_on_at_once() {
    let root = tempfile::tempdir().unwrap();
    let spool = Spool::open(root.path()).unwrap();
    let mut peer = Peer::new(Vec::new(), spool.clone(), spool);
    peer.reach = Some(0);
    let full = SendError::Failed { address: String::new(), code: 11, text: "No space left on device".to_owned() };
    let mut attempts = Vec::new();
    for millis in 0..20_000 {
        let now = Duration::from_millis(1_000_000 + millis);
        // Something changes all the time.
        peer.wake(now);
        if peer.deadline().is_some_and(|due| due <= now) {
            attempts.push(millis);
            peer.failed(now, &batch(millis), &full);
        }
    }
    let late = attempts.iter().filter(|at| **at >= 10_000).count();
    assert!((8..=11).contains(&late), "{attempts:?}");
    assert!(attempts.iter().filter(|at| **at < 1_000).count() >= 5, "at first it is found out which path it is");
    let now = Duration::from_millis(1_020_000);
    peer.succeeded(now, &batch(20_000), Duration::ZERO);
    peer.wake(now);
    assert_eq!(peer.deadline(), Some(now));
}
