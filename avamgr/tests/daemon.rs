//! The real daemon on a node of its own: what accounts without rights can do to it, and two of them at once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[path = "netlink/space.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod space;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use avamgr::clock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use space::{Space, eventually, pair, with_namespaces};
use tempfile::TempDir;

/// Addresses of the group: enough for a config that takes a while to write.
const ADDRESSES: usize = 400;

/// A node with its addresses on `eth1`, and a cable to somebody who is silent.
struct Node {
    directory: TempDir,
    here: Space,
    _there: Space,
    daemon: Child,
}

impl Node {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (here, there) = pair();
        let addresses: Vec<String> =
            (0..ADDRESSES).map(|number| format!("\"10.9.{}.{}/16\"", number / 200, number % 200 + 1)).collect();
        let text = format!(
            "[cluster]\nname = \"c\"\nnodes = [\"hadev1\"]\nstandalone = true\nfailover_budget = \"200ms\"\n\
             [timers]\nguard_lifetime = \"2s\"\n\
             [daemon]\nsocket = \"{place}/sock\"\nstate_dir = \"{place}/state\"\n\
             [[group]]\nname = \"dre\"\n[[group.resource]]\nname = \"traffic\"\nvip = [{}]\ninterface = \"eth1\"\n",
            addresses.join(", "),
            place = directory.path().display(),
        );
        fs::write(directory.path().join("avamgr.toml"), text).unwrap();
        let daemon = here.run(|| daemon(directory.path()).spawn()).unwrap();
        let node = Self { directory, here, _there: there, daemon };
        eventually("all addresses to be here", || node.addresses() == ADDRESSES);
        node
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("sock")
    }

    fn log(&self) -> Vec<u8> {
        fs::read(self.directory.path().join("log")).unwrap()
    }

    fn addresses(&self) -> usize {
        self.here.ip("-o -4 address show dev eth1").matches("inet 10.9.").count()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        if thread::panicking() {
            let log = self.log();
            println!("{}", String::from_utf8_lossy(&log[..log.len().min(5_000)]));
        }
    }
}

/// The daemon of a directory, with its pid file there.
fn daemon(directory: &Path) -> Command {
    let log = fs::OpenOptions::new().create(true).append(true).open(directory.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_avamgrd"));
    command.arg("--config").arg(directory.join("avamgr.toml")).arg("--pid-file").arg(directory.join("pid"));
    command.args(["--node", "hadev1", "--log-target", "stderr"]).stderr(log).stdout(Stdio::null());
    command
}

/// Runs on a thread that belongs to nobody, where root can be nobody.
fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let become_nobody = || {
        #[expect(unsafe_code, reason = "the library's own calls would change every thread of the tests")]
        // SAFETY: plain numbers; these calls concern this thread alone.
        let became = unsafe {
            libc::syscall(libc::SYS_setresgid, 65_534, 65_534, 65_534) == 0
                && libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) == 0
        };
        assert!(became, "only root can be an account without rights: run this test as root");
        work()
    };
    thread::scope(|scope| scope.spawn(become_nobody).join().unwrap())
}

/// Many connections of nobody ask the same thing over and over, and read whatever comes, for as long as told.
fn bother(socket: &Path, connections: usize, line: &str, time: Duration) {
    let (end, lines) = (clock::now() + time, line.repeat(100));
    let mut streams: Vec<UnixStream> = (0..connections).map(|_| UnixStream::connect(socket).unwrap()).collect();
    streams.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    let mut piece = vec![0; 1 << 16];
    while clock::now() < end {
        for stream in &mut streams {
            // Full, empty or turned away: the next one.
            let _ = stream.write(lines.as_bytes());
            let _ = stream.read(&mut piece);
        }
    }
}

#[test]
fn no_crowd_keeps_the_addresses_from_being_refreshed() {
    with_namespaces("no_crowd_keeps_the_addresses_from_being_refreshed", || {
        let node = Node::start();
        let time = Duration::from_secs(6);
        thread::scope(|scope| {
            let socket = node.socket();
            let crowd = scope.spawn(move || {
                as_nobody(|| bother(&socket, 300, "{\"request\":\"config\"}\n", time));
            });
            while !crowd.is_finished() {
                assert_eq!(node.addresses(), ADDRESSES);
                thread::sleep(Duration::from_millis(50));
            }
        });
        let log = String::from_utf8_lossy(&node.log()).into_owned();
        assert!(!log.contains("stood still"), "{log}");
    });
}

#[test]
fn refusals_neither_flood_the_log_nor_speak_in_it() {
    with_namespaces("refusals_neither_flood_the_log_nor_speak_in_it", || {
        let node = Node::start();
        let before = node.log().len();
        let name = format!("\\u001b[2J{}", "x".repeat(10_000));
        let line =
            format!("{{\"request\":\"command\",\"command\":\"resource\",\"resource\":\"{name}\",\"verb\":\"stop\"}}\n");
        as_nobody(|| bother(&node.socket(), 100, &line, Duration::from_secs(3)));
        let log = node.log();
        let (text, grown) = (String::from_utf8_lossy(&log), log.len() - before);
        assert!(text.contains("not permitted: resource stop"), "{text}");
        assert!(grown < 10_000 && !log.contains(&0x1b) && !text.contains("xxxx"), "{grown} bytes");
    });
}

#[test]
fn a_second_daemon_leaves_the_first_ones_pid_file_alone() {
    with_namespaces("a_second_daemon_leaves_the_first_ones_pid_file_alone", || {
        let mut node = Node::start();
        let path = node.directory.path().join("pid");
        let number = format!("{}\n", node.daemon.id());
        eventually("the pid file", || fs::read_to_string(&path).is_ok_and(|text| text == number));
        let second = node.here.run(|| daemon(node.directory.path()).status()).unwrap();
        assert!(!second.success());
        assert_eq!(fs::read_to_string(&path).unwrap(), number);
        assert!(String::from_utf8_lossy(&node.log()).contains("another daemon is running"));
        kill(Pid::from_raw(node.daemon.id().cast_signed()), Signal::SIGTERM).unwrap();
        assert!(node.daemon.wait().unwrap().success());
        assert!(!path.exists() && !node.socket().exists());
    });
}

/// A daemon that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_service_manager_hears_that_it_is_ready_that_it_lives_and_that_it_stops() {
    const ALLOWED: Duration = Duration::from_millis(1_500);
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().display();
    let text = format!(
        "[cluster]\nname = \"c\"\nnodes = [\"hadev1\"]\nstandalone = true\n\
         [daemon]\nsocket = \"{place}/sock\"\nstate_dir = \"{place}/state\"\n\
         [[group]]\nname = \"dre\"\n[[group.resource]]\nname = \"dre\"\nexec = \"sleep 1000\"\n",
    );
    fs::write(directory.path().join("avamgr.toml"), text).unwrap();
    let manager = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut command = daemon(directory.path());
    command.env("NOTIFY_SOCKET", directory.path().join("notify")).env("WATCHDOG_USEC", ALLOWED.as_micros().to_string());
    let mut child = Running(command.spawn().unwrap());
    let wait_for = |word: &str| {
        let mut message = [0; 4096];
        loop {
            let length = manager.recv(&mut message).unwrap_or_else(|error| panic!("{word} never came: {error}"));
            if String::from_utf8_lossy(&message[..length]).lines().any(|line| line == word) {
                return;
            }
        }
    };
    wait_for("READY=1");
    for _ in 0..5 {
        let before = clock::now();
        wait_for("WATCHDOG=1");
        assert!(clock::now().since(before) < ALLOWED, "the manager would have killed it");
    }
    kill(Pid::from_raw(child.0.id().cast_signed()), Signal::SIGTERM).unwrap();
    wait_for("STOPPING=1");
    assert!(child.0.wait().unwrap().success());
}

#[test]
fn a_hook_hears_of_every_change_of_role_to_the_very_last() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().display();
    let script = "sleep 0.1; echo $AVAMGR_FROM $AVAMGR_ROLE $AVAMGR_POSITION $AVAMGR_NODE >> $0";
    let text = format!(
        "[cluster]\nname = \"c\"\nnodes = [\"hadev1\"]\nstandalone = true\nfailover_budget = \"200ms\"\n\
         [daemon]\nsocket = \"{place}/sock\"\nstate_dir = \"{place}/state\"\n\
         [[group]]\nname = \"dre\"\non_role_change = [\"sh\", \"-c\", \"{script}\", \"{place}/roles\"]\n\
         [[group.resource]]\nname = \"dre\"\nexec = \"sleep 1000\"\n",
    );
    fs::write(directory.path().join("avamgr.toml"), text).unwrap();
    let mut child = Running(daemon(directory.path()).spawn().unwrap());
    let roles = || fs::read_to_string(directory.path().join("roles")).unwrap_or_default();
    eventually("the group to be active", || roles().contains("active 1"));
    kill(Pid::from_raw(child.0.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert!(child.0.wait().unwrap().success());
    let expected = [
        "deactivating standby 2 hadev1",
        "standby activating 2 hadev1",
        "activating active 1 hadev1",
        "active deactivating 0 hadev1",
        "deactivating standby 0 hadev1",
    ];
    assert_eq!(roles().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_watchdog_that_is_none_keeps_the_daemon_from_starting() {
    with_namespaces("a_watchdog_that_is_none_keeps_the_daemon_from_starting", || {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let text = format!(
            "[cluster]\nname = \"c\"\nnodes = [\"hadev1\"]\nstandalone = true\n[watchdog]\ndevice = \"/dev/null\"\n\
             timeout = \"1s\"\n[daemon]\nsocket = \"{0}/sock\"\nstate_dir = \"{0}/state\"\n[[group]]\nname = \"dre\"\n\
             [[group.resource]]\nname = \"svc\"\nexec = \"sleep 1000\"\n",
            place.display()
        );
        fs::write(place.join("avamgr.toml"), text).unwrap();
        let (here, _there) = pair();
        let mut running = Running(here.run(|| daemon(place).spawn()).unwrap());
        eventually("its end", || running.0.try_wait().unwrap().is_some_and(|status| !status.success()));
        let log = fs::read_to_string(place.join("log")).unwrap();
        assert!(log.contains("watchdog /dev/null: is not a watchdog: correct `device` of [watchdog]"), "{log}");
    });
}
