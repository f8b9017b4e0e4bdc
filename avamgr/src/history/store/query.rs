//! Questions to a store: first where the answer begins, then page by page, so that no answer is ever held as a whole.

use std::ops::Range;
use std::sync::Arc;

use avamgr_core::config::Config;
use avamgr_core::control::{Filter, HistoryEntry};

use super::{Store, StoreError, decode};

/// Entries of a page.
const PAGE: usize = 256;
/// Entries that are looked at for a page: whoever asks for little of much lets others have their turn too.
const LOOKED_AT: usize = 4096;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Query {
    /// At most so many of the last.
    pub last: usize,
    /// Only those with smaller numbers.
    pub before: u64,
    /// Only those that fit.
    pub filter: Filter,
    /// Who knows the names of groups; without it none has one.
    pub config: Option<Arc<Config>>,
}

/// A piece of the answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries, the oldest first.
    pub entries: Vec<HistoryEntry>,
    /// Where it goes on; `None` = this was the end.
    pub rest: Option<u64>,
}

impl Query {
    /// The last events.
    pub fn last(last: usize) -> Self {
        Self { last, before: u64::MAX, filter: Filter::default(), config: None }
    }

    /// Whether an entry belongs to the answer, unless there are too many.
    pub fn wants(&self, entry: &HistoryEntry) -> bool {
        entry.number < self.before && self.filter.fits(entry, self.config.as_deref())
    }

    fn fitting(&self, number: u64, value: &[u8]) -> Option<HistoryEntry> {
        decode(number, value).filter(|entry| self.filter.fits(entry, self.config.as_deref()))
    }
}

impl Store {
    /// The number of the first entry of the answer; `None` = nothing fits.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn beginning(&self, query: &Query) -> Result<Option<u64>, StoreError> {
        self.read(|entries| {
            let (mut first, mut count) = (None, 0);
            for found in entries.range(..query.before)?.rev() {
                if count == query.last {
                    break;
                }
                let (number, value) = found?;
                let number = number.value();
                if query.filter.is_everything() || query.fitting(number, value.value()).is_some() {
                    (first, count) = (Some(number), count + 1);
                }
            }
            Ok(first)
        })
    }

    /// A piece of the answer, from this number on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn page(&self, query: &Query, from: u64) -> Result<Page, StoreError> {
        self.read(|table| {
            let mut entries = Vec::new();
            let wanted: Range<u64> = from..query.before.max(from);
            for (looked_at, found) in table.range(wanted)?.enumerate() {
                let (number, value) = found?;
                let number = number.value();
                if entries.len() == PAGE || looked_at == LOOKED_AT {
                    return Ok(Page { entries, rest: Some(number) });
                }
                entries.extend(query.fitting(number, value.value()));
            }
            Ok(Page { entries, rest: None })
        })
    }

    /// The whole answer, for whoever may wait for it and hold it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn answer(&self, query: &Query) -> Result<Vec<HistoryEntry>, StoreError> {
        let mut answer = Vec::new();
        let mut from = self.beginning(query)?;
        while let Some(number) = from {
            let page = self.page(query, number)?;
            answer.extend(page.entries);
            from = page.rest;
        }
        Ok(answer)
    }
}
