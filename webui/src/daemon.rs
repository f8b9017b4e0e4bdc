//! What the daemon says: its status again and again, its history as it happens. Two connections, whoever looks and however
//! many they are.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use avamgr::cli::render::StatusDocument;
use avamgr::clock;
use avamgr::control::exchange::{exchange, next};
use avamgr::history::{HELD_MAX, History};
use avamgr_core::control::frame::{Lines, MAX_REPLY_BYTES};
use avamgr_core::control::{HistoryEntry, Reply, Request, Status};
use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

/// How often the status is asked for while nothing happens.
const PACE: Duration = Duration::from_millis(500);
/// Between two questions, however much happens.
const PACE_MIN: Duration = Duration::from_millis(50);
/// Between two tries to get a history that cannot be had.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// For an answer. The daemon has a thread for its answers that waits for nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the daemon said when it was asked last.
#[derive(Clone, Debug)]
pub struct Said(Result<Arc<Status>, String>);

impl Said {
    /// What may be told of it now: also a daemon that answers may know nothing new.
    pub fn document(&self) -> StatusDocument<'_> {
        match &self.0 {
            Ok(status) => StatusDocument::of(status, clock::now()),
            Err(reason) => StatusDocument::unknown(reason.clone()),
        }
    }
}

/// What is known of the daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Feed {
    socket: Arc<Path>,
    said: watch::Receiver<Said>,
    history: Arc<History>,
    trouble: watch::Receiver<Option<String>>,
}

impl Feed {
    /// Asks the daemon behind `socket` from now on. Needs a runtime.
    pub fn start(socket: PathBuf) -> Self {
        let (says, said) = watch::channel(Said(Err("the daemon was not asked yet".to_owned())));
        let (history, news) = (Arc::new(History::in_memory()), Arc::new(Notify::new()));
        let (tells, trouble) = watch::channel(Some("the daemon was not asked yet".to_owned()));
        tokio::spawn(follow(socket.clone(), Arc::clone(&history), tells, Arc::clone(&news)));
        tokio::spawn(ask(socket.clone(), says, news));
        Self { socket: socket.into(), said, history, trouble }
    }

    /// Where it is asked.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What it said last.
    pub fn said(&self) -> Said {
        self.said.borrow().clone()
    }

    /// The same, to be waited for.
    pub fn follow(&self) -> watch::Receiver<Said> {
        self.said.clone()
    }

    /// Why the history does not go on at present.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Past events, and live ones.
    pub fn history(&self) -> &History {
        &self.history
    }
}

/// Asks how it stands, at once when something has happened.
async fn ask(socket: PathBuf, says: watch::Sender<Said>, news: Arc<Notify>) {
    loop {
        let Err(error) = ask_on(&socket, &says, &news).await;
        let known = words(&socket, &error);
        says.send_replace(Said(Err(known)));
        if says.is_closed() {
            return;
        }
        sleep(PACE).await;
    }
}

async fn ask_on(socket: &Path, says: &watch::Sender<Said>, news: &Notify) -> io::Result<Infallible> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut lines = Lines::new(MAX_REPLY_BYTES);
    loop {
        let reply = timeout(PATIENCE, exchange(&mut stream, &mut lines, &Request::Status)).await??;
        let Reply::Status { status } = reply else { return Err(refused(reply)) };
        says.send_replace(Said(Ok(Arc::from(status))));
        if says.is_closed() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        sleep(PACE_MIN).await;
        // The daemon may still be at its next snapshot when the first event of many is told: another look follows soon.
        let _ = timeout(PACE - PACE_MIN, news.notified()).await;
    }
}

/// Takes the history over as it is and as it grows.
async fn follow(socket: PathBuf, history: Arc<History>, trouble: watch::Sender<Option<String>>, news: Arc<Notify>) {
    let mut pause = PACE;
    while !trouble.is_closed() {
        let Err(error) = follow_on(&socket, &history, &trouble, &news).await;
        let was_well = trouble.borrow().is_none();
        let why = words(&socket, &error);
        if trouble.borrow().as_ref() != Some(&why) {
            tracing::warn!("the history: {why}");
        }
        trouble.send_replace(Some(why));
        // All of it is told each time.
        pause = if was_well { PACE } else { (pause * 2).min(PAUSE_MAX) };
        sleep(pause).await;
    }
}

async fn follow_on(
    socket: &Path,
    history: &History,
    trouble: &watch::Sender<Option<String>>,
    news: &Notify,
) -> io::Result<Infallible> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut lines = Lines::new(MAX_REPLY_BYTES);
    let request = Request::follow(HELD_MAX);
    let mut past = Vec::new();
    let mut reply = timeout(PATIENCE, exchange(&mut stream, &mut lines, &request)).await??;
    while let Reply::Event { entry } = reply {
        past.push(entry);
        reply = timeout(PATIENCE, next(&mut stream, &mut lines)).await??;
    }
    let Reply::EndOfHistory = reply else { return Err(refused(reply)) };
    let known = history.last(HELD_MAX);
    unknown(past, &known).into_iter().for_each(|entry| history.repeat(entry));
    trouble.send_replace(None);
    loop {
        let reply = next(&mut stream, &mut lines).await?;
        let Reply::Event { entry } = reply else { return Err(refused(reply)) };
        history.repeat(entry);
        news.notify_one();
    }
}

/// What of the daemon's past is not known yet: all that came after the last thing that is, or everything.
fn unknown(mut past: Vec<HistoryEntry>, known: &[Arc<HistoryEntry>]) -> Vec<HistoryEntry> {
    // The last entries may have been lost with a daemon that was killed.
    // Its number may have come later than the entry.
    let is_same = |one: &HistoryEntry, other: &HistoryEntry| {
        one.event == other.event && one.time == other.time && one.text == other.text
    };
    let place = |known: &Arc<HistoryEntry>| past.iter().rposition(|entry| is_same(entry, known));
    let last = known.iter().rev().find_map(place);
    past.split_off(last.map_or(0, |last| last + 1))
}

fn refused(reply: Reply) -> io::Error {
    match reply {
        Reply::Error { reason } => io::Error::other(reason),
        Reply::Status { .. }
        | Reply::Event { .. }
        | Reply::EndOfHistory
        | Reply::Pending { .. }
        | Reply::Answer { .. }
        | Reply::Config { .. }
        | Reply::Rules { .. } => io::Error::other("the daemon answered something else than was asked"),
    }
}

/// What stands where the status would be.
pub(crate) fn words(socket: &Path, error: &io::Error) -> String {
    let socket = socket.display();
    let known = [
        (io::ErrorKind::NotFound, "is not running (no control socket)"),
        (io::ErrorKind::ConnectionRefused, "is not running (nobody listens)"),
        (io::ErrorKind::TimedOut, "does not answer"),
        (io::ErrorKind::UnexpectedEof, "has closed the connection"),
        (io::ErrorKind::BrokenPipe, "has closed the connection"),
        (io::ErrorKind::ConnectionReset, "has closed the connection"),
    ];
    match known.iter().find(|(kind, _)| *kind == error.kind()) {
        Some((_, why)) => format!("avamgrd {why} on {socket}"),
        None => format!("avamgrd cannot be asked on {socket}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use avamgr_core::node::Event;
    use avamgr_core::node::event::{Fact, Severity};
    use avamgr_core::time::Instant;

    use super::*;

    fn entry(number: u64) -> HistoryEntry {
        let fact = Fact::Rules { severity: Severity::Info, text: number.to_string() };
        HistoryEntry {
            number: 0,
            time: "2026-01-02T03:04:05.678Z".to_owned(),
            node: "a".to_owned(),
            event: Event { at: Instant::from_millis(number), fact },
            severity: Severity::Info,
            text: number.to_string(),
        }
    }

    #[test]
    fn after_a_pause_only_what_is_new_is_taken() {
        let entries = |numbers: std::ops::Range<u64>| numbers.map(entry).collect::<Vec<_>>();
        let known = |numbers| entries(numbers).into_iter().map(Arc::new).collect::<Vec<_>>();
        assert_eq!(unknown(entries(0..3), &[]), entries(0..3));
        assert_eq!(unknown(entries(0..5), &known(0..3)), entries(3..5));
        assert_eq!(unknown(entries(2..3), &known(0..3)), []);
        assert_eq!(unknown(entries(7..9), &known(0..3)), entries(7..9), "it has forgotten what we know");
        let without_the_last = [entries(0..4), entries(9..10)].concat();
        assert_eq!(
            unknown(without_the_last, &known(0..6)),
            entries(9..10),
            "it has forgotten the last of what we know"
        );
    }
}
