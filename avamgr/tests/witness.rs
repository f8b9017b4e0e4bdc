//! The witness as a program, asked over UDP as nodes ask it.
#![expect(clippy::unwrap_used, clippy::unwrap_in_result, reason = "a test fails by panicking, its helpers too")]
#![expect(clippy::disallowed_methods, reason = "a test measures with the clock of its own process")]

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use avamgr_core::cluster::{Incarnation, LinkId, NodeId, Role, Term};
use avamgr_core::wire::seal::{Key, Keyring, Secret};
use avamgr_core::wire::{GroupState, Heartbeat};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LEASE: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(10);

/// A witness for the clusters `one` and `two`.
struct Running {
    directory: tempfile::TempDir,
    child: Child,
    port: u16,
    metrics: u16,
}

fn bytes(first: u8) -> [u8; 32] {
    std::array::from_fn(|place| first + u8::try_from(place).unwrap())
}

fn ring(cluster: &str, byte: u8) -> Keyring {
    Keyring::new(cluster, &[Key { number: 1, secret: Secret::new(bytes(byte)) }], 1).unwrap()
}

fn write_keys(path: &Path, byte: u8) {
    let hex: String = bytes(byte).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(path, format!("1 {hex} send\n")).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Running {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        write_keys(&directory.path().join("one.keys"), 1);
        write_keys(&directory.path().join("two.keys"), 2);
        let (port, metrics) = (free_port(), free_port());
        let mut this = Self { child: spawn(&directory.path().join("none")), directory, port, metrics };
        let _ = this.child.wait();
        this.write_config(&["one", "two"]);
        this.restart();
        this
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("witness.toml")
    }

    fn write_config(&self, clusters: &[&str]) {
        let base = self.directory.path().display();
        let mut text = format!(
            "listen = [\"127.0.0.1:{}\"]\nmetrics = \"127.0.0.1:{}\"\nstate_dir = \"{base}/state\"\nsocket = \"{base}/s\"\n",
            self.port, self.metrics
        );
        for name in clusters {
            text += &format!("[[cluster]]\nname = \"{name}\"\nkey_file = \"{base}/{name}.keys\"\n");
        }
        fs::write(self.config(), text).unwrap();
    }

    fn restart(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.child = spawn(&self.config());
        self.wait("to answer", |it| it.status().status.success());
    }

    fn wait(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < SOON, "waited in vain for the witness {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn status(&self) -> Output {
        Command::new(env!("CARGO_BIN_EXE_avamgr-witness"))
            .arg("--config")
            .arg(self.config())
            .arg("status")
            .output()
            .unwrap()
    }

    fn said(&self) -> String {
        String::from_utf8(self.status().stdout).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(config: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_avamgr-witness"));
    command.arg("--config").arg(config).args(["--log-target", "stderr"]);
    command.stderr(std::process::Stdio::null()).spawn().unwrap()
}

/// A node that asks.
struct Node {
    socket: UdpSocket,
    ring: Keyring,
    frame: Heartbeat,
}

impl Node {
    fn new(witness: &Running, cluster: &str, key: u8, rank: u8) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", witness.port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let frame = Heartbeat {
            from: NodeId(rank),
            to: NodeId::WITNESS,
            link: LinkId::WITNESS,
            incarnation: Incarnation(u64::from(rank) + 77),
            echo: None,
            sequence: 0,
            sent_nanos: 0,
            echo_nanos: 0,
            echo_delay_nanos: 0,
            wall_millis: 0,
            config_digest: 0,
            hears_you: true,
            probe: false,
            leaving: false,
            revision: 0,
            seen_revision: 0,
            groups: vec![GroupState::nothing(0xd4e)],
            request: None,
            lease: LEASE,
            voters: 1,
            fenced: Vec::new(),
            absence: Duration::ZERO,
        };
        Self { socket, ring: ring(cluster, key), frame }
    }

    fn sealed(&self) -> Vec<u8> {
        let mut datagram = Vec::new();
        self.ring.seal(&self.frame, &mut datagram).unwrap();
        datagram
    }

    fn send(&self, datagram: &[u8]) -> Option<Heartbeat> {
        self.socket.send(datagram).unwrap();
        let mut buffer = [0; 2048];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(self.ring.open(&buffer[..length]).unwrap())
    }

    /// Asks once, after an introduction if need be; returns whom the vote is given to.
    fn ask(&mut self, term: Option<u64>) -> Option<(NodeId, Term)> {
        for _ in 0..2 {
            self.frame.sequence += 1;
            let group = &mut self.frame.groups[0];
            group.wants_lease = term.is_some();
            group.role = if term.is_some() { Role::Active } else { Role::Standby };
            group.term = Term(term.unwrap_or(0));
            let answer = self.send(&self.sealed()).expect("an answer");
            let stranger = self.frame.echo.replace(answer.incarnation) != Some(answer.incarnation);
            assert!(!stranger || answer.groups.is_empty(), "a stranger hears nothing of groups");
            self.frame.echo_nanos = answer.sent_nanos;
            if let Some(group) = answer.groups.first() {
                return group.promise.map(|promise| (promise.holder, promise.term));
            }
        }
        panic!("the witness takes this node for a stranger again and again");
    }

    /// Asks until the witness does not abstain any more.
    fn insist(&mut self, term: u64) -> Duration {
        let begun = Instant::now();
        while self.ask(Some(term)).is_none() {
            assert!(begun.elapsed() < SOON, "it abstains for ever");
            std::thread::sleep(Duration::from_millis(5));
        }
        begun.elapsed()
    }
}

#[test]
fn a_vote_is_given_to_one_node_until_it_is_over_or_given_back() {
    let witness = Running::start();
    let (mut a, mut b) = (Node::new(&witness, "one", 1, 0), Node::new(&witness, "one", 1, 1));
    a.insist(5);
    assert_eq!(b.ask(Some(6)), Some((NodeId(0), Term(5))));
    assert_eq!(a.ask(None), None, "given back");
    assert_eq!(b.ask(Some(6)), Some((NodeId(1), Term(6))));
    assert_eq!(a.ask(Some(7)), Some((NodeId(1), Term(6))));
    let renewed = Instant::now();
    while a.ask(Some(7)) != Some((NodeId(0), Term(7))) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(renewed.elapsed() > LEASE - Duration::from_millis(50), "{:?}", renewed.elapsed());
    let said = witness.said();
    assert!(said.contains("promised to node 1 in term 7"), "{said}");
}

#[test]
fn clusters_share_nothing_and_strangers_get_no_answer() {
    let witness = Running::start();
    let (mut one, mut two) = (Node::new(&witness, "one", 1, 0), Node::new(&witness, "two", 2, 1));
    one.insist(5);
    two.insist(5);
    assert_eq!(one.ask(Some(5)), Some((NodeId(0), Term(5))));
    assert_eq!(two.ask(Some(5)), Some((NodeId(1), Term(5))));
    let mut thief = Node::new(&witness, "one", 2, 1);
    thief.frame.sequence = 1;
    assert_eq!(thief.send(&thief.sealed()), None, "the keys of another cluster");
    let mut unknown = Node::new(&witness, "three", 1, 1);
    unknown.frame.sequence = 1;
    assert_eq!(unknown.send(&unknown.sealed()), None);
    assert!(witness.said().contains("refused: 1 digest"), "{}", witness.said());
}

#[test]
fn a_recorded_request_changes_nothing() {
    let witness = Running::start();
    let (mut a, mut b) = (Node::new(&witness, "one", 1, 0), Node::new(&witness, "one", 1, 1));
    a.insist(5);
    let recorded = a.sealed();
    a.ask(None);
    assert_eq!(a.send(&recorded), None, "a frame that was here before");
    assert_eq!(b.ask(Some(6)), Some((NodeId(1), Term(6))));
    // A run that got an answer and was never heard itself.
    let (run, last) = (a.frame.incarnation, a.frame.sequence);
    a.frame.incarnation = Incarnation(4710);
    let unheard = a.sealed();
    // A new run of the node ends the old one for good.
    a.frame.incarnation = Incarnation(4711);
    a.frame.sequence = 0;
    a.ask(None);
    assert_eq!(a.send(&unheard).expect("the answer to a stranger").groups, []);
    a.ask(None);
    a.frame.incarnation = run;
    a.frame.sequence = last + 1_000;
    assert_eq!(a.send(&a.sealed()), None, "a run that is over");
    a.frame.incarnation = Incarnation(4711);
    assert!(a.send(&a.sealed()).is_some_and(|answer| !answer.groups.is_empty()), "the run that lives");
}

#[test]
fn a_restarted_witness_promises_nothing_until_its_longest_promise_is_over() {
    let mut witness = Running::start();
    let mut a = Node::new(&witness, "one", 1, 0);
    a.insist(5);
    witness.restart();
    let restarted = Instant::now();
    let mut b = Node::new(&witness, "one", 1, 1);
    // A shorter lease than it had promised before: what counts is the longer one.
    b.frame.lease = Duration::from_millis(10);
    assert_eq!(b.ask(Some(6)), None);
    assert!(witness.said().contains("promises nothing for"), "{}", witness.said());
    b.insist(6);
    assert!(restarted.elapsed() > LEASE - Duration::from_millis(50), "{:?}", restarted.elapsed());
}

#[test]
fn a_reload_keeps_votes_and_a_bad_one_changes_nothing() {
    let witness = Running::start();
    let mut a = Node::new(&witness, "one", 1, 0);
    a.insist(5);
    let pid = Pid::from_raw(i32::try_from(witness.child.id()).unwrap());
    fs::write(witness.config(), "listen = 7").unwrap();
    kill(pid, Signal::SIGHUP).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(a.ask(Some(5)), Some((NodeId(0), Term(5))));
    witness.write_config(&["one"]);
    kill(pid, Signal::SIGHUP).unwrap();
    witness.wait("to let go of a cluster", |it| !it.said().contains("two"));
    assert_eq!(a.ask(Some(5)), Some((NodeId(0), Term(5))));
    let mut gone = Node::new(&witness, "two", 2, 0);
    gone.frame.sequence = 1;
    assert_eq!(gone.send(&gone.sealed()), None);
}

#[test]
fn numbers_for_prometheus() {
    let witness = Running::start();
    Node::new(&witness, "one", 1, 0).insist(5);
    let mut stream = TcpStream::connect(("127.0.0.1", witness.metrics)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    for line in ["avamgr_witness_votes{cluster=\"one\"} 1", "avamgr_witness_votes{cluster=\"two\"} 0", "# TYPE"] {
        assert!(page.contains(line), "{line} in {page}");
    }
}
