//! Texts made by chance: nothing panics, and what is said is in order, in place and the same every time.

use std::ops::Range;

use proptest::prelude::*;

use super::{COURIER, PAIR, SAMPLE};
use crate::config::{
    ConfigErrors, LinkConfig, LinkKind, SECTIONS, Severity, Transport, parse_replication, parse_with_warnings,
};

/// Reads and draws a text in every way there is.
fn survives(text: &str) -> Result<(), TestCaseError> {
    let read = || parse_with_warnings(text, "random.toml");
    let (list, refused) = match read() {
        Ok((config, warnings)) => {
            prop_assert!(config.nodes.len() > 1 || config.standalone);
            let complete = |link: &LinkConfig| match &link.transport {
                Transport::Udp(udp) => udp.addresses.len() == config.nodes.len(),
                Transport::Tipc(tipc) => tipc.node_addresses.len() == config.nodes.len() && !tipc.bearers.is_empty(),
            };
            prop_assert!(config.standalone || config.links.iter().all(complete));
            (warnings, false)
        }
        Err(errors) => (errors, true),
    };
    prop_assert_eq!(refused, list.findings.iter().any(|finding| finding.severity == Severity::Error));
    in_place(text, &list)?;
    let again = match read() {
        Ok((_, warnings)) => warnings,
        Err(errors) => errors,
    };
    prop_assert_eq!(&again, &list);
    let drawn =
        list.render(true).len() + list.to_string().len() + serde_json::to_string(&list).unwrap_or_default().len();
    prop_assert!(drawn > 0);
    survives_the_courier(text)
}

/// The same, as the program reads it that replicates rules.
fn survives_the_courier(text: &str) -> Result<(), TestCaseError> {
    let (list, refused) = match parse_replication(text, "random.toml") {
        Ok((replication, warnings)) => {
            let nodes = replication.nodes.len();
            prop_assert!(nodes > 1 && !replication.links.is_empty());
            prop_assert!(
                replication.links.iter().all(|link| link.udp().is_some_and(|udp| udp.addresses.len() == nodes))
            );
            prop_assert!(replication.links.iter().all(|link| link.kind == LinkKind::Dedicated));
            prop_assert!((1..=64).contains(&replication.rules.directories.len()));
            (warnings, false)
        }
        Err(errors) => (errors, true),
    };
    prop_assert_eq!(refused, list.findings.iter().any(|finding| finding.severity == Severity::Error));
    in_place(text, &list)
}

fn in_place(text: &str, list: &ConfigErrors) -> Result<(), TestCaseError> {
    let mut last = (1, 1);
    for finding in &list.findings {
        let here = (finding.line, finding.column);
        prop_assert!(here >= last, "{} comes after {last:?}", finding);
        last = here;
        let line = text.split('\n').nth(finding.line - 1);
        prop_assert!(line.is_some_and(|line| finding.column <= line.chars().count() + 1), "{} is nowhere", finding);
    }
    Ok(())
}

/// A place in a text that does not cut a character.
fn place(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at % (text.len() + 1))
}

/// Pieces that mean something in a config file.
fn piece() -> impl Strategy<Value = String> {
    let keys = SECTIONS.iter().flat_map(|section| section.keys).map(|key| key.name);
    let tables = SECTIONS.iter().map(|section| section.path);
    let pieces: Vec<String> = keys
        .flat_map(|key| [key.to_owned(), format!("{key} = ")])
        .chain(tables.flat_map(|path| [format!("[{path}]\n"), format!("[[{path}]]\n")]))
        .chain(
            [
                "\"", "'", "[", "]", "{", "}", "=", ",", "\n", "#", ".", "-1", "0", "1e9", "true", "\"1s\"", "\"x\"",
                "\"\"\"",
            ]
            .map(str::to_owned),
        )
        .chain(
            [
                "\"10.1.0.1\"",
                "\"10.9.0.61/24\"",
                "\"::1/64\"",
                "\"a1\"",
                "{ a1 = \"eth1\" }",
                "[[]]",
                "1979-05-27",
                "\u{feff}",
                "ä→",
                "\r\n",
                "\t",
                "\0",
            ]
            .map(str::to_owned),
        )
        .collect();
    proptest::sample::select(pieces)
}

/// Changes to a text: each takes a range away and puts something there.
fn changes() -> impl Strategy<Value = Vec<(usize, usize, String)>> {
    let inserted = prop_oneof![piece(), ".{0,6}", Just(String::new())];
    proptest::collection::vec((any::<usize>(), 0_usize..40, inserted), 1..6)
}

fn mutated(text: &str, changes: &[(usize, usize, String)]) -> String {
    let mut text = text.to_owned();
    for (at, length, inserted) in changes {
        let start = place(&text, *at);
        let end = place(&text, start + *length.min(&(text.len() - start)));
        let range: Range<usize> = start..end.max(start);
        text.replace_range(range, inserted);
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
        survives(&text)?;
    }

    #[test]
    fn any_sequence_of_our_words_is_read_or_refused(pieces in proptest::collection::vec(piece(), 0..60)) {
        survives(&pieces.concat())?;
    }

    #[test]
    fn a_good_file_with_random_changes_is_read_or_refused(changes in changes()) {
        survives(&mutated(PAIR, &changes))?;
    }

    #[test]
    fn the_sample_with_random_changes_is_read_or_refused(changes in changes()) {
        survives(&mutated(SAMPLE, &changes))?;
    }

    #[test]
    fn the_file_of_the_courier_with_random_changes_is_read_or_refused(changes in changes()) {
        survives(&mutated(COURIER, &changes))?;
    }

    #[test]
    fn any_value_of_any_key_is_read_or_refused(
        section in 0..SECTIONS.len(),
        key in any::<usize>(),
        value in prop_oneof![piece(), ".{0,12}", "\"[^\"\\\\\n]{0,16}\"", "[0-9]{1,20}", "\"[0-9]{1,6}(us|ms|s|m|h|d)\""],
    ) {
        let section = SECTIONS[section];
        let key = section.keys[key % section.keys.len()];
        survives(&format!("{PAIR}\n[[{}]]\n{} = {value}\n", section.path, key.name))?;
        survives(&format!("{PAIR}\n[{}]\n{} = {value}\n", section.path, key.name))?;
    }
}
