use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::super::tests::entry;
use super::*;

const BOUND: u64 = 8 * 1024 * 1024;

fn numbered(number: u64) -> HistoryEntry {
    HistoryEntry { number, ..entry(number) }
}

fn fill(store: &Store, numbers: std::ops::RangeInclusive<u64>) {
    let entries: Vec<HistoryEntry> = numbers.map(numbered).collect();
    store.append(entries.iter()).unwrap();
}

/// A directory with a store of some entries, closed.
fn filled() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), BOUND).unwrap();
    (0..20).for_each(|batch| fill(&store, batch * 100 + 1..=batch * 100 + 100));
    let path = directory.path().join(FILE);
    (directory, path)
}

/// Uses a store in every way, whatever it is; what it does then is its own affair as long as it neither panics nor hangs.
fn use_it(directory: &Path) -> bool {
    let Ok(store) = Store::open(directory, BOUND) else { return false };
    let next = store.next().unwrap_or(1);
    let read = store.last(usize::MAX).is_ok();
    let written = store.append([numbered(next), numbered(next + 1)].iter()).is_ok();
    read && written
}

#[test]
fn a_number_is_never_used_twice() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), BOUND).unwrap();
    assert_eq!(store.next().unwrap(), 1);
    fill(&store, 5..=7);
    fill(&store, 6..=8);
    let kept: Vec<u64> = store.last(9).unwrap().iter().map(|entry| entry.number).collect();
    assert_eq!((kept, store.next().unwrap()), (vec![5, 6, 7, 8], 9));
}

#[test]
fn a_bound_smaller_than_an_entry_keeps_the_last_one_and_its_number() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), 10).unwrap();
    fill(&store, 1..=5);
    assert_eq!((store.last(9).unwrap().len(), store.next().unwrap()), (1, 6));
}

#[test]
fn a_store_that_somebody_has_open_is_not_opened_again_and_can_be_copied() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), BOUND).unwrap();
    fill(&store, 1..=3);
    assert!(matches!(Store::open(directory.path(), BOUND), Err(StoreError::Unusable(_))));
    let copy = Store::copy(directory.path()).unwrap().unwrap();
    assert_eq!(copy.last(9).unwrap().len(), 3);
    fill(&store, 4..=4);
    assert_eq!((copy.next().unwrap(), store.next().unwrap()), (4, 5));
    assert!(Store::copy(&directory.path().join("nothing")).unwrap().is_none());
}

#[test]
fn a_file_that_ends_too_early_is_damaged_wherever_it_ends() {
    let (directory, path) = filled();
    let whole = fs::read(&path).unwrap();
    let pages = whole.len() / 4096;
    assert!(pages > 100, "{pages}");
    let ends = (0..=pages).flat_map(|page| [page * 4096, page * 4096 + 100]);
    for end in ends.filter(|end| *end < whole.len()) {
        fs::write(&path, &whole[..end]).unwrap();
        let opened = Store::open(directory.path(), BOUND);
        // An empty file is a new store.
        assert!(opened.is_ok() == (end == 0), "{end}: {opened:?}");
        let is_damage = matches!(opened, Err(StoreError::Damaged(_)) | Ok(_));
        assert!(is_damage, "{end}: {opened:?}");
        drop(opened);
        fs::write(&path, &whole[..end]).unwrap();
        assert!(end == 0 || Store::copy(directory.path()).is_err(), "{end}");
    }
    fs::write(&path, &whole).unwrap();
    assert!(use_it(directory.path()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_bytes_in_the_place_of_a_store_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), &bytes).unwrap();
        prop_assert!(use_it(directory.path()) == bytes.is_empty());
    }
}

#[test]
fn no_damage_in_the_middle_makes_it_panic_or_hang() {
    let (directory, path) = filled();
    let whole = fs::read(&path).unwrap();
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap()
    };
    let (mut refused, tries) = (0, 120);
    for turn in 0..tries {
        let mut damaged = whole.clone();
        // The head, then anywhere; a byte, or a page of them.
        let place = if turn % 2 == 0 { next() % 512 } else { next() % whole.len() };
        let length = if turn % 3 == 0 { 4096 } else { 1 };
        for byte in damaged.iter_mut().skip(place).take(length) {
            *byte ^= u8::try_from(next() % 255 + 1).unwrap();
        }
        fs::write(&path, &damaged).unwrap();
        refused += usize::from(!use_it(directory.path()));
    }
    assert!(refused > tries / 4, "damage is seen: {refused}");
}
