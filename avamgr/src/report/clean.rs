//! Removes secrets from a text: those that are known, wherever they stand, and whatever is called or looks like one.

use std::io;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::bytes::{Captures, Regex};

use super::secrets::Secrets;

/// What stands in the place of a secret.
const REMOVED: &str = "[removed]";
/// Shorter values are not searched for in their encoded form.
const ENCODED_MIN: usize = 8;
/// What a name with a secret behind it has in it, without `-` and `_`.
const NAMES: [&str; 10] =
    ["passw", "passphrase", "secret", "token", "credential", "apikey", "privatekey", "accesskey", "community", "psk"];

/// Whether what has this name is a secret: an option, a variable, a key of a table.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_called_pass = name.split(['-', '_']).next_back() == Some("pass");
    let name: String = name.replace(['-', '_'], "");
    matches!(name.as_str(), "pass" | "pwd" | "authorization")
        || is_called_pass
        || NAMES.iter().any(|part| name.contains(part))
}

/// What looks like a secret, with what stays of it.
struct Pattern {
    looks: Regex,
    stays: &'static str,
}

/// A name with a value behind it: the name, what stands between them, the value.
static NAMED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    regex(
        r#"(?i-u)([a-z0-9_.-]*(?:passw|passphrase|secret|token|credential|api[_-]?key|private[_-]?key|access[_-]?key|community|psk|pwd)[a-z0-9_.-]*|\b(?:[a-z0-9_.-]*[_-])?pass)(\\?["']?\s*[=:]\s*)("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|(?:[^\s,;"'\\\]})]|\\[^"\s])+)"#,
    )
});

/// Everything else.
static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    let all = [
        // An option with its value as the next word, or as the next string of a list.
        (
            r#"(?i-u)(--?(?:[a-z0-9_-]*(?:passw|passphrase|secret|token|credential|api-?key|private-?key|access-?key|community|psk)[a-z0-9_-]*|(?:[a-z0-9_-]*-)?pass))(\s+|["']\s*,\s*["'])(?:"[^"\n]*"|'[^'\n]*'|[^\s"'\\]+)"#,
            "$1$2[removed]",
        ),
        (r#"(?-u)://[^/\s"'<>@]*(?:@[^/\s"'<>@]*)*@"#, "://[removed]@"),
        (r#"(?i-u)(authorization\s*[:=]\s*["']?(?:(?:bearer|basic|digest)\s+)?)[^\s"'\\]+"#, "$1[removed]"),
        // A bearer of TIPC is no secret: the name of an interface has at most 15 characters.
        (r"(?i-u)(bearer\s+)[a-z0-9._~+/=-]{16,}", "$1[removed]"),
        // Tokens of the page, hashes of passwords and tokens, keys.
        (r"(?-u)avamgr_[A-Za-z0-9_-]{43}", REMOVED),
        (r#"(?-u)\$(?:argon2[a-z]*|[1-9y]|2[abxy])\$[^\s"'\\]{8,}"#, REMOVED),
        (r"(?i-u)\b[0-9a-f]{64}\b", REMOVED),
        (r"(?s-u)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)", REMOVED),
    ];
    all.into_iter().filter_map(|(looks, stays)| Some(Pattern { looks: regex(looks)?, stays })).collect()
});

/// The patterns are constants; a test compiles them all.
fn regex(pattern: &str) -> Option<Regex> {
    Regex::new(pattern).ok()
}

/// Knows what to remove.
#[derive(Debug)]
pub(super) struct Cleaner {
    known: AhoCorasick,
    count: usize,
}

impl Cleaner {
    pub(super) fn new(secrets: &Secrets) -> io::Result<Self> {
        let written: Vec<Vec<u8>> = secrets.values.iter().flat_map(|value| written(value)).collect();
        let known = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .ascii_case_insensitive(true)
            .build(&written)
            .map_err(io::Error::other)?;
        Ok(Self { known, count: written.len() })
    }

    /// The text without secrets. `is_cut`: its end is missing, and half a secret may stand there, so its last line goes too.
    pub(super) fn clean(&self, text: &[u8], is_cut: bool) -> Vec<u8> {
        let whole = match is_cut {
            true => text.iter().rposition(|byte| *byte == b'\n').map_or(&[][..], |end| &text[..=end]),
            false => text,
        };
        let mut clean = self.known.replace_all_bytes(whole, &vec![REMOVED; self.count]);
        if let Some(named) = NAMED.as_ref() {
            clean = named.replace_all(&clean, hidden).into_owned();
        }
        for pattern in PATTERNS.iter() {
            clean = pattern.looks.replace_all(&clean, pattern.stays.as_bytes()).into_owned();
        }
        clean
    }
}

/// The ways a value may be written: as it is, within a string of JSON or TOML, and encoded as in an HTTP header.
fn written(value: &str) -> Vec<Vec<u8>> {
    let within = |quoted: String| quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned();
    let encoded = (value.len() >= ENCODED_MIN).then(|| STANDARD.encode(value));
    let mut all =
        vec![value.to_owned(), within(serde_json::Value::from(value).to_string()), within(format!("{value:?}"))];
    all.extend(encoded);
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(String::into_bytes).collect()
}

/// The name stays, and so does the path of a file in the place of a value.
fn hidden(found: &Captures<'_>) -> Vec<u8> {
    let piece = |at: usize| found.get(at).map_or(&[][..], |piece| piece.as_bytes());
    let (name, between, value) = (piece(1), piece(2), piece(3));
    let quote = value.first().copied().filter(|first| matches!(first, b'"' | b'\''));
    let bare = value.get(usize::from(quote.is_some())..).unwrap_or_default();
    let is_file =
        [&b"secrets"[..], b"file", b"path", b"dir"].iter().any(|end| name.to_ascii_lowercase().ends_with(end));
    if is_file && bare.first() == Some(&b'/') {
        return piece(0).to_vec();
    }
    // Behind a quoted name stands a document: what was a number becomes a string.
    let quote = quote.or_else(|| between.first().copied().filter(|first| *first == b'"'));
    let quote: Vec<u8> = quote.into_iter().collect();
    [name, between, &quote, REMOVED.as_bytes(), &quote].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaner(values: &[&str]) -> Cleaner {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Cleaner::new(&Secrets { values, unread: Vec::new() }).unwrap()
    }

    fn clean(values: &[&str], text: &str) -> String {
        String::from_utf8(cleaner(values).clean(text.as_bytes(), false)).unwrap()
    }

    #[test]
    fn every_pattern_can_be_used() {
        assert_eq!(PATTERNS.len(), 8);
        assert!(NAMED.is_some());
    }

    #[test]
    fn a_known_secret_is_removed_wherever_and_however_it_is_written() {
        let secret = "p\"a\\s s";
        let json = serde_json::json!({ "text": format!("said {secret}!") }).to_string();
        assert_eq!(clean(&[secret], &json), r#"{"text":"said [removed]!"}"#);
        assert_eq!(clean(&[secret], &format!("x{secret}y")), "x[removed]y");
        assert_eq!(clean(&["geheim", "geheimnis"], "geheimnisse"), "[removed]se", "the longest one");
        assert_eq!(clean(&["password of it"], &STANDARD.encode("password of it")), "[removed]");
        assert_eq!(clean(&["abcdef12"], "ABCDEF12"), "[removed]");
        let ends_in_a_quote = serde_json::json!({ "text": "a \"b\"" }).to_string();
        assert_eq!(clean(&["a \"b\""], &ends_in_a_quote), r#"{"text":"[removed]"}"#);
    }

    #[test]
    fn what_is_called_a_secret_is_removed_and_the_rest_stays() {
        for (text, stays) in [
            ("password = \"ab\\\"cd\" # x", "password = \"[removed]\" # x"),
            ("options = { passwd = 'ab cd', ip = \"1\" }", "options = { passwd = '[removed]', ip = \"1\" }"),
            ("{\"token\":12345,\"x\":1}", "{\"token\":\"[removed]\",\"x\":1}"),
            ("run --password=abc --verbose", "run --password=[removed] --verbose"),
            ("run --password abc --verbose", "run --password [removed] --verbose"),
            ("[\"run\", \"--api-key\", \"abc\", \"x\"]", "[\"run\", \"--api-key\", \"[removed]\", \"x\"]"),
            ("DB_PASSWORD=abc", "DB_PASSWORD=[removed]"),
            ("DB_PASS=abc def", "DB_PASS=[removed] def"),
            ("run --db-pass 'a b' x", "run --db-pass [removed] x"),
            ("run --password \"a b\" x", "run --password [removed] x"),
            ("bypass = 1", "bypass = 1"),
            ("{\"text\":\"--password=abc\"}", "{\"text\":\"--password=[removed]\"}"),
            ("https://me:a@b@host:1/x@y", "https://[removed]@host:1/x@y"),
            ("curl -H 'Authorization: Bearer abcdefgh' x", "curl -H 'Authorization: Bearer [removed]' x"),
            ("curl -H \"$HEADER bearer abcdefghijklmnop\"", "curl -H \"$HEADER bearer [removed]\""),
            ("bearer enp0s31f6.4094x of link dedicated", "bearer enp0s31f6.4094x of link dedicated"),
            ("secrets = \"/etc/avamgr/fence\"", "secrets = \"/etc/avamgr/fence\""),
            ("key_file = \"/etc/avamgr/keys\"", "key_file = \"/etc/avamgr/keys\""),
            ("frames refused: unknown_key 3", "frames refused: unknown_key 3"),
        ] {
            assert_eq!(clean(&[], text), stays);
        }
    }

    #[test]
    fn what_looks_like_a_secret_is_removed_by_itself() {
        let key = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let token = format!("avamgr_{}", "x".repeat(43));
        let hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA";
        let pem = "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----";
        for secret in [key, &token, hash, pem] {
            assert_eq!(clean(&[], &format!("x {secret} y")), "x [removed] y", "{secret}");
        }
        assert_eq!(clean(&[], "digest 9f86d081884c7d65"), "digest 9f86d081884c7d65");
    }

    #[test]
    fn half_a_secret_at_the_end_of_what_was_cut_goes_with_its_line() {
        assert_eq!(cleaner(&["geheimnis"]).clean(b"one\ntwo gehei", true), b"one\n");
    }
}
