//! `avamgr shell`: the same verbs at a prompt that says where one is: `[hadev1:ACTIVE] >`.

mod complete;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::{env, iter};

use avamgr_core::control::Status;
use clap::Parser;
use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Editor};

use crate::cli::args::Cli;
use crate::cli::output::Styled;
use crate::cli::session::Session;
use crate::cli::shell::complete::{Assistant, Names};
use crate::cli::{CliError, perform, render};
use crate::clock;
use crate::exit::Exit;

/// Lines of the history file.
const HISTORY_MAX: usize = 1000;

/// Name of the history file in the home directory.
const HISTORY_FILE: &str = ".avamgr_history";

pub(super) fn run(session: &Session) -> Result<Exit, CliError> {
    let mut editor: Editor<Assistant, FileHistory> = Editor::new().map_err(failed)?;
    editor.set_completion_type(CompletionType::List);
    // Neither the length nor an unreadable history file keeps anybody from working.
    let _ = editor.set_max_history_size(HISTORY_MAX);
    let history = env::var_os("HOME").map(|home| PathBuf::from(home).join(HISTORY_FILE));
    let _ = history.as_ref().map(|file| editor.load_history(file));
    if io::stdin().is_terminal() {
        session.print("verbs as on the command line, `help` lists them, Tab completes, Ctrl-D leaves\n")?;
    }
    let mut last = Exit::Done;
    loop {
        let status = session.status().ok();
        editor.set_helper(Some(Assistant::new(names(status.as_ref()))));
        let raw = prompt(session, status.as_ref());
        let plain = anstream::adapter::strip_str(&raw).to_string();
        match editor.readline(&(plain, raw)) {
            Ok(line) => match execute(session, &line) {
                Step::Went(exit) => {
                    last = exit;
                    let _ = editor.add_history_entry(line);
                }
                Step::Nothing => {}
                Step::Leave => break,
            },
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(failed(error)),
        }
    }
    let _ = history.as_ref().map(|file| editor.append_history(file));
    Ok(last)
}

/// What a line was.
enum Step {
    Went(Exit),
    Nothing,
    Leave,
}

fn execute(session: &Session, line: &str) -> Step {
    let words = words(line);
    match words.first().map(String::as_str) {
        None => return Step::Nothing,
        Some("exit" | "quit" | "bye") => return Step::Leave,
        Some(_) => {}
    }
    // The options the shell was started with hold for each line.
    let global = &session.global;
    let mut args = vec!["avamgr".into(), "--conf-dir".into(), global.conf_dir.clone().into_os_string()];
    if global.json {
        args.push("--json".into());
    }
    for (option, value) in [("--socket", &global.socket), ("--config", &global.config)] {
        args.extend(value.iter().flat_map(|value| [option.into(), value.clone().into_os_string()]));
    }
    args.extend(words.into_iter().map(Into::into));
    match Cli::try_parse_from(args) {
        Ok(cli) => Step::Went(perform(&Session::new(&cli.global), &cli.verb)),
        Err(error) => {
            let _ = error.print();
            Step::Went(if error.use_stderr() { Exit::Usage } else { Exit::Done })
        }
    }
}

/// `[hadev1:ACTIVE] > `; with several groups `[hadev1:dre=ACTIVE,mysql=STANDBY] > `.
fn prompt(session: &Session, status: Option<&Status>) -> String {
    let Some(status) = status.filter(|status| !render::is_stale(status, clock::now())) else {
        let node = status.map_or_else(|| session.hostname(), |status| status.node.clone());
        return format!("[{node}:{}] > ", Styled::notable("UNKNOWN"));
    };
    let roles: Vec<String> = match status.groups.as_slice() {
        [only] => vec![Styled::role(only.role, false).to_string()],
        groups => groups.iter().map(|group| format!("{}={}", group.group, Styled::role(group.role, false))).collect(),
    };
    format!("[{}:{}] > ", status.node, roles.join(","))
}

/// Names for completion.
fn names(status: Option<&Status>) -> Names {
    let Some(status) = status else { return Names::default() };
    let resources = status
        .groups
        .iter()
        .flat_map(|group| group.resources.iter().map(|resource| format!("{}/{}", group.group, resource.resource)));
    Names {
        groups: status.groups.iter().map(|group| group.group.clone()).collect(),
        nodes: iter::once(&status.node).chain(status.peers.iter().map(|peer| &peer.node)).cloned().collect(),
        resources: resources.collect(),
    }
}

/// Words of a line; quotes keep spaces together.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, _) if character.is_whitespace() => words.extend(word.take()),
            (Some(_) | None, _) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

fn failed(error: ReadlineError) -> CliError {
    CliError::Failed(format!("the shell cannot read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_words_together() {
        assert_eq!(words("  status --json "), ["status", "--json"]);
        assert_eq!(words("resource stop 'dre/my vip' \"\""), ["resource", "stop", "dre/my vip", ""]);
        assert!(words("  ").is_empty());
    }
}
