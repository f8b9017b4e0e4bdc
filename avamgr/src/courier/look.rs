//! Looks at the courier every second: how everything stands, for the status; what has happened, for the history.
//!
//! It runs without privileges and reads what other nodes send, so what it says is taken as words, not as orders: bounded in
//! number and length, and without anything that could steer a terminal.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use avamgr_core::config::Config;
use avamgr_core::control::frame::{Lines, MAX_REPLY_BYTES};
use avamgr_core::courier::{Notice, Reply, Request, Status, Watched};
use avamgr_core::node::Event;
use avamgr_core::node::event::{Fact, Severity};
use avamgr_core::time::Instant;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::keep::event;
use super::tame::{ENTRIES, tame_text, tamed};
use crate::clock;
use crate::companion::Standing;
use crate::control::exchange::exchange;
use crate::scribe::Scribe;

/// How often it is asked.
const PACE: Duration = Duration::from_secs(1);
/// For its answer. It answers from a thread of its own, whatever it does.
const PATIENCE: Duration = Duration::from_secs(2);
/// Notices of one look: as many as it remembers.
const NOTICES: usize = 50;
/// Troubles that are kept of a look: nobody reads more at once, and `rules-sync status` has all.
const TROUBLES: usize = 10;

/// For ever. What is `None` before and after is that no courier is wanted.
pub(super) async fn look(
    mut config: watch::Receiver<Arc<Config>>,
    mut standing: watch::Receiver<Standing>,
    seen: watch::Sender<Option<Arc<Watched>>>,
    scribe: Scribe,
) {
    let mut heard = Heard::default();
    let mut last = Last::default();
    loop {
        let socket = config.borrow_and_update().rules.as_ref().map(|rules| rules.socket.clone());
        let Some(socket) = socket else {
            seen.send_replace(None);
            last = Last::default();
            if config.changed().await.is_err() {
                return;
            }
            continue;
        };
        let asked = ask(&socket).await.map(tamed);
        let now = clock::now();
        if let Ok(status) = &asked {
            heard.news(status, now).into_iter().for_each(|event| scribe.write(event));
        }
        let stands = standing.borrow_and_update().clone();
        seen.send_replace(Some(Arc::new(last.watched(stands, asked, now))));
        // That it has come or gone is seen at once.
        tokio::select! {
            () = sleep(PACE) => {}
            Ok(()) = standing.changed() => {}
        }
    }
}

/// The last answer.
#[derive(Default)]
struct Last {
    answered: Option<Instant>,
    status: Option<Box<Status>>,
}

impl Last {
    /// What there is to say now: an answer that did not come leaves the last one, with its age.
    fn watched(&mut self, stands: Standing, asked: Result<Status, String>, now: Instant) -> Watched {
        let silent = match asked {
            Ok(status) => {
                (self.answered, self.status) = (Some(now), Some(Box::new(shortened(status))));
                None
            }
            Err(reason) => Some(reason),
        };
        // One that does not run cannot answer: why it does not run is what there is to know.
        let trouble = stands.trouble.or(silent);
        let Standing { pid, since, .. } = stands;
        Watched { pid, since, trouble, answered: self.answered, status: self.status.clone() }
    }
}

/// Without what the daemon has elsewhere or nobody wants to have twice.
fn shortened(mut status: Status) -> Status {
    status.notices.clear();
    let omitted = status.troubles.len().saturating_sub(TROUBLES);
    status.troubles.truncate(TROUBLES);
    status.troubles_omitted = status.troubles_omitted.saturating_add(u64::try_from(omitted).unwrap_or(u64::MAX));
    status.directories.truncate(ENTRIES);
    status.peers.truncate(ENTRIES);
    status
}

/// What was told already.
#[derive(Default)]
struct Heard {
    /// Names a run of the courier: the moment of its start.
    run: Option<Instant>,
    /// The last notice of it.
    number: u64,
}

impl Heard {
    /// What has happened since the last look, each thing once.
    fn news(&mut self, status: &Status, now: Instant) -> Vec<Event> {
        if self.run != Some(status.started) {
            (self.run, self.number) = (Some(status.started), 0);
        }
        let begin = status.notices.len().saturating_sub(NOTICES);
        let mut news = Vec::new();
        for notice in status.notices.iter().skip(begin) {
            let missed = notice.number.saturating_sub(self.number.saturating_add(1));
            if notice.number <= self.number {
                continue;
            }
            if missed > 0 {
                let text = format!("{missed} notices of rules-sync were missed: its log has them");
                news.push(event(Severity::Warning, text));
            }
            self.number = notice.number;
            news.push(told(notice, now));
        }
        news
    }
}

fn told(notice: &Notice, now: Instant) -> Event {
    Event { at: notice.at.min(now), fact: Fact::Rules { severity: notice.severity, text: notice.text.clone() } }
}

/// Asks without keeping the thread, and for so long only.
async fn ask(socket: &Path) -> Result<Status, String> {
    match timeout(PATIENCE, status(socket)).await {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(error)) => Err(format!("rules-sync does not answer on {}: {error}", socket.display())),
        Err(_) => Err(format!("rules-sync has not answered on {} within {} s", socket.display(), PATIENCE.as_secs())),
    }
}

async fn status(socket: &Path) -> io::Result<Status> {
    let mut stream = UnixStream::connect(socket).await?;
    match exchange(&mut stream, &mut Lines::new(MAX_REPLY_BYTES), &Request::Status).await? {
        Reply::Status { status } => Ok(*status),
        Reply::Refused { reason } => Err(io::Error::other(tame_text(&reason))),
        Reply::Differences { .. } | Reply::Kept { .. } | Reply::Progress { .. } | Reply::Done { .. } => {
            Err(io::Error::other("it answers something else"))
        }
    }
}

#[cfg(test)]
mod tests;
