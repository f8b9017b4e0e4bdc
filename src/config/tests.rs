//! The config as a whole: one row for each rule, the drawn errors, the sample and the manual, and texts made by chance.

mod drawing;
mod language;
mod meaning;
mod random;
mod replication;
mod rules;
mod tipc;
mod web;

use super::{Config, ConfigErrors, parse, parse_with_warnings};

/// The smallest config of a pair with one of everything that matters.
const PAIR: &str = include_str!("tests/pair.toml");

/// The sample that is shipped.
const SAMPLE: &str = include_str!("../../etc/avamgr.toml");

/// All that the program needs that replicates rules.
const COURIER: &str = include_str!("tests/courier.toml");

/// The config of a text that has to be good.
fn good(text: &str) -> Config {
    parse(text, "avamgr.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

/// The errors of a text that has to be bad.
fn bad(text: &str) -> ConfigErrors {
    match parse(text, "avamgr.toml") {
        Ok(_) => panic!("it should be refused:\n{text}"),
        Err(errors) => errors,
    }
}

/// `PAIR` with one piece replaced; an empty piece stands for the end.
fn changed(from: &str, to: &str) -> String {
    if from.is_empty() {
        return format!("{PAIR}\n{to}\n");
    }
    assert_eq!(PAIR.matches(from).count(), 1, "`{from}` must be there exactly once");
    PAIR.replace(from, to)
}

/// Everything found in a text, errors or warnings, one line each.
fn findings(text: &str) -> Vec<String> {
    let list = match parse_with_warnings(text, "avamgr.toml") {
        Ok((_, warnings)) => warnings,
        Err(errors) => errors,
    };
    let word = |finding: &super::ConfigError| match finding.severity {
        super::Severity::Error => "",
        super::Severity::Warning => "warning: ",
    };
    list.findings.iter().map(|finding| format!("{}{finding}", word(finding))).collect()
}
