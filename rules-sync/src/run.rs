//! The loop: one task that hears what happens, looks, takes in, and sends. One rsync at a time for each peer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::clock;
use crate::courier::{Courier, CourierError};
use crate::manifest::{Manifest, manifest_of};
use crate::place::{BadPlace, Place};
use crate::receive::Directory;
use crate::rsync::{Inbox, SendError, Target, daemon_config, send, start_daemon};
use crate::settle::{Hint, Settle};
use crate::spool::Spool;
use crate::store::{Store, StoreError};
use crate::version::Version;
use crate::watch::{Heard, Watch};

/// How long a peer may be silent while something is sent to it.
const PATIENCE: Duration = Duration::from_secs(10);
/// To a peer that could not be reached.
const RETRY: Duration = Duration::from_secs(1);
/// What has arrived and is not known there after this time is sent again.
const UNKNOWN: Duration = Duration::from_secs(3);

/// Everything a courier has to be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node.
    pub me: String,
    /// The directories, by the names that all nodes have for them.
    pub directories: BTreeMap<String, PathBuf>,
    /// Where its own files are: the store, what comes and goes, what is kept.
    pub state: PathBuf,
    /// Where its rsync listens.
    pub listen: SocketAddr,
    /// Where those of the others do.
    pub peers: BTreeMap<String, SocketAddr>,
    /// What only the nodes know.
    pub secret: String,
}

/// It cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file or directory of its own cannot be used.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// A directory of the config has a name that cannot be one.
    #[error("{0}: {1}")]
    Name(String, BadPlace),
    /// A directory cannot be watched.
    #[error("{0}")]
    Watch(String),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The courier cannot do its work.
    #[error(transparent)]
    Courier(#[from] CourierError),
    /// There is no rsync.
    #[error("rsync cannot be started: {0}")]
    Rsync(io::Error),
}

enum Event {
    Heard(Heard),
    /// A batch of a peer has come.
    Arrived(String),
    Sent(String, Manifest, Result<(), SendError>),
}

/// What is known of a peer and what goes to it.
struct Peer {
    address: SocketAddr,
    inbox: Spool,
    outbox: Spool,
    sending: bool,
    /// When there is something to send, or it is time to try again.
    due: Option<Duration>,
    /// What has been sent and not been confirmed, and since when.
    sent: BTreeMap<Place, (Version, Duration)>,
}

struct Run {
    settings: Settings,
    courier: Courier,
    peers: BTreeMap<String, Peer>,
    settle: Settle<Place>,
    events: UnboundedSender<Event>,
    /// Grows, also from one run to the next.
    batch: u64,
}

/// Runs until `stop`.
///
/// # Errors
/// Why it cannot begin or go on.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> Result<(), RunError> {
    let (tell, events) = unbounded_channel();
    let mut run = Run::open(settings, tell)?;
    let _daemon = run.start_rsync()?;
    let _watches = run.watch()?;
    let _inboxes = run.watch_inboxes()?;
    for peer in run.peers.keys().cloned().collect::<Vec<_>>() {
        run.take_in(&peer)?;
    }
    tokio::select! {
        () = stop => Ok(()),
        ended = run.turns(events) => ended,
    }
}

fn file<T>(path: &Path, result: io::Result<T>) -> Result<T, RunError> {
    result.map_err(|error| RunError::File(path.to_owned(), error))
}

fn write_secret(path: &Path, text: &str) -> Result<(), RunError> {
    use std::io::Write as _;
    let opened = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = opened.and_then(|mut opened| {
        opened.set_permissions(fs::Permissions::from_mode(0o600))?;
        opened.write_all(text.as_bytes())
    });
    file(path, written)
}

impl Run {
    fn open(settings: Settings, events: UnboundedSender<Event>) -> Result<Self, RunError> {
        let state = &settings.state;
        file(state, fs::create_dir_all(state))?;
        let mut directories = BTreeMap::new();
        for (name, path) in &settings.directories {
            let area = state.join("area").join(name);
            directories.insert(name.clone(), file(path, Directory::open(path, &area))?);
        }
        let store = Store::open(&state.join("store"))?;
        let mut peers = BTreeMap::new();
        for (name, address) in &settings.peers {
            let (inbox, outbox) = (state.join("in").join(name), state.join("out").join(name));
            let peer = Peer {
                address: *address,
                inbox: file(&inbox, Spool::open(&inbox))?,
                outbox: file(&outbox, Spool::open(&outbox))?,
                sending: false,
                due: Some(Duration::ZERO),
                sent: BTreeMap::new(),
            };
            peers.insert(name.clone(), peer);
        }
        let names: Vec<String> = peers.keys().cloned().collect();
        let courier = Courier::new(&settings.me, &names, directories, store);
        Ok(Self { settings, courier, peers, settle: Settle::default(), events, batch: clock::wall_millis() })
    }

    fn start_rsync(&self) -> Result<tokio::process::Child, RunError> {
        let path = |name: &str| self.settings.state.join(name);
        let secrets: String = self.peers.keys().map(|peer| format!("{peer}:{}\n", self.settings.secret)).collect();
        write_secret(&path("secrets"), &secrets)?;
        write_secret(&path("password"), &format!("{}\n", self.settings.secret))?;
        let inbox = |(name, peer): (&String, &Peer)| Inbox {
            peer: name.clone(),
            directory: peer.inbox.path().to_owned(),
            from: vec![peer.address.ip()],
        };
        let inboxes: Vec<Inbox> = self.peers.iter().map(inbox).collect();
        let config = path("rsyncd.conf");
        file(&config, fs::write(&config, daemon_config(self.settings.listen, &inboxes, &path("secrets"))))?;
        let log = file(&path("rsyncd.log"), File::create(path("rsyncd.log")))?;
        start_daemon(&config, log.into()).map_err(RunError::Rsync)
    }

    /// First the watch, then the look: what changes in between is seen twice, and not never.
    fn watch(&mut self) -> Result<Vec<Watch>, RunError> {
        let mut watches = Vec::new();
        for (name, path) in &self.settings.directories {
            let root = Place::root(name).map_err(|error| RunError::Name(name.clone(), error))?;
            let events = self.events.clone();
            // Nobody hears it any more when the loop has ended.
            let tell = move |heard| drop(events.send(Event::Heard(heard)));
            watches.push(Watch::start(root.clone(), path, tell).map_err(RunError::Watch)?);
            self.settle.see(clock::now(), root, Hint::Done);
        }
        Ok(watches)
    }

    fn watch_inboxes(&self) -> Result<Vec<RecommendedWatcher>, RunError> {
        let watch = |(name, peer): (&String, &Peer)| {
            let (name, events) = (name.clone(), self.events.clone());
            let on_event = move |event: notify::Result<notify::Event>| {
                let has_come = match event {
                    Ok(event) => {
                        let is_manifest = |path: &PathBuf| {
                            path.file_name().is_some_and(|name| manifest_of(Path::new(name)).is_some())
                        };
                        event.need_rescan() || event.paths.iter().any(is_manifest)
                    }
                    Err(_) => true,
                };
                if has_come {
                    let _ = events.send(Event::Arrived(name.clone()));
                }
            };
            let mut watcher = notify::recommended_watcher(on_event)?;
            watcher.watch(peer.inbox.path(), RecursiveMode::NonRecursive)?;
            Ok(watcher)
        };
        let watchers: notify::Result<Vec<_>> = self.peers.iter().map(watch).collect();
        watchers.map_err(|error| RunError::Watch(error.to_string()))
    }

    async fn turns(&mut self, mut events: UnboundedReceiver<Event>) -> Result<(), RunError> {
        loop {
            let due = self.peers.values().filter(|peer| !peer.sending).filter_map(|peer| peer.due);
            let next = due.chain(self.settle.deadline()).min();
            let pause = next.map_or(Duration::from_secs(3_600), |next| next.saturating_sub(clock::now()));
            let event = tokio::time::timeout(pause, events.recv()).await;
            let mut arrived = BTreeSet::new();
            let mut event = event.ok().flatten();
            while let Some(one) = event {
                match one {
                    Event::Heard(heard) => self.hear(heard),
                    Event::Arrived(peer) => drop(arrived.insert(peer)),
                    Event::Sent(peer, manifest, result) => self.on_sent(&peer, manifest, result),
                }
                event = events.try_recv().ok();
            }
            for peer in arrived {
                self.take_in(&peer)?;
            }
            self.look()?;
            self.send()?;
        }
    }

    fn hear(&mut self, heard: Heard) {
        let now = clock::now();
        match heard {
            Heard::Change(place, hint) => self.settle.see(now, place, hint),
            Heard::Doubt(root, _why) => self.settle.see(now, root, Hint::Done),
        }
    }

    fn look(&mut self) -> Result<(), RunError> {
        let places = self.settle.take(clock::now());
        if places.is_empty() {
            return Ok(());
        }
        let found = self.courier.look(&places, false, clock::wall_millis())?;
        let now = clock::now();
        for place in found.busy.into_iter().chain(found.troubles.into_iter().map(|(place, _)| place)) {
            self.settle.see(now, place, Hint::Writing);
        }
        if !found.changes.is_empty() {
            self.peers.values_mut().for_each(|peer| peer.due = Some(now));
        }
        Ok(())
    }

    fn take_in(&mut self, name: &str) -> Result<(), RunError> {
        let Some(peer) = self.peers.get_mut(name) else { return Ok(()) };
        match self.courier.take_in(name, &peer.inbox, false, clock::wall_millis()) {
            // What is not done now is not confirmed, and so comes again.
            Ok(_) | Err(CourierError::Disk(_)) => {}
            Err(error) => return Err(error.into()),
        }
        // What was confirmed is owed no longer, and what others have to know now is.
        let now = clock::now();
        self.peers.values_mut().for_each(|peer| peer.due = Some(now));
        Ok(())
    }

    fn on_sent(&mut self, name: &str, manifest: Manifest, result: Result<(), SendError>) {
        let now = clock::now();
        let Some(peer) = self.peers.get_mut(name) else { return };
        peer.sending = false;
        match result {
            Ok(()) => peer.due = Some(peer.due.map_or(now + UNKNOWN, |due| due.min(now + UNKNOWN))),
            Err(_error) => {
                peer.due = Some(now + RETRY);
                peer.sent.clear();
                self.courier.take_back(name, manifest);
            }
        }
    }

    fn send(&mut self) -> Result<(), RunError> {
        let now = clock::now();
        let idle = |(_, peer): &(&String, &mut Peer)| !peer.sending && peer.due.is_some_and(|due| due <= now);
        for (name, peer) in self.peers.iter_mut().filter(idle) {
            self.batch += 1;
            peer.sent.retain(|_, (_, since)| now.saturating_sub(*since) < UNKNOWN);
            let _ = peer.outbox.remove_until(u64::MAX);
            let on_its_way = &peer.sent;
            let wanted = |item: &crate::plan::Item| {
                on_its_way.get(&item.place).is_none_or(|(version, _)| *version != item.entry.version)
            };
            let composed = match self.courier.compose(name, self.batch, &peer.outbox, wanted) {
                Ok(composed) => composed,
                // A full disk has room again some day.
                Err(CourierError::Disk(_)) => {
                    peer.due = Some(now + RETRY);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            peer.due = (!peer.sent.is_empty()).then_some(now + UNKNOWN);
            let Some(manifest) = composed else { continue };
            for news in &manifest.news {
                peer.sent.insert(news.item.place.clone(), (news.item.entry.version.clone(), now));
            }
            peer.sending = true;
            let password_file = self.settings.state.join("password");
            let target = Target { me: self.settings.me.clone(), address: peer.address, password_file };
            let (name, spool, events) = (name.clone(), peer.outbox.path().to_owned(), self.events.clone());
            tokio::spawn(async move {
                let result = send(&spool, &target, PATIENCE).await;
                // Nobody waits for it any more when the loop has ended.
                let _ = events.send(Event::Sent(name, manifest, result));
            });
        }
        Ok(())
    }
}
