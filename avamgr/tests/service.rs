//! `service dre`: the init script with a daemon and a command line that are a few lines of shell. The script needs root; where
//! the tests do not have it, it gets that of a user namespace.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[path = "operator/root.rs"]
mod root;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::Duration;

use avamgr::clock;
use tempfile::TempDir;

use crate::root::as_root;

/// Writes its number, keeps its arguments, takes a second to hand over.
const DAEMON: &str = r#"#!/bin/sh
[ "$1" != --check ] || { [ ! -e @DIR@/refuses ] || { echo "avamgrd: log level wran" >&2; exit 2; }; exit 0; }
printf '%s\n' "$*" >>@DIR@/args
printf '%s\n' "$AVAMGR_CONFDIR" >@DIR@/confdir
printf '%s\n' "$RE_CONFDIR" >@DIR@/rules
[ -e @DIR@/broken ] && { echo "avamgrd: key file: too open" >&2; exit 1; }
[ -e @DIR@/deaf ] && trap '' TERM || trap 'sleep 1; rm -f @DIR@/pid @DIR@/socket; exit 0' TERM
echo $$ >@DIR@/socket
echo $$ >@DIR@/pid
while :; do sleep 0.1; done
"#;

const CLI: &str = r#"#!/bin/sh
case "$1" in
    check) [ ! -e @DIR@/invalid ] || { echo "line 3: bad"; exit 5; } ;;
    status)
        [ -e @DIR@/socket ] && [ ! -e @DIR@/hung ] || { echo "hadev1: UNKNOWN"; exit 4; }
        [ "$2" != --json ] || { echo '{"driver": {"guard": "\"pid\": 1", "pid": '"$(cat @DIR@/socket)"', "x": 1}}'; exit 0; }
        echo "hadev1: dre ACTIVE (term 7)"
        ;;
    reload) [ ! -e @DIR@/invalid ] || { echo "refused: line 3: bad"; exit 3; } ;;
esac
"#;

/// Programs the script may use, when `setsid` is not to be among them.
const TOOLS: [&str; 14] =
    ["sh", "sleep", "rm", "touch", "id", "grep", "sed", "cat", "nohup", "kill", "printf", "date", "mktemp", "tail"];

struct Host {
    directory: TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self { directory: tempfile::tempdir().unwrap() };
        for (name, text) in [("avamgrd", DAEMON), ("avamgr", CLI)] {
            let path = host.path(name);
            fs::write(&path, text.replace("@DIR@", host.directory.path().to_str().unwrap())).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::create_dir(host.path("subsys")).unwrap();
        host.settings("STANDALONE=yes");
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn settings(&self, more: &str) {
        let directory = self.directory.path().display();
        let text = format!(
            "DAEMON={directory}/avamgrd\nCLI={directory}/avamgr\nPIDFILE={directory}/pid\nLOCKFILE={directory}/subsys/dre\n\
             LOG_LEVEL=debug\nAVAMGR_CONFDIR=/etc/elsewhere\nSTART_TIMEOUT=5\nSTOP_TIMEOUT=3\n{more}\n"
        );
        fs::write(self.path("settings"), text).unwrap();
    }

    fn touch(&self, name: &str) {
        fs::write(self.path(name), "").unwrap();
    }

    /// Exit code, and everything it said.
    fn dre(&self, verb: &str) -> (i32, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/init.d/dre");
        let output = as_root("sh").arg(script).arg(verb).env("DRE_SETTINGS", self.path("settings")).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap(), said)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Whatever a failed test left running; only ever the process this test started.
        let shell = fs::read_to_string(self.path("socket")).ok().map(|pid| pid.trim().to_owned());
        for pid in daemons(&self.path("pid")).into_iter().chain(shell) {
            let _ = Process::new("kill").args(["-KILL", &pid]).output();
        }
    }
}

#[test]
fn start_status_and_stop() {
    let host = Host::new();
    host.settings("STANDALONE=yes\nRE_CONFDIR=/opt/re");
    assert_eq!(host.dre("status").0, 3);
    let (code, said) = host.dre("start");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("hadev1: dre ACTIVE (term 7)"), "{said}");
    let args = fs::read_to_string(host.path("args")).unwrap();
    let expected =
        format!("--pid-file {} --log-level debug --log-target syslog --standalone\n", host.path("pid").display());
    assert_eq!(args, expected);
    assert_eq!(fs::read_to_string(host.path("confdir")).unwrap(), "/etc/elsewhere\n");
    assert_eq!(fs::read_to_string(host.path("rules")).unwrap(), "/opt/re\n", "the daemon sees every setting");
    assert!(host.path("subsys/dre").exists(), "what CentOS looks at before it stops anything");
    let (code, said) = host.dre("start");
    assert!(code == 0 && said.contains("is running already"), "{said}");
    let (code, said) = host.dre("status");
    assert!(code == 0 && said.contains("dre ACTIVE"), "{said}");
    let (code, said) = host.dre("stop");
    assert!(code == 0 && said.starts_with("Stopping dre.") && said.ends_with(" stopped\n"), "{said}");
    assert!(!host.path("pid").exists() && !host.path("subsys/dre").exists());
    assert_eq!(host.dre("status").0, 3);
    let (code, said) = host.dre("stop");
    assert!(code == 0 && said.contains("is not running"), "{said}");
}

#[test]
fn a_host_without_setsid_starts_it_too() {
    let host = Host::new();
    fs::create_dir(host.path("bin")).unwrap();
    for tool in TOOLS {
        let found = ["/usr/bin", "/bin"].map(|directory| Path::new(directory).join(tool));
        symlink(found.iter().find(|path| path.exists()).unwrap(), host.path("bin").join(tool)).unwrap();
    }
    host.settings(&format!("PATH={}", host.path("bin").display()));
    let (code, said) = host.dre("start");
    assert_eq!(code, 0, "{said}");
    assert_eq!(host.dre("restart").0, 0);
    assert_eq!(fs::read_to_string(host.path("args")).unwrap().lines().count(), 2);
    assert_eq!(host.dre("stop").0, 0);
}

#[test]
fn a_bad_config_starts_nothing_and_is_shown() {
    let host = Host::new();
    host.touch("invalid");
    let (code, said) = host.dre("start");
    assert_eq!(code, 6);
    assert!(said.contains("line 3: bad") && said.contains("nothing was done"), "{said}");
    assert!(!host.path("args").exists());
}

#[test]
fn a_restart_that_could_not_start_again_stops_nothing() {
    let host = Host::new();
    assert_eq!(host.dre("start").0, 0);
    for verb in ["restart", "try-restart", "condrestart"] {
        host.touch("invalid");
        let (code, said) = host.dre(verb);
        assert!(code == 6 && said.contains("line 3: bad") && said.contains("nothing was done"), "{verb}: {said}");
        fs::remove_file(host.path("invalid")).unwrap();
        host.touch("refuses");
        let (code, said) = host.dre(verb);
        assert!(code == 6 && said.contains("log level wran") && said.contains("would not start"), "{verb}: {said}");
        fs::remove_file(host.path("refuses")).unwrap();
        host.settings("STANDALONE=maybe");
        let (code, said) = host.dre(verb);
        assert!(code == 6 && said.contains("STANDALONE=maybe: expected yes or no"), "{verb}: {said}");
        host.settings("STANDALONE=yes");
    }
    assert_eq!(host.dre("status").0, 0);
    assert_eq!(fs::read_to_string(host.path("args")).unwrap().lines().count(), 1);
    assert_eq!(host.dre("stop").0, 0);
}

#[test]
fn standalone_has_the_words_of_the_daemon() {
    let host = Host::new();
    host.touch("broken");
    for (words, alone) in [(["yes", "True", "ON", "1"], true), (["no", "False", "OFF", ""], false)] {
        for word in words {
            host.settings(&format!("STANDALONE={word}"));
            assert_eq!(host.dre("start").0, 1);
            let args = fs::read_to_string(host.path("args")).unwrap();
            assert_eq!(args.lines().last().unwrap().ends_with(" --standalone"), alone, "{word}");
        }
    }
    fs::remove_file(host.path("args")).unwrap();
    for word in ["maybe", "y", "yess", "2"] {
        host.settings(&format!("STANDALONE={word}"));
        assert_eq!(host.dre("start").0, 6, "{word}");
    }
    assert!(!host.path("args").exists());
}

#[test]
fn what_a_daemon_says_before_it_dies_is_shown() {
    let host = Host::new();
    fs::create_dir(host.path("tmp")).unwrap();
    host.settings(&format!("export TMPDIR={}", host.path("tmp").display()));
    let left = || fs::read_dir(host.path("tmp")).unwrap().count();
    host.touch("broken");
    let (code, said) = host.dre("start");
    assert!(code == 1 && said.contains("avamgrd: key file: too open"), "{said}");
    assert_eq!(left(), 0);
    fs::remove_file(host.path("broken")).unwrap();
    assert_eq!(host.dre("start").0, 0);
    assert_eq!(left(), 0);
    assert_eq!(host.dre("stop").0, 0);
}

#[test]
fn a_daemon_that_dies_at_once_or_does_not_answer_is_a_failed_start() {
    let host = Host::new();
    host.touch("broken");
    let (code, said) = host.dre("start");
    assert!(code == 1 && said.contains("failed: it has ended"), "{said}");
    let (code, said) = host.dre("status");
    assert!(code == 3 && said.contains("is not running"), "{said}");
    fs::remove_file(host.path("broken")).unwrap();
    host.touch("hung");
    let (code, said) = host.dre("start");
    assert!(code == 1 && said.contains("does not answer after 5 s"), "{said}");
    let (code, said) = host.dre("status");
    assert!(code == 4 && said.contains("UNKNOWN"), "{said}");
}

#[test]
fn a_stop_that_takes_too_long_says_so_and_kills_nothing() {
    let host = Host::new();
    host.touch("deaf");
    assert_eq!(host.dre("start").0, 0);
    let (code, said) = host.dre("stop");
    assert!(code == 1 && said.contains("still runs after 3 s"), "{said}");
    assert_eq!(host.dre("status").0, 0);
}

#[test]
fn reload_gives_the_daemons_own_word() {
    let host = Host::new();
    assert_eq!(host.dre("reload").0, 7);
    assert_eq!(host.dre("start").0, 0);
    assert_eq!((host.dre("reload").0, host.dre("force-reload").0), (0, 0));
    host.touch("invalid");
    let (code, said) = host.dre("reload");
    assert!(code == 1 && said.contains("line 3: bad"), "{said}");
    assert_eq!(host.dre("stop").0, 0);
}

#[test]
fn a_daemon_whose_pid_file_is_gone_is_still_seen_and_stopped() {
    let host = Host::new();
    assert_eq!(host.dre("start").0, 0);
    for other in [None, Some("1\n")] {
        match other {
            None => fs::remove_file(host.path("pid")).unwrap(),
            Some(number) => fs::write(host.path("pid"), number).unwrap(),
        }
        let (code, said) = host.dre("status");
        assert!(code == 0 && said.contains("is running (pid "), "{said}");
        let (code, said) = host.dre("start");
        assert!(code == 0 && said.contains("is running already"), "{said}");
    }
    let (code, said) = host.dre("stop");
    assert!(code == 0 && said.ends_with(" stopped\n"), "{said}");
    assert!(!host.path("socket").exists());
    assert_eq!(host.dre("status").0, 3);
}

#[test]
fn try_restart_leaves_a_stopped_one_stopped() {
    let host = Host::new();
    assert_eq!(host.dre("try-restart").0, 0);
    assert!(!host.path("args").exists());
    assert_eq!(host.dre("start").0, 0);
    assert_eq!(host.dre("condrestart").0, 0);
    assert_eq!(fs::read_to_string(host.path("args")).unwrap().lines().count(), 2);
    assert_eq!(host.dre("stop").0, 0);
}

#[test]
fn the_number_of_another_process_is_not_the_daemon() {
    let host = Host::new();
    for number in [std::process::id().to_string(), "1 2".to_owned(), "x".to_owned(), String::new()] {
        fs::write(host.path("pid"), number).unwrap();
        assert_eq!(host.dre("status").0, 1);
    }
    assert_eq!(host.dre("stop").0, 0);
}

#[test]
fn wrong_words_and_missing_rights_have_their_codes() {
    let host = Host::new();
    let (code, said) = host.dre("fly");
    assert!(code == 2 && said.starts_with("Usage: "), "{said}");
    host.settings("DAEMON=no-such-program");
    assert_eq!(host.dre("start").0, 5);
    fs::set_permissions(host.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let script = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/init.d/dre")).unwrap();
    fs::write(host.path("dre"), script).unwrap();
    let mut ordinary = Process::new("sh");
    if nix::unistd::geteuid().is_root() {
        ordinary = Process::new("setpriv");
        ordinary.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh"]);
    }
    let output =
        ordinary.arg(host.path("dre")).arg("stop").env("DRE_SETTINGS", host.path("settings")).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
}

/// Processes whose arguments name this file.
fn daemons(pid_file: &Path) -> Vec<String> {
    let name = pid_file.display().to_string();
    let of = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.ok()?.path();
        let arguments = fs::read(path.join("cmdline")).ok()?;
        let is_daemon = fs::read_to_string(path.join("comm")).ok()?.trim() == "avamgrd";
        let named = arguments.split(|byte| *byte == 0).any(|argument| argument == name.as_bytes());
        (is_daemon && named).then(|| path.file_name().unwrap().to_string_lossy().into_owned())
    };
    fs::read_dir("/proc").unwrap().filter_map(of).collect()
}

#[test]
fn two_starts_at_the_same_moment_end_with_one_daemon_that_is_seen_and_stopped() {
    let host = Host::new();
    let (place, name) = (host.directory.path().display(), nix::unistd::gethostname().unwrap());
    let config = format!(
        "[cluster]\nname = \"c\"\nnodes = [{name:?}]\nstandalone = true\nfailover_budget = \"1s\"\n\
         [daemon]\nsocket = \"{place}/sock\"\nstate_dir = \"{place}/state\"\n\
         [[group]]\nname = \"dre\"\n[[group.resource]]\nname = \"service\"\nexec = \"sleep 100000\"\n"
    );
    fs::write(host.path("avamgr.toml"), config).unwrap();
    let (daemon, cli) = (env!("CARGO_BIN_EXE_avamgrd"), env!("CARGO_BIN_EXE_avamgr"));
    host.settings(&format!(
        "DAEMON={daemon}\nCLI={cli}\nAVAMGR_CONFDIR={place}\nLOG_TARGET=stderr\nSTART_TIMEOUT=20\nSTOP_TIMEOUT=20"
    ));
    for _ in 0..3 {
        let answers: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..2).map(|_| scope.spawn(|| host.dre("start"))).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        let mut running = daemons(&host.path("pid"));
        let begun = clock::now();
        while running.len() != 1 && clock::now().since(begun) < Duration::from_secs(5) {
            // The one that was slower is on its way out.
            std::thread::sleep(Duration::from_millis(50));
            running = daemons(&host.path("pid"));
        }
        assert_eq!(running.len(), 1, "{answers:?}");
        assert!(answers.iter().all(|(code, _)| *code == 0), "{answers:?}");
        for _ in 0..2 {
            let (code, said) = host.dre("status");
            assert!(code == 0 && said.contains(&format!("(pid {})", running[0])), "{said}");
            // The second time, without the file.
            let _ = fs::remove_file(host.path("pid"));
        }
        let (code, said) = host.dre("stop");
        assert!(code == 0 && said.ends_with(" stopped\n"), "{said}");
        assert_eq!(daemons(&host.path("pid")), [""; 0]);
    }
}

#[test]
fn the_script_has_no_syntax_error() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/init.d/dre");
    let syntax = Process::new("sh").arg("-n").arg(&script).output().unwrap();
    assert!(syntax.status.success(), "{syntax:?}");
}
