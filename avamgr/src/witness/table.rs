//! Every cluster of one witness, by the number in the header of its frames.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use avamgr_core::cluster::Incarnation;
use avamgr_core::lease::witness::Witness;
use avamgr_core::time::Instant;
use avamgr_core::wire::codec;
use avamgr_core::wire::seal::{Keyring, cluster_id};

use super::memory::Memory;

/// From one attempt to write to a disk that refused to the next.
const RETRY: Duration = Duration::from_secs(1);

/// A cluster to be served.
pub(super) struct NewSeat {
    pub(super) name: String,
    pub(super) keyring: Keyring,
}

/// A cluster.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    pub(super) name: String,
    keyring: Keyring,
    pub(super) witness: Witness,
    /// Requests answered.
    pub(super) answered: u64,
    /// Datagrams refused, by cause.
    pub(super) refused: BTreeMap<&'static str, u64>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) seats: BTreeMap<u64, Seat>,
    incarnation: Incarnation,
    ppm: u32,
    memory: Memory,
    /// Why the longest promise could not be remembered, and when that is tried again.
    pub(super) trouble: Option<(Instant, String)>,
    /// Datagrams of no cluster of ours.
    pub(super) strange: u64,
    sequence: u64,
}

/// The table, whoever held it before.
pub(super) fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // A panic ends the process.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    /// An empty table; `random` names this run.
    pub(super) fn new(memory: Memory, ppm: u32, random: u64) -> Self {
        let incarnation = Incarnation(random.max(1));
        Self { seats: BTreeMap::new(), incarnation, ppm, memory, trouble: None, strange: 0, sequence: 0 }
    }

    /// Serves these clusters and no others. One that was served before keeps its votes; a new one, or one that comes back,
    /// is served as after a restart.
    pub(super) fn seat(&mut self, new: Vec<NewSeat>, now: Instant) {
        let mut before = std::mem::take(&mut self.seats);
        for NewSeat { name, keyring } in new {
            let id = cluster_id(&name);
            let seat = match before.remove(&id) {
                Some(seat) => Seat { keyring, ..seat },
                None => {
                    // A run of its own, so that what was sent to an earlier seat of this cluster proves nothing here.
                    self.sequence += 1;
                    let incarnation = Incarnation(self.incarnation.0.wrapping_add(self.sequence).max(1));
                    let witness = Witness::new(incarnation, self.memory.longest(), self.ppm, now);
                    Seat { name, keyring, witness, answered: 0, refused: BTreeMap::new() }
                }
            };
            self.seats.insert(id, seat);
        }
    }

    /// A datagram; the answer to it is in `answer`. `false` = there is none.
    pub(super) fn hear(&mut self, now: Instant, wall_millis: u64, datagram: &[u8], answer: &mut Vec<u8>) -> bool {
        let seat = codec::header(datagram).ok().and_then(|header| self.seats.get_mut(&header.cluster));
        let Some(seat) = seat else {
            self.strange += 1;
            return false;
        };
        let request = match seat.keyring.open(datagram) {
            Ok(request) => request,
            Err(cause) => {
                *seat.refused.entry(cause.word()).or_default() += 1;
                return false;
            }
        };
        let said = seat.witness.handle(now, &request);
        let asked = seat.witness.longest_asked();
        let id = codec::header(datagram).map(|header| header.cluster).unwrap_or_default();
        self.remember(now, id, asked);
        let Some(seat) = self.seats.get_mut(&id) else { return false };
        match said {
            Ok(mut said) => {
                said.sent_nanos = now.as_nanos();
                said.wall_millis = wall_millis;
                seat.answered += 1;
                seat.keyring.seal(&said, answer).is_ok()
            }
            Err(cause) => {
                *seat.refused.entry(cause.word()).or_default() += 1;
                false
            }
        }
    }

    /// A longer promise than any before is written down before it is made: the next request gets it.
    fn remember(&mut self, now: Instant, id: u64, asked: Duration) {
        if asked > self.memory.longest() && self.trouble.as_ref().is_none_or(|(retry, _)| now >= *retry) {
            match self.memory.remember(asked) {
                Ok(()) => self.trouble = None,
                Err(error) => {
                    tracing::error!("longer promises than before cannot be made: {error:#}");
                    self.trouble = Some((now + RETRY, format!("{error:#}")));
                }
            }
        }
        let longest = self.memory.longest();
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.witness.allow(longest);
        }
    }
}
