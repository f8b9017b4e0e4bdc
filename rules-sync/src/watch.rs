//! Hears of changes from the kernel. What it hears is a hint and never the truth: events are lost, and come in another order than
//! things happened. So it says only where to look, and where everything has to be looked at.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::place::Place;
use crate::settle::Hint;

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Something happened at a path, or below it.
    Change(Place, Hint),
    /// Nobody knows what happened in a directory of the config: everything has to be looked at.
    Doubt(Place, String),
    /// From now on not everything that happens in a directory of the config is heard: why, and what to do.
    Blind(Place, String),
}

/// The watch over one directory of the config, until it is dropped.
#[derive(Debug)]
pub struct Watch {
    watcher: RecommendedWatcher,
    root: Place,
    base: PathBuf,
    /// Directories in it that may not be read, and so not be watched.
    closed: BTreeSet<PathBuf>,
}

impl Watch {
    /// Begins to watch; `tell` is called on a thread of its own and must not wait.
    ///
    /// # Errors
    /// When the directory cannot be watched: in words, with what to do.
    pub fn start(root: Place, path: &Path, tell: impl Fn(Heard) + Send + 'static) -> Result<Self, String> {
        let path = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
        let (base, place_of_root) = (path.clone(), root.clone());
        let on_event = move |event: notify::Result<notify::Event>| match event {
            Ok(event) if event.need_rescan() => {
                tell(Heard::Doubt(root.clone(), "more happened than the kernel can tell".to_owned()));
            }
            Ok(event) => {
                let Some(hint) = hint(event.kind) else { return };
                for path in &event.paths {
                    if let Some(place) = place(&root, &base, path) {
                        tell(Heard::Change(place, hint));
                    }
                }
            }
            Err(error) => tell(Heard::Blind(root.clone(), explain(&error))),
        };
        let mut watcher = RecommendedWatcher::new(on_event, links_are_contents()).map_err(|error| explain(&error))?;
        let mut closed = BTreeSet::new();
        watch_all(&mut watcher, &path, &mut closed).map_err(|error| explain(&error))?;
        if closed.contains(&path) {
            return Err(format!("{}: it may not be read", path.display()));
        }
        Ok(Self { watcher, root: place_of_root, base: path, closed })
    }

    /// What happens in a directory from now on is heard, and what lies in it now will be found by a look. To have heard that it was
    /// made is not enough: the library watches a new directory only when it has nothing else to tell.
    pub fn attend(&mut self, place: &Place) {
        let path = self.base.join(place.way());
        if place != &self.root && fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            // What cannot be watched is told by the look, or by the library when it tries it itself.
            let _ = watch_all(&mut self.watcher, &path, &mut self.closed);
        }
    }

    /// Whether a path is a directory that may not be read, and nobody knew that it is one: others that came with it may not be
    /// watched either.
    pub fn is_newly_closed(&self, place: &Place) -> bool {
        let path = self.base.join(place.way());
        let is_directory = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir());
        is_directory && !self.closed.contains(&path) && fs::read_dir(&path).is_err_and(|error| is_closed(&error))
    }

    /// Tries again to watch what may not be read; what is watched now has to be looked at.
    pub fn try_closed(&mut self) -> Vec<Place> {
        let mut opened = Vec::new();
        for path in std::mem::take(&mut self.closed) {
            match watch_all(&mut self.watcher, &path, &mut self.closed) {
                Ok(()) if self.closed.contains(&path) => {}
                Ok(()) => opened.extend(place(&self.root, &self.base, &path)),
                // It is gone.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) || !path.exists() => {}
                Err(_) => drop(self.closed.insert(path)),
            }
        }
        opened
    }
}

fn is_closed(error: &io::Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied
}

/// Watches a directory and everything in it but what is `closed`: the library gives up at the first of these.
fn watch_all(watcher: &mut RecommendedWatcher, path: &Path, closed: &mut BTreeSet<PathBuf>) -> notify::Result<()> {
    let error = match watcher.watch(path, RecursiveMode::Recursive) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if !matches!(&error.kind, notify::ErrorKind::Io(error) if is_closed(error)) {
        return Err(error);
    }
    if error.paths.iter().any(|it| it == path) {
        closed.insert(path.to_owned());
        return Ok(());
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if is_closed(&error) => {
            closed.insert(path.to_owned());
            return Ok(());
        }
        Err(_) => return Err(error),
    };
    // It is watched itself by now, and so is what will come into it.
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        match watch_all(watcher, &entry.path(), closed) {
            // It has gone meanwhile.
            Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
            done => done?,
        }
    }
    Ok(())
}

/// What a link points to is not ours to watch.
fn links_are_contents() -> notify::Config {
    notify::Config::default().with_follow_symlinks(false)
}

fn explain(error: &notify::Error) -> String {
    match error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "the kernel watches no more directories: raise fs.inotify.max_user_watches (sysctl)".to_owned()
        }
        notify::ErrorKind::Generic(_)
        | notify::ErrorKind::Io(_)
        | notify::ErrorKind::PathNotFound
        | notify::ErrorKind::WatchNotFound
        | notify::ErrorKind::InvalidConfig(_) => error.to_string(),
    }
}

/// What an event says of its path; `None` when nothing has changed.
fn hint(kind: EventKind) -> Option<Hint> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Hint::Done),
        EventKind::Access(_) => None,
        // Links are never closed, and files are written before they are.
        EventKind::Create(CreateKind::Folder | CreateKind::File | CreateKind::Other | CreateKind::Any) => {
            Some(Hint::Found)
        }
        EventKind::Modify(ModifyKind::Data(_)) => Some(Hint::Writing),
        EventKind::Modify(ModifyKind::Name(_) | ModifyKind::Metadata(_)) | EventKind::Remove(_) => Some(Hint::Done),
        EventKind::Modify(ModifyKind::Any | ModifyKind::Other) | EventKind::Any | EventKind::Other => Some(Hint::Found),
    }
}

fn place(root: &Place, base: &Path, path: &Path) -> Option<Place> {
    let mut parts = path.strip_prefix(base).ok()?.components().map(Component::as_os_str);
    parts.try_fold(root.clone(), |place, part| place.child(part).ok())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;

    struct Watched {
        directory: tempfile::TempDir,
        heard: Receiver<Heard>,
        _watch: Watch,
    }

    impl Watched {
        fn over(directory: tempfile::TempDir) -> Self {
            let (tell, heard) = channel();
            let root = Place::root("re").unwrap();
            let watch = Watch::start(root, directory.path(), move |it| drop(tell.send(it))).unwrap();
            Self { directory, heard, _watch: watch }
        }

        /// Waits until this is heard of a path; what else was heard of it before.
        fn expect(&self, text: &str, wanted: Hint) -> Vec<Hint> {
            let mut before = Vec::new();
            loop {
                match self.heard.recv_timeout(Duration::from_secs(10)).unwrap() {
                    Heard::Change(place, hint) if place.to_string() == text && hint == wanted => return before,
                    Heard::Change(place, hint) if place.to_string() == text => before.push(hint),
                    Heard::Change(..) => {}
                    doubt @ (Heard::Doubt(..) | Heard::Blind(..)) => panic!("{doubt:?}"),
                }
            }
        }
    }

    #[test]
    fn it_is_heard_when_a_file_is_written_and_when_that_is_done() {
        let watched = Watched::over(tempfile::tempdir().unwrap());
        let path = watched.directory.path().join("a");
        let mut file = File::create(&path).unwrap();
        watched.expect("re/a", Hint::Found);
        file.write_all(b"half").unwrap();
        watched.expect("re/a", Hint::Writing);
        drop(file);
        watched.expect("re/a", Hint::Done);
        fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(watched.expect("re/a", Hint::Done), [], "to read it is no change");
    }

    #[test]
    fn renames_links_permissions_and_deletions_are_heard() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["old", "open", "going"] {
            fs::write(path(name), "rule").unwrap();
        }
        let watched = Watched::over(directory);
        let path = |name: &str| watched.directory.path().join(name);
        fs::rename(path("old"), path("new")).unwrap();
        watched.expect("re/old", Hint::Done);
        watched.expect("re/new", Hint::Done);
        fs::set_permissions(path("open"), fs::Permissions::from_mode(0o600)).unwrap();
        watched.expect("re/open", Hint::Done);
        fs::remove_file(path("going")).unwrap();
        watched.expect("re/going", Hint::Done);
        symlink("x", path("link")).unwrap();
        watched.expect("re/link", Hint::Found);
        fs::create_dir(path("sub")).unwrap();
        watched.expect("re/sub", Hint::Found);
    }

    #[test]
    fn what_happens_in_a_new_directory_is_heard_once_it_is_attended_to() {
        let (directory, (tell, heard), (go_on, held_up)) = (tempfile::tempdir().unwrap(), channel(), channel::<()>());
        let slow = move |it| {
            drop(tell.send(it));
            // Until it has told everything the library watches nothing new. From the second time on there is nobody to wait for.
            let _ = held_up.recv();
        };
        let mut watch = Watch::start(Place::root("re").unwrap(), directory.path(), slow).unwrap();
        fs::create_dir(directory.path().join("sub")).unwrap();
        let Heard::Change(sub, Hint::Found) = heard.recv_timeout(Duration::from_secs(10)).unwrap() else { panic!() };
        let other = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(go_on);
        });
        watch.attend(&sub);
        fs::write(directory.path().join("sub/a"), "rule").unwrap();
        other.join().unwrap();
        let wanted = Heard::Change(sub.child("a".as_ref()).unwrap(), Hint::Done);
        while heard.recv_timeout(Duration::from_secs(10)).unwrap() != wanted {}
    }

    #[test]
    fn a_directory_that_is_not_there_is_said_to_be_that() {
        let error = Watch::start(Place::root("re").unwrap(), Path::new("/none/at/all"), |_| ()).unwrap_err();
        assert!(error.starts_with("/none/at/all: "), "{error}");
    }
}
