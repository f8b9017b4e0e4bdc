use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;

/// What was told, in words.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn pen(&self) -> Tell {
        let told = self.clone();
        Box::new(move |severity, text| told.0.lock().unwrap().push(format!("{severity:?} {text}")))
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn with(&self, words: &str) -> usize {
        self.all().iter().filter(|text| text.contains(words)).count()
    }
}

fn script(text: &str) -> Option<Program> {
    let command = ["sh", "-c", text].map(str::to_owned).to_vec();
    Some(Program { command, ..Program::default() })
}

/// A companion of a directory of its own: what carries its mark is nobody else's.
fn companion(directory: &Path, told: &Told) -> Companion {
    let mark = Mark::new("test", &directory.display().to_string(), "", "companion");
    Companion::start("companion", mark, told.pen())
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to this: {what}");
}

fn exists(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn running(companion: &Companion) -> Option<i32> {
    companion.standing.borrow().pid
}

#[tokio::test]
async fn what_is_killed_is_back_soon_and_both_are_told() {
    let (directory, told) = (tempfile::tempdir().unwrap(), Told::default());
    let companion = companion(directory.path(), &told);
    companion.orders().want(script("exec sleep 1000"));
    eventually("it runs", || told.with("Info companion runs (process ") == 1).await;
    let first = running(&companion).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), nix::sys::signal::Signal::SIGKILL).unwrap();
    let begun = Instant::now();
    eventually("it runs again", || running(&companion).is_some_and(|pid| pid != first)).await;
    assert!(begun.elapsed() < Duration::from_millis(1_000), "{:?}", begun.elapsed());
    let end = "Warning companion was killed by signal 9 (SIGKILL); it is started again in 100 ms";
    eventually("all of it is told", || told.with("companion runs") == 2).await;
    assert_eq!(told.all()[1], end, "{:?}", told.all());
    companion.stop().await;
}

#[tokio::test]
async fn what_cannot_stay_up_is_tried_less_and_less_and_told_with_measure() {
    let (directory, told) = (tempfile::tempdir().unwrap(), Told::default());
    let count = directory.path().join("count");
    let companion = companion(directory.path(), &told);
    companion.orders().want(script(&format!("echo x >> {}; echo no rsync here; exit 3", count.display())));
    eventually("an alarm", || told.with("Alarm") == 1).await;
    sleep(Duration::from_millis(2_000)).await;
    let starts = fs::read_to_string(&count).unwrap().lines().count();
    assert!((5..=6).contains(&starts), "{starts}: the fifth pause is 1.6 s, the sixth 3.2 s");
    assert_eq!((told.with("Warning"), told.with("runs (process")), (3, 0), "{:?}", told.all());
    assert_eq!(
        told.all().last().unwrap(),
        "Alarm companion does not stay up: it exited with status 3; last output: \"no rsync here\"; this is tried again \
         and again"
    );
    let trouble = || companion.standing.borrow().trouble.clone().unwrap_or_default();
    eventually("the reason stands there", || trouble().starts_with("exited with status 3")).await;
    companion.stop().await;
}

#[tokio::test]
async fn one_that_is_not_there_is_told_once_and_started_when_it_comes() {
    let (directory, told) = (tempfile::tempdir().unwrap(), Told::default());
    let companion = companion(directory.path(), &told);
    let path = directory.path().join("program");
    companion.orders().want(Some(Program { command: vec![path.display().to_string()], ..Program::default() }));
    eventually("it is told", || told.with("Alarm companion cannot be started: ") == 1).await;
    sleep(Duration::from_millis(800)).await;
    assert_eq!(told.all().len(), 1, "{:?}", told.all());
    assert!(companion.standing().borrow().trouble.as_ref().unwrap().contains("cannot be run: No such file"));
    std::os::unix::fs::symlink("/bin/cat", directory.path().join("cat")).unwrap();
    fs::write(&path, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    eventually("it runs", || told.with("companion runs") == 1).await;
    assert_eq!(companion.standing().borrow().trouble, None);
    companion.stop().await;
}

#[tokio::test]
async fn another_one_comes_when_the_old_one_is_gone() {
    let (directory, told) = (tempfile::tempdir().unwrap(), Told::default());
    let (companion, busy) = (companion(directory.path(), &told), directory.path().join("busy"));
    let one = |name: &str| {
        let busy = busy.display();
        let text = format!(
            "mkdir {busy} || exit 9; trap 'rmdir {busy}; exit 0' TERM; echo $$ > {}; while :; do sleep 0.05; done",
            directory.path().join(name).display()
        );
        script(&text)
    };
    let started = |name: &str| fs::read_to_string(directory.path().join(name)).is_ok_and(|text| text.ends_with('\n'));
    companion.orders().want(one("first"));
    eventually("the first", || started("first")).await;
    companion.orders().want(one("second"));
    eventually("the second", || started("second")).await;
    companion.orders().want(None);
    eventually("none", || running(&companion).is_none()).await;
    assert_eq!(told.with("exited"), 0, "an end that is wanted is no news: {:?}", told.all());
    companion.stop().await;
}

#[tokio::test]
async fn nothing_is_left_of_one_that_does_not_want_to_end() {
    let (directory, told) = (tempfile::tempdir().unwrap(), Told::default());
    let companion = companion(directory.path(), &told);
    companion.orders().want(script("trap '' TERM; sleep 1000 & while :; do sleep 1; done"));
    eventually("it runs", || told.with("companion runs") == 1).await;
    let (pid, orders, begun) = (running(&companion).unwrap(), companion.orders(), Instant::now());
    companion.stop().await;
    assert!(!exists(pid) && begun.elapsed() <= STOP_TIME, "{:?}", begun.elapsed());
    orders.want(script("sleep 1000"));
    assert!(matches!(*orders.0.borrow(), Wanted::End), "the end is the end");
}

#[tokio::test]
async fn at_once_is_at_once() {
    let (directory, told) = (tempfile::tempdir().unwrap(), Told::default());
    let companion = companion(directory.path(), &told);
    companion.orders().want(script("trap '' TERM; while :; do sleep 1; done"));
    eventually("it runs", || running(&companion).is_some()).await;
    let (pid, begun) = (running(&companion).unwrap(), Instant::now());
    timeout(Duration::from_secs(5), companion.end_at_once()).await.expect("it waits for nothing");
    assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
    eventually("it is gone", || !exists(pid)).await;
}

#[tokio::test]
async fn what_an_earlier_daemon_has_left_is_removed_first() {
    let (directory, told) = (tempfile::tempdir().unwrap(), Told::default());
    let companion = companion(directory.path(), &told);
    let mark = Mark::new("test", &directory.path().display().to_string(), "", "companion");
    let mut left = std::process::Command::new("sleep");
    let mut left = left.arg("1000").env(crate::process::family::MARK_VARIABLE, mark.value()).spawn().unwrap();
    let environment = format!("/proc/{}/environ", left.id());
    let begun = || String::from_utf8_lossy(&fs::read(&environment).unwrap()).contains(mark.value());
    // A program that is read from a disk for the first time takes its time to begin.
    eventually("the one from before runs", begun).await;
    companion.orders().want(script("exec sleep 1000"));
    eventually("it runs", || running(&companion).is_some()).await;
    let stat = fs::read_to_string(format!("/proc/{}/stat", left.id()));
    assert!(left.try_wait().unwrap().is_some(), "the one from before is not dead: {stat:?}, {:?}", told.all());
    companion.stop().await;
}

#[test]
fn what_an_earlier_daemon_has_left_is_removed_in_a_container_too() {
    // There a process may belong to a session that began outside, which has no number inside.
    let ended = std::process::Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "companion::tests::what_an_earlier_daemon_has_left_is_removed_first"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{ended:?}");
}
