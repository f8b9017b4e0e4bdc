//! The carrier: rsync. What goes to a peer lies in one directory, under names of ours, and arrives in one directory there: no name of a
//! rule ever stands on a command line. The receiver decides what becomes of it.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::unistd::{Gid, Uid};
use tokio::process::{Child, Command};

/// The oldest that is known to do what is asked of it.
const OLDEST: (u32, u32) = (3, 2);
/// Without it a file of one packet takes 40 ms more: each side waits for the other's acknowledgement.
const NO_DELAY: &str = "TCP_NODELAY";
/// The name of the only thing a daemon has for each peer.
const MODULE: &str = "from-";

/// Where what a peer sends arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbox {
    /// The peer's name in the config.
    pub peer: String,
    /// The directory.
    pub directory: PathBuf,
    /// From where it may come; empty = from anywhere.
    pub from: Vec<IpAddr>,
}

/// The config of the daemon that fills the inboxes.
pub fn daemon_config(listen: SocketAddr, inboxes: &[Inbox], secrets: &Path) -> String {
    let mut text = format!(
        "use chroot = no\nreverse lookup = no\nlist = no\nmax verbosity = 0\naddress = {}\nport = {}\nsocket options = {NO_DELAY}\n\
         secrets file = {}\nstrict modes = yes\nread only = no\nwrite only = yes\nmunge symlinks = no\n\
         refuse options = delete links devices specials hard-links copy-links\nincoming chmod = F0600,D0700\n",
        listen.ip(),
        listen.port(),
        secrets.display()
    );
    if Uid::effective().is_root() {
        // Otherwise it would become somebody who may not write there.
        let _ = writeln!(text, "uid = {}\ngid = {}", Uid::effective(), Gid::effective());
    }
    for inbox in inboxes {
        let _ = writeln!(text, "[{MODULE}{0}]\npath = {1}\nauth users = {0}", inbox.peer, inbox.directory.display());
        if !inbox.from.is_empty() {
            let from: Vec<String> = inbox.from.iter().map(IpAddr::to_string).collect();
            let _ = writeln!(text, "hosts allow = {}\nhosts deny = *", from.join(" "));
        }
    }
    text
}

/// Starts a daemon; it ends with what is returned.
///
/// # Errors
/// When there is no rsync, or it cannot be started.
pub fn start_daemon(config: &Path, log: Stdio) -> io::Result<Child> {
    let mut command = Command::new("rsync");
    command.args(["--daemon", "--no-detach"]).arg(format!("--config={}", config.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn()
}

/// Where to send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Our own name: the peer has an inbox for it.
    pub me: String,
    /// The peer's daemon.
    pub address: SocketAddr,
    /// The file with the secret that both know.
    pub password_file: PathBuf,
}

/// Why something did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// This node has no rsync.
    #[error("rsync cannot be started: {0}: is it installed?")]
    NoProgram(String),
    /// Nobody answers there.
    #[error("{0} does not answer")]
    Unreachable(SocketAddr),
    /// It does not believe that it is us.
    #[error("{0} refuses this node: the secrets of both must be the same: {1}")]
    Refused(SocketAddr, String),
    /// Something else; a part of it may have arrived.
    #[error("rsync to {address} failed (exit code {code}): {text}")]
    Failed {
        /// The peer's daemon.
        address: SocketAddr,
        /// The exit code; -1 when a signal ended it.
        code: i32,
        /// What it said last.
        text: String,
    },
}

/// Sends everything that lies in `spool`, in the order of the names; what has arrived is removed here. `patience`: how long the
/// peer may be silent.
///
/// # Errors
/// Why not everything has arrived.
pub async fn send(spool: &Path, target: &Target, patience: Duration) -> Result<(), SendError> {
    let seconds = patience.as_secs().max(1);
    let host = match target.address.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let url = format!("rsync://{0}@{host}:{1}/{MODULE}{0}/", target.me, target.address.port());
    let mut command = Command::new("rsync");
    command
        .args(["--recursive", "--whole-file", "--ignore-times", "--remove-source-files", "--no-motd"])
        .arg(format!("--sockopts={NO_DELAY}"))
        .arg(format!("--contimeout={seconds}"))
        .arg(format!("--timeout={seconds}"))
        .arg(format!("--password-file={}", target.password_file.display()))
        .arg(format!("{}/", spool.display()))
        .arg(url);
    command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| SendError::NoProgram(error.to_string()))?;
    judge(&output, target.address)
}

fn judge(output: &Output, address: SocketAddr) -> Result<(), SendError> {
    let text = String::from_utf8_lossy(&output.stderr);
    let said = text.lines().find(|line| !line.is_empty()).unwrap_or_default().to_owned();
    match output.status.code().unwrap_or(-1) {
        0 => Ok(()),
        // The codes of rsync(1).
        5 => Err(SendError::Refused(address, said)),
        10 | 30 | 35 => Err(SendError::Unreachable(address)),
        code => Err(SendError::Failed { address, code, text: said }),
    }
}

/// Whether there is an rsync that is new enough.
///
/// # Errors
/// A sentence on what is missing.
pub async fn check() -> Result<String, String> {
    let output = Command::new("rsync").arg("--version").stdin(Stdio::null()).output().await;
    let output = output.map_err(|error| format!("rsync cannot be started: {error}: install it"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let word = text.split_whitespace().nth(2).unwrap_or_default();
    match version(word) {
        Some(version) if version >= OLDEST => Ok(word.to_owned()),
        _ => Err(format!("rsync {word} is too old: {}.{} or later is needed", OLDEST.0, OLDEST.1)),
    }
}

fn version(word: &str) -> Option<(u32, u32)> {
    let mut parts = word.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_written() {
        assert_eq!(version("3.2.7"), Some((3, 2)));
        assert_eq!(version("v3.5.0"), Some((3, 5)));
        assert_eq!(version("protocol"), None);
    }

    #[test]
    fn each_peer_has_its_own_door() {
        let inbox = |peer: &str| Inbox {
            peer: peer.to_owned(),
            directory: format!("/var/lib/in/{peer}").into(),
            from: vec!["172.16.11.55".parse().unwrap()],
        };
        let listen = "172.16.11.54:6942".parse().unwrap();
        let text = daemon_config(listen, &[inbox("hadev2"), inbox("hadev3")], Path::new("/var/lib/secrets"));
        for line in
            ["address = 172.16.11.54", "port = 6942", "[from-hadev2]", "auth users = hadev3", "write only = yes"]
        {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
    }
}
