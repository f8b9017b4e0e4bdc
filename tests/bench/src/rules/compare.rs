//! Whether a node's tree is what it must be: paths, types, link targets, permissions and contents.
//!
//! The comparison runs beside what is measured, so it looks at little while much is missing: it goes forward only over
//! what is right already, and reads everything only when nothing is left.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::tree::{Entry, Tree, digest};

/// Between two looks at least, and at least so many times what a look takes.
const PACE: Duration = Duration::from_millis(2);
const REST: u32 = 4;

/// How a wait for a tree ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Both trees were what they must be at this moment.
    Identical(Instant),
    /// They were not; the first difference.
    Never(String),
}

/// Waits until both trees are what `tree` says. `go_on` can end it early.
pub(crate) fn wait_identical(tree: &Tree, copy: &Path, limit: Duration, go_on: &dyn Fn() -> bool) -> Result<Ended> {
    let end = Instant::now() + limit;
    let mut missing = tree.want().iter().peekable();
    let mut last = String::new();
    while Instant::now() < end && go_on() {
        let begin = Instant::now();
        while missing.next_if(|(path, entry)| is(&copy.join(path), entry)).is_some() {}
        if let Some((path, _)) = missing.peek() {
            last = format!("{} is not there yet", path.display());
        } else {
            let seen = Instant::now();
            match first_difference(tree.want(), copy)?.or(first_difference(tree.want(), tree.root())?) {
                None => return Ok(Ended::Identical(seen)),
                Some(difference) => last = difference,
            }
        }
        thread::sleep((begin.elapsed() * REST).max(PACE).min(Duration::from_secs(1)));
    }
    // A look that was skipped for want of time still counts: it is made once more, without hurry.
    Ok(match first_difference(tree.want(), copy)?.or(first_difference(tree.want(), tree.root())?) {
        None => Ended::Identical(Instant::now()),
        Some(difference) => Ended::Never(if go_on() { difference } else { last }),
    })
}

/// The first thing that is not as it must be below `root`.
pub(crate) fn first_difference(want: &BTreeMap<PathBuf, Entry>, root: &Path) -> Result<Option<String>> {
    let mut paths = Vec::new();
    collect(root, Path::new(""), &mut paths)?;
    if let Some(extra) = paths.iter().find(|path| !want.contains_key(*path)) {
        return Ok(Some(format!("{} should not be there", extra.display())));
    }
    let wrong = want.iter().find(|(path, entry)| !is(&root.join(path), entry));
    Ok(wrong.map(|(path, _)| format!("{} is missing or differs", path.display())))
}

/// Whether a path is what it must be; the cheap questions come first.
fn is(path: &Path, entry: &Entry) -> bool {
    let Ok(found) = fs::symlink_metadata(path) else { return false };
    let mode = found.mode() & 0o7777;
    match entry {
        Entry::Dir(wanted) => found.is_dir() && mode == *wanted,
        Entry::Link(target) => found.is_symlink() && fs::read_link(path).is_ok_and(|it| it == *target),
        Entry::File(wanted, len, content) => {
            found.is_file()
                && found.len() == *len
                && mode == *wanted
                && fs::read(path).is_ok_and(|bytes| digest(&bytes) == *content)
        }
    }
}

/// All paths below a directory. What vanishes while we look is not there.
fn collect(root: &Path, below: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries = match fs::read_dir(root.join(below)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        paths.push(path.clone());
        if is_dir {
            collect(root, &path, paths)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_is_seen() {
        let dir = std::env::temp_dir().join(format!("rules-bench-{}", std::process::id()));
        let (one, other) = (dir.join("one"), dir.join("other"));
        let mut trees = [Tree::make(&one).unwrap(), Tree::make(&other).unwrap()];
        for tree in &mut trees {
            tree.mkdir("d").unwrap();
            tree.write("d/a", b"same").unwrap();
            tree.link("d/l", "a").unwrap();
            tree.chmod("d/a", 0o600).unwrap();
        }
        let [tree, copy] = &mut trees;
        let look = || first_difference(tree.want(), &other).unwrap();
        assert_eq!(look(), None);
        copy.write("d/a", b"sema").unwrap();
        assert_eq!(look().unwrap(), "d/a is missing or differs");
        copy.write("d/a", b"same").unwrap();
        copy.chmod("d/a", 0o640).unwrap();
        assert_eq!(look().unwrap(), "d/a is missing or differs");
        copy.chmod("d/a", 0o600).unwrap();
        copy.write("d/b", b"").unwrap();
        assert_eq!(look().unwrap(), "d/b should not be there");
        copy.delete("d/b").unwrap();
        copy.delete("d/l").unwrap();
        copy.link("d/l", "b").unwrap();
        assert_eq!(look().unwrap(), "d/l is missing or differs");
        fs::remove_dir_all(dir).unwrap();
    }
}
