//! Those who do not belong to it, and those who say what cannot be.

use std::fs;
use std::path::Path;

use avamgr::keys;
use avamgr_lab::{story, wait_until};

use crate::bed::{Bed, Setup, address};
use crate::node::SOON;

#[test]
fn nodes_of_different_secrets_refuse_each_other_and_say_so() {
    story(|| {
        let bed = Setup::default().make();
        let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
        let other = bed.lab.scratch().join("other");
        keys::generate(&other)?;
        fs::copy(&other, b.keys())?;
        for node in [a, b] {
            node.prepare(None);
            node.start();
        }
        bed.write(0, "rule", "not for everybody");
        bed.write(1, "mine", "of b");
        for (node, peer) in [(a, "b"), (b, "a")] {
            node.wait_status("to be refused", |status| {
                let error = status.peers[0].error.as_deref().unwrap_or_default();
                error.contains("refuses this node: the secrets of both must be the same")
                    && status.peers[0].errors.contains_key("refused")
            });
            node.wait_notice("somebody was turned away");
            assert!(node.log().contains("refuses this node"), "{peer}: {}", node.log());
        }
        assert!(!b.path("rule").exists() && !a.path("mine").exists());
        b.stop();
        fs::copy(a.keys(), b.keys())?;
        b.start();
        assert_eq!(bed.finish(SOON).len(), 0);
        assert_eq!(bed.nodes[0].snapshot().len(), 2);
        Ok(())
    });
}

#[test]
fn a_node_that_is_not_in_the_config_gets_nothing_in_and_nothing_out() {
    story(|| {
        let bed = Setup { nodes: 3, ..Setup::default() }.make();
        for node in &bed.nodes[..2] {
            let text = fs::read_to_string(node.config())?;
            let text = text.replace(", \"c\"]", "]").replace(&format!(", c = {:?}", address(0, 2)), "");
            fs::write(node.config(), text)?;
        }
        for node in &bed.nodes {
            node.prepare(None);
            node.start();
        }
        bed.write(2, "foreign", "of c");
        bed.write(0, "rule", "of a");
        bed.nodes[1].wait_holds("rule", b"of a");
        let c = &bed.nodes[2];
        c.wait_status("to be refused", |status| status.peers.iter().all(|peer| peer.error.is_some()));
        println!("{:?}", c.status().unwrap().peers.iter().map(|peer| peer.error.clone()).collect::<Vec<_>>());
        bed.nodes.iter().take(2).for_each(|node| node.wait_notice("somebody was turned away: unknown module"));
        assert_eq!((bed.nodes[0].snapshot().len(), bed.nodes[1].snapshot().len(), c.snapshot().len()), (1, 1, 1));
        Ok(())
    });
}

/// Pushes a batch through the door of `a` on `b`, as `a` would.
fn push(bed: &Bed, number: u64, manifest: &str, content: &str) {
    let a = &bed.nodes[0];
    let spool = a.host.dir().join(format!("by-hand-{number}"));
    fs::create_dir(&spool).unwrap();
    fs::write(spool.join(format!("{number:020}.{:010}", 0)), content).unwrap();
    fs::write(spool.join(format!("{number:020}.m")), manifest).unwrap();
    let keys = keys::load(&a.keys()).unwrap();
    let password = a.host.dir().join("password-by-hand");
    let secret = keys.keys.first().unwrap().secret.derive("rules faults");
    fs::write(&password, secret).unwrap();
    fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let output = a
        .host
        .command("rsync")
        .args(["--recursive", "--whole-file", "--ignore-times"])
        .arg(format!("--password-file={}", password.display()))
        .arg(format!("{}/", spool.display()))
        .arg(format!("rsync://a.1@{}:6942/from-a/", address(0, 1)))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn manifest(number: u64, path: &str, content: &str) -> String {
    let (digest, size) = rules_sync::tree::digest(&mut content.as_bytes()).unwrap();
    let news = serde_json::json!({
        "place": path,
        "entry": {
            "version": { "a": 9 },
            "stamp": { "active": true, "millis": 9, "node": "a", "count": 9 },
            "content": { "File": { "digest": digest, "size": size, "mode": 0o644 } },
        },
        "content": 0,
    });
    serde_json::json!({
        "format": 1, "from": "a", "batch": number, "news": [news], "known": [], "wants": [], "refused": [],
        "store": 77, "sum": null, "all": null, "asks": null,
    })
    .to_string()
}

#[test]
fn a_batch_that_names_a_path_outside_is_not_believed() {
    story(|| {
        let bed = Setup::default().start();
        let b = &bed.nodes[1];
        let outside = b.disk().join("outside");
        fs::create_dir(&outside)?;
        std::os::unix::fs::symlink(&outside, b.path("link"))?;
        bed.wait_settled(SOON);
        bed.nodes[0].stop();
        // What is believed, so that the rest is refused for what it says.
        push(&bed, u64::MAX / 4, &manifest(u64::MAX / 4, "re/good", "good"), "good");
        b.wait_holds("good", b"good");
        let before = b.snapshot();
        let paths = [
            "re/../outside/evil",
            "../outside/evil",
            "/tmp/evil",
            "re/%2e%2e/outside/evil",
            "re//evil",
            "re",
            "other/evil",
        ];
        for (index, path) in paths.iter().enumerate() {
            let number = u64::MAX / 4 + 1 + u64::try_from(index)?;
            push(&bed, number, &manifest(number, path, "evil"), "evil");
            let inbox = b.state().join("in/a");
            wait_until(SOON, format!("{path} to be dealt with"), || fs::read_dir(&inbox).unwrap().count() == 0)?;
        }
        b.wait_notice("a batch of a is not believed: it is not what it should be: the path leads out of its directory");
        // Those that are paths are refused where they would lie, the rest is none.
        b.wait_status("these and no others to be named", |status| {
            status.troubles.iter().map(|it| it.place.as_str()).eq(["other/evil", "re"])
        });
        // A path of the directory that leads out of it through a link.
        let number = u64::MAX / 4 + 100;
        push(&bed, number, &manifest(number, "re/link/evil", "evil"), "evil");
        b.wait_status("the link to be in the way", |status| {
            status.troubles.iter().any(|it| it.place == "re/link/evil")
        });
        assert_eq!(b.snapshot(), before);
        for directory in [outside.as_path(), Path::new("/tmp"), b.disk(), b.state().as_path()] {
            assert!(!directory.join("evil").exists(), "{}", directory.display());
        }
        Ok(())
    });
}
