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
pub(super) fn report(
    tree: &Spanned<DeTable<'_>>,
    errors: &[toml::de::Error],
    findings: &Findings<'_>,
) {
    let broken = roots(errors, findings);
    let lines: BTreeSet<usize> = broken.iter().map(|(line, _)| *line).collect();
    file::read(tree.get_ref(), findings);
    let swallowed = |finding: &ConfigError| errors.iter().any(|error| finding.covers(start(error)));
    findings.retain(|finding| {
        is_sound(finding) && !lines.contains(&finding.line) && !swallowed(finding)
    });
    for (_, error) in broken {
        let place = Place {
            key: String::new(),
            span: error.span().unwrap_or_default().into(),
        };
        let finding = Finding::error(
            &place,
            Problem::Syntax {
                message: error.message().to_owned(),
            },
        );
        findings.put(match hint(error.message()) {
            Some(hint) => finding.without_value().hint(hint),
            None => finding.without_value(),
        });
    }
}

fn start(error: &toml::de::Error) -> usize {
    error.span().unwrap_or_default().start
}

/// The first error of each line. A list that is not closed makes nonsense of everything after it.
fn roots<'e>(
    errors: &'e [toml::de::Error],
    findings: &Findings<'_>,
) -> Vec<(usize, &'e toml::de::Error)> {
    let mut roots: Vec<(usize, &toml::de::Error)> = Vec::new();
    let in_list = |error: &toml::de::Error| error.message().contains("array");
    let never_closed = errors
        .iter()
        .any(|error| error.message().contains("unclosed array"));
    for error in errors {
        let line = findings.line(start(error));
        if roots.last().is_none_or(|(last, _)| *last != line) {
            roots.push((line, error));
        }
        if never_closed && in_list(error) {
            break;
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
        Some(
            "it is already written further up; a table that may be there several times has double brackets: [[link]]",
        )
    } else if message.contains("array") {
        Some("is the list before it closed? It is written [\"one\", \"two\"]")
    } else {
        None
    }
}
