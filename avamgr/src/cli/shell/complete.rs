//! Completion from the command line's own definition, and from the names of the cluster.

use clap::{Arg, Command, CommandFactory};
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use crate::cli::args::Cli;

/// What the cluster's things are called.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) groups: Vec<String>,
    pub(super) nodes: Vec<String>,
    pub(super) resources: Vec<String>,
}

/// The helper of the line editor.
pub(super) struct Assistant {
    command: Command,
    names: Names,
}

impl Assistant {
    pub(super) fn new(names: Names) -> Self {
        let mut command = Cli::command();
        // Without this the command does not know the options that all verbs share.
        command.build();
        Self { command, names }
    }

    /// Everything that may stand next, where `before` are the words before the cursor.
    fn candidates(&self, before: &[&str]) -> Vec<String> {
        let mut command = &self.command;
        let mut positional = 0;
        let mut value_of: Option<&Arg> = None;
        for word in before {
            if value_of.take().is_some() {
                continue;
            }
            if let Some(option) = word.strip_prefix("--") {
                let is_meant = |arg: &&Arg| arg.get_long() == Some(option) && arg.get_action().takes_values();
                value_of = command.get_arguments().find(is_meant);
            } else if let Some(verb) = command.find_subcommand(word) {
                command = verb;
                positional = 0;
            } else {
                positional += 1;
            }
        }
        if let Some(option) = value_of {
            return self.values(option);
        }
        let mut found: Vec<String> = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
        found.extend(command.get_positionals().nth(positional).map(|arg| self.values(arg)).unwrap_or_default());
        found
            .extend(command.get_opts().chain(flags(command)).filter_map(Arg::get_long).map(|long| format!("--{long}")));
        if std::ptr::eq(command, &raw const self.command) {
            found.push("exit".to_owned());
        }
        found
    }

    fn values(&self, arg: &Arg) -> Vec<String> {
        match arg.get_id().as_str() {
            "group" => self.names.groups.clone(),
            "to" | "node" => self.names.nodes.clone(),
            "resource" => self.names.resources.clone(),
            _ if !arg.get_action().takes_values() => Vec::new(),
            _ => arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect(),
        }
    }
}

fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_positional() && !arg.get_action().takes_values())
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let line = line.get(..pos).unwrap_or(line);
        let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let (before, begun) = line.split_at(start);
        let before: Vec<&str> = before.split_whitespace().collect();
        let mut found: Vec<String> = self.candidates(&before);
        found.retain(|word| word.starts_with(begun) && (!word.starts_with("--") || begun.starts_with('-')));
        found.sort();
        found.dedup();
        let pair = |word: String| Pair { display: word.clone(), replacement: word + " " };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Highlighter for Assistant {}

impl Validator for Assistant {}

impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    use rustyline::history::MemHistory;

    use super::*;

    fn complete(line: &str) -> Vec<String> {
        let names = Names {
            groups: vec!["dre".into(), "mysql".into()],
            nodes: vec!["hadev1".into(), "hadev2".into()],
            resources: vec!["dre/traffic".into(), "mysql/db".into()],
        };
        let history = MemHistory::new();
        let (_, found) = Assistant::new(names).complete(line, line.len(), &Context::new(&history)).unwrap();
        found.into_iter().map(|pair| pair.display).collect()
    }

    #[test]
    fn verbs_options_values_and_names_are_completed() {
        assert_eq!(complete("s"), ["shell", "status", "switchover"]);
        assert_eq!(complete("switchover "), ["dre", "mysql"]);
        assert_eq!(complete("switchover dre --to "), ["hadev1", "hadev2"]);
        assert_eq!(complete("switchover dre --d"), ["--dry-run"]);
        assert_eq!(complete("maintenance "), ["off", "on"]);
        assert_eq!(complete("resource st"), ["start", "stop"]);
        assert_eq!(complete("res stop d"), ["dre/traffic"]);
        assert_eq!(complete("status --j"), ["--json"]);
        assert_eq!(complete("config "), ["help", "show"]);
        assert!(complete("nonsense ").iter().any(|word| word == "status"));
    }
}
