//! Compares what is known with what the disk has: every difference is a change that somebody made here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;

use crate::filter::Filter;
use crate::place::Place;
use crate::store::Record;
use crate::tree::{Look, Trace, Tree};
use crate::version::{Content, Entry, Seen};

/// A directory that had at least so many paths and has none any more was not emptied by hand: its disk is not there.
const EMPTIED: usize = 2;

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// What is known of these from now on; the others have to be told.
    pub changes: Vec<(Place, Record)>,
    /// These hold what they held; the next look is quicker.
    pub traces: Vec<(Place, Record)>,
    /// Files that were being written.
    pub busy: Vec<Place>,
    /// What could not be looked at, and so may be as it was.
    pub troubles: Vec<(Place, io::Error)>,
    /// Directories of the config that have lost everything at once, or had and have not got it back: so many paths are missing,
    /// and count as they were.
    pub missing: BTreeMap<OsString, usize>,
}

impl Found {
    /// What was found elsewhere too.
    pub fn add(&mut self, other: Self) {
        self.changes.extend(other.changes);
        self.traces.extend(other.traces);
        self.busy.extend(other.busy);
        self.troubles.extend(other.troubles);
        self.missing.extend(other.missing);
    }
}

/// A directory of the config, and what of it is replicated.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The directory.
    pub tree: &'a Tree,
    /// What is replicated. The rest counts as never looked at: what is known of it stays as it is.
    pub filter: &'a Filter,
    /// Every file is read, whatever its times say.
    pub fresh: bool,
    /// Nobody has ever looked at it: what is there was not changed, it is found.
    pub first: bool,
    /// It has lost everything at once: what is missing counts as it was, until an operator says that it is gone.
    pub held: bool,
}

/// Looks at `place` and, when it is a directory, at everything in it. `known` is what is known of these.
pub fn everything(scope: Scope<'_>, place: &Place, known: &BTreeMap<Place, Record>, seen: Seen<'_>) -> Found {
    let mut search = Search { scope, known, seen, found: Found::default(), here: BTreeMap::new() };
    search.walk(place);
    search.miss(place);
    search.found
}

/// Looks at `place` alone.
pub fn one(scope: Scope<'_>, place: &Place, known: Option<&Record>, seen: Seen<'_>) -> Found {
    let known: BTreeMap<Place, Record> = known.map(|record| (place.clone(), record.clone())).into_iter().collect();
    let mut search = Search { scope, known: &known, seen, found: Found::default(), here: BTreeMap::new() };
    search.look(place);
    search.miss(place);
    search.found
}

struct Search<'a> {
    scope: Scope<'a>,
    known: &'a BTreeMap<Place, Record>,
    seen: Seen<'a>,
    found: Found,
    /// What has been looked at, and whether something is there.
    here: BTreeMap<Place, bool>,
}

impl Search<'_> {
    fn walk(&mut self, place: &Place) {
        let mut next = vec![place.clone()];
        while let Some(place) = next.pop() {
            if !self.look(&place) {
                continue;
            }
            match self.scope.tree.names(place.way()) {
                Ok(names) => next.extend(names.into_iter().flatten().filter_map(|name| place.child(&name).ok())),
                Err(error) => self.trouble(&place, error),
            }
        }
    }

    /// Takes note of what one path holds; whether it is a directory.
    fn look(&mut self, place: &Place) -> bool {
        let known = self.known.get(place);
        let trusted = known.filter(|_| !self.scope.fresh);
        let trace = trusted.and_then(|record| Some((&record.entry.content, record.trace.as_ref()?)));
        match self.scope.tree.look(place.way(), trace) {
            Ok(Look::Holds(content, trace)) => {
                let is_directory = matches!(content, Content::Directory { .. });
                if !self.scope.filter.takes(place.way(), is_directory) {
                    return false;
                }
                self.here.insert(place.clone(), true);
                // The directory of the config is as each node has it.
                if place.way() != Path::new("") {
                    self.compare(place, content, trace);
                }
                is_directory
            }
            Ok(Look::Busy) => {
                self.here.insert(place.clone(), true);
                let taken = self.scope.filter.takes(place.way(), false);
                self.found.busy.extend(taken.then(|| place.clone()));
                false
            }
            // What is not replicated counts as nothing.
            Ok(Look::Nothing | Look::Other) => {
                self.here.insert(place.clone(), false);
                false
            }
            Err(error) => {
                self.trouble(place, error);
                false
            }
        }
    }

    fn compare(&mut self, place: &Place, content: Content, trace: Option<Trace>) {
        let known = self.known.get(place);
        match known {
            Some(record) if record.entry.content == content => {
                if record.trace != trace {
                    self.found.traces.push((place.clone(), Record { trace, ..record.clone() }));
                }
            }
            Some(_) | None => {
                // Whoever has lost its store, or comes with an old tree, has not made all of it just now.
                let modified = self.scope.tree.modified(place.way()).unwrap_or(self.seen.millis);
                let seen = Seen { millis: modified.min(self.seen.millis), ..self.seen };
                let entry = match known {
                    Some(record) => record.entry.changed(seen, content),
                    None if self.scope.first => Entry::found(seen, content),
                    None => Entry::first(seen, content),
                };
                self.found.changes.push((place.clone(), Record { entry, trace }));
            }
        }
    }

    /// What is known and was not found is gone, unless it could not be looked at, or what it lies in.
    fn miss(&mut self, root: &Place) {
        let unseen = |place: &Place| {
            let hidden = |trouble: &Place| place.as_path().starts_with(trouble.as_path());
            self.found.troubles.iter().any(|(trouble, _)| hidden(trouble))
        };
        let missing: Vec<(&Place, &Record)> = self
            .known
            .iter()
            .filter(|(place, record)| {
                record.entry.content != Content::Gone && !self.here.get(*place).copied().unwrap_or(false)
            })
            .filter(|(place, _)| place.way() != Path::new("") && !unseen(place))
            .filter(|(place, record)| {
                let is_directory = matches!(record.entry.content, Content::Directory { .. });
                self.scope.filter.takes(place.way(), is_directory)
            })
            .collect();
        let emptied = missing.len() >= EMPTIED && self.is_empty();
        if self.scope.held || emptied {
            if !missing.is_empty() {
                self.found.missing.insert(root.directory().to_owned(), missing.len());
            }
            return;
        }
        let gone = |record: &Record| Record { entry: record.entry.changed(self.seen, Content::Gone), trace: None };
        self.found.changes.extend(missing.into_iter().map(|(place, record)| (place.clone(), gone(record))));
    }

    /// Nothing that is replicated is left in the directory of the config.
    fn is_empty(&self) -> bool {
        let names = self.scope.tree.names(Path::new(""));
        let taken = |name: &OsString| self.scope.filter.takes(Path::new(name), false);
        names.is_ok_and(|names| names.is_some_and(|names| !names.iter().any(taken)))
    }

    fn trouble(&mut self, place: &Place, error: io::Error) {
        self.found.troubles.push((place.clone(), error));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::*;

    const SEEN: Seen<'_> = Seen { node: "a", active: false, millis: 1 };

    struct Rules {
        directory: tempfile::TempDir,
        tree: Tree,
        filter: Filter,
        held: bool,
        known: BTreeMap<Place, Record>,
    }

    fn place(text: &str) -> Place {
        Place::try_from(text.to_owned()).unwrap()
    }

    impl Rules {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let tree = Tree::open(directory.path()).unwrap();
            Self { directory, tree, filter: Filter::default(), held: false, known: BTreeMap::new() }
        }

        fn scope(&self) -> Scope<'_> {
            Scope { tree: &self.tree, filter: &self.filter, fresh: false, first: false, held: self.held }
        }

        fn path(&self, way: &str) -> PathBuf {
            self.directory.path().join(way)
        }

        /// What has changed, `-` before what is gone; it is known then.
        fn changes(&mut self) -> Vec<String> {
            let found = everything(self.scope(), &place("re"), &self.known, SEEN);
            assert!(found.troubles.is_empty() && found.busy.is_empty() && found.missing.is_empty(), "{found:?}");
            let mut names = Vec::new();
            for (place, record) in found.changes {
                let gone = if record.entry.content == Content::Gone { "-" } else { "" };
                names.push(format!("{gone}{place}"));
                self.known.insert(place, record);
            }
            self.known.extend(found.traces);
            names.sort();
            names
        }
    }

    #[test]
    fn everything_that_comes_changes_and_goes_is_a_change_once() {
        let mut rules = Rules::new();
        assert_eq!(rules.changes(), [""; 0]);
        fs::create_dir_all(rules.path("sub/deep")).unwrap();
        fs::write(rules.path("sub/deep/a"), "1").unwrap();
        symlink("sub", rules.path("link")).unwrap();
        let _socket = UnixListener::bind(rules.path("socket")).unwrap();
        assert_eq!(rules.changes(), ["re/link", "re/sub", "re/sub/deep", "re/sub/deep/a"]);
        assert_eq!(rules.changes(), [""; 0]);
        fs::write(rules.path("sub/deep/a"), "2").unwrap();
        assert_eq!(rules.changes(), ["re/sub/deep/a"]);
        fs::remove_dir_all(rules.path("sub")).unwrap();
        fs::write(rules.path("sub"), "a file in its place").unwrap();
        assert_eq!(rules.changes(), ["-re/sub/deep", "-re/sub/deep/a", "re/sub"]);
        assert_eq!(rules.changes(), [""; 0]);
        let record = &rules.known[&place("re/sub/deep/a")];
        assert_eq!((record.entry.version.count("a"), &record.entry.content), (3, &Content::Gone));
    }

    #[test]
    fn one_path_is_looked_at_alone() {
        let rules = Rules::new();
        fs::create_dir(rules.path("sub")).unwrap();
        fs::write(rules.path("sub/a"), "1").unwrap();
        let found = one(rules.scope(), &place("re/sub"), None, SEEN);
        assert_eq!(found.changes.len(), 1, "{found:?}");
        let (_, record) = &found.changes[0];
        fs::remove_dir_all(rules.path("sub")).unwrap();
        let found = one(rules.scope(), &place("re/sub"), Some(record), SEEN);
        assert_eq!(found.changes[0].1.entry.content, Content::Gone);
    }

    #[test]
    fn a_directory_that_has_lost_everything_at_once_was_not_emptied_by_hand() {
        let mut rules = Rules::new();
        fs::write(rules.path("a"), "1").unwrap();
        fs::write(rules.path("b"), "1").unwrap();
        assert_eq!(rules.changes().len(), 2);
        fs::remove_file(rules.path("a")).unwrap();
        fs::remove_file(rules.path("b")).unwrap();
        let look = |rules: &Rules| everything(rules.scope(), &place("re"), &rules.known, SEEN);
        let missing = |count: usize| BTreeMap::from([(OsString::from("re"), count)]);
        let found = look(&rules);
        assert_eq!((found.missing, found.changes.len()), (missing(2), 0));
        rules.held = true;
        fs::write(rules.path("b"), "2").unwrap();
        let found = look(&rules);
        assert_eq!(
            (found.missing, found.changes.len()),
            (missing(1), 1),
            "what is there is seen, what is missing is not gone"
        );
        fs::write(rules.path("a"), "1").unwrap();
        assert!(look(&rules).missing.is_empty());
        rules.held = false;
        fs::remove_file(rules.path("a")).unwrap();
        assert_eq!(rules.changes(), ["-re/a", "re/b"], "the other one is there");
    }

    #[test]
    fn what_is_not_replicated_is_never_seen_nor_gone() {
        let mut rules = Rules::new();
        fs::create_dir(rules.path("old")).unwrap();
        for way in ["a", "a~", "old/x", "b.tmp"] {
            fs::write(rules.path(way), "1").unwrap();
        }
        rules.filter = Filter::new(&[], &["*~".to_owned(), "old".to_owned()]).unwrap();
        assert_eq!(rules.changes(), ["re/a", "re/b.tmp"]);
        rules.filter = Filter::new(&[], &["*~".to_owned(), "old".to_owned(), "*.tmp".to_owned()]).unwrap();
        fs::remove_file(rules.path("b.tmp")).unwrap();
        assert_eq!(rules.changes(), [""; 0], "another config is no deletion");
    }

    #[test]
    fn what_nobody_has_seen_before_is_as_old_as_it_says() {
        let rules = Rules::new();
        let file = fs::File::create(rules.path("a")).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(5)).unwrap();
        let seen = Seen { millis: 9_000, ..SEEN };
        let found = everything(rules.scope(), &place("re"), &rules.known, seen);
        assert_eq!(found.changes[0].1.entry.stamp.millis, 5_000);
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_gone_nor_what_is_in_it() {
        let mut rules = Rules::new();
        fs::create_dir(rules.path("sub")).unwrap();
        fs::write(rules.path("sub/a"), "1").unwrap();
        fs::write(rules.path("b"), "1").unwrap();
        rules.changes();
        let mut search = Search {
            scope: rules.scope(),
            known: &rules.known,
            seen: SEEN,
            found: Found::default(),
            here: [(place("re/b"), true)].into(),
        };
        search.trouble(&place("re/sub"), io::Error::from(io::ErrorKind::PermissionDenied));
        search.miss(&place("re"));
        assert!(search.found.changes.is_empty(), "{:?}", search.found);
    }
}
