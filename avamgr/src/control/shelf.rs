//! Answers that many readers get alike: made once for each snapshot, however many ask, and bounded while slow ones still
//! read those of the past.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use avamgr_core::config::Config;
use avamgr_core::control::frame::{MAX_REPLY_BYTES, encode};
use avamgr_core::control::{Reply, Status};
use avamgr_core::courier::Watched;
use tokio::sync::Semaphore;

/// Bytes of answers, read by anybody, at which a viewer gets no new one: four of the longest.
const BYTES_MAX: usize = 4 * MAX_REPLY_BYTES;

/// Viewers who are told of the rules at once: what comes for each may be as long as the longest answer before it is shortened.
const RULES_AT_ONCE: usize = 2;

/// One answer as it goes over the socket.
#[derive(Debug)]
pub(super) struct Line {
    bytes: Box<[u8]>,
    held: Arc<AtomicUsize>,
}

impl Line {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// What a snapshot became; holding on to it keeps its place from being taken for another's.
type Slot<T> = Mutex<Option<(Arc<T>, Arc<Line>)>>;

/// The answers at hand.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    status: Slot<Status>,
    config: Slot<Config>,
    held: Arc<AtomicUsize>,
    /// For viewers who ask about the rules.
    pub(super) rules: Places,
}

/// Places for [`RULES_AT_ONCE`].
#[derive(Debug)]
pub(super) struct Places(pub(super) Semaphore);

impl Default for Places {
    fn default() -> Self {
        Self(Semaphore::new(RULES_AT_ONCE))
    }
}

impl Shelf {
    /// The answer with this status, and with how the rules stand as of its first reader; none for a viewer while too many are
    /// being read.
    pub(super) fn status(&self, status: &Arc<Status>, rules: Option<&Watched>, viewer: bool) -> Option<Arc<Line>> {
        let reply = || Reply::Status { status: Box::new(Status { rules: rules.cloned(), ..status.as_ref().clone() }) };
        self.get(&self.status, status, viewer, reply)
    }

    /// The answer with this config; none for a viewer while too many are being read.
    pub(super) fn config(&self, config: &Arc<Config>, viewer: bool) -> Option<Arc<Line>> {
        let reply = || Reply::Config { config: Box::new(config.as_ref().clone()) };
        self.get(&self.config, config, viewer, reply)
    }

    fn get<T>(
        &self,
        slot: &Slot<T>,
        source: &Arc<T>,
        viewer: bool,
        reply: impl FnOnce() -> Reply,
    ) -> Option<Arc<Line>> {
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, line)) = slot.as_ref().filter(|(of, _)| Arc::ptr_eq(of, source)) {
            return Some(Arc::clone(line));
        }
        // The one that is replaced no longer counts, unless somebody reads it.
        *slot = None;
        if viewer && self.held.load(Ordering::Relaxed) >= BYTES_MAX {
            return None;
        }
        let bytes = line(&reply())?.into_boxed_slice();
        self.held.fetch_add(bytes.len(), Ordering::Relaxed);
        let line = Arc::new(Line { bytes, held: Arc::clone(&self.held) });
        *slot = Some((Arc::clone(source), Arc::clone(&line)));
        Some(line)
    }
}

/// A reply as a line, or the word that it cannot be one.
pub(super) fn line(reply: &Reply) -> Option<Vec<u8>> {
    encode(reply, MAX_REPLY_BYTES)
        .or_else(|error| {
            encode(&Reply::Error { reason: format!("the answer cannot be sent: {error}") }, MAX_REPLY_BYTES)
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use avamgr_core::cluster::NodeId;
    use avamgr_core::node::{Durable, Node};
    use avamgr_core::time::Instant;

    use super::*;

    const CONFIG: &str = "[cluster]\nname = \"c\"\nnodes = [\"a\"]\nstandalone = true\nfailover_budget = \"1s\"\n\
                          [[group]]\nname = \"g\"\n[[group.resource]]\nname = \"r\"\nexec = \"sleep 1\"\n";

    fn config() -> Arc<Config> {
        Arc::new(avamgr_core::config::parse(CONFIG, "test").unwrap())
    }

    fn status() -> Status {
        let incarnation = avamgr_core::cluster::Incarnation(1);
        let now = Instant::from_millis(1_000);
        Node::new(config(), NodeId(0), incarnation, 1, Durable::default(), now).status(now)
    }

    #[test]
    fn a_crowd_shares_one_answer() {
        let shelf = Shelf::default();
        let config = config();
        let answers: Vec<_> = (0..448).map(|_| shelf.config(&config, true).unwrap()).collect();
        assert!(answers.iter().all(|answer| Arc::ptr_eq(answer, &answers[0])));
        assert_eq!(shelf.held.load(Ordering::Relaxed), answers[0].bytes().len());
        assert!(answers[0].bytes().ends_with(b"\n"));
    }

    #[test]
    fn a_new_snapshot_gets_a_new_answer_and_readers_of_old_ones_are_bounded() {
        let shelf = Shelf::default();
        let long = |number: u64| {
            let mut status = status();
            status.now += Duration::from_secs(number);
            status.driver.guard = "x".repeat(1_000_000);
            Arc::new(status)
        };
        let read: Vec<_> = (0..100).map_while(|number| shelf.status(&long(number), None, true)).collect();
        assert!(!Arc::ptr_eq(&read[0], &read[1]));
        assert!((16..=18).contains(&read.len()), "{}", read.len());
        assert!(shelf.status(&long(200), None, true).is_none());
        assert!(shelf.status(&long(200), None, false).is_some(), "operators are never told to wait for viewers");
        drop(read);
        assert!(shelf.status(&long(201), None, true).is_some());
        assert!(shelf.held.load(Ordering::Relaxed) < 2_000_000);
    }
}
