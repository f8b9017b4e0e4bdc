//! Connections to an address end when it leaves.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use avamgr::clock;
use avamgr::netlink::{can_destroy_connections, destroy_connections};
use avamgr_core::config::VipConfig;
use avamgr_core::node::{Order, Report};
use avamgr_core::time::Instant;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::in_namespaces;
use crate::space::{Space, eventually, pair};
use crate::vip::{Vip, config};

/// How soon a client is told.
const SOON: Duration = Duration::from_millis(200);
/// When a client that is told nothing stops waiting.
const LONG: Duration = Duration::from_secs(3);
const VIP: &str = "172.16.9.61";
const VIP_V6: &str = "2001:db8:9::61";
/// The node's own addresses.
const OWN: &str = "172.16.9.1";
const OWN_V6: &str = "2001:db8:9::1";

/// A node with addresses of its own, and a client beside it.
fn hosts() -> (Space, Space) {
    let (node, client) = pair();
    node.ip(&format!("address add {OWN}/24 dev eth1"));
    node.ip(&format!("address add {OWN_V6}/64 dev eth1 nodad"));
    client.ip("address add 172.16.9.2/24 dev eth1");
    client.ip("address add 2001:db8:9::2/64 dev eth1 nodad");
    (node, client)
}

fn start(node: &Space, config: VipConfig) -> Vip {
    let vip = Vip::new(node, config);
    vip.expect(Report::Able);
    vip.start();
    vip
}

fn both() -> VipConfig {
    config(&["172.16.9.61/24", "2001:db8:9::61/64"], &[])
}

/// Both ends of a connection.
struct Connection {
    client: TcpStream,
    server: TcpStream,
}

fn connect(client: &Space, server: &TcpListener, address: &str) -> Connection {
    let to = SocketAddr::new(address.parse().unwrap(), server.local_addr().unwrap().port());
    let client = client.run(|| TcpStream::connect_timeout(&to, LONG)).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    Connection { client, server: server.accept().unwrap().0 }
}

fn listen(node: &Space, address: &str) -> TcpListener {
    let any: IpAddr = address.parse().unwrap();
    node.run(|| TcpListener::bind((any, 0))).unwrap()
}

impl Connection {
    /// Waits for an answer like any client; says what came and when.
    fn wait(&self) -> JoinHandle<(Instant, ErrorKind)> {
        let mut client = self.client.try_clone().unwrap();
        std::thread::spawn(move || {
            let error = client.read(&mut [0]).expect_err("nobody sends anything");
            (clock::now(), error.kind())
        })
    }

    /// Says something, which arrives.
    fn works(&mut self) {
        self.client.write_all(b"!").unwrap();
        self.server.set_read_timeout(Some(LONG)).unwrap();
        self.server.read_exact(&mut [0]).unwrap();
    }
}

/// All of them are reset soon after the stop, and these only.
fn only_these_end(vip: &Vip, ending: &mut [Connection], lasting: &mut [Connection]) {
    for connection in ending.iter_mut().chain(lasting.iter_mut()) {
        connection.works();
    }
    let waiting: Vec<_> = ending.iter().map(Connection::wait).collect();
    let ordered = vip.order(Order::Stop { within: None });
    for waiting in waiting {
        let (at, kind) = waiting.join().unwrap();
        assert_eq!(kind, ErrorKind::ConnectionReset);
        assert!(at.since(ordered) < SOON, "told {:?} after the order", at.since(ordered));
    }
    vip.expect(Report::Stopped);
    for connection in lasting {
        connection.works();
    }
}

/// Connections that the kernel of a node has with this local address. What is left of one that the server closed is none,
/// whatever state it shows: it has no socket, and its timer says what it is.
fn established(node: &Space, address: &str) -> usize {
    let arguments = ["-tnoH", "state", "connected", "exclude", "time-wait", "src", address];
    let output = node.run(|| std::process::Command::new("ss").args(arguments).output()).expect("`ss` is needed");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.contains("timer:(timewait")).count()
}

/// Thousands of connections to the address. One crowd at a time: they take most of the files a process may have open.
struct Crowd {
    connections: Vec<Connection>,
    _only: MutexGuard<'static, ()>,
}

const CROWD: usize = 5_000;

impl Crowd {
    fn new(node: &Space, client: &Space) -> Self {
        static ONLY: Mutex<()> = Mutex::new(());
        let only = ONLY.lock().unwrap_or_else(PoisonError::into_inner);
        let (_soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        let server = listen(node, "0.0.0.0");
        let to = SocketAddr::new(VIP.parse().unwrap(), server.local_addr().unwrap().port());
        let connect = || Connection { client: TcpStream::connect(to).unwrap(), server: server.accept().unwrap().0 };
        let connections = client.run(|| std::iter::repeat_with(connect).take(CROWD).collect());
        Self { connections, _only: only }
    }

    /// How many clients have not been told.
    fn left(&self) -> usize {
        self.connections.iter().filter(|connection| connection.client.take_error().unwrap().is_none()).count()
    }
}

/// Clients that connect again and again, and a server that accepts them all, until it is dropped.
struct Storm {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Storm {
    /// Connections each side holds, so that one that should end does not end by itself.
    const HELD: usize = 200;

    fn new(node: &Space, client: &Space) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let server = listen(node, "0.0.0.0");
        let to = SocketAddr::new(VIP.parse().unwrap(), server.local_addr().unwrap().port());
        server.set_nonblocking(true).unwrap();
        let repeat = |space: &Space, make: Box<dyn Fn() -> Option<TcpStream> + Send>| {
            let over = Arc::clone(&over);
            space.spawn(move || {
                let mut held = VecDeque::new();
                while !over.load(Ordering::Relaxed) {
                    match make() {
                        Some(stream) => held.push_back(stream),
                        None => std::thread::sleep(Duration::from_micros(200)),
                    }
                    if held.len() > Self::HELD {
                        held.pop_front();
                    }
                }
            })
        };
        let threads = vec![
            repeat(client, Box::new(move || TcpStream::connect_timeout(&to, Duration::from_millis(20)).ok())),
            repeat(node, Box::new(move || server.accept().ok().map(|(stream, _)| stream))),
        ];
        Self { over, threads }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

in_namespaces! {
    fn clients_are_reset_and_those_of_other_addresses_are_not() {
        let (node, client) = hosts();
        let vip = start(&node, both());
        let (v4, v6) = (listen(&node, VIP), listen(&node, VIP_V6));
        let (own, own_v6) = (listen(&node, OWN), listen(&node, OWN_V6));
        let mut ending = [connect(&client, &v4, VIP), connect(&client, &v6, VIP_V6)];
        let mut lasting = [connect(&client, &own, OWN), connect(&client, &own_v6, OWN_V6)];
        only_these_end(&vip, &mut ending, &mut lasting);
    }

    fn an_ipv4_client_of_an_ipv6_socket_is_reset() {
        let (node, client) = hosts();
        let vip = start(&node, both());
        let server = listen(&node, "::");
        let mut ending = [connect(&client, &server, VIP), connect(&client, &server, VIP_V6)];
        let mut lasting = [connect(&client, &server, OWN), connect(&client, &server, OWN_V6)];
        only_these_end(&vip, &mut ending, &mut lasting);
        // The server goes on.
        connect(&client, &server, OWN).works();
    }

    fn clients_of_a_range_are_reset_but_not_those_of_the_hosts_own_address_in_it() {
        let (node, client) = hosts();
        node.ip("address add 172.16.10.5/32 dev lo");
        client.ip("route add 172.16.10.0/28 via 172.16.9.1");
        let vip = start(&node, config(&[], &["172.16.10.0/28"]));
        let server = listen(&node, "0.0.0.0");
        let mut ending = [connect(&client, &server, "172.16.10.4"), connect(&client, &server, "172.16.10.6")];
        let mut lasting = [connect(&client, &server, "172.16.10.5"), connect(&client, &server, OWN)];
        only_these_end(&vip, &mut ending, &mut lasting);
    }

    fn a_half_closed_connection_is_reset() {
        let (node, client) = hosts();
        let vip = start(&node, both());
        let connection = connect(&client, &listen(&node, VIP), VIP);
        connection.server.shutdown(std::net::Shutdown::Write).unwrap();
        let mut end = [0];
        assert_eq!((&connection.client).read(&mut end).unwrap(), 0);
        assert_eq!(established(&node, VIP), 1);
        vip.stop();
        assert_eq!(established(&node, VIP), 0);
        let error = (&connection.client).write(b"!").and_then(|_| (&connection.client).write(b"!")).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    }

    fn what_connects_while_the_addresses_leave_does_not_stay() {
        let (node, client) = hosts();
        let vip = start(&node, both());
        let _storm = Storm::new(&node, &client);
        for _ in 0..30 {
            eventually("a client", || established(&node, VIP) > 0);
            vip.stop();
            assert_eq!(established(&node, VIP), 0);
            vip.start();
        }
    }

    fn thousands_are_reset_in_a_moment() {
        let (node, client) = hosts();
        let vip = start(&node, both());
        let crowd = Crowd::new(&node, &client);
        let ordered = vip.order(Order::Stop { within: None });
        let stopped = vip.expect(Report::Stopped).since(ordered);
        eventually("all are told", || crowd.left() == 0);
        println!("{CROWD} connections: stopped {stopped:?} after the order, all told after {:?}", clock::now().since(ordered));
        assert_eq!(established(&node, VIP), 0);
        assert!(stopped < Duration::from_secs(2), "{stopped:?}");
    }

    fn connections_do_not_keep_the_addresses_beyond_the_time_of_a_stop() {
        let (node, client) = hosts();
        let vip = start(&node, both());
        let crowd = Crowd::new(&node, &client);
        let within = Duration::from_millis(6);
        let ordered = vip.order(Order::Stop { within: Some(within) });
        let notice = vip.expect_text(Report::Notice);
        assert!(notice.contains("cannot be ended, they hang until they time out: not all of them within"), "{notice}");
        let stopped = vip.expect(Report::Stopped).since(ordered);
        println!("{} of {CROWD} connections left, stopped {stopped:?} after the order", crowd.left());
        assert!(!node.has("eth1", "172.16.9.61/24"));
        assert!(crowd.left() > 0);
    }

    fn thousands_leave_the_thread_to_others() {
        let (node, client) = hosts();
        let _vip = start(&node, both());
        let _crowd = Crowd::new(&node, &client);
        let vip_address: IpAddr = VIP.parse().unwrap();
        node.block_on(async {
            let mut longest = Duration::ZERO;
            let begun = clock::now();
            let mut turn = begun;
            let mut work = std::pin::pin!(destroy_connections(|local| local == vip_address));
            let destruction = loop {
                let done = tokio::select! {
                    biased;
                    () = tokio::task::yield_now() => None,
                    done = &mut work => Some(done.unwrap()),
                };
                longest = longest.max(clock::now().since(turn));
                turn = clock::now();
                if let Some(done) = done {
                    break done;
                }
            };
            let took = clock::now().since(begun);
            println!("{CROWD} destroyed in {took:?}, away for {longest:?} at most");
            assert_eq!((destruction.gone, destruction.refused), (CROWD, None));
            assert!(longest < took / 2, "{longest:?} of {took:?}");
        });
    }

    fn the_kernel_says_whether_it_can() {
        let (node, _client) = hosts();
        assert!(node.run(can_destroy_connections).unwrap());
    }
}
