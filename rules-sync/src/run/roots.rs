//! The directories of the config: whether each is there, and watched. One that is not there is not empty: nothing is known of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use avamgr_core::node::event::Severity;
use tokio::sync::mpsc::UnboundedSender;

use super::{Event, Run, RunError, Settings};
use crate::clock;
use crate::directory::{Directory, area_beside};
use crate::filter::Filter;
use crate::place::Place;
use crate::settle::Hint;
use crate::watch::Watch;

/// How often it is seen whether a directory is still the same.
const CHECK: Duration = Duration::from_secs(2);
/// How often everything in a directory is looked at whose changes are not heard.
const BLIND: Duration = Duration::from_secs(10);

/// One of them.
struct Root {
    name: String,
    path: PathBuf,
    place: Place,
    /// Which one it is, on which file system; `None` = it is not there.
    identity: Option<(u64, u64)>,
    watch: Option<Watch>,
    trouble: Option<String>,
    /// Changes are not heard: when everything is looked at next.
    blind: Option<Duration>,
}

/// All of them.
pub(super) struct Roots {
    list: Vec<Root>,
    state: PathBuf,
    filter: Filter,
    events: UnboundedSender<Event>,
    due: Duration,
}

impl Roots {
    pub(super) fn new(settings: &Settings, events: UnboundedSender<Event>) -> Self {
        let root = |(name, path): (&String, &PathBuf)| {
            // A name of the config is one part of a path.
            let place = Place::root(name).ok()?;
            let (name, path) = (name.clone(), path.clone());
            Some(Root { name, path, place, identity: None, watch: None, trouble: None, blind: None })
        };
        let list = settings.directories.iter().filter_map(root).collect();
        let (state, filter) = (settings.state.clone(), settings.filter.clone());
        Self { list, state, filter, events, due: Duration::ZERO }
    }

    pub(super) fn due(&self) -> Duration {
        self.due
    }

    /// Those that are there.
    pub(super) fn places(&self) -> Vec<Place> {
        self.list.iter().filter(|root| root.identity.is_some()).map(|root| root.place.clone()).collect()
    }

    /// Name, path and trouble of each.
    pub(super) fn each(&self) -> impl Iterator<Item = (&str, &Path, Option<&str>)> {
        self.list.iter().map(|root| (root.name.as_str(), root.path.as_path(), root.trouble.as_deref()))
    }

    /// Nobody knows what happened in one of them: directories may have been made there that are not watched. It is watched anew, and
    /// looked at.
    pub(super) fn doubt(&mut self, place: &Place) {
        if let Some(root) = self.list.iter_mut().find(|root| root.place.directory() == place.directory()) {
            root.watch = None;
            self.due = Duration::ZERO;
        }
    }

    /// Before a path is looked at: if it is a directory, nothing that happens in it may be missed from now on.
    pub(super) fn attend(&mut self, place: &Place) {
        let its = self.list.iter_mut().find(|root| root.place.directory() == place.directory());
        if let Some(watch) = its.and_then(|root| root.watch.as_mut()) {
            watch.attend(place);
        }
    }

    /// A path cannot be looked at: if it is a directory that came closed, what came with it may not be watched.
    pub(super) fn doubt_closed(&mut self, place: &Place) {
        let is_its = |root: &&Root| root.place.directory() == place.directory();
        let watch = self.list.iter().find(is_its).and_then(|root| root.watch.as_ref());
        if watch.is_some_and(|watch| watch.is_newly_closed(place)) {
            self.doubt(place);
        }
    }

    /// Changes in one of them are not heard any more.
    pub(super) fn blind(&mut self, place: &Place, why: String) {
        let now = clock::now();
        if let Some(root) = self.list.iter_mut().find(|root| root.place.directory() == place.directory()) {
            root.trouble = Some(why);
            root.blind = Some(now);
            root.watch = None;
        }
    }
}

impl Run {
    /// Sees whether each directory is there, and watched.
    pub(super) fn check_roots(&mut self) -> Result<(), RunError> {
        let now = clock::now();
        if now < self.roots.due {
            return Ok(());
        }
        self.roots.due = now + CHECK;
        let mut list = std::mem::take(&mut self.roots.list);
        let result = list.iter_mut().try_for_each(|root| self.check_root(now, root));
        self.roots.list = list;
        result
    }

    fn check_root(&mut self, now: Duration, root: &mut Root) -> Result<(), RunError> {
        let found = std::fs::metadata(&root.path).map(|meta| (meta.dev(), meta.ino()));
        let is_same = found.as_ref().is_ok_and(|found| root.identity == Some(*found));
        if !is_same {
            root.identity = None;
            root.watch = None;
            self.courier.lose(&root.name);
            match found.and_then(|_| self.roots.open(root)) {
                Ok((identity, directory)) => {
                    self.courier.gain(&root.name, directory)?;
                    self.adopt(&root.name)?;
                    root.identity = Some(identity);
                    self.say_root(root, None);
                }
                Err(error) => {
                    let text = format!("{}: {error}: nothing of it is replicated", root.path.display());
                    self.say_root(root, Some(text));
                    return Ok(());
                }
            }
        }
        if root.watch.is_none() && root.blind.is_none_or(|due| now >= due) {
            // First the watch, then the look: what changes in between is seen twice, and not never.
            self.watch_root(now, root);
            self.settle.see(now, root.place.clone(), Hint::Done);
        }
        for place in root.watch.as_mut().map(Watch::try_closed).unwrap_or_default() {
            self.settle.see(now, place, Hint::Done);
        }
        Ok(())
    }

    fn watch_root(&mut self, now: Duration, root: &mut Root) {
        let events = self.roots.events.clone();
        // Nobody hears it any more when the loop has ended.
        let tell = move |heard| drop(events.send(Event::Heard(heard)));
        match Watch::start(root.place.clone(), &root.path, tell) {
            Ok(watch) => {
                (root.watch, root.blind) = (Some(watch), None);
                self.say_root(root, None);
            }
            Err(why) => {
                root.blind = Some(now + BLIND);
                let text = format!("changes are seen after {} s only: {why}", BLIND.as_secs());
                self.say_root(root, Some(text));
            }
        }
    }

    fn say_root(&mut self, root: &mut Root, trouble: Option<String>) {
        if root.trouble == trouble {
            return;
        }
        match &trouble {
            Some(text) => self.notices.say(Severity::Alarm, format!("directory {}: {text}", root.name)),
            None => self.notices.say(Severity::Info, format!("directory {}: it is replicated again", root.name)),
        }
        root.trouble = trouble;
        self.report.changed();
    }

    /// After a look at whole directories: one that has lost everything is held, one that has it back is not.
    pub(super) fn judge_missing(
        &mut self,
        places: &[Place],
        missing: &BTreeMap<String, usize>,
    ) -> Result<(), RunError> {
        for (name, count) in missing {
            let text = format!(
                "directory {name} has lost everything at once ({count} paths): nothing is deleted on the other nodes; \
                 if it is meant so, run `rules-sync resync --force`"
            );
            self.notices.say_once(Severity::Alarm, text);
        }
        for place in places.iter().filter(|place| place.depth() == 1) {
            let Some(name) = place.directory().to_str() else { continue };
            if !missing.contains_key(name) && self.courier.held(name)?.is_some() {
                self.courier.release(name)?;
                self.notices.say(Severity::Info, format!("directory {name}: everything is there again"));
            }
        }
        // Whether everything is there again is seen from above only.
        let changed: BTreeSet<_> = places.iter().filter(|place| place.depth() > 1).map(Place::directory).collect();
        for name in changed.into_iter().filter_map(OsStr::to_str) {
            if let (Some(_), Ok(root)) = (self.courier.held(name)?, Place::root(name)) {
                self.settle.see(clock::now(), root, Hint::Found);
            }
        }
        Ok(())
    }
}

impl Roots {
    fn open(&self, root: &Root) -> io::Result<((u64, u64), Directory)> {
        let own = self.state.join("area").join(&root.name);
        let directory = match Directory::open(&root.path, &own, self.filter.clone()) {
            // Beside it there is the same file system, unless it is one of its own.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let beside = area_beside(&root.name, &root.path);
                Directory::open(&root.path, &beside, self.filter.clone()).map_err(|_| error)?
            }
            opened => opened?,
        };
        Ok((directory.tree().identity()?, directory))
    }
}
