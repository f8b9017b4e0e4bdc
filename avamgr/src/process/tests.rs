use std::fs;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::aside::Aside;
use super::family::{Family, MARK_VARIABLE, Mark, Process};
use super::*;

const SOON: Duration = Duration::from_secs(5);

// --- the end of a child ---

#[tokio::test]
async fn an_exit_is_seen_at_once_with_its_status_and_last_words() {
    let mut child = shell("echo first; echo 'out of memory' >&2; exit 3").await;
    assert_eq!(child.exited().await, Exit::Code(3));
    assert_eq!(child.last_line().as_deref(), Some("out of memory"));
    assert_eq!(child.exited().await.to_string(), "exited with status 3");
}

#[tokio::test]
async fn a_crash_names_its_signal() {
    let mut child = shell("kill -SEGV $$").await;
    assert!(child.exited().await.to_string().starts_with("was killed by signal 11 (SIGSEGV)"));
}

#[tokio::test]
async fn a_line_without_an_end_is_the_last_word_too() {
    let mut child = shell("printf 'cannot bind'; exit 1").await;
    child.exited().await;
    assert_eq!(child.last_line().as_deref(), Some("cannot bind"));
}

// --- stopping ---

#[tokio::test]
async fn a_polite_child_ends_on_term() {
    let mut child = shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done").await;
    said(&child, "up").await;
    child.stop(Instant::now() + SOON, Instant::now() + SOON).await.unwrap();
    assert_eq!(child.exited().await, Exit::Code(0));
    assert_eq!(child.last_line().as_deref(), Some("bye"));
}

#[tokio::test]
async fn who_ignores_term_is_killed_after_the_grace_with_all_grandchildren() {
    let mut child = shell("trap '' TERM; sleep 60 & sh -c 'sleep 61 & sleep 62' & echo up; wait; sleep 63").await;
    said(&child, "up").await;
    let before = Instant::now();
    child.stop(before + Duration::from_millis(150), before + SOON).await.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(150), "no grace: {:?}", before.elapsed());
    assert!(before.elapsed() < Duration::from_secs(1), "too slow: {:?}", before.elapsed());
    assert!(family::living_in_group(child.pid()).is_empty());
}

#[tokio::test]
async fn grandchildren_get_the_rest_of_the_grace_when_their_parent_has_gone() {
    let mut child =
        shell("(trap '' TERM; echo up; exec sleep 60) & trap 'exit 0' TERM; while :; do sleep 0.01; done").await;
    said(&child, "up").await;
    let before = Instant::now();
    child.stop(before + Duration::from_millis(100), before + SOON).await.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(100));
    assert!(family::living_in_group(child.pid()).is_empty());
}

#[tokio::test]
async fn a_stopped_process_can_still_be_asked_to_end() {
    let mut child = shell("trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done").await;
    said(&child, "up").await;
    killpg(child.pid, Signal::SIGSTOP).unwrap();
    child.stop(Instant::now() + SOON, Instant::now() + SOON).await.unwrap();
    assert_eq!(child.exited().await, Exit::Code(0));
}

#[tokio::test]
async fn a_stop_that_is_dropped_and_called_again_sends_term_once_and_can_be_quicker() {
    let mut child = shell("trap 'echo term' TERM; echo up; while :; do sleep 0.01; done").await;
    said(&child, "up").await;
    let slow = child.stop(Instant::now() + SOON, Instant::now() + SOON);
    assert!(tokio::time::timeout(Duration::from_millis(100), slow).await.is_err());
    let now = Instant::now();
    child.stop(now + Duration::from_millis(100), now + SOON).await.unwrap();
    let terms = child.last_lines().iter().filter(|line| *line == "term").count();
    assert_eq!(terms, 1);
    assert!(now.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn dropping_the_handle_kills_the_group() {
    let child = shell("sleep 60 & sleep 60 & wait").await;
    let pid = child.pid();
    eventually(async || family::living_in_group(pid).len() == 3).await;
    drop(child);
    eventually(async || family::living_in_group(pid).is_empty()).await;
    eventually(async || !family::exists(pid)).await;
}

#[tokio::test]
async fn what_has_left_its_group_and_session_is_found_by_its_mark() {
    let mark = unique_mark();
    let program = Program { mark: Some(mark.clone()), ..sh("setsid sleep 60 & setsid sleep 61 & echo up; wait") };
    let mut child = Child::spawn(&program.resolve().await.unwrap(), nowhere()).unwrap();
    said(&child, "up").await;
    let family = Family { mark, session: Some(child.pid()), looks: Aside::default() };
    eventually(async || family.members().await.len() == 3).await;
    // A process that has not left yet would be stopped with the others.
    eventually(async || family::living_in_group(child.pid()).len() == 1).await;
    child.stop(Instant::now() + SOON, Instant::now() + SOON).await.unwrap();
    assert_eq!(family.members().await.len(), 2, "they have left the group");
    assert_eq!(family.clear(Instant::now() + SOON, Instant::now() + SOON).await.unwrap(), 2);
    assert!(family.members().await.is_empty());
}

#[tokio::test]
async fn a_mark_is_not_a_prefix_of_another_mark() {
    let program = Program { mark: Some(Mark::new("c", "n", "g", "dre2")), ..sh("echo up; sleep 60") };
    let child = Child::spawn(&program.resolve().await.unwrap(), nowhere()).unwrap();
    said(&child, "up").await;
    let members = async |name| {
        Family { mark: Mark::new("c", "n", "g", name), session: None, looks: Aside::default() }.members().await.len()
    };
    assert_eq!((members("dre").await, members("dre2").await), (0, 2));
}

// --- birth ---

#[test]
fn a_child_dies_with_the_thread_that_spawned_it_whoever_it_runs_as() {
    check_dies_with_its_thread(None);
    if nix::unistd::Uid::effective().is_root() {
        check_dies_with_its_thread(Some("nobody"));
    }
}

fn check_dies_with_its_thread(user: Option<&'static str>) {
    let pid = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let program = Program { user: user.map(str::to_owned), ..sh("echo up; exec sleep 60") };
            let child = Child::spawn(&program.resolve().await.unwrap(), nowhere()).unwrap();
            said(&child, "up").await;
            let pid = child.pid();
            // As if the daemon had been killed: nobody runs our destructors.
            std::mem::forget(child);
            pid
        })
    });
    let pid = pid.join().unwrap();
    let gone = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        Process::read(pid).is_none_or(|process| !process.alive)
    });
    assert!(gone, "process {pid} of {user:?} has outlived its parent");
}

#[test]
fn a_child_inherits_neither_signal_settings_nor_realtime_scheduling_nor_oom_protection() {
    // In a thread of its own: what is set here is inherited from the thread that forks.
    let lines = std::thread::spawn(|| {
        burden_this_thread();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let script =
            "grep -E 'SigBlk|SigIgn' /proc/self/status; cat /proc/self/oom_score_adj; cut -d' ' -f41 /proc/self/stat";
        runtime.block_on(async { run(&sh(script), SOON).await.lines })
    });
    let lines = lines.join().unwrap();
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    let mask = |line: &str| u64::from_str_radix(line.split('\t').nth(1).unwrap(), 16).unwrap();
    // libc keeps signals 32 and 33 for itself and lets nobody touch them.
    let libc_own = 0x1_8000_0000;
    assert_eq!((mask(&lines[0]), mask(&lines[1]) & !libc_own), (0, 0), "blocked or ignored signals");
    assert_eq!(lines[2..], ["0", "0"], "OOM score and scheduling policy");
}

#[expect(unsafe_code, reason = "the settings of a daemon that has been started carelessly")]
fn burden_this_thread() {
    use nix::sys::signal::{SigHandler, SigSet, signal};
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGUSR1);
    blocked.thread_block().unwrap();
    // SAFETY: nobody here waits for this signal; realtime scheduling ends with the thread.
    unsafe {
        signal(Signal::SIGUSR2, SigHandler::SigIgn).unwrap();
        let param = libc::sched_param { sched_priority: 1 };
        libc::sched_setscheduler(0, libc::SCHED_RR, &raw const param);
    }
    let _ = fs::write("/proc/self/oom_score_adj", "50");
}

#[tokio::test]
async fn a_child_leads_a_session_and_has_its_environment_and_directory() {
    let directory = TempDir::new().unwrap();
    let mut program = sh("echo $GREETING; pwd; echo $AVAMGR_RESOURCE; cut -d' ' -f5,6 /proc/$$/stat; echo $$");
    program.environment.insert("GREETING".into(), "hello".into());
    program.directory = Some(directory.path().to_owned());
    program.mark = Some(Mark::new("c", "n", "g", "r"));
    let lines = run(&program, SOON).await.lines;
    let pid = lines[4].clone();
    let path = directory.path().to_string_lossy().into_owned();
    assert_eq!(lines, ["hello".to_owned(), path, "c/n/g/r".to_owned(), format!("{pid} {pid}"), pid]);
}

#[tokio::test]
async fn root_can_run_a_child_as_somebody_else() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let mut program = sh("id -un; id -Gn; echo $HOME; echo up; sleep 60");
    program.user = Some("nobody".into());
    let child = Child::spawn(&program.resolve().await.unwrap(), nowhere()).unwrap();
    said(&child, "up").await;
    assert_eq!(child.last_lines(), ["nobody", "nogroup", "/nonexistent", "up"]);
}

// --- finding programs ---

#[tokio::test]
async fn what_cannot_be_run_is_named_with_a_hint() {
    let directory = TempDir::new().unwrap();
    let closed = directory.path().join("closed");
    fs::write(&closed, "#!/bin/sh\n").unwrap();
    let closed = closed.to_string_lossy().into_owned();
    let folder = directory.path().to_string_lossy().into_owned();
    check_refused(command(&["no-such-program-here"]), &["no-such-program-here", "PATH", "install"]).await;
    check_refused(command(&["/no/such/file"]), &["/no/such/file", "No such file"]).await;
    check_refused(command(&[&closed]), &[&closed, "not executable", "0644", "chmod"]).await;
    check_refused(command(&[&folder]), &[&folder, "not a file"]).await;
    check_refused(command(&[]), &["empty"]).await;
    check_refused(command(&["sh\0"]), &["zero byte"]).await;
    check_refused(Program { user: Some("no-such-user".into()), ..sh(":") }, &["no-such-user", "unknown"]).await;
    check_refused(Program { directory: Some("/no/such".into()), ..sh(":") }, &["/no/such", "directory"]).await;
}

#[tokio::test]
async fn a_missing_interpreter_is_named_when_the_script_is_started() {
    let directory = TempDir::new().unwrap();
    let script = script_in(&directory, "#!/no/such/interpreter\n");
    let executable = command(&[&script]).resolve().await.unwrap();
    let error = Child::spawn(&executable, nowhere()).unwrap_err().to_string();
    assert!(error.contains(&script) && error.contains("interpreter"), "{error}");
}

// --- output ---

#[tokio::test]
async fn output_is_passed_on_line_by_line_cut_and_made_harmless() {
    let long = "x".repeat(5000);
    let (sink, lines) = collector();
    let program = sh("printf 'one\\n\\033[31mtwo\\a\\n'; echo $LONG; printf '\\377\\n'");
    let program = Program { environment: [("LONG".to_owned(), long)].into(), ..program };
    Child::spawn(&program.resolve().await.unwrap(), sink).unwrap().exited().await;
    let lines = lines.lock().unwrap().clone();
    assert_eq!(lines[..2], ["one".to_owned(), "\u{fffd}[31mtwo\u{fffd}".to_owned()]);
    assert_eq!(lines[2], "x".repeat(1024));
    assert_eq!(lines[3], "\u{fffd}");
}

#[tokio::test]
async fn a_flood_neither_blocks_nor_eats_memory_and_its_dropped_lines_are_counted() {
    const MEGABYTES: usize = 100;
    let (sink, lines) = collector();
    let line = "a line of a service that was told to log everything it does";
    let program = sh(&format!("yes '{line}' | head -c {}; echo; echo done", MEGABYTES << 20));
    let before = resident_kib();
    let mut child = Child::spawn(&program.resolve().await.unwrap(), sink).unwrap();
    let begun = Instant::now();
    // Somebody else on the same thread must be served all the while.
    let mut worst = Duration::ZERO;
    let exit = loop {
        let tick = Instant::now();
        tokio::select! {
            exit = child.exited() => break exit,
            () = sleep(Duration::from_millis(1)) => worst = worst.max(tick.elapsed()),
        }
    };
    let took = begun.elapsed();
    let grown = resident_kib().saturating_sub(before);
    eprintln!("flood: {MEGABYTES} MB in {took:.1?}, {grown} KiB more, longest wait of others {worst:.1?}");
    child.output.settle(SOON).await;
    assert!(exit.success());
    assert_eq!(child.last_line().as_deref(), Some("done"));
    // Other tests of this process use memory as well.
    assert!(grown < 32 * 1024, "{grown} KiB");
    assert!(worst < took / 2, "{worst:?} of {took:?}");
    let lines = lines.lock().unwrap();
    let dropped: usize = lines.iter().filter_map(|line| line.strip_prefix("dropped ")?.parse::<usize>().ok()).sum();
    let passed = lines.iter().filter(|line| !line.starts_with("dropped ")).count();
    assert_eq!(dropped + passed, (MEGABYTES << 20).div_ceil(line.len() + 1) + 1, "every line is passed on or counted");
    assert!(passed < 5000, "{passed}");
}

// --- scripts ---

#[tokio::test]
async fn a_script_that_hangs_is_killed_with_its_group() {
    let mark = unique_mark();
    let program = Program { mark: Some(mark.clone()), ..sh("sleep 60 & echo asking; sleep 61") };
    let before = Instant::now();
    let ended = run(&program, Duration::from_millis(200)).await;
    assert_eq!(ended.outcome, Outcome::TimedOut(Duration::from_millis(200)));
    assert_eq!(ended.last_output(), "; last output: \"asking\"");
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    assert!(Family { mark, session: None, looks: Aside::default() }.members().await.is_empty());
}

#[tokio::test]
async fn the_daemon_of_an_init_script_stays_and_can_go_on_writing() {
    let directory = TempDir::new().unwrap();
    let alive = directory.path().join("alive");
    let mark = unique_mark();
    let script =
        format!("(sleep 0.2; echo hello; sleep 0.1; echo again; touch {}; sleep 60) & exit 0", alive.display());
    let program = Program { mark: Some(mark.clone()), ..sh(&script) };
    let before = Instant::now();
    let ended = run_to_end(&program.resolve().await.unwrap(), nowhere(), SOON, Rest::Stay).await.unwrap();
    assert!(ended.success());
    assert!(before.elapsed() < Duration::from_millis(900), "waited for the daemon: {:?}", before.elapsed());
    eventually(async || alive.exists()).await;
    let now = Instant::now();
    assert!(Family { mark, session: None, looks: Aside::default() }.clear(now, now + SOON).await.unwrap() > 0);
}

/// Of giving back so much memory one dies for a while, in which it has no environment any more, but all its sockets.
async fn heavy() -> (Family, Vec<i32>) {
    let mark = unique_mark();
    let script = "setsid dd if=/dev/zero bs=400M count=1 2>/dev/null | setsid sleep 60 & exit 0";
    let program = Program { mark: Some(mark.clone()), ..sh(script) };
    let ended = run_to_end(&program.resolve().await.unwrap(), nowhere(), SOON, Rest::Stay).await.unwrap();
    assert!(ended.success());
    let family = Family { mark, session: None, looks: Aside::default() };
    let resident = |pid: &i32| {
        let pages = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0)
    };
    eventually(async || family.members().await.iter().map(resident).max().unwrap_or(0) > 100_000).await;
    let members = family.members().await;
    (family, members)
}

fn living(pids: &[i32]) -> Vec<Process> {
    pids.iter().filter_map(|pid| Process::read(*pid).filter(|process| process.alive)).collect()
}

#[tokio::test]
async fn who_is_dying_still_counts() {
    let (family, members) = heavy().await;
    let now = Instant::now();
    assert_eq!(family.clear(now, now + SOON).await.unwrap(), members.len());
    assert!(living(&members).is_empty());
}

#[tokio::test]
async fn who_is_dying_is_waited_for() {
    let (family, members) = heavy().await;
    let die = async {
        sleep(Duration::from_millis(20)).await;
        members.iter().for_each(|pid| nix::sys::signal::kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap());
    };
    let (gone, ()) = tokio::join!(family.gone(Instant::now() + SOON), die);
    let left = living(&members);
    assert!(gone && left.is_empty(), "{gone} {left:?}");
}

/// Its first thread ends, its second one goes on and does not want to end.
const HEADLESS: &str = r"
    #include <pthread.h>
    #include <signal.h>
    #include <unistd.h>
    static void *go_on(void *nothing) { sleep(60); return nothing; }
    int main(void) {
        pthread_t other;
        signal(SIGTERM, SIG_IGN);
        pthread_create(&other, 0, go_on, 0);
        pthread_exit(0);
    }
";

#[tokio::test]
async fn whose_first_thread_has_ended_is_found_and_killed() {
    let directory = TempDir::new().unwrap();
    let (source, program) = (directory.path().join("headless.c"), directory.path().join("headless"));
    fs::write(&source, HEADLESS).unwrap();
    // Whoever compiles Rust has a C compiler, to link with.
    let compiled =
        std::process::Command::new("cc").arg("-pthread").arg("-o").args([&program, &source]).status().unwrap();
    assert!(compiled.success());

    let mark = unique_mark();
    let mut child = std::process::Command::new(&program).env(MARK_VARIABLE, mark.value()).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    eventually(async || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ")).await;
    let family = Family { mark, session: None, looks: Aside::default() };
    assert_eq!(family.members().await, [pid]);
    let now = Instant::now();
    assert_eq!(family.clear(now + Duration::from_millis(50), now + SOON).await.unwrap(), 1);
    assert!(child.try_wait().unwrap().is_some(), "it is dead");
}

#[tokio::test]
async fn a_process_is_seen_while_it_goes_from_one_program_to_the_next() {
    let directory = TempDir::new().unwrap();
    let restless = directory.path().join("restless");
    fs::write(&restless, "#!/bin/sh\nexec \"$0\"\n").unwrap();
    let mark = unique_mark();
    let script = format!("chmod +x {0}; setsid {0} & exit 0", restless.display());
    let program = Program { mark: Some(mark.clone()), ..sh(&script) };
    let ended = run_to_end(&program.resolve().await.unwrap(), nowhere(), SOON, Rest::Stay).await.unwrap();
    assert!(ended.success());
    let family = Family { mark, session: None, looks: Aside::default() };
    let mut unseen = 0;
    for _ in 0..500 {
        unseen += usize::from(family.members().await.is_empty());
    }
    let now = Instant::now();
    assert!(family.clear(now, now + SOON).await.unwrap() > 0);
    assert_eq!(unseen, 0);
}

#[tokio::test]
async fn what_a_check_leaves_behind_is_killed() {
    let mark = unique_mark();
    let program = Program { mark: Some(mark.clone()), ..sh("sleep 60 & exit 0") };
    assert!(run(&program, SOON).await.success());
    let family = Family { mark, session: None, looks: Aside::default() };
    eventually(async || family.members().await.is_empty()).await;
}

// --- helpers ---

fn command(words: &[&str]) -> Program {
    Program { command: words.iter().map(|word| (*word).to_owned()).collect(), ..Program::default() }
}

fn sh(script: &str) -> Program {
    command(&["sh", "-c", script])
}

async fn shell(script: &str) -> Child {
    Child::spawn(&sh(script).resolve().await.unwrap(), nowhere()).unwrap()
}

async fn run(program: &Program, time: Duration) -> Ended {
    run_to_end(&program.resolve().await.unwrap(), nowhere(), time, Rest::Kill).await.unwrap()
}

async fn check_refused(program: Program, words: &[&str]) {
    let error = program.resolve().await.unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{error:?} does not say {word:?}");
    }
}

async fn said(child: &Child, word: &str) {
    eventually(async || child.last_line().as_deref() == Some(word)).await;
}

async fn eventually(condition: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if condition().await {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 5 s");
}

fn unique_mark() -> Mark {
    Mark::new("test", &std::process::id().to_string(), "g", &clock::now().as_nanos().to_string())
}

fn script_in(directory: &TempDir, text: &str) -> String {
    let path = directory.path().join("script").to_string_lossy().into_owned();
    // Written by a child: a child of another test, forked while we hold the file open, would make it "busy".
    let write = ["-c", "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", text, &path];
    assert!(std::process::Command::new("sh").args(write).status().unwrap().success());
    path
}

fn collector() -> (Sink, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&lines);
    let sink: Sink = Arc::new(move |line| {
        into.lock().unwrap().push(match line {
            Line::Text(text) => text.to_owned(),
            Line::Dropped(count) => format!("dropped {count}"),
            Line::Lost(count) => format!("lost {count}"),
        });
    });
    (sink, lines)
}

fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
