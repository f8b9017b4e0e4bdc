//! What a client is told of the history: the past, then each event as it happens.

use std::sync::Arc;

use avamgr_core::control::{Filter, HistoryEntry, Reply};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::{Client, Gone};
use crate::history::store::Query;
use crate::history::{HELD_MAX, Telling};

/// What of the history a client wants.
pub(super) struct Wanted {
    pub(super) last: usize,
    pub(super) before: Option<u64>,
    pub(super) filter: Filter,
}

impl Client {
    pub(super) async fn history(&mut self, wanted: Wanted, follow: bool) -> Result<(), Gone> {
        let Wanted { last, before, filter } = wanted;
        let config = Arc::clone(&self.ports.config.borrow());
        if let Some(group) = filter.group.as_ref().filter(|name| config.groups.iter().all(|group| group.name != **name))
        {
            return self.send(&Reply::Error { reason: format!("there is no group `{group}`") }).await;
        }
        let history = Arc::clone(&self.ports.history);
        let (held, mut live) = history.follow(HELD_MAX);
        let query = Query { last, before: before.unwrap_or(u64::MAX), filter: filter.clone(), config: Some(config) };
        let mut telling = Telling::of(&history, query, &held);
        drop(held);
        loop {
            match telling.next(&history, self.seat.is_viewer()).await {
                Ok(Some(entries)) => {
                    for entry in entries {
                        self.send_event(&entry).await?;
                    }
                }
                Ok(None) => break,
                Err(reason) => return self.send(&Reply::Error { reason }).await,
            }
        }
        self.send(&Reply::EndOfHistory).await?;
        if follow { self.follow(&mut live, &filter).await } else { Ok(()) }
    }

    /// Tells each event as it happens, until the client leaves or asks something else.
    async fn follow(&mut self, live: &mut Receiver<Arc<HistoryEntry>>, filter: &Filter) -> Result<(), Gone> {
        loop {
            tokio::select! {
                next = live.recv() => match next {
                    Ok(entry) => {
                        let config = Arc::clone(&self.ports.config.borrow());
                        if filter.fits(&entry, Some(&config)) {
                            self.send_event(&entry).await?;
                        }
                    }
                    Err(RecvError::Lagged(missed)) => {
                        let reason = format!("too slow: {missed} events went by unread, ask again for the history");
                        return self.dismiss(&reason).await.map(|never| match never {});
                    }
                    Err(RecvError::Closed) => return Err(Gone),
                },
                read = self.read() => return read,
            }
        }
    }
}
