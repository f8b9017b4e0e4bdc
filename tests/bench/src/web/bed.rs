//! A pair with its pages.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use avamgr_lab::{ARBITRATOR, Host, Lab, Plan, wait_until};

/// Where the page of a node is, on the node.
pub(crate) const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);
/// Longer than anything that works takes.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// The node that is looked at.
pub(crate) const NODE: &str = "hadev1";

/// Two nodes, and the programs on them.
#[derive(Debug)]
pub(crate) struct Bed {
    lab: Lab,
    cli: PathBuf,
}

impl Bed {
    /// Both nodes are up, and their pages know it.
    pub(crate) fn make(bin_dir: &Path) -> Result<Self> {
        let (daemon, cli) = (bin_dir.join("avamgrd"), bin_dir.join("avamgr"));
        for program in [&daemon, &cli, &bin_dir.join("avamgr-webui")] {
            ensure!(program.is_file(), "{} is missing (cargo build --release, or --bin-dir)", program.display());
        }
        let bed = Self { lab: Lab::start(Plan::pair().with_syslog())?, cli };
        for node in bed.lab.nodes() {
            node.write("/etc/avamgr/avamgr.toml", config())?;
            node.write("/etc/avamgr/keys", format!("1 {} send\n", "0123456789abcdef".repeat(4)))?;
            fs::set_permissions(node.path("/etc/avamgr/keys"), fs::Permissions::from_mode(0o600))?;
            node.command(&daemon).spawn()?;
        }
        let host = bed.node()?;
        wait_until(SOON, "the page to know", || get(&host, "/readyz").is_ok_and(|(code, _)| code == 200))?;
        Ok(bed)
    }

    pub(crate) fn node(&self) -> Result<Host> {
        Ok(self.lab.host(NODE)?)
    }

    /// Something happens.
    pub(crate) fn happen(&self, number: usize) -> Result<()> {
        let verb = if number.is_multiple_of(2) { "on" } else { "off" };
        let output = self.node()?.command(&self.cli).args(["maintenance", verb]).output()?;
        ensure!(output.status.success(), "avamgr maintenance: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// The process of the page.
    pub(crate) fn window(&self) -> Result<i32> {
        let is_one = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with("avamgr-webui\0"))
        };
        self.node()?.pids()?.into_iter().find(is_one).context("avamgr-webui does not run")
    }
}

/// A connection to the page of a node.
pub(crate) fn connect(host: &Host) -> Result<TcpStream> {
    let stream = host.in_netns(|| TcpStream::connect(SocketAddr::from(ADDRESS)))?;
    stream.set_read_timeout(Some(SOON))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Status code and body.
pub(crate) fn get(host: &Host, path: &str) -> Result<(u16, Vec<u8>)> {
    let mut stream = connect(host)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    read_answer(&mut BufReader::new(stream))
}

/// The next answer on a connection that stays.
pub(crate) fn read_answer(reader: &mut BufReader<TcpStream>) -> Result<(u16, Vec<u8>)> {
    let (mut code, mut length) = (0, 0);
    for number in 0.. {
        let mut line = String::new();
        ensure!(reader.read_line(&mut line)? > 0, "the connection was closed");
        if number == 0 {
            code = line.split(' ').nth(1).context("no status code")?.parse()?;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((code, body))
}

fn config() -> String {
    format!(
        r#"[cluster]
name = "bench"
nodes = ["hadev1", "hadev2"]

[[link]]
name = "primary"
interface = "eth3"
address = {{ hadev1 = "172.16.11.54", hadev2 = "172.16.11.55" }}

[[link]]
name = "secondary"
interface = "eth4"
address = {{ hadev1 = "172.16.13.54", hadev2 = "172.16.13.55" }}

[arbitrator]
ping = ["{ARBITRATOR}"]
interface = "eth0"
address = {{ hadev1 = "172.16.8.50", hadev2 = "172.16.8.51" }}

[[group]]
name = "bench"

[[group.resource]]
name = "address"
vip = ["172.16.9.61/24"]
interface = "eth1"

[web]
"#
    )
}
