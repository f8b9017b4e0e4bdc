//! The window as a program: its command line, and how it runs.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use avamgr::account::Account;
use avamgr::cli::args::duration;
use avamgr::exit::Exit;
use avamgr::journal::{self, Settings as Log, service};
use clap::Parser;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::Uid;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::access::Settings;
use crate::daemon::Feed;
use crate::routes::router;
use crate::serve::serve;
use crate::tls;

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
    /// Where to listen; without --users it must be a loopback address
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Account to run as, where it is started by root
    #[arg(long, value_name = "USER", default_value = "nobody")]
    user: String,
    /// Another name that browsers may call this node by, besides its addresses, its host name and localhost
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// File with those who may look and steer; without it whoever reaches the page may look, and nobody steers
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Who does nothing for so long is asked again who he is
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    idle_time: Duration,
    /// File with certificate and key for HTTPS; it is made where there is none
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
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
    if !args.listen.ip().is_loopback() && args.users.is_none() {
        bail!("--listen {}: without --users it must be a loopback address: nobody is asked who he is", args.listen);
    }
    let host = hostname::get().ok().and_then(|name| name.into_string().ok());
    let names: Vec<String> = args.names.into_iter().chain(host).collect();
    // Only root may read the key, and make it.
    let tls = args.certificate.as_deref().map(|path| tls::acceptor(path, args.listen, &names)).transpose()?;
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
    let secure = tls.is_some();
    let settings = Settings { users: args.users, idle_time: args.idle_time, secure, port: args.listen.port() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        let scheme = if secure { "https" } else { "http" };
        tracing::info!(
            "{scheme}://{}/ shows what the daemon on {} says, as {account}",
            args.listen,
            args.socket.display()
        );
        service::ready();
        let routes = router(Feed::start(args.socket), names, settings);
        serve(listener, tls, routes, stop()).await;
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
