//! Network namespaces with cables between them, on threads of the test.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

use avamgr::clock;
use nix::sched::{CloneFlags, setns, unshare};

/// Set when the test runs as the root of a user namespace of its own.
const INSIDE: &str = "AVAMGR_TEST_IN_USER_NAMESPACE";

/// Runs a test with the rights it needs: as root right here, otherwise once more in a user namespace. Never skips.
pub(crate) fn with_namespaces(name: &str, test: fn()) {
    if nix::unistd::geteuid().is_root() {
        return test();
    }
    assert!(std::env::var_os(INSIDE).is_none(), "still not root in a user namespace of our own");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net"]).arg(std::env::current_exe().unwrap());
    let status = command.args([name, "--exact", "--nocapture"]).env(INSIDE, "1").status();
    let status = status.expect("`unshare` of util-linux is needed to run this test without root");
    assert!(
        status.success(),
        "{name} failed in a user namespace ({status}). If these are not permitted here, allow them \
         (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0) or run as root"
    );
}

/// One network namespace: a host.
pub(crate) struct Space {
    namespace: File,
}

impl Space {
    pub(crate) fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of our own needs CAP_SYS_ADMIN");
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        let namespace = std::thread::spawn(make).join().unwrap();
        let space = Self { namespace };
        space.ip("link set lo up");
        space
    }

    /// Runs on a thread in the namespace.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let enter = || {
                setns(&self.namespace, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            };
            scope.spawn(enter).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a future in the namespace.
    pub(crate) fn block_on<T: Send>(&self, future: impl Future<Output = T> + Send) -> T {
        self.run(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future))
    }

    /// Runs on a thread of its own in the namespace.
    pub(crate) fn spawn(&self, work: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
        let namespace = self.namespace.try_clone().unwrap();
        std::thread::spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work();
        })
    }

    /// `ip …`, the independent witness of what the kernel has.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let (ok, text) = self.try_ip(arguments);
        assert!(ok, "ip {arguments}: {text}");
        text
    }

    pub(crate) fn try_ip(&self, arguments: &str) -> (bool, String) {
        let output =
            self.run(|| Command::new("ip").args(arguments.split_whitespace()).output()).expect("`ip` is needed");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    pub(crate) fn sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{key}");
        self.run(|| std::fs::write(&path, value)).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// A cable from one interface here to one there; both are up.
    pub(crate) fn cable(&self, name: &str, other: &Self, other_name: &str) {
        let there = format!("/proc/{}/fd/{}", std::process::id(), other.namespace.as_raw_fd());
        self.ip(&format!("link add {name} type veth peer name {other_name} netns {there}"));
        self.ip(&format!("link set {name} up"));
        other.ip(&format!("link set {other_name} up"));
        eventually("carrier", || self.ip(&format!("link show {name}")).contains("LOWER_UP"));
    }

    pub(crate) fn mac(&self, interface: &str) -> String {
        let text = self.ip(&format!("-o link show {interface}"));
        text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap().to_owned()
    }

    /// Whether an address is on an interface.
    pub(crate) fn has(&self, interface: &str, address: &str) -> bool {
        self.ip(&format!("-o address show dev {interface}")).contains(&format!(" {address} "))
    }

    /// What a neighbour table says about an address.
    pub(crate) fn neighbour(&self, address: &str) -> Option<String> {
        let text = self.ip(&format!("neighbour show {address}"));
        text.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).map(str::to_owned)
    }

    /// Puts a stale entry with a MAC address of nobody into the neighbour table.
    pub(crate) fn mislead(&self, interface: &str, addresses: &[&str]) {
        for address in addresses {
            self.ip(&format!("neighbour replace {address} lladdr {NOBODY} dev {interface} nud stale"));
        }
    }
}

pub(crate) const NOBODY: &str = "02:00:00:00:00:99";

/// Two hosts and a cable from `eth1` to `eth1`.
pub(crate) fn pair() -> (Space, Space) {
    let (node, peer) = (Space::new(), Space::new());
    node.cable("eth1", &peer, "eth1");
    (node, peer)
}

/// Waits for something, and fails in the end.
pub(crate) fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    const BOUND: Duration = Duration::from_secs(20);
    let start = clock::now();
    while !is() {
        assert!(clock::now().since(start) < BOUND, "not within {BOUND:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
