//! Two nodes, each a thread with a network namespace and a runtime of its own, and cables between them.
#![allow(unsafe_code, reason = "switching an interface by ioctl takes microseconds, a program takes milliseconds")]

use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use avamgr::clock;
use avamgr::inputs::{self, Inputs};
use avamgr::links::{Counters, Links};
use avamgr_core::cluster::{Incarnation, LinkId, NodeId};
use avamgr_core::config::{LinkConfig, LinkKind, Transport, UdpConfig};
use avamgr_core::node::Input;
use avamgr_core::time::Instant;
use avamgr_core::wire::Heartbeat;
use avamgr_core::wire::seal::{Key, Keyring, Secret};
use nix::sched::{CloneFlags, setns, unshare};
use tokio::sync::mpsc;

pub const A: NodeId = NodeId(0);
pub const B: NodeId = NodeId(1);
pub const FIRST: LinkId = LinkId(0);
pub const SECOND: LinkId = LinkId(1);
/// Long enough for anything on a busy machine that happens at all.
pub const PATIENCE: Duration = Duration::from_secs(5);
const INSIDE: &str = "AVAMGR_TEST_INSIDE";

/// Runs a test on a thread of its own, in a network namespace of its own. `name` is the test's full name.
pub fn in_namespaces(name: &str, test: fn()) {
    let inside = std::env::var_os(INSIDE).is_some();
    if nix::unistd::geteuid().is_root() || inside {
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("network namespaces are not permitted here, not even to root");
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
        return;
    }
    let program = std::env::current_exe().unwrap();
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user", "--net"]).arg(program).args(["--exact", name, "--nocapture"]);
    let status = again.env(INSIDE, "1").status().expect("`unshare` of util-linux is needed");
    assert!(status.success(), "{name} failed, or user namespaces are not permitted (see the output above)");
}

/// What a node's thread works with.
pub struct Side {
    pub links: Option<Links>,
    pub inputs: Inputs,
    seen: std::sync::mpsc::Sender<Seen>,
}

/// An input and when it reached the loop.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    pub input: Input,
}

type Order = Box<dyn FnOnce(&mut Side) + Send>;

/// A node: its namespace, its runtime, and what its loop has got.
pub struct Node {
    tid: i32,
    orders: Option<mpsc::UnboundedSender<Order>>,
    seen: Receiver<Seen>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    pub fn start() -> Self {
        let (orders, order_receiver) = mpsc::unbounded_channel();
        let (seen_sender, seen) = channel();
        let (tid_sender, tid) = channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            shell("ip link set lo up");
            tid_sender.send(nix::unistd::gettid().as_raw()).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(order_receiver, seen_sender));
        });
        Self { tid: tid.recv().unwrap(), orders: Some(orders), seen, thread: Some(thread) }
    }

    /// Does something on the node's thread and returns what comes of it.
    pub fn run<R: Send + 'static>(&self, order: impl FnOnce(&mut Side) -> R + Send + 'static) -> R {
        let (sender, receiver) = channel();
        let order: Order = Box::new(move |side| sender.send(order(side)).unwrap());
        assert!(self.orders.as_ref().unwrap().send(order).is_ok(), "the node has ended");
        receiver.recv().expect("the order panicked")
    }

    /// A thread of its own in this node's namespace.
    pub fn thread<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
        let namespace = std::fs::File::open(format!("/proc/self/task/{}/ns/net", self.tid)).unwrap();
        std::thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }

    pub fn shell(&self, line: &str) {
        let line = line.to_owned();
        self.run(move |_| shell(&line));
    }

    /// Opens links with the key 1.
    pub fn open(&self, node: NodeId, config: &[LinkConfig]) {
        let config = config.to_vec();
        self.run(move |side| side.links = Some(Links::open(&config, None, node, &ring("test", 1)).unwrap()));
    }

    pub fn close(&self) {
        self.run(|side| side.links = None);
    }

    pub fn send(&self, link: LinkId, heartbeat: Heartbeat) {
        self.run(move |side| side.links.as_mut().unwrap().send(link, heartbeat));
    }

    pub fn counters(&self, link: LinkId) -> Counters {
        self.run(move |side| side.links.as_ref().unwrap().iter().nth(link.index()).unwrap().counters())
    }

    pub fn trouble(&self, link: LinkId) -> Option<String> {
        self.run(move |side| side.links.as_ref().unwrap().iter().nth(link.index()).unwrap().trouble())
    }

    /// The first input from now on that `pick` picks; the others are passed over.
    pub fn expect<T>(&self, what: &str, mut pick: impl FnMut(&Seen) -> Option<T>) -> T {
        let mut passed = Vec::new();
        let end = clock::now() + PATIENCE;
        loop {
            match self.seen.recv_timeout(end.since(clock::now())) {
                Ok(seen) => match pick(&seen) {
                    Some(picked) => return picked,
                    None => passed.push(seen),
                },
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("{what} did not come; what came: {passed:#?}")
                }
            }
        }
    }

    /// The first good frame on a link.
    pub fn expect_frame(&self, on: LinkId) -> (Seen, Heartbeat) {
        self.expect("a frame", |seen| match &seen.input {
            Input::Heartbeat { link, heartbeat, .. } if *link == on => Some((seen.clone(), heartbeat.clone())),
            _ => None,
        })
    }

    /// The first word about the carrier of a link that says this.
    pub fn expect_carrier(&self, on: LinkId, expected: bool) -> Seen {
        self.expect(&format!("carrier {expected}"), |seen| match &seen.input {
            Input::Carrier { link, up } if *link == on && *up == expected => Some(seen.clone()),
            _ => None,
        })
    }

    /// Everything that has come, and what comes until nothing has come for a while.
    pub fn everything(&self) -> Vec<Seen> {
        std::iter::from_fn(|| self.seen.recv_timeout(Duration::from_millis(200)).ok()).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.orders = None;
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "a node's thread panicked");
    }
}

async fn run(mut orders: mpsc::UnboundedReceiver<Order>, seen: std::sync::mpsc::Sender<Seen>) {
    let (inputs, mut others) = inputs::channel();
    let mut side = Side { links: None, inputs, seen };
    loop {
        let order = tokio::select! {
            () = readable(side.links.as_mut()) => None,
            Some(input) = others.recv() => {
                note(&side.seen, input);
                None
            }
            order = orders.recv() => match order {
                Some(order) => Some(order),
                None => return,
            },
        };
        if let Some(order) = order {
            order(&mut side);
        }
        let seen = side.seen.clone();
        if let Some(links) = &mut side.links {
            links.receive(&mut |input| note(&seen, input));
        }
    }
}

impl Side {
    /// What the loop does after a stall.
    pub fn drain(&mut self) {
        let seen = self.seen.clone();
        if let Some(links) = &mut self.links {
            links.drain(&mut |input| note(&seen, input));
        }
    }
}

fn note(seen: &std::sync::mpsc::Sender<Seen>, input: Input) {
    // A test that has seen enough is not listening any more.
    let _ = seen.send(Seen { at: clock::now(), input });
}

async fn readable(links: Option<&mut Links>) {
    match links {
        Some(links) => links.readable().await,
        None => std::future::pending().await,
    }
}

/// Runs a program in the namespace of the calling thread.
pub fn shell(line: &str) {
    let mut words = line.split_whitespace();
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "`{line}` failed");
}

/// Two nodes with a cable between the interfaces `{name}` of both, for each name.
pub fn pair(cables: &[&str]) -> (Node, Node) {
    let (a, b) = (Node::start(), Node::start());
    for name in cables {
        cable(&a, &b, name);
    }
    (a, b)
}

/// A cable between two nodes, both ends switched on.
pub fn cable(a: &Node, b: &Node, name: &str) {
    let (a_tid, b_tid, line) = (a.tid, b.tid, name.to_owned());
    a.run(move |_| {
        shell(&format!("ip link add {line} netns {a_tid} type veth peer name {line} netns {b_tid}"));
    });
    a.shell(&format!("ip link set {name} up"));
    b.shell(&format!("ip link set {name} up"));
}

/// Addresses 10.0.{number}.1 and .2, fd00:{number}::1 and ::2, at the two ends.
pub fn number(a: &Node, b: &Node, name: &str, number: u8) {
    for (node, host) in [(a, 1), (b, 2)] {
        node.shell(&format!("ip addr add 10.0.{number}.{host}/24 dev {name}"));
        node.shell(&format!("ip addr add fd00:{number}::{host}/64 dev {name} nodad"));
    }
}

/// A link over a cable.
pub fn link(name: &str, addresses: [&str; 2]) -> LinkConfig {
    LinkConfig {
        name: name.to_owned(),
        kind: LinkKind::Dedicated,
        transport: Transport::Udp(UdpConfig {
            interfaces: vec![name.to_owned(); 2],
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            port: 7700,
        }),
    }
}

/// The usual two links, over `eth3` and `eth4`.
pub fn two_links() -> Vec<LinkConfig> {
    vec![link("eth3", ["10.0.3.1", "10.0.3.2"]), link("eth4", ["10.0.4.1", "10.0.4.2"])]
}

/// Two nodes with the usual two links, not opened yet.
pub fn usual_pair() -> (Node, Node) {
    let (a, b) = pair(&["eth3", "eth4"]);
    number(&a, &b, "eth3", 3);
    number(&a, &b, "eth4", 4);
    (a, b)
}

pub fn ring(cluster: &str, number: u8) -> Arc<Keyring> {
    ring_of(cluster, &[number], number)
}

pub fn ring_of(cluster: &str, numbers: &[u8], sending: u8) -> Arc<Keyring> {
    let key = |number: &u8| Key { number: *number, secret: Secret::new([*number; 32]) };
    let keys: Vec<Key> = numbers.iter().map(key).collect();
    Arc::new(Keyring::new(cluster, &keys, sending).unwrap())
}

pub fn heartbeat(from: NodeId, to: NodeId, link: LinkId, sequence: u64) -> Heartbeat {
    Heartbeat {
        from,
        to,
        link,
        incarnation: Incarnation(0x0123_4567_89ab_cdef),
        echo: None,
        sequence,
        sent_nanos: 0,
        echo_nanos: 0,
        echo_delay_nanos: 0,
        wall_millis: 0,
        config_digest: 1,
        hears_you: true,
        probe: false,
        leaving: false,
        revision: 1,
        seen_revision: 1,
        groups: Vec::new(),
        request: None,
        lease: Duration::ZERO,
        voters: 0,
        fenced: Vec::new(),
        absence: Duration::ZERO,
    }
}

/// Switches an interface of the calling thread's namespace on or off and returns the moment it was done.
pub fn switch(name: &str, on: bool) -> Instant {
    use std::os::fd::AsRawFd;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // SAFETY: all-zero bytes are a valid ifreq; both calls read and write only the one given.
    let result = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *place = byte as libc::c_char;
        }
        let mut result = libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request);
        let on_flag = libc::IFF_UP as libc::c_short;
        let flags = request.ifr_ifru.ifru_flags;
        request.ifr_ifru.ifru_flags = if on { flags | on_flag } else { flags & !on_flag };
        result |= libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request);
        result
    };
    assert_eq!(result, 0, "cannot switch {name}");
    clock::now()
}
