//! `avamgr report` on a host with secrets everywhere, with programs that fail, hang and repeat what they should not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[path = "operator/status.rs"]
#[expect(dead_code, reason = "only its history is needed here")]
mod status;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use avamgr::clock;
use avamgr::history::{BYTES_MAX, History};
use avamgr_core::node::event::{Fact, Severity};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde_json::Value;
use tempfile::TempDir;

const HEARTBEAT_KEY: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const WITNESS_KEY: &str = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752";
const FENCE_PASSWORD: &str = "fence password \"x\"";
const OPTION_PASSWORD: &str = "in-the-options-7";
const HOOK_PASSWORD: &str = "of-the-hook-7";
const VARIABLE: &str = "of-the-environment";
const URL_PASSWORD: &str = "of-the-url-7";
const USER_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo";
const USER_TOKEN: &str = "avamgr_Zm9yLXRoZS1yZXBvcnQtdGVzdC0wMTIzNDU2Nzg5YWJ";
const WEB_KEY_LINES: [&str; 2] = ["MIGHAgEAMBMGByqGSM49AgEGCCqGSM49", "AwEHBG0wawIBAQQgweb"];
const ETCD_KEY_LINES: [&str; 2] = ["MIGHAgEAMBMGByqGSM49AgEGetcdetcd", "AwEHBG0wawIBAQQgetcd"];
const SSH_KEY_LINE: &str = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ";

/// Every secret, none of which may leave the host.
fn secrets() -> Vec<&'static str> {
    let mut all = vec![HEARTBEAT_KEY, WITNESS_KEY, FENCE_PASSWORD, OPTION_PASSWORD, HOOK_PASSWORD, VARIABLE];
    all.extend([URL_PASSWORD, USER_HASH, USER_TOKEN, SSH_KEY_LINE]);
    all.extend(WEB_KEY_LINES.into_iter().chain(ETCD_KEY_LINES));
    all
}

struct Host(TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        let pem = |lines: [&str; 2]| {
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
        };
        host.write("keys", &format!("1 {HEARTBEAT_KEY} send\n"), 0o600);
        host.write("witness.keys", &format!("1 {WITNESS_KEY}\n"), 0o600);
        host.write("fence", &format!("# of the board\npassword = {FENCE_PASSWORD}\n"), 0o600);
        host.write("users", &format!("user alice operator {USER_HASH}\n"), 0o640);
        host.write("web.pem", &pem(WEB_KEY_LINES), 0o600);
        host.write("etcd.pem", &pem(ETCD_KEY_LINES), 0o600);
        host.write("rules_key", &format!("-----BEGIN KEY-----\n{SSH_KEY_LINE}\n-----END KEY-----\n"), 0o600);
        host.write("avamgr.toml", &host.config(), 0o644);
        fs::create_dir_all(host.path("bin")).unwrap();
        fs::create_dir_all(host.path("state")).unwrap();
        host.remember();
        let said = host.path("said").display().to_string();
        host.write("said", &secrets().join("\n"), 0o600);
        host.program("ip", &format!("echo addresses; cat {said}"));
        host.program("nft", &format!("cat {said} >&2; exit 1"));
        host.program(
            "journalctl",
            &format!("echo begin; cat {said}; printf '%s' '{OPTION_PASSWORD}' | base64; echo end"),
        );
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    fn program(&self, name: &str, script: &str) {
        self.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"), 0o755);
    }

    fn config(&self) -> String {
        let at = self.0.path().display();
        format!(
            r#"
[cluster]
name = "hadev"
nodes = ["hadev1", "hadev2"]
authority = "etcd"
[daemon]
key_file = "{at}/keys"
state_dir = "{at}/state"
socket = "{at}/sock"
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
[etcd]
endpoints = ["https://172.16.6.1:2379"]
ca_file = "{at}/etcd.pem"
cert_file = "{at}/etcd.pem"
key_file = "{at}/etcd.pem"
[[fence]]
node = "hadev1"
agent = "/usr/sbin/fence_ipmilan"
[[fence]]
node = "hadev2"
agent = "/usr/sbin/fence_ipmilan"
options = {{ ip = "172.16.6.55", passwd = "{OPTION_PASSWORD}" }}
secrets = "{at}/fence"
[[group]]
name = "dre"
on_role_change = "/etc/avamgr/hook --password={HOOK_PASSWORD} {HEARTBEAT_KEY} {USER_TOKEN} https://me:{URL_PASSWORD}@hook/"
[[group.resource]]
name = "child"
exec = ["sleep", "{OPTION_PASSWORD}", "1000"]
environment = {{ LANG = "C", WHATEVER = "{VARIABLE}" }}
[rules]
directories = {{ re = "/opt/re" }}
ssh = "ssh -i {at}/rules_key -o BatchMode=yes"
[web]
user = "avamgr-web"
users = "{at}/users"
certificate = "{at}/web.pem"
"#
        )
    }

    /// Entries that repeat every secret, as an agent or a service may.
    fn remember(&self) {
        let history = History::open(&self.path("state"), BYTES_MAX);
        for secret in secrets() {
            let fact = Fact::Web { severity: Severity::Info, text: secret.to_owned() };
            history.record(status::entry(fact, Severity::Alarm, &format!("{secret} was said")));
        }
        history.close(Duration::from_secs(10));
    }

    fn report(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_avamgr"));
        command.args(["report"]).args(words).env("AVAMGR_CONFDIR", self.0.path()).env_remove("AVAMGR_SOCKET");
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        command.env("PATH", path).current_dir(self.0.path()).output().unwrap()
    }
}

fn says(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The tar file of an archive, as bytes.
fn unpacked(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Every file of an archive by its name below the one directory.
fn members(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = unpacked(path);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (name.split_once('/').unwrap().1.to_owned(), bytes)
    };
    archive.entries().unwrap().map(read).collect()
}

fn files(path: &Path) -> BTreeMap<String, String> {
    members(path).into_iter().map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap())).collect()
}

fn assert_holds_no_secret(bytes: &[u8], what: &str) {
    for secret in secrets() {
        let json = serde_json::to_string(secret).unwrap();
        let encoded = STANDARD.encode(secret);
        for written in [secret, &json[1..json.len() - 1], &encoded] {
            let found = bytes.windows(written.len()).any(|window| window == written.as_bytes());
            assert!(!found, "{what} holds {written}");
        }
    }
}

#[test]
fn the_archive_has_what_is_known_and_no_secret_of_it() {
    let host = Host::new();
    let made = host.report(&["--output", "r.tar.gz"]);
    assert_eq!(made.status.code(), Some(0), "{}", says(&made));
    assert_holds_no_secret(says(&made).as_bytes(), "the screen");
    assert_eq!(fs::metadata(host.path("r.tar.gz")).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_holds_no_secret(&unpacked(&host.path("r.tar.gz")), "the archive");
    let files = files(&host.path("r.tar.gz"));
    let has = |name: &str, words: &str| {
        let text = files.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", files.keys()));
        assert!(text.contains(words), "{name}: {text}");
    };
    has("config/avamgr.toml", "passwd = \"[removed]\"");
    has("config/avamgr.toml", "environment = { LANG = \"C\", WHATEVER = \"[removed]\" }");
    has("config/avamgr.toml", &format!("secrets = \"{}/fence\"", host.0.path().display()));
    has("network/addresses.txt", "addresses\n");
    has("journal/programs.txt", "begin\n");
    has("journal/programs.txt", "end\n");
    has("versions/avamgr.txt", "avamgr 0.");
    has("versions/kernel.txt", "Linux version");
    has("status.txt", "UNKNOWN");
    has("errors.txt", "nft list ruleset: ended with exit status: 1");
    has("manifest.json", "\"cluster\": \"hadev\"");
    for name in ["manifest.json", "status.json", "why.json"] {
        serde_json::from_str::<Value>(&files[name]).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn the_report_of_another_node_comes_along_and_nothing_else_does() {
    let host = Host::new();
    assert!(host.report(&["--output", "other.tar.gz"]).status.success());
    let made = host.report(&["--with", "other.tar.gz", "--output", "both.tar.gz"]);
    assert!(made.status.success(), "{}", says(&made));
    let both = members(&host.path("both.tar.gz"));
    let (name, bytes) = both.iter().find(|(name, _)| name.starts_with("with/avamgr-report-hadev-")).unwrap();
    assert!(name.ends_with(".tar.gz"), "{name}");
    assert_eq!(*bytes, fs::read(host.path("other.tar.gz")).unwrap());
    assert_holds_no_secret(&unpacked(&host.path("both.tar.gz")), "the archive");
    for (path, why) in [("fence", "it is no report of avamgr"), ("no-such-file", "No such file"), ("/dev/zero", "")] {
        let refused = host.report(&["--with", path, "--output", "none.tar.gz"]);
        assert!(refused.status.code() == Some(3) && says(&refused).contains(why), "{path}: {}", says(&refused));
        assert!(!host.path("none.tar.gz").exists());
    }
}

#[test]
fn without_a_daemon_the_history_comes_from_its_store_and_every_line_is_a_document() {
    let host = Host::new();
    assert!(host.report(&["--output", "r.tar.gz"]).status.success());
    let files = files(&host.path("r.tar.gz"));
    let history = &files["history.jsonl"];
    assert_eq!(history.lines().count(), secrets().len(), "{}", files["errors.txt"]);
    for line in history.lines() {
        let text = serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned();
        assert_eq!(text, "[removed] was said");
    }
}

#[test]
fn what_hangs_is_given_up_with_all_it_started_and_the_rest_is_there() {
    let host = Host::new();
    let mark = host.path("alive").display().to_string();
    host.program("ip", &format!("echo half; sleep 61 & echo $! >>{mark}; wait"));
    let begun = clock::now();
    let made = host.report(&["--patience", "1s", "--output", "r.tar.gz"]);
    assert!(made.status.success(), "{}", says(&made));
    assert!(clock::now().since(begun).as_secs() < 30);
    let files = files(&host.path("r.tar.gz"));
    assert_eq!(files["network/addresses.txt"], "half\n", "what it said before is kept");
    assert!(files["errors.txt"].contains("it has not answered within 1 s and was given up"), "{}", files["errors.txt"]);
    assert!(files["journal/programs.txt"].contains("end\n"));
    for number in fs::read_to_string(mark).unwrap().lines() {
        let state = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "process {number} was left behind: {state}");
    }
}

#[test]
fn nothing_is_overwritten_and_a_broken_config_is_in_it_all_the_same() {
    let host = Host::new();
    host.write(
        "avamgr.toml",
        &format!(
            "{}\nnonsense = 1\n[witness]\nkey_file = \"{}\"\n",
            host.config(),
            host.path("witness.keys").display()
        ),
        0o644,
    );
    assert!(host.report(&["--output", "r.tar.gz"]).status.success());
    assert_holds_no_secret(&unpacked(&host.path("r.tar.gz")), "the archive");
    assert!(files(&host.path("r.tar.gz"))["config/avamgr.toml"].contains("nonsense = 1"));
    let before = fs::read(host.path("r.tar.gz")).unwrap();
    let again = host.report(&["--output", "r.tar.gz"]);
    assert_eq!(again.status.code(), Some(3), "{}", says(&again));
    assert!(says(&again).contains("is there already"), "{}", says(&again));
    assert_eq!(fs::read(host.path("r.tar.gz")).unwrap(), before);
    assert_eq!(host.report(&["--output", "/nowhere/r.tar.gz"]).status.code(), Some(1));
}

#[test]
fn it_has_a_name_of_its_own_and_says_what_to_do_on_the_other_nodes() {
    let host = Host::new();
    let made = host.report(&[]);
    let names: Vec<String> = fs::read_dir(host.0.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("avamgr-report-hadev-"))
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(names[0].ends_with("Z.tar.gz"), "{names:?}");
    assert!(says(&made).contains("on hadev2 too: avamgr report"), "{}", says(&made));
    assert!(files(&host.path(&names[0]))["peers.txt"].contains("avamgr report        # on hadev2"));
    let json = host.report(&["--no-peer", "--output", "alone.tar.gz", "--json"]);
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&document["file"], &document["other_nodes"]), (&"alone.tar.gz".into(), &Value::Array(Vec::new())));
    assert!(!files(&host.path("alone.tar.gz")).contains_key("peers.txt"));
}
