//! What users order: taken to the daemon in their name, and remembered with what became of it.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use avamgr::clock;
use avamgr::control::exchange::{exchange, next};
use avamgr_core::control::frame::{Lines, MAX_REPLY_BYTES};
use avamgr_core::control::{Answer, Errand, HistoryEntry, Reply, Request};
use avamgr_core::courier;
use avamgr_core::time::Instant;
use serde::Serialize;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::timeout;
use utoipa::ToSchema;

/// The daemon says every two seconds that it is still at it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Orders that are remembered.
const KNOWN: usize = 64;
/// Orders under way at once: the daemon does most of them one after the other anyway.
const UNDER_WAY: usize = 16;
/// Events that are remembered of one.
const EVENTS: usize = 200;

/// How far something is that says so itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Progress {
    /// Done until now.
    done: u64,
    /// Of so many that are known of now.
    total: u64,
    /// What is being done.
    text: String,
}

/// How an order stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Order {
    /// Its name, which whoever gave it may choose: the same one twice is one order.
    pub(crate) id: String,
    /// What was ordered, as it would be typed.
    pub(crate) words: String,
    /// By whom.
    pub(crate) user: String,
    /// How long ago.
    pub(crate) age_millis: u128,
    /// What has happened since, on this node as it says.
    pub(crate) events: Vec<Arc<HistoryEntry>>,
    /// How far it is, where that is known.
    pub(crate) progress: Option<Progress>,
    /// The last word; `null` while it is under way.
    pub(crate) answer: Option<Answer>,
    #[serde(skip)]
    begun: Instant,
    #[serde(skip)]
    errand: Errand,
}

/// Why an order is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// There was another one of this name.
    Other,
    /// Too many are under way.
    Full,
}

/// Who orders.
#[derive(Clone, Debug)]
pub(crate) struct Orderer {
    pub(crate) user: String,
    pub(crate) address: IpAddr,
}

/// The orders of late. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    socket: Arc<Path>,
    known: Arc<Mutex<VecDeque<watch::Sender<Order>>>>,
}

impl Orders {
    pub(crate) fn to(socket: PathBuf) -> Self {
        Self { socket: socket.into(), known: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<watch::Sender<Order>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has become of an order.
    pub(crate) fn find(&self, id: &str) -> Option<watch::Receiver<Order>> {
        self.lock().iter().find(|order| order.borrow().id == id).map(watch::Sender::subscribe)
    }

    /// Gives an order; the same one a second time is not carried out again.
    pub(crate) fn give(&self, id: String, by: Orderer, errand: Errand) -> Result<watch::Receiver<Order>, NotTaken> {
        let mut known = self.lock();
        if let Some(order) = known.iter().find(|order| order.borrow().id == id) {
            let is_same = order.borrow().errand == errand && order.borrow().user == by.user;
            return if is_same { Ok(order.subscribe()) } else { Err(NotTaken::Other) };
        }
        if known.iter().filter(|order| order.borrow().answer.is_none()).count() >= UNDER_WAY {
            return Err(NotTaken::Full);
        }
        while known.len() >= KNOWN {
            // What was only asked goes first; what is under way is never forgotten, there is more room than for that.
            let is_over = |order: &watch::Sender<Order>| order.borrow().answer.is_some();
            let was_asked = |order: &watch::Sender<Order>| is_over(order) && order.borrow().errand.is_dry_run();
            let oldest = known.iter().position(was_asked).or_else(|| known.iter().position(is_over));
            known.remove(oldest.unwrap_or_default());
        }
        let (user, words) = (by.user.clone(), errand.words());
        let (events, progress, answer, begun) = (Vec::new(), None, None, clock::now());
        let order = Order { id, words, user, age_millis: 0, events, progress, answer, begun, errand: errand.clone() };
        let sender = watch::Sender::new(order);
        let receiver = sender.subscribe();
        known.push_back(sender.clone());
        drop(known);
        tokio::spawn(carry_out(Arc::clone(&self.socket), sender, by, errand));
        Ok(receiver)
    }
}

impl Order {
    /// As of now.
    pub(crate) fn now(&self) -> Self {
        Self { age_millis: clock::now().since(self.begun).as_millis(), ..self.clone() }
    }
}

async fn carry_out(socket: Arc<Path>, order: watch::Sender<Order>, by: Orderer, errand: Errand) {
    let words = errand.words();
    let answer = match ask(&socket, &order, by, errand).await {
        Ok(answer) => answer,
        Err(error) => Answer::Failed { reason: format!("{words}: avamgrd: {error}: it is unknown how it ends") },
    };
    order.send_modify(|order| order.answer = Some(answer));
}

async fn ask(socket: &Path, order: &watch::Sender<Order>, by: Orderer, errand: Errand) -> io::Result<Answer> {
    let Orderer { user, address } = by;
    let request = Request::OnBehalf { user, address, order: errand };
    let Ok(mut stream) = UnixStream::connect(socket).await else {
        let reason = "avamgrd is not running or cannot be reached: nothing was done".to_owned();
        return Ok(Answer::Refused { reason });
    };
    let mut lines = Lines::new(MAX_REPLY_BYTES);
    let mut reply = timeout(PATIENCE, exchange(&mut stream, &mut lines, &request)).await??;
    loop {
        match reply {
            Reply::Answer { answer } => return Ok(answer),
            Reply::Error { reason } => return Ok(Answer::Refused { reason }),
            Reply::Event { entry } => order.send_modify(|order| {
                if order.events.len() < EVENTS {
                    order.events.push(Arc::new(entry));
                }
            }),
            Reply::Rules { said } => {
                if let Some(answer) = about_rules(order, said)? {
                    return Ok(answer);
                }
            }
            Reply::Pending { .. } => {}
            Reply::Status { .. } | Reply::EndOfHistory | Reply::Config { .. } => return Err(other_answer()),
        }
        reply = timeout(PATIENCE, next(&mut stream, &mut lines)).await??;
    }
}

/// The last word, if it is one.
fn about_rules(order: &watch::Sender<Order>, reply: courier::Reply) -> io::Result<Option<Answer>> {
    match reply {
        courier::Reply::Progress { done, total, text } => {
            order.send_modify(|order| order.progress = Some(Progress { done, total, text }));
            Ok(None)
        }
        courier::Reply::Done { text } => Ok(Some(Answer::Done { text })),
        // What was begun is not undone.
        courier::Reply::Refused { reason } if order.borrow().progress.is_some() => Ok(Some(Answer::Failed { reason })),
        courier::Reply::Refused { reason } => Ok(Some(Answer::Refused { reason })),
        courier::Reply::Status { .. } | courier::Reply::Differences { .. } | courier::Reply::Kept { .. } => {
            Err(other_answer())
        }
    }
}

fn other_answer() -> io::Error {
    io::Error::other("it answered something else than was asked")
}
