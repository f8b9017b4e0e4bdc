//! The real daemon: a node that was never heard is turned off before anything it may own is taken over.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use avamgr::keys;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::site::{GOOD, Site};
use crate::space::{Space, eventually, with_namespaces};

/// The first node of the pair, alone with an arbitrator that answers.
struct Node {
    site: Site,
    here: Space,
    _there: Space,
    daemon: Child,
}

impl Node {
    fn start(script: &str) -> Self {
        let (site, here, there) = (Site::new(), Space::new(), Space::new());
        for (name, ours, theirs) in [
            ("eth0", "10.0.0.1", "10.0.0.250"),
            ("eth1", "10.9.0.1", "10.9.0.9"),
            ("eth3", "10.1.0.1", "10.1.0.9"),
            ("eth4", "10.2.0.1", "10.2.0.9"),
        ] {
            here.cable(name, &there, name);
            here.ip(&format!("address add {ours}/24 dev {name}"));
            there.ip(&format!("address add {theirs}/24 dev {name}"));
        }
        site.agent("agent", script);
        keys::generate(&site.path("keys")).unwrap();
        let text = site.text(&[site.device("agent", "")]).replace("dred -f", "sleep 1000");
        let more = format!(
            "[timers]\nfence_delay = \"100ms\"\n[daemon]\nkey_file = \"{0}/keys\"\nstate_dir = \"{0}/state\"\nsocket = \"{0}/sock\"\n",
            site.path("").display().to_string().trim_end_matches('/')
        );
        let config = site.write("avamgr.toml", &(text + &more), 0o644);
        let daemon = here.run(|| daemon(&config, &site.path("log"))).unwrap();
        Self { site, here, _there: there, daemon }
    }

    /// Exit code and everything that is said.
    fn avamgr(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_avamgr"));
        let output = command.arg("--config").arg(self.site.path("avamgr.toml")).args(args).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    fn is_active(&self) -> bool {
        self.avamgr(&["status", "--short"]).1.contains("ACTIVE") && self.here.has("eth1", "10.9.0.61/24")
    }
}

fn daemon(config: &Path, log: &Path) -> std::io::Result<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_avamgrd"));
    command.arg("--config").arg(config).args(["--node", "a1", "--log-target", "stderr"]);
    command.stderr(std::fs::File::create(log)?).stdout(Stdio::null()).spawn()
}

impl Drop for Node {
    /// In order, so that its services end with it.
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.daemon.id().cast_signed()), Signal::SIGTERM);
        let _ = self.daemon.wait();
        if std::thread::panicking() {
            println!("{}", self.site.read("log"));
        }
    }
}

#[test]
fn nobody_takes_over_before_the_silent_node_is_off() {
    with_namespaces("takeover::nobody_takes_over_before_the_silent_node_is_off", || {
        let node = Node::start(&format!("sleep 0.5\n{GOOD}"));
        eventually("the order", || node.site.read("orders").contains("action=off"));
        eventually("the takeover", || node.is_active());
        assert!(node.site.read("orders").contains("action=off\naction=status\n"), "{}", node.site.read("orders"));
        let (_, told) = node.avamgr(&["history"]);
        let off = told.find("b2 is off: agent turned it off, its status confirms it").unwrap();
        assert!(off < told.find("ACTIVE").unwrap_or_default(), "{told}");
        let (code, said) = node.avamgr(&["fence", "clear", "b2"]);
        assert!(code == Some(0) && said.contains("b2 may take part again"), "{said}");
    });
}

#[test]
fn a_node_that_cannot_be_turned_off_is_not_replaced_until_an_operator_vouches_for_it() {
    with_namespaces(
        "takeover::a_node_that_cannot_be_turned_off_is_not_replaced_until_an_operator_vouches_for_it",
        || {
            let node = Node::start("echo no route to host; exit 1");
            eventually("why", || {
                node.avamgr(&["why"]).1.contains("b2 could not be turned off: level 1: agent off exited")
            });
            let (code, said) = node.avamgr(&["fence", "now", "b2"]);
            assert!(code == Some(1) && said.contains("no route to host"), "{code:?} {said}");
            assert!(!node.is_active());
            let (code, said) = node.avamgr(&["fence", "confirm", "b2"]);
            assert!(code == Some(0) && said.contains("b2 counts as off"), "{said}");
            eventually("the takeover", || node.is_active());
            let (code, said) = node.avamgr(&["fence", "now", "a1"]);
            assert!(code == Some(3) && said.contains("say it on another one"), "{code:?} {said}");
        },
    );
}
