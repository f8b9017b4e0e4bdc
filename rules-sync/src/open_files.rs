//! Which files somebody has open, as the kernel says: whoever is slow may write to one only now and then.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A file, by device and inode.
pub(crate) type Identity = (u64, u64);

/// All files that processes have open, as far as we may see: those of our account at least.
pub(crate) fn open_files() -> BTreeSet<Identity> {
    let mut open = BTreeSet::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let is_process = process.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit);
        // Whatever has ended meanwhile, or is somebody else's, has nothing of ours open.
        for file in
            is_process.then(|| fs::read_dir(process.path().join("fd"))).into_iter().flatten().flatten().flatten()
        {
            open.extend(identity(&file.path()));
        }
    }
    open
}

/// Which file a path leads to.
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_open_as_long_as_somebody_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let file = fs::File::create(&path).unwrap();
        let id = identity(&path).unwrap();
        assert!(open_files().contains(&id));
        drop(file);
        assert!(!open_files().contains(&id));
    }
}
