//! `avamgr history`: from the daemon, or from its store when it cannot be asked.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use avamgr_core::control::{HistoryEntry, Reply, Request};

use crate::cli::CliError;
use crate::cli::args::HistoryArgs;
use crate::cli::output::{Columns, Styled};
use crate::cli::session::{Session, unexpected};
use crate::control::connection::{Connection, Heard, PATIENCE, Unreachable};
use crate::exit::Exit;
use crate::history::HELD_MAX;
use crate::history::store::{Query, Store};
use crate::interrupt::{Interrupt, pause};

/// Time between two tries to reach a daemon that went away.
const RETRY: Duration = Duration::from_secs(1);

pub(super) fn run(session: &Session, args: &HistoryArgs) -> Result<Exit, CliError> {
    if args.follow {
        return follow(session, args);
    }
    let request = request(args.last(), false, args);
    let entries = match ask(session, &request) {
        Err(CliError::Unreachable(error)) => from_store(session, args, error)?,
        told => told?,
    };
    show(session, &entries)?;
    Ok(Exit::Done)
}

fn request(last: usize, follow: bool, args: &HistoryArgs) -> Request {
    Request::History { last, follow, before: args.before, filter: args.filter() }
}

/// What the daemon has to say to a question about the past.
pub(super) fn ask(session: &Session, request: &Request) -> Result<Vec<HistoryEntry>, CliError> {
    past(&mut session.ask(request)?)
}

/// Goes on over a restart of the daemon: what happened meanwhile is told when it is back.
fn follow(session: &Session, args: &HistoryArgs) -> Result<Exit, CliError> {
    let interrupt = Interrupt::catch();
    let last = args.last();
    // At least one, even where none is shown: it marks where to go on.
    let (mut connection, told) = ask_to_follow(session, &request(last.max(1), true, args))?;
    show(session, &told[told.len().saturating_sub(last)..])?;
    let mut mark = told.last().cloned();
    loop {
        let error = match live(session, &mut connection, interrupt.as_ref(), &mut mark) {
            Err(CliError::Unreachable(error)) if error.may_pass() => error,
            ended => return ended,
        };
        anstream::eprintln!("{}: {error}; waiting for it", Styled::notable("note"));
        let Some((again, told)) = reconnect(session, interrupt.as_ref(), &request(HELD_MAX, true, args))? else {
            return Ok(Exit::Unreachable);
        };
        let news = after(&told, mark.as_ref());
        show(session, news)?;
        mark = news.last().cloned().or(mark);
        connection = again;
    }
}

fn ask_to_follow(session: &Session, request: &Request) -> Result<(Connection, Vec<HistoryEntry>), CliError> {
    let mut connection = session.ask(request)?;
    let told = past(&mut connection)?;
    Ok((connection, told))
}

/// Shows what happens until Ctrl-C.
fn live(
    session: &Session,
    connection: &mut Connection,
    interrupt: Option<&Interrupt>,
    mark: &mut Option<HistoryEntry>,
) -> Result<Exit, CliError> {
    loop {
        match connection.hear(interrupt, PATIENCE)? {
            Heard::Reply(reply) => {
                let Reply::Event { entry } = *reply else { return Err(unexpected(*reply)) };
                show(session, slice::from_ref(&entry))?;
                *mark = Some(entry);
            }
            Heard::Interrupted => return Ok(Exit::Done),
            // Nothing happens: that is what one hopes for, unless the daemon hangs.
            Heard::Nothing => drop(session.status()?),
        }
    }
}

/// Asks again and again; `None` = Ctrl-C.
fn reconnect(
    session: &Session,
    interrupt: Option<&Interrupt>,
    request: &Request,
) -> Result<Option<(Connection, Vec<HistoryEntry>)>, CliError> {
    while !pause(interrupt, RETRY) {
        match ask_to_follow(session, request) {
            Err(CliError::Unreachable(error)) if error.may_pass() => {}
            told => return told.map(Some),
        }
    }
    Ok(None)
}

/// What comes after the last entry that was shown; all where that one is not known any more.
fn after<'a>(told: &'a [HistoryEntry], mark: Option<&HistoryEntry>) -> &'a [HistoryEntry] {
    let at = mark.and_then(|mark| told.iter().rposition(|entry| entry == mark));
    at.map_or(told, |at| &told[at + 1..])
}

/// Everything up to the end of the past.
fn past(connection: &mut Connection) -> Result<Vec<HistoryEntry>, CliError> {
    let mut entries = Vec::new();
    loop {
        let reply = connection.receive(PATIENCE)?;
        if reply == Reply::EndOfHistory {
            return Ok(entries);
        }
        let Reply::Event { entry } = reply else { return Err(unexpected(reply)) };
        entries.push(entry);
    }
}

/// A daemon that died or hangs has left its last events; its store says more than that it is gone.
fn from_store(session: &Session, args: &HistoryArgs, error: Unreachable) -> Result<Vec<HistoryEntry>, CliError> {
    let config = match &args.group {
        // Who knows which group is meant.
        Some(_) => Some(Arc::new(session.config()?)),
        None => None,
    };
    let query = Query { last: args.last(), before: args.before.unwrap_or(u64::MAX), filter: args.filter(), config };
    told_from_store(session, &query, error)
}

/// The same for a question without names.
pub(super) fn told_from_store(
    session: &Session,
    query: &Query,
    error: Unreachable,
) -> Result<Vec<HistoryEntry>, CliError> {
    let directory = session.state_dir();
    let entries = on_disk(session, query);
    let note = Styled::notable("note");
    if entries.is_empty() {
        anstream::eprintln!("{note}: there are no events in {} either", directory.display());
        return Err(error.into());
    }
    anstream::eprintln!("{note}: {error}; these are the events in {}", directory.display());
    Ok(entries)
}

/// What the store has to say, whatever has become of the daemon.
pub(super) fn on_disk(session: &Session, query: &Query) -> Vec<HistoryEntry> {
    let store = Store::copy(&session.state_dir());
    match store.and_then(|store| store.map_or(Ok(Vec::new()), |store| store.answer(query))) {
        Ok(entries) => entries,
        Err(error) => {
            anstream::eprintln!("{}: the history on disk cannot be read: {error}", Styled::notable("note"));
            Vec::new()
        }
    }
}

fn show(session: &Session, entries: &[HistoryEntry]) -> Result<(), CliError> {
    if session.json() {
        for entry in entries {
            session.print_json(entry)?;
        }
    } else {
        session.print(&lines(entries))?;
    }
    Ok(())
}

/// Events for a screen: number, time, severity, sentence.
pub(super) fn lines(entries: &[HistoryEntry]) -> String {
    let mut columns = Columns::default();
    for entry in entries {
        // As wide as the widest word, so that lines which come one by one stand under each other too.
        let severity = Styled::severity(entry.severity);
        let number = if entry.number > 0 { entry.number.to_string() } else { "-".to_owned() };
        let time = entry.time.replace('T', " ");
        columns.row([number.into(), time.into(), severity.padded(7), entry.text.clone().into()]);
    }
    columns.lines(0)
}
