//! Whether a peer answers, and on which link: a connection to its daemon is tried now and then. That costs nothing, and tells
//! sooner than an rsync that waits.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Event, Line, Run};

/// For an answer on a dedicated link.
const ANSWER: Duration = Duration::from_millis(250);
/// A peer that answers is asked again after this time,
const IDLE: Duration = Duration::from_secs(10);
/// and more often while something is on its way to it.
const BUSY: Duration = Duration::from_millis(500);
/// One that does not.
const LOST: Duration = Duration::from_millis(200);
/// One packet may get lost.
const FALL: u32 = 2;
/// Before anything was ever heard.
const FALL_AT_FIRST: u32 = 10;

impl Run {
    /// One task for each peer; they end with what is returned.
    pub(super) fn start_reach(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        if self.settings.shell.is_none() {
            for (name, peer) in &self.peers {
                tasks.spawn(follow(name.clone(), peer.lines.clone(), peer.busy.subscribe(), self.events.clone()));
            }
        }
        tasks
    }
}

async fn follow(name: String, lines: Vec<Line>, mut busy: watch::Receiver<bool>, events: UnboundedSender<Event>) {
    let (mut told, mut misses) = (None, 0);
    let mut first = true;
    loop {
        let line = first_that_answers(&lines).await;
        misses = if line.is_none() { misses + 1 } else { 0 };
        // Nodes that are started together find each other in a moment.
        let fall = if first { FALL_AT_FIRST } else { FALL };
        let is_news = first || line != told;
        if is_news && (line.is_some() || misses >= fall) {
            (told, first) = (line, false);
            if events.send(Event::Reach(name.clone(), line)).is_err() {
                return;
            }
        }
        let is_busy = *busy.borrow_and_update();
        let pause = match line {
            None => LOST,
            Some(_) if is_busy => BUSY,
            Some(_) => IDLE,
        };
        // What begins to be sent is watched from its beginning.
        tokio::select! {
            () = sleep(pause) => {}
            changed = busy.changed(), if !is_busy && line.is_some() => match changed {
                Ok(()) => sleep(BUSY).await,
                Err(_) => return,
            },
        }
    }
}

async fn first_that_answers(lines: &[Line]) -> Option<usize> {
    for (index, line) in lines.iter().enumerate() {
        if let Ok(Ok(_connection)) = timeout(ANSWER, connect(*line)).await {
            return Some(index);
        }
    }
    None
}

async fn connect(line: Line) -> std::io::Result<TcpStream> {
    let socket = if line.to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(line.from, 0))?;
    socket.connect(line.to).await
}
