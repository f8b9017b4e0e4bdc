//! What is about the rules, carried to the program that keeps them the same, and back what that says.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use avamgr_core::control::frame::{Lines, MAX_REPLY_BYTES, MAX_REQUEST_BYTES, encode};
use avamgr_core::control::{Answer, Reply};
use avamgr_core::courier;
use avamgr_core::node::Event;
use avamgr_core::node::event::{Fact, Severity};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

use super::{Client, Gone, Order, PENDING_PACE};
use crate::clock;
use crate::control::exchange::next;
use crate::control::wording;
use crate::courier::client::PATIENCE;
use crate::courier::tame::{tame_text, tamed};

/// Kept versions that are told: nobody reads more at once, and `rules-sync conflicts list` has all.
const KEPT: usize = 50;
/// Differences that are told, for the same reason.
const DIFFERENCES: usize = 100;

/// How it ended.
enum End {
    /// With this word.
    Said(courier::Reply),
    /// The order did not get there; why.
    NotAsked(String),
    /// The order got there, and no last word came; why.
    Unknown(String),
}

impl Client {
    pub(super) async fn rules(&mut self, order: Order<courier::Request>) -> Result<(), Gone> {
        let Order { who, what, may } = order;
        if !self.may_steer(may, "rules-sync").await? {
            return Ok(());
        }
        let words = what.words();
        let socket = match wording::nonsense_about_rules(&what, &who) {
            Some(nonsense) => Err(nonsense),
            None => self.socket_of_rules(),
        };
        let socket = match socket {
            Ok(socket) => socket,
            Err(reason) => return self.say(courier::Reply::Refused { reason }).await,
        };
        self.still_there(&words)?;
        if !what.steers() {
            return self.tell_of_rules(&socket, &what).await;
        }
        tracing::info!(who, "control socket: {words}");
        self.note(Fact::Command { who: who.clone(), command: words.clone(), refused: None });
        let (reason, reply) = match self.carry(&socket, &what).await? {
            End::Said(courier::Reply::Refused { reason }) | End::NotAsked(reason) => {
                (reason.clone(), Reply::Rules { said: courier::Reply::Refused { reason } })
            }
            End::Said(said) => return self.say(said).await,
            End::Unknown(reason) => {
                let reason = format!("{words}: {reason}: it is unknown how it ends");
                (reason.clone(), Reply::Answer { answer: Answer::Failed { reason } })
            }
        };
        self.note(Fact::Rules { severity: Severity::Warning, text: format!("{words} of {who}: {reason}") });
        self.send(&reply).await
    }

    /// What changes nothing.
    async fn tell_of_rules(&mut self, socket: &Path, what: &courier::Request) -> Result<(), Gone> {
        let shelf = Arc::clone(&self.shelf);
        let place = self.seat.is_viewer().then(|| shelf.rules.0.try_acquire()).transpose();
        if place.is_err() {
            return self
                .say(courier::Reply::Refused { reason: "many ask about the rules: ask again".to_owned() })
                .await;
        }
        let said = match self.carry(socket, what).await? {
            End::Said(said) => said,
            End::NotAsked(reason) | End::Unknown(reason) => courier::Reply::Refused { reason },
        };
        self.say(said).await
    }

    fn socket_of_rules(&self) -> Result<PathBuf, String> {
        let config = self.ports.config.borrow();
        let none = || "no rules are replicated: the config has no [rules]".to_owned();
        config.rules.as_ref().map(|rules| rules.socket.clone()).ok_or_else(none)
    }

    fn note(&self, fact: Fact) {
        self.ports.scribe.write(Event { at: clock::now(), fact });
    }

    async fn say(&mut self, said: courier::Reply) -> Result<(), Gone> {
        self.send(&Reply::Rules { said }).await
    }

    /// Everything it says but the last word is told on the way. Who hangs up calls off what can be called off.
    async fn carry(&mut self, socket: &Path, request: &courier::Request) -> Result<End, Gone> {
        let silent = |error: &io::Error| {
            format!("rules-sync does not answer on {}: {}", socket.display(), tame_text(&error.to_string()))
        };
        let mut stream = match ask(socket, request).await {
            Ok(stream) => stream,
            Err(error) => return Ok(End::NotAsked(silent(&error))),
        };
        let mut lines = Lines::new(MAX_REPLY_BYTES);
        loop {
            let reply = match self.word(&mut stream, &mut lines).await? {
                Ok(reply) => bounded(reply),
                // It has the order, and may carry it out.
                Err(error) => return Ok(End::Unknown(silent(&error))),
            };
            if reply.is_last() {
                return Ok(End::Said(reply));
            }
            self.say(reply).await?;
        }
    }

    /// The next word, however long our client has to be told that it still waits.
    async fn word(&mut self, stream: &mut UnixStream, lines: &mut Lines) -> Result<io::Result<courier::Reply>, Gone> {
        let begun = Instant::now();
        loop {
            match timeout(PENDING_PACE, next(stream, lines)).await {
                Ok(reply) => return Ok(reply),
                Err(_elapsed) if begun.elapsed() >= PATIENCE => return Ok(Err(io::ErrorKind::TimedOut.into())),
                Err(_elapsed) => self.send(&Reply::Pending { waited: begun.elapsed() }).await?,
            }
        }
    }
}

async fn ask(socket: &Path, request: &courier::Request) -> io::Result<UnixStream> {
    let line = encode(request, MAX_REQUEST_BYTES).map_err(io::Error::other)?;
    let mut stream = UnixStream::connect(socket).await?;
    // It fits into an empty socket buffer: a program that hangs does not keep us here.
    stream.write_all(&line).await?;
    Ok(stream)
}

/// It runs without privileges and shows what others have written.
fn bounded(mut reply: courier::Reply) -> courier::Reply {
    match &mut reply {
        courier::Reply::Kept { kept, omitted } => {
            // The oldest come first.
            let many = kept.len().saturating_sub(KEPT);
            kept.drain(..many);
            *omitted = omitted.saturating_add(count(many));
        }
        courier::Reply::Differences { differences, omitted, .. } => {
            let many = differences.len().saturating_sub(DIFFERENCES);
            differences.truncate(DIFFERENCES);
            *omitted = omitted.saturating_add(count(many));
        }
        courier::Reply::Status { .. }
        | courier::Reply::Progress { .. }
        | courier::Reply::Done { .. }
        | courier::Reply::Refused { .. } => {}
    }
    tamed(reply)
}

fn count(many: usize) -> u64 {
    u64::try_from(many).unwrap_or(u64::MAX)
}
