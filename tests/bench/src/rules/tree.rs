//! The tree of rules a node is given, and what it must look like on every node.
//!
//! Whoever changes the tree here writes down what it is to be, so nothing has to be read back from a node whose program
//! may be the one that broke it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

/// Permissions of what is made here; the bench runs with umask 022.
const FILE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;

/// What a path of the tree is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A directory with these permissions.
    Dir(u32),
    /// A file: permissions, length, digest of the content.
    File(u32, u64, u64),
    /// A symbolic link and where it leads.
    Link(PathBuf),
}

/// A tree below a root, with a record of what it must be.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    want: BTreeMap<PathBuf, Entry>,
}

impl Tree {
    /// An empty one.
    pub(crate) fn make(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("make {}", root.display()))?;
        Ok(Self { root: root.to_owned(), want: BTreeMap::new() })
    }

    /// What it must be.
    pub(crate) fn want(&self) -> &BTreeMap<PathBuf, Entry> {
        &self.want
    }

    /// Where it is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes a directory.
    pub(crate) fn mkdir(&mut self, path: &str) -> Result<()> {
        fs::create_dir(self.root.join(path)).with_context(|| format!("make {path}"))?;
        self.want.insert(path.into(), Entry::Dir(DIR_MODE));
        Ok(())
    }

    /// Writes a file in place; returns the moment `close` had returned.
    pub(crate) fn write(&mut self, path: &str, content: &[u8]) -> Result<Instant> {
        let mode = match self.want.get(Path::new(path)) {
            Some(Entry::File(mode, ..)) => *mode,
            Some(Entry::Dir(_) | Entry::Link(_)) | None => FILE_MODE,
        };
        self.want.insert(path.into(), Entry::File(mode, content.len() as u64, digest(content)));
        put(&self.root.join(path), content)
    }

    /// Saves a file as an editor does: beside it under another name, then over it.
    pub(crate) fn save(&mut self, path: &str, content: &[u8]) -> Result<Instant> {
        self.want.insert(path.into(), Entry::File(FILE_MODE, content.len() as u64, digest(content)));
        let (beside, target) = (self.root.join(format!("{path}.new")), self.root.join(path));
        put(&beside, content)?;
        fs::rename(beside, target).with_context(|| format!("save {path}"))?;
        Ok(Instant::now())
    }

    /// Deletes a file.
    pub(crate) fn delete(&mut self, path: &str) -> Result<Instant> {
        fs::remove_file(self.root.join(path)).with_context(|| format!("delete {path}"))?;
        let at = Instant::now();
        self.want.remove(Path::new(path));
        Ok(at)
    }

    /// Renames a file.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<Instant> {
        fs::rename(self.root.join(from), self.root.join(to)).with_context(|| format!("rename {from}"))?;
        let at = Instant::now();
        let entry = self.want.remove(Path::new(from)).with_context(|| format!("{from} was never made"))?;
        self.want.insert(to.into(), entry);
        Ok(at)
    }

    /// Makes a symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) -> Result<()> {
        symlink(target, self.root.join(path)).with_context(|| format!("link {path}"))?;
        self.want.insert(path.into(), Entry::Link(target.into()));
        Ok(())
    }

    /// Changes the permissions of a file.
    pub(crate) fn chmod(&mut self, path: &str, mode: u32) -> Result<()> {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.root.join(path), permissions).with_context(|| format!("chmod {path}"))?;
        if let Some(Entry::File(now, ..)) = self.want.get_mut(Path::new(path)) {
            *now = mode;
        }
        Ok(())
    }
}

/// Writes a file; returns the moment `close` had returned.
pub(crate) fn put(path: &Path, content: &[u8]) -> Result<Instant> {
    let write = || -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file: File = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
        file.write_all(content)
    };
    write().with_context(|| format!("write {}", path.display()))?;
    Ok(Instant::now())
}

/// A digest of a content: enough against accidents, and nobody here attacks.
pub(crate) fn digest(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// Text of exactly so many bytes that no other call has returned for other words.
pub(crate) fn text(words: &str, bytes: usize) -> Vec<u8> {
    let line = format!("{words} ");
    line.bytes().cycle().take(bytes.max(line.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_its_length_and_begins_with_its_words() {
        let made = text("rule 7", 4096);
        assert_eq!(made.len(), 4096);
        assert!(made.starts_with(b"rule 7 rule 7"));
        assert_ne!(digest(&made), digest(&text("rule 8", 4096)));
    }
}
