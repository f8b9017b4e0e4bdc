//! Two couriers with the real rsync between them, over the loopback.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rules_sync::courier::{Courier, Moment, Portion};
use rules_sync::directory::Directory;
use rules_sync::filter::Filter;
use rules_sync::place::Place;
use rules_sync::plan::Limits;
use rules_sync::rsync::{Inbox, Password, Target, daemon_command, daemon_config, send};
use rules_sync::spool::Spool;
use rules_sync::store::Store;
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(5);
const LIMITS: Limits = Limits { items: 4_096, bytes: 1 << 26 };

fn at(millis: u64) -> Moment<'static> {
    Moment { active: None, millis }
}

struct Node {
    root: tempfile::TempDir,
    courier: Courier,
    peer: &'static str,
    inbox: Spool,
    outbox: Spool,
    address: SocketAddr,
    batch: u64,
    _daemon: Child,
}

impl Node {
    async fn start(me: &'static str, peer: &'static str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir(path("rules")).unwrap();
        let (inbox, outbox) = (Spool::open(&path("inbox")).unwrap(), Spool::open(&path("outbox")).unwrap());
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let door = Inbox { peer: peer.to_owned(), directory: path("inbox"), from: vec![] };
        let passwords = [Password { key: 1, text: "secret".to_owned() }];
        let (config, secrets) = daemon_config(&[door], &passwords, &path("secrets"));
        fs::write(path("rsyncd.conf"), config).unwrap();
        for (name, text) in [("secrets", secrets.as_str()), ("password", "secret\n")] {
            fs::write(path(name), text).unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let words = daemon_command(&path("rsyncd.conf"), address);
        let daemon = Command::new(&words[0]).args(&words[1..]).kill_on_drop(true).spawn().unwrap();
        for _ in 0..200 {
            if TcpStream::connect(address).is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let directory = Directory::open(&path("rules"), &path("area"), Filter::default()).unwrap();
        let store = Store::open(&path("store")).unwrap();
        let mut courier = Courier::new(me, &[peer.to_owned()], store, false).unwrap();
        courier.gain("re", directory).unwrap();
        Self { root, courier, peer, inbox, outbox, address, batch: 0, _daemon: daemon }
    }

    fn rules(&self, way: &str) -> PathBuf {
        self.root.path().join("rules").join(way)
    }

    /// Looks, sends what there is to say, and lets the other one hear it; whether there was anything.
    async fn tell(&mut self, other: &mut Self, millis: u64) -> bool {
        self.courier.look(&[Place::root("re").unwrap()], false, at(millis)).unwrap();
        self.batch += 1;
        let all = |_: &_| Portion::All;
        let batch = self.courier.compose(self.peer, self.batch, &self.outbox, LIMITS, at(millis), all).unwrap();
        if batch.manifest.is_none() {
            return false;
        }
        let password_file = self.root.path().join("password");
        let (me, address) = (other.peer.to_owned(), other.address);
        let target = Target::Daemon { me, key: 1, from: address.ip(), address, password_file };
        send(self.outbox.path(), &target, PATIENCE).await.unwrap();
        let taken = other.courier.take_in(other.peer, &other.inbox, at(millis)).unwrap();
        assert!(taken.later.is_empty() && taken.doubts.is_empty(), "{taken:?}");
        assert!(fs::read_dir(other.inbox.path()).unwrap().next().is_none(), "nothing is left lying");
        true
    }
}

/// Until neither has anything to say; how many batches it took.
async fn settle(one: &mut Node, two: &mut Node, millis: u64) -> u32 {
    let mut batches = 0;
    for _ in 0..20 {
        let told = [one.tell(two, millis).await, two.tell(one, millis).await];
        match told.iter().filter(|told| **told).count() {
            0 => return batches,
            more => batches += u32::try_from(more).unwrap(),
        }
    }
    panic!("they do not come to an end");
}

/// Everything below a directory: names, kinds, permissions, contents.
fn tree(path: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut next = vec![path.to_owned()];
    while let Some(directory) = next.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.path().symlink_metadata().unwrap();
            let what = if meta.is_dir() {
                next.push(entry.path());
                "/".to_owned()
            } else if meta.is_symlink() {
                format!("-> {:?}", fs::read_link(entry.path()).unwrap())
            } else {
                format!("{:o} {:?}", meta.permissions().mode() & 0o777, fs::read(entry.path()).unwrap())
            };
            all.push(format!("{:?} {what}", entry.path().strip_prefix(path).unwrap()));
        }
    }
    all.sort();
    all
}

fn same(one: &Node, two: &Node) -> Vec<String> {
    let (here, there) = (tree(&one.rules("")), tree(&two.rules("")));
    assert_eq!(here, there);
    here
}

async fn pair() -> (Node, Node) {
    (Node::start("n1", "n2").await, Node::start("n2", "n1").await)
}

#[tokio::test(flavor = "current_thread")]
async fn trees_become_the_same_whoever_changes_what() {
    let (mut one, mut two) = pair().await;
    fs::create_dir_all(one.rules("sub/deep")).unwrap();
    fs::write(one.rules("sub/deep/a b\n\"'.rules"), "1").unwrap();
    fs::write(one.rules("-rf"), "2").unwrap();
    symlink("/etc/passwd", one.rules("link")).unwrap();
    fs::write(two.rules("from-two"), "3").unwrap();
    fs::set_permissions(two.rules("from-two"), fs::Permissions::from_mode(0o600)).unwrap();
    settle(&mut one, &mut two, 1).await;
    assert_eq!(same(&one, &two).len(), 6);
    // The same size within the same second, a rename, permissions only, a deletion, a directory and a file in each other's place.
    fs::write(one.rules("-rf"), "9").unwrap();
    fs::rename(two.rules("sub/deep"), two.rules("moved")).unwrap();
    fs::set_permissions(two.rules("from-two"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::remove_file(one.rules("link")).unwrap();
    fs::create_dir(one.rules("link")).unwrap();
    fs::write(one.rules("link/inside"), "4").unwrap();
    settle(&mut one, &mut two, 2).await;
    assert_eq!(same(&one, &two).len(), 7);
    assert_eq!(settle(&mut one, &mut two, 3).await, 0, "nothing that was put there comes back");
}

#[tokio::test(flavor = "current_thread")]
async fn both_edit_the_same_rule_and_the_loser_is_kept_outside() {
    let (mut one, mut two) = pair().await;
    fs::write(one.rules("a"), "base").unwrap();
    settle(&mut one, &mut two, 1).await;
    fs::write(one.rules("a"), "edited on one").unwrap();
    fs::write(two.rules("a"), "edited on two").unwrap();
    two.courier.look(&[Place::root("re").unwrap()], false, at(9)).unwrap();
    settle(&mut one, &mut two, 8).await;
    assert_eq!(same(&one, &two).len(), 1, "no copy lies among the rules");
    assert_eq!(fs::read_to_string(one.rules("a")).unwrap(), "edited on two");
    let conflicts = |node: &Node| node.courier.store().kept().unwrap().iter().filter(|(_, kept)| kept.conflict).count();
    assert!(conflicts(&one) + conflicts(&two) >= 1);
}

#[tokio::test(flavor = "current_thread")]
async fn a_thousand_files_are_one_batch() {
    let (mut one, mut two) = pair().await;
    // They have met.
    fs::write(one.rules("0.rules"), "first").unwrap();
    settle(&mut one, &mut two, 1).await;
    for number in 0..1_000 {
        fs::write(one.rules(&format!("{number}.rules")), format!("rule {number}")).unwrap();
    }
    let batches = settle(&mut one, &mut two, 1).await;
    assert_eq!(same(&one, &two).len(), 1_000);
    assert_eq!(batches, 2, "the files, and that they are known");
}
