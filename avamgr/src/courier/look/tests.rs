use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;

use avamgr_core::courier::Trouble;

use super::*;
use crate::courier::tame::TEXT;

const NOW: Instant = Instant::from_millis(100_000);

fn notice(number: u64) -> Notice {
    Notice { number, at: NOW, severity: Severity::Warning, text: format!("notice {number}") }
}

fn status(started: u64, notices: &[u64]) -> Status {
    Status {
        now: NOW,
        node: "hadev1".to_owned(),
        version: "0.1.0".to_owned(),
        started: Instant::from_millis(started),
        active: None,
        one_way: false,
        directories: Vec::new(),
        peers: Vec::new(),
        unsettled: 0,
        conflicts: 0,
        trash: 0,
        troubles: Vec::new(),
        troubles_omitted: 0,
        notices: notices.iter().copied().map(notice).collect(),
    }
}

fn texts(events: Vec<Event>) -> Vec<String> {
    let text = |event: Event| {
        let Fact::Rules { severity, text } = event.fact else { panic!("{event:?}") };
        format!("{severity:?} {text}")
    };
    events.into_iter().map(text).collect()
}

#[test]
fn each_notice_is_told_once_and_those_of_a_new_run_are_new() {
    let mut heard = Heard::default();
    let mut news = |started, notices: &[u64]| texts(heard.news(&status(started, notices), NOW));
    assert_eq!(news(1, &[1, 2]), ["Warning notice 1", "Warning notice 2"]);
    assert_eq!(news(1, &[1, 2]), [""; 0]);
    assert_eq!(news(1, &[2, 3]), ["Warning notice 3"]);
    assert_eq!(news(2, &[1]), ["Warning notice 1"], "it was started anew and counts from 1");
    let missed = "Warning 4 notices of rules-sync were missed: its log has them";
    assert_eq!(news(2, &[6, 7]), [missed, "Warning notice 6", "Warning notice 7"]);
}

#[test]
fn a_flood_is_no_flood_in_the_history() {
    let all: Vec<u64> = (1..=10_000).collect();
    let news = Heard::default().news(&status(1, &all), NOW);
    assert_eq!(news.len(), NOTICES + 1, "one more says how many were missed");
}

#[test]
fn what_it_says_steers_no_terminal_and_is_no_novel() {
    let mut said = status(1, &[1]);
    said.notices[0].text = format!("\u{1b}[2J\n{}", "x".repeat(10_000));
    let tamed = tamed(said);
    let text = &tamed.notices[0].text;
    assert!(text.starts_with("\u{fffd}[2J\u{fffd}xxx") && text.chars().count() == TEXT, "{text}");
    assert_eq!((tamed.node.as_str(), tamed.now), ("hadev1", NOW));
}

#[test]
fn an_answer_that_does_not_come_leaves_the_last_one_with_its_age() {
    let stands = |trouble: Option<&str>| Standing {
        pid: trouble.is_none().then_some(7),
        since: NOW,
        trouble: trouble.map(str::to_owned),
    };
    let mut last = Last::default();
    let watched = last.watched(stands(None), Err("no answer".to_owned()), NOW);
    assert_eq!((watched.trouble.as_deref(), watched.answered), (Some("no answer"), None));
    let mut long = status(1, &[1]);
    let trouble = Trouble { place: "re/a".to_owned(), why: "no".to_owned(), since: NOW };
    long.troubles = vec![trouble; 25];
    let watched = last.watched(stands(None), Ok(long), NOW);
    let kept = watched.status.unwrap();
    assert_eq!((watched.pid, watched.trouble, watched.answered), (Some(7), None, Some(NOW)));
    assert_eq!((kept.notices.len(), kept.troubles.len(), kept.troubles_omitted), (0, 10, 15));
    let later = NOW + Duration::from_secs(9);
    let watched = last.watched(stands(Some("was killed")), Err("no answer".to_owned()), later);
    assert_eq!((watched.pid, watched.trouble.as_deref()), (None, Some("was killed")));
    assert_eq!((watched.answered, watched.status), (Some(NOW), Some(kept)));
}

#[tokio::test]
async fn one_that_answers_rubbish_or_nothing_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sock");
    let nobody = ask(&path).await.unwrap_err();
    assert!(nobody.contains("No such file"), "{nobody}");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let (mut first, _) = listener.accept().unwrap();
        let _ = first.read(&mut [0; 100]).unwrap();
        first.write_all(b"what?\n").unwrap();
        let (second, _) = listener.accept().unwrap();
        std::thread::sleep(PATIENCE + Duration::from_secs(1));
        drop(second);
    });
    let rubbish = ask(&path).await.unwrap_err();
    assert!(rubbish.starts_with("rules-sync does not answer on "), "{rubbish}");
    let begun = clock::now();
    let silent = ask(&path).await.unwrap_err();
    assert!(silent.ends_with("within 2 s") && clock::now().since(begun) < PATIENCE * 2, "{silent}");
    server.join().unwrap();
}
