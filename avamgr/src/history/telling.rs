//! An answer to a question about the past, piece by piece: what the store has, then what is held in memory.

use std::sync::Arc;

use avamgr_core::control::HistoryEntry;

use crate::history::store::{Page, Query};
use crate::history::{HELD_MAX, History};

/// An answer that is being told.
#[derive(Debug)]
pub struct Telling {
    /// What the store is asked; `None` = what is held is enough.
    older: Option<Query>,
    /// Where the store goes on; `None` = it was not asked yet.
    from: Option<u64>,
    /// Only the last ones are asked for, no more than may be held.
    is_tail: bool,
    held: Option<Vec<Arc<HistoryEntry>>>,
}

impl Telling {
    /// The answer of this history to this question. `held`: what it has in memory.
    pub fn of(history: &History, mut query: Query, held: &[Arc<HistoryEntry>]) -> Self {
        let is_tail = query.before == u64::MAX && query.filter.is_everything() && query.last <= HELD_MAX;
        let wanted: Vec<_> = held.iter().filter(|entry| query.wants(entry)).cloned().collect();
        let wanted = wanted[wanted.len().saturating_sub(query.last)..].to_vec();
        query.last -= wanted.len();
        // While not all of the memory is used there is nothing else, if the store has been read.
        let first = held.first().map_or(0, |entry| entry.number);
        let all_held = first > 0 && held.len() < HELD_MAX;
        let may_be_more = history.disk.is_some() && query.last > 0 && !all_held && query.before > 1;
        query.before = if first > 0 { query.before.min(first) } else { query.before };
        Self { older: may_be_more.then_some(query), from: None, is_tail, held: Some(wanted) }
    }

    /// The next piece, the oldest first; `None` = that was all. While the store cannot be read the last ones are those that are held.
    ///
    /// # Errors
    /// When others are asked for and the store cannot be read, in words.
    pub async fn next(&mut self, history: &History, is_viewer: bool) -> Result<Option<Vec<Arc<HistoryEntry>>>, String> {
        if let (Some(query), Some(disk)) = (&self.older, &history.disk) {
            let (asked, from) = (query.clone(), self.from);
            let page = disk.reader.ask(is_viewer, move |store| {
                let from = match from {
                    Some(from) => Some(from),
                    None => store.beginning(&asked)?,
                };
                from.map_or(Ok(Page { entries: Vec::new(), rest: None }), |from| store.page(&asked, from))
            });
            let Page { entries, rest } = match page.await {
                Ok(page) => page,
                Err(why) if self.is_tail => {
                    tracing::debug!("only what is in memory is told of the history: {why}");
                    self.older = None;
                    return Ok(self.held.take());
                }
                Err(why) => {
                    return Err(format!(
                        "the history on disk cannot be read: {why}; `--last` of up to {HELD_MAX} needs no disk"
                    ));
                }
            };
            self.from = rest;
            if rest.is_none() {
                self.older = None;
            }
            return Ok(Some(entries.into_iter().map(Arc::new).collect()));
        }
        Ok(self.held.take())
    }
}
