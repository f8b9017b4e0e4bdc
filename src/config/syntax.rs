//! What to make of a text that is not TOML.
//!
//! The parser goes on after an error as well as it can. Values it still understood are worth judging; keys that seem to be
//! missing or unknown are not, because the broken line may have swallowed or moved them.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::DeTable;

use super::error::{ConfigError, Finding, Findings, Place, Problem};
use super::file;

/// Reports the errors of the parser, and of the rest what can be trusted.
pub(super) fn report(tree: &Spanned<DeTable<'_>>, errors: &[toml::de::Error], findings: &Findings<'_>) {
    let broken = roots(errors, findings);
    let lines: BTreeSet<usize> = broken.iter().map(|(line, _)| *line).collect();
    file::read(tree.get_ref(), findings);
    findings.retain(|finding| is_sound(finding) && !lines.contains(&finding.line));
    for (_, error) in broken {
        let place = Place { key: String::new(), span: error.span().unwrap_or_default().into() };
        let finding = Finding::error(&place, Problem::Syntax { message: error.message().to_owned() });
        findings.put(match hint(error.message()) {
            Some(hint) => finding.without_value().hint(hint),
            None => finding.without_value(),
        });
    }
}

/// The first error of each line; of a list that is not closed only the first of all.
fn roots<'e>(errors: &'e [toml::de::Error], findings: &Findings<'_>) -> Vec<(usize, &'e toml::de::Error)> {
    let mut roots: Vec<(usize, &toml::de::Error)> = Vec::new();
    for error in errors {
        let line = findings.line(error.span().unwrap_or_default().start);
        let in_list = |error: &toml::de::Error| error.message().contains("array");
        let follows = roots.last().is_some_and(|(last, root)| *last == line || (in_list(root) && in_list(error)));
        if !follows {
            roots.push((line, error));
        }
    }
    roots
}

fn is_sound(finding: &ConfigError) -> bool {
    match finding.problem {
        Problem::WrongType { .. } | Problem::BadValue { .. } => true,
        Problem::Syntax { .. }
        | Problem::UnknownKey
        | Problem::MissingKey
        | Problem::Conflict { .. }
        | Problem::Inequality { .. }
        | Problem::Notice { .. } => false,
    }
}

fn hint(message: &str) -> Option<&'static str> {
    if message.contains("quoted") {
        Some("put the text in double quotes")
    } else if message.contains("duplicate key") {
        Some("it is already written further up; a table that may be there several times has double brackets: [[link]]")
    } else if message.contains("array") {
        Some("a list is written [\"one\", \"two\"]")
    } else {
        None
    }
}
