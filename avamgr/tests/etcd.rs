//! Leases in real etcd clusters on this machine: what the decision asks, and what comes back.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]
#![expect(clippy::disallowed_methods, reason = "a test measures with the clock of its own process")]

#[path = "etcd/server.rs"]
mod server;

use std::time::{Duration, Instant};

use avamgr::clock;
use avamgr::inputs;
use avamgr::links::etcd::EtcdPath;
use avamgr_core::cluster::{Incarnation, LinkId, NodeId, Role, Term};
use avamgr_core::config::{Config, parse};
use avamgr_core::node::Input;
use avamgr_core::wire::{GroupState, Heartbeat};
use server::Cluster;
use tokio::sync::mpsc::Receiver;

/// The shortest that etcd holds.
const LEASE: Duration = Duration::from_secs(2);
/// Within the patience of one round.
const SOON: Duration = Duration::from_millis(1_500);
/// etcd looks for what is over twice a second, and this machine has other things to do.
const EXPIRY: Duration = Duration::from_secs(4);

const KEY: &str = "/avamgr/pair/dre";

fn config(etcd: &str) -> Config {
    let text = format!(
        r#"
        [cluster]
        name = "pair"
        nodes = ["a", "b"]
        [timers]
        lease_time = "2s"
        [[link]]
        name = "one"
        interface = "eth1"
        address = {{ a = "10.1.0.1", b = "10.1.0.2" }}
        [[link]]
        name = "two"
        interface = "eth2"
        address = {{ a = "10.2.0.1", b = "10.2.0.2" }}
        [etcd]
        {etcd}
        [[group]]
        name = "dre"
        [[group.resource]]
        name = "svc"
        exec = "true"
        "#
    );
    parse(&text, "test").unwrap()
}

fn plain(urls: &[String]) -> Config {
    config(&format!("endpoints = {urls:?}"))
}

/// A node that asks.
struct Node {
    path: EtcdPath,
    answers: Receiver<Input>,
    frame: Heartbeat,
}

/// To whom the lease is promised in which term, and the highest term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    promise: Option<(u8, u64)>,
    term: u64,
}

const fn promised(node: u8, term: u64) -> Word {
    Word { promise: Some((node, term)), term }
}

const fn free(term: u64) -> Word {
    Word { promise: None, term }
}

impl Node {
    fn new(config: &Config, rank: u8, run: u64) -> Self {
        let (inputs, answers) = inputs::channel();
        let path = EtcdPath::open(config, NodeId(rank), inputs).unwrap().unwrap();
        let frame = Heartbeat {
            from: NodeId(rank),
            to: NodeId::WITNESS,
            link: LinkId::WITNESS,
            incarnation: Incarnation(run),
            echo: None,
            sequence: 0,
            sent_nanos: 0,
            echo_nanos: 0,
            echo_delay_nanos: 0,
            wall_millis: 0,
            config_digest: 0,
            hears_you: true,
            probe: false,
            leaving: false,
            revision: 0,
            seen_revision: 0,
            groups: vec![GroupState::nothing(config.groups[0].name_digest())],
            request: None,
            lease: LEASE,
            voters: 1,
            fenced: Vec::new(),
            absence: Duration::ZERO,
        };
        Self { path, answers, frame }
    }

    /// Wants the lease in `term`; `None` = owns nothing and wants nothing.
    fn wants(&mut self, term: Option<u64>) -> &mut Self {
        let state = &mut self.frame.groups[0];
        state.wants_lease = term.is_some();
        state.term = Term(term.unwrap_or_default());
        state.role = if term.is_some() { Role::Active } else { Role::Standby };
        self
    }

    fn send(&mut self) {
        self.frame.sequence += 1;
        self.path.send(self.frame.clone());
    }

    /// The answer to a frame that is sent now, if it comes in time.
    fn asks_for(&mut self, time: Duration) -> Option<Word> {
        let sent = clock::now().as_nanos();
        self.send();
        let begun = Instant::now();
        while begun.elapsed() < time {
            let Ok(Input::Heartbeat { heartbeat, .. }) = self.answers.try_recv() else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            assert_eq!((heartbeat.from, heartbeat.echo), (NodeId::WITNESS, Some(self.frame.incarnation)));
            if heartbeat.echo_nanos >= sent {
                let word = heartbeat.groups[0];
                let promise = word.promise.map(|promise| (promise.holder.0, promise.term.0));
                return Some(Word { promise, term: word.term.0 });
            }
        }
        None
    }

    fn asks(&mut self) -> Word {
        self.asks_for(SOON).expect("etcd answers")
    }

    /// Asks until it hears this.
    fn insists_on(&mut self, wanted: Word, within: Duration) -> Duration {
        let begun = Instant::now();
        let mut last = None;
        while begun.elapsed() < within {
            last = self.asks_for(SOON);
            if last == Some(wanted) {
                return begun.elapsed();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{wanted:?} was not heard, the last word is {last:?}");
    }
}

#[test]
fn one_node_has_the_lease_renews_it_and_gives_it_to_the_other_at_once() {
    let cluster = Cluster::start(1);
    let config = plain(&cluster.urls());
    let (mut a, mut b) = (Node::new(&config, 0, 7), Node::new(&config, 1, 8));
    assert_eq!(a.asks(), free(0));
    assert_eq!(a.wants(Some(3)).asks(), promised(0, 3));
    let begun = Instant::now();
    while begun.elapsed() < LEASE * 2 {
        assert_eq!(a.asks(), promised(0, 3));
        assert_eq!(b.wants(Some(4)).asks(), promised(0, 3), "a promise is nobody else's");
        std::thread::sleep(LEASE / 8);
    }
    assert_eq!(b.wants(None).asks(), promised(0, 3), "only its holder gives it back");
    assert_eq!(a.wants(None).asks(), free(3));
    assert_eq!(b.wants(Some(3)).asks(), free(3), "a new promise is in a higher term");
    assert_eq!(b.wants(Some(4)).asks(), promised(1, 4));
    assert_eq!(b.wants(Some(6)).asks(), promised(1, 6), "its holder goes on in a higher term");
    assert_eq!(a.wants(Some(9)).asks(), promised(1, 6));
}

#[test]
fn what_a_silent_holder_was_promised_is_over_after_its_time_and_not_before() {
    let cluster = Cluster::start(1);
    let config = plain(&cluster.urls());
    let (mut a, mut b) = (Node::new(&config, 0, 7), Node::new(&config, 1, 8));
    let sent = Instant::now();
    assert_eq!(a.wants(Some(1)).asks(), promised(0, 1));
    b.wants(Some(2)).insists_on(promised(1, 2), LEASE + EXPIRY);
    assert!(sent.elapsed() >= LEASE, "after {:?}", sent.elapsed());
    println!("the next holder has it {:?} after the last renewal of the first was sent", sent.elapsed());
    assert_eq!(a.asks(), promised(1, 2));
}

#[test]
fn who_may_still_own_something_neither_renews_nor_gives_back() {
    let cluster = Cluster::start(1);
    let config = plain(&cluster.urls());
    let mut a = Node::new(&config, 0, 7);
    assert_eq!(a.wants(Some(1)).asks(), promised(0, 1));
    a.frame.groups[0].wants_lease = false;
    assert_eq!(a.asks(), promised(0, 1));
    a.insists_on(free(1), LEASE + EXPIRY);
}

#[test]
fn another_run_of_the_same_node_does_not_go_on_with_the_lease() {
    let cluster = Cluster::start(1);
    let config = plain(&cluster.urls());
    let mut a = Node::new(&config, 0, 7);
    assert_eq!(a.wants(Some(1)).asks(), promised(0, 1));
    let mut again = Node::new(&config, 0, 8);
    let word = again.wants(Some(2)).asks();
    assert_eq!(word, Word { promise: Some((0, 0)), term: 1 }, "in no term that it asks for");
    assert_eq!(again.wants(Some(1)).asks().promise, Some((0, 0)));
    again.wants(Some(2)).insists_on(promised(0, 2), LEASE + EXPIRY);
    assert_eq!(a.asks().promise, Some((0, 0)));
}

#[test]
fn a_key_that_somebody_deletes_is_a_lost_lease() {
    let cluster = Cluster::start(1);
    let config = plain(&cluster.urls());
    let mut a = Node::new(&config, 0, 7);
    assert_eq!(a.wants(Some(1)).asks(), promised(0, 1));
    cluster.servers[0].delete(KEY);
    assert_eq!(a.asks(), free(1), "it is not taken again in the same term");
    assert_eq!(a.wants(Some(2)).asks(), promised(0, 2));
    cluster.servers[0].put(KEY, "mine now");
    assert_eq!(a.asks().promise.map(|(node, _)| node), Some(u8::MAX - 1), "what a stranger writes is no promise to us");
}

#[test]
fn a_lease_outlasts_a_restart_of_etcd() {
    let mut cluster = Cluster::start(1);
    let config = plain(&cluster.urls());
    let (mut a, mut b) = (Node::new(&config, 0, 7), Node::new(&config, 1, 8));
    assert_eq!(a.wants(Some(1)).asks(), promised(0, 1));
    cluster.servers[0].kill();
    assert_eq!(a.asks_for(Duration::from_millis(300)), None, "nobody is there to confirm it");
    cluster.servers[0].run();
    a.insists_on(promised(0, 1), EXPIRY);
    assert_eq!(b.wants(Some(2)).asks(), promised(0, 1));
}

#[test]
fn a_frozen_etcd_confirms_nothing() {
    let cluster = Cluster::start(1);
    let config = plain(&cluster.urls());
    let (mut a, mut b) = (Node::new(&config, 0, 7), Node::new(&config, 1, 8));
    assert_eq!(a.wants(Some(1)).asks(), promised(0, 1));
    cluster.servers[0].freeze();
    assert_eq!(a.asks_for(LEASE * 2), None);
    cluster.servers[0].thaw();
    let word = a.asks_for(EXPIRY).expect("etcd answers again");
    assert!([promised(0, 1), free(1)].contains(&word), "{word:?}");
    a.wants(None).insists_on(free(1), EXPIRY);
    assert_eq!(b.wants(Some(2)).asks(), promised(1, 2));
}

#[test]
fn a_member_that_dies_takes_no_lease_with_it() {
    let mut cluster = Cluster::start(3);
    let config = plain(&cluster.urls());
    let (mut a, mut b) = (Node::new(&config, 0, 7), Node::new(&config, 1, 8));
    assert_eq!(a.wants(Some(1)).asks(), promised(0, 1));
    let begun = Instant::now();
    cluster.servers[0].kill();
    a.insists_on(promised(0, 1), EXPIRY);
    println!("renewed {:?} after the death of the member that was asked", begun.elapsed());
    b.wants(Some(2)).insists_on(promised(0, 1), EXPIRY);
    cluster.servers[1].kill();
    assert_eq!(a.asks_for(LEASE), None, "one of three members is no majority");
    cluster.servers[0].run();
    a.wants(None).insists_on(free(1), EXPIRY * 2);
    assert_eq!(b.wants(Some(2)).asks(), promised(1, 2));
}

#[test]
fn both_sides_show_their_certificates() {
    let cluster = Cluster::start_secure();
    let directory = cluster.directory();
    let endpoints = format!("endpoints = {:?}\nca_file = \"{directory}/ca.pem\"\n", cluster.urls());
    let known = format!("{endpoints}cert_file = \"{directory}/member.pem\"\nkey_file = \"{directory}/member.key\"\n");
    let mut a = Node::new(&config(&known), 0, 7);
    assert_eq!(a.wants(Some(1)).asks(), promised(0, 1));
    let mut nameless = Node::new(&config(&endpoints), 1, 8);
    assert_eq!(nameless.wants(Some(2)).asks_for(SOON), None, "who has no certificate is not let in");
    let stranger = endpoints.replace("ca.pem", "stranger.pem");
    let mut deceived = Node::new(&config(&stranger), 1, 9);
    assert_eq!(deceived.wants(Some(2)).asks_for(SOON), None, "whom nobody we trust has signed is not spoken to");
}

#[test]
fn what_is_given_back_with_the_last_frame_is_given_back() {
    let cluster = Cluster::start(1);
    let config = plain(&cluster.urls());
    let (mut a, mut b) = (Node::new(&config, 0, 7), Node::new(&config, 1, 8));
    assert_eq!(a.wants(Some(1)).asks(), promised(0, 1));
    a.wants(None).send();
    drop(a);
    assert_eq!(b.wants(Some(2)).asks(), promised(1, 2));
}

#[test]
fn the_check_says_what_each_endpoint_says() {
    let cluster = Cluster::start(1);
    let mut urls = cluster.urls();
    urls.push("http://127.0.0.1:1".to_owned());
    let said = avamgr::links::etcd::ask_endpoints(plain(&urls).etcd.as_ref().unwrap());
    assert!(said[0].1.as_ref().is_ok_and(|version| version.starts_with("etcd 3.")), "{said:?}");
    assert!(said[1].1.as_ref().is_err_and(|error| error.starts_with("cannot connect")), "{said:?}");
}
