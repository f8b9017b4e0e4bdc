//! The loop: one task that hears what happens, looks, takes in, and sends. One rsync at a time for each peer.
//!
//! ```text
//!  watch of the rules ─▶ settle ─▶ look ─▶ owed ─▶ spool ─▶ rsync ─▶ peer
//!  watch of the spool ─▶ take in ─▶ placed, known ─▶ reply ─────────▶ peer
//! ```

mod audit;
mod diffs;
mod doors;
mod inboxes;
mod notices;
mod orders;
mod pace;
mod peer;
mod reach;
mod report;
mod roots;
mod settings;
mod troubles;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use avamgr_core::node::event::Severity;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::clock;
use crate::courier::{Courier, CourierError, Looked, Moment, Taken};
use crate::manifest::{Ask, Manifest};
use crate::place::Place;
use crate::rsync::SendError;
use crate::settle::{Hint, Settle};
use crate::spool::Spool;
use crate::store::{Store, StoreError};
use crate::watch::Heard;
use audit::Audit;
use notices::Notices;
pub use orders::Order;
use peer::Peer;
use roots::Roots;
pub use settings::{Line, Ports, Settings};
use troubles::Troubles;

/// So many paths are looked at in one go: what was found first is on its way meanwhile.
const LOOKS: usize = 1_000;
/// How often what is kept is looked through for what is too old.
const PRUNE: Duration = Duration::from_secs(600);

/// It cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file or directory of its own cannot be used.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// A spool cannot be watched.
    #[error("what peers send cannot be watched: {0}")]
    Watch(String),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The courier cannot do its work.
    #[error(transparent)]
    Courier(#[from] CourierError),
}

#[derive(Debug)]
enum Event {
    Heard(Heard),
    /// A batch of a peer has come.
    Arrived(String),
    Sent(String, Box<Manifest>, Duration, Result<(), SendError>),
    /// A peer answers on the line of this number, or on none.
    Reach(String, Option<usize>),
    /// A daemon of ours has something to say that somebody should know.
    Door(String),
}

struct Run {
    settings: Settings,
    courier: Courier,
    peers: BTreeMap<String, Peer>,
    roots: Roots,
    settle: Settle<Place>,
    events: UnboundedSender<Event>,
    ports: Ports,
    /// Somebody gives orders.
    has_operators: bool,
    /// Somebody says who is ACTIVE.
    hears_roles: bool,
    audit: Audit,
    waiters: orders::Waiters,
    notices: Notices,
    troubles: Troubles,
    report: report::Desk,
    prune_due: Duration,
    pruned: Duration,
    sweep_due: Duration,
    /// Grows, also from one run to the next.
    batch: u64,
}

/// A courier that has everything it needs, and has not begun.
pub struct Opened {
    run: Run,
    events: UnboundedReceiver<Event>,
}

/// Opens the store and the spools.
///
/// # Errors
/// Why it cannot begin: another courier has the store, or a file or directory of its own cannot be used.
pub fn open(settings: Settings, ports: Ports) -> Result<Opened, RunError> {
    let (tell, events) = unbounded_channel();
    Ok(Opened { run: Run::open(settings, ports, tell)?, events })
}

impl Opened {
    /// Runs until `stop`. Needs a [`tokio::task::LocalSet`] around it.
    ///
    /// # Errors
    /// Why it cannot go on.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { mut run, events } = self;
        let _doors = run.open_doors()?;
        let _reach = run.start_reach();
        let _inboxes = run.watch_inboxes()?;
        run.begin()?;
        tokio::select! {
            () = stop => Ok(()),
            ended = run.turns(events) => ended,
        }
    }
}

fn file<T>(path: &Path, result: io::Result<T>) -> Result<T, RunError> {
    result.map_err(|error| RunError::File(path.to_owned(), error))
}

impl Run {
    fn open(settings: Settings, ports: Ports, events: UnboundedSender<Event>) -> Result<Self, RunError> {
        let state = &settings.state;
        file(state, fs::create_dir_all(state))?;
        let store = Store::open(&state.join("store"))?;
        let now = clock::now();
        let mut peers = BTreeMap::new();
        for (name, lines) in &settings.peers {
            let (inbox, outbox) = (state.join("in").join(name), state.join("out").join(name));
            let spools = (file(&inbox, Spool::open(&inbox))?, file(&outbox, Spool::open(&outbox))?);
            let mut peer = Peer::new(lines.clone(), spools.0, spools.1);
            // Nobody can be asked whether a remote shell would get there.
            peer.reach = settings.shell.is_some().then_some(0);
            peers.insert(name.clone(), peer);
        }
        let names: Vec<String> = peers.keys().cloned().collect();
        let courier = Courier::new(&settings.me, &names, store, settings.one_way)?;
        let roots = Roots::new(&settings, events.clone());
        Ok(Self {
            audit: Audit::new(now + settings.audit),
            courier,
            peers,
            roots,
            settle: Settle::default(),
            events,
            ports,
            has_operators: true,
            hears_roles: true,
            waiters: orders::Waiters::default(),
            notices: Notices::default(),
            troubles: Troubles::default(),
            report: report::Desk::new(now),
            prune_due: now,
            pruned: now,
            sweep_due: now,
            batch: clock::wall_millis(),
            settings,
        })
    }

    fn begin(&mut self) -> Result<(), RunError> {
        self.check_roots()?;
        self.in_moment(Courier::follow_role)?;
        for peer in self.peers.keys().cloned().collect::<Vec<_>>() {
            // Whoever is there says so, and whether it knows what it knew.
            self.courier.ask(&peer, Ask::Sum);
            self.take_in(&peer)?;
        }
        Ok(())
    }

    /// A directory is there: what an earlier run has left half done in it is kept.
    fn adopt(&mut self, name: &str) -> Result<(), RunError> {
        let found = self.in_moment(|courier, moment| courier.adopt(name, moment))?;
        if found > 0 {
            let text =
                format!("this program was killed at its work: {found} contents it had replaced are in the trash");
            self.notices.say(Severity::Warning, text);
            self.report.recount();
        }
        Ok(())
    }

    /// Lets the courier do something now.
    fn in_moment<T>(&mut self, act: impl FnOnce(&mut Courier, Moment<'_>) -> T) -> T {
        let active = self.ports.active.borrow().clone();
        act(&mut self.courier, Moment { active: active.as_deref(), millis: clock::wall_millis() })
    }

    async fn turns(&mut self, mut events: UnboundedReceiver<Event>) -> Result<(), RunError> {
        loop {
            let pause = self.deadline().saturating_sub(clock::now());
            let mut arrived = BTreeSet::new();
            tokio::select! {
                event = events.recv() => self.on_event(event, &mut arrived),
                order = self.ports.orders.recv(), if self.has_operators => match order {
                    Some(order) => self.on_order(order)?,
                    None => self.has_operators = false,
                },
                changed = self.ports.active.changed(), if self.hears_roles => self.on_role(changed.is_ok())?,
                () = tokio::time::sleep(pause) => {}
            }
            while let Ok(event) = events.try_recv() {
                self.on_event(Some(event), &mut arrived);
            }
            for peer in arrived {
                self.take_in(&peer)?;
            }
            self.check_roots()?;
            self.look()?;
            self.go_on_with_audit()?;
            self.prune()?;
            self.sweep();
            self.send()?;
            self.answer_waiters()?;
            self.publish()?;
        }
    }

    fn deadline(&self) -> Duration {
        let peers = self.peers.values().filter_map(Peer::deadline);
        let own = [self.roots.due(), self.audit.deadline(), self.report.due(), self.prune_due, self.sweep_due];
        peers.chain(self.settle.deadline()).chain(self.waiters.deadline()).chain(own).min().unwrap_or_default()
    }

    fn on_event(&mut self, event: Option<Event>, arrived: &mut BTreeSet<String>) {
        match event {
            None => {}
            Some(Event::Heard(heard)) => self.hear(heard),
            Some(Event::Arrived(peer)) => drop(arrived.insert(peer)),
            Some(Event::Sent(peer, manifest, took, result)) => self.on_sent(&peer, *manifest, took, result),
            Some(Event::Reach(peer, line)) => self.on_reach(&peer, line),
            Some(Event::Door(text)) => self.notices.say_once(Severity::Warning, text),
        }
    }

    /// Whoever is ACTIVE now may have changed rules that nobody was told of.
    fn on_role(&mut self, is_known: bool) -> Result<(), RunError> {
        self.hears_roles = is_known;
        if is_known && self.settings.one_way {
            self.in_moment(Courier::follow_role)?;
            let now = clock::now();
            for place in self.roots.places() {
                self.settle.see(now, place, Hint::Done);
            }
            self.peers.values_mut().for_each(|peer| peer.wake(now));
        }
        self.report.changed();
        Ok(())
    }

    fn hear(&mut self, heard: Heard) {
        let now = clock::now();
        match heard {
            Heard::Change(place, hint) => self.settle.see(now, place, hint),
            Heard::Doubt(root, why) => {
                self.notices.say_once(Severity::Info, format!("{root}: everything is looked at: {why}"));
                self.roots.doubt(&root);
            }
            Heard::Blind(root, why) => self.roots.blind(&root, why),
        }
    }

    fn look(&mut self) -> Result<(), RunError> {
        let places = self.settle.take(clock::now(), LOOKS);
        places.iter().for_each(|place| self.roots.attend(place));
        if places.is_empty() { Ok(()) } else { self.look_at(&places, false) }
    }

    fn look_at(&mut self, places: &[Place], fresh: bool) -> Result<(), RunError> {
        let active = self.ports.active.borrow().clone();
        let moment = Moment { active: active.as_deref(), millis: clock::wall_millis() };
        let restless = |place: &Place| self.settle.has(place);
        let found = self.courier.look_beside(places, fresh, &restless, moment)?;
        self.note_look(places, found)
    }

    fn note_look(&mut self, places: &[Place], found: Looked) -> Result<(), RunError> {
        let now = clock::now();
        let failed: BTreeSet<_> = found.troubles.iter().map(|(place, _)| place.directory().to_owned()).collect();
        for (place, error) in &found.troubles {
            self.troubles.put(now, place.to_string(), error.to_string());
            self.roots.doubt_closed(place);
        }
        for place in found.busy.into_iter().chain(found.troubles.into_iter().map(|(place, _)| place)) {
            self.settle.see(now, place, Hint::Writing);
        }
        if found.changed > 0 {
            self.peers.values_mut().for_each(|peer| peer.wake(now));
        }
        let missing: BTreeMap<String, usize> =
            found.missing.into_iter().filter_map(|(name, count)| Some((name.into_string().ok()?, count))).collect();
        // A look that failed has not found that everything is there.
        let clear: Vec<Place> = places.iter().filter(|place| !failed.contains(place.directory())).cloned().collect();
        self.judge_missing(&clear, &missing)?;
        self.report.changed();
        Ok(())
    }

    fn take_in(&mut self, name: &str) -> Result<(), RunError> {
        let Some(peer) = self.peers.get(name) else { return Ok(()) };
        let inbox = peer.inbox.clone();
        let taken = match self.in_moment(|courier, moment| courier.take_in(name, &inbox, moment)) {
            Ok(taken) => taken,
            // What is not done now is not confirmed, and so comes again.
            Err(CourierError::Disk(error)) => {
                self.troubles.put(clock::now(), format!("what {name} sends"), error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.note_taken(name, &taken);
        self.hear_sums(name, taken)?;
        // What was confirmed is owed no longer, and what others have to know now is.
        let now = clock::now();
        self.peers.values_mut().for_each(|peer| peer.wake(now));
        self.report.changed();
        Ok(())
    }

    fn note_taken(&mut self, name: &str, taken: &Taken) {
        let now = clock::now();
        if taken.is_new {
            self.notices.say(Severity::Info, format!("{name} is new, or has lost what it knew: it is told everything"));
        }
        for doubt in &taken.doubts {
            self.notices.say_once(Severity::Warning, doubt.clone());
        }
        for place in &taken.conflicts {
            let text = format!(
                "conflict: {place} was changed on two nodes at once; what lost is kept: `rules-sync conflicts list`"
            );
            self.notices.say(Severity::Warning, text);
        }
        for (place, why) in &taken.later {
            self.troubles.put(now, place.to_string(), why.clone());
        }
        for (place, why) in &taken.refused {
            self.troubles.put(now, format!("{place} on {name}"), why.clone());
        }
        for place in &taken.settled {
            self.troubles.clear(&place.to_string());
        }
        for place in &taken.confirmed {
            self.troubles.clear(&format!("{place} on {name}"));
        }
        if let Some(peer) = self.peers.get_mut(name) {
            peer.heard(now, taken);
        }
    }

    fn prune(&mut self) -> Result<(), RunError> {
        let now = clock::now();
        if now < self.prune_due {
            return Ok(());
        }
        self.prune_due = now + PRUNE;
        let passed = now.saturating_sub(std::mem::replace(&mut self.pruned, now));
        match self.courier.prune(self.settings.retention, passed) {
            Ok(_) => {}
            Err(CourierError::Disk(error)) => self.troubles.put(now, "what is kept".to_owned(), error.to_string()),
            Err(error) => return Err(error.into()),
        }
        self.report.changed();
        Ok(())
    }
}
