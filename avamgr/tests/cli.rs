//! The command line against a daemon that says what the test wants: every verb, every exit code, and a daemon that is not
//! there, hangs or talks nonsense.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[path = "operator/status.rs"]
mod status;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command as Process, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use avamgr::clock;
use avamgr_core::cluster::{GroupId, NodeId, ResourceId};
use avamgr_core::control::{Answer, Command, Filter, HistoryEntry, Reply, Request, ResourceVerb};
use avamgr_core::node::event::{Fact, ResourceChange, Severity, SwitchoverStep};
use serde_json::Value;
use tempfile::TempDir;

/// What the daemon of a test does with one request.
enum Step {
    Say(Reply),
    /// Bytes as they are.
    Raw(&'static [u8]),
    Wait(Duration),
}

/// A daemon that follows a script.
struct Daemon {
    directory: TempDir,
    requests: Receiver<Request>,
}

impl Daemon {
    /// Answers each request with the steps the script makes of it, then closes the connection.
    fn start(script: impl Fn(&Request) -> Vec<Step> + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("sock")).unwrap();
        let (seen, requests) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap() == 0 {
                    continue;
                }
                let request: Request = serde_json::from_str(&line).unwrap();
                let steps = script(&request);
                let _ = seen.send(request);
                for step in steps {
                    let written = match step {
                        Step::Say(reply) => reader
                            .get_mut()
                            .write_all(format!("{}\n", serde_json::to_string(&reply).unwrap()).as_bytes()),
                        Step::Raw(bytes) => reader.get_mut().write_all(bytes),
                        Step::Wait(time) => {
                            thread::sleep(time);
                            Ok(())
                        }
                    };
                    if written.is_err() {
                        break;
                    }
                }
            }
        });
        Self { directory, requests }
    }

    /// Answers every command with this.
    fn answering(answer: Answer) -> Self {
        Self::start(move |request| match request {
            Request::Status => vec![Step::Say(Reply::Status { status: Box::new(status::active()) })],
            Request::Command(_)
            | Request::Rules { .. }
            | Request::OnBehalf { .. }
            | Request::Reload
            | Request::History { .. }
            | Request::Config => {
                vec![Step::Say(Reply::Answer { answer: answer.clone() })]
            }
        })
    }

    fn avamgr(&self, args: &[&str]) -> Run {
        run(self.process(args))
    }

    fn process(&self, args: &[&str]) -> Process {
        process(&self.directory.path().join("sock"), args)
    }

    fn request(&self) -> Request {
        self.requests.recv_timeout(Duration::from_secs(5)).unwrap()
    }
}

/// A healthy daemon with three events behind it.
fn healthy() -> Daemon {
    Daemon::start(|request| match request {
        Request::Status => vec![Step::Say(Reply::Status { status: Box::new(status::active()) })],
        Request::History { .. } => {
            let mut steps: Vec<Step> = events().into_iter().map(|entry| Step::Say(Reply::Event { entry })).collect();
            steps.push(Step::Say(Reply::EndOfHistory));
            steps
        }
        Request::Command(_) | Request::OnBehalf { .. } | Request::Reload => done("done"),
        Request::Config | Request::Rules { .. } => Vec::new(),
    })
}

fn done(text: &str) -> Vec<Step> {
    vec![Step::Say(Reply::Answer { answer: Answer::Done { text: text.to_owned() } })]
}

fn events() -> Vec<HistoryEntry> {
    let change = |group| Fact::Resource {
        resource: ResourceId { group: GroupId(group), index: 0 },
        change: ResourceChange::Started,
    };
    let numbered = |(number, entry): (u64, HistoryEntry)| HistoryEntry { number, ..entry };
    let events = vec![
        status::entry(Fact::PeerSilent { peer: NodeId(1) }, Severity::Alarm, "hadev2 is silent on every path"),
        status::entry(change(0), Severity::Info, "dre/traffic: started"),
        status::entry(change(1), Severity::Info, "mysql/db: started"),
    ];
    (1..).zip(events).map(numbered).collect()
}

fn process(socket: &std::path::Path, args: &[&str]) -> Process {
    let mut process = Process::new(env!("CARGO_BIN_EXE_avamgr"));
    process.arg("--socket").arg(socket).args(args).env_remove("AVAMGR_CONFDIR").env_remove("AVAMGR_SOCKET");
    // Nothing of this host's own config or history may leak into a test.
    process.env("AVAMGR_CONFDIR", "/nonexistent").env("HOME", "/nonexistent");
    process
}

struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(mut process: Process) -> Run {
    let Output { status, stdout, stderr } = process.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: status.code(), out: text(stdout), err: text(stderr) }
}

fn nowhere(args: &[&str]) -> Run {
    run(process(&PathBuf::from("/nonexistent/sock"), args))
}

#[test]
fn status_as_text_as_json_and_in_one_line() {
    let daemon = healthy();
    let text = daemon.avamgr(&["status"]);
    assert_eq!(text.code, Some(0), "{}", text.err);
    assert!(text.out.starts_with("hadev1 of cluster hadev, safety class ping, as of "), "{}", text.out);
    assert!(text.out.contains("dre  ACTIVE, term 7, for 12 s"), "{}", text.out);
    assert!(!text.out.contains('\u{1b}'), "no colours where no terminal is");
    let short = daemon.avamgr(&["status", "--short"]);
    assert_eq!(short.out, "hadev1: dre ACTIVE (term 7)\n");
    let json: Value = serde_json::from_str(&daemon.avamgr(&["status", "--json"]).out).unwrap();
    assert_eq!((&json["state"], &json["status"]["groups"][0]["role"]), (&"known".into(), &"active".into()));
    assert!(json["age_millis"].as_u64().unwrap() < 5_000);
}

#[test]
fn a_daemon_that_is_not_there_is_unknown_and_never_active() {
    let text = nowhere(&["status"]);
    assert_eq!(text.code, Some(4));
    assert!(
        text.out.contains(": UNKNOWN: avamgrd is not running (no control socket at /nonexistent/sock)"),
        "{}",
        text.out
    );
    let json = nowhere(&["status", "--json"]);
    assert_eq!(json.code, Some(4));
    let document: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&document["state"], &document["status"]), (&"unknown".into(), &Value::Null));
    let why = nowhere(&["why"]);
    assert_eq!(why.code, Some(4));
    assert!(why.out.contains(": UNKNOWN: avamgrd is not running") && !why.out.contains("ACTIVE"), "{}", why.out);
    for args in [&["online"][..], &["switchover"], &["history", "--follow"], &["reload"], &["config", "show"]] {
        let run = nowhere(args);
        assert_eq!(run.code, Some(4), "{args:?}: {}", run.err);
        assert!(run.err.contains("avamgrd is not running"), "{}", run.err);
        assert!(run.err.contains("`service dre start` starts it"), "{}", run.err);
        assert!(!run.out.contains("ACTIVE"), "{}", run.out);
    }
    // A socket file nobody listens on.
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("sock");
    drop(UnixListener::bind(&socket).unwrap());
    let run = run(process(&socket, &["status"]));
    assert!(run.code == Some(4) && run.out.contains("nobody listens on"), "{}", run.out);
}

#[test]
fn a_daemon_that_hangs_is_unknown_within_seconds() {
    let daemon = Daemon::start(|_| vec![Step::Wait(Duration::from_secs(30))]);
    let begun = clock::now();
    let run = daemon.avamgr(&["status"]);
    assert_eq!(run.code, Some(4));
    assert!(run.out.contains("UNKNOWN: avamgrd does not answer on"), "{}", run.out);
    assert!(clock::now().since(begun) < Duration::from_secs(9));
}

#[test]
fn a_daemon_that_accepts_nobody_is_unknown_too() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("sock");
    let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener.bind(&socket2::SockAddr::unix(&socket).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let _queued = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let run = run(process(&socket, &["status"]));
    assert!(run.code == Some(4) && run.out.contains("does not answer"), "{}{}", run.out, run.err);
}

#[test]
fn nonsense_and_hang_ups_are_unknown() {
    let nonsense = Daemon::start(|_| vec![Step::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")]).avamgr(&["status"]);
    assert!(nonsense.code == Some(4) && nonsense.out.contains("is not understood"), "{}", nonsense.out);
    let hang_up = Daemon::start(|_| Vec::new()).avamgr(&["status"]);
    assert!(hang_up.code == Some(4) && hang_up.out.contains("closed the connection"), "{}", hang_up.out);
    let flood = Daemon::start(|_| (0..100).map(|_| Step::Raw(&[b'x'; 65_536])).collect()).avamgr(&["status"]);
    assert!(flood.code == Some(4) && flood.out.contains("longer than"), "{}", flood.out);
}

#[test]
fn a_loop_that_hangs_behind_a_living_socket_is_unknown() {
    let daemon = Daemon::start(|_| {
        let mut status = status::active();
        status.now = status.now - Duration::from_secs(7);
        vec![Step::Say(Reply::Status { status: Box::new(status) })]
    });
    let run = daemon.avamgr(&["status"]);
    assert_eq!(run.code, Some(4));
    assert!(run.out.contains("STALE") && run.out.contains("dre  UNKNOWN (was ACTIVE)"), "{}", run.out);
}

#[test]
fn why_tells_the_cause_and_the_events_that_matter() {
    let daemon = healthy();
    let run = daemon.avamgr(&["why"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(
        run.out.contains("\n  because hadev2 released it to this node\n") && run.out.contains(" s; as of "),
        "{}",
        run.out
    );
    assert!(run.out.starts_with("dre is ACTIVE on hadev1 (term 7, for 12 s; as of "), "{}", run.out);
    assert!(run.out.contains("2026-03-01 03:12:45.123Z  ALARM    hadev2 is silent on every path"), "{}", run.out);
    assert!(run.out.contains("dre/traffic: started") && !run.out.contains("mysql/db"), "{}", run.out);
    let json: Value = serde_json::from_str(&daemon.avamgr(&["why", "dre", "--json"]).out).unwrap();
    assert_eq!((&json["role"], json["events"].as_array().unwrap().len()), (&"active".into(), 2));
    let wrong = daemon.avamgr(&["why", "dra"]);
    assert_eq!(wrong.code, Some(3));
    assert!(wrong.err.contains("no group `dra`; there is: dre"), "{}", wrong.err);
}

#[test]
fn history_is_told_by_the_daemon_or_by_its_files() {
    let daemon = healthy();
    let text = daemon.avamgr(&["history", "-n", "3"]);
    assert_eq!(daemon.request(), Request::last(3));
    assert_eq!(text.out.lines().count(), 3, "{}", text.out);
    assert!(
        text.out.starts_with("1  2026-03-01 03:12:45.123Z  ALARM    hadev2 is silent on every path\n"),
        "{}",
        text.out
    );
    let json = daemon.avamgr(&["history", "--json"]);
    let first: Value = serde_json::from_str(json.out.lines().next().unwrap()).unwrap();
    assert_eq!((&first["severity"], &first["event"]["fact"]["kind"]), (&"alarm".into(), &"peer_silent".into()));
    let asked = ["--since", "2026-03-01T04:00:00+01:00", "--severity", "warning", "--group", "dre", "--before", "7"];
    daemon.request();
    daemon.avamgr(&[&["history", "--text", "silent"], &asked[..]].concat());
    let filter = Filter {
        since: Some("2026-03-01T03:00:00.000Z".to_owned()),
        until: None,
        severity: Some(Severity::Warning),
        group: Some("dre".to_owned()),
        text: Some("silent".to_owned()),
    };
    let expected = Request::History { last: usize::MAX, follow: false, before: Some(7), filter };
    assert_eq!(daemon.request(), expected, "all since then");
    assert_eq!(daemon.avamgr(&["history", "--last", "some"]).code, Some(2));
    let none = nowhere(&["history"]);
    assert!(none.code == Some(4) && none.err.contains("there are no events in /var/lib/avamgr"), "{}", none.err);
}

#[test]
fn events_are_followed_as_they_happen() {
    let daemon = Daemon::start(|_| {
        let mut steps = vec![Step::Say(Reply::EndOfHistory)];
        for entry in events() {
            steps.extend([Step::Wait(Duration::from_millis(50)), Step::Say(Reply::Event { entry })]);
        }
        steps.push(Step::Wait(Duration::from_secs(60)));
        steps
    });
    let mut child =
        Running(daemon.process(&["history", "-n", "0", "--follow"]).stdout(Stdio::piped()).spawn().unwrap());
    assert_eq!(child.lines(3).last().unwrap(), "3  2026-03-01 03:12:45.123Z  info     mysql/db: started");
}

#[test]
fn following_goes_on_when_the_daemon_comes_back() {
    let (calls, events) = (AtomicUsize::new(0), events());
    let daemon = Daemon::start(move |_| {
        let say = |entry: &HistoryEntry| Step::Say(Reply::Event { entry: entry.clone() });
        if calls.fetch_add(1, Ordering::Relaxed) == 0 {
            return vec![say(&events[0]), Step::Say(Reply::EndOfHistory), say(&events[1])];
        }
        let mut steps: Vec<Step> = events.iter().map(say).collect();
        steps.extend([Step::Say(Reply::EndOfHistory), Step::Wait(Duration::from_secs(60))]);
        steps
    });
    let mut child =
        Running(daemon.process(&["history", "-n", "0", "--follow"]).stdout(Stdio::piped()).spawn().unwrap());
    let lines = child.lines(2);
    assert!(lines[0].ends_with("dre/traffic: started") && lines[1].ends_with("mysql/db: started"), "{lines:?}");
}

#[test]
fn following_tells_when_the_daemon_hangs() {
    let daemon = Daemon::start(|_| vec![Step::Say(Reply::EndOfHistory), Step::Wait(Duration::from_secs(60))]);
    let mut child = Running(daemon.process(&["history", "--follow"]).stderr(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("does not answer") && line.contains("waiting for it"), "{line}");
}

#[test]
fn status_is_watched_over_and_over() {
    let daemon = healthy();
    let args = ["status", "--watch", "--json", "--interval", "50ms"];
    let mut child = Running(daemon.process(&args).stdout(Stdio::piped()).spawn().unwrap());
    for line in child.lines(3) {
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["state"], "known");
    }
}

/// A child that ends with the test.
struct Running(Child);

impl Running {
    fn lines(&mut self, count: usize) -> Vec<String> {
        let reader = BufReader::new(self.0.stdout.take().unwrap());
        reader.lines().take(count).map(Result::unwrap).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_switchover_shows_each_step_and_the_time() {
    let daemon = Daemon::start(|_| {
        let step = |step, text: &str| {
            let fact = Fact::Switchover { group: GroupId(0), from: NodeId(0), to: NodeId(1), step };
            Step::Say(Reply::Event { entry: status::entry(fact, Severity::Info, text) })
        };
        let mut steps = vec![step(SwitchoverStep::Begun, "dre: switchover from hadev1 to hadev2 has begun")];
        steps.push(Step::Wait(Duration::from_millis(100)));
        steps.push(Step::Say(Reply::Pending { waited: Duration::from_secs(2) }));
        steps.push(step(SwitchoverStep::Done, "dre: switchover done: hadev2 is ACTIVE"));
        steps.extend(done("dre is ACTIVE on hadev2"));
        steps
    });
    let run = daemon.avamgr(&["switchover", "dre", "--to", "hadev2"]);
    let asked = Command::Switchover { group: Some("dre".into()), to: Some("hadev2".into()), dry_run: false };
    assert_eq!(daemon.request(), Request::Command(asked));
    assert_eq!(run.code, Some(0), "{}", run.err);
    let lines: Vec<&str> = run.out.lines().collect();
    assert!(lines[0].starts_with("  +0.0") && lines[0].ends_with("has begun"), "{}", run.out);
    assert_eq!(lines[1], "  +2.000 s  still under way");
    assert!(lines[2].ends_with("hadev2 is ACTIVE"), "{}", run.out);
    assert!(lines[3].starts_with("done in 0.") && lines[3].ends_with(" s: dre is ACTIVE on hadev2"), "{}", run.out);
}

#[test]
fn a_dry_run_lists_steps_and_obstacles() {
    let plan = |obstacles: Vec<String>| Answer::Plan { steps: vec!["stop dre/traffic here".into()], obstacles };
    let free = Daemon::answering(plan(Vec::new())).avamgr(&["switchover", "--dry-run"]);
    assert_eq!(free.code, Some(0));
    let expected = "dry run, nothing was done; it would:\n  1. stop dre/traffic here\nnothing stands in the way\n";
    assert_eq!(free.out, expected);
    let blocked = Daemon::answering(plan(vec!["hadev2 is offline".into()])).avamgr(&["switchover", "--dry-run"]);
    assert_eq!(blocked.code, Some(3));
    assert!(blocked.out.ends_with("in the way: hadev2 is offline\n"), "{}", blocked.out);
}

#[test]
fn answers_become_exit_codes() {
    let refused = Daemon::answering(Answer::Refused { reason: "hadev2 is silent".into() }).avamgr(&["switchover"]);
    assert_eq!((refused.code, refused.out.as_str()), (Some(3), "refused: hadev2 is silent\n"));
    let failed = Daemon::answering(Answer::Failed { reason: "rolled back".into() }).avamgr(&["switchover"]);
    assert_eq!(failed.code, Some(1));
    assert!(failed.out.starts_with("failed after 0.") && failed.out.ends_with("s: rolled back\n"), "{}", failed.out);
    let json = Daemon::answering(Answer::Failed { reason: "rolled back".into() }).avamgr(&["switchover", "--json"]);
    let document: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&document["answer"], &document["reason"]), (&"failed".into(), &"rolled back".into()));
    let denied =
        Daemon::start(|_| vec![Step::Say(Reply::Error { reason: "not permitted".into() })]).avamgr(&["online"]);
    assert!(denied.code == Some(3) && denied.err.contains("not permitted"), "{}", denied.err);
    let lost = Daemon::start(|_| vec![Step::Say(Reply::Pending { waited: Duration::ZERO })]).avamgr(&["online"]);
    assert!(lost.code == Some(4) && lost.err.contains("before its last word"), "{}", lost.err);
}

#[test]
fn each_verb_asks_for_what_it_says() {
    let resource = |verb| Request::Command(Command::Resource { resource: "dre/traffic".into(), verb });
    let offline = |duration| Request::Command(Command::Offline { duration });
    let daemon = Daemon::answering(Answer::Done { text: "done".into() });
    let rows = [
        (&["offline"][..], offline(None)),
        (&["offline", "--for", "30s"], offline(Some(Duration::from_secs(30)))),
        (&["off", "--for", "5min"], offline(Some(Duration::from_secs(300)))),
        (&["online"], Request::Command(Command::Online)),
        (&["maintenance", "on"], Request::Command(Command::Maintenance { on: true })),
        (&["maintenance", "off"], Request::Command(Command::Maintenance { on: false })),
        (&["resource", "start", "dre/traffic"], resource(ResourceVerb::Start)),
        (&["res", "stop", "dre/traffic"], resource(ResourceVerb::Stop)),
        (&["resource", "restart", "dre/traffic"], resource(ResourceVerb::Restart)),
        (&["resource", "clear", "dre/traffic"], resource(ResourceVerb::Clear)),
        (&["reload"], Request::Reload),
    ];
    for (args, request) in rows {
        let run = daemon.avamgr(args);
        assert_eq!(run.code, Some(0), "{args:?}: {}", run.err);
        assert_eq!(daemon.request(), request, "{args:?}");
    }
}

#[test]
fn without_a_daemon_resources_are_handled_with_care() {
    let cleared = nowhere(&["resource", "clear", "dre/traffic"]);
    assert_eq!(cleared.code, Some(4), "{}", cleared.err);
    let started = nowhere(&["resource", "start", "dre/traffic"]);
    assert_eq!(started.code, Some(3), "{}", started.err);
    assert!(started.err.contains("avamgrd is not running"), "{}", started.err);
    // A daemon that hangs still owns what it started: nothing is done behind its back.
    let hung =
        Daemon::start(|_| vec![Step::Wait(Duration::from_secs(30))]).avamgr(&["resource", "stop", "dre/traffic"]);
    assert_eq!(hung.code, Some(4), "{}", hung.err);
    assert!(hung.err.contains("does not answer"), "{}", hung.err);
}

#[test]
fn the_shell_takes_the_same_verbs() {
    let daemon = healthy();
    let mut child = daemon.process(&["shell"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let script = b"status --short\n\nnonsense\nwhy dre\nmaintenance on\nexit\nstatus\n";
    child.stdin.take().unwrap().write_all(script).unwrap();
    let output = child.wait_with_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.contains("hadev1: dre ACTIVE (term 7)\n"), "{out}");
    assert!(out.contains("dre is ACTIVE on hadev1"), "{out}");
    assert!(out.trim_end().ends_with(": done"), "nothing after `exit`: {out}");
}

#[test]
fn wrong_words_are_a_usage_error_and_help_names_the_exit_codes() {
    for args in [&["fly"][..], &[], &["maintenance"], &["offline", "--for", "30"], &["status", "--interval", "1s"]] {
        assert_eq!(nowhere(args).code, Some(2), "{args:?}");
    }
    let help = nowhere(&["--help"]);
    assert!(help.code == Some(0) && help.out.contains("4  the daemon cannot be reached"), "{}", help.out);
    assert_eq!(nowhere(&["--version"]).out, format!("avamgr {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completion_scripts_and_manual_pages_are_made() {
    let script = nowhere(&["completion", "bash"]);
    assert!(script.code == Some(0) && script.out.contains("switchover"), "{}", script.err);
    for program in ["avamgrd", "avamgr-witness"] {
        let script = nowhere(&["completion", "bash", "--program", program]);
        assert!(
            script.code == Some(0) && script.out.contains(&format!(" default {program}\n")),
            "{}{}",
            script.out,
            script.err
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let made = nowhere(&["man", directory.path().to_str().unwrap()]);
    assert_eq!(made.code, Some(0), "{}", made.err);
    for page in ["avamgr.1", "avamgr-switchover.1", "avamgr-report.1", "avamgrd.1", "avamgr-witness.1"] {
        assert!(directory.path().join(page).exists(), "{page}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let daemon = Daemon::start(|_| {
        let entry = |number: u64| status::entry(Fact::Isolated, Severity::Alarm, &format!("event {number}"));
        (0..5_000)
            .map(|number| Step::Say(Reply::Event { entry: entry(number) }))
            .chain([Step::Say(Reply::EndOfHistory)])
            .collect()
    });
    let (program, socket) = (env!("CARGO_BIN_EXE_avamgr"), daemon.directory.path().join("sock"));
    let script = format!("({program} --socket {} history; echo code $? >&2) | head -1", socket.display());
    let output = Process::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "code 0\n");
    assert!(output.stdout.ends_with(b"event 0\n"));
}
