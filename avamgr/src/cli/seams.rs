//! The places where other rooms of the house are asked: config reader, key file, demo. One place, so that a change over
//! there is a change here only.

use std::fs;
use std::path::Path;

use avamgr_core::config::{self, Config};
use serde::Serialize;

use crate::cli::CliError;
use crate::exit::Exit;
use crate::{demo, keys};

/// A config file that is good.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Config,
    /// What is allowed but worth knowing, drawn for a terminal; empty = nothing.
    pub(super) warnings: String,
    pub(super) warning_count: usize,
}

/// One timer as `check` shows it.
#[derive(Debug, Serialize)]
pub(super) struct Timer {
    pub(super) name: String,
    pub(super) value: String,
    /// Set by hand, or what it is derived from.
    pub(super) origin: String,
}

/// One rule between timers as `check` shows it.
#[derive(Debug, Serialize)]
pub(super) struct Rule {
    pub(super) name: String,
    /// Both sides with their values.
    pub(super) text: String,
    pub(super) holds: bool,
    /// The daemon does not start without it; otherwise it is advice.
    pub(super) required: bool,
    /// What goes wrong without it.
    pub(super) why: String,
}

/// Reads and checks a config file; the error shows all that is wrong with it, or is a JSON document where that is asked for.
pub(super) fn load(path: &Path, json: bool) -> Result<Loaded, CliError> {
    let text = fs::read_to_string(path)
        .map_err(|error| CliError::NoConfig { path: path.to_owned(), reason: error.to_string() })?;
    match config::parse_with_warnings(&text, &path.display().to_string()) {
        Ok((config, warnings)) => {
            let warning_count = warnings.findings.len() + warnings.omitted;
            let warnings = if warnings.is_empty() { String::new() } else { warnings.render(true) };
            Ok(Loaded { config, warnings, warning_count })
        }
        Err(errors) if json => Err(CliError::ConfigDocument(serde_json::to_string(&errors).unwrap_or_default())),
        Err(errors) => Err(CliError::Config(errors.render(true))),
    }
}

/// Every timer of a config.
pub(super) fn timers(config: &Config) -> Vec<Timer> {
    let timer = |line: config::TimerLine| Timer {
        name: line.name.to_owned(),
        value: line.value.to_string(),
        origin: line.origin(),
    };
    config::describe_timers(config).into_iter().map(timer).collect()
}

/// Every rule between timers.
pub(super) fn rules(config: &Config) -> Vec<Rule> {
    let rule = |rule: config::Inequality| Rule {
        name: rule.name.clone(),
        text: rule.to_string(),
        holds: rule.holds,
        required: rule.required,
        why: rule.why.to_owned(),
    };
    config::inequalities(config).into_iter().map(rule).collect()
}

/// What to do with a key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyOrder {
    /// Make it, or add a key to it.
    Add,
    /// Send with another key of it.
    SendWith(u8),
    /// Take a key out of it.
    Remove(u8),
}

/// Changes a key file; says what was done and what comes next.
pub(super) fn change_keys(path: &Path, order: KeyOrder) -> Result<String, CliError> {
    let failed = |error: keys::KeysError| CliError::Failed(error.to_string());
    let (file, old) = (path.display(), path.exists());
    let text = match order {
        KeyOrder::Add => match (keys::generate(path).map_err(failed)?, old) {
            (number, false) => format!("key {number} is in the new file {file}: copy it to every node, mode 0600"),
            (number, true) => format!(
                "key {number} was added to {file}, nothing is sent with it yet. Next: copy the file to every node and \
                 `avamgr reload` there; then `avamgr keygen --send-with {number}` and reload on each"
            ),
        },
        KeyOrder::SendWith(number) => {
            keys::send_with(path, number).map_err(failed)?;
            format!("key {number} of {file} is the one to send with: `avamgr reload` takes it into use here")
        }
        KeyOrder::Remove(number) => {
            keys::remove(path, number).map_err(failed)?;
            format!("key {number} is out of {file}: `avamgr reload` forgets it here")
        }
    };
    Ok(text)
}

/// The demo.
pub(super) fn demo(no_keys: bool) -> Result<Exit, CliError> {
    match demo::run(demo::Options { no_keys }) {
        Ok(true) => Ok(Exit::Done),
        Ok(false) => Ok(Exit::Failed),
        Err(error) => Err(CliError::Failed(format!("{error:#}"))),
    }
}
