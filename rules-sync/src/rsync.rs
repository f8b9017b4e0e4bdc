//! The carrier: rsync. What goes to a peer lies in one directory, under names of ours, and arrives in one directory there: no name of a
//! rule ever stands on a command line. The receiver decides what becomes of it.

use std::fmt;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::unistd::{Gid, Uid};
use tokio::process::Command;

/// The oldest that is known to do what is asked of it.
const OLDEST: (u32, u32) = (3, 2);
/// Without it a file of one packet takes 40 ms more: each side waits for the other's acknowledgement.
const NO_DELAY: &str = "TCP_NODELAY";
/// The name of the only thing a daemon has for each peer.
const MODULE: &str = "from-";

/// A secret that both sides know, under the number of the key it is made from.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    /// The number.
    pub key: u8,
    /// The secret.
    pub text: String,
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Password({}, ..)", self.key)
    }
}

/// The name under which a node shows that it has a key.
fn login(node: &str, key: u8) -> String {
    format!("{node}.{key}")
}

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

/// The config of the daemons that fill the inboxes, and the file with the secrets.
pub fn daemon_config(inboxes: &[Inbox], passwords: &[Password], secrets: &Path) -> (String, String) {
    let mut text = format!(
        "use chroot = no\nreverse lookup = no\nlist = no\nmax verbosity = 0\nsocket options = {NO_DELAY}\n\
         secrets file = {}\nstrict modes = yes\nread only = no\nwrite only = yes\nmunge symlinks = no\n\
         refuse options = delete links devices specials hard-links copy-links\nincoming chmod = F0600,D0700\n",
        secrets.display()
    );
    if Uid::effective().is_root() {
        // Otherwise it would become somebody who may not write there.
        let _ = writeln!(text, "uid = {}\ngid = {}", Uid::effective(), Gid::effective());
    }
    let mut lines = String::new();
    for inbox in inboxes {
        let logins: Vec<String> = passwords.iter().map(|password| login(&inbox.peer, password.key)).collect();
        let (path, users) = (inbox.directory.display(), logins.join(" "));
        let _ = writeln!(text, "[{MODULE}{}]\npath = {path}\nauth users = {users}", inbox.peer);
        if !inbox.from.is_empty() {
            let from: Vec<String> = inbox.from.iter().map(IpAddr::to_string).collect();
            let _ = writeln!(text, "hosts allow = {}\nhosts deny = *", from.join(" "));
        }
        for (login, password) in logins.iter().zip(passwords) {
            let _ = writeln!(lines, "{login}:{}", password.text);
        }
    }
    (text, lines)
}

/// The command of a daemon that listens at an address; what it has to say goes to its standard error.
pub fn daemon_command(config: &Path, listen: SocketAddr) -> Vec<String> {
    vec![
        "rsync".to_owned(),
        "--daemon".to_owned(),
        "--no-detach".to_owned(),
        format!("--config={}", config.display()),
        format!("--address={}", listen.ip()),
        format!("--port={}", listen.port()),
        "--log-file=/dev/stderr".to_owned(),
    ]
}

/// Where to send to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The daemon of a peer.
    Daemon {
        /// Our own name: the peer has an inbox for it.
        me: String,
        /// The key that we show.
        key: u8,
        /// Where we send from.
        from: IpAddr,
        /// Where the daemon listens.
        address: SocketAddr,
        /// The file with the secret.
        password_file: PathBuf,
    },
    /// A directory of a peer, through a remote shell.
    Shell {
        /// Program and arguments; the address follows.
        command: Vec<String>,
        /// The peer.
        address: IpAddr,
        /// Our inbox there.
        inbox: PathBuf,
    },
}

/// Why something did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// This node has no rsync.
    #[error("rsync cannot be started: {0}: is it installed?")]
    NoProgram(String),
    /// Nobody answers there.
    #[error("{0} does not answer")]
    Unreachable(String),
    /// It does not believe that it is us.
    #[error("{0} refuses this node: the secrets of both must be the same, and each in the other's config: {1}")]
    Refused(String, String),
    /// The remote shell cannot get there.
    #[error("the remote shell cannot reach {0}: {1}")]
    Shell(String, String),
    /// Something else; a part of it may have arrived.
    #[error("rsync to {address} failed (exit code {code}): {text}")]
    Failed {
        /// The peer's daemon.
        address: String,
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
    let mut command = Command::new("rsync");
    command
        .args(["--recursive", "--whole-file", "--ignore-times", "--remove-source-files"])
        .arg(format!("--timeout={seconds}"));
    let address = match target {
        Target::Daemon { me, key, from, address, password_file } => {
            command
                .arg("--no-motd")
                .arg(format!("--sockopts={NO_DELAY}"))
                .arg(format!("--contimeout={seconds}"))
                .arg(format!("--address={from}"))
                .arg(format!("--password-file={}", password_file.display()))
                .arg(format!("{}/", spool.display()))
                .arg(format!("rsync://{}@{address}/{MODULE}{me}/", login(me, *key)));
            address.to_string()
        }
        Target::Shell { command: shell, address, inbox } => {
            let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
            command
                .arg(format!("--rsh={}", shell_words(shell)))
                .arg("--chmod=F0600,D0700")
                .arg(format!("{}/", spool.display()))
                .arg(format!("{host}:{}/", inbox.display()));
            address.to_string()
        }
    };
    command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| SendError::NoProgram(error.to_string()))?;
    judge(&output, address)
}

/// As rsync takes the words of a remote shell: divided by spaces, with quotes around those that have some.
fn shell_words(words: &[String]) -> String {
    let quote = |word: &String| {
        let plain = !word.is_empty() && !word.contains([' ', '"', '\'']);
        if plain { word.clone() } else { format!("'{}'", word.replace('\'', "''")) }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

fn judge(output: &Output, address: String) -> Result<(), SendError> {
    let text = String::from_utf8_lossy(&output.stderr);
    let said = text.lines().find(|line| !line.is_empty()).unwrap_or_default().to_owned();
    match output.status.code().unwrap_or(-1) {
        0 => Ok(()),
        // The codes of rsync(1).
        5 => Err(SendError::Refused(address, said)),
        10 | 30 | 35 => Err(SendError::Unreachable(address)),
        // That of ssh(1).
        255 => Err(SendError::Shell(address, said)),
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
    fn each_peer_has_its_own_door_and_every_key_opens_it() {
        let inbox = |peer: &str| Inbox {
            peer: peer.to_owned(),
            directory: format!("/var/lib/in/{peer}").into(),
            from: vec!["172.16.11.55".parse().unwrap()],
        };
        let password = |key: u8| Password { key, text: format!("secret{key}") };
        let inboxes = [inbox("hadev2"), inbox("hadev3")];
        let (text, secrets) = daemon_config(&inboxes, &[password(1), password(7)], Path::new("/var/lib/secrets"));
        for line in ["[from-hadev2]", "auth users = hadev3.1 hadev3.7", "write only = yes"] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
        assert_eq!(secrets.lines().count(), 4);
        assert!(secrets.lines().any(|line| line == "hadev2.7:secret7") && !text.contains("secret7"), "{secrets}");
        assert_eq!(format!("{:?}", password(7)), "Password(7, ..)");
    }

    #[test]
    fn the_words_of_a_remote_shell_stay_what_they_are() {
        let words = ["ssh", "-i", "/a key", "it's"].map(str::to_owned);
        assert_eq!(shell_words(&words), "ssh -i '/a key' 'it''s'");
    }
}
