//! Hears that a batch of a peer has come: its manifest arrives last, and under its own name only when it is complete. What never
//! becomes complete is removed.

use std::path::Path;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::{Event, Peer, Run, RunError};
use crate::clock;
use crate::leftovers::PAUSE;
use crate::manifest::manifest_of;

impl Run {
    /// They hear until what is returned is dropped.
    pub(super) fn watch_inboxes(&self) -> Result<Vec<RecommendedWatcher>, RunError> {
        let watch = |(name, peer): (&String, &Peer)| {
            let (name, events) = (name.clone(), self.events.clone());
            let on_event = move |event: notify::Result<notify::Event>| {
                let has_come = match event {
                    Ok(event) => {
                        event.need_rescan() || (brings(event.kind) && event.paths.iter().any(|path| is_manifest(path)))
                    }
                    Err(_) => true,
                };
                if has_come {
                    // Nobody hears it any more when the loop has ended.
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

    /// Removes from them what killed rsyncs have left.
    pub(super) fn sweep(&mut self) {
        let now = clock::now();
        if now < self.sweep_due {
            return;
        }
        self.sweep_due = now + PAUSE;
        for (name, peer) in &mut self.peers {
            if let Err(error) = peer.inbox.sweep(&mut peer.leftovers) {
                let what = format!("what an rsync of {name} has left");
                self.troubles.put(now, what, error.to_string());
            }
        }
    }
}

/// To be looked at and removed, which we do ourselves, brings nothing.
fn brings(kind: EventKind) -> bool {
    match kind {
        EventKind::Remove(_) | EventKind::Access(AccessKind::Open(_) | AccessKind::Read) => false,
        EventKind::Access(AccessKind::Close(mode)) => mode == AccessMode::Write,
        EventKind::Access(AccessKind::Any | AccessKind::Other)
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Any
        | EventKind::Other => true,
    }
}

fn is_manifest(path: &Path) -> bool {
    path.file_name().is_some_and(|name| manifest_of(Path::new(name)).is_some())
}
