//! What becomes of the news of a peer: first what was changed here meanwhile becomes known, then it is decided, then it is done, and
//! then noted. After a crash between any two of these steps the next look finds what is on the disk, and nothing is lost. A whole
//! batch is noted at once, when it is on the disk; then its sender is told.

use std::fs;
use std::io;
use std::path::Path;

use crate::apply::{Placed, Spot};
use crate::directory::Directory;
use crate::merge::{Verdict, merge};
use crate::obey::obey;
use crate::plan::Item;
use crate::scan;
use crate::store::{Changes, Debt, Kept, Record, StoreError};
use crate::tree::Look;
use crate::version::{Content, Entry, Seen};

/// How often what changes under our hands is looked at again before it is left for later.
const ATTEMPTS: u32 = 4;

/// What became of a piece of news.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is known here now, and the path holds what it should.
    Known,
    /// So it is, after a conflict: what lost is kept.
    Merged,
    /// Its content has not come: it has to be asked for.
    Wanted,
    /// It is known, and what is there stays, because it holds what nobody else knows.
    Left,
    /// It cannot be done now; it has to be tried again. In words.
    Later(String),
}

/// It could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The store cannot be used: nothing more can be done.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk refuses; others may go on.
    #[error("{0}")]
    Disk(#[from] io::Error),
}

/// Who hears whom, and where.
#[derive(Clone, Copy, Debug)]
pub struct Receiver<'a> {
    /// The directory that the news is about.
    pub directory: &'a Directory,
    /// This node, its role and its time.
    pub seen: Seen<'a>,
    /// The other nodes.
    pub peers: &'a [String],
    /// Whose news it is.
    pub from: &'a str,
    /// Changes come from the ACTIVE node only, and it is theirs.
    pub obeys: bool,
    /// One of us has not heard yet what the other one knows.
    pub learns: bool,
    /// What has been placed here, and was not noted because it may not be on the disk.
    pub unsure: Option<&'a Entry>,
}

impl Receiver<'_> {
    /// What a peer says of a path. `content` is the file that came with it: it is taken from there, and has to be on the disk. What
    /// is known here is in `changes`, and what becomes of it too.
    ///
    /// # Errors
    /// When the disk or the store refuses. It may be tried again.
    pub fn receive(
        &self,
        changes: &mut Changes<'_>,
        news: &Item,
        content: Option<&Path>,
    ) -> Result<Outcome, ReceiveError> {
        let name = self.directory.name(self.seen.millis);
        let outcome = self.try_to_receive(changes, news, content, &name);
        // What was not needed after all, or cannot be used now, comes again when it is asked for. After an error it may be what was in
        // the place before: that is kept.
        if outcome.is_ok() || self.directory.has_staged(&news.entry.content, &name) {
            let _ = fs::remove_file(self.directory.staged_path(&name));
        }
        outcome
    }

    fn try_to_receive(
        &self,
        changes: &mut Changes<'_>,
        news: &Item,
        content: Option<&Path>,
        name: &str,
    ) -> Result<Outcome, ReceiveError> {
        let is_file = matches!(news.entry.content, Content::File { .. });
        let mut staged = !is_file;
        for _ in 0..ATTEMPTS {
            let (known, here) = self.look(changes, news)?;
            let known = known.as_ref().map(|record| &record.entry);
            let here = here.as_ref().map(|record| &record.entry);
            let verdict = if self.obeys {
                let here = here.map_or(&Content::Gone, |here| &here.content);
                obey(known, here, &news.entry, self.seen, self.from, self.learns)
            } else {
                merge(here, &news.entry)
            };
            if verdict.needs_content() && !staged {
                let Some(content) = content else { return Ok(Outcome::Wanted) };
                if !self.directory.stage(content, &news.entry.content, name)? {
                    return Ok(Outcome::Wanted);
                }
                staged = true;
            }
            match self.carry_out(changes, news, here, &verdict, name)? {
                Placed::Done if verdict.is_conflict() => return Ok(Outcome::Merged),
                Placed::Done => return Ok(Outcome::Known),
                Placed::Changed => {}
                Placed::InTheWay => return self.stay(changes, news, here, &verdict, name),
            }
        }
        let held = self.directory.scope().held;
        let why = if held { "its directory has lost everything, and is held" } else { "it changes all the time" };
        Ok(Outcome::Later(why.to_owned()))
    }

    fn debt(&self) -> Debt {
        Debt::now(self.seen.millis)
    }

    /// What is known of the path, and what would be after a look at it: the same, unless nobody may change anything here.
    fn look(&self, changes: &mut Changes<'_>, news: &Item) -> Result<(Option<Record>, Option<Record>), ReceiveError> {
        let known = changes.get(&news.place)?;
        let found = scan::one(self.directory.scope(), &news.place, known.as_ref(), self.seen);
        if let Some((_, error)) = found.troubles.into_iter().next() {
            return Err(error.into());
        }
        let Some((_, changed)) = found.changes.into_iter().next() else { return Ok((known.clone(), known)) };
        if self.obeys {
            return Ok((known, Some(changed)));
        }
        let follows = |entry: &&Entry| known.as_ref().is_none_or(|known| entry.follows(&known.entry));
        let ours = |entry: &&Entry| entry.content == changed.entry.content && follows(entry);
        if let Some(entry) = [Some(&news.entry), self.unsure].into_iter().flatten().find(ours) {
            // We have put it there ourselves, and that was not noted: nobody has changed anything, and nobody was told.
            let placed = Record { entry: entry.clone(), trace: changed.trace };
            let told_us = |peer: &str| peer == self.from && news.entry.follows(entry);
            let others = self.peers.iter().map(String::as_str).filter(|peer| !told_us(peer));
            changes.put(&news.place, &placed, others, self.debt())?;
            return Ok((known, Some(placed)));
        }
        changes.put(&news.place, &changed, self.peers.iter().map(String::as_str), self.debt())?;
        Ok((Some(changed.clone()), Some(changed)))
    }

    /// A directory goes, and something lies in it. What was changed here, and they have not heard of, stays with its directory: they
    /// would wait for each other otherwise. The rest is on its way.
    fn stay(
        &self,
        changes: &mut Changes<'_>,
        news: &Item,
        here: Option<&Entry>,
        verdict: &Verdict,
        name: &str,
    ) -> Result<Outcome, ReceiveError> {
        let in_the_way = || Ok(Outcome::Later("something else lies there".to_owned()));
        let (Some(here), Some(theirs)) = (here, verdict.entry()) else { return in_the_way() };
        if !matches!(here.content, Content::Directory { .. }) {
            return in_the_way();
        }
        if self.obeys {
            // What is left in it is known to nobody else: it stays, and its directory with it.
            if theirs.content != Content::Gone || changes.holds_inside(&news.place)? {
                return in_the_way();
            }
            let record = Record { entry: theirs.clone(), trace: None };
            changes.put(&news.place, &record, [], self.debt())?;
            return Ok(Outcome::Left);
        }
        if !changes.owes_inside(self.from, &news.place)? {
            return in_the_way();
        }
        let lost = theirs.content.has_bytes();
        if lost {
            self.directory.keep_theirs(&theirs.content, name)?;
        }
        let record = Record { entry: theirs.changed(self.seen, here.content.clone()), trace: None };
        if lost {
            let (place, entry) = (news.place.clone(), theirs.clone());
            changes.keep(name, &Kept { place, entry, millis: self.seen.millis, conflict: true })?;
        }
        changes.put(&news.place, &record, self.peers.iter().map(String::as_str), self.debt())?;
        Ok(if lost { Outcome::Merged } else { Outcome::Known })
    }

    fn carry_out(
        &self,
        changes: &mut Changes<'_>,
        news: &Item,
        ours: Option<&Entry>,
        verdict: &Verdict,
        name: &str,
    ) -> Result<Placed, ReceiveError> {
        let was = ours.map_or(&Content::Gone, |entry| &entry.content);
        let keep = |entry: &Entry, conflict| Kept {
            place: news.place.clone(),
            entry: entry.clone(),
            millis: self.seen.millis,
            conflict,
        };
        let mut kept = None;
        match verdict {
            Verdict::Known => return Ok(Placed::Done),
            Verdict::Note(_) => {}
            Verdict::KeepTheirs(_) => {
                self.directory.keep_theirs(&news.entry.content, name)?;
                kept = Some(keep(&news.entry, true));
            }
            Verdict::Take(entry) | Verdict::TakeAndKeepOurs(entry) => {
                let spot = Spot {
                    tree: self.directory.tree(),
                    way: news.place.way(),
                    staging: self.directory.staging(),
                    staged: name.as_ref(),
                    kept: self.directory.kept(),
                    kept_as: name.as_ref(),
                };
                let placed = spot.put(was, &entry.content)?;
                if placed != Placed::Done {
                    return Ok(placed);
                }
                let conflict = matches!(verdict, Verdict::TakeAndKeepOurs(_));
                kept = ours.filter(|ours| ours.content.has_bytes()).map(|ours| keep(ours, conflict));
            }
        }
        let Some(entry) = verdict.entry() else { return Ok(Placed::Done) };
        let trace = match self.directory.tree().look(news.place.way(), None)? {
            Look::Holds(content, trace) if content == entry.content => trace,
            Look::Holds(..) | Look::Nothing | Look::Busy | Look::Other => None,
        };
        let record = Record { entry: entry.clone(), trace };
        if let Some(kept) = &kept {
            changes.keep(name, kept)?;
        }
        changes.put(&news.place, &record, [], self.debt())?;
        self.owe(changes, news, verdict, entry)?;
        Ok(Placed::Done)
    }

    /// Who has to be told of what is known now.
    fn owe(&self, changes: &mut Changes<'_>, news: &Item, verdict: &Verdict, entry: &Entry) -> Result<(), StoreError> {
        // Whoever has told us knows it, unless there is more in it now. Then only that is news, unless its content has lost.
        let knows = news.entry.follows(entry);
        let debt = Debt { offer: !matches!(verdict, Verdict::KeepTheirs(_)), ..self.debt() };
        for peer in self.peers.iter().map(String::as_str) {
            let is_sender = peer == self.from;
            if self.obeys {
                // It tells the others, and what was to be told before is as it says.
                let item = Item { place: news.place.clone(), entry: entry.clone() };
                changes.paid(peer, &item, self.seen.millis)?;
            }
            if is_sender && !knows {
                changes.owe(peer, &news.place, debt)?;
            } else if !is_sender && !self.obeys {
                changes.owe(peer, &news.place, self.debt())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::filter::Filter;
    use crate::place::Place;
    use crate::store::Store;

    struct Node {
        _root: tempfile::TempDir,
        rules: PathBuf,
        directory: Directory,
        store: Store,
        name: &'static str,
        peers: Vec<String>,
    }

    fn place(text: &str) -> Place {
        Place::try_from(text.to_owned()).unwrap()
    }

    impl Node {
        fn new(name: &'static str, peer: &str) -> Self {
            let root = tempfile::tempdir().unwrap();
            let rules = root.path().join("rules");
            fs::create_dir(&rules).unwrap();
            let directory = Directory::open(&rules, &root.path().join("area"), Filter::default()).unwrap();
            let store = Store::open(&root.path().join("store")).unwrap();
            Self { rules, directory, store, name, peers: vec![peer.to_owned()], _root: root }
        }

        fn receiver(&self, millis: u64) -> Receiver<'_> {
            let seen = Seen { node: self.name, active: false, millis };
            let (directory, peers) = (&self.directory, &self.peers);
            Receiver { directory, seen, peers, from: &self.peers[0], obeys: false, learns: true, unsure: None }
        }

        fn receive(&self, millis: u64, news: &Item, content: Option<&Path>) -> Outcome {
            let receive = |changes: &mut Changes<'_>| Ok(self.receiver(millis).receive(changes, news, content));
            self.store.write(receive).unwrap().unwrap()
        }

        /// Somebody writes a rule; what the others are told of it.
        fn write(&self, way: &str, text: &str, millis: u64) -> Item {
            fs::write(self.rules.join(way), text).unwrap();
            self.news(way, millis)
        }

        fn news(&self, way: &str, millis: u64) -> Item {
            let place = place(&format!("re/{way}"));
            let known = self.store.get(&place).unwrap();
            let found = scan::one(self.directory.scope(), &place, known.as_ref(), self.receiver(millis).seen);
            for (place, record) in &found.changes {
                self.store
                    .write(|changes| {
                        changes.put(place, record, self.peers.iter().map(String::as_str), Debt::now(millis))
                    })
                    .unwrap();
            }
            Item { entry: self.store.get(&place).unwrap().unwrap().entry, place }
        }

        fn hear(&self, from: &Self, news: &Item, millis: u64) -> Outcome {
            let way = news.place.way();
            let come = self.rules.join("../come");
            let has_come =
                matches!(news.entry.content, Content::File { .. }) && fs::copy(from.rules.join(way), &come).is_ok();
            self.receive(millis, news, has_come.then_some(come.as_path()))
        }

        fn text(&self, way: &str) -> Option<String> {
            fs::read_to_string(self.rules.join(way)).ok()
        }

        fn kept(&self) -> Vec<(String, bool)> {
            let read = |name: &str| fs::read_to_string(self.directory.kept_path(name)).unwrap();
            self.store.kept().unwrap().into_iter().map(|(name, kept)| (read(&name), kept.conflict)).collect()
        }

        fn owes(&self) -> usize {
            self.store.owed(&self.peers[0], 100, |_| true).unwrap().len()
        }
    }

    fn pair() -> (Node, Node) {
        (Node::new("n1", "n2"), Node::new("n2", "n1"))
    }

    #[test]
    fn a_rule_gets_into_its_place_and_its_sender_is_told_nothing_back() {
        let (one, two) = pair();
        assert_eq!(two.hear(&one, &one.write("a", "first", 1), 1), Outcome::Known);
        assert_eq!((two.text("a").as_deref(), two.owes()), (Some("first"), 0));
        // What we have put there ourselves is no change.
        two.news("a", 2);
        assert_eq!(two.owes(), 0);
        assert_eq!(two.hear(&one, &one.write("a", "second", 2), 2), Outcome::Known);
        assert_eq!((two.text("a").as_deref(), two.kept()), (Some("second"), vec![("first".to_owned(), false)]));
        fs::remove_file(one.rules.join("a")).unwrap();
        assert_eq!(two.hear(&one, &one.news("a", 3), 3), Outcome::Known);
        assert_eq!((two.text("a"), two.kept().len()), (None, 2));
    }

    #[test]
    fn of_two_edits_the_newer_is_on_both_and_the_other_is_kept_on_both() {
        let (one, two) = pair();
        two.hear(&one, &one.write("a", "base", 1), 1);
        let (older, newer) = (one.write("a", "older", 5), two.write("a", "newer", 6));
        let before = fs::read(one.rules.join("a")).unwrap();
        assert_eq!(one.hear(&two, &newer, 7), Outcome::Merged);
        fs::write(one.rules.join("copy"), before).unwrap();
        let copy = one.rules.join("copy");
        let heard = two.receive(7, &older, Some(&copy));
        assert_eq!(
            (heard, one.text("a"), two.text("a")),
            (Outcome::Merged, Some("newer".into()), Some("newer".into()))
        );
        assert_eq!(one.kept(), [("older".to_owned(), true)]);
        assert_eq!(two.kept(), [("older".to_owned(), true)]);
        let entry = |node: &Node| node.store.get(&place("re/a")).unwrap().unwrap().entry;
        assert_eq!(entry(&one), entry(&two));
    }

    #[test]
    fn an_edit_that_nobody_has_seen_yet_is_an_edit() {
        let (one, two) = pair();
        two.hear(&one, &one.write("a", "base", 1), 1);
        fs::write(two.rules.join("a"), "unseen").unwrap();
        assert_eq!(two.hear(&one, &one.write("a", "newer", 9), 5), Outcome::Merged);
        assert_eq!((two.text("a").as_deref(), two.kept()), (Some("newer"), vec![("unseen".to_owned(), true)]));
        assert_eq!(two.owes(), 1, "the other one does not know that there were two");
    }

    #[test]
    fn a_content_that_is_missing_or_another_is_asked_for() {
        let (one, two) = pair();
        let news = one.write("a", "first", 1);
        let receive = |content: Option<&Path>| two.receive(1, &news, content);
        assert_eq!(receive(None), Outcome::Wanted);
        fs::write(one.rules.join("torn"), "fir").unwrap();
        assert_eq!(receive(Some(&one.rules.join("torn"))), Outcome::Wanted);
        assert_eq!((two.text("a"), two.store.get(&news.place).unwrap()), (None, None));
    }

    #[test]
    fn what_was_changed_in_a_directory_that_goes_stays_with_it() {
        for becomes_a_file in [false, true] {
            let (one, two) = pair();
            fs::create_dir(one.rules.join("sub")).unwrap();
            two.hear(&one, &one.news("sub", 1), 1);
            two.hear(&one, &one.write("sub/a", "rule", 1), 1);
            let edited = two.write("sub/a", "edited", 5);
            fs::remove_dir_all(one.rules.join("sub")).unwrap();
            one.news("sub/a", 2);
            let gone = if becomes_a_file { one.write("sub", "a file", 2) } else { one.news("sub", 2) };
            let heard = two.hear(&one, &gone, 6);
            assert_eq!(heard, if becomes_a_file { Outcome::Merged } else { Outcome::Known });
            assert_eq!(two.text("sub/a").as_deref(), Some("edited"));
            assert!(matches!(one.hear(&two, &edited, 6), Outcome::Later(_)), "its directory is not there yet");
            assert_eq!(one.hear(&two, &two.news("sub", 7), 7), Outcome::Known);
            assert_ne!(one.hear(&two, &edited, 7), Outcome::Wanted);
            assert_eq!(one.text("sub/a").as_deref(), Some("edited"));
            let kept = [("a file".to_owned(), true)];
            assert_eq!(two.kept().contains(&kept[0]), becomes_a_file, "{:?}", two.kept());
        }
    }

    #[test]
    fn what_waits_for_its_place_is_told_from_what_was_there_before() {
        let (one, two) = pair();
        let news = one.write("a", "first", 1);
        let staged = two.directory.name(1);
        fs::copy(one.rules.join("a"), two.directory.staged_path(&staged)).unwrap();
        assert!(two.directory.has_staged(&news.entry.content, &staged), "it may go: it comes again");
        fs::write(two.directory.staged_path(&staged), "what was there before").unwrap();
        assert!(!two.directory.has_staged(&news.entry.content, &staged), "that is kept");
    }

    #[test]
    fn what_was_placed_and_not_noted_is_no_change_of_ours() {
        let (one, two) = pair();
        two.hear(&one, &one.write("a", "first", 1), 1);
        let second = one.write("a", "second", 2);
        // Killed after the rename.
        fs::write(two.rules.join("a"), "second").unwrap();
        assert_eq!(two.hear(&one, &second, 3), Outcome::Known);
        let entry = two.store.get(&second.place).unwrap().unwrap().entry;
        assert_eq!((entry, two.owes()), (second.entry, 0));
    }

    #[test]
    fn a_new_rule_that_was_placed_and_not_noted_is_no_change_of_ours_either() {
        let (one, two) = pair();
        let news = one.write("a", "first", 1);
        fs::write(two.rules.join("a"), "first").unwrap();
        assert_eq!(two.hear(&one, &news, 3), Outcome::Known);
        let entry = two.store.get(&news.place).unwrap().unwrap().entry;
        assert_eq!((entry, two.owes()), (news.entry, 0));
    }

    #[test]
    fn what_was_placed_and_not_noted_is_told_to_the_others_all_the_same() {
        let (one, mut two) = pair();
        two.peers.push("n3".to_owned());
        let news = one.write("a", "first", 1);
        fs::write(two.rules.join("a"), "first").unwrap();
        assert_eq!(two.hear(&one, &news, 3), Outcome::Known);
        let owes = |peer| two.store.owes(peer, &news.place).unwrap();
        assert_eq!((owes("n1"), owes("n3")), (false, true));
    }

    #[test]
    fn what_cannot_be_done_now_is_left_for_later_and_loses_nothing() {
        let (one, two) = pair();
        fs::create_dir(one.rules.join("sub")).unwrap();
        let directory = one.news("sub", 1);
        let inside = one.write("sub/a", "rule", 1);
        assert!(matches!(two.hear(&one, &inside, 1), Outcome::Later(_)), "its directory has not come");
        assert_eq!((two.hear(&one, &directory, 1), two.hear(&one, &inside, 1)), (Outcome::Known, Outcome::Known));
        fs::write(two.rules.join("sub/mine"), "unseen").unwrap();
        fs::remove_dir_all(one.rules.join("sub")).unwrap();
        assert_eq!(two.hear(&one, &one.news("sub/a", 2), 2), Outcome::Known);
        assert!(matches!(two.hear(&one, &one.news("sub", 2), 2), Outcome::Later(_)));
        assert_eq!(two.text("sub/mine").as_deref(), Some("unseen"));
    }
}
