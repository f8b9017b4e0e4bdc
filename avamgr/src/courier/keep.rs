//! The courier as a companion of the daemon: it runs on every node whose config has `[rules]`, whatever the node's role.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use avamgr_core::config::{Config, RulesConfig};
use avamgr_core::courier::Watched;
use avamgr_core::node::Event;
use avamgr_core::node::event::{Fact, Severity};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::look::look;
use crate::clock;
use crate::companion::Companion;
use crate::companion::briefing::Briefing;
use crate::companion::follow::follow;
use crate::process::Program;
use crate::process::family::Mark;
use crate::scribe::Scribe;

/// Name of the program.
pub const PROGRAM: &str = "rules-sync";

/// The courier, and whoever looks after it.
#[derive(Debug)]
pub struct Courier {
    companion: Companion,
    tasks: [JoinHandle<()>; 2],
    seen: watch::Receiver<Option<Arc<Watched>>>,
}

/// What a courier is started for: when something of it changes, it is started anew.
#[derive(PartialEq)]
struct Need {
    rules: RulesConfig,
    /// The file with the keys. One that cannot be read is the courier's trouble.
    keys: Option<Vec<u8>>,
}

impl Courier {
    /// Follows the config from now on. What happens is written down by `scribe`.
    pub fn start(briefing: Briefing, config: watch::Receiver<Arc<Config>>, scribe: &Scribe) -> Self {
        let (cluster, node) = {
            let config = config.borrow();
            (config.cluster.clone(), config.node_name(briefing.node).to_owned())
        };
        let pen = scribe.clone();
        let tell = move |severity, text| pen.write(event(severity, text));
        let companion = Companion::start(PROGRAM, Mark::new(&cluster, &node, "", PROGRAM), Box::new(tell));
        let (sees, seen) = watch::channel(None);
        let looks = look(config.clone(), companion.standing(), sees, scribe.clone());
        let start = move |_: &Need| program(&briefing, &node);
        let follows = follow(config, companion.orders(), need, start);
        Self { companion, tasks: [tokio::spawn(follows), tokio::spawn(looks)], seen }
    }

    /// How it was when it was looked at last; `None` = no courier is wanted.
    pub fn seen(&self) -> watch::Receiver<Option<Arc<Watched>>> {
        self.seen.clone()
    }

    /// Ends it, within [`STOP_TIME`](crate::companion::STOP_TIME).
    pub async fn stop(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.companion.stop().await;
    }

    /// Kills it, and waits for nothing: what it does is as good as done or not begun, at any moment.
    pub async fn end_at_once(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.companion.end_at_once().await;
    }
}

/// Something to be told, as of now.
pub(super) fn event(severity: Severity, text: String) -> Event {
    Event { at: clock::now(), fact: Fact::Rules { severity, text } }
}

async fn need(config: &Config) -> Option<Need> {
    let rules = config.rules.clone()?;
    Some(Need { rules, keys: tokio::fs::read(&config.daemon.key_file).await.ok() })
}

fn program(briefing: &Briefing, node: &str) -> Program {
    let mut command: Vec<String> = [PROGRAM, "run", "--config"].map(str::to_owned).into();
    command.extend([briefing.file(), "--daemon-socket".to_owned(), briefing.socket()]);
    command.extend(["--node", node].map(str::to_owned));
    briefing.program(command)
}

/// A program of ours beside another one.
pub fn beside(program: &str, other: &Path) -> Option<PathBuf> {
    Some(other.parent()?.join(program)).filter(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use avamgr_core::cluster::NodeId;

    use super::*;
    use crate::journal::{Settings, Target};

    #[test]
    fn the_courier_is_told_what_the_daemon_was_told() {
        let log = Settings { target: Target::Syslog, filter: "info,avamgr=debug".to_owned() };
        let socket = "/run/avamgr/other.sock".into();
        let briefing = Briefing { file: "/etc/avamgr/avamgr.toml".into(), node: NodeId(0), socket, log };
        let program = program(&briefing, "hadev1");
        assert_eq!(
            program.command.join(" "),
            "rules-sync run --config /etc/avamgr/avamgr.toml --daemon-socket /run/avamgr/other.sock --node hadev1 \
             --log-target syslog --log-level info,avamgr=debug"
        );
    }

    #[test]
    fn the_courier_of_the_same_installation_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("avamgrd");
        assert_eq!(beside(PROGRAM, &own), None);
        std::fs::write(directory.path().join(PROGRAM), "").unwrap();
        assert_eq!(beside(PROGRAM, &own), Some(directory.path().join(PROGRAM)));
    }

    #[tokio::test]
    async fn it_is_started_anew_for_other_rules_or_keys_and_for_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path().join("keys");
        std::fs::write(&keys, "1").unwrap();
        let mut config = Config {
            rules: None,
            ..avamgr_core::config::parse(
                "[cluster]\nname = \"c\"\nnodes = [\"a\"]\nstandalone = true\n[[group]]\nname = \"g\"\n\
                 [[group.resource]]\nname = \"r\"\nexec = \"sleep 1\"\n",
                "test",
            )
            .unwrap()
        };
        config.daemon.key_file = keys.clone();
        assert!(need(&config).await.is_none());
        config.rules = Some(rules());
        let first = need(&config).await;
        assert!(first.is_some() && need(&config).await == first);
        std::fs::write(&keys, "2").unwrap();
        assert!(need(&config).await != first);
        std::fs::write(&keys, "1").unwrap();
        config.rules.as_mut().unwrap().exclude.push("*.tmp".to_owned());
        assert!(need(&config).await != first);
    }

    fn rules() -> RulesConfig {
        let text = "[cluster]\nname = \"c\"\nnodes = [\"a\", \"b\"]\n[[link]]\nname = \"l\"\ninterface = \"eth0\"\n\
                    address = { a = \"10.0.0.1\", b = \"10.0.0.2\" }\n[rules]\ndirectories = { re = \"/etc/re\" }\n";
        avamgr_core::config::parse_replication(text, "test").unwrap().0.rules
    }
}
