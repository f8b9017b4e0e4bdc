use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[test]
fn durations_are_what_people_write() {
    let table = [
        ("200ms", 200_000_000),
        ("1s", 1_000_000_000),
        ("1.5s", 1_500_000_000),
        ("1.500000000000s", 1_500_000_000),
        ("2m", 120_000_000_000),
        ("1h", 3_600_000_000_000),
        ("1d", 86_400_000_000_000),
        ("1h30m", 5_400_000_000_000),
        ("1h 30m 5s", 5_405_000_000_000),
        ("250us", 250_000),
        ("250µs", 250_000),
        ("0.001us", 1),
        (" 7 s ", 7_000_000_000),
        ("0s", 0),
    ];
    for (text, nanos) in table {
        assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
    }
}

#[test]
fn what_is_no_duration_says_why() {
    let table = [
        ("", DurationError::Number),
        ("ms", DurationError::Number),
        ("-1s", DurationError::Number),
        (".5s", DurationError::Number),
        ("1.s", DurationError::Number),
        ("1.2.3s", DurationError::Number),
        ("200", DurationError::NoUnit),
        ("1h30", DurationError::NoUnit),
        ("1 sec", DurationError::Unit("sec".to_owned())),
        ("1S", DurationError::Unit("S".to_owned())),
        ("30m1h", DurationError::Order),
        ("1s1s", DurationError::Order),
        ("0.0001us", DurationError::TooFine),
        ("99999999999999999999s", DurationError::TooLong),
        ("999999999999d", DurationError::TooLong),
        ("200000d400000h", DurationError::TooLong),
    ];
    for (text, error) in table {
        assert_eq!(parse_duration(text), Err(error), "{text}");
    }
}

#[test]
fn durations_are_written_as_people_read_them() {
    let table = [
        (0, "0s"),
        (1, "0.001us"),
        (1_500, "1.5us"),
        (750_700_000, "750.7ms"),
        (751_000_000, "751ms"),
        (1_001_000_000, "1.001s"),
        (1_000_000_001, "1000.000001ms"),
        (90_000_000_000, "90s"),
        (600_000_000_000, "10m"),
        (3_600_000_000_000, "1h"),
        (5_400_000_000_000, "1h30m"),
    ];
    for (nanos, text) in table {
        assert_eq!(format_duration(Duration::from_nanos(nanos)), text);
    }
}

#[test]
fn command_lines_are_split_like_a_shell_would() {
    let table: [(&str, &[&str]); 8] = [
        ("freeDiameterd -c /etc/x.conf", &["freeDiameterd", "-c", "/etc/x.conf"]),
        ("  a\t b  ", &["a", "b"]),
        ("echo 'a  b' \"c d\"", &["echo", "a  b", "c d"]),
        ("echo 'it''s' x\"y\"z", &["echo", "its", "xyz"]),
        ("echo '' \"\"", &["echo", "", ""]),
        (r#"echo "a\"b\\c\n" d\ e"#, &["echo", "a\"b\\c\\n", "d e"]),
        ("echo '|&;<>$`' \"|&;<>\"", &["echo", "|&;<>$`", "|&;<>"]),
        ("echo \\$HOME *.conf ~ #x", &["echo", "$HOME", "*.conf", "~", "#x"]),
    ];
    for (text, words) in table {
        assert_eq!(split_command(text).as_deref(), Ok(words.map_owned().as_slice()), "{text}");
    }
}

trait MapOwned {
    fn map_owned(&self) -> Vec<String>;
}

impl MapOwned for [&str] {
    fn map_owned(&self) -> Vec<String> {
        self.iter().map(|word| (*word).to_owned()).collect()
    }
}

#[test]
fn what_only_a_shell_understands_is_refused() {
    for text in [
        "a | b",
        "a && b",
        "a; b",
        "a < b",
        "a > b",
        "a `b`",
        "echo $HOME",
        "a\nb",
        "a 'b",
        "a \"b",
        "a \\",
        "",
        "  ",
        "''",
        "x/y",
        "a\0",
    ] {
        assert!(split_command(text).is_err(), "{text:?}");
    }
}

/// The forms of what is replicated: good ones, and bad ones.
const OF_DIRECTORIES: [(Grammar, &[&str], &[&str]); 2] = [
    (
        Grammar::Directory,
        &["/a", "/a b/ä/", "/a/..b", "$A", "$_a1/b/c", "${A}", "${A}/b", "$A/"],
        &[
            "",
            "a",
            "./a",
            "~/a",
            "/",
            "//.",
            "/a\0b",
            "/a/..",
            "/../a",
            "$A/..",
            "${A}/../b",
            "$",
            "${}",
            "$/a",
            "$1A",
            "$A-b",
            "${A",
            "${A}b",
            "${A B}",
            "/a/$B",
            "$A/$B",
            "$A/${B}",
            "$$A",
        ],
    ),
    (
        Grammar::Glob,
        &[
            "*",
            "a",
            "*.conf",
            "**/a?",
            "a/b",
            "a..b",
            "[a-z]",
            "[!a]",
            "[^a]",
            "[]]",
            "[!]a]",
            "[a-]",
            "[]-a]",
            "[a-a]",
            "{a,b}",
            "{a,{b,c}}",
            "\\[",
            "\\]",
            "\\{",
            "\\}",
            "[{]",
            "[}]",
            "*~",
            ".*.sw[a-p]",
            "#*#",
            "[\\]",
            "ä[ä-ö]",
        ],
        &[
            "", "/a", "a/", "a//b", "../a", "a/..", "./a", "a/./b", "a\0", "[", "[]", "[!]", "[^]", "[a", "a]", "[a]]",
            "[z-a]", "[ab-a]", "{", "}", "{a", "a}", "{{a}", "}{", "[\\]]", "a\\",
        ],
    ),
];

const BAD_URLS: &[&str] = &[
    "",
    "127.0.0.1",
    "https://127.0.0.1",
    "http://",
    "http://web/",
    "http://127.0.0.1:0/",
    "http://127.0.0.1/a b",
    "http://[::1/",
];

#[test]
fn each_form_accepts_its_own_and_nothing_else() {
    let table: [(Grammar, &[&str], &[&str]); 15] = [
        (Grammar::Name, &["dre", "a", "A1.b_c-d"], &["", "-a", ".a", "a b", "ä", "a/b", &"x".repeat(33)]),
        (Grammar::Host, &["hadev1", "n1.example.org"], &["", ".a", "a b", "a:b", &"x".repeat(65)]),
        (
            Grammar::Interface,
            &["eth0", "enp0s31f6", "eth0.100", "br-lan", "wg@x"],
            &["", ".", "..", "a/b", "a b", "eth0:1", &"x".repeat(16)],
        ),
        (Grammar::Label, &["eth1:0", "eth1:dre"], &["eth1", "eth1:", ":0", "eth1:a b", "abcdefghijkl:123"]),
        (
            Grammar::Address,
            &["10.0.0.1", "::1", "2001:db8::1"],
            &["", "10.0.0", "10.0.0.1/24", "fe80::1%eth0", "host", "0.0.0.0", "::ffff:1.2.3.4"],
        ),
        (Grammar::TipcAddress, &["1.1.23", "255.4095.4095"], &["", "1.1", "1.1.0", "10.0.0.1", "256.1.1", "1.1.4096"]),
        (
            Grammar::Net,
            &["10.0.0.1/24", "2001:db8::1/128"],
            &["10.0.0.1", "10.0.0.1/0", "10.0.0.1/33", "::1/129", "10.0.0.1/255.255.255.0", "10.0.0.1/+8x"],
        ),
        (
            Grammar::Socket,
            &["127.0.0.1:1", "[::1]:65535"],
            &["127.0.0.1", ":80", "localhost:80", "127.0.0.1:0", "::1:80"],
        ),
        (
            Grammar::Url,
            &["http://127.0.0.1", "http://127.0.0.1:8080/a?b#c", "http://[::1]/", "http://[::1]:80"],
            BAD_URLS,
        ),
        (
            Grammar::Endpoint,
            &["http://127.0.0.1:2379", "https://[::1]:2379"],
            &[
                "",
                "127.0.0.1:2379",
                "https://127.0.0.1",
                "https://etcd:2379",
                "https://127.0.0.1:2379/",
                "ftp://[::1]:1",
            ],
        ),
        (Grammar::Process, &["freeDiameterd", "my proc"], &["", "a/b", &"x".repeat(65)]),
        (Grammar::Path, &["/", "/a b/ä"], &["", "a", "./a", "~/a", "/a\0b"]),
        (Grammar::SocketPath, &["/run/x"], &["", "x", &format!("/{}", "x".repeat(107))]),
        (
            Grammar::Unit,
            &["a.service", "a@b.service", "x-y.target"],
            &["", "a", ".service", "a b.service", "a/b.service", "a.conf"],
        ),
        (Grammar::Account, &["root", "_x", "a.b-c1"], &["", "1a", "-a", "a b", &"x".repeat(33)]),
    ];
    let table = || table.into_iter().chain(OF_DIRECTORIES);
    assert_eq!(table().map(|(grammar, _, _)| grammar).collect::<Vec<_>>(), Grammar::ALL);
    for (grammar, good, bad) in table() {
        for text in good {
            assert_eq!(grammar.check(text), Ok(()), "{grammar:?} {text:?}");
        }
        for text in bad {
            assert!(grammar.check(text).is_err(), "{grammar:?} {text:?}");
        }
    }
}

#[test]
fn each_form_is_good_up_to_its_longest_and_not_beyond() {
    let letters = |count: usize| "x".repeat(count);
    let table: [(Grammar, String, String); 13] = [
        (Grammar::Name, letters(32), letters(33)),
        (Grammar::Host, letters(64), letters(65)),
        (Grammar::Interface, letters(15), letters(16)),
        (Grammar::Interface, letters(1), letters(0)),
        (Grammar::Label, format!("{}:1", letters(13)), format!("{}:1", letters(14))),
        (Grammar::Process, letters(64), letters(65)),
        (Grammar::Path, format!("/{}", letters(4_094)), format!("/{}", letters(4_095))),
        (Grammar::SocketPath, format!("/{}", letters(106)), format!("/{}", letters(107))),
        (Grammar::Unit, format!("{}.service", letters(247)), format!("{}.service", letters(248))),
        (Grammar::Account, letters(32), letters(33)),
        (Grammar::Directory, format!("/{}", letters(4_094)), format!("/{}", letters(4_095))),
        (Grammar::Directory, format!("${}", letters(4_094)), format!("${}", letters(4_095))),
        (Grammar::Glob, letters(1_024), letters(1_025)),
    ];
    for (grammar, good, bad) in table {
        assert_eq!(grammar.check(&good), Ok(()), "{grammar:?}");
        assert!(grammar.check(&bad).is_err(), "{grammar:?}");
    }
    assert!(split_command(&"w ".repeat(1_024)).is_ok());
    assert!(split_command(&"w ".repeat(1_025)).is_err());
}

#[test]
fn every_example_has_the_form_it_is_an_example_of() {
    for grammar in Grammar::ALL {
        assert_eq!(grammar.check(grammar.example().trim_matches('"')), Ok(()), "{grammar:?}");
    }
}

#[test]
fn a_directory_begins_with_a_variable_or_not() {
    let table = [
        ("$A", Some(("A", ""))),
        ("$A/b/$c", Some(("A", "/b/$c"))),
        ("${A}", Some(("A", ""))),
        ("${A}/b", Some(("A", "/b"))),
        ("${A", None),
        ("/a/$B", None),
        ("", None),
    ];
    for (text, expected) in table {
        assert_eq!(split_variable(text), expected, "{text}");
    }
}

#[test]
fn directories_overlap_when_it_is_certain() {
    let table = [
        ("/a", "/a", true),
        ("/a/", "//a/.", true),
        ("/a", "/a/b", true),
        ("/a", "/ab", false),
        ("/a/b", "/a/c", false),
        ("$A", "${A}/b", true),
        ("$A/b", "$A/c", false),
        ("$A", "$B", false),
        ("$A/b", "/b", false),
    ];
    for (one, other, expected) in table {
        assert_eq!(overlap(one, other), expected, "{one} {other}");
        assert_eq!(overlap(other, one), expected, "{other} {one}");
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap_or_else(|()| panic!("{text}"))
}

#[test]
fn a_prefix_knows_its_first_and_last_address() {
    let table = [
        ("10.20.3.4/20", "10.20.0.0", "10.20.15.255"),
        ("10.0.0.1/32", "10.0.0.1", "10.0.0.1"),
        ("200.0.0.1/1", "128.0.0.0", "255.255.255.255"),
        ("2001:db8::5/64", "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff"),
        ("2001:db8::5/128", "2001:db8::5", "2001:db8::5"),
    ];
    for (text, first, last) in table {
        assert_eq!(net(text).first().to_string(), first, "{text}");
        assert_eq!(net(text).last().to_string(), last, "{text}");
        assert_eq!(net(text).to_string(), text);
    }
}

#[test]
fn a_prefix_contains_its_own_and_not_the_other_family() {
    let contains =
        |text: &str, address: &str| address.parse::<IpAddr>().is_ok_and(|address| net(text).contains(address));
    assert!(contains("10.20.3.4/20", "10.20.15.255"));
    assert!(!contains("10.20.3.4/20", "10.20.16.0"));
    assert!(!contains("10.20.3.4/20", "::"));
    assert!(contains("2001:db8::5/64", "2001:db8::ffff"));
    assert!(!contains("2001:db8::5/64", "10.0.0.1"));
}

#[test]
fn the_covering_prefix_is_the_longest_that_covers_both() {
    let covering = |one: &str, other: &str| {
        let addresses = (one.parse().ok(), other.parse().ok());
        let (Some(one), Some(other)) = addresses else { panic!("{addresses:?}") };
        IpNet::covering(one, other).map(|net| net.prefix)
    };
    assert_eq!(covering("10.0.0.1", "10.0.0.1"), Some(32));
    assert_eq!(covering("10.0.0.1", "10.0.0.2"), Some(30));
    assert_eq!(covering("10.0.0.1", "200.0.0.2"), Some(0));
    assert_eq!(covering("2001:db8::1", "2001:db8:0:0:8000::"), Some(64));
    assert_eq!(covering("10.0.0.1", "::1"), None);
}

proptest! {
    #[test]
    fn a_duration_survives_being_written_and_read(nanos in any::<u64>()) {
        let duration = Duration::from_nanos(nanos);
        prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
    }

    #[test]
    fn no_text_frightens_a_reader(text in ".{0,40}") {
        let _ = parse_duration(&text);
        let _ = split_command(&text);
        for grammar in Grammar::ALL {
            let _ = grammar.check(&text);
        }
    }

    #[test]
    fn quoting_a_word_keeps_it(words in proptest::collection::vec("[^'\0]{0,12}", 1..5)) {
        let line: String = words.iter().map(|word| format!("'{word}' ")).collect();
        let good = !words[0].is_empty() && (!words[0].contains('/') || words[0].starts_with('/'));
        prop_assert_eq!(split_command(&line).ok(), good.then_some(words));
    }

    #[test]
    fn a_prefix_contains_what_it_was_made_from(bits in any::<u32>(), prefix in 1_u8..=32) {
        let net = IpNet { address: IpAddr::from(bits.to_be_bytes()), prefix };
        prop_assert!(net.contains(net.address) && net.contains(net.first()) && net.contains(net.last()));
    }
}
