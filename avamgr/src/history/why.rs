//! Why an event has happened, for whoever asks: the command line and the page.

use avamgr_core::control::{Filter, HistoryEntry, Request};
use avamgr_core::node::event::Event;
use avamgr_core::node::event::chain::{AFTERWARDS, chain};
use serde::Serialize;

/// Events before the one that is asked about in which its reasons are looked for.
const REACH: usize = 1024;

/// An event and what led to it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// The event.
    pub entry: HistoryEntry,
    /// What led to it, the first one first.
    pub chain: Vec<Reason>,
}

/// One event of a chain.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Reason {
    /// The event.
    pub entry: HistoryEntry,
    /// The number of the one that it led to.
    pub led_to: u64,
}

/// What has to be known of the history to explain an event.
pub fn question(number: u64) -> Request {
    let after = u64::try_from(AFTERWARDS).unwrap_or(u64::MAX);
    let before = Some(number.saturating_add(after).saturating_add(1));
    Request::History { last: REACH + AFTERWARDS, follow: false, before, filter: Filter::default() }
}

/// Explains an event. `entries`: the answer to [`question`].
///
/// # Errors
/// When it is not among them, in words.
pub fn explain(number: u64, entries: &[HistoryEntry]) -> Result<Explanation, String> {
    let of = entries.iter().position(|entry| entry.number == number && number > 0);
    let Some((of, entry)) = of.and_then(|of| Some((of, entries.get(of)?))) else {
        return Err(format!("there is no event {number} in the history: it was too long ago, or has not happened yet"));
    };
    let events: Vec<&Event> = entries.iter().map(|entry| &entry.event).collect();
    let reason = |place: usize, led_to: usize| {
        Some(Reason { entry: entries.get(place)?.clone(), led_to: entries.get(led_to)?.number })
    };
    let chain = chain(&events, of).into_iter().filter_map(|step| reason(step.event, step.led_to)).collect();
    Ok(Explanation { entry: entry.clone(), chain })
}
