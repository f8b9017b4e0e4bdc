//! etcd on ports of the loopback interface that nobody else has.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a member may need until it answers; the elections of three take a second or two.
const PATIENCE: Duration = Duration::from_secs(30);

/// One member.
pub(crate) struct Server {
    child: Option<Child>,
    arguments: Vec<String>,
    port: u16,
}

/// Members that know each other.
pub(crate) struct Cluster {
    directory: tempfile::TempDir,
    pub(crate) servers: Vec<Server>,
    scheme: &'static str,
}

impl Cluster {
    /// Members without TLS, when all of them answer.
    pub(crate) fn start(members: usize) -> Self {
        Self::run(tempfile::tempdir().unwrap(), members, "http", &[])
    }

    /// One member that shows its certificate and wants to see one; both are in the directory, and an authority that has signed
    /// neither.
    pub(crate) fn start_secure() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().display();
        authority(&directory, "ca");
        authority(&directory, "stranger");
        let request =
            format!("req -newkey rsa:2048 -nodes -keyout {base}/member.key -out {base}/member.csr -subj /CN=member");
        openssl(&request);
        std::fs::write(directory.path().join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
        openssl(&format!(
            "x509 -req -in {base}/member.csr -CA {base}/ca.pem -CAkey {base}/ca.key -CAcreateserial -days 2 -out \
             {base}/member.pem -extfile {base}/names"
        ));
        let tls = [
            format!("--cert-file={base}/member.pem"),
            format!("--key-file={base}/member.key"),
            format!("--trusted-ca-file={base}/ca.pem"),
            "--client-cert-auth".to_owned(),
        ];
        Self::run(directory, 1, "https", &tls)
    }

    fn run(directory: tempfile::TempDir, members: usize, scheme: &'static str, more: &[String]) -> Self {
        let ports: Vec<(u16, u16)> = (0..members).map(|_| (Server::free_port(), Server::free_port())).collect();
        let peers = ports.iter().enumerate().map(|(at, (_, peer))| format!("m{at}=http://127.0.0.1:{peer}"));
        let peers = peers.collect::<Vec<_>>().join(",");
        let server = |(at, (port, peer)): (usize, &(u16, u16))| {
            let (url, peer) = (format!("{scheme}://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
            let mut arguments = vec![
                format!("--name=m{at}"),
                format!("--data-dir={}/m{at}", directory.path().display()),
                format!("--listen-client-urls={url}"),
                format!("--advertise-client-urls={url}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster={peers}"),
            ];
            arguments.extend_from_slice(more);
            Server { child: None, arguments, port: *port }
        };
        let mut servers: Vec<Server> = ports.iter().enumerate().map(server).collect();
        servers.iter_mut().for_each(Server::spawn);
        servers.iter().filter(|_| scheme == "http").for_each(Server::wait);
        servers.iter().filter(|_| scheme == "https").for_each(Server::wait_for_port);
        Self { directory, servers, scheme }
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.servers.iter().map(|server| format!("{}://127.0.0.1:{}", self.scheme, server.port)).collect()
    }

    pub(crate) fn directory(&self) -> PathDisplay {
        PathDisplay(self.directory.path().to_owned())
    }
}

/// A path in a text.
pub(crate) struct PathDisplay(PathBuf);

impl std::fmt::Display for PathDisplay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.display())
    }
}

impl Server {
    /// One that no other test of this process gets, and that the kernel gives to nobody who asks for any.
    fn free_port() -> u16 {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let first = u16::try_from(std::process::id() % 1_000).unwrap() * 20;
        let ports = || 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        std::iter::repeat_with(ports).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
    }

    fn spawn(&mut self) {
        let mut command = Command::new("etcd");
        let child = command.args(&self.arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = Some(child.expect("etcd is installed (Debian: etcd-server)"));
    }

    /// Starts it again.
    pub(crate) fn run(&mut self) {
        self.spawn();
        self.wait();
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// When it returns no thread of it runs any more.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.child.as_ref().unwrap().id());
        let stopped = |task: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('T'))
        };
        self.until(|| std::fs::read_dir(&tasks).unwrap().flatten().all(stopped));
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.as_ref().unwrap().id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    pub(crate) fn delete(&self, key: &str) {
        let body = format!(r#"{{"key":"{}"}}"#, base64(key));
        assert!(self.post("/v3/kv/deleterange", &body).unwrap().contains("\"deleted\":\"1\""));
    }

    pub(crate) fn put(&self, key: &str, value: &str) {
        let body = format!(r#"{{"key":"{}","value":"{}"}}"#, base64(key), base64(value));
        self.post("/v3/kv/put", &body).unwrap();
    }

    fn wait(&self) {
        // A read that a majority has to agree to.
        let read = r#"{"key":"YQ=="}"#;
        self.until(|| self.post("/v3/kv/range", read).is_some_and(|answer| answer.contains("200 OK")));
    }

    fn wait_for_port(&self) {
        self.until(|| TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    fn until(&self, done: impl Fn() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < PATIENCE, "waited in vain for etcd on port {}", self.port);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn post(&self, path: &str, body: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn authority(directory: &tempfile::TempDir, name: &str) {
    let base = directory.path().join(name);
    let base = base.display();
    openssl(&format!("req -x509 -newkey rsa:2048 -nodes -keyout {base}.key -out {base}.pem -days 2 -subj /CN={name}"));
}

fn openssl(arguments: &str) {
    let output = Command::new("openssl").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
