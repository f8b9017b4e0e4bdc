//! The window as a program: its command line, and how it runs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use avamgr::account::Account;
use avamgr::cli::args::duration;
use avamgr::exit::Exit;
use avamgr::journal::{self, Settings as Log, service};
use avamgr::manual;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::Uid;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::access::Settings;
use crate::daemon::Feed;
use crate::passed::listeners;
use crate::routes::router;
use crate::serve::serve;
use crate::tls;

/// Where it listens unless somebody says otherwise.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
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
    /// Where to listen; without --users it must be a loopback address [default: what systemd passes on, else 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
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
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// What it does instead.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Write the manual page into a directory
    Man {
        /// The directory
        directory: PathBuf,
    },
    /// Print a completion script
    Completion {
        /// For this shell
        shell: Shell,
    },
}

/// The program: arguments of the process in, exit code out.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.verb {
        None => run(args),
        Some(Verb::Man { directory }) => manual::write_pages([Args::command()], directory).map_err(Into::into),
        Some(Verb::Completion { shell }) => manual::print_completion(Args::command(), *shell).map_err(Into::into),
    };
    match done {
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
    let (passed, addresses) = doors(&args)?;
    let host = hostname::get().ok().and_then(|name| name.into_string().ok());
    let names: Vec<String> = args.names.into_iter().chain(host).collect();
    // Only root may read the key, and make it.
    let tls = args.certificate.as_deref().map(|path| tls::acceptor(path, &addresses, &names)).transpose()?;
    let listeners = if passed.is_empty() { bind(&addresses)? } else { passed };
    let account = if Uid::effective().is_root() { Account::named(&args.user) } else { Account::own() };
    let account = account.context("--user")?;
    account.become_it().with_context(|| format!("cannot become {account}"))?;
    if Uid::effective().is_root() {
        bail!("--user {account}: nobody needs privileges to show a page; name an account without any");
    }
    setrlimit(Resource::RLIMIT_DATA, MEMORY, MEMORY).context("cannot bound the memory")?;
    let journal = journal::init(&log, "avamgr-webui")?;
    let secure = tls.is_some();
    let port = addresses.first().map_or(0, SocketAddr::port);
    let settings = Settings { users: args.users, idle_time: args.idle_time, secure, port };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listeners: Vec<_> = listeners.into_iter().map(TcpListener::from_std).collect::<Result<_, _>>()?;
        let scheme = if secure { "https" } else { "http" };
        for address in &addresses {
            tracing::info!(
                "{scheme}://{address}/ shows what the daemon on {} says, as {account}",
                args.socket.display()
            );
        }
        service::ready();
        let routes = router(Feed::start(args.socket), names, settings);
        serve(listeners, tls, routes, stop()).await;
        anyhow::Ok(())
    })?;
    journal.flush(LOG_FLUSH);
    Ok(())
}

/// The sockets that were passed on, and every address it listens on; never for others where nobody is asked who he is.
fn doors(args: &Args) -> Result<(Vec<StdListener>, Vec<SocketAddr>)> {
    let open = |address: &SocketAddr| args.users.is_none() && !address.ip().is_loopback();
    let refused =
        |address| format!("{address}: without --users it must be a loopback address: nobody is asked who he is");
    let (passed, addresses): (Vec<_>, Vec<_>) = listeners()?.into_iter().unzip();
    match (args.listen, addresses.iter().find(|address| open(address))) {
        (Some(listen), _) if !passed.is_empty() => {
            bail!("--listen {listen}: sockets were passed on, they say where to listen: leave one of both out")
        }
        (Some(listen), _) if open(&listen) => bail!("--listen {}", refused(listen)),
        (_, Some(address)) => bail!("the socket that was passed on listens on {}", refused(*address)),
        (None, None) if !passed.is_empty() => Ok((passed, addresses)),
        (listen, None) => Ok((passed, vec![listen.unwrap_or(LISTEN)])),
    }
}

fn bind(addresses: &[SocketAddr]) -> Result<Vec<StdListener>> {
    let bind = |address: &SocketAddr| {
        let listener = StdListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    addresses.iter().map(bind).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_gives_the_program_options_it_has() {
        Args::command().debug_assert();
        let unit = include_str!("../../etc/systemd/avamgr-web.service");
        let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let args = Args::try_parse_from(start.split_whitespace()).unwrap();
        // Where it listens is said by the unit of the socket; elsewhere than on loopback, so there must be users.
        assert!(args.listen.is_none() && args.users.is_some() && args.certificate.is_some(), "{args:?}");
    }
}
