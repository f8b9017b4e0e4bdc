//! A directory of the config as the disk has it: what a path holds, and what is in a directory. Links in it are contents; nothing is
//! ever reached through one.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::time::Duration;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::clock;
use crate::version::Content;

/// Permissions that are replicated: nobody gets the rights of an owner from another node.
pub(crate) const MODE: u32 = 0o777;
/// A file that was changed so shortly before it was looked at may be changed again without a trace in its times.
const RACY: Duration = Duration::from_millis(20);
/// Whoever makes a file mostly writes something into it, and that soon.
const EMPTY_YET: Duration = Duration::from_secs(1);
/// Read at once.
const CHUNK: usize = 64 * 1024;

/// A directory of the config, open.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
}

/// By what it can be told, without reading it, that a file is the same as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trace {
    device: u64,
    inode: u64,
    size: i64,
    changed: (i64, i64),
    modified: (i64, i64),
    mode: u32,
}

/// What a path holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing.
    Nothing,
    /// This. With a trace, when it may be relied on.
    Holds(Content, Option<Trace>),
    /// A file that was changed while it was read, or is still empty.
    Busy,
    /// Something that is not replicated: a device, a socket, a pipe.
    Other,
}

impl Tree {
    /// Opens a directory.
    ///
    /// # Errors
    /// When it is not there, is none, or may not be entered.
    pub fn open(path: &Path) -> io::Result<Self> {
        let root = nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// A directory in it; `None` when there is none at `way`.
    ///
    /// # Errors
    /// When it cannot be entered.
    pub fn down(&self, way: &Path) -> io::Result<Option<Self>> {
        match self.at(way, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW) {
            Ok(root) => Ok(Some(Self { root })),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens what lies at `way`; the way leads through directories only, and never out of this one.
    pub(crate) fn at(&self, way: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        let way = if way.as_os_str().is_empty() { Path::new(".") } else { way };
        let beneath =
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        openat2(&self.root, way, OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(beneath))
    }

    /// What `way` holds. A file is not read again when it has the trace of what is `known`.
    ///
    /// # Errors
    /// When it cannot be looked at: nothing is known then, and least of all that there is nothing.
    pub fn look(&self, way: &Path, known: Option<(&Content, &Trace)>) -> io::Result<Look> {
        let there = match self.at(way, OFlag::O_PATH | OFlag::O_NOFOLLOW) {
            Ok(there) => there,
            // What it lay in is gone, or no directory any more.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(Look::Nothing),
            Err(errno) => return Err(errno.into()),
        };
        let stat = fstat(&there)?;
        let mode = stat.st_mode & MODE;
        match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFDIR => Ok(Look::Holds(Content::Directory { mode }, None)),
            SFlag::S_IFLNK => {
                let target = readlinkat(&there, OsStr::new(""))?.into_vec();
                Ok(Look::Holds(Content::Link { target }, None))
            }
            SFlag::S_IFREG => match known {
                Some((content, trace)) if *trace == Trace::of(&stat) => Ok(Look::Holds(content.clone(), Some(*trace))),
                Some(_) | None => self.read(way),
            },
            _ => Ok(Look::Other),
        }
    }

    /// When what lies at `way` was changed last, by its own times, in milliseconds since 1970.
    pub fn modified(&self, way: &Path) -> Option<u64> {
        let there = self.at(way, OFlag::O_PATH | OFlag::O_NOFOLLOW).ok()?;
        let stat = fstat(&there).ok()?;
        let millis = stat.st_mtime.checked_mul(1_000)?.checked_add(stat.st_mtime_nsec / 1_000_000)?;
        u64::try_from(millis).ok()
    }

    /// What has been made, renamed or deleted in the directory at `way` is on the disk. One that is gone needs nothing.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&self, way: &Path) -> io::Result<()> {
        match self.at(way, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW) {
            Ok(directory) => Ok(nix::unistd::fsync(directory)?),
            // It may be written and not be read: then everything there is gets to the disk.
            Err(Errno::EACCES) => {
                nix::unistd::sync();
                Ok(())
            }
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Which directory it is, on which file system: another one may have taken its place.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        let stat = fstat(&self.root)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Whether a rename leads from it to another one.
    ///
    /// # Errors
    /// When they cannot be asked.
    pub fn is_beside(&self, other: &Self) -> io::Result<bool> {
        Ok(self.identity()?.0 == other.identity()?.0 && self.mount() == other.mount())
    }

    /// The mount it is reached through: no rename leads from one to another, though they may be the same file system. `None` where the
    /// kernel does not say.
    fn mount(&self) -> Option<u64> {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.root.as_raw_fd())).ok()?;
        info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
    }

    /// Opens a file; `None` when there is none at `way`.
    ///
    /// # Errors
    /// When it may not be read.
    pub fn file(&self, way: &Path) -> io::Result<Option<File>> {
        let file = match self.at(way, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK) {
            Ok(file) => file,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let is_file = fstat(&file)?.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
        Ok(is_file.then(|| File::from(file)))
    }

    fn read(&self, way: &Path) -> io::Result<Look> {
        let Some(mut file) = self.file(way)? else { return Ok(Look::Busy) };
        let before = fstat(&file)?;
        let (digest, size) = digest(&mut file)?;
        let after = fstat(&file)?;
        let trace = Trace::of(&after);
        if trace != Trace::of(&before) || trace.may_be_written() {
            return Ok(Look::Busy);
        }
        let content = Content::File { digest, size, mode: after.st_mode & MODE };
        Ok(Look::Holds(content, (!trace.is_racy()).then_some(trace)))
    }

    /// The names in a directory, in order; `None` when there is none at `way`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn names(&self, way: &Path) -> io::Result<Option<Vec<OsString>>> {
        let directory = match self.at(way, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW) {
            Ok(directory) => directory,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let mut names = Vec::new();
        for entry in Dir::from_fd(directory)?.into_iter() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        Ok(Some(names))
    }
}

impl Trace {
    fn of(stat: &FileStat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            changed: (stat.st_ctime, stat.st_ctime_nsec),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            mode: stat.st_mode,
        }
    }

    fn is_racy(&self) -> bool {
        // A clock that was set back makes everything look young.
        since_1970(self.changed) + RACY >= clock::wall()
    }

    /// What was copied with its time is complete.
    fn may_be_written(&self) -> bool {
        self.size == 0 && since_1970(self.modified).abs_diff(clock::wall()) < EMPTY_YET
    }
}

fn since_1970((seconds, nanos): (i64, i64)) -> Duration {
    Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0))
}

/// SHA-256 of all that is to be read, and how much it is.
///
/// # Errors
/// When it cannot be read.
pub fn digest(source: &mut impl io::Read) -> io::Result<([u8; 32], u64)> {
    let (mut sum, mut size) = (Sha256::new(), 0u64);
    let mut chunk = vec![0; CHUNK];
    loop {
        match source.read(&mut chunk) {
            Ok(0) => return Ok((sum.finalize().into(), size)),
            Ok(read) => {
                sum.update(chunk.get(..read).unwrap_or_default());
                size += u64::try_from(read).unwrap_or(0);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn tree() -> (tempfile::TempDir, Tree) {
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::open(directory.path()).unwrap();
        (directory, tree)
    }

    fn look(tree: &Tree, way: &str) -> Look {
        tree.look(Path::new(way), None).unwrap()
    }

    fn file(text: &str, mode: u32) -> Content {
        let (digest, size) = digest(&mut text.as_bytes()).unwrap();
        Content::File { digest, size, mode }
    }

    #[test]
    fn files_directories_and_links_are_seen_as_they_are() {
        let (directory, tree) = tree();
        let path = directory.path();
        fs::create_dir(path.join("sub")).unwrap();
        fs::write(path.join("sub/a"), "rule").unwrap();
        fs::set_permissions(path.join("sub/a"), fs::Permissions::from_mode(0o4640)).unwrap();
        symlink("/etc/passwd", path.join("link")).unwrap();
        let _socket = UnixListener::bind(path.join("socket")).unwrap();
        assert!(matches!(look(&tree, "sub/a"), Look::Holds(content, _) if content == file("rule", 0o640)));
        assert!(matches!(look(&tree, "sub"), Look::Holds(Content::Directory { mode: 0o755 }, None)));
        assert_eq!(look(&tree, "link"), Look::Holds(Content::Link { target: b"/etc/passwd".to_vec() }, None));
        assert_eq!((look(&tree, "socket"), look(&tree, "none")), (Look::Other, Look::Nothing));
        assert_eq!(tree.names(Path::new("")).unwrap().unwrap(), ["link", "socket", "sub"]);
        assert_eq!((tree.names(Path::new("none")).unwrap(), tree.names(Path::new("sub/a")).unwrap()), (None, None));
    }

    #[test]
    fn no_way_leads_through_a_link_or_out_of_the_directory() {
        let (directory, tree) = tree();
        let path = directory.path();
        fs::create_dir(path.join("real")).unwrap();
        fs::write(path.join("real/a"), "rule").unwrap();
        symlink("real", path.join("link")).unwrap();
        symlink("/etc", path.join("etc")).unwrap();
        assert_eq!((look(&tree, "link/a"), look(&tree, "etc/passwd")), (Look::Nothing, Look::Nothing));
        assert_eq!(tree.names(Path::new("etc")).unwrap(), None);
        assert!(tree.look(Path::new("../x"), None).is_err());
        assert!(tree.look(Path::new("/etc/passwd"), None).is_err());
    }

    #[test]
    fn a_file_of_known_trace_is_not_read_and_a_young_one_has_none() {
        let (directory, tree) = tree();
        let path = directory.path().join("a");
        fs::write(&path, "rule").unwrap();
        assert!(matches!(look(&tree, "a"), Look::Holds(_, None)), "it may change again in this moment");
        std::thread::sleep(RACY * 2);
        let Look::Holds(content, Some(trace)) = look(&tree, "a") else { panic!("it is old enough") };
        let other = file("what was known", 0o644);
        let known = |content| tree.look(Path::new("a"), Some((content, &trace))).unwrap();
        assert_eq!(known(&other), Look::Holds(other.clone(), Some(trace)), "the trace is believed");
        // Of the same size, and with the time it had before: the inode remembers.
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "RULE").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert!(matches!(known(&content), Look::Holds(now, _) if now == file("RULE", 0o644)));
    }

    #[test]
    fn an_empty_file_is_waited_for_unless_it_has_been_so_for_long() {
        let (directory, tree) = tree();
        let made = File::create(directory.path().join("a")).unwrap();
        assert_eq!(look(&tree, "a"), Look::Busy);
        made.set_modified(std::time::SystemTime::now() - EMPTY_YET).unwrap();
        assert!(matches!(look(&tree, "a"), Look::Holds(now, _) if now == file("", 0o644)));
        made.set_modified(std::time::SystemTime::now() + EMPTY_YET * 3).unwrap();
        assert!(matches!(look(&tree, "a"), Look::Holds(..)), "a clock was set back");
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_taken_for_gone() {
        let (directory, tree) = tree();
        fs::write(directory.path().join("a"), "rule").unwrap();
        let long = "x".repeat(300);
        assert!(tree.look(Path::new(&long), None).is_err());
        assert!(matches!(look(&tree, "a/b"), Look::Nothing), "a file has nothing in it");
    }
}
