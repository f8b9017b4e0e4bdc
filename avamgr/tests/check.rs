//! Verbs that need a config and no daemon: check, keygen, history after a death, resources of a host without a daemon.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[path = "operator/root.rs"]
mod root;
#[path = "operator/status.rs"]
#[expect(dead_code, reason = "only its history is needed here")]
mod status;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command as Process;
use std::time::Duration;

use avamgr::history::{BYTES_MAX, History};
use avamgr_core::cluster::{CheckId, LinkId, NodeId};
use avamgr_core::control::HistoryEntry;
use avamgr_core::node::event::{Fact, LinkDownCause, Severity};
use serde_json::Value;
use tempfile::TempDir;

use crate::root::as_root;

/// A host with a config directory of its own; the node is called `hadev1` whatever the machine is called.
struct Host(TempDir);

struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        host.write_config("");
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Two LSB services that write down what they are told, an `exec` and a VIP.
    fn write_config(&self, more: &str) {
        let directory = self.0.path().display();
        let text = format!(
            r#"
[cluster]
name = "hadev"
nodes = ["hadev1", "hadev2"]
failover_budget = "1s"
[daemon]
key_file = "{directory}/keys"
state_dir = "{directory}/state"
socket = "{directory}/sock"
[[link]]
name = "primary"
interface = "no-eth3"
address = {{ hadev1 = "172.16.11.54", hadev2 = "172.16.11.55" }}
[[link]]
name = "secondary"
interface = "no-eth4"
address = {{ hadev1 = "172.16.13.54", hadev2 = "172.16.13.55" }}
[arbitrator]
ping = ["172.16.6.250"]
[[group]]
name = "dre"
[[group.resource]]
name = "first"
lsb = "{directory}/first"
[[group.resource]]
name = "second"
lsb = "{directory}/second"
[[group.resource]]
name = "child"
exec = "sleep 1000"
{more}
"#
        );
        fs::write(self.path("avamgr.toml"), text).unwrap();
    }

    /// An init script that remembers whether it runs, and every order.
    fn write_service(&self, name: &str) {
        let directory = self.0.path().display();
        let text = format!(
            "#!/bin/sh\ncase $1 in\nstart) touch {directory}/{name}.run; echo {name} start >>{directory}/orders ;;\n\
             stop) rm -f {directory}/{name}.run; echo {name} stop >>{directory}/orders ;;\n\
             status) [ -e {directory}/{name}.run ] || exit 3 ;;\nesac\n"
        );
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn avamgr(&self, args: &[&str]) -> Run {
        self.run(Process::new(env!("CARGO_BIN_EXE_avamgr")), args)
    }

    fn avamgr_as_root(&self, args: &[&str]) -> Run {
        self.run(as_root(env!("CARGO_BIN_EXE_avamgr")), args)
    }

    fn run(&self, mut program: Process, args: &[&str]) -> Run {
        let output =
            program.env("AVAMGR_CONFDIR", self.0.path()).env_remove("AVAMGR_SOCKET").args(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    fn orders(&self) -> String {
        fs::read_to_string(self.path("orders")).unwrap_or_default()
    }
}

#[test]
fn a_good_file_is_shown_with_all_that_follows_from_it() {
    let host = Host::new();
    let run = host.avamgr(&["check", "--no-host"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(
        run.out.contains("avamgr.toml: valid, cluster hadev, 2 nodes, 1 group, safety class ping, digest "),
        "{}",
        run.out
    );
    assert!(run.out.contains("  heartbeat_interval   100ms  derived: failover_budget / 10\n"), "{}", run.out);
    assert!(run.out.contains("suspect_time = 150ms < dead_time = 300ms"), "{}", run.out);
    assert!(!run.out.contains("this host") && !run.out.contains('\u{1b}'), "{}", run.out);
    let json: Value = serde_json::from_str(&host.avamgr(&["check", "--no-host", "--json"]).out).unwrap();
    assert!(json["rules"].as_array().unwrap().iter().all(|rule| rule["holds"] == true || rule["required"] == false));
    assert!(json["timers"].as_array().unwrap().iter().any(|timer| timer["name"] == "dead_time"));
}

#[test]
fn this_host_is_looked_at_too() {
    let host = Host::new();
    let run = host.avamgr(&["check", "--node", "hadev1"]);
    assert_eq!(run.code, Some(1), "{}", run.out);
    assert!(run.out.contains("ERROR    link primary"), "{}", run.out);
    assert!(run.out.contains("-> make it with `avamgr keygen` and copy it to every node"), "{}", run.out);
    assert!(run.out.contains("first cannot be run: No such file or directory"), "{}", run.out);
    assert!(run.out.trim_end().lines().last().unwrap().contains(" errors, "), "{}", run.out);
    let stranger = host.avamgr(&["check", "--node", "hadev9"]);
    assert!(stranger.code == Some(1) && stranger.out.contains("hadev9 is none of the nodes (hadev1, hadev2)"));
}

#[test]
fn the_sum_counts_the_warnings_of_the_file_too() {
    let host = Host::new();
    // The file has one: no neutral path.
    let file = host.avamgr(&["check", "--no-host"]).out;
    assert!(file.contains("has no `address`") && file.ends_with("\n0 errors, 1 warning\n"), "{file}");
    let both = host.avamgr(&["check", "--node", "hadev1"]).out;
    let of_host = both.lines().filter(|line| line.trim_start().starts_with("warning  ")).count();
    let (_, warnings) = both.trim_end().lines().last().unwrap().split_once(", ").unwrap();
    assert_eq!(warnings.split(' ').next(), Some((of_host + 1).to_string().as_str()), "{both}");
}

#[test]
fn a_bad_file_is_shown_with_all_its_errors() {
    let host = Host::new();
    host.write_config("[limits]\nfailoverz = 3\nfailover_window = \"soon\"\n");
    let run = host.avamgr(&["check"]);
    assert_eq!(run.code, Some(5));
    assert!(run.err.contains("did you mean `failovers`?") && run.err.contains("failover_window"), "{}", run.err);
    assert!(run.out.is_empty() && !run.err.contains('\u{1b}'), "{}", run.out);
    let json: Value = serde_json::from_str(&host.avamgr(&["check", "--json"]).out).unwrap();
    assert_eq!(json["findings"].as_array().unwrap().len(), 2, "{json}");
    // The same file named, and one that is not there.
    let path = host.path("avamgr.toml");
    assert_eq!(host.avamgr(&["check", path.to_str().unwrap()]).code, Some(5));
    let none = host.avamgr(&["check", "/nonexistent.toml"]);
    assert!(none.code == Some(5) && none.err.contains("no config: /nonexistent.toml: No such file"), "{}", none.err);
}

#[test]
fn keys_are_made_added_changed_and_removed() {
    let host = Host::new();
    let keygen = |args: &[&str]| {
        let run = host.avamgr(&[&["keygen"], args].concat());
        assert_eq!(run.code, Some(0), "{}", run.err);
        run.out
    };
    assert!(keygen(&[]).starts_with("key 1 is in the new file"));
    assert_eq!(fs::metadata(host.path("keys")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(keygen(&[]).starts_with("key 2 was added to"));
    assert!(keygen(&["--send-with", "2"]).contains("is the one to send with"));
    assert!(keygen(&["--remove", "1"]).starts_with("key 1 is out of"));
    let refused = host.avamgr(&["keygen", "--remove", "2"]);
    assert_eq!(refused.code, Some(1), "the last key, which is sent with, stays");
    assert_eq!(host.avamgr(&["keygen", "--remove", "1", "--send-with", "2"]).code, Some(2));
}

#[test]
fn the_files_of_a_dead_daemon_tell_its_last_events() {
    let host = Host::new();
    let history = History::open(&host.path("state"), BYTES_MAX);
    for number in 1..=3 {
        history.record(status::entry(Fact::Isolated, Severity::Alarm, &format!("event {number}")));
    }
    history.flush(Duration::from_secs(10));
    let run = host.avamgr(&["history", "-n", "2"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert_eq!(
        run.out,
        "2  2026-03-01 03:12:45.123Z  ALARM    event 2\n3  2026-03-01 03:12:45.123Z  ALARM    event 3\n"
    );
    assert!(run.err.contains("avamgrd is not running") && run.err.contains("these are the events in"), "{}", run.err);
}

#[test]
fn why_and_history_of_a_daemon_that_hangs_come_from_its_files() {
    let host = Host::new();
    let history = History::open(&host.path("state"), BYTES_MAX);
    history.record(status::entry(Fact::Isolated, Severity::Alarm, "isolated"));
    history.flush(Duration::from_secs(5));
    // Whoever calls is heard by nobody.
    let _hung = UnixListener::bind(host.path("sock")).unwrap();
    let event = "1  2026-03-01 03:12:45.123Z  ALARM    isolated\n";
    let run = host.avamgr(&["history"]);
    assert_eq!((run.code, run.out.as_str()), (Some(0), event), "{}", run.err);
    assert!(run.err.contains("does not answer") && run.err.contains("these are the events in"), "{}", run.err);
    let run = host.avamgr(&["why"]);
    assert_eq!(run.code, Some(4), "{}", run.out);
    assert!(run.out.contains(": UNKNOWN: avamgrd does not answer"), "{}", run.out);
    assert!(run.out.ends_with(&format!("  last 1 event before that:\n    {event}")), "{}", run.out);
}

#[test]
fn the_store_of_a_dead_daemon_is_searched_and_exported_and_says_what_led_to_an_event() {
    let host = Host::new();
    let history = History::open(&host.path("state"), BYTES_MAX);
    let link = |number| Fact::LinkDown { link: LinkId(number), peer: NodeId(1), cause: LinkDownCause::NoCarrier };
    for number in 1..=1500 {
        history.record(status::entry(Fact::ArbitratorReachable, Severity::Info, &format!("event {number}")));
        if number % 500 == 0 {
            history.flush(Duration::from_secs(10));
        }
    }
    history.record(status::entry(link(0), Severity::Warning, "primary down"));
    history.record(status::entry(Fact::CheckReady { check: CheckId(0) }, Severity::Info, "a check is well"));
    history.record(status::entry(Fact::PeerSilent { peer: NodeId(1) }, Severity::Alarm, "hadev2 is silent"));
    history.close(Duration::from_secs(10));
    let told = |args: &[&str]| {
        let run = host.avamgr(args);
        assert_eq!(run.code, Some(0), "{args:?}: {}", run.err);
        run.out
    };
    let export = told(&["history", "--last", "all", "--json"]);
    assert_eq!(export.lines().count(), 1503);
    assert!(export.lines().all(|line| serde_json::from_str::<HistoryEntry>(line).is_ok()));
    assert!(told(&["history", "--text", "Event 7", "-n", "1"]).ends_with("event 799\n"));
    assert!(told(&["history", "-n", "1", "--before", "800"]).starts_with("799  "));
    assert_eq!(told(&["history", "--severity", "warning"]).lines().count(), 2);
    assert_eq!(told(&["history", "--since", "2026-03-01T03:12:45.123Z"]).lines().count(), 1503);
    let why = told(&["why", "1503"]);
    let lines: Vec<&str> = why.lines().collect();
    assert!(lines.len() == 3 && lines[0] == "what led to event 1503, the last line:", "{why}");
    assert!(lines[1].ends_with("primary down") && lines[2].ends_with("hadev2 is silent"), "{why}");
    let json: Value = serde_json::from_str(&told(&["why", "1503", "--json"])).unwrap();
    assert_eq!((&json["chain"][0]["entry"]["number"], &json["chain"][0]["led_to"]), (&1501.into(), &1503.into()));
    assert!(told(&["why", "1501"]).starts_with("nothing that this node has noted led to event 1501:\n"));
    let unknown = host.avamgr(&["why", "1600"]);
    assert!(unknown.code == Some(3) && unknown.err.contains("no event 1600"), "{}", unknown.err);
}

#[test]
fn the_daemon_refuses_a_bad_config_with_all_its_errors() {
    let host = Host::new();
    host.write_config("[limits]\nfailovers = 0\nfailover_windw = \"1m\"\n");
    let output = Process::new(env!("CARGO_BIN_EXE_avamgrd"))
        .env("AVAMGR_CONFDIR", host.0.path())
        .args(["--node", "hadev1", "--log-target", "stderr"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("limits.failovers") && said.contains("did you mean `failover_window`"), "{said}");
}

#[test]
fn the_daemon_says_whether_it_could_start_and_starts_nothing() {
    let host = Host::new();
    let check = |options: &[&str]| {
        let mut daemon = Process::new(env!("CARGO_BIN_EXE_avamgrd"));
        daemon.env("AVAMGR_CONFDIR", host.0.path()).args(["--check", "--node", "hadev1"]).args(options);
        let output = daemon.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = check(&[]);
    assert!(code == 1 && said.contains("keys"), "{said}");
    assert_eq!(host.avamgr(&["keygen"]).code, Some(0));
    assert_eq!(check(&[]), (0, String::new()));
    let (code, said) = check(&["--log-level", "wran"]);
    assert!(code == 2 && said.contains("log level `wran`"), "{said}");
    host.write_config("[limits]\nfailovers = 0\n");
    assert_eq!(check(&[]).0, 5);
    assert!(!host.path("state").exists());
}

#[test]
fn leftovers_of_a_dead_daemon_are_stopped_backwards() {
    let host = Host::new();
    ["first", "second"].iter().for_each(|name| host.write_service(name));
    ["first.run", "second.run"].iter().for_each(|name| fs::write(host.path(name), "").unwrap());
    let run = host.avamgr_as_root(&["resource", "stop", "--node", "hadev1"]);
    assert_eq!(run.code, Some(0), "{}{}", run.out, run.err);
    assert_eq!(run.out, "dre/child: stopped\ndre/second: stopped\ndre/first: stopped\n");
    assert_eq!(host.orders(), "second stop\nfirst stop\n");
    assert!(!host.path("first.run").exists());
}

#[test]
fn nothing_is_started_without_a_daemon_unless_forced() {
    let host = Host::new();
    ["first", "second"].iter().for_each(|name| host.write_service(name));
    let refused = host.avamgr_as_root(&["resource", "start", "first", "--node", "hadev1"]);
    assert_eq!(refused.code, Some(3));
    assert!(refused.err.contains("nobody would check whether another node owns the resource"), "{}", refused.err);
    assert_eq!(host.orders(), "");
    let forced = host.avamgr_as_root(&["resource", "start", "dre/first", "--force", "--node", "hadev1"]);
    assert_eq!((forced.code, forced.out.as_str()), (Some(0), "dre/first: started\n"), "{}", forced.err);
    assert!(host.path("first.run").exists());
    let child = host.avamgr_as_root(&["resource", "start", "child", "--force", "--node", "hadev1"]);
    assert_eq!(child.code, Some(1));
    assert!(child.out.contains("runs only under the daemon"), "{}", child.out);
    let unknown = host.avamgr_as_root(&["resource", "stop", "third", "--node", "hadev1"]);
    assert!(unknown.code == Some(3) && unknown.err.contains("no resource `third`"), "{}", unknown.err);
}
