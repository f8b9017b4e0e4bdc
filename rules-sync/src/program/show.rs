//! What the command line shows.

use std::io::{self, IsTerminal as _, Write as _};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use avamgr::clock;
use avamgr::courier::client;
use avamgr::courier::render;
use avamgr::exit::Exit;
use avamgr_core::courier::{Difference, DifferenceKind, KeptStatus, Reply, Request};
use jiff::Timestamp;
use serde::Serialize;

use super::args::Args;
use super::{Ended, ask, metrics as figures, unexpected};

/// How often `--watch` looks.
const WATCH: Duration = Duration::from_secs(1);
/// Characters of the bar.
const BAR: u64 = 30;

/// Prints text, with its colours only on a terminal.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn print_json<T: Serialize>(document: &T) -> Result<()> {
    Ok(print(&(serde_json::to_string(document)? + "\n"))?)
}

/// Exit code 0 when everything is in sync, 1 when not.
pub(super) fn status(args: &Args, watch: bool) -> Result<Exit> {
    loop {
        let found = client::status(&args.socket());
        if !watch {
            let status = found?;
            if args.json {
                print_json(&status)?
            } else {
                print(&render::text(&status, clock::now()))?
            }
            return Ok(if status.in_sync() { Exit::Done } else { Exit::Failed });
        }
        match found {
            Ok(status) if args.json => print_json(&status)?,
            Ok(status) => {
                clear()?;
                print(&render::text(&status, clock::now()))?;
            }
            Err(error) => {
                clear()?;
                print(&format!("UNKNOWN: {error}\n"))?;
            }
        }
        thread::sleep(WATCH);
    }
}

/// An empty screen, where there is one.
fn clear() -> io::Result<()> {
    if io::stdout().is_terminal() { print("\x1b[2J\x1b[H") } else { Ok(()) }
}

pub(super) fn metrics(args: &Args) -> Result<Exit> {
    let status = client::status(&args.socket())?;
    print(&figures::text(&status, clock::now()))?;
    Ok(Exit::Done)
}

/// Exit code 0 when the trees are the same, 1 when not.
pub(super) fn diff(args: &Args, peer: Option<String>) -> Result<Exit> {
    let reply = ask(args, &Request::Diff { peer })?;
    let Reply::Differences { peer, differences, omitted } = reply else { return Err(unexpected(reply)) };
    if args.json {
        print_json(&differences)?;
    } else if differences.is_empty() {
        print(&format!("this node and {peer} hold the same\n"))?;
    } else {
        let line = |it: &Difference| {
            let what = match it.kind {
                DifferenceKind::OnlyHere => format!("is not on {peer}"),
                DifferenceKind::OnlyThere => format!("is on {peer} only"),
                DifferenceKind::Differs => format!("is another one on {peer}"),
            };
            format!("{} {what}{}\n", it.place, if it.owed { ", and is on its way" } else { "" })
        };
        let more = if omitted > 0 { format!("and {omitted} more\n") } else { String::new() };
        print(&(differences.iter().map(line).collect::<String>() + &more))?;
    }
    Ok(if differences.is_empty() { Exit::Done } else { Exit::Failed })
}

pub(super) fn resync(args: &Args, force: bool) -> Result<Exit> {
    let mut asked = client::ask(&args.socket(), &Request::Resync { force })?;
    let bar = io::stderr().is_terminal() && !args.json;
    loop {
        match asked.receive(client::PATIENCE)? {
            Reply::Progress { done, total, text } if bar => draw(done, total, &text)?,
            Reply::Progress { done, total, text } if args.json => {
                print_json(&Reply::Progress { done, total, text })?;
            }
            Reply::Progress { .. } => {}
            Reply::Done { text } => {
                wipe(bar)?;
                print(&format!("{text}\n"))?;
                return Ok(Exit::Done);
            }
            Reply::Refused { reason } => {
                wipe(bar)?;
                return Err(Ended(Exit::Failed, reason).into());
            }
            reply @ (Reply::Status { .. } | Reply::Differences { .. } | Reply::Kept { .. }) => {
                return Err(unexpected(reply));
            }
        }
    }
}

fn draw(done: u64, total: u64, text: &str) -> io::Result<()> {
    let full = (done * BAR).checked_div(total).unwrap_or(0).min(BAR);
    let (full, empty) = (usize::try_from(full).unwrap_or(0), usize::try_from(BAR - full).unwrap_or(0));
    let mut out = anstream::stderr().lock();
    write!(out, "\r[{}{}] {done} of {total}: {text}\x1b[K", "#".repeat(full), "-".repeat(empty))?;
    out.flush()
}

fn wipe(bar: bool) -> io::Result<()> {
    if bar { write!(anstream::stderr().lock(), "\r\x1b[K") } else { Ok(()) }
}

pub(super) fn kept(args: &Args, conflicts: bool) -> Result<Exit> {
    let reply = ask(args, &Request::Kept { conflicts })?;
    let Reply::Kept { kept, omitted } = reply else { return Err(unexpected(reply)) };
    let more = format!("{omitted} older ones are not shown: the list is too long\n");
    if args.json {
        print_json(&kept)?;
        if omitted > 0 {
            avamgr::complain(&format!("rules-sync: {}", more.trim_end()));
        }
    } else if kept.is_empty() {
        print(if conflicts { "no conflicts\n" } else { "nothing is in the trash\n" })?;
    } else {
        let time = |it: &KeptStatus| {
            let millis = i64::try_from(it.millis).unwrap_or(i64::MAX);
            Timestamp::from_millisecond(millis).map_or_else(|_| "?".to_owned(), |time| format!("{time:.0}"))
        };
        let line = |it: &KeptStatus| {
            format!("{}  {}  {}, {} bytes, of {}\n    {}\n", it.name, time(it), it.place, it.bytes, it.by, it.file)
        };
        let more = if omitted > 0 { more } else { String::new() };
        print(&(more + &kept.iter().map(line).collect::<String>()))?;
    }
    Ok(Exit::Done)
}

/// A request that is done or not.
pub(super) fn done(args: &Args, request: &Request) -> Result<Exit> {
    let reply = ask(args, request)?;
    let Reply::Done { text } = reply else { return Err(unexpected(reply)) };
    print(&format!("{text}\n"))?;
    Ok(Exit::Done)
}
