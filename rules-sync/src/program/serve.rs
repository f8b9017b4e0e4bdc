//! `rules-sync run`.

use std::time::Duration;

use anyhow::{Result, anyhow};
use avamgr::journal::{self, Settings as Log, service};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::args::{Args, RunArgs};
use super::socket::{Service, Socket};
use super::{account, load, role, settings};
use crate::run::{self, Ports};

/// How long the log may take to be written at the end.
const LOG_FLUSH: Duration = Duration::from_secs(2);

pub(super) fn run(args: &Args, order: &RunArgs) -> Result<()> {
    let variable = std::env::var(journal::VARIABLE).ok();
    let log = Log::choose(variable.as_deref(), order.log_target.as_deref(), order.log_level.as_deref())?;
    let replication = load(&args.config)?;
    let node = settings::node(&replication, args.node.as_deref())?;
    let found = settings::find(&replication, &node)?;
    let account = account::choose(&replication, &found.directories)?;
    let directories = found.directories.clone();
    // The keys may be closed to whom we become.
    let settings = settings::settings(&replication, &node, found)?;
    account::become_it(&account, &replication, &directories)?;
    let journal = journal::init(&log, "rules-sync")?;
    let path = args.socket_path.clone().unwrap_or_else(|| replication.rules.socket.clone());
    let result = (|| -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let rsync = runtime.block_on(crate::rsync::check()).map_err(|reason| anyhow!(reason))?;
        tracing::info!("{node} of cluster {}, as {account}, with rsync {rsync}", replication.cluster);
        let (orders, order_queue) = mpsc::unbounded_channel();
        let (active_sender, active) = watch::channel(None);
        let (status, statuses) = watch::channel(None);
        let ports = Ports { orders: order_queue, active, status };
        let local = LocalSet::new();
        local.block_on(&runtime, async {
            let opened = run::open(settings, ports)?;
            // Not before the store is ours: then nobody else has the socket.
            let mut socket = Socket::bind(&path)?;
            socket.serve(Service { orders, status: statuses, operators: replication.operators.clone() })?;
            service::ready();
            let daemon = order.daemon_socket.clone().unwrap_or_else(|| replication.socket.clone());
            active_sender.send_replace(role::first(&daemon, replication.group.as_deref()).await);
            tokio::task::spawn_local(role::follow(daemon, replication.group.clone(), active_sender));
            Ok(opened.run(stop()).await?)
        })
    })();
    if let Err(error) = &result {
        tracing::error!("{error:#}");
    }
    journal.flush(LOG_FLUSH);
    result
}

/// Until somebody wants it to end.
async fn stop() {
    let mut ends = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        // Without them the default action ends the process.
        (_, _) => return std::future::pending().await,
    };
    tokio::select! {
        _ = ends.0.recv() => {}
        _ = ends.1.recv() => {}
    }
    service::stopping(LOG_FLUSH);
}
