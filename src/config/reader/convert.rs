//! From one value of the parsed text to a value of ours.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::Parsed;
use crate::config::error::Problem;
use crate::config::keys::{Takes, nearest};
use crate::config::value::{Complaint, check_command, format_duration, parse_duration, split_command};

/// A preset as if it had been written.
pub(super) fn preset_value(takes: Takes, text: &'static str) -> DeValue<'static> {
    let quoted = !matches!(takes, Takes::Integer(..) | Takes::Flag);
    let parsed = if quoted { None } else { DeValue::parse(text).ok() };
    parsed.map_or_else(|| DeValue::String(text.into()), Spanned::into_inner)
}

pub(super) fn wrong_type(value: &DeValue<'_>, takes: Takes) -> Complaint {
    let found = match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    Complaint { problem: Problem::WrongType { expected: takes.describe(), found }, hint: None }
}

pub(super) fn text(value: &DeValue<'_>, takes: Takes) -> Parsed<String> {
    let text = value.as_str().ok_or_else(|| {
        let complaint = wrong_type(value, takes);
        match takes.example() {
            Some(example) => complaint.hint(format!("for example {example}")),
            None => complaint,
        }
    })?;
    match takes {
        Takes::Text(grammar) | Takes::List(grammar, _) | Takes::PerNode(grammar) | Takes::PerNodeOrText(grammar) => {
            grammar.check(text)?;
        }
        Takes::Choice(words) if !words.contains(&text) => {
            let meant = nearest(text, words.iter().copied());
            let complaint = Complaint::value(takes.describe());
            return Err(match meant {
                Some(meant) => complaint.hint(format!("did you mean \"{meant}\"?")),
                None => complaint,
            });
        }
        Takes::Choice(_)
        | Takes::Command
        | Takes::Integer(..)
        | Takes::Time(..)
        | Takes::Seconds(..)
        | Takes::Flag
        | Takes::Strings
        | Takes::Table
        | Takes::Tables(_) => {}
    }
    Ok(text.to_owned())
}

pub(super) fn time(value: &DeValue<'_>, takes: Takes) -> Parsed<Duration> {
    let Some(text) = value.as_str() else {
        let complaint = wrong_type(value, takes);
        return Err(match value {
            DeValue::Integer(number) => complaint.hint(format!("with a unit, such as \"{number}ms\" or \"{number}s\"")),
            DeValue::String(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => complaint.hint("for example \"200ms\", \"1s\" or \"2m\""),
        });
    };
    let duration = parse_duration(text).map_err(|error| Complaint::value(takes.describe()).hint(error.to_string()))?;
    let (min, max) = match takes {
        Takes::Time(min, max) => (min, max),
        Takes::Seconds(min, max) if duration.subsec_nanos() == 0 => (min, max),
        Takes::Seconds(..) => {
            let whole = Duration::from_secs(duration.as_secs() + 1);
            let hint = format!("the kernel counts it in whole seconds: \"{}\"", format_duration(whole));
            return Err(Complaint::value(takes.describe()).hint(hint));
        }
        Takes::Text(_)
        | Takes::List(..)
        | Takes::PerNode(_)
        | Takes::PerNodeOrText(_)
        | Takes::Choice(_)
        | Takes::Command
        | Takes::Integer(..)
        | Takes::Flag
        | Takes::Strings
        | Takes::Table
        | Takes::Tables(_) => (Duration::ZERO, Duration::MAX),
    };
    if (min..=max).contains(&duration) { Ok(duration) } else { Err(Complaint::value(takes.describe())) }
}

pub(super) fn integer(value: &DeValue<'_>, takes: Takes) -> Parsed<u32> {
    let Some(number) = value.as_integer() else {
        let complaint = wrong_type(value, takes);
        let digits = value.as_str().filter(|text| text.parse::<u32>().is_ok());
        return Err(match digits {
            Some(text) => complaint.hint(format!("without quotes: {text}")),
            None => complaint,
        });
    };
    let (min, max) = if let Takes::Integer(min, max) = takes { (min, max) } else { (0, u32::MAX) };
    let parsed = u32::from_str_radix(number.as_str(), number.radix()).ok();
    parsed.filter(|number| (min..=max).contains(number)).ok_or_else(|| Complaint::value(takes.describe()))
}

pub(super) fn command(value: &DeValue<'_>, takes: Takes) -> Parsed<Vec<String>> {
    if let Some(text) = value.as_str() {
        return split_command(text);
    }
    let words: Option<Vec<String>> = value
        .as_array()
        .map(|items| items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    check_command(words.ok_or_else(|| wrong_type(value, takes))?)
}
