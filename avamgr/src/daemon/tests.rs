//! What the loop owes the decision.

use avamgr_core::cluster::{GroupId, Incarnation, NodeId, ResourceId};
use avamgr_core::config;
use avamgr_core::node::Durable;
use avamgr_core::wire::seal::{Key, Secret};
use tokio::sync::oneshot;

use super::*;
use crate::control::outbox;
use crate::inputs;
use crate::state_file::Writer;

fn pair(timers: &str) -> Arc<Config> {
    let text = format!(
        r#"
[cluster]
name = "c"
nodes = ["a", "b"]
failover_budget = "1s"
[timers]
{timers}
[[link]]
name = "primary"
interface = "eth3"
address = {{ a = "172.16.11.54", b = "172.16.11.55" }}
[[link]]
name = "secondary"
interface = "eth4"
address = {{ a = "172.16.13.54", b = "172.16.13.55" }}
[arbitrator]
ping = ["172.16.6.250"]
interface = "eth0"
address = {{ a = "172.16.8.50", b = "172.16.8.51" }}
[[group]]
name = "g"
[[group.resource]]
name = "r"
exec = "sleep 1"
"#
    );
    Arc::new(config::parse(&text, "test").unwrap())
}

/// A loop whose links are not there: nothing is heard.
fn deaf(config: &Arc<Config>, directory: &std::path::Path) -> Loop {
    let key = Key { number: 1, secret: Secret::new([0; 32]) };
    let keys = Arc::new(Keyring::new("c", &[key], 1).unwrap());
    let links = Links::open(&[], None, NodeId(0), &keys).unwrap();
    let (inputs, queue) = inputs::channel();
    let (outbox, _words) = outbox::channel();
    let writer = Writer::start(directory.to_owned(), inputs).unwrap();
    let (hands, _probes, _fences) = Hands::new(BTreeMap::new(), writer, outbox);
    let node = Node::new(Arc::clone(config), NodeId(0), Incarnation(1), 1, Durable::default(), clock::now());
    let status = watch::Sender::new(Arc::new(node.status(clock::now())));
    let (_, tunes) = mpsc::channel(1);
    let (pulse, driver) = (Pulse::default(), DriverStatus::default());
    let daemon = Daemon {
        node,
        links,
        pinger: None,
        guard: None,
        inputs: queue,
        tunes,
        hands,
        status,
        pulse,
        hands_patience: Duration::MAX,
        right: Right::open(directory, &["g"]).unwrap(),
        right_lifetime: Some(Duration::from_secs(2)),
        driver,
        bearers: Bearers::watch(Arc::clone(config)),
    };
    let alarm = Alarm::new().unwrap();
    let (waiting, published) = (Vec::new(), clock::now());
    let hands_watch = HandsWatch::new(clock::now());
    Loop { daemon, alarm, waiting, tune: None, deadline: None, published, hands_watch, news: false, ended: None }
}

#[tokio::test]
async fn a_new_config_is_judged_as_of_now_and_what_follows_from_it_is_done_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut this = deaf(&pair("start_grace = \"10m\""), directory.path());
    this.drain();
    this.turn();
    std::thread::sleep(Duration::from_millis(800));
    this.news = false;
    let (sender, mut answer) = oneshot::channel();
    // The peer has been silent for longer than this one has patience.
    this.tune_in(Tune::Config(pair("start_grace = \"600ms\""), sender));
    assert_eq!(answer.try_recv().unwrap(), Ok(()));
    assert!(this.daemon.node.poll_action().is_none(), "no action is left behind");
    assert!(this.news, "the peer's silence is told");
}

#[tokio::test]
async fn a_hands_plane_that_hangs_is_intolerable_only_where_a_group_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let mut this = deaf(&pair("start_grace = \"10m\""), directory.path());
    this.daemon.hands_patience = Duration::from_millis(700);
    let start = clock::now();
    this.hands_watch = HandsWatch::new(start);
    let mut status = this.daemon.node.status(start);
    let mut look = |millis, role| {
        status.groups[0].role = role;
        this.hands_silence(start + Duration::from_millis(millis), &status)
    };
    assert_eq!(look(500, Role::Active), None);
    assert_eq!(look(1000, Role::Standby), None);
    assert_eq!(look(1500, Role::Active), Some(Duration::from_millis(1500)));
}

#[tokio::test]
async fn what_runs_here_may_go_on_for_the_lifetime_from_every_turn_and_the_rest_gets_no_right() {
    let directory = tempfile::tempdir().unwrap();
    let mut this = deaf(&pair("start_grace = \"10m\""), directory.path());
    let (group, lifetime) = (GroupId(0), this.daemon.right_lifetime.unwrap());
    for _ in 0..2 {
        let before = clock::now();
        this.turn();
        // What an earlier life has left is being brought down.
        assert_eq!(this.daemon.node.role(group), Role::Deactivating);
        let until = this.daemon.right.until(group);
        assert!(until >= before + lifetime && until <= clock::now() + lifetime, "{until:?}");
    }
    this.handle(Input::Report { resource: ResourceId { group, index: 0 }, report: Report::Stopped });
    assert_eq!(this.daemon.node.role(group), Role::Standby);
    let until = this.daemon.right.until(group);
    this.turn();
    assert_eq!(this.daemon.right.until(group), until);
}
