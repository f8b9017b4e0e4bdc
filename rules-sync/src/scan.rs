//! Compares what is known with what the disk has: every difference is a change that somebody made here.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::Path;

use crate::filter::Filter;
use crate::place::Place;
use crate::store::{Record, StoreError, View};
use crate::tree::{Look, Trace, Tree};
use crate::version::{Content, Entry, Seen};

/// So many paths are looked at in one go: no tree is too large for the memory.
const PIECE: usize = 1_024;

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
    /// So many paths are missing in a directory of the config that has lost everything at once, or had and has not got it back: they
    /// count as they were.
    pub missing: usize,
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

/// A look at a place and, when it is a directory, at everything in it; piece by piece.
pub struct Walk<'a> {
    sight: Sight<'a>,
    top: Place,
    /// What is to be looked at.
    todo: Vec<Place>,
    /// Whether what is missing counts as it was; `None` as long as nothing is missing.
    spares: Option<bool>,
}

/// What is at a place.
enum Here {
    /// A directory that is replicated.
    Directory,
    /// Something else that is.
    Leaf,
    /// Nothing.
    Nothing,
    /// What is not replicated, with all that is in it.
    Excluded,
    /// It cannot be looked at.
    Unknown,
}

impl<'a> Walk<'a> {
    /// One that has not begun.
    pub fn new(scope: Scope<'a>, top: Place, seen: Seen<'a>) -> Self {
        Self { sight: Sight { scope, seen }, todo: vec![top.clone()], top, spares: scope.held.then_some(true) }
    }

    /// What is missing is gone, and be it everything: an operator says so.
    #[must_use]
    pub fn conceding(self) -> Self {
        Self { spares: Some(false), ..self }
    }

    /// The next piece, compared with what is known now; `None` at the end.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn next(&mut self, view: &View) -> Result<Option<Found>, StoreError> {
        if self.todo.is_empty() {
            return Ok(None);
        }
        let mut found = Found::default();
        for _ in 0..PIECE {
            let Some(place) = self.todo.pop() else { break };
            let inside = self.visit(&place, view, &mut found)?;
            self.todo.extend(inside);
        }
        Ok(Some(found))
    }

    /// Looks at one path, compares it with what is known of it, and tells what lies in it, or has.
    fn visit(&mut self, place: &Place, view: &View, found: &mut Found) -> Result<BTreeSet<Place>, StoreError> {
        let known = view.get(place)?;
        let here = self.sight.look(place, known.as_ref(), found);
        if let (Here::Nothing | Here::Excluded, Some(record)) = (&here, known.filter(|it| self.sight.counts(place, it)))
        {
            let spares = self.spares();
            self.sight.miss(place, &record, spares, found);
        }
        let names = match here {
            Here::Directory => match self.sight.scope.tree.names(place.way()) {
                Ok(names) => names.unwrap_or_default(),
                Err(error) => {
                    found.troubles.push((place.clone(), error));
                    return Ok(BTreeSet::new());
                }
            },
            Here::Leaf | Here::Nothing => Vec::new(),
            // What is in it counts as it was.
            Here::Excluded | Here::Unknown => return Ok(BTreeSet::new()),
        };
        let mut inside = view.children(place)?;
        inside.extend(names.iter().filter_map(|name| place.child(name).ok()));
        Ok(inside)
    }

    /// What is missing counts as it was where a look from above finds nothing at all: nobody has emptied it by hand, its disk is not
    /// there.
    fn spares(&mut self) -> bool {
        let (top, sight) = (&self.top, self.sight);
        *self.spares.get_or_insert_with(|| top.depth() == 1 && sight.is_empty())
    }
}

/// Looks at `place` alone.
pub fn one(scope: Scope<'_>, place: &Place, known: Option<&Record>, seen: Seen<'_>) -> Found {
    let mut found = Found::default();
    let sight = Sight { scope, seen };
    let here = sight.look(place, known, &mut found);
    if let (Here::Nothing | Here::Excluded, Some(record)) = (here, known.filter(|it| sight.counts(place, it))) {
        // One path that is missing is not everything.
        sight.miss(place, record, scope.held, &mut found);
    }
    found
}

/// Whose look it is, and at what.
#[derive(Clone, Copy)]
struct Sight<'a> {
    scope: Scope<'a>,
    seen: Seen<'a>,
}

impl Sight<'_> {
    /// Takes note of what one path holds.
    fn look(&self, place: &Place, known: Option<&Record>, found: &mut Found) -> Here {
        let trusted = known.filter(|_| !self.scope.fresh);
        let trace = trusted.and_then(|record| Some((&record.entry.content, record.trace.as_ref()?)));
        match self.scope.tree.look(place.way(), trace) {
            Ok(Look::Holds(content, trace)) => {
                let is_directory = matches!(content, Content::Directory { .. });
                if !self.scope.filter.takes(place.way(), is_directory) {
                    // Of a directory that was here what lay in it is gone, whatever is in its place.
                    return if self.scope.filter.takes(place.way(), true) { Here::Nothing } else { Here::Excluded };
                }
                // The directory of the config is as each node has it.
                if place.way() != Path::new("") {
                    self.compare(place, known, content, trace, found);
                }
                if is_directory { Here::Directory } else { Here::Leaf }
            }
            Ok(Look::Busy) => {
                let taken = self.scope.filter.takes(place.way(), false);
                found.busy.extend(taken.then(|| place.clone()));
                Here::Leaf
            }
            // What is not replicated counts as nothing.
            Ok(Look::Nothing | Look::Other) => Here::Nothing,
            Err(error) => {
                found.troubles.push((place.clone(), error));
                Here::Unknown
            }
        }
    }

    fn compare(
        &self,
        place: &Place,
        known: Option<&Record>,
        content: Content,
        trace: Option<Trace>,
        found: &mut Found,
    ) {
        match known {
            Some(record) if record.entry.content == content => {
                if record.trace != trace {
                    found.traces.push((place.clone(), Record { trace, ..record.clone() }));
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
                found.changes.push((place.clone(), Record { entry, trace }));
            }
        }
    }

    /// What is known and is not there is gone.
    fn miss(&self, place: &Place, known: &Record, spares: bool, found: &mut Found) {
        if spares {
            found.missing += 1;
        } else {
            let entry = known.entry.changed(self.seen, Content::Gone);
            found.changes.push((place.clone(), Record { entry, trace: None }));
        }
    }

    /// Whether it would be a loss if a path were not there.
    fn counts(&self, place: &Place, record: &Record) -> bool {
        let is_directory = matches!(record.entry.content, Content::Directory { .. });
        record.entry.content != Content::Gone
            && place.way() != Path::new("")
            && self.scope.filter.takes(place.way(), is_directory)
    }

    /// Nothing that is replicated is left in the directory of the config.
    fn is_empty(&self) -> bool {
        let names = self.scope.tree.names(Path::new(""));
        let is_directory = |way: &Path| self.scope.tree.names(way).is_ok_and(|names| names.is_some());
        let taken = |name: &OsString| {
            let way = Path::new(name);
            self.scope.filter.takes(way, false) || (self.scope.filter.takes(way, true) && is_directory(way))
        };
        names.is_ok_and(|names| names.is_some_and(|names| !names.iter().any(taken)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::*;
    use crate::store::{Changes, Debt, Store};

    const SEEN: Seen<'_> = Seen { node: "a", active: false, millis: 1 };

    struct Rules {
        directory: tempfile::TempDir,
        tree: Tree,
        filter: Filter,
        held: bool,
        _state: tempfile::TempDir,
        store: Store,
    }

    fn place(text: &str) -> Place {
        Place::try_from(text.to_owned()).unwrap()
    }

    impl Rules {
        fn new() -> Self {
            let (directory, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let tree = Tree::open(directory.path()).unwrap();
            let store = Store::open(&state.path().join("store")).unwrap();
            Self { directory, tree, filter: Filter::default(), held: false, _state: state, store }
        }

        fn scope(&self) -> Scope<'_> {
            Scope { tree: &self.tree, filter: &self.filter, fresh: false, first: false, held: self.held }
        }

        fn path(&self, way: &str) -> PathBuf {
            self.directory.path().join(way)
        }

        /// All pieces of a look, nothing of which is known then.
        fn look(&self) -> Found {
            let mut all = Found::default();
            let mut walk = Walk::new(self.scope(), place("re"), SEEN);
            while let Some(found) = walk.next(&self.store.view().unwrap()).unwrap() {
                all.changes.extend(found.changes);
                all.traces.extend(found.traces);
                all.busy.extend(found.busy);
                all.troubles.extend(found.troubles);
                all.missing += found.missing;
            }
            all
        }

        fn one(&self, text: &str) -> Found {
            one(self.scope(), &place(text), self.store.get(&place(text)).unwrap().as_ref(), SEEN)
        }

        /// These are known.
        fn know(&self, records: &[(Place, Record)]) {
            let put = |changes: &mut Changes<'_>| {
                records.iter().try_for_each(|(place, record)| changes.put(place, record, [], Debt::now(1)))
            };
            self.store.note(put).unwrap();
        }

        /// What has changed, `-` before what is gone; it is known then.
        fn changes(&mut self) -> Vec<String> {
            let found = self.look();
            assert!(found.troubles.is_empty() && found.busy.is_empty() && found.missing == 0, "{found:?}");
            let gone = |record: &Record| if record.entry.content == Content::Gone { "-" } else { "" };
            let mut names: Vec<_> =
                found.changes.iter().map(|(place, record)| format!("{}{place}", gone(record))).collect();
            self.know(&found.changes);
            self.know(&found.traces);
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
        let record = rules.store.get(&place("re/sub/deep/a")).unwrap().unwrap();
        assert_eq!((record.entry.version.count("a"), &record.entry.content), (3, &Content::Gone));
    }

    #[test]
    fn one_path_is_looked_at_alone() {
        let rules = Rules::new();
        fs::create_dir(rules.path("sub")).unwrap();
        fs::write(rules.path("sub/a"), "1").unwrap();
        let found = rules.one("re/sub");
        assert_eq!(found.changes.len(), 1, "{found:?}");
        rules.know(&found.changes);
        fs::remove_dir_all(rules.path("sub")).unwrap();
        assert_eq!(rules.one("re/sub").changes[0].1.entry.content, Content::Gone);
    }

    #[test]
    fn a_directory_that_has_lost_everything_at_once_was_not_emptied_by_hand() {
        let mut rules = Rules::new();
        fs::write(rules.path("a"), "1").unwrap();
        fs::write(rules.path("b"), "1").unwrap();
        assert_eq!(rules.changes().len(), 2);
        fs::remove_file(rules.path("a")).unwrap();
        fs::remove_file(rules.path("b")).unwrap();
        let found = rules.look();
        assert_eq!((found.missing, found.changes.len()), (2, 0));
        rules.held = true;
        fs::write(rules.path("b"), "2").unwrap();
        let found = rules.look();
        assert_eq!((found.missing, found.changes.len()), (1, 1), "what is there is seen, what is missing is not gone");
        fs::write(rules.path("a"), "1").unwrap();
        assert_eq!(rules.look().missing, 0);
        rules.held = false;
        fs::remove_file(rules.path("a")).unwrap();
        assert_eq!(rules.changes(), ["-re/a", "re/b"], "the other one is there");
        fs::remove_file(rules.path("b")).unwrap();
        assert_eq!((rules.look().missing, rules.look().changes.len()), (1, 0), "also where it had one only");
        let mut walk = Walk::new(rules.scope(), place("re"), SEEN).conceding();
        let found = walk.next(&rules.store.view().unwrap()).unwrap().unwrap();
        assert_eq!((found.missing, found.changes.len()), (0, 1), "but when an operator says so");
    }

    #[test]
    fn what_was_deleted_in_a_directory_is_gone_though_that_is_empty_now() {
        let mut rules = Rules::new();
        fs::create_dir(rules.path("sub")).unwrap();
        for way in ["sub/a", "sub/b"] {
            fs::write(rules.path(way), "1").unwrap();
        }
        assert_eq!(rules.changes().len(), 3);
        fs::remove_dir_all(rules.path("sub")).unwrap();
        let mut walk = Walk::new(rules.scope(), place("re/sub"), SEEN);
        let found = walk.next(&rules.store.view().unwrap()).unwrap().unwrap();
        assert_eq!((found.missing, found.changes.len()), (0, 3), "it was heard to go");
        assert_eq!(rules.look().missing, 3, "and from above it is not there");
    }

    #[test]
    fn what_lay_in_a_directory_that_is_another_thing_now_is_gone_also_where_that_is_excluded() {
        let mut rules = Rules::new();
        rules.filter = Filter::new(&["*.rules".to_owned()], &[]).unwrap();
        fs::create_dir(rules.path("sub")).unwrap();
        fs::write(rules.path("sub/a.rules"), "1").unwrap();
        fs::create_dir(rules.path("other")).unwrap();
        assert_eq!(rules.changes().len(), 3);
        fs::remove_dir_all(rules.path("sub")).unwrap();
        symlink("other", rules.path("sub")).unwrap();
        assert_eq!(rules.changes(), ["-re/sub", "-re/sub/a.rules"], "the directory that is left is not nothing");
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
        let found = one(rules.scope(), &place("re/a"), None, seen);
        assert_eq!(found.changes[0].1.entry.stamp.millis, 5_000);
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_gone_nor_what_is_in_it() {
        let rules = Rules::new();
        let long = "x".repeat(300);
        rules.know(&[(place(&format!("re/{long}")), directory()), (place(&format!("re/{long}/a")), directory())]);
        fs::write(rules.path("b"), "1").unwrap();
        let found = rules.look();
        assert_eq!((found.changes.len(), found.troubles.len()), (1, 1), "no file system has such a name: {found:?}");
        rules.know(&found.changes);
        fs::remove_file(rules.path("b")).unwrap();
        rules.know(&[(place("re/c"), directory())]);
        fs::create_dir(rules.path("c")).unwrap();
        assert_eq!(rules.look().changes.len(), 1, "the others go on");
    }

    #[test]
    fn a_look_at_many_comes_in_pieces_and_misses_none() {
        let mut rules = Rules::new();
        fs::create_dir_all(rules.path("sub/deep")).unwrap();
        let files = PIECE * 2 + 1;
        for number in 0..files {
            fs::write(rules.path(if number % 2 == 0 { "sub" } else { "sub/deep" }).join(number.to_string()), "1")
                .unwrap();
        }
        assert_eq!(rules.changes().len(), files + 2);
        fs::write(rules.path("sub.d"), "between the directory and what is in it, for whoever sorts bytes").unwrap();
        fs::remove_dir_all(rules.path("sub/deep")).unwrap();
        assert_eq!(rules.changes().len(), files / 2 + 2);
        let found = Walk::new(rules.scope(), place("re"), SEEN).next(&rules.store.view().unwrap()).unwrap();
        assert!(found.is_some_and(|found| found.traces.len() <= PIECE));
    }

    fn directory() -> Record {
        Record { entry: Entry::first(SEEN, Content::Directory { mode: 0o755 }), trace: None }
    }
}
