//! The status of the courier as text: whether everything is where it should be, and if not, what is not and why.
//!
//! Pure: a status and the time in, text out. Every figure that can go stale stands with its age.

use std::fmt::Write as _;

use avamgr_core::control::words::duration;
use avamgr_core::courier::{DirectoryStatus, PeerStatus, Status, Transfer, Watched};
use avamgr_core::time::Instant;

use crate::cli::output::{Columns, Styled, ago, lasting, plural};
use crate::cli::render::STALE;

/// Notices that are shown; `--json` has all of them.
const NOTICES: usize = 8;

/// One line: whether everything is in sync, and if not, the first reason.
pub fn summary(status: &Status) -> String {
    let word = |text: &str| {
        if status.in_sync() { Styled::good("in sync").to_string() } else { Styled::bad(text).to_string() }
    };
    let lost: Vec<&str> = status.peers.iter().filter(|peer| !peer.reachable).map(|peer| peer.node.as_str()).collect();
    let owed: u64 = status.peers.iter().map(|peer| peer.owed).max().unwrap_or_default();
    let why = if let Some(directory) = status.directories.iter().find(|it| it.trouble.is_some() || it.held.is_some()) {
        format!("directory {}: {}", directory.name, trouble(directory))
    } else if !lost.is_empty() {
        format!("no answer from {}", lost.join(", "))
    } else if !status.troubles.is_empty() {
        format!(
            "{} cannot be replicated",
            count(u64::try_from(status.troubles.len()).unwrap_or(u64::MAX) + status.troubles_omitted, "path")
        )
    } else if owed > 0 {
        format!("{} to be sent", count(owed, "path"))
    } else if status.unsettled > 0 {
        format!("{} changing", count(status.unsettled, "path"))
    } else if let Some(directory) = status.directories.iter().find(|it| it.strays > 0) {
        format!("directory {}: {} changed here and not replicated", directory.name, count(directory.strays, "path"))
    } else if let Some(peer) = status.peers.iter().find(|it| !it.in_sync()) {
        format!("not the same as on {}, which is being looked into", peer.node)
    } else {
        let paths = status.directories.iter().map(|directory| directory.paths).sum();
        format!("{} in {}", count(paths, "path"), plural(status.directories.len(), "directory"))
    };
    let conflicts = match status.conflicts {
        0 => String::new(),
        conflicts => format!("; {}", Styled::notable(format!("{} to be looked at", count(conflicts, "conflict")))),
    };
    format!("{} ({why}){conflicts}", word("NOT IN SYNC"))
}

/// One line for the status of the daemon: whether everything is in sync and when that was so, and if it is not known, why.
pub fn line(watched: &Watched, now: Instant) -> String {
    let known = watched.status.as_deref().map(|status| (summary(status), ago(now, Some(status.now)), status.now));
    let trouble = watched.trouble.as_deref();
    let text = match (watched.pid, known) {
        (Some(_), Some((summary, age, at))) if now.since(at) <= STALE => format!("{summary}, {age}"),
        (Some(_), known) => {
            let why = trouble.unwrap_or("rules-sync has not answered yet");
            format!("{}: {why}{}", Styled::notable("UNKNOWN"), last_known(known))
        }
        (None, known) => {
            let why = trouble.unwrap_or("it is about to be started");
            let down = Styled::bad("rules-sync is not running");
            format!("{down} {}: {why}{}", lasting(now, watched.since), last_known(known))
        }
    };
    format!("rules: {text}\n")
}

fn last_known(known: Option<(String, String, Instant)>) -> String {
    known.map_or_else(String::new, |(summary, age, _)| format!("; last seen {summary}, {age}"))
}

fn count(number: u64, what: &str) -> String {
    plural(usize::try_from(number).unwrap_or(usize::MAX), what)
}

fn trouble(directory: &DirectoryStatus) -> String {
    match (&directory.trouble, directory.held) {
        (Some(trouble), _) => trouble.clone(),
        (None, Some(lost)) => {
            format!("has lost {} at once, held: `rules-sync resync --force` if that is meant", count(lost, "path"))
        }
        (None, None) => "ok".to_owned(),
    }
}

/// Everything.
pub fn text(status: &Status, now: Instant) -> String {
    let mut text = format!("rules on {}: {}\n", Styled::strong(status.node.as_str()), summary(status));
    let active = status.active.as_deref().unwrap_or("nobody knows who");
    let way = if status.one_way { "; changes go from there only" } else { "" };
    let _ = writeln!(text, "  ACTIVE: {active}{way}; seen {}", ago(now, Some(status.now)));
    text.push_str("directories\n");
    text.push_str(&directories(status));
    text.push_str("other nodes\n");
    text.push_str(&peers(status, now));
    let _ = writeln!(
        text,
        "kept: {} (`rules-sync conflicts list`), {} in the trash (`rules-sync trash list`)",
        count(status.conflicts, "conflict"),
        count(status.trash, "content")
    );
    text.push_str(&troubles(status, now));
    if !status.notices.is_empty() {
        text.push_str("lately\n");
        let mut rows = Columns::default();
        for notice in status.notices.iter().rev().take(NOTICES).rev() {
            rows.row([ago(now, Some(notice.at)).into(), Styled::severity(notice.severity), notice.text.clone().into()]);
        }
        text.push_str(&rows.lines(2));
    }
    text
}

fn directories(status: &Status) -> String {
    let mut rows = Columns::default();
    for directory in &status.directories {
        let state = match (&directory.trouble, directory.held) {
            (None, None) => Styled::good("ok"),
            (Some(_), _) | (_, Some(_)) => Styled::bad(trouble(directory)),
        };
        let strays = match directory.strays {
            0 => Styled::plain(""),
            strays => Styled::notable(format!("{} changed here and not replicated", count(strays, "path"))),
        };
        let paths = count(directory.paths, "path");
        rows.row([directory.name.clone().into(), directory.path.clone().into(), paths.into(), state, strays]);
    }
    rows.lines(2)
}

fn peers(status: &Status, now: Instant) -> String {
    let mut rows = Columns::default();
    for peer in &status.peers {
        let reach = match (peer.reachable, peer.since) {
            (true, Some(since)) => Styled::good(format!("answers {}", lasting(now, since))),
            (true, None) => Styled::plain("not tried yet"),
            (false, Some(since)) => Styled::bad(format!("no answer {}", lasting(now, since))),
            (false, None) => Styled::notable("not tried yet"),
        };
        rows.row([peer.node.clone().into(), peer.address.clone().into(), reach, owed(peer), compared(peer, now)]);
    }
    let mut text = rows.lines(2);
    for peer in &status.peers {
        let mut line = |what: &str, transfer: &Option<Transfer>| {
            let Some(transfer) = transfer else { return };
            let (paths, age) = (count(transfer.paths, "path"), ago(now, Some(transfer.at)));
            let _ = writeln!(text, "    {} {what} {paths}, {} bytes, {age}", peer.node, transfer.bytes);
        };
        line("was sent", &peer.last_sent);
        line("has sent", &peer.last_received);
        if let Some(error) = &peer.error {
            let _ = writeln!(text, "    {}", Styled::bad(format!("{}: {error}", peer.node)));
        }
        let failures = peer.errors.iter().map(|(cause, count)| format!("{cause} {count}")).collect::<Vec<_>>();
        if !failures.is_empty() {
            let _ = writeln!(text, "    {} failed attempts since the start: {}", peer.node, failures.join(", "));
        }
    }
    text
}

fn owed(peer: &PeerStatus) -> Styled {
    match (peer.owed, peer.lag) {
        (0, _) => Styled::good("knows everything"),
        (owed, lag) => {
            let lag = lag.map_or_else(String::new, |lag| format!(", the first {} ago", duration(lag)));
            Styled::notable(format!("{} to be sent{lag}", count(owed, "path")))
        }
    }
}

fn compared(peer: &PeerStatus, now: Instant) -> Styled {
    match peer.compared {
        Some((at, true)) => Styled::plain(format!("trees found the same {}", ago(now, Some(at)))),
        Some((at, false)) => Styled::notable(format!("trees found different {}", ago(now, Some(at)))),
        None => Styled::faint("trees not compared yet"),
    }
}

fn troubles(status: &Status, now: Instant) -> String {
    if status.troubles.is_empty() {
        return String::new();
    }
    let mut text = "cannot be replicated now, and is tried again and again\n".to_owned();
    let mut rows = Columns::default();
    for trouble in &status.troubles {
        rows.row([Styled::bad(trouble.place.as_str()), trouble.why.clone().into(), lasting(now, trouble.since).into()]);
    }
    text.push_str(&rows.lines(2));
    if status.troubles_omitted > 0 {
        let _ = writeln!(text, "  and {} more", status.troubles_omitted);
    }
    text
}
