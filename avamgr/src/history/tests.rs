use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;

use avamgr_core::control::HistoryEntry;
use avamgr_core::node::event::{Event, Fact, Severity};
use avamgr_core::time::Instant;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn entry(number: u64) -> HistoryEntry {
    HistoryEntry {
        time: "2026-03-01T03:12:45.123Z".to_owned(),
        node: "hadev1".to_owned(),
        event: Event { at: Instant::from_millis(number), fact: Fact::ArbitratorReachable },
        severity: Severity::Info,
        text: format!("event {number}"),
    }
}

fn numbers(entries: &[Arc<HistoryEntry>]) -> Vec<u64> {
    entries.iter().map(|entry| entry.event.at.as_nanos() / 1_000_000).collect()
}

fn on_disk(directory: &Path) -> Vec<u64> {
    let entries: Vec<_> = files::last(directory, usize::MAX).into_iter().map(Arc::new).collect();
    numbers(&entries)
}

#[test]
fn a_restart_goes_on_where_the_last_run_ended() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path(), FILE_BYTES_MAX);
    (1..=3).for_each(|number| history.record(entry(number)));
    history.flush(PATIENCE);
    drop(history);
    let history = History::open(directory.path(), FILE_BYTES_MAX);
    history.record(entry(4));
    history.flush(PATIENCE);
    assert_eq!(numbers(&history.last(100)), [1, 2, 3, 4]);
    assert_eq!(numbers(&history.last(2)), [3, 4]);
    assert_eq!(on_disk(directory.path()), [1, 2, 3, 4]);
    assert_eq!(history.trouble(), None);
}

#[test]
fn the_files_stay_within_their_bounds_and_memory_too() {
    let directory = tempfile::tempdir().unwrap();
    let limit = 4_000;
    let history = History::open(directory.path(), limit);
    for number in 1..=2_000 {
        history.record(entry(number));
        if number % 10 == 0 {
            history.flush(PATIENCE);
        }
    }
    let sizes: Vec<u64> =
        fs::read_dir(directory.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).collect();
    assert_eq!(sizes.len(), 2);
    assert!(sizes.iter().all(|size| *size <= limit), "{sizes:?}");
    let kept = on_disk(directory.path());
    assert_eq!(kept.last(), Some(&2_000));
    assert!(kept.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{kept:?}");
    assert_eq!(history.last(usize::MAX).len(), HELD_MAX);
}

#[test]
fn a_torn_last_line_is_passed_over_and_the_next_one_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path(), FILE_BYTES_MAX);
    history.record(entry(1));
    history.flush(PATIENCE);
    drop(history);
    let path = directory.path().join("history.jsonl");
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"{\"time\":\"2026-03").unwrap();
    let history = History::open(directory.path(), FILE_BYTES_MAX);
    assert_eq!(numbers(&history.last(9)), [1]);
    history.record(entry(2));
    history.flush(PATIENCE);
    assert_eq!(on_disk(directory.path()), [1, 2]);
}

#[test]
fn a_full_disk_is_trouble_with_a_cause_and_costs_no_event() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.jsonl");
    // Every write to it fails with "No space left on device".
    symlink("/dev/full", &path).unwrap();
    let history = History::open(directory.path(), FILE_BYTES_MAX);
    history.record(entry(1));
    history.flush(PATIENCE);
    let trouble = history.trouble().unwrap();
    assert!(trouble.contains("No space left"), "{trouble}");
    assert_eq!(numbers(&history.last(9)), [1]);
    fs::remove_file(&path).unwrap();
    history.record(entry(2));
    history.flush(PATIENCE);
    assert_eq!(history.trouble(), None);
    assert_eq!(on_disk(directory.path()), [1, 2]);
}

#[test]
fn a_directory_that_cannot_be_made_is_trouble_and_no_panic() {
    let history = History::open(Path::new("/proc/no-such-place"), FILE_BYTES_MAX);
    history.record(entry(1));
    history.flush(PATIENCE);
    assert!(history.trouble().unwrap().contains("/proc/no-such-place"));
    assert_eq!(numbers(&history.last(9)), [1]);
}

#[tokio::test]
async fn a_follower_gets_each_entry_once() {
    let history = Arc::new(History::in_memory());
    let writer = Arc::clone(&history);
    let recorder = std::thread::spawn(move || (1..=500).for_each(|number| writer.record(entry(number))));
    let (past, mut live) = history.follow(usize::MAX);
    recorder.join().unwrap();
    let mut seen = numbers(&past);
    while let Ok(entry) = live.try_recv() {
        seen.extend(numbers(&[entry]));
    }
    assert_eq!(seen, (1..=500).collect::<Vec<u64>>());
}
