//! The kernel holds the lease: what passes from and to VIPs, and until when.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use avamgr::clock;
use avamgr::guard::{Gate, Guard, Handle, Plan, Vips, support};
use avamgr::neighbours::{Form, Haste, Sender, probe};
use avamgr::netlink::Netlink;
use avamgr_core::cluster::GroupId;
use avamgr_core::time::Instant;

use crate::in_namespaces;
use crate::space::{Space, eventually, pair};
use crate::vip::{Ear, net};

const ONE: GroupId = GroupId(0);
const TWO: GroupId = GroupId(1);
/// VIPs of group one, then of group two, then addresses that are nobody's business.
const FIRST: [&str; 2] = ["172.16.9.61", "2001:db8:9::61"];
const SECOND: [&str; 2] = ["172.16.9.62", "2001:db8:9::62"];
const OWN: [&str; 2] = ["172.16.9.1", "2001:db8:9::1"];
const PEER: [&str; 2] = ["172.16.9.2", "2001:db8:9::2"];
const TABLE: &str = "avamgr_test";
const PORT: u16 = 9_000;
/// Long enough for an answer that comes.
const ANSWER: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(60);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn vips(addresses: &[&str], ranges: &[&str]) -> Vips {
    let addresses = addresses.iter().copied().map(ip).collect();
    Vips { name: "web".to_owned(), addresses, ranges: ranges.iter().copied().map(net).collect() }
}

fn plan(groups: impl IntoIterator<Item = Vips>) -> Plan {
    let groups = (0..).map(GroupId).zip(groups).collect();
    Plan { table: TABLE.to_owned(), interfaces: BTreeSet::from(["eth1".to_owned()]), groups }
}

/// A guarded host and its neighbour.
struct Stage {
    // Before the spaces: it ends first.
    guard: Option<Guard>,
    notices: mpsc::Receiver<String>,
    node: Space,
    peer: Space,
}

impl Stage {
    fn new(plan: &Plan) -> Self {
        let (node, peer) = pair();
        for (space, addresses) in [(&node, &[OWN, FIRST, SECOND][..]), (&peer, &[PEER])] {
            for address in addresses.iter().flatten() {
                let (prefix, nodad) = if ip(address).is_ipv4() { (24, "") } else { (64, "nodad") };
                space.ip(&format!("address add {address}/{prefix} dev eth1 {nodad}"));
            }
            eventually("link-local", || space.ip("-6 address show dev eth1 tentative").is_empty());
        }
        let (guard, notices) = guarded(&node, plan, &BTreeMap::new());
        Self { guard: Some(guard), notices, node, peer }
    }

    fn two_groups() -> Self {
        Self::new(&plan([vips(&FIRST, &[]), vips(&SECOND, &[])]))
    }

    fn handle(&self) -> Handle {
        self.guard.as_ref().unwrap().handle()
    }

    /// Opens and waits until it is; returns the end.
    fn open(&self, group: GroupId, time: Duration) -> Instant {
        let until = clock::now() + time;
        let handle = self.handle();
        handle.open(group, until);
        self.node
            .block_on(async { tokio::time::timeout(Duration::from_secs(20), handle.opened(group)).await })
            .unwrap();
        until
    }

    /// Whether the neighbour gets an answer from the node: to a neighbour's question, by UDP and by TCP.
    fn reaches(&self, address: &str) -> [bool; 3] {
        let echo = Echo::new(&self.node, address);
        let asked = self.peer.block_on(probe("eth1", &[ip(address)], ANSWER)).unwrap().is_some();
        self.peer.ip("neighbour flush dev eth1");
        let by_udp = self.peer.run(|| echoed(&client(address)));
        let tcp = self.peer.run(|| TcpStream::connect_timeout(&SocketAddr::new(ip(address), 9), ANSWER));
        drop(echo);
        [asked, by_udp, tcp.unwrap_err().kind() == ErrorKind::ConnectionRefused]
    }

    fn expect(&self, addresses: &[&str], open: bool) {
        for address in addresses {
            assert_eq!(self.reaches(address), [open; 3], "{address}");
        }
    }

    fn nft(&self, arguments: &str) -> (bool, String) {
        let run = || Command::new("nft").args(arguments.split_whitespace()).output();
        let output = self.node.run(run).expect("`nft` is needed");
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    }

    fn has_rules(&self) -> bool {
        let (_, listed) = self.nft(&format!("list table netdev {TABLE}"));
        listed.contains("drop")
    }

    fn notice(&self) -> String {
        self.notices.recv_timeout(Duration::from_secs(20)).expect("a notice")
    }
}

/// Those `held` pass already.
fn guarded(node: &Space, plan: &Plan, held: &BTreeMap<GroupId, Instant>) -> (Guard, mpsc::Receiver<String>) {
    let (noticed, notices) = mpsc::channel();
    let notice = move |text| drop(noticed.send(text));
    (node.run(|| Guard::start(plan, held, false, notice)).unwrap(), notices)
}

/// Answers UDP on one address with the time just before the answer is sent.
struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Echo {
    fn new(space: &Space, address: &str) -> Self {
        let address = SocketAddr::new(ip(address), PORT);
        let socket = space.run(|| UdpSocket::bind(address)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = space.spawn(move || {
            let mut datagram = [0; 8];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((_, from)) = socket.recv_from(&mut datagram) {
                    let answer = [datagram, clock::now().as_nanos().to_be_bytes()].concat();
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn client(address: &str) -> UdpSocket {
    let any: IpAddr = if ip(address).is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).unwrap();
    socket.connect(SocketAddr::new(ip(address), PORT)).unwrap();
    socket.set_read_timeout(Some(ANSWER)).unwrap();
    socket
}

/// Asks once, as often as a neighbour's lost question would be repeated.
fn echoed(socket: &UdpSocket) -> bool {
    let _ = socket.send(&[0; 8]);
    socket.recv(&mut [0; 16]).is_ok()
}

/// Asks every millisecond while `goes_on`; which questions were asked, and which answered, with the times of the answers.
fn stream(space: &Space, address: &str, mut goes_on: impl FnMut() -> bool + Send) -> (u64, BTreeMap<u64, Instant>) {
    let socket = space.run(|| client(address));
    socket.set_nonblocking(true).unwrap();
    let (mut asked, mut answers) = (0_u64, BTreeMap::new());
    let read = |answers: &mut BTreeMap<u64, Instant>| {
        let mut answer = [0; 16];
        while socket.recv(&mut answer).is_ok() {
            let [number, at] = [&answer[..8], &answer[8..]].map(|half| u64::from_be_bytes(half.try_into().unwrap()));
            answers.insert(number, Instant::from_nanos(at));
        }
    };
    while goes_on() {
        let _ = socket.send(&asked.to_be_bytes());
        asked += 1;
        std::thread::sleep(Duration::from_millis(1));
        read(&mut answers);
    }
    std::thread::sleep(ANSWER);
    read(&mut answers);
    (asked, answers)
}

in_namespaces! {
    fn this_kernel_can_hold_a_lease() {
        let node = Space::new();
        assert!(node.run(support).unwrap().egress);
        let tables = node.run(|| Command::new("nft").args(["list", "ruleset"]).output()).unwrap();
        assert_eq!(String::from_utf8(tables.stdout).unwrap(), "");
    }

    fn vips_pass_while_the_lease_runs_and_other_addresses_always() {
        let stage = Stage::two_groups();
        let handle = stage.handle();
        stage.expect(&FIRST, false);
        stage.expect(&SECOND, false);
        stage.expect(&OWN, true);
        assert_eq!(handle.gate(ONE), Gate::Closed);
        stage.open(ONE, LONG);
        stage.expect(&FIRST, true);
        stage.expect(&SECOND, false);
        stage.open(TWO, LONG);
        stage.expect(&SECOND, true);
        handle.close(ONE);
        assert_eq!(handle.gate(ONE), Gate::Closed);
        eventually("closed", || stage.reaches(FIRST[0]) == [false; 3]);
        stage.expect(&FIRST, false);
        stage.expect(&SECOND, true);
        stage.expect(&OWN, true);
        assert_eq!(stage.notices.try_iter().count(), 0);
    }

    fn the_next_program_takes_the_table_over_without_a_gap() {
        let plan = plan([vips(&FIRST, &[]), vips(&SECOND, &[])]);
        let mut stage = Stage::new(&plan);
        let until = stage.open(ONE, LONG);
        let mut guard = stage.guard.take();
        let echo = Echo::new(&stage.node, FIRST[0]);
        let (done, node) = (AtomicBool::new(false), &stage.node);
        let held = BTreeMap::from([(ONE, until)]);
        let (asked, answers) = std::thread::scope(|scope| {
            let questions = scope.spawn(|| stream(&stage.peer, FIRST[0], || !done.load(Ordering::Relaxed)));
            for _ in 0..20 {
                std::thread::sleep(Duration::from_millis(20));
                drop(guard.take());
                guard = Some(guarded(node, &plan, &held).0);
                assert_eq!(guard.as_ref().unwrap().handle().gate(ONE), Gate::Open);
            }
            done.store(true, Ordering::Relaxed);
            questions.join().unwrap()
        });
        assert_eq!(u64::try_from(answers.len()).unwrap(), asked, "every question is answered");
        drop(echo);
        stage.guard = guard;
        stage.expect(&SECOND, false);
        // Goes on as any other: it ends with its lease, and only the one who has it opens it again.
        let end = clock::now() + Duration::from_millis(200);
        stage.handle().hold(ONE, end);
        eventually("dark", || stage.handle().gate(ONE) == Gate::Lapsed);
        stage.expect(&FIRST, false);
    }

    fn what_comes_in_for_a_vip_is_not_even_seen() {
        let stage = Stage::two_groups();
        let mac = stage.node.mac("eth1");
        // Whether the node learns from a neighbour's question, and whether a packet arrives that needed none.
        let seen = |address: &str, peer: &str| {
            let socket = stage.node.run(|| UdpSocket::bind(SocketAddr::new(ip(address), PORT))).unwrap();
            socket.set_read_timeout(Some(ANSWER)).unwrap();
            let send = || stage.peer.run(|| client(address).send(&[0; 8])).unwrap();
            stage.peer.ip("neighbour flush dev eth1");
            stage.node.ip("neighbour flush dev eth1");
            send();
            let _ = socket.recv(&mut [0; 8]);
            let learnt = stage.node.neighbour(peer).is_some();
            stage.peer.ip(&format!("neighbour replace {address} lladdr {mac} dev eth1 nud permanent"));
            send();
            let arrived = socket.recv(&mut [0; 8]).is_ok();
            stage.peer.ip(&format!("neighbour delete {address} dev eth1"));
            [learnt, arrived]
        };
        for (vip, peer) in FIRST.into_iter().zip(PEER) {
            assert_eq!(seen(vip, peer), [false; 2], "{vip}");
        }
        stage.open(ONE, LONG);
        for (vip, peer) in FIRST.into_iter().zip(PEER) {
            assert_eq!(seen(vip, peer), [true; 2], "{vip}");
        }
    }

    fn the_last_answer_is_sent_before_the_lease_ends() {
        let stage = Stage::two_groups();
        for address in FIRST {
            let _echo = Echo::new(&stage.node, address);
            for _ in 0..5 {
                let until = stage.open(ONE, Duration::from_millis(300));
                let (asked, answers) = stream(&stage.peer, address, || clock::now() < until + ANSWER);
                let last = *answers.values().max().unwrap();
                println!("{address}: {} of {asked} answered, the last one {:?} before the end", answers.len(), until.since(last));
                assert!(last < until, "answered {:?} after the end of the lease", last.since(until));
                assert!(until.since(last) < Duration::from_millis(150));
                assert_eq!(stage.handle().gate(ONE), Gate::Lapsed);
            }
        }
        stage.expect(&FIRST, false);
        stage.expect(&OWN, true);
    }

    fn the_bound_holds_while_others_keep_the_kernel_busy() {
        let stage = Stage::two_groups();
        let file = tempfile::NamedTempFile::new().unwrap();
        let elements: Vec<_> = (0..100_000_u32).map(|n| Ipv4Addr::from_bits(0x0b00_0000 + n).to_string()).collect();
        let set = "add table inet big\ndelete table inet big\nadd table inet big\nadd set inet big s { type ipv4_addr; }\n";
        std::fs::write(file.path(), format!("{set}add element inet big s {{ {} }}\n", elements.join(","))).unwrap();
        let handle = stage.handle();
        let _echo = Echo::new(&stage.node, FIRST[0]);
        let (stop, node) = (AtomicBool::new(false), &stage.node);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let load = node.run(|| Command::new("nft").arg("-f").arg(file.path()).output()).unwrap();
                    assert!(load.status.success(), "{load:?}");
                }
            });
            for _ in 0..30 {
                let until = clock::now() + Duration::from_millis(150);
                // Ordered again and again: some of it is under way while the kernel does the work of others.
                let goes_on = || {
                    handle.open(ONE, until);
                    clock::now() < until + ANSWER
                };
                let (_, answers) = stream(&stage.peer, FIRST[0], goes_on);
                println!("{} answers while others are at work", answers.len());
                let late = answers.values().max().map_or(Duration::ZERO, |last| last.since(until));
                assert!(late.is_zero(), "answered {late:?} after the end of the lease");
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    fn a_renewal_after_the_end_opens_nothing() {
        let stage = Stage::two_groups();
        let handle = stage.handle();
        let until = stage.open(ONE, Duration::from_millis(100));
        while clock::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        for _ in 0..3 {
            handle.hold(ONE, clock::now() + LONG);
            stage.expect(&FIRST, false);
            assert_eq!(handle.gate(ONE), Gate::Lapsed);
        }
        let what = "web: the lease was not renewed in time, its VIPs are dark until it is opened again";
        assert_eq!(stage.notice(), what);
        assert_eq!(stage.notices.try_iter().count(), 0);
        stage.open(ONE, LONG);
        stage.expect(&FIRST, true);
    }

    fn a_lease_that_is_over_or_ends_earlier_than_before_is_not_prolonged() {
        let stage = Stage::two_groups();
        let handle = stage.handle();
        stage.open(ONE, LONG);
        handle.hold(ONE, clock::now());
        eventually("dark", || handle.gate(ONE) == Gate::Lapsed);
        eventually("dark", || stage.reaches(FIRST[0]) == [false; 3]);
        handle.open(TWO, clock::now());
        eventually("not opened", || handle.gate(TWO) == Gate::Lapsed);
        stage.expect(&SECOND, false);
    }

    fn renewals_let_everything_pass_and_cost_no_packet() {
        let stage = Stage::two_groups();
        let handle = stage.handle();
        for address in FIRST {
            let _echo = Echo::new(&stage.node, address);
            let lease = Duration::from_millis(1_000);
            stage.open(ONE, lease);
            assert!(stage.peer.run(|| echoed(&client(address))));
            let end = clock::now() + lease * 3;
            let (stop, stopped) = (Arc::new(AtomicBool::new(false)), handle.clone());
            let (asked, answers) = std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        stopped.hold(ONE, clock::now() + lease);
                        std::thread::sleep(Duration::from_millis(10));
                    }
                });
                let all = stream(&stage.peer, address, || clock::now() < end);
                stop.store(true, Ordering::Relaxed);
                all
            });
            assert_eq!(answers.len(), usize::try_from(asked).unwrap());
        }
    }

    fn claims_of_ours_leave_only_while_the_lease_runs() {
        let stage = Stage::two_groups();
        let ear = Ear::new(&stage.peer);
        let announce = || {
            stage.node.block_on(async {
                let interface = Netlink::open().unwrap().interface("eth1").await.unwrap().unwrap();
                for address in [FIRST, SECOND, OWN].concat() {
                    // What is dropped counts as refused by the queue: the sender would wait before the next one.
                    let mut sender = Sender::open(&interface).unwrap().unwrap();
                    let _ = sender.announce(&[ip(address)], Form::Request, Haste::Urgent).unwrap();
                }
            });
            let claims = ear.until_quiet(ANSWER).into_iter().map(|(_, claim)| claim.address);
            claims.collect::<BTreeSet<_>>()
        };
        let all = |addresses: &[[&str; 2]]| addresses.concat().into_iter().map(ip).collect::<BTreeSet<_>>();
        assert_eq!(announce(), all(&[OWN]));
        let until = stage.open(ONE, Duration::from_millis(1_500));
        assert_eq!(announce(), all(&[OWN, FIRST]));
        eventually("the end", || clock::now() >= until);
        assert_eq!(announce(), all(&[OWN]));
    }

    fn a_host_that_holds_nothing_asks_for_the_owner_and_learns_from_it() {
        let stage = Stage::two_groups();
        // The VIPs are at the peer.
        for address in FIRST {
            let prefix = if ip(address).is_ipv4() { "24" } else { "64" };
            stage.node.ip(&format!("address delete {address}/{prefix} dev eth1"));
            let nodad = if ip(address).is_ipv4() { "" } else { "nodad" };
            stage.peer.ip(&format!("address add {address}/{prefix} dev eth1 {nodad}"));
            let owner = stage.node.block_on(probe("eth1", &[ip(address)], ANSWER)).unwrap().unwrap();
            assert_eq!(owner.mac, stage.peer.mac("eth1"));
        }
        let _echo = Echo::new(&stage.peer, FIRST[0]);
        for form in [Form::Request, Form::Reply] {
            stage.node.mislead("eth1", &FIRST);
            stage.peer.block_on(async {
                let interface = Netlink::open().unwrap().interface("eth1").await.unwrap().unwrap();
                let mut sender = Sender::open(&interface).unwrap().unwrap();
                sender.announce(&FIRST.map(ip), form, Haste::Urgent).unwrap();
            });
            for address in FIRST {
                eventually("learnt", || stage.node.neighbour(address) == Some(stage.peer.mac("eth1")));
            }
        }
        assert!(stage.node.run(|| echoed(&client(FIRST[0]))));
    }

    fn thousands_of_addresses_and_a_range() {
        const COUNT: u32 = 4_000;
        let v4 = |place: u32| Ipv4Addr::from_bits(0x0a01_0001 + place);
        let v6 = |place: u32| Ipv6Addr::from_bits((0x2001_0db8 << 96) + (1 << 64) + u128::from(place));
        let addresses = (0..COUNT).flat_map(|place| [IpAddr::from(v4(place)), IpAddr::from(v6(place))]).collect();
        let ranges = ["10.1.16.0/20", "2001:db8:0:2::/64"];
        let plan = plan([
            Vips { name: "many".to_owned(), addresses, ranges: Vec::new() },
            vips(&[], &ranges),
        ]);
        let stage = Stage::new(&plan);
        for (space, own) in [(&stage.node, "1"), (&stage.peer, "2")] {
            space.ip(&format!("address add 10.1.255.{own}/16 dev eth1"));
        }
        stage.node.sysctl("net/ipv6/ip_nonlocal_bind", "1");
        for route in ["10.1.0.0/17", "2001:db8:0:1::/64", "2001:db8:0:2::/64"] {
            stage.node.ip(&format!("route add local {route} dev lo"));
        }
        for prefix in ["2001:db8:0:1::/64", "2001:db8:0:2::/64", "2001:db8:0:3::/64"] {
            stage.peer.ip(&format!("route add {prefix} via {} dev eth1", OWN[1]));
        }
        let reaches = |address: &str| {
            let _echo = Echo::new(&stage.node, address);
            // What was asked in vain is asked again only after a second.
            stage.peer.ip("neighbour flush dev eth1");
            stage.peer.run(|| echoed(&client(address)))
        };
        let last = COUNT - 1;
        let singles = [v4(0).to_string(), v4(last).to_string(), v6(0).to_string(), v6(last).to_string()];
        let in_ranges = ["10.1.16.0", "10.1.31.255", "2001:db8:0:2::", "2001:db8:0:2:ffff:ffff:ffff:ffff"];
        let outside = [v4(COUNT).to_string(), "10.1.32.0".to_owned(), v6(COUNT).to_string()];
        let check = |many: bool, range: bool| {
            assert!(outside.iter().all(|address| reaches(address)));
            for (addresses, open) in [(singles.each_ref().map(String::as_str), many), (in_ranges, range)] {
                for address in addresses {
                    assert_eq!(reaches(address), open, "{address}");
                    if ip(address).is_ipv4() {
                        let asked = stage.peer.block_on(probe("eth1", &[ip(address)], ANSWER)).unwrap();
                        assert_eq!(asked.is_some(), open, "{address}");
                    }
                }
            }
        };
        check(false, false);
        stage.open(ONE, LONG);
        check(true, false);
        stage.open(TWO, LONG);
        check(true, true);
        stage.handle().close(ONE);
        eventually("closed", || !reaches(&singles[0]));
        check(false, true);
    }

    fn a_table_that_somebody_removes_or_empties_is_installed_again() {
        let stage = Stage::two_groups();
        let handle = stage.handle();
        stage.open(ONE, LONG);
        for (round, harm) in ["flush ruleset", "flush table netdev avamgr_test", "delete table netdev avamgr_test"].iter().enumerate() {
            assert!(stage.nft(harm).0);
            if round > 0 {
                handle.hold(ONE, clock::now() + LONG);
            }
            eventually("the table", || stage.has_rules());
            let what = "the table of the guard was changed or removed by somebody else: it is installed again";
            assert_eq!(stage.notice(), what);
            stage.expect(&FIRST, true);
            stage.expect(&SECOND, false);
        }
        // Others may do to their own tables what they like.
        assert!(stage.nft("add table inet other").0);
        assert!(stage.nft("add chain inet other one").0);
        handle.hold(ONE, clock::now() + LONG);
        std::thread::sleep(Duration::from_millis(1_200));
        assert_eq!(stage.notices.try_iter().count(), 0);
        assert_eq!(handle.state(ONE).unwrap().error, None);
    }

    fn what_nft_prints_it_can_read() {
        let stage = Stage::new(&plan([vips(&FIRST, &["10.1.16.0/20", "2001:db8:0:2::/64"]), vips(&SECOND, &[])]));
        stage.open(TWO, LONG);
        let (_, listed) = stage.nft("list ruleset");
        assert!(listed.contains("elements = { 0x00000002 timeout"), "{listed}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &listed).unwrap();
        let (read, why) = stage.nft(&format!("-c -f {}", file.path().display()));
        assert!(read, "{why}\n{listed}");
    }

    fn an_interface_that_comes_back_is_guarded_again() {
        let stage = Stage::two_groups();
        stage.open(ONE, LONG);
        stage.node.ip("link delete eth1");
        stage.node.cable("eth1", &stage.peer, "eth1");
        for (space, addresses) in [(&stage.node, &[OWN, FIRST, SECOND][..]), (&stage.peer, &[PEER])] {
            for address in addresses.iter().flatten().filter(|address| ip(address).is_ipv4()) {
                space.ip(&format!("address add {address}/24 dev eth1"));
            }
        }
        eventually("guarded", || stage.reaches(SECOND[0]) == [false; 3]);
        stage.expect(&FIRST[..1], true);
        stage.expect(&OWN[..1], true);
        assert_eq!(stage.notices.try_iter().count(), 0);
    }

    fn the_table_goes_with_an_orderly_end_and_stays_without_one() {
        let mut stage = Stage::two_groups();
        stage.open(ONE, LONG);
        drop(stage.guard.take());
        assert!(stage.has_rules());
        stage.expect(&FIRST, true);
        // The next daemon begins with all groups closed.
        let (guard, _notices) = guarded(&stage.node, &plan([vips(&FIRST, &[]), vips(&SECOND, &[])]), &BTreeMap::new());
        stage.guard = Some(guard);
        stage.expect(&FIRST, false);
        stage.guard.take().unwrap().end().unwrap();
        assert_eq!(stage.nft("list ruleset"), (true, String::new()));
        stage.expect(&FIRST, true);
    }

    #[ignore = "prints figures; takes long"]
    fn what_renewals_cost() {
        let addresses = (0..4_000).map(|place| Ipv4Addr::from_bits(0x0a01_0000 + place).into()).collect();
        let plan = plan([Vips { name: "many".to_owned(), addresses, ranges: Vec::new() }]);
        let before = clock::now();
        let stage = Stage::new(&plan);
        println!("stage with 4,000 addresses after {:?}", clock::now().since(before));
        stage.open(ONE, LONG);
        let handle = stage.handle();
        for pause in [100, 10].map(Duration::from_millis) {
            let (begin, used) = (clock::now(), processor());
            let mut took = Vec::new();
            for _ in 0..Duration::from_secs(5).as_millis() / pause.as_millis() {
                let asked = clock::now();
                let until = asked + LONG;
                handle.hold(ONE, until);
                while handle.state(ONE).unwrap().until != Some(until) {
                    std::thread::yield_now();
                }
                took.push(clock::now().since(asked));
                std::thread::sleep(pause);
            }
            let share = (processor() - used).as_secs_f64() / clock::now().since(begin).as_secs_f64();
            took.sort();
            let at = |part: usize| took[(took.len() - 1) * part / 100];
            println!("every {pause:?}: median {:?}, p99 {:?}, most {:?}, {:.3} % of one CPU", at(50), at(99), at(100), share * 100.0);
        }
    }
}

/// What the threads of guards in this process have used.
fn processor() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let guards =
        tasks.filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "guard"));
    let nanos = guards.map(|task| std::fs::read_to_string(task.path().join("schedstat")).unwrap());
    Duration::from_nanos(nanos.map(|text| text.split_whitespace().next().unwrap().parse::<u64>().unwrap()).sum())
}
