//! A service whose daemon is killed, stands still or is restarted: real daemons, real signals.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use avamgr::clock;
use avamgr::process::aside::Aside;
use avamgr::process::family::{Family, Mark};
use avamgr::resources::Place;
use avamgr::right::{Right, RightOf};
use avamgr_core::cluster::NodeId;
use avamgr_core::config::{self, Config};
use avamgr_core::node::{Order, Report};
use avamgr_core::time::Instant;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::stage::{GROUP, SLACK, Stage, eventually, parent_and_state, reason};

/// `stop_bound` of the config.
const GRACE: Duration = Duration::from_millis(600);

/// Deaf to TERM, with a grandchild that has left its session and a short-lived child; says something when told to, and ends.
const SERVICE: &str = "trap '' TERM; (setsid sleep 301 &); echo $$ > @DIR@/pid; \
                       while ! test -e @DIR@/say; do sleep 0.02; done; echo 'last words'; exit 3";

/// A daemon on a host of its own.
struct Node {
    directory: TempDir,
    config: Config,
    daemon: Child,
}

impl Node {
    async fn serving() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().display().to_string();
        // The marks of two nodes that run at once must differ.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let cluster = format!("c{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let text = format!(
            "[cluster]\nname = \"{cluster}\"\nnodes = [\"hadev1\"]\nstandalone = true\nfailover_budget = \"1s\"\n\
             [timers]\nguard_lifetime = \"2s\"\nstop_bound = \"600ms\"\n\
             [daemon]\nsocket = \"{place}/run/sock\"\nstate_dir = \"{place}/state\"\n\
             [[group]]\nname = \"dre\"\n[[group.resource]]\nname = \"service\"\nexec = [\"sh\", \"-c\", \"{}\"]\n\
             stop_timeout = \"1s\"\n",
            SERVICE.replace("@DIR@", &place)
        );
        fs::write(directory.path().join("avamgr.toml"), &text).unwrap();
        let config = config::parse(&text, "test").unwrap();
        let daemon = daemon(directory.path());
        let node = Self { directory, config, daemon };
        eventually(async || node.service() != 0 && node.serves().await).await;
        node
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.daemon.id().try_into().unwrap()), signal).unwrap();
    }

    fn runtime(&self) -> std::path::PathBuf {
        self.directory.path().join("run")
    }

    /// Zero while it is being written.
    fn service(&self) -> i32 {
        fs::read_to_string(self.directory.path().join("pid")).unwrap_or_default().trim().parse().unwrap_or_default()
    }

    /// The service and its grandchild, perhaps with its child.
    async fn serves(&self) -> bool {
        self.processes().await >= 2
    }

    async fn processes(&self) -> usize {
        let mark = Mark::new(&self.config.cluster, &self.node_name(), "dre", "service");
        Family { mark, session: None, looks: Aside::default() }.members().await.len()
    }

    fn node_name(&self) -> String {
        self.config.node_name(NodeId(0)).to_owned()
    }

    /// Waits for the end of everything; it must come with the end of the right and its grace, and not before.
    async fn ends_at_the_bound(&self) {
        let bound = RightOf::open(&self.runtime(), "dre").unwrap().until() + GRACE;
        let left = bound.since(clock::now());
        assert!(left > GRACE, "the right lasts a while: {left:?}");
        while clock::now() + Duration::from_millis(50) < bound {
            assert!(self.serves().await, "{:?} before the bound", bound.since(clock::now()));
            sleep(Duration::from_millis(10)).await;
        }
        eventually(async || self.processes().await == 0).await;
        let gone = clock::now();
        eprintln!("gone {:?} after the bound, {left:?} after the signal", gone.since(bound));
        assert!(gone >= bound && gone < bound + SLACK, "{gone:?} {bound:?}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        if std::thread::panicking() {
            println!("{}", fs::read_to_string(self.directory.path().join("log")).unwrap_or_default());
        }
    }
}

fn daemon(directory: &Path) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(directory.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_avamgrd"));
    command.arg("--config").arg(directory.join("avamgr.toml")).args(["--node", "hadev1", "--log-target", "stderr"]);
    command.stderr(log).stdout(Stdio::null()).stdin(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn a_killed_daemon_loses_its_service_at_the_bound() {
    let node = Node::serving().await;
    node.signal(Signal::SIGKILL);
    node.ends_at_the_bound().await;
}

#[tokio::test]
async fn a_daemon_that_stands_still_loses_its_service_at_the_bound() {
    let node = Node::serving().await;
    node.signal(Signal::SIGSTOP);
    // A renewal that was under way is over.
    sleep(Duration::from_millis(20)).await;
    node.ends_at_the_bound().await;
}

#[tokio::test]
async fn a_right_that_somebody_goes_on_renewing_lets_the_service_live() {
    let node = Node::serving().await;
    let (pid, right) = (node.service(), Right::open(&node.runtime(), &["dre"]).unwrap());
    node.signal(Signal::SIGKILL);
    let end = clock::now() + Duration::from_secs(4);
    while clock::now() < end {
        right.extend(GROUP, clock::now() + Duration::from_millis(200));
        assert!(node.service() == pid && node.serves().await);
        sleep(Duration::from_millis(50)).await;
    }
    right.revoke(GROUP);
    eventually(async || node.processes().await == 0).await;
}

#[tokio::test]
async fn what_a_killed_daemon_has_started_is_adopted_by_the_next_with_its_output_and_its_end() {
    let node = Node::serving().await;
    let pid = node.service();
    node.signal(Signal::SIGKILL);
    let place = Place {
        cluster: node.config.cluster.clone(),
        node_name: node.node_name(),
        node: NodeId(0),
        group: "dre".into(),
        timers: node.config.timers.clone(),
        guard: None,
        bus: None,
        runtime: node.runtime(),
        shim: env!("CARGO_BIN_EXE_avamgrd").into(),
    };
    let resource = node.config.groups[0].resources[0].clone();
    let mut stage = Stage::at(tempfile::tempdir().unwrap(), resource, place);
    stage.expect(Report::Able).await;
    stage.order(Order::Adopt);
    stage.expect(Report::Started).await;
    // Longer than it would have lived alone.
    stage.quiet(Duration::from_secs(3)).await;
    assert!(node.service() == pid && node.serves().await);
    fs::write(node.directory.path().join("say"), "").unwrap();
    let report = stage.report().await;
    assert!(matches!(report, Report::Failed(_)), "{report:?}");
    let reason = reason(report);
    assert!(reason.contains("status 3") && reason.contains("last words"), "{reason}");
    stage.stopped(None).await;
}

#[tokio::test]
async fn a_restarted_daemon_ends_what_the_one_before_has_started_and_starts_its_own() {
    let mut node = Node::serving().await;
    let (before, shim) = (node.service(), parent_and_state(node.service()).unwrap().0);
    node.signal(Signal::SIGKILL);
    node.daemon.wait().unwrap();
    node.daemon = daemon(node.directory.path());
    eventually(async || ![0, before].contains(&node.service()) && node.serves().await).await;
    assert!(parent_and_state(before).is_none() && parent_and_state(shim).is_none_or(|(_, state)| state == 'Z'));
    node.signal(Signal::SIGTERM);
    assert!(node.daemon.wait().unwrap().success());
    assert_eq!(node.processes().await, 0, "an ordered end takes the service along");
    assert!(RightOf::open(&node.runtime(), "dre").unwrap().until() > Instant::BOOT);
}
