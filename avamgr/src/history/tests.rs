use std::fs;

use avamgr_core::control::{Filter, HistoryEntry};
use avamgr_core::node::event::{Event, Fact, Severity};
use avamgr_core::time::Instant;

use super::store::{FILE, Query, Store};
use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

const CONFIG: &str = "[cluster]\nname = \"c\"\nnodes = [\"a\"]\nstandalone = true\nfailover_budget = \"1s\"\n\
                      [[group]]\nname = \"g\"\n[[group.resource]]\nname = \"r\"\nexec = \"sleep 1\"\n";

/// Told by its moment, whatever its number is.
pub(super) fn entry(moment: u64) -> HistoryEntry {
    HistoryEntry {
        number: 0,
        time: format!("2026-03-01T03:{:02}:{:02}.{:03}Z", moment / 60_000 % 60, moment / 1000 % 60, moment % 1000),
        node: "hadev1".to_owned(),
        event: Event { at: Instant::from_millis(moment), fact: Fact::ArbitratorReachable },
        severity: Severity::Info,
        text: format!("event {moment}"),
    }
}

fn moment(entry: &HistoryEntry) -> u64 {
    entry.event.at.as_nanos() / 1_000_000
}

fn moments(entries: &[Arc<HistoryEntry>]) -> Vec<u64> {
    entries.iter().map(|entry| moment(entry)).collect()
}

fn numbers(entries: &[Arc<HistoryEntry>]) -> Vec<u64> {
    entries.iter().map(|entry| entry.number).collect()
}

/// Number and moment of all that is on disk.
fn on_disk(directory: &Path) -> Vec<(u64, u64)> {
    let entries = Store::copy(directory).unwrap().unwrap().last(usize::MAX).unwrap();
    entries.iter().map(|entry| (entry.number, moment(entry))).collect()
}

fn query(last: usize, before: u64, text: Option<&str>) -> Query {
    let config = Some(Arc::new(avamgr_core::config::parse(CONFIG, "test").unwrap()));
    Query { last, before, filter: Filter { text: text.map(str::to_owned), ..Filter::default() }, config }
}

async fn told(history: &History, query: Query) -> Result<Vec<u64>, String> {
    let mut telling = Telling::of(history, query, &history.last(HELD_MAX));
    let mut told = Vec::new();
    while let Some(piece) = telling.next(history, false).await? {
        told.extend(numbers(&piece));
    }
    Ok(told)
}

#[test]
fn a_restart_goes_on_where_the_last_run_ended() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path(), BYTES_MAX);
    (1..=3).for_each(|moment| history.record(entry(moment)));
    history.close(PATIENCE);
    drop(history);
    let history = History::open(directory.path(), BYTES_MAX);
    history.record(entry(4));
    history.flush(PATIENCE);
    assert_eq!(moments(&history.last(100)), [1, 2, 3, 4]);
    assert_eq!(numbers(&history.last(2)), [3, 4]);
    assert_eq!(on_disk(directory.path()), [(1, 1), (2, 2), (3, 3), (4, 4)]);
    assert_eq!(history.trouble(), None);
}

#[test]
fn the_store_stays_within_its_bound_and_memory_too_and_numbers_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let bound = 40_000;
    let history = History::open(directory.path(), bound);
    for moment in 1..=2_000 {
        history.record(entry(moment));
        if moment % 100 == 0 {
            history.flush(PATIENCE);
        }
    }
    let kept = on_disk(directory.path());
    let bytes: usize = history.last(kept.len()).iter().map(|entry| serde_json::to_vec(entry).unwrap().len()).sum();
    assert!(bytes <= 40_000 && bytes > 39_000, "{bytes}");
    assert_eq!(kept.last(), Some(&(2_000, 2_000)));
    assert!(kept.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "{kept:?}");
    assert_eq!(history.last(usize::MAX).len(), HELD_MAX);
    let size = fs::metadata(directory.path().join(FILE)).unwrap().len();
    assert!(size < 2 * 1024 * 1024, "{size}");
}

#[test]
fn a_store_that_is_damaged_is_put_aside_and_numbers_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path(), BYTES_MAX);
    (1..=3).for_each(|moment| history.record(entry(moment)));
    history.close(PATIENCE);
    // Somebody has written over it while it was closed.
    fs::write(directory.path().join(FILE), "no store").unwrap();
    history.record(entry(4));
    history.flush(PATIENCE);
    assert_eq!(history.trouble(), None);
    assert_eq!(numbers(&history.last(9)), [1, 2, 3, 4]);
    assert_eq!(on_disk(directory.path()), [(4, 4)]);
    assert_eq!(fs::read(directory.path().join("history.damaged.redb")).unwrap(), b"no store");
    history.close(PATIENCE);
    drop(history);
    fs::write(directory.path().join(FILE), "no store either").unwrap();
    let history = History::open(directory.path(), BYTES_MAX);
    assert_eq!((history.trouble(), history.last(9).len()), (None, 0));
    history.record(entry(5));
    assert_eq!(numbers(&history.last(9)), [1], "nobody knows any more how many there were");
    assert_eq!(fs::read(directory.path().join("history.damaged.redb")).unwrap(), b"no store either");
}

#[test]
fn a_store_that_cannot_be_opened_is_trouble_with_a_cause_and_costs_no_event() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path(), BYTES_MAX);
    (1..=2).for_each(|moment| history.record(entry(moment)));
    history.close(PATIENCE);
    drop(history);
    let (path, away) = (directory.path().join(FILE), directory.path().join("away"));
    fs::rename(&path, &away).unwrap();
    // What is opened there takes no byte, and is not opened at all.
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let history = History::open(directory.path(), BYTES_MAX);
    history.record(entry(3));
    history.flush(PATIENCE);
    let trouble = history.trouble().unwrap();
    assert!(trouble.contains("is not a file"), "{trouble}");
    assert_eq!(numbers(&history.last(9)), [0], "nobody knows which one it is");
    fs::rename(&away, &path).unwrap();
    history.record(entry(4));
    // It is tried again with the next look at the queue.
    history.flush(PATIENCE);
    assert_eq!(history.trouble(), None);
    assert_eq!(numbers(&history.last(9)), [1, 2, 3, 4]);
    assert_eq!(on_disk(directory.path()), [(1, 1), (2, 2), (3, 3), (4, 4)]);
}

#[test]
fn a_directory_that_cannot_be_made_is_trouble_and_no_panic() {
    let history = History::open(Path::new("/proc/no-such-place"), BYTES_MAX);
    history.record(entry(1));
    history.flush(PATIENCE);
    assert!(history.trouble().unwrap().contains("/proc/no-such-place"));
    assert_eq!((moments(&history.last(9)), numbers(&history.last(9))), (vec![1], vec![1]));
}

#[test]
fn what_an_older_version_has_kept_is_taken_over_once() {
    let directory = tempfile::tempdir().unwrap();
    let lines = |moments: std::ops::RangeInclusive<u64>| -> String {
        let line = |moment| {
            let mut told = serde_json::to_value(entry(moment)).unwrap();
            told.as_object_mut().unwrap().remove("number");
            format!("{told}\n")
        };
        moments.map(line).collect()
    };
    let (older, newer) = (directory.path().join("history.1.jsonl"), directory.path().join("history.jsonl"));
    fs::write(&older, lines(1..=2)).unwrap();
    // The daemon died in the middle of a line.
    fs::write(&newer, lines(3..=4) + "{\"time\":\"2026-03").unwrap();
    let history = History::open(directory.path(), BYTES_MAX);
    history.record(entry(5));
    history.flush(PATIENCE);
    assert_eq!((numbers(&history.last(9)), moments(&history.last(9))), (vec![1, 2, 3, 4, 5], vec![1, 2, 3, 4, 5]));
    assert!(!older.exists() && !newer.exists());
    history.close(PATIENCE);
    drop(history);
    // It died before it could remove them; and then an older version ran once more.
    fs::write(&older, lines(1..=5)).unwrap();
    fs::write(&newer, lines(6..=6)).unwrap();
    let history = History::open(directory.path(), BYTES_MAX);
    assert_eq!(moments(&history.last(9)), [1, 2, 3, 4, 5, 6]);
    assert_eq!(on_disk(directory.path()).last(), Some(&(6, 6)));
    assert!(!older.exists() && !newer.exists());
}

#[tokio::test]
async fn a_follower_gets_each_entry_once() {
    let history = Arc::new(History::in_memory());
    let writer = Arc::clone(&history);
    let recorder = std::thread::spawn(move || (1..=500).for_each(|moment| writer.record(entry(moment))));
    let (past, mut live) = history.follow(usize::MAX);
    recorder.join().unwrap();
    let mut seen = moments(&past);
    while let Ok(entry) = live.try_recv() {
        seen.extend(moments(&[entry]));
    }
    assert_eq!(seen, (1..=500).collect::<Vec<u64>>());
}

#[tokio::test]
async fn questions_reach_the_whole_store() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path(), BYTES_MAX);
    for moment in 1..=3_000 {
        history.record(entry(moment));
        if moment % 500 == 0 {
            history.flush(PATIENCE);
        }
    }
    assert_eq!(told(&history, query(2, u64::MAX, None)).await.unwrap(), [2_999, 3_000]);
    assert_eq!(told(&history, query(usize::MAX, u64::MAX, None)).await.unwrap(), (1..=3_000).collect::<Vec<_>>());
    assert_eq!(told(&history, query(1_500, u64::MAX, None)).await.unwrap(), (1_501..=3_000).collect::<Vec<_>>());
    assert_eq!(told(&history, query(2, 1_000, None)).await.unwrap(), [998, 999]);
    assert_eq!(told(&history, query(2, 2_500, None)).await.unwrap(), [2_498, 2_499]);
    assert!(told(&history, query(2, 1, None)).await.unwrap().is_empty());
    assert!(told(&history, query(0, u64::MAX, None)).await.unwrap().is_empty());
    assert_eq!(told(&history, query(3, u64::MAX, Some("event 7"))).await.unwrap(), [797, 798, 799]);
    assert_eq!(told(&history, query(9, 8, Some("EVENT 7"))).await.unwrap(), [7]);
    // What was recorded a moment ago is told although it is not on disk yet.
    history.record(entry(3_001));
    assert_eq!(told(&history, query(1, u64::MAX, None)).await.unwrap(), [3_001]);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_told_as_if_it_were_nothing() {
    let history = History::open(Path::new("/proc/no-such-place"), BYTES_MAX);
    (1..=2_000).for_each(|moment| history.record(entry(moment)));
    assert_eq!(told(&history, query(2, u64::MAX, None)).await.unwrap(), [1_999, 2_000]);
    let error = told(&history, query(2_000, u64::MAX, None)).await.unwrap_err();
    assert!(error.contains("the history on disk cannot be read"), "{error}");
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_takes_nothing_from_what_is_held() {
    let directory = tempfile::tempdir().unwrap();
    // It is there, so the numbers are in it, and nobody can read them.
    std::os::unix::fs::symlink("/dev/full", directory.path().join(FILE)).unwrap();
    let history = History::open(directory.path(), BYTES_MAX);
    (1..=3).for_each(|moment| history.record(entry(moment)));
    assert_eq!(told(&history, query(HELD_MAX, u64::MAX, None)).await.unwrap().len(), 3);
    for more in [query(HELD_MAX + 1, u64::MAX, None), query(9, u64::MAX, Some("event"))] {
        assert!(told(&history, more).await.unwrap_err().contains("cannot be read"));
    }
}

#[tokio::test]
async fn however_many_viewers_ask_an_operator_gets_his_answer() {
    let directory = tempfile::tempdir().unwrap();
    let history = Arc::new(History::open(directory.path(), BYTES_MAX));
    history.record(entry(1));
    history.flush(PATIENCE);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let ask = |is_viewer, work: Box<dyn FnOnce() + Send>| {
        let history = Arc::clone(&history);
        tokio::spawn(async move {
            let reader = &history.disk.as_ref().unwrap().reader;
            let question = move |_: &Store| {
                work();
                Ok(())
            };
            reader.ask(is_viewer, question).await
        })
    };
    let slow = ask(true, Box::new(move || wait.recv().unwrap()));
    // The first of them have places behind the slow one.
    let mut viewers: Vec<_> = (0..40).map(|_| ask(true, Box::new(|| ()))).collect();
    for viewer in viewers.split_off(20) {
        assert!(viewer.await.unwrap().unwrap_err().contains("too many ask"));
    }
    let operator = ask(false, Box::new(|| ()));
    go.send(()).unwrap();
    assert_eq!(operator.await.unwrap(), Ok(()));
    assert_eq!(slow.await.unwrap(), Ok(()));
}
