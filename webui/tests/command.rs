//! The program: what it refuses, and whom it becomes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

fn refused(arguments: &[&str], words: &str) {
    // One that is not refused would serve for ever.
    let bounded = ["20", env!("CARGO_BIN_EXE_avamgr-webui")];
    let output = Command::new("timeout").args(bounded).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(words), "{output:?}");
}

#[test]
fn it_listens_for_this_machine_only() {
    refused(&["--listen", "0.0.0.0:0"], "it must be a loopback address");
    refused(&["--listen", "[::]:0"], "it must be a loopback address");
}

#[test]
fn it_never_runs_with_privileges() {
    assert!(nix::unistd::Uid::effective().is_root(), "run this test as root: nobody else has privileges to give up");
    refused(&["--listen", "127.0.0.1:0", "--user", "root"], "nobody needs privileges");
    refused(&["--listen", "127.0.0.1:0", "--user", "no-such-user"], "no-such-user is unknown");
}

/// The program with these options, as `nobody`, until it answers; ended with its test.
struct Running(std::process::Child, std::net::SocketAddr);

impl Running {
    fn start(more: &[&str]) -> Self {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_avamgr-webui"));
        command.args(["--listen", &address.to_string(), "--socket", "/nowhere", "--log-target", "stderr"]).args(more);
        let child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        let mut running = Self(child, address);
        let end = avamgr::clock::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            let ended = running.0.try_wait().unwrap();
            assert!(ended.is_none() && avamgr::clock::now() < end, "it does not listen: {ended:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What it answers to somebody who trusts this certificate and nobody else.
fn ask_over_tls(address: std::net::SocketAddr, pem: &[u8], path: &str) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(client, TcpStream::connect(address).unwrap());
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut said = String::new();
    // It hangs up without a farewell, as HTTP does.
    let _ = stream.read_to_string(&mut said);
    said
}

#[test]
fn it_makes_a_certificate_that_only_root_may_read_and_goes_on_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("web.pem");
    let option = ["--certificate", file.to_str().unwrap()];
    let first = {
        let running = Running::start(&option);
        let about = std::fs::metadata(&file).unwrap();
        assert_eq!((about.mode() & 0o7777, about.uid()), (0o600, 0));
        let pem = std::fs::read(&file).unwrap();
        let answer = ask_over_tls(running.1, &pem, "/healthz");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("alive\n"), "{answer}");
        let mut plain = TcpStream::connect(running.1).unwrap();
        plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut said = Vec::new();
        let _ = plain.read_to_end(&mut said);
        assert!(!said.starts_with(b"HTTP"), "nothing is told in the clear");
        pem
    };
    let _again = Running::start(&option);
    assert_eq!(std::fs::read(&file).unwrap(), first, "browsers know it by now");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&["--listen", "127.0.0.1:0", "--certificate", file.to_str().unwrap()], "mode 0644 lets others at it");
    std::fs::write(&file, "nothing").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    refused(&["--listen", "127.0.0.1:0", "--certificate", file.to_str().unwrap()], "there is none in it");
}

#[test]
fn the_manual_page_and_the_completion_come_from_the_program_itself() {
    let directory = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| Command::new(env!("CARGO_BIN_EXE_avamgr-webui")).args(words).output().unwrap();
    let made = run(&["man", directory.path().to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    let page = std::fs::read_to_string(directory.path().join("avamgr-webui.1")).unwrap();
    for option in ["listen", "users", "idle\\-time", "certificate"] {
        assert!(page.contains(option), "{option} is not on the page\n{page}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let made = run(&["completion", shell]);
        let script = String::from_utf8_lossy(&made.stdout).into_owned();
        assert!(made.status.success() && script.contains("avamgr-webui") && script.contains("certificate"), "{made:?}");
    }
    assert!(!run(&["man", "/dev/null/x"]).status.success());
}
