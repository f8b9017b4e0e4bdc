//! The output of a child, line by line.
//!
//! Standard output and error share one pipe, so their lines keep their order. The pipe is always read to the end, whatever
//! the child writes: it never waits for us, and we never keep more than a few lines of it. Lines are cut, and beyond a
//! rate they are dropped and counted.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use avamgr_core::time::Instant;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

use crate::clock;

/// Read at once; a quarter of what a pipe holds, so that a flood leaves the thread to others often.
const CHUNK: usize = 16 * 1024;

/// A longer line is cut: log lines are for people.
const LINE_MAX: usize = 1024;

/// Lines kept for reasons ("last output: …") and their length.
const TAIL_LINES: usize = 5;
const TAIL_LINE_MAX: usize = 256;

/// Lines passed on per second, and how many may come at once: about what journald takes from one service by default
/// (10,000 in 30 s), so that we are not the reason why *our* lines are dropped there.
const RATE_PER_SECOND: u64 = 300;
const BURST: u64 = 1000;

/// How often a flood is reported while it lasts.
const DROP_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Where lines go.
pub type Sink = Arc<dyn Fn(Line<'_>) + Send + Sync>;

/// What a sink is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line without its end, control characters replaced.
    Text(&'a str),
    /// So many lines came too fast and were dropped.
    Dropped(u64),
    /// So many lines were written while nobody was there to take them, and were dropped.
    Lost(u64),
}

/// A sink that writes to the log, naming the resource.
pub fn log_to(resource: &str) -> Sink {
    let resource = resource.to_owned();
    Arc::new(move |line| match line {
        Line::Text(text) => tracing::info!(target: "avamgr::output", %resource, "{text}"),
        Line::Dropped(count) => {
            tracing::warn!(target: "avamgr::output", %resource, "{count} lines of output dropped: more than {RATE_PER_SECOND} a second");
        }
        Line::Lost(count) => {
            tracing::warn!(target: "avamgr::output", %resource, "{count} lines of output lost: written while no daemon read them");
        }
    })
}

/// A sink for output that is only kept for the reason of a failure.
pub fn nowhere() -> Sink {
    Arc::new(|_| {})
}

/// The reading side. Dropping it ends the reading, and with it the pipe.
#[derive(Debug)]
pub(super) struct Output {
    tail: Arc<Mutex<Tail>>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    /// Reads `from` to its end in a task of its own.
    pub(super) fn capture(from: impl Into<OwnedFd>, sink: Sink) -> io::Result<Self> {
        let pipe = pipe::Receiver::from_owned_fd(from.into())?;
        let tail = Arc::new(Mutex::new(Tail::default()));
        let reader = tokio::spawn(read(pipe, Lines::new(sink, Arc::clone(&tail))));
        Ok(Self { tail, reader: Some(reader) })
    }

    /// Waits until everything was read, at most for `time`.
    pub(super) async fn settle(&mut self, time: Duration) {
        if let Some(reader) = self.reader.as_mut().filter(|reader| !reader.is_finished())
            && timeout(time, reader).await.is_ok()
        {
            // A task must not be asked again after it has answered.
            self.reader = None;
        }
    }

    /// Goes on reading after this handle is gone.
    pub(super) fn detach(&mut self) {
        self.reader = None;
    }

    pub(super) fn last_line(&self) -> Option<String> {
        self.last_lines().pop()
    }

    pub(super) fn last_lines(&self) -> Vec<String> {
        last_lines(&self.tail)
    }
}

fn last_lines(tail: &Mutex<Tail>) -> Vec<String> {
    let tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    tail.lines.iter().map(|line| readable(line)).collect()
}

/// The last lines of output that somebody else reads.
#[derive(Debug)]
pub(super) struct LastLines(Arc<Mutex<Tail>>);

impl LastLines {
    pub(super) fn last(&self) -> Option<String> {
        last_lines(&self.0).pop()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}

async fn read(mut pipe: pipe::Receiver, mut lines: Lines) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let Ok(count) = timeout(lines.patience(), pipe.read(&mut chunk)).await else {
            lines.tell_dropped(clock::now());
            continue;
        };
        match count {
            Ok(0) | Err(_) => break,
            Ok(count) => lines.take(&chunk[..count], clock::now()),
        }
        // A child that writes faster than we read would otherwise keep the thread for a whole scheduling budget.
        yield_now().await;
    }
    lines.end(clock::now());
}

/// The last few lines.
#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<Vec<u8>>,
}

impl Tail {
    fn push(&mut self, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        let mut slot =
            if self.lines.len() < TAIL_LINES { Vec::new() } else { self.lines.pop_front().unwrap_or_default() };
        slot.clear();
        slot.extend_from_slice(&line[..line.len().min(TAIL_LINE_MAX)]);
        self.lines.push_back(slot);
    }
}

/// Cuts bytes into lines and passes them on within the rate.
pub(super) struct Lines {
    sink: Sink,
    tail: Arc<Mutex<Tail>>,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    allowance: u64,
    refilled: Instant,
    dropped: u64,
    told: Instant,
}

impl Lines {
    fn new(sink: Sink, tail: Arc<Mutex<Tail>>) -> Self {
        let now = clock::now();
        Self { sink, tail, partial: Vec::new(), allowance: BURST, refilled: now, dropped: 0, told: now }
    }

    /// For bytes that are brought here, and a place to look at the last of them.
    pub(super) fn fed(sink: Sink) -> (Self, LastLines) {
        let tail = Arc::new(Mutex::new(Tail::default()));
        (Self::new(sink, Arc::clone(&tail)), LastLines(tail))
    }

    /// So many lines were lost on their way here.
    pub(super) fn lost(&self, count: u64) {
        (self.sink)(Line::Lost(count));
    }

    /// How long the next bytes may be waited for before [`Self::tell_dropped`].
    pub(super) fn patience(&self) -> Duration {
        if self.dropped > 0 { DROP_REPORT_INTERVAL } else { Duration::MAX }
    }

    pub(super) fn take(&mut self, bytes: &[u8], now: Instant) {
        self.refill(now);
        if self.dropped > 0 && now.since(self.told) >= DROP_REPORT_INTERVAL {
            self.tell_dropped(now);
        }
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.keep(&rest[..end]);
            self.line();
            rest = &rest[end + 1..];
        }
        self.keep(rest);
    }

    /// The pipe has ended: so has the last line.
    pub(super) fn end(&mut self, now: Instant) {
        if !self.partial.is_empty() {
            self.line();
        }
        self.tell_dropped(now);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_MAX.saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn line(&mut self) {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).push(&self.partial);
        if self.allowance > 0 {
            self.allowance -= 1;
            (self.sink)(Line::Text(&readable(&self.partial)));
        } else {
            self.dropped += 1;
        }
        self.partial.clear();
    }

    fn refill(&mut self, now: Instant) {
        let millis = u64::try_from(now.since(self.refilled).as_millis()).unwrap_or(u64::MAX);
        let lines = millis.saturating_mul(RATE_PER_SECOND) / 1000;
        if lines > 0 {
            self.allowance = self.allowance.saturating_add(lines).min(BURST);
            self.refilled = now;
        }
    }

    pub(super) fn tell_dropped(&mut self, now: Instant) {
        self.told = now;
        if self.dropped > 0 {
            (self.sink)(Line::Dropped(std::mem::take(&mut self.dropped)));
        }
    }
}

/// Text that cannot steer a terminal or break a log line.
fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim_end().chars().map(|c| if c == '\t' || !c.is_control() { c } else { '\u{fffd}' }).collect()
}
