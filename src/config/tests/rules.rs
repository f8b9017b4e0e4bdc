//! `rules.txt`: a sentence, a change to `pair.toml`, and everything that is then found, nothing more.

use super::{changed, findings};

/// One row.
struct Row {
    says: String,
    from: String,
    to: String,
    found: Vec<String>,
}

/// A block of the table: a sentence, then indented lines before `->`, between it and `=>`, and after that.
fn row(block: &str) -> Row {
    let (says, rest) = block.split_once('\n').unwrap_or((block, ""));
    let (change, found) = rest.split_once("=>").unwrap_or((rest, ""));
    let (from, to) = change.split_once("->").unwrap_or((change, ""));
    let lines = |part: &str| -> Vec<String> {
        part.lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| line.trim_start().to_owned())
            .collect()
    };
    Row {
        says: says.to_owned(),
        from: lines(from).join("\n"),
        to: lines(to).join("\n"),
        found: lines(found),
    }
}

fn write(row: &Row, found: &[String]) -> String {
    let indent =
        |text: &str| -> String { text.lines().map(|line| format!("    {line}\n")).collect() };
    let (from, to, found) = (
        indent(&row.from),
        indent(&row.to),
        indent(&found.join("\n")),
    );
    format!("{}\n{from}    ->\n{to}    =>\n{found}", row.says)
}

#[test]
fn each_rule_is_told_once_with_its_place_value_and_way_out() {
    let table = include_str!("rules.txt").trim();
    let mut actual = Vec::new();
    let mut wrong = Vec::new();
    for row in table.split("\n\n").map(row) {
        let found = findings(&changed(&row.from, &row.to));
        if found != row.found {
            wrong.push(row.says.clone());
        }
        actual.push(write(&row, &found));
    }
    let actual = actual.join("\n");
    assert!(
        wrong.is_empty(),
        "not as in the table: {wrong:#?}\nthe table as it would be:\n<<<\n{actual}>>>"
    );
}

#[test]
fn every_row_of_the_table_is_a_case_of_its_own() {
    let table = include_str!("rules.txt").trim();
    let mut sentences: Vec<&str> = table
        .split("\n\n")
        .filter_map(|block| block.lines().next())
        .collect();
    let count = sentences.len();
    sentences.sort_unstable();
    sentences.dedup();
    assert_eq!(sentences.len(), count);
}
