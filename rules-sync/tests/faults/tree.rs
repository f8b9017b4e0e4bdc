//! What a tree holds: paths, kinds, permissions, contents.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    Directory(u32),
    /// Permissions, size, digest.
    File(u32, u64, u64),
    Link(PathBuf),
    Other,
}

pub(crate) type Snapshot = BTreeMap<PathBuf, Thing>;

/// Enough against accidents, and nobody here attacks.
pub(crate) fn digest(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// Everything below a directory. What vanishes meanwhile is not there.
pub(crate) fn snapshot(root: &Path) -> io::Result<Snapshot> {
    let mut all = Snapshot::new();
    let mut next = vec![PathBuf::new()];
    while let Some(way) = next.pop() {
        let entries = match fs::read_dir(root.join(&way)) {
            Err(error) if is_gone(&error) => continue,
            entries => entries?,
        };
        for entry in entries {
            let way = way.join(entry?.file_name());
            match look(&root.join(&way)) {
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
                Ok(thing) => {
                    next.extend(matches!(thing, Thing::Directory(_)).then(|| way.clone()));
                    all.insert(way, thing);
                }
            }
        }
    }
    Ok(all)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn look(path: &Path) -> io::Result<Thing> {
    let found = fs::symlink_metadata(path)?;
    let mode = found.mode() & 0o777;
    Ok(if found.is_symlink() {
        Thing::Link(fs::read_link(path)?)
    } else if found.is_dir() {
        Thing::Directory(mode)
    } else if found.is_file() {
        let content = fs::read(path)?;
        Thing::File(mode, u64::try_from(content.len()).unwrap_or(0), digest(&content))
    } else {
        Thing::Other
    })
}

/// The first few differences, in words.
pub(crate) fn differences(one: &Snapshot, other: &Snapshot) -> Vec<String> {
    let paths: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let differs = paths.into_iter().filter(|path| one.get(*path) != other.get(*path));
    differs.take(5).map(|path| format!("{path:?}: {:?} / {:?}", one.get(path), other.get(path))).collect()
}
