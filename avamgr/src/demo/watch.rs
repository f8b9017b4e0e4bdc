//! What a node says of itself: its status several times a second, and every event of its history as it happens.
//!
//! Two threads per node ask the control socket, as any client would, so a daemon that hangs or dies delays nobody but
//! them. What they heard last is kept with the moment at which it was true.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use avamgr_core::control::frame::{Lines, MAX_REPLY_BYTES, MAX_REQUEST_BYTES, decode, encode};
use avamgr_core::control::{Answer, Command, HistoryEntry, Reply, Request, Status};
use avamgr_core::time::Instant;

use crate::clock;

/// Between two questions: quick to the eye, cheap for the daemon.
const PACE: Duration = Duration::from_millis(40);
/// How often a waiting thread looks whether it shall end.
const LOOK_UP: Duration = Duration::from_millis(100);
/// Entries kept for the report of a step that misbehaved.
const KEPT: usize = 400;
/// Entries asked for after a connection was lost: more than happen in between.
const CAUGHT_UP: usize = 200;
/// A reply that takes longer is none, for a command that was never answered.
const PIECE: usize = 16 * 1024;

/// Watches one node until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What was heard of a node.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The last status.
    pub(super) status: Option<Arc<Status>>,
    /// The last events, oldest first.
    entries: VecDeque<Arc<HistoryEntry>>,
    /// How many events were heard in all.
    count: u64,
}

impl Watch {
    pub(super) fn start(node: &str, socket: &Path) -> io::Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut watch = Self { seen, stop, threads: Vec::new() };
        for body in [follow_status as fn(&Link), follow_history] {
            let link = Link { socket: socket.to_owned(), seen: Arc::clone(&watch.seen), stop: Arc::clone(&watch.stop) };
            let thread = thread::Builder::new().name(format!("watch-{node}")).spawn(move || body(&link))?;
            watch.threads.push(thread);
        }
        Ok(watch)
    }

    pub(super) fn status(&self) -> Option<Arc<Status>> {
        lock(&self.seen).status.clone()
    }

    /// The events since a place in the history, and the place after them.
    pub(super) fn events_from(&self, place: u64) -> (Vec<Arc<HistoryEntry>>, u64) {
        let seen = lock(&self.seen);
        let new = usize::try_from(seen.count.saturating_sub(place)).unwrap_or(usize::MAX);
        let skip = seen.entries.len().saturating_sub(new);
        (seen.entries.iter().skip(skip).cloned().collect(), seen.count)
    }

    /// The events of the node since a moment. Its clock is ours: one kernel.
    pub(super) fn events_since(&self, from: Instant) -> Vec<Arc<HistoryEntry>> {
        lock(&self.seen).entries.iter().filter(|entry| entry.event.at >= from).cloned().collect()
    }

    /// The last events.
    pub(super) fn last_events(&self, count: usize) -> Vec<Arc<HistoryEntry>> {
        let seen = lock(&self.seen);
        seen.entries.iter().skip(seen.entries.len().saturating_sub(count)).cloned().collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Gives a node a command in a thread of its own; what became of it appears in the slot.
pub(super) fn command(socket: &Path, command: Command, limit: Duration) -> Arc<Mutex<Option<Result<Answer, String>>>> {
    let slot = Arc::new(Mutex::new(None));
    let (result, socket) = (Arc::clone(&slot), socket.to_owned());
    thread::spawn(move || {
        let outcome = ask(&socket, &Request::Command(command), limit).map_err(|error| error.to_string());
        *lock(&result) = Some(outcome);
    });
    slot
}

/// Puts a command to a daemon and waits for its last word.
fn ask(socket: &Path, request: &Request, limit: Duration) -> io::Result<Answer> {
    let end = clock::now() + limit;
    let mut talk = Talk::open(socket)?;
    talk.send(request)?;
    while clock::now() < end {
        match talk.next()? {
            Some(Reply::Answer { answer }) => return Ok(answer),
            Some(Reply::Error { reason }) => return Err(io::Error::other(reason)),
            Some(
                Reply::Status { .. }
                | Reply::Event { .. }
                | Reply::EndOfHistory
                | Reply::Pending { .. }
                | Reply::Config { .. }
                | Reply::Rules { .. },
            )
            | None => {}
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// What a thread needs.
struct Link {
    socket: PathBuf,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
}

impl Link {
    fn ends(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Talks with the daemon again and again, whatever happens to it.
    fn again(&self, mut talk: impl FnMut(&Self) -> io::Result<()>) {
        while !self.ends() {
            // A daemon that is not there is what we are here to see.
            let _ = talk(self);
            thread::sleep(PACE);
        }
    }
}

fn follow_status(link: &Link) {
    link.again(|link| {
        let mut talk = Talk::open(&link.socket)?;
        while !link.ends() {
            talk.send(&Request::Status)?;
            while !link.ends() {
                if let Some(Reply::Status { status }) = talk.next()? {
                    lock(&link.seen).status = Some(Arc::from(status));
                    break;
                }
            }
            thread::sleep(PACE);
        }
        Ok(())
    });
}

fn follow_history(link: &Link) {
    link.again(|link| {
        let mut talk = Talk::open(&link.socket)?;
        talk.send(&Request::follow(CAUGHT_UP))?;
        let (mut past, mut is_past) = (Vec::new(), true);
        while !link.ends() {
            match talk.next()? {
                Some(Reply::Event { entry }) if is_past => past.push(entry),
                Some(Reply::Event { entry }) => lock(&link.seen).note(entry),
                Some(Reply::EndOfHistory) => {
                    is_past = false;
                    lock(&link.seen).catch_up(std::mem::take(&mut past));
                }
                Some(
                    Reply::Error { .. }
                    | Reply::Status { .. }
                    | Reply::Pending { .. }
                    | Reply::Answer { .. }
                    | Reply::Config { .. }
                    | Reply::Rules { .. },
                )
                | None => {}
            }
        }
        Ok(())
    });
}

impl Seen {
    fn note(&mut self, entry: HistoryEntry) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(Arc::new(entry));
        self.count += 1;
    }

    /// Takes from what a daemon remembers that which we have not heard yet.
    fn catch_up(&mut self, past: Vec<HistoryEntry>) {
        let known = self.entries.back().and_then(|last| past.iter().rposition(|entry| *entry == **last));
        for entry in past.into_iter().skip(known.map_or(0, |known| known + 1)) {
            self.note(entry);
        }
    }
}

/// One conversation on a control socket.
struct Talk {
    stream: UnixStream,
    lines: Lines,
}

impl Talk {
    fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(LOOK_UP))?;
        stream.set_write_timeout(Some(LOOK_UP))?;
        Ok(Self { stream, lines: Lines::new(MAX_REPLY_BYTES) })
    }

    fn send(&mut self, request: &Request) -> io::Result<()> {
        let line = encode(request, MAX_REQUEST_BYTES).map_err(io::Error::other)?;
        self.stream.write_all(&line)
    }

    /// The next reply, or nothing for a while.
    fn next(&mut self) -> io::Result<Option<Reply>> {
        if let Some(line) = self.lines.next_line() {
            return line.and_then(|line| decode(&line)).map(Some).map_err(io::Error::other);
        }
        let mut piece = [0; PIECE];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.lines.push(&piece[..count]);
                Ok(None)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use avamgr_core::node::event::{Event, Fact, Severity};

    use super::*;

    fn entry(number: u64) -> HistoryEntry {
        let event = Event { at: Instant::from_nanos(number), fact: Fact::ArbitratorReachable };
        let text = format!("event {number}");
        HistoryEntry {
            number: 0,
            time: String::new(),
            node: "hadev1".to_owned(),
            event,
            severity: Severity::Info,
            text,
        }
    }

    fn texts(seen: &Seen) -> Vec<String> {
        seen.entries.iter().map(|entry| entry.text.clone()).collect()
    }

    #[test]
    fn what_was_missed_is_caught_up_once() {
        let mut seen = Seen::default();
        seen.catch_up(vec![entry(1), entry(2)]);
        seen.note(entry(3));
        seen.catch_up((1..=5).map(entry).collect());
        assert_eq!(texts(&seen), ["event 1", "event 2", "event 3", "event 4", "event 5"]);
        assert_eq!(seen.count, 5);
    }

    #[test]
    fn a_daemon_that_has_forgotten_everything_tells_only_news() {
        let mut seen = Seen::default();
        seen.catch_up(vec![entry(1)]);
        seen.catch_up(vec![entry(7), entry(8)]);
        assert_eq!(texts(&seen), ["event 1", "event 7", "event 8"]);
    }
}
