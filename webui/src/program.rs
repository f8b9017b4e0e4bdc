//! The window as a program: its command line, and how it runs.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use avamgr::account::Account;
use avamgr::exit::Exit;
use avamgr::journal::{self, Settings as Log, service};
use clap::Parser;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::Uid;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::daemon::Feed;
use crate::routes::router;
use crate::serve::serve;

/// Memory for what waits to be read: with more of it this ends, and is started again. What else runs on the node comes first.
const MEMORY: u64 = 256 * 1024 * 1024;
/// How long the log may take to be written at the end.
const LOG_FLUSH: Duration = Duration::from_secs(2);

/// Shows a node of the pair to browsers and to programs that speak HTTP
#[derive(Debug, Parser)]
#[command(name = "avamgr-webui", version, max_term_width = 100)]
struct Args {
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = "/run/avamgr/avamgr.sock")]
    socket: PathBuf,
    /// Where to listen: an address of this machine's own, nobody else may look yet
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Account to run as, where it is started by root
    #[arg(long, value_name = "USER", default_value = "nobody")]
    user: String,
    /// Another name that browsers may call this node by, besides its addresses, its host name and localhost
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Where the log goes: stderr, journald, syslog or syslog-bsd
    #[arg(long, value_name = "TARGET")]
    log_target: Option<String>,
    /// How much is logged: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// The program: arguments of the process in, exit code out.
pub fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::from(Exit::Done.code()),
        Err(error) => {
            avamgr::complain(&format!("avamgr-webui: {error:#}"));
            ExitCode::from(Exit::Failed.code())
        }
    }
}

fn run(args: Args) -> Result<()> {
    let variable = std::env::var(journal::VARIABLE).ok();
    let log = Log::choose(variable.as_deref(), args.log_target.as_deref(), args.log_level.as_deref())?;
    if !args.listen.ip().is_loopback() {
        bail!("--listen {}: only loopback addresses are listened on, as nobody is asked who he is", args.listen);
    }
    let listener = StdListener::bind(args.listen).with_context(|| format!("cannot listen on {}", args.listen))?;
    listener.set_nonblocking(true)?;
    let account = if Uid::effective().is_root() { Account::named(&args.user) } else { Account::own() };
    let account = account.context("--user")?;
    account.become_it().with_context(|| format!("cannot become {account}"))?;
    if Uid::effective().is_root() {
        bail!("--user {account}: nobody needs privileges to show a page; name an account without any");
    }
    setrlimit(Resource::RLIMIT_DATA, MEMORY, MEMORY).context("cannot bound the memory")?;
    let journal = journal::init(&log, "avamgr-webui")?;
    let names = args.names.into_iter().chain(hostname::get().ok().and_then(|name| name.into_string().ok())).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        tracing::info!("http://{}/ shows what the daemon on {} says, as {account}", args.listen, args.socket.display());
        service::ready();
        serve(listener, router(Feed::start(args.socket), names), stop()).await;
        anyhow::Ok(())
    })?;
    journal.flush(LOG_FLUSH);
    Ok(())
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
