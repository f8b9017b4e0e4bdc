//! What a companion writes, in our log: with the weight it has given each line, and without its own time.

use std::sync::Arc;

use tracing::Level;

use crate::process::{Line, Sink, log_to};

/// A sink for the output of a program that logs as we do when its log goes to its standard error.
pub(super) fn log_of(name: &'static str) -> Sink {
    let plain = log_to(name);
    Arc::new(move |line| match line {
        Line::Text(text) => match said(text) {
            Some((Level::ERROR, text)) => tracing::error!(target: "avamgr::output", resource = name, "{text}"),
            Some((Level::WARN, text)) => tracing::warn!(target: "avamgr::output", resource = name, "{text}"),
            Some((Level::DEBUG, text)) => tracing::debug!(target: "avamgr::output", resource = name, "{text}"),
            Some((Level::TRACE, text)) => tracing::trace!(target: "avamgr::output", resource = name, "{text}"),
            Some((_, text)) => tracing::info!(target: "avamgr::output", resource = name, "{text}"),
            None => plain(line),
        },
        Line::Dropped(_) | Line::Lost(_) => plain(line),
    })
}

/// The last line, if it may say why the program has ended: one that tells of normal life does not.
pub(super) fn last_word(line: Option<String>) -> Option<String> {
    let line = line?;
    match said(&line) {
        Some((Level::ERROR | Level::WARN, text)) => Some(text.to_owned()),
        Some(_) => None,
        None => Some(line),
    }
}

/// Level and text of a line of a log; `None` = it is something else.
fn said(line: &str) -> Option<(Level, &str)> {
    let (time, rest) = line.split_once(' ')?;
    time.parse::<jiff::Timestamp>().ok()?;
    let (level, text) = rest.split_once(' ')?;
    Some((level.parse().ok()?, text.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_log_keep_their_weight_and_others_are_left_as_they_are() {
        let line = "2026-03-01T03:12:45.123Z WARN  rules_sync::run: no answer";
        assert_eq!(said(line), Some((Level::WARN, "rules_sync::run: no answer")));
        assert_eq!(said("2026-03-01T03:12:45.123Z ERROR x"), Some((Level::ERROR, "x")));
        for other in ["rules-sync: the config is invalid", "", "2026-03-01T03:12:45.123Z", "WARN x y"] {
            assert_eq!(said(other), None, "{other}");
        }
    }

    #[test]
    fn what_tells_of_normal_life_is_no_last_word() {
        let word = |line: &str| last_word(Some(line.to_owned()));
        assert_eq!(word("2026-03-01T03:12:45.123Z INFO  rules_sync: hadev2 answers"), None);
        assert_eq!(
            word("2026-03-01T03:12:45.123Z ERROR rules_sync: no rsync"),
            Some("rules_sync: no rsync".to_owned())
        );
        assert_eq!(word("rules-sync: no config"), Some("rules-sync: no config".to_owned()));
        assert_eq!(last_word(None), None);
    }
}
