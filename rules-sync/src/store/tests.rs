//! What the store keeps, and for whom.

use super::*;
use crate::version::Seen;

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    (directory, store)
}

fn place(text: &str) -> Place {
    Place::try_from(text.to_owned()).unwrap()
}

fn record(byte: u8) -> Record {
    let seen = Seen { node: "a", active: true, millis: 1 };
    let content = Content::File { digest: [byte; 32], size: 1, mode: 0o644 };
    Record { entry: Entry::first(seen, content), trace: None }
}

fn changed(record: &Record) -> Record {
    let seen = Seen { node: "a", active: true, millis: 2 };
    Record { entry: record.entry.changed(seen, Content::Gone), trace: None }
}

fn item(text: &str, record: &Record) -> Item {
    Item { place: place(text), entry: record.entry.clone() }
}

fn owed(store: &Store, peer: &str) -> Vec<String> {
    store.owed(peer, 100, |_| true).unwrap().iter().map(|owed| owed.item.place.to_string()).collect()
}

#[test]
fn what_is_known_is_known_to_the_next_run() {
    let (directory, store) = store();
    store.write(|changes| changes.put(&place("re/a"), &record(1), ["b"], Debt::now(1))).unwrap();
    drop(store);
    let store = Store::open(&directory.path().join("store")).unwrap();
    assert_eq!(store.get(&place("re/a")).unwrap(), Some(record(1)));
    assert_eq!((owed(&store, "b"), store.get(&place("re/b")).unwrap()), (vec!["re/a".to_owned()], None));
}

#[test]
fn a_directory_is_what_is_in_it_and_not_what_begins_like_it() {
    let (_directory, store) = store();
    let all = ["re/a", "re/a!", "re/a-b/x", "re/a/x", "re/a/x/y", "re/ab", "re/a0"];
    store
        .write(|changes| all.iter().try_for_each(|text| changes.put(&place(text), &record(1), [], Debt::now(1))))
        .unwrap();
    let view = store.view().unwrap();
    let children =
        |text: &str| -> Vec<String> { view.children(&place(text)).unwrap().iter().map(ToString::to_string).collect() };
    assert_eq!(
        children("re"),
        ["re/a", "re/a!", "re/a-b", "re/a0", "re/ab"],
        "also where only what lies in it is known"
    );
    assert_eq!((children("re/a"), children("re/a/x/y")), (vec!["re/a/x".to_owned()], vec![]));
}

#[test]
fn what_is_owed_is_owed_to_each_until_it_knows_it_as_it_is() {
    let (_directory, store) = store();
    let (first, second) = (record(1), changed(&record(1)));
    store.write(|changes| changes.put(&place("re/a"), &first, ["b", "bc"], Debt::now(5))).unwrap();
    store.write(|changes| changes.paid("b", &item("re/a", &first), 9)).unwrap();
    assert_eq!((owed(&store, "b"), owed(&store, "bc").len()), (vec![], 1));
    store.write(|changes| changes.put(&place("re/a"), &second, ["b"], Debt::now(6))).unwrap();
    store.write(|changes| changes.paid("b", &item("re/a", &first), 9)).unwrap();
    let owed_now = [Owed { item: item("re/a", &second), offer: false }];
    assert_eq!(store.owed("b", 100, |_| true).unwrap(), owed_now, "it knows an older one");
    let backlog = store.backlog("b").unwrap();
    assert_eq!(backlog, Backlog { paths: 1, since: Some(9) }, "what it lacks is as old as what it knows");
    store.write(|changes| changes.paid("b", &item("re/a", &second), 9)).unwrap();
    assert_eq!(owed(&store, "b"), [""; 0]);
    store.write(|changes| changes.offer_everything("b", 9)).unwrap();
    assert_eq!((owed(&store, "b").len(), store.owed("b", 0, |_| true).unwrap().len()), (1, 0));
    assert!(store.owed("b", 1, |_| true).unwrap()[0].offer);
    store.write(|changes| changes.owe("b", &place("re/a"), Debt::now(10))).unwrap();
    assert!(!store.owed("b", 1, |_| true).unwrap()[0].offer, "it was asked for");
    store.write(|changes| changes.offer_everything("b", 11)).unwrap();
    assert!(!store.owed("b", 1, |_| true).unwrap()[0].offer, "it goes at once still");
}

#[test]
fn what_is_kept_is_known_by_its_name_until_it_is_forgotten() {
    let (_directory, store) = store();
    let kept = Kept { place: place("re/a"), entry: record(1).entry, millis: 7, conflict: true };
    store.write(|changes| changes.keep("2", &kept)).unwrap();
    store.write(|changes| changes.keep("1", &kept)).unwrap();
    assert_eq!(store.kept().unwrap(), [("1".to_owned(), kept.clone()), ("2".to_owned(), kept.clone())]);
    store.write(|changes| changes.forget("1")).unwrap();
    assert_eq!(store.kept().unwrap(), [("2".to_owned(), kept)]);
}

#[test]
fn a_change_that_fails_changes_nothing() {
    let (_directory, store) = store();
    let failed: Result<(), _> = store.write(|changes| {
        changes.put(&place("re/a"), &record(1), ["b"], Debt::now(1))?;
        Err(StoreError::Place(BadPlace::Outside))
    });
    assert!(failed.is_err());
    assert_eq!((store.get(&place("re/a")).unwrap(), owed(&store, "b").len()), (None, 0));
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    std::fs::write(&path, "something else").unwrap();
    assert!(Store::open(&path).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"something else");
}
