//! Two couriers that run beside each other: what is changed on one is on the other soon, by itself.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rules_sync::courier::keep::Retention;
use rules_sync::filter::Filter;
use rules_sync::rsync::Password;
use rules_sync::run::{Line, Ports, Settings, open};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn settings(root: &Path, me: &str, listen: SocketAddr, peer: (&str, SocketAddr)) -> Settings {
    let rules = root.join(me).join("rules");
    fs::create_dir_all(&rules).unwrap();
    Settings {
        me: me.to_owned(),
        directories: [("re".to_owned(), rules)].into(),
        filter: Filter::default(),
        state: root.join(me).join("state"),
        listen: vec![listen],
        peers: [(peer.0.to_owned(), vec![Line { from: listen.ip(), to: peer.1 }])].into(),
        passwords: vec![Password { key: 1, text: "what only these two know".to_owned() }],
        shell: None,
        one_way: false,
        retention: Retention { time: Duration::from_secs(3_600), bytes: 1 << 20 },
        audit: Duration::from_secs(3_600),
    }
}

/// Nobody asks, and nobody says who is ACTIVE.
fn ports() -> Ports {
    let (_, orders) = mpsc::unbounded_channel();
    let (_, active) = watch::channel(None);
    Ports { orders, active, status: watch::Sender::new(None) }
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never came to this: {what}");
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_changed_on_one_is_on_the_other_soon() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (free(), free());
    let settings = [settings(root.path(), "n1", one, ("n2", two)), settings(root.path(), "n2", two, ("n1", one))];
    let rules = |node: &str, way: &str| root.path().join(node).join("rules").join(way);
    fs::write(rules("n1", "before"), "it was there").unwrap();
    let story = async {
        eventually("before", || text(rules("n2", "before")) == "it was there").await;
        fs::write(rules("n2", "a"), "from two").unwrap();
        eventually("from two", || text(rules("n1", "a")) == "from two").await;
        fs::write(rules("n1", "a"), "from one").unwrap();
        eventually("from one", || text(rules("n2", "a")) == "from one").await;
        fs::create_dir_all(rules("n1", "x/y/z")).unwrap();
        fs::write(rules("n1", "x/y/z/deep"), "deep").unwrap();
        eventually("deep", || text(rules("n2", "x/y/z/deep")) == "deep").await;
        fs::remove_dir_all(rules("n2", "x")).unwrap();
        eventually("gone", || !rules("n1", "x").exists()).await;
        let names = |node: &str| {
            let mut names: Vec<_> = fs::read_dir(rules(node, "")).unwrap().map(|it| it.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names("n1"), ["a", "before"]);
        assert_eq!(names("n2"), ["a", "before"]);
    };
    let local = LocalSet::new();
    let [first, second] = settings;
    local.spawn_local(async move { open(first, ports()).unwrap().run(std::future::pending()).await.unwrap() });
    local.spawn_local(async move { open(second, ports()).unwrap().run(std::future::pending()).await.unwrap() });
    local.run_until(story).await;
}
