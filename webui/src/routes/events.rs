//! Everything as it happens, as server-sent events: `history` (the last entries, at the beginning and after a loss), then
//! `entry` (each new one) and `status` (as `/api/v1/status`, at least once a second).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use avamgr_core::control::HistoryEntry;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Sse;
use axum::response::sse::Event;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::access::Access;
use crate::daemon::{Feed, Said};
use crate::problem::Problem;

/// Entries of the past that are told at the beginning.
const LAST: usize = 200;

/// Streams at once: others who ask once must find room too.
const STREAMS: usize = 640;
/// After this silence it is told again how it stands, whatever the daemon says.
const SILENCE: Duration = Duration::from_secs(1);

/// Where streams begin, and room for them.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    feed: Feed,
    access: Access,
    room: Arc<Semaphore>,
}

impl Streams {
    pub(super) fn over(feed: Feed, access: Access) -> Self {
        Self { feed, access, room: Arc::new(Semaphore::new(STREAMS)) }
    }
}

/// Everything as it happens
///
/// Server-sent events, without end. `status`: a `StatusDocument`, at the beginning and at least once a second. `history`: a list
/// of `HistoryEntry`, the last ones, at the beginning and after a loss. `entry`: a `HistoryEntry`, each new one.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    responses(
        (status = 200, description = "The events", body = String, content_type = "text/event-stream"),
        (status = 503, description = "Too many look already"),
    )
)]
pub(super) async fn events(
    State(streams): State<Streams>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let full = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many look already: close some pages");
    let room = streams.room.try_acquire_owned().map_err(full)?;
    Ok(Sse::new(unfold((Viewer::new(streams.feed), room), move |(mut viewer, room)| {
        // Whoever is not let in any more sees no more.
        let may_look = streams.access.identify(&headers).is_ok();
        async move {
            if !may_look {
                return None;
            }
            let event = viewer.next().await?;
            Some((Ok(event), (viewer, room)))
        }
    })))
}

/// Somebody who looks. What waits to be told to a slow one is not piled up: of snapshots there is the last one, and of
/// entries that were missed there is the past.
struct Viewer {
    feed: Feed,
    said: watch::Receiver<Said>,
    live: broadcast::Receiver<Arc<HistoryEntry>>,
    first: VecDeque<Event>,
}

impl Viewer {
    fn new(feed: Feed) -> Self {
        let mut said = feed.follow();
        let status = event("status", &said.borrow_and_update().document());
        let (past, live) = feed.history().follow(LAST);
        let first = VecDeque::from([status, history(&past)]);
        Self { feed, said, live, first }
    }

    /// `None` when there will be nothing more.
    async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.first.pop_front() {
            return Some(event);
        }
        tokio::select! {
            changed = timeout(SILENCE, self.said.changed()) => {
                if let Ok(changed) = changed {
                    changed.ok()?;
                }
                Some(event("status", &self.said.borrow_and_update().document()))
            }
            entry = self.live.recv() => match entry {
                Ok(entry) => Some(event("entry", entry.as_ref())),
                Err(RecvError::Lagged(_)) => {
                    let (past, live) = self.feed.history().follow(LAST);
                    self.live = live;
                    Some(history(&past))
                }
                Err(RecvError::Closed) => None,
            },
        }
    }
}

fn history(past: &[Arc<HistoryEntry>]) -> Event {
    event("history", &past.iter().map(Arc::as_ref).collect::<Vec<_>>())
}

fn event(name: &str, document: &impl Serialize) -> Event {
    // Our documents have no map with keys other than strings, the only thing that could fail.
    Event::default().event(name).data(serde_json::to_string(document).unwrap_or_default())
}
