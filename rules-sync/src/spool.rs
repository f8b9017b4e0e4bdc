//! Where a batch lies before it is sent, and after it has come: its contents under numbers, and its manifest.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::thread;

use crate::manifest::{MAX_BYTES, Manifest, ManifestError, content_name, manifest_name, manifest_of};
use crate::tree::digest;
use crate::version::Content;

/// So many wait for the disk at once.
const SYNCS: usize = 16;

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

    /// Copies a file into a batch; whether it was still what is known of it.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn add(&self, batch: u64, number: u32, source: &mut File, known: &Content) -> io::Result<bool> {
        let path = self.content(batch, number);
        io::copy(source, &mut File::create(&path)?)?;
        let copied = digest(&mut File::open(&path)?)?;
        let same = matches!(known, Content::File { digest, size, .. } if copied == (*digest, *size));
        if !same {
            fs::remove_file(&path)?;
        }
        Ok(same)
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
                match fs::remove_file(self.path.join(&name)) {
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

    fn spool() -> (tempfile::TempDir, Spool) {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(&directory.path().join("spool")).unwrap();
        (directory, spool)
    }

    #[test]
    fn a_batch_has_come_when_its_manifest_has() {
        let (directory, spool) = spool();
        let source = directory.path().join("a");
        fs::write(&source, "rule").unwrap();
        let (sum, size) = digest(&mut File::open(&source).unwrap()).unwrap();
        let known = Content::File { digest: sum, size, mode: 0o644 };
        assert!(spool.add(9, 0, &mut File::open(&source).unwrap(), &known).unwrap());
        assert_eq!(spool.batches().unwrap(), [0; 0]);
        spool.close(&Manifest::new("n1", 9)).unwrap();
        spool.close(&Manifest::new("n1", 10)).unwrap();
        fs::write(spool.path().join(".tmp"), "of rsync").unwrap();
        assert_eq!(spool.batches().unwrap(), [9, 10]);
        assert_eq!(spool.manifest(9, "n1").unwrap().unwrap(), Manifest::new("n1", 9));
        assert!(matches!(spool.manifest(9, "n2").unwrap(), Err(ManifestError::From(_))));
        spool.remove_until(9).unwrap();
        assert_eq!((spool.batches().unwrap(), spool.content(9, 0).exists()), (vec![10], false));
        assert!(spool.path().join(".tmp").exists(), "it may be coming");
    }

    #[test]
    fn what_has_changed_since_it_was_looked_at_is_not_sent() {
        let (directory, spool) = spool();
        let source = directory.path().join("a");
        fs::write(&source, "rule").unwrap();
        let known = Content::File { digest: [7; 32], size: 4, mode: 0o644 };
        assert!(!spool.add(9, 0, &mut File::open(&source).unwrap(), &known).unwrap());
        assert!(!spool.content(9, 0).exists());
    }
}
