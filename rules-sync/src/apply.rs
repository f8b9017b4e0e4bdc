//! Puts a content in its place, at once and whole, and keeps what was there. Every step is a rename within one file system. What
//! somebody changes in the same moment is found afterwards and put back: it is a change like any other then.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{RenameFlags, renameat2};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use crate::tree::{Look, MODE, Tree};
use crate::version::Content;

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It is in its place.
    Done,
    /// Something else is there than was known: nothing was done.
    Changed,
    /// Something that is not known lies in it, or it lies in something that is no directory: nothing was done.
    InTheWay,
}

/// A path, and our own directories on the same file system.
#[derive(Clone, Copy, Debug)]
pub struct Spot<'a> {
    /// The directory of the config.
    pub tree: &'a Tree,
    /// The way in it; not empty.
    pub way: &'a Path,
    /// Where the new content lies, when it is a file. Links are made there.
    pub staging: &'a Tree,
    /// Under which name.
    pub staged: &'a OsStr,
    /// Where what was there is kept.
    pub kept: &'a Tree,
    /// Under which name, which is free.
    pub kept_as: &'a OsStr,
}

impl Spot<'_> {
    /// Puts `new` in the place of `known`.
    ///
    /// # Errors
    /// When the file system refuses; what was there is there still, or is kept.
    pub fn put(&self, known: &Content, new: &Content) -> io::Result<Placed> {
        let above = self.way.parent().unwrap_or(Path::new(""));
        let (Some(name), Some(parent)) = (self.way.file_name(), self.tree.down(above)?) else {
            // In what is no directory there is nothing to delete.
            return Ok(if *new == Content::Gone { Placed::Done } else { Placed::InTheWay });
        };
        if !holds(&parent, name, known)? {
            return Ok(Placed::Changed);
        }
        match (known, new) {
            (Content::Directory { .. }, Content::Directory { mode }) => chmod(&parent, name, *mode),
            (Content::Gone, Content::Gone) => Ok(Placed::Done),
            (Content::Directory { .. }, _) => match remove_directory(&parent, name)? {
                Placed::Done => self.put_where_nothing_is(&parent, name, new),
                placed @ (Placed::Changed | Placed::InTheWay) => Ok(placed),
            },
            (Content::Gone, _) => self.put_where_nothing_is(&parent, name, new),
            (Content::File { .. } | Content::Link { .. }, Content::Gone) => self.take_away(&parent, name, known),
            (Content::File { .. } | Content::Link { .. }, Content::Directory { .. }) => {
                match self.take_away(&parent, name, known)? {
                    Placed::Done => self.put_where_nothing_is(&parent, name, new),
                    placed @ (Placed::Changed | Placed::InTheWay) => Ok(placed),
                }
            }
            (Content::File { .. } | Content::Link { .. }, Content::File { .. } | Content::Link { .. }) => {
                self.exchange(&parent, name, known, new)
            }
        }
    }

    fn put_where_nothing_is(&self, parent: &Tree, name: &OsStr, new: &Content) -> io::Result<Placed> {
        match new {
            Content::Gone => return Ok(Placed::Done),
            Content::Directory { mode } => {
                return match mkdirat(parent.root(), name, Mode::from_bits_truncate(0o700)) {
                    Ok(()) => chmod(parent, name, *mode),
                    Err(Errno::EEXIST) => Ok(Placed::Changed),
                    Err(errno) => Err(errno.into()),
                };
            }
            Content::File { .. } | Content::Link { .. } => self.make_ready(new)?,
        }
        match rename(self.staging, self.staged, parent, name, RenameFlags::RENAME_NOREPLACE) {
            Err(Errno::EEXIST) => Ok(Placed::Changed),
            renamed => Ok(renamed.map(|()| Placed::Done)?),
        }
    }

    /// A file has come by itself; a link is made.
    fn make_ready(&self, new: &Content) -> io::Result<()> {
        match new {
            Content::Link { target } => {
                match unlinkat(self.staging.root(), self.staged, UnlinkatFlags::NoRemoveDir) {
                    Ok(()) | Err(Errno::ENOENT) => {}
                    Err(errno) => return Err(errno.into()),
                }
                Ok(symlinkat(target.as_slice(), self.staging.root(), self.staged)?)
            }
            Content::File { mode, .. } => {
                let mode = permissions(*mode);
                Ok(fchmodat(self.staging.root(), self.staged, mode, FchmodatFlags::FollowSymlink)?)
            }
            Content::Directory { .. } | Content::Gone => Ok(()),
        }
    }

    /// The new one is there and the old one here, in one step; then it is seen whether the old one was what it should be.
    fn exchange(&self, parent: &Tree, name: &OsStr, known: &Content, new: &Content) -> io::Result<Placed> {
        self.make_ready(new)?;
        let swap = || rename(self.staging, self.staged, parent, name, RenameFlags::RENAME_EXCHANGE);
        match swap() {
            Err(Errno::ENOENT) => return Ok(Placed::Changed),
            swapped => swapped?,
        }
        // Until the old one is kept, whatever goes wrong puts it back.
        let kept = match holds(self.staging, self.staged, known) {
            Ok(true) => {
                let keep = RenameFlags::RENAME_NOREPLACE;
                rename(self.staging, self.staged, self.kept, self.kept_as, keep).map_err(io::Error::from)
            }
            Ok(false) => {
                swap()?;
                return Ok(Placed::Changed);
            }
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            swap()?;
            return Err(error);
        }
        Ok(Placed::Done)
    }

    fn take_away(&self, parent: &Tree, name: &OsStr, known: &Content) -> io::Result<Placed> {
        match rename(parent, name, self.kept, self.kept_as, RenameFlags::RENAME_NOREPLACE) {
            Err(Errno::ENOENT) => return Ok(Placed::Changed),
            taken => taken?,
        }
        let looked = holds(self.kept, self.kept_as, known);
        if matches!(looked, Ok(true)) {
            return Ok(Placed::Done);
        }
        match rename(self.kept, self.kept_as, parent, name, RenameFlags::RENAME_NOREPLACE) {
            // Somebody has made another one meanwhile: this one is kept, and that one is seen.
            Ok(()) | Err(Errno::EEXIST) => looked.map(|_| Placed::Changed),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Whether this, and nothing else, is there.
fn holds(directory: &Tree, name: &OsStr, content: &Content) -> io::Result<bool> {
    Ok(match directory.look(Path::new(name), None)? {
        Look::Nothing => *content == Content::Gone,
        Look::Holds(here, _) => here == *content,
        Look::Busy | Look::Other => false,
    })
}

fn chmod(parent: &Tree, name: &OsStr, mode: u32) -> io::Result<Placed> {
    // Also one that may not be read.
    fchmodat(parent.root(), name, permissions(mode), FchmodatFlags::NoFollowSymlink)?;
    Ok(Placed::Done)
}

/// Nobody gets the rights of an owner from another node.
fn permissions(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & MODE)
}

fn remove_directory(parent: &Tree, name: &OsStr) -> io::Result<Placed> {
    match unlinkat(parent.root(), name, UnlinkatFlags::RemoveDir) {
        Ok(()) => Ok(Placed::Done),
        Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(Placed::InTheWay),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(Placed::Changed),
        Err(errno) => Err(errno.into()),
    }
}

fn rename(from: &Tree, old: &OsStr, to: &Tree, new: &OsStr, flags: RenameFlags) -> Result<(), Errno> {
    renameat2(from.root(), old, to.root(), new, flags)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A directory of rules, and ours beside it.
    struct Bench {
        directory: tempfile::TempDir,
        rules: Tree,
        staging: Tree,
        kept: Tree,
    }

    impl Bench {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let open = |name: &str| {
                fs::create_dir(directory.path().join(name)).unwrap();
                Tree::open(&directory.path().join(name)).unwrap()
            };
            let (rules, staging, kept) = (open("rules"), open("staging"), open("kept"));
            Self { directory, rules, staging, kept }
        }

        fn path(&self, way: &str) -> PathBuf {
            self.directory.path().join(way)
        }

        fn here(&self, way: &str) -> Content {
            match self.rules.look(Path::new(way), None).unwrap() {
                Look::Holds(content, _) => content,
                Look::Nothing => Content::Gone,
                other @ (Look::Busy | Look::Other) => panic!("{other:?}"),
            }
        }

        fn stage(&self, text: &str) -> Content {
            fs::write(self.path("staging/new"), text).unwrap();
            match self.staging.look(Path::new("new"), None).unwrap() {
                Look::Holds(content, _) => content,
                other @ (Look::Nothing | Look::Busy | Look::Other) => panic!("{other:?}"),
            }
        }

        fn spot<'a>(&'a self, way: &'a str) -> Spot<'a> {
            Spot {
                tree: &self.rules,
                way: Path::new(way),
                staging: &self.staging,
                staged: OsStr::new("new"),
                kept: &self.kept,
                kept_as: OsStr::new("old"),
            }
        }

        fn put(&self, way: &str, known: &Content, new: &Content) -> Placed {
            let placed = self.spot(way).put(known, new).unwrap();
            if placed == Placed::Done {
                assert_eq!(self.here(way), *new, "{way}");
            }
            placed
        }

        fn kept(&self) -> Option<String> {
            fs::read_to_string(self.path("kept/old")).ok()
        }
    }

    #[test]
    fn files_come_change_and_go_and_what_was_there_is_kept() {
        let bench = Bench::new();
        let first = bench.stage("first");
        assert_eq!(bench.put("a", &Content::Gone, &first), Placed::Done);
        let second = bench.stage("second");
        assert_eq!((bench.put("a", &first, &second), bench.kept().unwrap().as_str()), (Placed::Done, "first"));
        fs::remove_file(bench.path("kept/old")).unwrap();
        assert_eq!((bench.put("a", &second, &Content::Gone), bench.kept().unwrap().as_str()), (Placed::Done, "second"));
        assert_eq!(bench.put("a", &Content::Gone, &Content::Gone), Placed::Done);
    }

    #[test]
    fn directories_and_links_come_and_go_and_take_each_others_place() {
        let bench = Bench::new();
        let directory = Content::Directory { mode: 0o750 };
        let link = Content::Link { target: b"/nowhere".to_vec() };
        assert_eq!(bench.put("a", &Content::Gone, &directory), Placed::Done);
        assert_eq!(bench.put("a", &directory, &Content::Directory { mode: 0o700 }), Placed::Done);
        assert_eq!(bench.put("a", &Content::Directory { mode: 0o700 }, &link), Placed::Done);
        let file = bench.stage("file");
        assert_eq!(bench.put("a", &link, &file), Placed::Done);
        fs::remove_file(bench.path("kept/old")).unwrap();
        assert_eq!(bench.put("a", &file, &directory), Placed::Done);
        assert_eq!(bench.put("a", &directory, &Content::Gone), Placed::Done);
    }

    #[test]
    fn what_was_changed_meanwhile_is_left_alone() {
        let bench = Bench::new();
        let known = bench.stage("known");
        for (was, is) in [(&known, Some("edited")), (&known, None), (&Content::Gone, Some("made"))] {
            let _ = fs::remove_file(bench.path("rules/a"));
            if let Some(text) = is {
                fs::write(bench.path("rules/a"), text).unwrap();
            }
            let here = bench.here("a");
            let news = [bench.stage("new"), Content::Gone, Content::Directory { mode: 0o755 }];
            for new in news.iter().filter(|new| **new != here) {
                assert_eq!(bench.put("a", was, new), Placed::Changed);
                assert_eq!((bench.here("a"), bench.kept()), (here.clone(), None));
            }
        }
    }

    #[test]
    fn what_is_changed_in_the_last_moment_is_put_back() {
        let bench = Bench::new();
        let known = bench.stage("known");
        fs::write(bench.path("rules/a"), "edited after the look").unwrap();
        let (here, new) = (bench.here("a"), bench.stage("new"));
        let spot = bench.spot("a");
        assert_eq!(spot.exchange(&bench.rules, OsStr::new("a"), &known, &new).unwrap(), Placed::Changed);
        assert_eq!((bench.here("a"), bench.kept()), (here.clone(), None));
        assert_eq!(spot.take_away(&bench.rules, OsStr::new("a"), &known).unwrap(), Placed::Changed);
        assert_eq!((bench.here("a"), bench.kept()), (here, None));
    }

    #[test]
    fn what_cannot_be_kept_stays_where_it_was() {
        let bench = Bench::new();
        let first = bench.stage("first");
        assert_eq!(bench.put("a", &Content::Gone, &first), Placed::Done);
        fs::write(bench.path("kept/old"), "of another time").unwrap();
        let second = bench.stage("second");
        assert!(bench.spot("a").put(&first, &second).is_err());
        assert_eq!((bench.here("a"), bench.kept().as_deref()), (first.clone(), Some("of another time")));
        assert_eq!(fs::read_to_string(bench.path("staging/new")).unwrap(), "second");
        assert!(bench.spot("a").put(&first, &Content::Gone).is_err());
        assert_eq!(bench.here("a"), first);
    }

    #[test]
    fn what_lies_in_a_directory_and_is_not_known_keeps_it_there() {
        let bench = Bench::new();
        fs::create_dir(bench.path("rules/a")).unwrap();
        fs::write(bench.path("rules/a/mine"), "unknown").unwrap();
        let (known, file) = (bench.here("a"), bench.stage("file"));
        assert_eq!(bench.put("a", &known, &Content::Gone), Placed::InTheWay);
        assert_eq!(bench.put("a", &known, &file), Placed::InTheWay);
        assert_eq!(fs::read_to_string(bench.path("rules/a/mine")).unwrap(), "unknown");
    }

    #[test]
    fn nothing_is_put_through_a_link_or_where_there_is_no_directory() {
        let bench = Bench::new();
        fs::create_dir(bench.path("outside")).unwrap();
        symlink("../outside", bench.path("rules/link")).unwrap();
        let file = bench.stage("file");
        assert_eq!(bench.put("link/a", &Content::Gone, &file), Placed::InTheWay);
        assert_eq!(bench.put("none/a", &Content::Gone, &file), Placed::InTheWay);
        assert!(!bench.path("outside/a").exists());
    }
}
