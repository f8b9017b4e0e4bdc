//! What was replaced, deleted or lost a conflict: shown, put back, and removed at last.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use super::{Courier, CourierError, Moment};
use crate::place::Place;
use crate::store::Kept;
use crate::version::{Entry, Seen};

/// How long and how much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// For so long.
    pub time: Duration,
    /// So many bytes of each directory of the config at most; what lost a conflict goes last.
    pub bytes: u64,
}

impl Courier {
    /// The file that a kept content lies in.
    pub fn kept_path(&self, name: &str, kept: &Kept) -> Option<PathBuf> {
        Some(self.directory(&kept.place)?.kept_path(name))
    }

    /// Takes note of what lies among the kept contents of a directory and nobody knows of: the courier was killed before it could
    /// say what it is. Returns how much it is. Nothing may wait for its place there.
    ///
    /// # Errors
    /// When the store cannot be used, or the disk refuses.
    pub fn adopt(&self, name: &str, moment: Moment<'_>) -> Result<usize, CourierError> {
        let (Some(directory), Ok(place)) = (self.directories.get(name), Place::root(name)) else { return Ok(0) };
        let known: BTreeSet<String> = self.store.kept()?.into_iter().map(|(name, _)| name).collect();
        // What cannot be read now stays where it is: it must not keep the rest from being replicated.
        if let Err(error) = directory.keep_what_was_staged() {
            tracing::warn!("directory {name}: what an earlier run has left cannot be kept: {error}");
        }
        let mut found = Vec::new();
        let names = directory.kept_names().unwrap_or_default();
        for orphan in names.into_iter().filter(|orphan| !known.contains(orphan)) {
            let Ok(content) = directory.kept_content(&orphan) else { continue };
            if !content.has_bytes() {
                continue;
            }
            let seen = Seen { node: &self.me, active: false, millis: moment.millis };
            let entry = Entry::first(seen, content);
            let kept = Kept { place: place.clone(), entry, millis: moment.millis, conflict: false };
            found.push((orphan, kept));
        }
        if !found.is_empty() {
            self.store.write(|changes| found.iter().try_for_each(|(orphan, kept)| changes.keep(orphan, kept)))?;
        }
        Ok(found.len())
    }

    /// Removes what has been kept for long enough, and the oldest where there is too much. Returns how much. So much time has
    /// `passed` since it was done last, or since this run began; what the clock on the wall says counts for nothing.
    ///
    /// # Errors
    /// When the store cannot be used, or the disk refuses.
    pub fn prune(&mut self, retention: Retention, passed: Duration) -> Result<usize, CourierError> {
        let ages = self.store.grow_older(passed)?;
        let all = self.store.kept()?;
        let mut removed = Vec::new();
        for name in self.directories.keys() {
            let mut own: Vec<_> = all.iter().filter(|(_, kept)| kept.place.directory() == name.as_str()).collect();
            // The first are kept longest: conflicts before the rest, the younger before the older.
            own.sort_by(|(one, a), (two, b)| (b.conflict, b.millis, two).cmp(&(a.conflict, a.millis, one)));
            let mut bytes = 0u64;
            for (file, kept) in own {
                let age = ages.get(file).copied().unwrap_or_default();
                let more = bytes.saturating_add(kept.entry.content.bytes());
                if age > retention.time || more > retention.bytes {
                    removed.push((file, kept));
                } else {
                    bytes = more;
                }
            }
        }
        let mut result = Ok(removed.len());
        removed.retain(|(file, kept)| match self.remove_kept(file, kept) {
            Ok(()) => true,
            Err(error) => {
                result = Err(error.into());
                false
            }
        });
        self.store.write(|changes| removed.iter().try_for_each(|(file, _)| changes.forget(file)))?;
        result
    }

    fn remove_kept(&self, name: &str, kept: &Kept) -> io::Result<()> {
        match self.kept_path(name, kept).map(fs::remove_file) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
            Some(Err(error)) => Err(error),
        }
    }

    /// What lost a conflict is kept like everything that was replaced: a conflict of this name, or all. Returns how many.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub fn settle(&mut self, name: Option<&str>) -> Result<usize, CourierError> {
        let conflicts: Vec<_> = self
            .store
            .kept()?
            .into_iter()
            .filter(|(file, kept)| kept.conflict && name.is_none_or(|name| name == file))
            .collect();
        self.store.write(|changes| {
            let settled = |kept: &Kept| Kept { conflict: false, ..kept.clone() };
            conflicts.iter().try_for_each(|(file, kept)| changes.keep(file, &settled(kept)))
        })?;
        Ok(conflicts.len())
    }

    /// Puts a kept content back in its place; what is there is kept in its turn. The next look finds that it has changed.
    ///
    /// # Errors
    /// When the store cannot be used, or the disk refuses; `Ok(Err(_))` says why it is not possible.
    pub fn restore(&mut self, name: &str, moment: Moment<'_>) -> Result<Result<Place, String>, CourierError> {
        let Some((_, kept)) = self.store.kept()?.into_iter().find(|(file, _)| file == name) else {
            return Ok(Err(format!(
                "nothing is kept as {name}: see `rules-sync conflicts list` and `rules-sync trash list`"
            )));
        };
        let (place, Some(directory)) = (kept.place.clone(), self.directory(&kept.place)) else {
            return Ok(Err(format!("{}: its directory is not in the config any more", kept.place)));
        };
        if place.depth() < 2 {
            let file = directory.kept_path(name);
            return Ok(Err(format!("nobody knows any more where it was: it lies in {}", file.display())));
        }
        if !self.may_change(moment) {
            return Ok(Err("changes come from the ACTIVE node only: restore it there".to_owned()));
        }
        let replaced = match directory.put_back(name, &place, &kept.entry.content, moment.millis)? {
            Ok(replaced) => replaced,
            Err(why) => return Ok(Err(format!("{place}: {why}"))),
        };
        self.store.write(|changes| {
            changes.forget(name)?;
            let Some((file, content)) = &replaced else { return Ok(()) };
            let seen = Seen { node: &self.me, active: false, millis: moment.millis };
            let kept = Kept {
                place: place.clone(),
                entry: Entry::first(seen, content.clone()),
                millis: moment.millis,
                conflict: false,
            };
            changes.keep(file, &kept)
        })?;
        Ok(Ok(place))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::directory::Directory;
    use crate::filter::Filter;
    use crate::store::Store;

    const MONTH: Duration = Duration::from_secs(30 * 86_400);
    const RETENTION: Retention = Retention { time: MONTH, bytes: 1 << 20 };
    const YEAR: u64 = 365 * 86_400_000;

    fn open(root: &Path) -> Courier {
        fs::create_dir_all(root.join("rules")).unwrap();
        let directory = Directory::open(&root.join("rules"), &root.join("area"), Filter::default()).unwrap();
        let mut courier = Courier::new("a", &[], Store::open(&root.join("store")).unwrap(), false).unwrap();
        courier.gain("re", directory).unwrap();
        courier
    }

    /// Something is among the kept contents, and this is the time on the wall.
    fn keep(courier: &mut Courier, root: &Path, name: &str, millis: u64) {
        fs::write(root.join("area/kept").join(name), name).unwrap();
        assert_eq!(courier.adopt("re", Moment { active: None, millis }).unwrap(), 1);
    }

    fn left(root: &Path) -> usize {
        fs::read_dir(root.join("area/kept")).unwrap().count()
    }

    #[test]
    fn what_is_kept_grows_old_while_the_program_runs_and_by_no_clock_on_the_wall() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let mut courier = open(root);
        keep(&mut courier, root, "old", YEAR);
        assert_eq!(courier.prune(RETENTION, Duration::ZERO).unwrap(), 0);
        keep(&mut courier, root, "of a clock that is behind", 1);
        assert_eq!(courier.prune(RETENTION, MONTH / 2).unwrap(), 0);
        drop(courier);
        let mut courier = open(root);
        keep(&mut courier, root, "of a clock that is ahead", 60 * YEAR);
        assert_eq!((courier.prune(RETENTION, Duration::ZERO).unwrap(), left(root)), (0, 3));
        let more = MONTH / 2 + Duration::from_secs(1);
        assert_eq!((courier.prune(RETENTION, more).unwrap(), left(root)), (1, 2), "the first is old enough");
        assert_eq!((courier.prune(RETENTION, more).unwrap(), left(root)), (2, 0));
    }
}
