//! Ours, with the pair's standard config and one timer set by hand: the heartbeat interval.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use avamgr_lab::{ARBITRATOR, Cidr, Host, Lab};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::keys;
use crate::measure::Scenario;
use crate::peer::{Peer, Vips};

const CONFIG: &str = "/etc/avamgr/avamgr.toml";
const KEYS: &str = "/etc/avamgr/keys";
const STATE: &str = "/var/lib/avamgr";
const SOCKET: &str = "/run/avamgr/avamgr.sock";

/// Of the authority `lease`: a witness beside the arbitrator, and the keys the pair shares with it.
const WITNESS: &str = "\n[witness]\naddress = \"172.16.8.250\"\ninterface = \"eth0\"\n";
const WITNESS_HOST: &str = "arbitrator";
const WITNESS_CONFIG: &str = "/etc/avamgr/witness.toml";
const WITNESS_KEYS: &str = "/etc/avamgr/witness.keys";

/// An avamgr pair.
#[derive(Debug)]
pub(crate) struct Avamgr {
    interval: Duration,
    daemon: PathBuf,
    cli: PathBuf,
    /// With leases: the program of the witness.
    witness: Option<PathBuf>,
    version: String,
}

impl Avamgr {
    /// The one whose programs are in `bin_dir`.
    pub(crate) fn new(interval: Duration, bin_dir: &Path, leases: bool) -> Result<Self> {
        let (daemon, cli) = (bin_dir.join("avamgrd"), bin_dir.join("avamgr"));
        let witness = leases.then(|| bin_dir.join("avamgr-witness"));
        for program in [&daemon, &cli].into_iter().chain(&witness) {
            ensure!(program.is_file(), "{} is missing (cargo build --release, or --bin-dir)", program.display());
        }
        let output = Command::new(&cli).arg("--version").output().context("run avamgr --version")?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Self { interval, daemon, cli, witness, version })
    }

    fn config(&self, vips: &Vips) -> String {
        let addresses = match vips {
            Vips::Single(vips) => format!("vip = [{}]", quoted(vips)),
            Vips::Prefix(prefix) => format!("range = [{}]", quoted(&[*prefix])),
        };
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
name = "addresses"
{addresses}
interface = "eth1"

[limits]
# A bench is nothing but failovers.
failovers = 1000

[timers]
heartbeat_interval = "{}ms"
{}"#,
            self.interval.as_millis(),
            if self.witness.is_some() { WITNESS } else { "" }
        )
    }

    fn start_witness(&self, lab: &Lab, program: &Path) -> Result<()> {
        let host = lab.host(WITNESS_HOST)?;
        host.write(WITNESS_CONFIG, format!("[[cluster]]\nname = \"bench\"\nkey_file = \"{WITNESS_KEYS}\"\n"))?;
        write_secret(&host, WITNESS_KEYS, &self.keys(lab)?)?;
        host.command(program).spawn()?;
        Ok(())
    }

    /// One key for both nodes.
    fn keys(&self, lab: &Lab) -> Result<String> {
        let file = lab.scratch().join("keys");
        if !file.exists() {
            fs::write(&file, keys::fresh()?).with_context(|| format!("write {}", file.display()))?;
        }
        fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
    }
}

impl Peer for Avamgr {
    fn profile(&self) -> String {
        let class = if self.witness.is_some() { "lease" } else { "ping" };
        format!("avamgr, {class}, heartbeat {:?}", self.interval)
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn interval(&self) -> Duration {
        self.interval
    }

    fn program(&self) -> &'static str {
        "avamgrd"
    }

    fn heartbeats(&self) -> &'static str {
        "udp dport 6940"
    }

    /// From its history: nodes of a lab share the kernel's clock.
    fn decided_ago(&self, lab: &Lab, node: &str) -> Result<Option<Duration>> {
        let mut history = lab.host(node)?.command(&self.cli);
        let output = history.args(["--socket", SOCKET, "history", "--last", "20", "--json"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let decisions = events.filter(|entry| entry["event"]["fact"]["to"] == "activating");
        let last = decisions.filter_map(|entry| entry["event"]["at"].as_u64()).max();
        let now: Duration = clock_gettime(ClockId::CLOCK_BOOTTIME)?.into();
        Ok(last.map(|at| now.saturating_sub(Duration::from_nanos(at))))
    }

    fn can(&self, scenario: Scenario) -> bool {
        scenario != Scenario::Clusters || self.witness.is_some()
    }

    fn install(&self, lab: &Lab, vips: &Vips) -> Result<()> {
        let keys = self.keys(lab)?;
        for node in lab.nodes() {
            node.write(CONFIG, self.config(vips))?;
            write_secret(&node, KEYS, &keys)?;
            write_secret(&node, WITNESS_KEYS, &keys)?;
            fs::create_dir_all(node.path(STATE))?;
        }
        self.witness.as_ref().map_or(Ok(()), |program| self.start_witness(lab, program))
    }

    fn start(&self, lab: &Lab, node: &str) -> Result<()> {
        let host = lab.host(node)?;
        // A reboot has emptied /run.
        fs::create_dir_all(host.path("/run/avamgr"))?;
        let mut daemon = host.command(&self.daemon);
        daemon.args(["--config", CONFIG, "--node", node, "--state-dir", STATE, "--socket", SOCKET]).spawn()?;
        Ok(())
    }

    fn switchover(&self, lab: &Lab, active: &str) -> Result<()> {
        let output =
            lab.host(active)?.command(&self.cli).args(["--socket", SOCKET, "switchover", "--json"]).output()?;
        ensure!(
            output.status.success(),
            "avamgr switchover on {active}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn after_switchover(&self, _lab: &Lab, _formerly_active: &str) -> Result<()> {
        Ok(())
    }
}

fn write_secret(host: &Host, path: &str, keys: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    host.write(path, keys)?;
    fs::set_permissions(host.path(path), fs::Permissions::from_mode(0o600)).context("close a key file")
}

fn quoted(vips: &[Cidr]) -> String {
    vips.iter().fold(String::new(), |mut text, vip| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{}\"{vip}\"", if text.is_empty() { "" } else { ", " });
        text
    })
}
