//! A directory of the config, and what is ours for it on the same file system: where new contents wait for their place, and where old
//! ones are kept.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::apply::{Placed, Spot};
use crate::filter::Filter;
use crate::place::Place;
use crate::scan::Scope;
use crate::tree::{Look, Tree, digest};
use crate::version::Content;

/// A directory of the config, and ours for it.
#[derive(Debug)]
pub struct Directory {
    tree: Tree,
    /// Where `staging` and `kept` are.
    area: PathBuf,
    staging: Tree,
    kept: Tree,
    filter: Filter,
    /// It has lost everything at once: nothing that is missing counts as gone.
    held: AtomicBool,
    /// Nobody has ever looked at it.
    first: AtomicBool,
    counter: AtomicU64,
    /// The disk fails.
    #[cfg(test)]
    pub(crate) refuses: AtomicBool,
}

/// Where ours is for a directory on another file system than our state: beside it.
pub fn area_beside(name: &str, path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).join(format!(".rules-sync-{name}"))
}

/// Whether ours is beside a directory: where the state is, no rename leads into its place.
///
/// # Errors
/// When one of them is not there.
pub fn belongs_beside(path: &Path, state: &Path) -> io::Result<bool> {
    Ok(!Tree::open(path)?.is_beside(&Tree::open(state)?)?)
}

impl Directory {
    /// Opens a directory of the config, with an area of ours.
    ///
    /// # Errors
    /// When one of them is not there or cannot be used, or they are on different file systems.
    pub fn open(path: &Path, area: &Path, filter: Filter) -> io::Result<Self> {
        let (staging, kept) = (area.join("staging"), area.join("kept"));
        let tree = Tree::open(path)?;
        fs::create_dir_all(&staging)?;
        fs::create_dir_all(&kept)?;
        let directory = Self {
            tree,
            area: area.to_owned(),
            staging: Tree::open(&staging)?,
            kept: Tree::open(&kept)?,
            filter,
            held: AtomicBool::new(false),
            first: AtomicBool::new(false),
            counter: AtomicU64::new(0),
            #[cfg(test)]
            refuses: AtomicBool::new(false),
        };
        if !directory.tree.is_beside(&directory.staging)? {
            let (path, area) = (path.display(), area.display());
            let text = format!(
                "{area} has to be on the same file system and the same mount as {path}, so that a file gets into its place in one \
                 step: name a directory below the mount point in the config, or make the directory above it writable as a whole"
            );
            return Err(io::Error::new(ErrorKind::CrossesDevices, text));
        }
        Ok(directory)
    }

    /// The directory of the config.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Where new contents wait for their place.
    pub fn staging(&self) -> &Tree {
        &self.staging
    }

    /// Where old ones are kept.
    pub fn kept(&self) -> &Tree {
        &self.kept
    }

    /// The directory of the config, and what of it is replicated.
    pub fn scope(&self) -> Scope<'_> {
        let (held, first) = (self.held.load(Ordering::Relaxed), self.first.load(Ordering::Relaxed));
        Scope { tree: &self.tree, filter: &self.filter, fresh: false, first, held }
    }

    /// Whether what is there is found, and not changed.
    pub fn expect(&self, first: bool) {
        self.first.store(first, Ordering::Relaxed);
    }

    /// Whether what is missing counts as it was.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// Where a kept content lies.
    pub fn kept_path(&self, name: &str) -> PathBuf {
        self.area.join("kept").join(name)
    }

    /// Where a content waits for its place.
    pub fn staged_path(&self, name: &str) -> PathBuf {
        self.area.join("staging").join(name)
    }

    /// What was put into one of its directories, or taken away, is on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync_rules(&self, way: &Path) -> io::Result<()> {
        #[cfg(test)]
        if self.refuses.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk refuses"));
        }
        self.tree.sync(way)
    }

    /// What was put among the kept contents is on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync_kept(&self) -> io::Result<()> {
        self.kept.sync(Path::new(""))
    }

    /// The names of all kept contents.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn kept_names(&self) -> io::Result<Vec<String>> {
        let names = self.kept.names(Path::new(""))?.unwrap_or_default();
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    /// What is kept as `name`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn kept_content(&self, name: &str) -> io::Result<Content> {
        match self.kept.look(Path::new(name), None)? {
            Look::Holds(content, _) => Ok(content),
            Look::Nothing | Look::Busy | Look::Other => Ok(Content::Gone),
        }
    }

    /// What a run that was killed has left half done may be the only copy of what was replaced: it is kept.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep_what_was_staged(&self) -> io::Result<()> {
        for name in self.staging.names(Path::new(""))?.unwrap_or_default() {
            fs::rename(self.area.join("staging").join(&name), self.area.join("kept").join(&name))?;
        }
        Ok(())
    }

    /// Puts what is kept as `name` back in its place. Returns what was there and the name it is kept under now, or why it is not
    /// possible.
    ///
    /// # Errors
    /// When the disk refuses; both contents are there still.
    pub fn put_back(
        &self,
        name: &str,
        place: &Place,
        content: &Content,
        millis: u64,
    ) -> io::Result<Result<Option<(String, Content)>, String>> {
        let here = match self.tree.look(place.way(), None)? {
            Look::Holds(content, _) => content,
            Look::Nothing => Content::Gone,
            Look::Busy | Look::Other => return Ok(Err("it is being written, or no rule".to_owned())),
        };
        let above = place.way().parent().unwrap_or(Path::new(""));
        if self.tree.down(above)?.is_none() {
            return Ok(Err(format!("its directory {} is gone: make it first", above.display())));
        }
        let kept_as = self.name(millis);
        let spot = Spot {
            tree: &self.tree,
            way: place.way(),
            staging: &self.kept,
            staged: name.as_ref(),
            kept: &self.kept,
            kept_as: kept_as.as_ref(),
        };
        match spot.put(&here, content)? {
            Placed::Done => Ok(Ok(here.has_bytes().then_some((kept_as, here)))),
            Placed::Changed => Ok(Err("it was changed in the same moment: try again".to_owned())),
            Placed::InTheWay => Ok(Err("something else lies there".to_owned())),
        }
    }

    /// A name that no content of ours has.
    pub fn name(&self, millis: u64) -> String {
        format!("{millis:015}-{:08}", self.counter.fetch_add(1, Ordering::Relaxed))
    }

    /// Moves a file that has come to the staging area and measures it; whether it is what it should be.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn stage(&self, from: &Path, wanted: &Content, name: &str) -> io::Result<bool> {
        let path = self.staged_path(name);
        match fs::rename(from, &path) {
            Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                let copied = File::create(&path).and_then(|mut copy| {
                    io::copy(&mut File::open(from)?, &mut copy)?;
                    copy.sync_all()
                });
                if let Err(error) = copied {
                    // A half of it is of no use, and would fill what is full already.
                    let _ = fs::remove_file(&path);
                    return Err(error);
                }
            }
            moved => moved?,
        }
        let measured = digest(&mut File::open(&path)?)?;
        let good = matches!(wanted, Content::File { digest, size, .. } if measured == (*digest, *size));
        if !good {
            fs::remove_file(&path)?;
        }
        Ok(good)
    }

    /// Whether a content waits for its place under this name: its bytes, whatever its permissions.
    pub fn has_staged(&self, wanted: &Content, name: &str) -> bool {
        let measured = File::open(self.staged_path(name)).and_then(|mut file| digest(&mut file));
        matches!((wanted, measured), (Content::File { digest, size, .. }, Ok(found)) if found == (*digest, *size))
    }

    /// Keeps a content that has come and is not wanted in its place.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep_theirs(&self, content: &Content, name: &str) -> io::Result<()> {
        let to = self.kept_path(name);
        match content {
            Content::Link { target } => {
                use std::os::unix::ffi::OsStrExt as _;
                symlink(std::ffi::OsStr::from_bytes(target), to)
            }
            Content::File { .. } => fs::rename(self.staged_path(name), to),
            Content::Directory { .. } | Content::Gone => Ok(()),
        }
    }
}
