//! Several nodes change what they like, the same and different things, all at once.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use avamgr::clock;
use avamgr_lab::story;

use crate::bed::{Bed, Setup};
use crate::chance::Chance;
use crate::node::SOON;

/// Longer where somebody says so.
fn seconds() -> Duration {
    let told = std::env::var("RULES_SYNC_FAULTS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(told.unwrap_or(20))
}

/// One user of a node.
struct User<'a> {
    bed: &'a Bed,
    node: usize,
    chance: Chance,
    count: usize,
}

impl User<'_> {
    /// A path that all nodes change, or one of this node alone.
    fn way(&mut self) -> String {
        let own = if self.chance.below(2) == 0 { "all".to_owned() } else { format!("of{}", self.node) };
        let number = self.chance.below(12);
        match self.chance.below(3) {
            0 => format!("{own}-{number}"),
            depth => format!(
                "{own}-d{}{}/r{number}",
                self.chance.below(4),
                "/sub".repeat(usize::try_from(depth - 1).unwrap())
            ),
        }
    }

    fn path(&self, way: &str) -> std::path::PathBuf {
        self.bed.nodes[self.node].path(way)
    }

    /// What its user destroys is nobody else's loss.
    fn destroys(&self, path: &Path) {
        if path.is_dir() {
            let inside = fs::read_dir(path).into_iter().flatten().flatten();
            inside.for_each(|entry| self.destroys(&entry.path()));
        } else if let Ok(content) = fs::read(path) {
            let mine = format!("of user {} ", self.node);
            if String::from_utf8_lossy(&content).starts_with(&mine) {
                self.bed.ledger.excuse(&content);
            }
        }
    }

    fn content(&mut self) -> String {
        self.count += 1;
        let length = self.chance.below(3_000);
        format!("of user {} {}{}", self.node, self.count, ".".repeat(usize::try_from(length).unwrap()))
    }

    /// Anything may have been made or taken away by others meanwhile: what cannot be done is not done.
    fn step(&mut self) {
        let way = self.way();
        let path = self.path(&way);
        match self.chance.below(10) {
            0..=4 => self.write(&path, &way, false),
            5 | 6 => self.write(&path, &way, true),
            7 => {
                self.destroys(&path);
                drop(fs::remove_file(&path));
            }
            8 => {
                let to = self.way();
                let to = self.path(&to);
                if to != path {
                    self.destroys(&to);
                    drop(fs::rename(&path, &to));
                }
            }
            _ if self.chance.below(4) == 0 => {
                if let Some(above) = path.parent().filter(|above| *above != self.bed.nodes[self.node].rules()) {
                    self.destroys(above);
                    drop(fs::remove_dir_all(above));
                }
            }
            _ => {
                use std::os::unix::fs::PermissionsExt as _;
                let mode = [0o600, 0o640, 0o644][usize::try_from(self.chance.below(3)).unwrap()];
                if path.is_file() {
                    drop(fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
                }
            }
        }
    }

    fn write(&mut self, path: &Path, way: &str, beside: bool) {
        let content = self.content();
        if let Some(above) = path.parent() {
            drop(fs::create_dir_all(above));
        }
        self.destroys(path);
        let written = if beside {
            let temporary = path.with_extension("new~");
            fs::write(&temporary, &content).and_then(|()| fs::rename(&temporary, path))
        } else {
            fs::write(path, &content)
        };
        if written.is_ok() {
            self.bed.ledger.add(content.as_bytes(), format!("{way}: {}", &content[..content.len().min(16)]));
        }
    }
}

fn everybody_at_once(bed: &Bed, time: Duration, seed: u64) {
    let end = clock::now() + time;
    let steps: Vec<usize> = thread::scope(|scope| {
        let users: Vec<_> = (0..bed.nodes.len())
            .map(|node| {
                let chance = Chance::new(seed + u64::try_from(node).unwrap());
                let mut user = User { bed, node, chance, count: 0 };
                scope.spawn(move || {
                    let mut steps = 0;
                    while clock::now() < end {
                        user.step();
                        steps += 1;
                        thread::sleep(Duration::from_millis(user.chance.below(12)));
                    }
                    steps
                })
            })
            .collect();
        users.into_iter().map(|user| user.join().unwrap()).collect()
    });
    let took = bed.wait_identical(SOON);
    println!("{steps:?} steps; identical {took:?} after the last; {} conflicts", bed.finish(SOON).len());
}

#[test]
fn two_nodes_that_change_everything_at_once_end_with_the_same_and_lose_nothing() {
    story(|| {
        let bed = Setup::default().start();
        bed.write(0, "stays", "there is always something");
        everybody_at_once(&bed, seconds(), 7);
        Ok(())
    });
}

#[test]
fn three_nodes_that_change_everything_at_once_end_with_the_same_and_lose_nothing() {
    story(|| {
        let bed = Setup { nodes: 3, ..Setup::default() }.start();
        bed.write(2, "stays", "there is always something");
        for node in 0..2 {
            bed.nodes[node].wait_holds("stays", b"there is always something");
        }
        everybody_at_once(&bed, seconds() / 2, 77);
        Ok(())
    });
}

#[test]
fn of_three_nodes_each_tells_every_other() {
    story(|| {
        let bed = Setup { nodes: 3, ..Setup::default() }.start();
        for node in 0..3 {
            for number in 0..50 {
                bed.write(node, format!("of{node}-{number}"), format!("{number} of {node}"));
            }
        }
        bed.wait_settled(SOON);
        assert_eq!(bed.nodes[0].snapshot().len(), 150);
        // The same path on all of them in one moment: one wins everywhere, the others are kept.
        for round in 0..5 {
            for node in 0..3 {
                // The one that has won is overwritten by hand on all of them.
                bed.ledger.excuse(&bed.nodes[node].read("same").unwrap_or_default());
                bed.write(node, "same", format!("round {round}, of {node}"));
            }
            bed.wait_settled(SOON);
        }
        // Two that hear of each other through the third only know no other way, and need none.
        bed.nodes[2].stop();
        bed.write(0, "same", "while the third is away");
        bed.nodes[1].wait_holds("same", b"while the third is away");
        bed.nodes[2].start();
        let conflicts = bed.finish(SOON);
        println!("{} conflicts", conflicts.len());
        assert!(!conflicts.is_empty() && conflicts.iter().all(|it| it.place == "re/same"), "{conflicts:?}");
        Ok(())
    });
}
