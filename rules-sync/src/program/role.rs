//! Follows the daemon's word on who is ACTIVE: of two changes made at once, the ACTIVE node's wins.

use std::path::PathBuf;
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
        let asked = timeout(PATIENCE, exchange(&mut stream, &mut lines, &Request::Status)).await;
        let Reply::Status { status } = asked.map_err(drop)?.map_err(drop)? else { return Err(()) };
        let found = who_is_active(&status, group);
        active.send_if_modified(|known| {
            let is_news = *known != found;
            *known = found;
            is_news
        });
        sleep(PACE).await;
    }
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
