//! `rules.txt`: a sentence, a change to `pair.toml`, and everything that is then found, nothing more.

use super::{PAIR, changed, findings};
use crate::config::keys::{ARBITRATORS_MAX, LINKS_MAX};

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
        part.lines().filter(|line| !line.trim().is_empty()).map(|line| line.trim_start().to_owned()).collect()
    };
    Row { says: says.to_owned(), from: lines(from).join("\n"), to: lines(to).join("\n"), found: lines(found) }
}

fn write(row: &Row, found: &[String]) -> String {
    let indent = |text: &str| -> String { text.lines().map(|line| format!("    {line}\n")).collect() };
    let (from, to, found) = (indent(&row.from), indent(&row.to), indent(&found.join("\n")));
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
    assert!(wrong.is_empty(), "not as in the table: {wrong:#?}\nthe table as it would be:\n<<<\n{actual}>>>");
}

#[test]
fn every_row_of_the_table_is_a_case_of_its_own() {
    let table = include_str!("rules.txt").trim();
    let mut sentences: Vec<&str> = table.split("\n\n").filter_map(|block| block.lines().next()).collect();
    let count = sentences.len();
    sentences.sort_unstable();
    sentences.dedup();
    assert_eq!(sentences.len(), count);
}

/// What is said about the second link when both have these addresses.
fn links(one: [&str; 2], two: [&str; 2]) -> &'static str {
    let text = PAIR
        .replace("\"10.1.0.1\", b2 = \"10.1.0.2\"", &format!("\"{}\", b2 = \"{}\"", one[0], one[1]))
        .replace("\"10.2.0.1\", b2 = \"10.2.0.2\"", &format!("\"{}\", b2 = \"{}\"", two[0], two[1]));
    match findings(&text).as_slice() {
        [] => "fine",
        [one] if one.starts_with("warning: ") && one.contains("seems to lie in the same subnet") => "mentioned",
        [one] if one.contains("must lie in another subnet") => "refused",
        more => panic!("{more:#?}"),
    }
}

#[test]
fn links_are_told_apart_by_what_can_be_seen_of_their_subnets() {
    let table = [
        // Either may be the wider one, and neither may hold the first address of the other.
        (["10.1.0.1", "10.1.0.250"], ["10.1.0.129", "10.1.0.130"], "refused"),
        (["10.1.0.129", "10.1.0.130"], ["10.1.0.1", "10.1.0.250"], "refused"),
        // Wider than a usual subnet: perhaps routed.
        (["10.1.0.1", "10.1.1.250"], ["10.1.0.129", "10.1.0.130"], "mentioned"),
        (["10.1.0.129", "10.1.0.130"], ["10.1.0.1", "10.1.1.250"], "mentioned"),
        // Apart, but in what is usually one subnet, or not even that.
        (["10.1.0.1", "10.1.0.2"], ["10.1.0.253", "10.1.0.254"], "mentioned"),
        (["10.1.0.1", "10.1.0.2"], ["10.1.1.1", "10.1.1.2"], "fine"),
        (["2001:db8::1", "2001:db8::ffff:0:0:1"], ["2001:db8::8000:0:0:1", "2001:db8::8000:0:0:2"], "refused"),
        (["2001:db8::1", "2001:db8::2"], ["2001:db8::ffff:0:0:1", "2001:db8::ffff:0:0:2"], "mentioned"),
        (["2001:db8::1", "2001:db8::2"], ["2001:db8:0:1::1", "2001:db8:0:1::2"], "fine"),
        (["2001:db8::1", "2001:db8::2"], ["10.1.0.1", "10.1.0.2"], "fine"),
    ];
    for (one, two, expected) in table {
        assert_eq!(links(one, two), expected, "{one:?} {two:?}");
    }
}

#[test]
fn lists_are_good_up_to_their_limit_and_not_beyond() {
    let links = |count: usize| -> String {
        let link = |n: usize| {
            format!(
                "[[link]]\nname = \"l{n}\"\ninterface = \"if{n}\"\naddress = {{ a1 = \"10.3.{n}.1\", b2 = \"10.3.{n}.2\" }}\n"
            )
        };
        changed("", &(0..count).map(link).collect::<String>())
    };
    let pings = |count: usize| {
        let list: Vec<String> = (0..count).map(|n| format!("\"10.0.0.{}\"", 100 + n)).collect();
        changed("ping = [\"10.0.0.250\"]", &format!("ping = [{}]", list.join(", ")))
    };
    assert_eq!(findings(&links(LINKS_MAX - 2)), [""; 0]);
    assert_eq!(findings(&links(LINKS_MAX - 1)).len(), 1);
    assert_eq!(findings(&pings(ARBITRATORS_MAX)), [""; 0]);
    assert_eq!(findings(&pings(ARBITRATORS_MAX + 1)).len(), 1);
}
