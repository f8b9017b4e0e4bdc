//! Disks that are full, may not be written or cannot be read.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;
use std::time::Duration;

use avamgr::clock;
use avamgr_lab::story;
use nix::mount::{MsFlags, mount};
use nix::unistd::Uid;

use crate::bed::{Bed, Setup};
use crate::node::SOON;

/// An account that may nothing.
const NOBODY: u32 = 65_534;
/// What can be done again is done within this time.
const HEALED: Duration = Duration::from_secs(5);

fn of_nobody() -> Bed {
    assert!(Uid::effective().is_root(), "this story needs accounts, and so root");
    Setup { owner: Some(NOBODY), alone: true, ..Setup::default() }.start()
}

/// Writes as the owner of the rules would.
fn write(bed: &Bed, node: usize, way: &str, content: &str) {
    bed.write(node, way, content);
    chown(bed.nodes[node].path(way), Some(NOBODY), Some(NOBODY)).unwrap();
}

fn mount_small(bed: &Bed, size: &str, flags: MsFlags) {
    let disk = bed.nodes[1].disk();
    let options = format!("size={size}");
    bed.nodes[1].visit(|| {
        fs::create_dir_all(disk)?;
        Ok(mount(Some("tmpfs"), disk, Some("tmpfs"), flags, Some(options.as_str()))?)
    });
}

#[test]
fn a_full_disk_stops_what_does_not_fit_and_nothing_else() {
    story(|| {
        let bed = Setup::default().make();
        mount_small(&bed, "12m", MsFlags::empty());
        for node in &bed.nodes {
            node.prepare(None);
            node.start();
        }
        bed.wait_reachable();
        bed.write(0, "before", "it was there before");
        bed.nodes[1].wait_holds("before", b"it was there before");
        let big: Vec<u8> = (0..24u32 << 20).map(|it| it.to_le_bytes()[(it % 3) as usize]).collect();
        bed.write(0, "big", &big);
        for number in 0..10 {
            let way = format!("small{number}");
            bed.write(0, &way, format!("small {number}"));
            bed.nodes[1].wait_holds(&way, format!("small {number}").as_bytes());
        }
        bed.nodes[0].remove("before");
        bed.nodes[1].wait_gone("before");
        assert_eq!(bed.nodes[1].read("big"), None);
        bed.nodes[0].wait_status("an error to be told", |status| {
            status.peers[0].error.is_some() || !status.troubles.is_empty()
        });
        mount_small(&bed, "256m", MsFlags::MS_REMOUNT);
        let begin = clock::now();
        bed.nodes[1].wait_holds("big", &big);
        println!("the big one came {:?} after there was room", clock::now().since(begin));
        bed.finish(SOON);
        Ok(())
    });
}

#[test]
fn a_directory_that_may_not_be_written_gets_everything_when_it_may() {
    story(|| {
        let bed = of_nobody();
        let b = &bed.nodes[1];
        write(&bed, 0, "there", "first");
        write(&bed, 0, "leaving", "it will go");
        b.wait_holds("there", b"first");
        b.wait_holds("leaving", b"it will go");
        b.chmod("", 0o555);
        write(&bed, 0, "there", "second");
        write(&bed, 0, "new", "new");
        bed.nodes[0].remove("leaving");
        b.wait_status("it to be told", |status| status.troubles.len() == 3);
        bed.nodes[0].wait_status("it to be told", |status| !status.troubles.is_empty());
        assert_eq!((b.read("there"), b.read("new")), (Some(b"first".to_vec()), None));
        b.chmod("", 0o755);
        let healed = bed.wait_identical(SOON);
        println!("healed {healed:?} after it may be written again");
        assert!(healed <= HEALED, "{healed:?}");
        assert_eq!(bed.finish(SOON).len(), 0);
        Ok(())
    });
}

#[test]
fn what_is_immutable_is_changed_when_it_is_not() {
    story(|| {
        let bed = Setup { alone: true, ..Setup::default() }.start();
        let b = &bed.nodes[1];
        bed.write(0, "there", "first");
        b.wait_holds("there", b"first");
        let chattr = |how: &str| Command::new("chattr").arg(how).arg(b.path("there")).status();
        assert!(
            chattr("+i")?.success(),
            "this story needs a file system with attributes below the temporary directory"
        );
        bed.write(0, "there", "second");
        bed.write(0, "other", "it goes on");
        b.wait_holds("other", b"it goes on");
        b.wait_status("it to be told", |status| status.troubles.iter().any(|it| it.place == "re/there"));
        assert!(chattr("-i")?.success());
        let healed = bed.wait_identical(SOON);
        println!("healed {healed:?} after it may be changed again");
        assert!(healed <= HEALED, "{healed:?}");
        assert_eq!(bed.finish(SOON).len(), 0);
        Ok(())
    });
}

#[test]
fn a_disk_that_becomes_read_only_gets_everything_when_it_is_not() {
    story(|| {
        let bed = Setup { alone: true, ..Setup::default() }.make();
        let b = &bed.nodes[1];
        mount_small(&bed, "12m", MsFlags::empty());
        // What is known of the rules lies on another disk.
        let state = b.state();
        b.visit(|| {
            fs::create_dir_all(&state)?;
            Ok(mount(Some("tmpfs"), &state, Some("tmpfs"), MsFlags::empty(), None::<&str>)?)
        });
        for node in &bed.nodes {
            node.prepare(None);
            node.start();
        }
        bed.wait_reachable();
        for (way, content) in [("there", "first"), ("leaving", "it will go")] {
            bed.write(0, way, content);
            b.wait_holds(way, content.as_bytes());
        }
        mount_small(&bed, "12m", MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
        bed.write(0, "there", "second");
        bed.write(0, "new", "new");
        bed.nodes[0].remove("leaving");
        b.wait_status("it to be told", |status| status.troubles.len() == 3);
        bed.nodes[0].wait_status("it to be told", |status| !status.troubles.is_empty());
        mount_small(&bed, "12m", MsFlags::MS_REMOUNT);
        let healed = bed.wait_identical(SOON);
        println!("healed {healed:?} after it may be written again");
        assert!(healed <= HEALED, "{healed:?}");
        assert_eq!(bed.finish(SOON).len(), 0);
        Ok(())
    });
}

#[test]
fn a_directory_that_is_mounted_over_itself_is_named_with_what_to_do() {
    story(|| {
        let bed = Setup::default().make();
        for node in &bed.nodes {
            node.prepare(None);
        }
        let b = &bed.nodes[1];
        let rules = b.rules();
        b.visit(|| Ok(mount(Some(&rules), &rules, None::<&str>, MsFlags::MS_BIND, None::<&str>)?));
        bed.nodes.iter().for_each(crate::node::Node::start);
        bed.wait_reachable();
        b.wait_status("the mount is named", |status| {
            let names_it = |why: &String| why.contains("the same mount");
            status.directories.iter().any(|it| it.trouble.as_ref().is_some_and(names_it))
        });
        Ok(())
    });
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_sent_when_it_can() {
    story(|| {
        let bed = of_nobody();
        let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
        let close = |way: &str| {
            a.chmod(way, 0);
            chown(a.path(way), Some(0), Some(0)).unwrap();
        };
        write(&bed, 0, "there", "first");
        b.wait_holds("there", b"first");
        // One that was there already, and one that nobody has ever read.
        write(&bed, 0, "there", "second, before it is closed");
        b.wait_holds("there", b"second, before it is closed");
        close("there");
        let beside = a.disk().join("beside");
        fs::write(&beside, "never read").unwrap();
        fs::set_permissions(&beside, std::os::unix::fs::PermissionsExt::from_mode(0o000))?;
        fs::rename(&beside, a.path("closed"))?;
        bed.ledger.add(b"never read", "the closed one");
        write(&bed, 0, "other", "it goes on");
        b.wait_holds("other", b"it goes on");
        a.wait_status("both to be named", |status| {
            ["re/there", "re/closed"].iter().all(|place| status.troubles.iter().any(|it| it.place == *place))
        });
        assert_eq!(b.read("there"), Some(b"second, before it is closed".to_vec()), "it is not gone");
        for way in ["there", "closed"] {
            a.chmod(way, 0o644);
        }
        let healed = bed.wait_identical(SOON);
        println!("healed {healed:?} after it may be read");
        assert!(healed <= HEALED, "{healed:?}");
        assert_eq!(bed.finish(SOON).len(), 0);
        Ok(())
    });
}

#[test]
fn a_directory_that_may_not_be_read_is_named_and_the_rest_is_heard() {
    story(|| {
        let bed = of_nobody();
        let (a, b) = (&bed.nodes[0], &bed.nodes[1]);
        for way in ["closed", "open", "open/closed", "open/z"] {
            fs::create_dir(a.path(way))?;
            chown(a.path(way), Some(NOBODY), Some(NOBODY))?;
        }
        write(&bed, 0, "closed/rule", "first");
        b.wait_holds("closed/rule", b"first");
        bed.wait_settled(SOON);
        a.stop();
        for way in ["closed", "open/closed"] {
            a.chmod(way, 0);
        }
        a.start();
        bed.wait_reachable();
        let closed =
            |status: &avamgr_core::courier::Status, place: &str| status.troubles.iter().any(|it| it.place == place);
        a.wait_status("both to be named, and no more", |status| {
            let is_seen = status.directories.iter().all(|it| it.trouble.is_none());
            is_seen && closed(status, "re/closed") && closed(status, "re/open/closed")
        });
        let heard = |way: &str, content: &str| {
            write(&bed, 0, way, content);
            let begin = clock::now();
            b.wait_holds(way, content.as_bytes());
            let took = clock::now().since(begin);
            assert!(took < Duration::from_secs(2), "{way} took {took:?}");
        };
        for (way, round) in ["rule", "open/rule", "open/z/rule"].into_iter().zip(0..) {
            heard(way, &format!("heard {round}"));
        }
        // One that comes with a closed one in it.
        let beside = a.disk().join("beside");
        for way in ["", "a", "a/closed", "b"] {
            fs::create_dir(beside.join(way))?;
            chown(beside.join(way), Some(NOBODY), Some(NOBODY))?;
        }
        fs::set_permissions(beside.join("a/closed"), std::os::unix::fs::PermissionsExt::from_mode(0o000))?;
        fs::rename(&beside, a.path("come"))?;
        a.wait_status("it to be named", |status| closed(status, "re/come/a/closed"));
        std::thread::sleep(Duration::from_secs(3));
        heard("come/b/rule", "heard beside a closed one");
        for way in ["closed", "open/closed", "come/a/closed"] {
            a.chmod(way, 0o755);
        }
        a.wait_status("nothing to be closed", |status| status.troubles.is_empty());
        heard("closed/rule", "heard where it was closed");
        heard("come/a/closed/rule", "heard where it was closed too");
        bed.ledger.excuse(b"first");
        assert_eq!(bed.finish(SOON).len(), 0);
        Ok(())
    });
}

#[test]
fn a_full_disk_is_tried_now_and_then_and_gets_everything_soon_after_it_has_room() {
    story(|| {
        let bed = Setup { alone: true, ..Setup::default() }.make();
        mount_small(&bed, "12m", MsFlags::empty());
        for node in &bed.nodes {
            node.prepare(None);
            node.start();
        }
        bed.wait_reachable();
        let b = &bed.nodes[1];
        let filler = b.disk().join("filler");
        b.visit(|| {
            // As much as there is room for.
            let _ = fs::write(&filler, vec![7; 16 << 20]);
            Ok(())
        });
        for number in 0..100 {
            bed.write(0, format!("rule{number}"), format!("rule {number} ").repeat(100));
        }
        let failed = || bed.nodes[0].status().unwrap().peers[0].errors.get("failed").copied().unwrap_or_default();
        bed.nodes[0].wait_status("it to be told", |status| status.peers[0].error.is_some());
        std::thread::sleep(Duration::from_secs(3));
        let before = failed();
        for number in 0..50 {
            bed.write(0, "busy", format!("something changes all the time {number}"));
            bed.ledger.excuse(format!("something changes all the time {number}").as_bytes());
            std::thread::sleep(Duration::from_millis(100));
        }
        let tried = failed() - before;
        println!("tried {tried} times in 5 s");
        assert!((1..=8).contains(&tried), "{tried}");
        b.visit(|| fs::remove_file(&filler));
        let healed = bed.wait_identical(SOON);
        println!("healed {healed:?} after there was room");
        assert!(healed <= HEALED, "{healed:?}");
        bed.finish(SOON);
        Ok(())
    });
}
