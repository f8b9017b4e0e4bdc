//! Sockets that are passed on, as systemd does it: what is served, and what is refused.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

const PROGRAM: &str = env!("CARGO_BIN_EXE_avamgr-webui");
/// The account nobody.
const NOBODY: u32 = 65534;

/// The program with these sockets as its descriptors 3 and 4, once the shell has said whose they are.
fn passing(sockets: [OwnedFd; 2], count: usize, program: &Path, arguments: &[&str]) -> Command {
    let [first, second] = sockets;
    let script = "exec 3<&0 4<&1 </dev/null >/dev/null; export LISTEN_FDS=$1 LISTEN_PID=$$; shift; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", &count.to_string()]).arg(program).args(arguments);
    command.args(["--socket", "/nowhere", "--log-target", "stderr"]).stdin(first).stdout(second).stderr(Stdio::piped());
    command
}

fn listener(address: &str) -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    (listener.into(), address)
}

/// Ended with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn health(address: SocketAddr) -> String {
    // The kernel has taken the connection before the program is there.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn every_socket_that_is_passed_on_is_served() {
    let ((first, one), (second, other)) = (listener("127.0.0.1:0"), listener("[::1]:0"));
    let _running = Running(passing([first, second], 2, Path::new(PROGRAM), &[]).spawn().unwrap());
    for address in [one, other] {
        let said = health(address);
        assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("alive\n"), "{address}: {said}");
    }
}

#[test]
fn an_account_without_privileges_serves_a_port_that_only_root_may_open() {
    assert!(nix::unistd::Uid::effective().is_root(), "run this test as root: nobody else may open such a port");
    let port = (600..1024).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).unwrap();
    let address = port.local_addr().unwrap();
    // The path to the built one may be closed to others.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("avamgr-webui");
    fs::copy(PROGRAM, &program).unwrap();
    let unused = listener("127.0.0.1:0").0;
    let mut command = passing([port.into(), unused], 1, &program, &[]);
    let _running = Running(command.uid(NOBODY).gid(NOBODY).current_dir("/").spawn().unwrap());
    assert!(health(address).starts_with("HTTP/1.1 200"));
}

#[test]
fn what_cannot_be_served_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let unix = UnixListener::bind(directory.path().join("sock")).unwrap();
    let silent = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    silent.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let file = fs::File::create(directory.path().join("file")).unwrap();
    let loopback = || listener("127.0.0.1:0").0;
    let cases: [(OwnedFd, &[&str], &str); 8] = [
        (unix.into(), &[], "a TCP socket is needed"),
        (UdpSocket::bind("127.0.0.1:0").unwrap().into(), &[], "a TCP socket is needed"),
        (silent.into(), &[], "does not listen"),
        (file.into(), &[], "it is no socket"),
        (listener("0.0.0.0:0").0, &[], "without --users it must be a loopback address"),
        (listener("[::]:0").0, &[], "without --users it must be a loopback address"),
        (loopback(), &["--listen", "127.0.0.1:0"], "they say where to listen"),
        (loopback(), &["--user", "root"], "nobody needs privileges"),
    ];
    for (socket, arguments, words) in cases {
        let output = passing([socket, loopback()], 1, Path::new(PROGRAM), arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{words}: {output:?}");
    }
    let (wrong, second) = (UdpSocket::bind("127.0.0.1:0").unwrap().into(), loopback());
    let output = passing([second, wrong], 2, Path::new(PROGRAM), &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("descriptor 4") && said.contains("a TCP socket is needed"), "each one is looked at: {said}");
}

#[test]
fn sockets_for_somebody_else_are_not_taken() {
    let mut command = Command::new(PROGRAM);
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1").args(["--listen", "0.0.0.0:0"]);
    let said = String::from_utf8_lossy(&command.output().unwrap().stderr).into_owned();
    assert!(said.contains("--listen 0.0.0.0:0: without --users"), "{said}");
}
