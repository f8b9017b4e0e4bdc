//! A directory with agents, and a config that names them.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use avamgr::fencing::Fencer;
use avamgr_core::cluster::NodeId;
use avamgr_core::config;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

/// What a busy machine adds to a bound.
pub(crate) const SLACK: Duration = Duration::from_secs(3);

/// Whom the tests turn off.
pub(crate) const TARGET: NodeId = NodeId(1);

/// An agent that keeps the power of its device in the file `power`, and every order with its options in `orders`.
pub(crate) const GOOD: &str = r#"
while read line; do
    echo "$line" >> orders
    case $line in action=*) action=${line#action=} ;; esac
done
case $action in
    off | on) echo $action > power ;;
    status) [ "$(cat power)" = off ] && exit 2 ;;
    monitor) ;;
    *) exit 1 ;;
esac
exit 0
"#;

pub(crate) struct Site(TempDir);

impl Site {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    /// A program of this directory that begins there. Written by a child: a child of another test, forked while we hold the
    /// file open, would make it "busy".
    pub(crate) fn agent(&self, name: &str, script: &str) {
        let text = format!("#!/bin/sh\ncd {}\n{script}\n", self.0.path().display());
        let order = "cat > \"$1.new\" && chmod 755 \"$1.new\" && mv \"$1.new\" \"$1\"";
        let mut child =
            Command::new("sh").args(["-c", order, "sh"]).arg(self.path(name)).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// The text of a pair whose second node is turned off by these devices: each the rest of its `[[fence]]` table.
    pub(crate) fn text(&self, devices: &[String]) -> String {
        let other = "[[fence]]\nnode = \"a1\"\nagent = \"/bin/false\"\n".to_owned();
        let devices = devices.iter().map(|device| format!("[[fence]]\nnode = \"b2\"\n{device}\n"));
        include_str!("../../../src/config/tests/pair.toml").to_owned() + &other + &devices.collect::<String>()
    }

    pub(crate) fn fencer(&self, devices: &[String]) -> Fencer {
        let config = config::parse(&self.text(devices), "test").unwrap_or_else(|errors| panic!("{errors}"));
        Fencer::new(&config)
    }

    /// Fences with one agent of this script, which has a second for each call.
    pub(crate) async fn fence(&self, script: &str) -> Result<String, String> {
        self.agent("agent", script);
        self.fence_with(&[self.device("agent", "")]).await
    }

    pub(crate) async fn fence_with(&self, devices: &[String]) -> Result<String, String> {
        let fencer = self.fencer(devices);
        let run = timeout(Duration::from_secs(60), fencer.fence(TARGET));
        run.await.expect("it comes to an end").map_err(|error| error.to_string())
    }

    /// The rest of a `[[fence]]` table.
    pub(crate) fn device(&self, agent: &str, more: &str) -> String {
        format!("agent = \"{}\"\ntimeout = \"1s\"\n{more}", self.path(agent).display())
    }
}

/// Waits for it on a busy machine.
pub(crate) async fn eventually(condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "it never came true");
        sleep(Duration::from_millis(10)).await;
    }
}
