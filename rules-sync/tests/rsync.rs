//! The real rsync, from one directory to another, over the loopback.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rules_sync::rsync::{Inbox, Password, SendError, Target, check, daemon_command, daemon_config, send};
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(2);

struct Peer {
    directory: tempfile::TempDir,
    address: SocketAddr,
    _daemon: Child,
}

fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn target(me: &str, address: SocketAddr, password_file: PathBuf) -> Target {
    Target::Daemon { me: me.to_owned(), key: 2, from: address.ip(), address, password_file }
}

impl Peer {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("inbox")).unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let inbox = Inbox { peer: "n1".to_owned(), directory: path("inbox"), from: vec![free.ip()] };
        let password = |key, text: &str| Password { key, text: text.to_owned() };
        let passwords = [password(1, "of yesterday"), password(2, "what only these two know")];
        let (config, secrets) = daemon_config(&[inbox], &passwords, &path("secrets"));
        secret(&path("secrets"), &secrets);
        fs::write(path("rsyncd.conf"), config).unwrap();
        let words = daemon_command(&path("rsyncd.conf"), free);
        let daemon = Command::new(&words[0]).args(&words[1..]).kill_on_drop(true).spawn().unwrap();
        for _ in 0..200 {
            if std::net::TcpStream::connect(free).is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self { directory, address: free, _daemon: daemon }
    }

    fn target(&self, secret_text: &str) -> Target {
        let password_file = self.directory.path().join("password");
        secret(&password_file, secret_text);
        target("n1", self.address, password_file)
    }

    fn arrived(&self) -> Vec<(String, String)> {
        let mut all: Vec<_> = fs::read_dir(self.directory.path().join("inbox"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap()))
            .collect();
        all.sort();
        all
    }
}

fn spool(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let path = directory.path().to_owned();
    (directory, path)
}

fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).unwrap().next().is_none()
}

#[tokio::test(flavor = "current_thread")]
async fn what_lies_in_the_spool_arrives_and_is_removed_here() {
    check().await.unwrap();
    let peer = Peer::start().await;
    let target = peer.target("what only these two know\n");
    let (_keep, path) = spool(&[("7.0", "a rule"), ("7.m", "manifest")]);
    send(&path, &target, PATIENCE).await.unwrap();
    let arrived = |text: &str| vec![("7.0".to_owned(), text.to_owned()), ("7.m".to_owned(), "manifest".to_owned())];
    assert_eq!((peer.arrived(), is_empty(&path)), (arrived("a rule"), true));
    // The same size within the same second: it is sent all the same.
    let (_keep, path) = spool(&[("7.0", "A RULE"), ("7.m", "manifest")]);
    send(&path, &target, PATIENCE).await.unwrap();
    assert_eq!(peer.arrived(), arrived("A RULE"));
}

#[tokio::test(flavor = "current_thread")]
async fn a_wrong_secret_is_refused_and_nothing_is_lost_or_arrives() {
    let peer = Peer::start().await;
    let target = peer.target("something else\n");
    let (_keep, path) = spool(&[("7.m", "manifest")]);
    let refused = send(&path, &target, PATIENCE).await.unwrap_err();
    assert!(matches!(&refused, SendError::Refused(address, _) if *address == peer.address.to_string()), "{refused}");
    assert!(peer.arrived().is_empty() && !is_empty(&path));
}

#[tokio::test(flavor = "current_thread")]
async fn a_stranger_has_no_door() {
    let peer = Peer::start().await;
    peer.target("what only these two know\n");
    let target = target("n9", peer.address, peer.directory.path().join("password"));
    let (_keep, path) = spool(&[("7.m", "manifest")]);
    assert!(matches!(send(&path, &target, PATIENCE).await, Err(SendError::Refused(..) | SendError::Failed { .. })));
    assert!(peer.arrived().is_empty() && !is_empty(&path));
}

#[tokio::test(flavor = "current_thread")]
async fn a_peer_that_is_not_there_is_told_from_one_that_refuses() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let (keep, path) = spool(&[("7.m", "manifest")]);
    let password_file = keep.path().join("../none");
    let result = send(&path, &target("n1", free, password_file), PATIENCE).await;
    assert_eq!(result, Err(SendError::Unreachable(free.to_string())));
}
