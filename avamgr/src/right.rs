//! THE RIGHT TO RUN, in memory that the daemon shares with those who keep its services.
//!
//! A file in the daemon's runtime directory says for each group until when its services may run on this node. The loop
//! writes it, a plain store that never waits; the shims (see [`crate::process::shim`]) read it. It outlives the daemon, so
//! a right ends by the clock, whatever has become of who gave it, and a daemon that comes back in time goes on with it.
//!
//! The file belongs on a tmpfs: elsewhere a store may wait for the disk. It is never cut or written over while somebody
//! may read it. When its groups, its layout or the boot differ, a new file takes its name, and readers follow the name.

use std::ffi::c_void;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use avamgr_core::cluster::GroupId;
use avamgr_core::time::Instant;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::Uid;
use thiserror::Error;

#[cfg(test)]
mod tests;

/// Name of the file in the runtime directory.
pub const FILE_NAME: &str = "right";

/// The first bytes of the file.
const MAGIC: &[u8; 8] = b"avamgr\0\x01";
/// Grows with every change of what follows.
const VERSION: u32 = 1;
/// Magic, version, number of groups, identity of the boot.
const HEADER_BYTES: usize = 64;
/// The deadline, then the name.
const ENTRY_BYTES: usize = 64;
const DEADLINE_BYTES: usize = size_of::<u64>();
/// Where the kernel tells one boot from another.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The runtime directory of a daemon: that of its control socket.
pub fn runtime_of(socket: &Path) -> PathBuf {
    socket.parent().unwrap_or(Path::new("/")).to_owned()
}

/// Why the right cannot be given or read.
#[derive(Debug, Error)]
pub enum RightError {
    /// The file cannot be opened, written or mapped.
    #[error("the right to run in {} cannot be used: {source}; it needs a writable directory in memory (tmpfs)", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Somebody else's file.
    #[error("{} belongs to uid {owner} and not to us: remove it, only we may give our services the right to run", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The name is too long for the file.
    #[error("group {0} has too long a name: at most {max} bytes", max = ENTRY_BYTES - DEADLINE_BYTES)]
    Name(String),
    /// The file is not ours, not of this boot, or does not know the group.
    #[error("{} says nothing of group {group} in this boot: start the daemon", .path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The group.
        group: String,
    },
}

/// The writer's side: one for each daemon.
#[derive(Debug)]
pub struct Right {
    map: Map,
    groups: usize,
}

impl Right {
    /// Opens the file in this directory for these groups, in the order of their [`GroupId`]s. What an earlier daemon of the
    /// same groups wrote in this boot stays in force.
    ///
    /// # Errors
    /// When the file cannot be made, or is somebody else's.
    pub fn open(directory: &Path, groups: &[&str]) -> Result<Self, RightError> {
        let path = directory.join(FILE_NAME);
        let io = |source| RightError::Io { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(io)?;
        let blank = blank(groups, &fs::read(BOOT_ID).map_err(io)?)?;
        let file = match existing(&path)? {
            Some((file, content)) if same_layout(&content, &blank) => file,
            Some(_) | None => replace(&path, &blank).map_err(io)?,
        };
        let map = Map::new(&file, blank.len(), ProtFlags::PROT_READ | ProtFlags::PROT_WRITE).map_err(io)?;
        Ok(Self { map, groups: groups.len() })
    }

    /// The group may run here until then, on the clock of [`crate::clock::now`]. Never waits.
    pub fn extend(&self, group: GroupId, until: Instant) {
        if let Some(deadline) = self.deadline(group) {
            deadline.store(until.as_nanos(), Ordering::Release);
        }
    }

    /// The group may not run here any more; whoever keeps its services sees that within a second.
    pub fn revoke(&self, group: GroupId) {
        self.extend(group, Instant::BOOT);
    }

    /// Until when the group may run here; the moment of the boot when it never might.
    pub fn until(&self, group: GroupId) -> Instant {
        self.deadline(group).map_or(Instant::BOOT, |deadline| Instant::from_nanos(deadline.load(Ordering::Acquire)))
    }

    /// The groups it was opened for.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        (0..=u8::MAX).take(self.groups).map(GroupId)
    }

    fn deadline(&self, group: GroupId) -> Option<&AtomicU64> {
        (group.index() < self.groups).then(|| self.map.word(entry(group.index())))?
    }
}

/// The reader's side: one group.
#[derive(Debug)]
pub struct RightOf {
    path: PathBuf,
    group: String,
    map: Map,
    offset: usize,
    /// Device and number of the file that is mapped.
    identity: (u64, u64),
}

impl RightOf {
    /// Opens the right of a group in the file of this directory.
    ///
    /// # Errors
    /// When there is none for it in this boot, or it is somebody else's.
    pub fn open(directory: &Path, group: &str) -> Result<Self, RightError> {
        let path = directory.join(FILE_NAME);
        let io = |source| RightError::Io { path: path.clone(), source };
        let unknown = || RightError::Unknown { path: path.clone(), group: group.to_owned() };
        let (file, content) = existing(&path)?.ok_or_else(unknown)?;
        let boot = fs::read(BOOT_ID).map_err(io)?;
        let offset = find(&content, &boot, group).ok_or_else(unknown)?;
        let metadata = file.metadata().map_err(io)?;
        let map = Map::new(&file, content.len(), ProtFlags::PROT_READ).map_err(io)?;
        Ok(Self { group: group.to_owned(), map, offset, identity: (metadata.dev(), metadata.ino()), path })
    }

    /// Until when the group may run here.
    pub fn until(&self) -> Instant {
        let deadline = self.map.word(self.offset);
        deadline.map_or(Instant::BOOT, |deadline| Instant::from_nanos(deadline.load(Ordering::Acquire)))
    }

    /// Follows the name to a new file, where a daemon with other groups writes. What cannot be followed stays as it was.
    pub fn follow(&mut self) {
        let found = fs::metadata(&self.path).map(|metadata| (metadata.dev(), metadata.ino()));
        if found.is_ok_and(|identity| identity != self.identity)
            && let Some(directory) = self.path.parent()
            && let Ok(next) = Self::open(directory, &self.group)
        {
            *self = next;
        }
    }
}

/// The file in memory.
#[derive(Debug)]
struct Map {
    start: NonNull<c_void>,
    bytes: usize,
}

#[expect(unsafe_code, reason = "memory shared with other processes")]
// SAFETY: the memory belongs to the map until it is dropped, and is read and written as atomic words only.
unsafe impl Send for Map {}
#[expect(unsafe_code, reason = "memory shared with other processes")]
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    fn new(file: &File, bytes: usize, protection: ProtFlags) -> io::Result<Self> {
        let length = NonZeroUsize::new(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        // Brought in at once: the first store must not wait either.
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
        #[expect(unsafe_code, reason = "memory shared with other processes")]
        // SAFETY: a new mapping at a place of the kernel's choice; nobody ever cuts the file.
        let start = unsafe { mmap(None, length, protection, flags, file, 0) }?;
        Ok(Self { start, bytes })
    }

    /// The word at this place; `None` beyond the end or between two words.
    fn word(&self, offset: usize) -> Option<&AtomicU64> {
        if !offset.is_multiple_of(DEADLINE_BYTES) || offset + DEADLINE_BYTES > self.bytes {
            return None;
        }
        #[expect(unsafe_code, reason = "memory shared with other processes")]
        // SAFETY: within the mapping, which begins at a page; everybody uses the word atomically; it lives as long as `self`.
        Some(unsafe { self.start.byte_add(offset).cast::<AtomicU64>().as_ref() })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "memory shared with other processes")]
        // SAFETY: our own mapping, to which no reference is left.
        let _ = unsafe { munmap(self.start, self.bytes) };
    }
}

fn entry(index: usize) -> usize {
    HEADER_BYTES + index * ENTRY_BYTES
}

/// The file before anything is allowed.
fn blank(groups: &[&str], boot: &[u8]) -> Result<Vec<u8>, RightError> {
    let mut content = vec![0; entry(groups.len())];
    let count = u32::try_from(groups.len()).unwrap_or(u32::MAX);
    let header = [MAGIC.as_slice(), &VERSION.to_ne_bytes(), &count.to_ne_bytes(), boot.trim_ascii()].concat();
    content.iter_mut().take(HEADER_BYTES).zip(&header).for_each(|(to, from)| *to = *from);
    for (index, group) in groups.iter().enumerate() {
        let place = content.get_mut(entry(index) + DEADLINE_BYTES..entry(index) + DEADLINE_BYTES + group.len());
        place
            .filter(|_| group.len() <= ENTRY_BYTES - DEADLINE_BYTES)
            .ok_or_else(|| RightError::Name((*group).to_owned()))?
            .copy_from_slice(group.as_bytes());
    }
    Ok(content)
}

/// Whether both are of the same boot and groups, whatever is allowed.
fn same_layout(content: &[u8], blank: &[u8]) -> bool {
    let fixed = |bytes: &[u8]| -> Vec<u8> {
        let (header, entries) = bytes.split_at(HEADER_BYTES.min(bytes.len()));
        let names = entries.chunks(ENTRY_BYTES).flat_map(|entry| entry.iter().skip(DEADLINE_BYTES));
        header.iter().chain(names).copied().collect()
    };
    content.len() == blank.len() && fixed(content) == fixed(blank)
}

/// Where the deadline of a group is.
fn find(content: &[u8], boot: &[u8], group: &str) -> Option<usize> {
    let count = content.len().checked_sub(HEADER_BYTES)? / ENTRY_BYTES;
    let names: Vec<&str> = (0..count)
        .map(|index| std::str::from_utf8(&content[entry(index) + DEADLINE_BYTES..entry(index + 1)]).ok())
        .map(|name| name.map(|name| name.trim_end_matches('\0')))
        .collect::<Option<_>>()?;
    let known = same_layout(content, &blank(&names, boot).ok()?);
    names.iter().position(|name| *name == group).filter(|_| known).map(entry)
}

/// The file and what is in it, `None` when there is none.
fn existing(path: &Path) -> Result<Option<(File, Vec<u8>)>, RightError> {
    let io = |source| RightError::Io { path: path.to_owned(), source };
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut file = match OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let owner = file.metadata().map_err(io)?.uid();
    if owner != Uid::effective().as_raw() {
        return Err(RightError::Foreign { path: path.to_owned(), owner });
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content).map_err(io)?;
    Ok(Some((file, content)))
}

/// Puts a new file in the place of the old one, which stays what it is for those who have it open.
fn replace(path: &Path, content: &[u8]) -> io::Result<File> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&new)?;
    // Written in full: memory of a full tmpfs that is only reserved would kill its first user.
    file.write_all(content)?;
    fs::rename(&new, path)?;
    Ok(file)
}
