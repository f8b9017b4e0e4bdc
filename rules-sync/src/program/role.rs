//! Follows the daemon's word on who is ACTIVE: of two changes made at once, the ACTIVE node's wins.

use std::path::{Path, PathBuf};
use std::time::Duration;

use avamgr::control::exchange::exchange;
use avamgr_core::cluster::Role;
use avamgr_core::control::frame::{Lines, MAX_REPLY_BYTES};
use avamgr_core::control::{Reply, Request, Status};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How often the daemon is asked.
const PACE: Duration = Duration::from_secs(1);
/// For its answer; a daemon that hangs knows nothing.
const PATIENCE: Duration = Duration::from_secs(2);
/// Before the first look: so long the daemon may take to say who is ACTIVE,
const FIRST: Duration = Duration::from_secs(2);
/// and so often it is asked.
const FIRST_PACE: Duration = Duration::from_millis(100);

/// Who is ACTIVE, before anything is looked at: what was changed here meanwhile counts as the ACTIVE node's or not. Where no daemon
/// answers nobody is waited for.
pub(super) async fn first(socket: &Path, group: Option<&str>) -> Option<String> {
    let ask = async {
        let mut stream = UnixStream::connect(socket).await.ok()?;
        let mut lines = Lines::new(MAX_REPLY_BYTES);
        loop {
            let found = ask_once(&mut stream, &mut lines, group).await.ok()?;
            if found.is_some() {
                return found;
            }
            sleep(FIRST_PACE).await;
        }
    };
    timeout(FIRST, ask).await.ok().flatten()
}

/// Asks for ever. `group`: whose ACTIVE node it is; the first group if not named.
pub(super) async fn follow(socket: PathBuf, group: Option<String>, active: watch::Sender<Option<String>>) {
    loop {
        // Without a daemon nobody is ACTIVE, as far as anybody knows.
        let Err(()) = ask_on(&socket, group.as_deref(), &active).await;
        active.send_if_modified(|known| known.take().is_some());
        sleep(PACE).await;
    }
}

async fn ask_on(
    socket: &PathBuf,
    group: Option<&str>,
    active: &watch::Sender<Option<String>>,
) -> Result<std::convert::Infallible, ()> {
    let mut stream = UnixStream::connect(socket).await.map_err(drop)?;
    let mut lines = Lines::new(MAX_REPLY_BYTES);
    loop {
        let found = ask_once(&mut stream, &mut lines, group).await?;
        active.send_if_modified(|known| {
            let is_news = *known != found;
            *known = found;
            is_news
        });
        sleep(PACE).await;
    }
}

async fn ask_once(stream: &mut UnixStream, lines: &mut Lines, group: Option<&str>) -> Result<Option<String>, ()> {
    let asked = timeout(PATIENCE, exchange(stream, lines, &Request::Status)).await;
    let Reply::Status { status } = asked.map_err(drop)?.map_err(drop)? else { return Err(()) };
    Ok(who_is_active(&status, group))
}

/// This node, if it says so of itself; else the only one that has said so last.
fn who_is_active(status: &Status, group: Option<&str>) -> Option<String> {
    let own = match group {
        Some(name) => status.groups.iter().find(|it| it.group == name)?,
        None => status.groups.first()?,
    };
    if own.role == Role::Active {
        return Some(status.node.clone());
    }
    let says_so = |peer: &&avamgr_core::control::PeerStatus| {
        let heard = matches!(peer.state.as_str(), "alive" | "degraded");
        heard && peer.groups.iter().any(|it| it.group == own.group && it.role == Role::Active)
    };
    let mut active = status.peers.iter().filter(says_so);
    match (active.next(), active.next()) {
        (Some(only), None) => Some(only.node.clone()),
        (_, _) => None,
    }
}
