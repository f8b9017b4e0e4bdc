//! Where a batch lies before it is sent, and after it has come: its contents under numbers, and its manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use crate::leftovers::{Leftovers, Mark, is_of_batch};
use crate::manifest::{MAX_BYTES, Manifest, ManifestError, News, content_name, manifest_name, manifest_of, pack_name};
use crate::open_files::{identity, open_files};
use crate::tree::digest;
use crate::version::Content;

/// So many wait for the disk at once.
const SYNCS: usize = 16;

/// Contents up to this size travel together in one file: thousands of files that are made and removed again cost some file systems (ext4)
/// more than all the rest of the work.
const SMALL: u64 = 256 * 1024;

fn is_small(content: &Content) -> bool {
    content.bytes() <= SMALL
}

/// A directory for batches of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    path: PathBuf,
}

impl Spool {
    /// Opens it, or makes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a content of a batch lies.
    pub fn content(&self, batch: u64, number: u32) -> PathBuf {
        self.path.join(content_name(batch, number))
    }

    /// Copies a file into a batch; whether it was still what is known of it. Numbers only grow.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn add(&self, batch: u64, number: u32, source: &mut File, known: &Content) -> io::Result<bool> {
        let is_known = |found| matches!(known, Content::File { digest, size, .. } if found == (*digest, *size));
        if is_small(known) {
            let mut bytes = Vec::new();
            source.take(SMALL + 1).read_to_end(&mut bytes)?;
            let same = is_known(digest(&mut bytes.as_slice())?);
            if same {
                let pack = File::options().create(true).append(true).open(self.path.join(pack_name(batch)));
                pack?.write_all(&bytes)?;
            }
            return Ok(same);
        }
        let path = self.content(batch, number);
        // One that grows meanwhile is another one already.
        io::copy(&mut source.take(known.bytes().saturating_add(1)), &mut File::create(&path)?)?;
        let same = is_known(digest(&mut File::open(&path)?)?);
        if !same {
            fs::remove_file(&path)?;
        }
        Ok(same)
    }

    /// Makes files of the small contents of a batch that has come. Those that have not come are asked for later.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn unpack(&self, manifest: &Manifest) -> io::Result<()> {
        let small = |news: &&News| news.content.is_some() && is_small(&news.item.entry.content);
        let mut pack = match File::open(self.path.join(pack_name(manifest.batch))) {
            Ok(pack) => BufReader::new(pack),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        for news in manifest.news.iter().filter(small) {
            let (size, Some(number)) = (news.item.entry.content.bytes(), news.content) else { continue };
            bytes.clear();
            pack.by_ref().take(size).read_to_end(&mut bytes)?;
            fs::write(self.content(manifest.batch, number), &bytes)?;
        }
        Ok(())
    }

    /// These contents of a batch are on the disk. Those that have not come need nothing.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&self, batch: u64, numbers: &[u32]) -> io::Result<()> {
        let sync = |number: &u32| match File::open(self.content(batch, *number)) {
            Ok(file) => file.sync_all(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        // The disk writes many at once in the time of one; each of these waits for it.
        let share = numbers.len().div_ceil(SYNCS).max(1);
        thread::scope(|scope| {
            let waiting: Vec<_> = numbers
                .chunks(share)
                .skip(1)
                .map(|chunk| scope.spawn(move || chunk.iter().try_for_each(sync)))
                .collect();
            let first = numbers.chunks(share).next().unwrap_or_default().iter().try_for_each(sync);
            let panicked = |_| Err(io::Error::other("a thread that waits for the disk has panicked"));
            waiting.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).fold(first, io::Result::and)
        })
    }

    /// The batch is complete.
    ///
    /// # Errors
    /// When the manifest cannot be written.
    pub fn close(&self, manifest: &Manifest) -> io::Result<()> {
        fs::write(self.path.join(manifest_name(manifest.batch)), manifest.to_bytes()?)
    }

    /// The batches that have come completely, the oldest first.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn batches(&self) -> io::Result<Vec<u64>> {
        let mut batches = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            batches.extend(manifest_of(Path::new(&entry?.file_name())));
        }
        batches.sort_unstable();
        Ok(batches)
    }

    /// The manifest of a batch of `peer`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn manifest(&self, batch: u64, peer: &str) -> io::Result<Result<Manifest, ManifestError>> {
        let file = File::open(self.path.join(manifest_name(batch)))?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(Manifest::read(&bytes, peer))
    }

    /// Removes what nobody comes back to: what lies here and has not changed for long.
    ///
    /// # Errors
    /// When the directory cannot be read, or something cannot be removed.
    pub fn sweep(&self, leftovers: &mut Leftovers) -> io::Result<()> {
        let mut found = BTreeMap::new();
        self.find(Path::new(""), &mut found)?;
        let dead = leftovers.see(found);
        let open = if dead.is_empty() { BTreeSet::new() } else { open_files() };
        let is_open = |way: &PathBuf| identity(&self.path.join(way)).is_some_and(|it| open.contains(&it));
        // One that is slow is not dead, and what it has brought before is not either.
        let (slow, dead): (Vec<PathBuf>, Vec<PathBuf>) = dead.into_iter().partition(is_open);
        for way in dead.iter().filter(|way| slow.is_empty() || !is_of_batch(way)) {
            let path = self.path.join(way);
            let is_directory = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir());
            match if is_directory { fs::remove_dir(&path) } else { fs::remove_file(&path) } {
                // What has come into a directory meanwhile goes with it later.
                Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
                    return Err(error);
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn find(&self, way: &Path, found: &mut BTreeMap<PathBuf, Mark>) -> io::Result<()> {
        let entries = match fs::read_dir(self.path.join(way)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            read => read?,
        };
        for entry in entries {
            let entry = entry?;
            let way = way.join(entry.file_name());
            // rsync has renamed or removed it in this moment.
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                self.find(&way, found)?;
            }
            found.insert(way, (meta.ino(), meta.size(), meta.modified().ok()));
        }
        Ok(())
    }

    /// Removes everything of this batch and of those before it: nobody comes back to them.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove_until(&self, batch: u64) -> io::Result<()> {
        let last = manifest_name(batch);
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let is_ours = name.as_encoded_bytes().first().is_some_and(u8::is_ascii_digit);
            if is_ours && Path::new(&name) <= last.as_path() {
                let path = self.path.join(&name);
                match fs::remove_file(&path) {
                    // No courier makes one.
                    Err(error) if error.kind() == ErrorKind::IsADirectory => fs::remove_dir_all(&path)?,
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leftovers::LOOKS;
    use crate::place::Place;
    use crate::plan::Item;
    use crate::version::{Entry, Seen};

    fn spool() -> (tempfile::TempDir, Spool) {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(&directory.path().join("spool")).unwrap();
        (directory, spool)
    }

    /// Puts contents into a batch and closes it.
    fn fill(spool: &Spool, directory: &Path, batch: u64, contents: &[&[u8]]) -> Manifest {
        let mut manifest = Manifest::new("n1", batch);
        for (number, bytes) in (0..).zip(contents) {
            fs::write(directory.join("source"), bytes).unwrap();
            let open = || File::open(directory.join("source")).unwrap();
            let (sum, size) = digest(&mut open()).unwrap();
            let content = Content::File { digest: sum, size, mode: 0o644 };
            assert!(spool.add(batch, number, &mut open(), &content).unwrap());
            let place = Place::try_from(format!("re/{number}")).unwrap();
            let entry = Entry::first(Seen { node: "n1", active: false, millis: 1 }, content);
            manifest.news.push(News { item: Item { place, entry }, content: Some(number) });
        }
        spool.close(&manifest).unwrap();
        manifest
    }

    #[test]
    fn a_batch_has_come_when_its_manifest_has() {
        let (directory, spool) = spool();
        let manifest = fill(&spool, directory.path(), 9, &[b"rule"]);
        spool.close(&Manifest::new("n1", 10)).unwrap();
        fs::write(spool.path().join(".tmp"), "of rsync").unwrap();
        assert_eq!(spool.batches().unwrap(), [9, 10]);
        assert_eq!(spool.manifest(9, "n1").unwrap().unwrap(), manifest);
        assert!(matches!(spool.manifest(9, "n2").unwrap(), Err(ManifestError::From(_))));
        spool.remove_until(9).unwrap();
        let left: Vec<_> = fs::read_dir(spool.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!((spool.batches().unwrap(), left.len()), (vec![10], 2), "what may be coming stays: {left:?}");
    }

    #[test]
    fn what_a_killed_rsync_has_left_goes_when_nothing_comes_any_more() {
        let (directory, spool) = spool();
        fs::create_dir(spool.path().join(".~tmp~")).unwrap();
        for way in [".00000000000000000009.m.aBcDeF", ".~tmp~/x", "00000000000000000009.0000000000"] {
            fs::write(spool.path().join(way), "a half").unwrap();
        }
        let mut leftovers = Leftovers::default();
        let mut left_after = |looks: u32| {
            (0..looks).for_each(|_| spool.sweep(&mut leftovers).unwrap());
            fs::read_dir(spool.path()).unwrap().count()
        };
        // One is slow: it stays, and what has come of a batch too.
        let slow = File::options().append(true).open(spool.path().join(".~tmp~/x")).unwrap();
        assert_eq!((left_after(LOOKS), left_after(1), left_after(LOOKS)), (3, 2, 2));
        drop(slow);
        assert_eq!(left_after(1), 0);
        fill(&spool, directory.path(), 10, &[b"rule"]);
        assert_eq!(left_after(LOOKS * 2), 2, "a batch is taken in");
    }

    #[test]
    fn small_contents_travel_in_one_file_and_large_ones_alone() {
        let (directory, spool) = spool();
        let large = vec![7; usize::try_from(SMALL).unwrap() + 1];
        let contents: [&[u8]; 5] = [b"one", b"", &large, b"two", &large[1..]];
        let manifest = fill(&spool, directory.path(), 9, &contents);
        assert_eq!(fs::read_dir(spool.path()).unwrap().count(), 3);
        spool.unpack(&manifest).unwrap();
        for (number, bytes) in (0..).zip(contents) {
            assert_eq!(fs::read(spool.content(9, number)).unwrap(), bytes, "{number}");
        }
    }

    #[test]
    fn a_pack_that_is_torn_or_missing_gives_no_content_that_is_believed() {
        let (directory, spool) = spool();
        let manifest = fill(&spool, directory.path(), 9, &[b"first", b"second"]);
        fs::write(spool.path().join(pack_name(9)), b"firstse").unwrap();
        spool.unpack(&manifest).unwrap();
        assert_eq!(fs::read(spool.content(9, 1)).unwrap(), b"se", "its digest will tell");
        fs::remove_file(spool.path().join(pack_name(9))).unwrap();
        spool.unpack(&manifest).unwrap();
    }

    #[test]
    fn what_has_changed_since_it_was_looked_at_is_not_sent() {
        let (directory, spool) = spool();
        let source = directory.path().join("a");
        for size in [4, SMALL + 1] {
            fs::write(&source, vec![1; usize::try_from(size).unwrap()]).unwrap();
            let known = Content::File { digest: [7; 32], size, mode: 0o644 };
            assert!(!spool.add(9, 0, &mut File::open(&source).unwrap(), &known).unwrap());
            assert_eq!(fs::read_dir(spool.path()).unwrap().count(), 0);
        }
    }
}
