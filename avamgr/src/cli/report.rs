//! `avamgr report`: everything somebody who is to help asks for, in one file.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::CliError;
use crate::cli::args::ReportArgs;
use crate::cli::output::{Styled, plural};
use crate::cli::session::Session;
use crate::exit::Exit;
use crate::private_file::{self, Access};
use crate::report::{self, BROUGHT_MAX, Brought, Report, Site, file_name};
use crate::upgrade::own_file;

/// For whoever runs it, who reads it before he sends it.
const MODE: u32 = 0o600;

/// `report --json`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    file: &'a PathBuf,
    files: usize,
    errors: &'a [String],
    other_nodes: Vec<&'a str>,
}

pub(super) fn run(session: &Session, args: &ReportArgs) -> Result<Exit, CliError> {
    let site = site(session, args)?;
    let file = args.output.clone().unwrap_or_else(|| file_name(&site.stem()).into());
    let cannot = |error: io::Error| {
        if error.kind() == ErrorKind::AlreadyExists {
            return CliError::Refused(format!("{} is there already: name another one", file.display()));
        }
        CliError::Failed(format!("cannot write {}: {error}", file.display()))
    };
    // Said before the work, and seen to again after it.
    if file.symlink_metadata().is_ok() {
        return Err(cannot(ErrorKind::AlreadyExists.into()));
    }
    let brought = args.with.iter().map(|path| brought(path)).collect::<Result<Vec<_>, _>>()?;
    let progress = io::stderr().is_terminal() && !session.json();
    let made = report::make(&site, brought, args.patience, |done, total, name| {
        if progress {
            // Whoever cannot be shown how far it is gets the report all the same.
            let _ = write!(anstream::stderr().lock(), "\r[{done:>2} of {total}] {name}\x1b[K");
        }
    });
    if progress {
        anstream::eprint!("\r\x1b[K");
    }
    let made = made.map_err(|error| CliError::Failed(format!("no report: {error}")))?;
    private_file::replace(&file, &made.bytes, Access { mode: MODE, owner: None }, true).map_err(cannot)?;
    tell(session, &site, &file, &made)?;
    Ok(Exit::Done)
}

/// The report of another node, as it is.
fn brought(path: &Path) -> Result<Brought, CliError> {
    let refused = |why: String| CliError::Refused(format!("{}: {why}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| refused(error.to_string()))?;
    file.take(BROUGHT_MAX + 1).read_to_end(&mut bytes).map_err(|error| refused(error.to_string()))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > BROUGHT_MAX) {
        return Err(refused("it is too long for a report".to_owned()));
    }
    Brought::new(bytes).map_err(refused)
}

fn site(session: &Session, args: &ReportArgs) -> Result<Site, CliError> {
    let failed = |error: io::Error| CliError::Failed(format!("no report: {error}"));
    let config_file = std::path::absolute(session.global.config_file()).map_err(failed)?;
    let config_text = report::config_text(&config_file, args.patience).ok();
    let config = config_text.as_deref().and_then(|text| avamgr_core::config::parse(text, "").ok());
    let name = session.hostname();
    let known = config.as_ref().and_then(|config| Some(config.node_name(session.node(config, None).ok()?).to_owned()));
    let now = jiff::Timestamp::now();
    Ok(Site {
        cluster: config.as_ref().map_or_else(|| "unknown".to_owned(), |config| config.cluster.clone()),
        config_file,
        config_text,
        config,
        socket: session.global.socket.clone(),
        own: own_file().map_err(failed)?,
        node: known.unwrap_or(name),
        made: format!("{now:.0}"),
        peers: !args.no_peer,
    })
}

fn tell(session: &Session, site: &Site, file: &PathBuf, made: &Report) -> Result<(), CliError> {
    let other_nodes = if site.peers { site.others() } else { Vec::new() };
    if session.json() {
        let document = Document { file, files: made.files, errors: &made.troubles, other_nodes };
        return Ok(session.print_json(&document)?);
    }
    let mut text = format!("{}: {}, secrets removed\n", file.display(), plural(made.files, "file"));
    if !made.troubles.is_empty() {
        let count = plural(made.troubles.len(), "line");
        text.push_str(&format!("{}: not everything could be had: {count} in errors.txt\n", Styled::notable("note")));
    }
    for other in other_nodes {
        text.push_str(&format!(
            "on {other} too: avamgr report; then send them together, or `avamgr report --with` the other one here\n"
        ));
    }
    text.push_str("read it before it leaves your house: a secret that nobody has called one cannot be known\n");
    Ok(session.print(&text)?)
}
