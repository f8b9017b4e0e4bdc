//! Our own rsync daemons, one on each link: started, listened to, and started again.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use avamgr::process::{Child, Line, Program, Sink, quoted};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use super::{Event, Run, RunError, file};
use crate::rsync::{Inbox, daemon_command, daemon_config};

/// Before a daemon that has ended is started again.
const PAUSE: Duration = Duration::from_secs(1);

impl Run {
    /// Starts them; they end with what is returned.
    pub(super) fn open_doors(&self) -> Result<JoinSet<()>, RunError> {
        let path = |name: &str| self.settings.state.join(name);
        let Some(shown) = self.settings.passwords.first() else { return Ok(JoinSet::new()) };
        write_secret(&path("password"), &format!("{}\n", shown.text))?;
        let inbox = |(name, peer): (&String, &super::Peer)| Inbox {
            peer: name.clone(),
            directory: peer.inbox.path().to_owned(),
            from: peer.lines.iter().map(|line| line.to.ip()).collect(),
        };
        let inboxes: Vec<Inbox> = self.peers.iter().map(inbox).collect();
        let (text, secrets) = daemon_config(&inboxes, &self.settings.passwords, &path("secrets"));
        write_secret(&path("secrets"), &secrets)?;
        let config = path("rsyncd.conf");
        file(&config, fs::write(&config, text))?;
        let mut doors = JoinSet::new();
        for listen in &self.settings.listen {
            doors.spawn_local(keep_open(config.clone().into(), *listen, self.events.clone()));
        }
        Ok(doors)
    }
}

/// Closed to everybody else, also when it was there before.
fn write_secret(path: &Path, text: &str) -> Result<(), RunError> {
    let opened = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = opened.and_then(|mut opened| {
        opened.set_permissions(fs::Permissions::from_mode(0o600))?;
        opened.write_all(text.as_bytes())
    });
    file(path, written)
}

async fn keep_open(config: Arc<Path>, listen: SocketAddr, events: UnboundedSender<Event>) {
    let tell = |text: String| {
        // Nobody hears it any more when the loop has ended.
        let _ = events.send(Event::Door(text));
    };
    let program = Program { command: daemon_command(&config, listen), ..Program::default() };
    loop {
        let why = match program.resolve().await.and_then(|found| Child::spawn(&found, sink(events.clone()))) {
            Ok(mut child) => {
                let exit = child.exited().await;
                format!("{exit}{}", quoted(child.last_line()))
            }
            Err(error) => error.to_string(),
        };
        tell(format!("nothing can be received on {listen}: rsync {why} (it is started again and again)"));
        tokio::time::sleep(PAUSE).await;
    }
}

/// A peer that is turned away is worth a word, the rest is for those who look for it.
fn sink(events: UnboundedSender<Event>) -> Sink {
    Arc::new(move |line| {
        let Line::Text(text) = line else { return };
        // `2026/11/22 14:06:48 [15970] auth failed on module x from ...`
        let words = text.split_once("] ").map_or(text, |(_, words)| words);
        tracing::debug!("rsync: {words}");
        if ["auth failed", "denied", "unknown module"].iter().any(|it| words.contains(it)) {
            let _ = events.send(Event::Door(format!("somebody was turned away: {words}")));
        }
    })
}
