//! How findings are drawn, word for word.

use super::{PAIR, bad, changed};
use crate::config::{FINDINGS_MAX, TEXT_BYTES_MAX, parse_with_warnings};

#[test]
fn errors_are_drawn_under_their_lines_all_at_once_in_the_order_of_the_text() {
    let text = changed("name = \"two\"", "name = \"one\"\nprot = 6940")
        .replace("exec = \"dred -f\"", "exec = \"dred -f\"\nstop_timeout = 5");
    let expected = r#"error: `link.one.name = "one"` is already the name of another among the links
  --> avamgr.toml:11:8
   |
 6 | name = "one"
   |        ----- the other one
...
11 | name = "one"
   |        ^^^^^

error: `link.one.prot` is not a known key
  --> avamgr.toml:12:1
   |
12 | prot = 6940
   | ^^^^
   |
   = help: did you mean `port`?

error: `group.dre.resource.svc.stop_timeout = 5` must be a duration from 10ms to 1h, not a number
  --> avamgr.toml:32:16
   |
32 | stop_timeout = 5
   |                ^
   |
   = help: with a unit, such as "5ms" or "5s""#;
    assert_eq!(bad(&text).to_string(), expected);
}

#[test]
fn a_broken_inequality_shows_both_sides_and_both_places() {
    let text = changed("", "[timers]\ndead_time = \"700ms\"\nhold_time = \"600ms\"");
    let expected = r#"error: `timers.hold_time = "600ms"` breaks the rule "hold time": (dead_time + arbitrator_fall x max(arbitrator_timeout, arbitrator_pace) + stop_bound) x (1 + clock_rate_ppm / 1000000) + heartbeat_interval = 1.152s must be at most hold_time = 600ms
  --> avamgr.toml:34:13
   |
33 | dead_time = "700ms"
   |             ------- this counts as well
34 | hold_time = "600ms"
   |             ^^^^^^^
   |
   = help: leave hold_time out to have it derived; otherwise an isolated ACTIVE node could still own the addresses when its peer takes them"#;
    assert_eq!(bad(&text).to_string(), expected);
}

#[test]
fn a_warning_says_that_it_is_one() {
    let text = changed("address = { a1 = \"10.0.0.1\", b2 = \"10.0.0.2\" }", "");
    let warnings = parse_with_warnings(&text, "avamgr.toml").map(|(_, warnings)| warnings.to_string());
    let expected = r#"warning: `arbitrator` has no `address`: without heartbeats on the neutral path a takeover from a silent peer always waits for the whole hold time
  --> avamgr.toml:15:1
   |
15 | [arbitrator]
   | ^^^^^^^^^^^^
   |
   = help: add address = { ... } with the addresses of the nodes on the arbitrator's interface"#;
    assert_eq!(warnings.as_deref(), Ok(expected));
}

#[test]
fn an_empty_file_is_told_what_it_needs() {
    let expected = r#"error: `cluster` is missing
 --> avamgr.toml:1:1
  |
1 |
  | ^
  |
  = help: add a [cluster] table

error: `group` must name at least one group of resources
 --> avamgr.toml:1:1
  |
1 |
  | ^
  |
  = help: add a [[group]] table

error: `link` must be there twice: heartbeats go over two dedicated links
 --> avamgr.toml:1:1
  |
1 |
  | ^
  |
  = help: add two [[link]] tables

error: `arbitrator` is missing: nobody would decide when every link is silent
 --> avamgr.toml:1:1
  |
1 |
  | ^
  |
  = help: add an [arbitrator] table"#;
    assert_eq!(bad("").to_string(), expected);
}

#[test]
fn columns_count_characters_and_tabs_do_not_shift_the_caret() {
    let text = changed("interface = \"eth4\"", "\tinterface = \"ähm→ 4\" # ü");
    let expected = r#"error: `link.two.interface = "ähm→ 4"` must be an interface name of 1 to 15 characters without spaces, `/` and `:`
  --> avamgr.toml:12:14
   |
12 |     interface = "ähm→ 4" # ü
   |                 ^^^^^^^^
   |
   = help: for example "eth1""#;
    assert_eq!(bad(&text).to_string(), expected);
}

#[test]
fn colour_is_only_there_when_asked_for() {
    let errors = bad("");
    assert!(!errors.render(false).contains('\u{1b}'));
    assert!(errors.render(true).contains('\u{1b}'));
}

#[test]
fn scripts_read_the_same_findings_as_json() {
    let text = changed("interface = \"eth4\"", "interface = \"eth4\"\nport = 0\nprot = 1");
    let expected = concat!(
        r#"{"source":"avamgr.toml","findings":["#,
        r#"{"severity":"error","line":13,"column":8,"key":"link.two.port","value":"0","kind":"bad_value","#,
        r#""rule":"must be a whole number from 1 to 65535","hint":null},"#,
        r#"{"severity":"error","line":14,"column":1,"key":"link.two.prot","value":null,"kind":"unknown_key","#,
        r#""rule":"is not a known key","hint":"did you mean `port`?"}],"omitted":0}"#,
    );
    assert_eq!(serde_json::to_string(&bad(&text)).unwrap_or_default(), expected);
}

#[test]
fn a_reader_is_not_flooded() {
    let many: String = (0..FINDINGS_MAX + 20).map(|number| format!("k{number} = 1\n")).collect();
    let errors = bad(&changed("", &format!("[limits]\n{many}")));
    assert_eq!((errors.findings.len(), errors.omitted), (FINDINGS_MAX, 20));
    assert!(errors.to_string().ends_with("... and 20 more"));
}

#[test]
fn a_file_without_end_is_not_read() {
    let long = format!("{PAIR}# {}", "x".repeat(TEXT_BYTES_MAX));
    let findings = bad(&long).findings;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].to_string(), "line 1, column 1: is longer than 4 MiB");
}

#[test]
fn thousands_of_addresses_are_judged_in_no_time() {
    let list = |from: u32| -> String {
        (0..8_000_u32).map(|n| format!("\"10.{}.{}.{}/32\", ", from + n / 65_536, n / 256 % 256, n % 256)).collect()
    };
    let text = changed("vip = [\"10.9.0.61/24\"]", &format!("vip = [{}{}]", list(100), list(100)));
    let errors = bad(&text);
    assert_eq!(errors.findings.len() + errors.omitted, 8_000);
}
