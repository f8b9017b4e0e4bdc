//! `avamgr why NUMBER`: what led to an event.

use avamgr_core::control::{HistoryEntry, Request};

use super::indented;
use crate::cli::session::Session;
use crate::cli::{CliError, history};
use crate::exit::Exit;
use crate::history::store::Query;
use crate::history::why::{Explanation, explain, question};

pub(super) fn run(session: &Session, number: u64) -> Result<Exit, CliError> {
    let explanation = explain(number, &around(session, number)?).map_err(CliError::Refused)?;
    if session.json() {
        session.print_json(&explanation)?;
    } else {
        session.print(&text(&explanation))?;
    }
    Ok(Exit::Done)
}

/// The event and those before it.
fn around(session: &Session, number: u64) -> Result<Vec<HistoryEntry>, CliError> {
    let request = question(number);
    let told = history::ask(session, &request);
    match (told, request) {
        (Err(CliError::Unreachable(error)), Request::History { last, before, filter, .. }) => {
            let query = Query { last, before: before.unwrap_or(u64::MAX), filter, config: None };
            history::told_from_store(session, &query, error)
        }
        (told, _) => told,
    }
}

fn text(explanation: &Explanation) -> String {
    let Explanation { entry, chain } = explanation;
    let number = entry.number;
    if chain.is_empty() {
        return format!(
            "nothing that this node has noted led to event {number}:\n{}",
            indented(std::slice::from_ref(entry))
        );
    }
    let mut all: Vec<HistoryEntry> = chain.iter().map(|reason| reason.entry.clone()).collect();
    all.push(entry.clone());
    format!("what led to event {number}, the last line:\n{}", indented(&all))
}
