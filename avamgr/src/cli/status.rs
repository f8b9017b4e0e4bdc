//! `avamgr status`: once, or again and again.

use crate::cli::CliError;
use crate::cli::args::StatusArgs;
use crate::cli::output::{Styled, fit};
use crate::cli::render::{self, StatusDocument};
use crate::cli::session::Session;
use crate::cli::since;
use crate::clock;
use crate::exit::Exit;
use crate::interrupt::{Interrupt, pause};

use terminal_size::{Height, Width};

use std::io::{self, IsTerminal};

/// To the upper left corner, without clearing: clearing flickers.
const HOME: &str = "\x1b[H";

/// Clears the rest of the line.
const CLEAR_LINE: &str = "\x1b[K\n";

/// Clears the rest of the screen.
const CLEAR_BELOW: &str = "\x1b[J";

/// Rows below the status: an empty one, and the one that says how to leave.
const FOOT_ROWS: usize = 2;

/// Clears the whole screen, once at the beginning.
const CLEAR: &str = "\x1b[2J";

pub(super) fn run(session: &Session, args: &StatusArgs) -> Result<Exit, CliError> {
    if args.watch { watch(session, args) } else { once(session, args) }
}

fn once(session: &Session, args: &StatusArgs) -> Result<Exit, CliError> {
    let (text, exit) = look(session, args);
    session.print(&text)?;
    Ok(exit)
}

fn watch(session: &Session, args: &StatusArgs) -> Result<Exit, CliError> {
    let interrupt = Interrupt::catch();
    let in_place = io::stdout().is_terminal() && !session.json();
    if in_place {
        session.print(CLEAR)?;
    }
    loop {
        let begun = clock::now();
        let (text, exit) = look(session, args);
        if in_place {
            let text = on_screen(&text).replace('\n', CLEAR_LINE);
            session.print(&format!("{HOME}{text}{CLEAR_LINE}{}{CLEAR_BELOW}", Styled::faint("Ctrl-C ends")))?;
        } else {
            session.print(&text)?;
        }
        if pause(interrupt.as_ref(), args.interval.saturating_sub(since(begun))) {
            return Ok(exit);
        }
    }
}

/// As much as fits the terminal as it is now: a line that wraps or scrolls would not be overwritten by the next look.
fn on_screen(text: &str) -> String {
    match terminal_size::terminal_size() {
        Some((Width(columns), Height(rows))) => {
            let rows = usize::from(rows).saturating_sub(FOOT_ROWS);
            fit(text, rows, usize::from(columns))
        }
        None => text.to_owned(),
    }
}

/// One look: what to show, and what it means. A daemon that cannot be asked is a result here, not an error: the words
/// UNKNOWN and why belong where the status would be.
fn look(session: &Session, args: &StatusArgs) -> (String, Exit) {
    let status = match session.status() {
        Ok(status) => status,
        Err(error) => return (unknown(session, &error), error.exit()),
    };
    let now = clock::now();
    let exit = if render::is_stale(&status, now) { Exit::Unreachable } else { Exit::Done };
    let text = if session.json() {
        document(&StatusDocument::of(&status, now))
    } else if args.short {
        render::short(&status, now)
    } else {
        render::status(&status, now)
    };
    (text, exit)
}

/// What stands where the status would be.
pub(super) fn unknown(session: &Session, error: &CliError) -> String {
    if session.json() {
        return document(&StatusDocument::unknown(error.to_string()));
    }
    format!("{}: {}: {error}\n", session.hostname(), Styled::notable("UNKNOWN"))
}

fn document(document: &StatusDocument<'_>) -> String {
    // These documents have no map with keys other than strings, the only thing that could fail.
    serde_json::to_string(document).unwrap_or_default() + "\n"
}
