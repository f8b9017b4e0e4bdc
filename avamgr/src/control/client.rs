//! One client: its requests, one after the other.

mod past;
mod rules;

use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use avamgr_core::config::Config;
use avamgr_core::control::frame::{Lines, MAX_REQUEST_BYTES, decode};
use avamgr_core::control::words;
use avamgr_core::control::{Answer, Command, Errand, HistoryEntry, Reply, Request};
use avamgr_core::node::Input;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::clock;
use crate::control::policy::{self, Caller, Level};
use crate::control::seats::Seat;
use crate::control::shelf::{self, Line, Shelf};
use crate::control::wording;
use crate::control::{Ports, Reload};
use crate::upgrade;
use past::Wanted;

/// A client that takes no byte for this long is dropped.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// A client that asks nothing for this long is dropped. Followers ask nothing and are exempt.
const IDLE: Duration = Duration::from_secs(60);

/// How often a client that waits for a command is told that it still waits.
const PENDING_PACE: Duration = Duration::from_secs(2);

/// Age of the snapshot at which the loop counts as hung: it renews it every second.
const STALLED: Duration = Duration::from_secs(5);

/// What a command may take at most without any event, besides what the config allows its resources.
const COMMAND_MARGIN: Duration = Duration::from_secs(10);

/// What reading and checking the config file may take.
const RELOAD_PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether a client that waits for its turn is still there.
const LOOK: Duration = Duration::from_millis(100);

/// Bytes read at once.
const PIECE: usize = 4096;

/// One connection.
pub(super) struct Client {
    stream: UnixStream,
    caller: Caller,
    seat: Seat,
    ports: Ports,
    shelf: Arc<Shelf>,
    lines: Lines,
}

/// What somebody wants done.
struct Order<T> {
    /// Who, for the history.
    who: String,
    what: T,
    /// Whether he may.
    may: bool,
}

/// The connection is over: left, dropped or broken.
struct Gone;

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Client {
    pub(super) fn new(stream: UnixStream, caller: Caller, seat: Seat, ports: Ports, shelf: Arc<Shelf>) -> Self {
        Self { stream, caller, seat, ports, shelf, lines: Lines::new(MAX_REQUEST_BYTES) }
    }

    /// Answers requests until the client leaves or is dropped. The next one is read when the last answer is written.
    pub(super) async fn serve(mut self) {
        // Every way out is an end of the connection; there is nothing to add.
        let Err(Gone) = self.requests().await;
    }

    async fn requests(&mut self) -> Result<std::convert::Infallible, Gone> {
        loop {
            while let Some(line) = self.lines.next_line() {
                self.wait_for_turn().await?;
                match line.and_then(|line| decode::<Request>(&line)) {
                    Ok(request) => self.request(request).await?,
                    Err(error) => self.send(&Reply::Error { reason: error.to_string() }).await?,
                }
            }
            let Ok(read) = timeout(IDLE, self.read()).await else {
                return self.dismiss("nothing asked for a minute").await;
            };
            read?;
        }
    }

    async fn request(&mut self, request: Request) -> Result<(), Gone> {
        match request {
            Request::Status => {
                let status = Arc::clone(&self.ports.status.borrow());
                let rules = self.ports.rules.borrow().clone();
                self.send_shared(self.shelf.status(&status, rules.as_deref(), self.seat.is_viewer())).await
            }
            Request::Config => {
                let config = Arc::clone(&self.ports.config.borrow());
                self.send_shared(self.shelf.config(&config, self.seat.is_viewer())).await
            }
            Request::History { last, follow, before, filter } => {
                self.history(Wanted { last, before, filter }, follow).await
            }
            Request::Command(what) => {
                let who = self.caller.who.clone();
                self.steer(Order { who, what, may: self.is_operator() }).await
            }
            Request::Rules { order } => {
                let (who, may) = (self.caller.who.clone(), self.is_operator() || !order.steers());
                self.rules(Order { who, what: order, may }).await
            }
            Request::OnBehalf { user, address, order } => {
                // What the history says must be what the kernel says too.
                let who = format!("{user} at {address} through {}", self.caller.who);
                let may = match self.caller.level {
                    Level::Operator => true,
                    Level::Relay => policy::is_relayed(&order),
                    Level::Viewer => false,
                };
                match order {
                    Errand::Command(what) => self.steer(Order { who, what, may }).await,
                    Errand::Rules(what) => self.rules(Order { who, what, may }).await,
                }
            }
            Request::Reload => {
                if self.may_steer(self.is_operator(), "reload").await? {
                    self.reload().await
                } else {
                    Ok(())
                }
            }
        }
    }

    fn is_operator(&self) -> bool {
        self.caller.level == Level::Operator
    }

    async fn steer(&mut self, order: Order<Command>) -> Result<(), Gone> {
        if !self.may_steer(order.may, wording::verb(&order.what)).await? {
            return Ok(());
        }
        if let Some(reason) = wording::nonsense(&order.what, &order.who) {
            return self.send(&Reply::Answer { answer: Answer::Refused { reason } }).await;
        }
        let what = order.what.words();
        if let Command::Upgrade { binary } = &order.what
            && let Some(reason) = self.unfit(&order.who, binary.clone(), &what).await?
        {
            return self.send(&Reply::Answer { answer: Answer::Refused { reason } }).await;
        }
        self.command(order, &what).await
    }

    async fn may_steer(&mut self, may: bool, verb: &'static str) -> Result<bool, Gone> {
        if may {
            return Ok(true);
        }
        if let Some(unsaid) = self.seat.word(clock::now()) {
            tracing::warn!(who = self.caller.who, unsaid, "control socket: not permitted: {verb}");
        }
        let operators = match &self.ports.config.borrow().daemon.operators {
            Some(group) => format!("root or a member of group {group}"),
            None => "root (the config names no daemon.operators group)".to_owned(),
        };
        let reason = format!("not permitted: {verb} needs {operators}, you are {}", self.caller.who);
        self.send(&Reply::Error { reason }).await?;
        Ok(false)
    }

    /// Why the program of an upgrade cannot go on with this daemon.
    async fn unfit(&mut self, who: &str, binary: Option<PathBuf>, what: &str) -> Result<Option<String>, Gone> {
        self.still_there(what)?;
        let (sender, answer) = oneshot::channel();
        let order = upgrade::Order { who: who.to_owned(), binary, words: what.to_owned(), answer: sender };
        if self.ports.upgrade.try_send(order).is_err() {
            return Ok(Some("another upgrade is under way".to_owned()));
        }
        Ok(answer.await.unwrap_or_else(|_forgotten| Err("the daemon is stopping".to_owned())).err())
    }

    async fn command(&mut self, order: Order<Command>, what: &str) -> Result<(), Gone> {
        self.still_there(what)?;
        tracing::info!(who = order.who, "control socket: {what}");
        let patience = patience(&self.ports.config.borrow());
        let (_, mut live) = self.ports.history.follow(0);
        let mut waiting = self.ports.answers.open();
        let input = Input::Command { request: waiting.request, who: order.who, command: order.what };
        if timeout(STALLED, self.ports.inputs.send(input)).await.is_err() {
            return self.fail(format!("{what}: the daemon is too busy to take it; nothing was done")).await;
        }
        let begun = Instant::now();
        let mut progress = begun;
        let mut pace = interval(PENDING_PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                answer = &mut waiting.answer => {
                    self.send_rest(&mut live).await?;
                    let lost = Answer::Failed { reason: format!("{what}: the answer was lost, see `avamgr status`") };
                    return self.send(&Reply::Answer { answer: answer.unwrap_or(lost) }).await;
                }
                Ok(entry) = live.recv() => {
                    progress = Instant::now();
                    self.send_event(&entry).await?;
                }
                _ = pace.tick() => {
                    if let Some(reason) = self.given_up(progress, patience) {
                        return self.fail(format!("{what}: {reason}: it is unknown how it ends, see `avamgr status`")).await;
                    }
                    self.send(&Reply::Pending { waited: begun.elapsed() }).await?;
                }
            }
        }
    }

    /// Why there is no point in waiting any longer.
    fn given_up(&self, progress: Instant, patience: Duration) -> Option<String> {
        let age = clock::now().since(self.ports.status.borrow().now);
        if age > STALLED {
            return Some(format!("the decision loop has not run for {}", words::duration(age)));
        }
        let silence = progress.elapsed();
        (silence > patience).then(|| format!("nothing happened for {}", words::duration(silence)))
    }

    async fn send_rest(&mut self, live: &mut Receiver<Arc<HistoryEntry>>) -> Result<(), Gone> {
        loop {
            match live.try_recv() {
                Ok(entry) => self.send_event(&entry).await?,
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(()),
            }
        }
    }

    /// Whoever leaves meanwhile gives his place to others.
    async fn wait_for_turn(&self) -> Result<(), Gone> {
        let mut wait = self.seat.turn(clock::now());
        while !wait.is_zero() {
            let piece = wait.min(LOOK);
            sleep(piece).await;
            wait -= piece;
            if self.has_hung_up() {
                return Err(Gone);
            }
        }
        Ok(())
    }

    fn has_hung_up(&self) -> bool {
        let mut ends = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        let polled = poll(&mut ends, PollTimeout::ZERO);
        polled.is_ok() && ends[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
    }

    /// An order whose caller has hung up is not carried out: after a daemon was stopped or starved, it was given up as
    /// UNKNOWN by somebody who may have done something else since.
    fn still_there(&self, what: &str) -> Result<(), Gone> {
        if self.has_hung_up() {
            tracing::warn!(who = self.caller.who, "control socket: {what}: not done, who asked did not wait for it");
            return Err(Gone);
        }
        Ok(())
    }

    async fn reload(&mut self) -> Result<(), Gone> {
        self.still_there("reload")?;
        let (sender, answer) = oneshot::channel();
        let order = Reload { who: self.caller.who.clone(), answer: sender };
        if self.ports.reload.try_send(order).is_err() {
            let answer = Answer::Refused { reason: "another reload is under way".to_owned() };
            return self.send(&Reply::Answer { answer }).await;
        }
        match timeout(RELOAD_PATIENCE, answer).await {
            Ok(Ok(answer)) => self.send(&Reply::Answer { answer }).await,
            Ok(Err(_forgotten)) => self.fail("reload: the daemon gave no answer".to_owned()).await,
            Err(_elapsed) => self.fail(format!("reload: no answer within {}", words::duration(RELOAD_PATIENCE))).await,
        }
    }

    async fn fail(&mut self, reason: String) -> Result<(), Gone> {
        self.send(&Reply::Answer { answer: Answer::Failed { reason } }).await
    }

    async fn dismiss(&mut self, reason: &str) -> Result<std::convert::Infallible, Gone> {
        self.tell_dropped(reason);
        self.send(&Reply::Error { reason: reason.to_owned() }).await?;
        Err(Gone)
    }

    async fn send_event(&mut self, entry: &HistoryEntry) -> Result<(), Gone> {
        self.send(&Reply::Event { entry: entry.clone() }).await
    }

    fn tell_dropped(&self, reason: &str) {
        if let Some(unsaid) = self.seat.word(clock::now()) {
            tracing::info!(who = self.caller.who, unsaid, "control socket: client dropped: {reason}");
        }
    }

    async fn send_shared(&mut self, line: Option<Arc<Line>>) -> Result<(), Gone> {
        match line {
            Some(line) => self.write(line.bytes()).await,
            None => {
                let reason = "too many clients read too slowly: ask again".to_owned();
                self.send(&Reply::Error { reason }).await
            }
        }
    }

    async fn send(&mut self, reply: &Reply) -> Result<(), Gone> {
        let line = shelf::line(reply).ok_or(Gone)?;
        self.write(&line).await
    }

    async fn write(&mut self, line: &[u8]) -> Result<(), Gone> {
        let Ok(written) = timeout(WRITE_PATIENCE, self.stream.write_all(line)).await else {
            self.tell_dropped(&format!("it read nothing for {}", words::duration(WRITE_PATIENCE)));
            return Err(Gone);
        };
        Ok(written?)
    }

    /// Waits for the next piece of the stream.
    async fn read(&mut self) -> Result<(), Gone> {
        let mut piece = [0; PIECE];
        match self.stream.read(&mut piece).await? {
            0 => Err(Gone),
            count => {
                self.lines.push(&piece[..count]);
                Ok(())
            }
        }
    }
}

/// How long a command may take without any event: the slowest group stops and starts everything it has.
fn patience(config: &Config) -> Duration {
    let slowest = config.groups.iter().map(|group| {
        let times = group.resources.iter().map(|resource| resource.start_timeout.saturating_add(resource.stop_timeout));
        times.fold(Duration::ZERO, Duration::saturating_add)
    });
    slowest.max().unwrap_or_default() + config.timers.switchover_timeout + COMMAND_MARGIN
}
