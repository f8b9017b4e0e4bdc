//! Nodes with real daemons in the lab, two unless a story wants more, and what one asks of them.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use avamgr_lab::{Host, Lab, Plan, Probe, Process, mark, wait_for, wait_until};
use serde_json::{Value, json};

/// What a story returns.
pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// Long enough for anything that is expected to happen.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// The virtual address of the stories.
pub(crate) fn vip() -> IpAddr {
    avamgr_lab::VIP.parse().expect("an address")
}

/// The nodes of the pair, in the order of their rank.
pub(crate) const PAIR: &[&str] = &["hadev1", "hadev2"];

/// The config of the pair: `timers` goes into `[timers]`, `resources` behind the address.
pub(crate) fn config(timers: &str, resources: &str) -> String {
    format!("{}{GROUP}{resources}\n", cluster(PAIR, timers, &V4_AND_V6))
}

/// The group of the stories with its addresses.
pub(crate) const GROUP: &str = r#"
[[group]]
name = "dre"

[[group.resource]]
name = "traffic"
vip = ["172.16.9.61/24", "2001:db8:9::61/64"]
interface = "eth1"

"#;

/// Prefixes of the networks a cluster talks over; the number of the node follows.
pub(crate) struct Paths {
    pub(crate) primary: &'static str,
    pub(crate) secondary: &'static str,
    pub(crate) neutral: &'static str,
    pub(crate) arbitrators: &'static str,
}

/// One link of each family, as in the plan of the lab.
pub(crate) const V4_AND_V6: Paths = Paths {
    primary: "172.16.11.",
    secondary: "fd00:13::",
    neutral: "172.16.8.",
    arbitrators: r#""172.16.6.250", "2001:db8:8::250""#,
};

/// Everything of a config but its groups.
pub(crate) fn cluster(nodes: &[&str], timers: &str, paths: &Paths) -> String {
    // The plan of the lab counts service and link addresses from 54, neutral ones from 50.
    let each = |prefix: &str, first: usize| {
        let one = |(place, node): (usize, &&str)| format!("{node} = \"{prefix}{}\"", first + place);
        nodes.iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
    };
    let (primary, secondary, neutral) = (each(paths.primary, 54), each(paths.secondary, 54), each(paths.neutral, 50));
    let arbitrators = paths.arbitrators;
    format!(
        r#"
[cluster]
name = "hadev"
nodes = {nodes:?}
failover_budget = "1s"

[timers]
{timers}

[[link]]
name = "primary"
interface = "eth3"
address = {{ {primary} }}

[[link]]
name = "secondary"
interface = "eth4"
address = {{ {secondary} }}

[arbitrator]
ping = [{arbitrators}]
interface = "eth0"
address = {{ {neutral} }}
"#
    )
}

/// A service that needs nothing.
pub(crate) const SLEEPER: &str = "[[group.resource]]\nname = \"service\"\nexec = \"sleep 100000\"\n";

/// A program of this workspace, built beside the tests.
pub(crate) fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this program");
    let path = test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps").join(name);
    assert!(path.exists(), "{} is not built: run cargo build --workspace first", path.display());
    path
}

/// A lab with daemons.
pub(crate) struct Pair {
    pub(crate) lab: Lab,
    pub(crate) probe: Probe,
    nodes: &'static [&'static str],
    daemons: BTreeMap<String, Process>,
    begun: Instant,
}

impl Pair {
    /// Both nodes up, hadev1 ACTIVE, everything quiet.
    pub(crate) fn start(plan: Plan, config: &str) -> Result<Self, Box<dyn Error>> {
        Self::start_with(plan, config, |_, _| Ok(()))
    }

    /// As [`Self::start`], after `prepare` has done its work for each node.
    pub(crate) fn start_with(
        plan: Plan,
        config: &str,
        prepare: impl Fn(&Self, &str) -> Outcome,
    ) -> Result<Self, Box<dyn Error>> {
        Self::start_nodes(PAIR, plan, config, prepare)
    }

    /// As [`Self::start_with`] for any nodes of the plan; hosts that are not named get no daemon.
    pub(crate) fn start_nodes(
        nodes: &'static [&'static str],
        plan: Plan,
        config: &str,
        prepare: impl Fn(&Self, &str) -> Outcome,
    ) -> Result<Self, Box<dyn Error>> {
        let mut pair = Self::install_nodes(nodes, plan, config)?;
        for name in nodes {
            prepare(&pair, name)?;
            pair.start_daemon(name)?;
        }
        for (name, role) in nodes.iter().zip(std::iter::once("active").chain(std::iter::repeat("standby"))) {
            pair.wait_role(name, role)?;
        }
        pair.probe.wait_for_answer(vip(), "hadev1", SOON)?;
        // The neutral path falls silent again; what it heard at the start would count as a sign of life.
        std::thread::sleep(Duration::from_millis(1200));
        Ok(pair)
    }

    /// Both nodes with config and keys, no daemon started.
    pub(crate) fn install_all(plan: Plan, config: &str) -> Result<Self, Box<dyn Error>> {
        Self::install_nodes(PAIR, plan, config)
    }

    fn install_nodes(nodes: &'static [&'static str], plan: Plan, config: &str) -> Result<Self, Box<dyn Error>> {
        let lab = Lab::start(plan)?;
        let probe = Probe::start(&lab.host("client")?, &[vip()])?;
        let pair = Self { lab, probe, nodes, daemons: BTreeMap::new(), begun: mark() };
        for name in nodes {
            pair.install(name, config)?;
        }
        Ok(pair)
    }

    /// Config and keys of a node.
    pub(crate) fn install(&self, name: &str, config: &str) -> Outcome {
        let node = self.node(name)?;
        node.write("/etc/avamgr/avamgr.toml", config)?;
        node.write("/etc/avamgr/keys", format!("1 {} send\n", "0123456789abcdef".repeat(4)))?;
        node.command("chmod").args(["600", "/etc/avamgr/keys"]).output()?;
        Ok(())
    }

    pub(crate) fn node(&self, name: &str) -> Result<Host, Box<dyn Error>> {
        Ok(self.lab.host(name)?)
    }

    pub(crate) fn start_daemon(&mut self, name: &str) -> Outcome {
        let process = self.node(name)?.command(program("avamgrd")).spawn()?;
        self.daemons.insert(name.to_owned(), process);
        Ok(())
    }

    /// The daemon from another file.
    pub(crate) fn start_program(&mut self, name: &str, path: &str) -> Outcome {
        let process = self.node(name)?.command(path).spawn()?;
        self.daemons.insert(name.to_owned(), process);
        Ok(())
    }

    /// One whose kernel has no nftables.
    pub(crate) fn start_daemon_without_nftables(&mut self, name: &str) -> Outcome {
        let process = self.node(name)?.command(program("avamgrd")).without_nftables().spawn()?;
        self.daemons.insert(name.to_owned(), process);
        Ok(())
    }

    pub(crate) fn daemon(&self, name: &str) -> &Process {
        &self.daemons[name]
    }

    /// A command of the operator on a node.
    pub(crate) fn avamgr(&self, name: &str, arguments: &[&str]) -> Result<std::process::Output, Box<dyn Error>> {
        Ok(self.node(name)?.command(program("avamgr")).args(arguments).output()?)
    }

    /// One request over the control socket, as a program would ask.
    fn ask(&self, name: &str, request: &Value) -> Result<Vec<Value>, Box<dyn Error>> {
        let node = self.node(name)?;
        let socket = node.path("/run/avamgr/avamgr.sock");
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        writeln!(stream, "{request}")?;
        let mut replies = Vec::new();
        for line in BufReader::new(stream).lines() {
            let reply: Value = serde_json::from_str(&line?)?;
            let kind = reply["reply"].as_str().unwrap_or_default().to_owned();
            replies.push(reply);
            if kind != "event" && kind != "pending" {
                break;
            }
        }
        Ok(replies)
    }

    pub(crate) fn status(&self, name: &str) -> Result<Value, Box<dyn Error>> {
        let replies = self.ask(name, &json!({ "request": "status" }))?;
        let status = replies.into_iter().next_back().ok_or("no reply")?;
        Ok(status["status"].clone())
    }

    /// The role of the first group.
    pub(crate) fn role(&self, name: &str) -> String {
        self.status(name).map_or_else(|_| "unknown".into(), |status| text(&status["groups"][0]["role"]))
    }

    pub(crate) fn wait_role(&self, name: &str, role: &str) -> Outcome {
        let waited = wait_until(SOON, format!("{name} to be {role}"), || self.role(name) == role);
        if waited.is_err() {
            self.tell();
        }
        Ok(waited?)
    }

    /// Waits until an event of a node contains `words`.
    pub(crate) fn wait_event(&self, name: &str, words: &str) -> Result<String, Box<dyn Error>> {
        let found = wait_for(SOON, format!("an event of {name} with: {words}"), || {
            self.events(name).ok()?.into_iter().rev().find(|event| event.contains(words))
        });
        if found.is_err() {
            self.tell();
        }
        Ok(found?)
    }

    /// The sentences of a node's history.
    pub(crate) fn events(&self, name: &str) -> Result<Vec<String>, Box<dyn Error>> {
        let request = json!({ "request": "history", "last": 1000, "follow": false });
        let replies = self.ask(name, &request)?;
        Ok(replies
            .iter()
            .filter(|reply| reply["reply"] == "event")
            .map(|reply| text(&reply["entry"]["text"]))
            .collect())
    }

    /// Events that changed a role, since the begin of the story.
    pub(crate) fn role_changes(&self, name: &str) -> Result<usize, Box<dyn Error>> {
        Ok(self.events(name)?.iter().filter(|event| event.contains(" -> ")).count())
    }

    /// The same, of all nodes that are on.
    pub(crate) fn all_role_changes(&self) -> usize {
        self.nodes.iter().filter_map(|name| self.role_changes(name).ok()).sum()
    }

    /// Waits until the status of a node has an alarm with these words, or has none any more.
    pub(crate) fn wait_alarm(&self, name: &str, words: &str, there: bool) -> Outcome {
        let what = format!("{} alarm of {name} with: {words}", if there { "an" } else { "no" });
        let alarmed = |status: Value| status["alarms"].to_string().contains(words) == there;
        let waited = wait_until(SOON, what, || self.status(name).is_ok_and(alarmed));
        if waited.is_err() {
            self.tell();
        }
        Ok(waited?)
    }

    /// The client's longest outage since a moment, and a check that the measuring itself was not late.
    pub(crate) fn outage(&self, from: Instant) -> Duration {
        self.probe.outage_since(vip(), from).longest
    }

    /// No address was ever on two nodes since the story began.
    pub(crate) fn never_two_owners(&self) -> Outcome {
        self.lab.settle()?;
        for address in [avamgr_lab::VIP, avamgr_lab::VIP6] {
            let owned = self.lab.owners().between(address.parse()?, self.begun, mark());
            if owned.dual > Duration::ZERO {
                self.tell();
                return Err(format!("{address} was on two nodes for {:?}", owned.dual).into());
            }
        }
        Ok(())
    }

    /// What both daemons logged, for whoever reads a failed story.
    pub(crate) fn tell(&self) {
        for name in self.nodes {
            if let Ok(node) = self.node(name) {
                println!("--- {name}\n{}", node.log("avamgrd"));
            }
        }
    }
}

/// A text in a document.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
