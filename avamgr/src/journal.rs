//! JOURNAL: the log of the daemon, to stderr, journald or syslog, and the words for the service manager.
//!
//! Whoever logs only puts a record into a bounded queue; a thread of its own writes. A log that is slow or gone therefore
//! costs records, which are counted and reported, and never time.

mod queue;
pub mod service;
mod sink;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use avamgr_core::control::HistoryEntry;
use avamgr_core::node::event::Severity;
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::journal::queue::Queue;
use crate::journal::sink::Sink;

/// Name of the variable that chooses target and level: `journald`, `debug`, `syslog,debug`, `stderr,info,avamgr::links=trace`.
pub const VARIABLE: &str = "AVAMGR_LOG";

/// Tracing target of events of the decision.
pub(crate) const EVENT: &str = "event";

/// Tracing target of those that need a human: syslog and journald give them a severity of their own.
pub(crate) const ALARM: &str = "alarm";

/// Where the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard error, with a timestamp.
    Stderr,
    /// The journal of systemd, natively.
    Journald,
    /// `/dev/log` in RFC 5424.
    Syslog,
    /// `/dev/log` in the older BSD form (RFC 3164), for daemons that do not read the new one there.
    SyslogBsd,
}

/// What is logged, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to.
    pub target: Target,
    /// A level, or directives as in `info,avamgr::links=debug`.
    pub filter: String,
}

/// Why the log cannot be set up.
#[derive(Debug, Error)]
pub enum JournalError {
    /// No such target.
    #[error("log target `{given}`: expected stderr, journald, syslog or syslog-bsd")]
    Target {
        /// What was given.
        given: String,
    },
    /// No such level.
    #[error("log level `{given}`: expected error, warn, info, debug or trace ({reason})")]
    Level {
        /// What was given.
        given: String,
        /// What the parser says.
        reason: String,
    },
    /// journald is not there.
    #[error("journald cannot be reached ({0}): choose stderr or syslog")]
    Journald(std::io::Error),
    /// The thread or the subscriber cannot be made.
    #[error("log cannot be set up: {0}")]
    Setup(String),
}

impl Settings {
    /// From the variable's value and the command line; the command line wins. Without either, or with empty words: level
    /// `info`, to journald where the service manager has connected us to it, to stderr elsewhere.
    pub fn choose(variable: Option<&str>, target: Option<&str>, level: Option<&str>) -> Result<Self, JournalError> {
        let given = |word: &&str| !word.is_empty();
        let (target, level) = (target.filter(given), level.filter(given));
        let mut chosen = None;
        let mut directives = Vec::new();
        for word in variable.unwrap_or("").split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word.parse() {
                Ok(target) => chosen = Some(target),
                Err(_) => directives.push(word),
            }
        }
        let filter = match level {
            Some(level) => level.to_owned(),
            None if directives.is_empty() => "info".to_owned(),
            None => directives.join(","),
        };
        let chosen = target.map(str::parse).transpose()?.or(chosen);
        let settings = Self { target: chosen.unwrap_or_else(Target::of_this_process), filter };
        settings.parsed_filter().map(|_| settings.clone())
    }

    fn parsed_filter(&self) -> Result<EnvFilter, JournalError> {
        let level = |given: &str, reason: String| JournalError::Level { given: given.to_owned(), reason };
        // The parser takes a misspelt level for the name of a module, and then nothing is logged.
        let bare = |word: &&str| !word.contains('=') && word.parse::<LevelFilter>().is_err();
        if let Some(word) = self.filter.split(',').find(bare) {
            return Err(level(word, format!("a module needs one, as in info,{word}=debug")));
        }
        EnvFilter::builder().parse(&self.filter).map_err(|error| level(&self.filter, error.to_string()))
    }
}

impl Target {
    /// systemd tells a process that its stderr is the journal.
    fn of_this_process() -> Self {
        if std::env::var_os("JOURNAL_STREAM").is_some() { Self::Journald } else { Self::Stderr }
    }
}

impl FromStr for Target {
    type Err = JournalError;

    fn from_str(given: &str) -> Result<Self, JournalError> {
        match given {
            "stderr" => Ok(Self::Stderr),
            "journald" => Ok(Self::Journald),
            "syslog" => Ok(Self::Syslog),
            "syslog-bsd" => Ok(Self::SyslogBsd),
            other => Err(JournalError::Target { given: other.to_owned() }),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stderr => "stderr",
            Self::Journald => "journald",
            Self::Syslog => "syslog",
            Self::SyslogBsd => "syslog-bsd",
        })
    }
}

/// The log of this process; keep it until the end and [`flush`](Self::flush) it then.
#[derive(Debug)]
pub struct Journal(Queue);

/// Sets up the log of this process under the program's name.
pub fn init(settings: &Settings, program: &'static str) -> Result<Journal, JournalError> {
    let sink = Sink::open(settings.target, program)?;
    let queue = Queue::spawn(sink).map_err(|error| JournalError::Setup(error.to_string()))?;
    tracing_subscriber::registry()
        .with(settings.parsed_filter()?)
        .with(queue.layer())
        .try_init()
        .map_err(|error| JournalError::Setup(error.to_string()))?;
    Ok(Journal(queue))
}

impl Journal {
    /// Waits until everything logged so far is written, at most this long.
    pub fn flush(&self, within: Duration) {
        self.0.flush(within);
    }
}

/// Logs an event of the decision with its severity.
pub fn log(entry: &HistoryEntry) {
    match entry.severity {
        Severity::Info => tracing::info!(target: EVENT, "{}", entry.text),
        Severity::Warning => tracing::warn!(target: EVENT, "{}", entry.text),
        Severity::Alarm => tracing::error!(target: ALARM, "{}", entry.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(variable: &str, target: Option<&str>, level: Option<&str>) -> Result<(Target, String), String> {
        let settings = Settings::choose(Some(variable), target, level).map_err(|error| error.to_string())?;
        Ok((settings.target, settings.filter))
    }

    #[test]
    fn the_variable_names_target_and_level_in_any_order() {
        assert_eq!(choose("syslog,debug", None, None), Ok((Target::Syslog, "debug".into())));
        assert_eq!(choose("debug, stderr", None, None), Ok((Target::Stderr, "debug".into())));
        assert_eq!(
            choose("stderr,info,avamgr::links=trace", None, None),
            Ok((Target::Stderr, "info,avamgr::links=trace".into()))
        );
        assert_eq!(choose("journald", None, None), Ok((Target::Journald, "info".into())));
    }

    #[test]
    fn the_command_line_wins() {
        let chosen = choose("syslog,debug", Some("stderr"), Some("warn"));
        assert_eq!(chosen, Ok((Target::Stderr, "warn".into())));
    }

    #[test]
    fn wrong_words_are_named_with_the_right_ones() {
        let error = choose("", Some("syslogd"), None).unwrap_err();
        assert_eq!(error, "log target `syslogd`: expected stderr, journald, syslog or syslog-bsd");
        let error = choose("stderr,a=loud", None, None).unwrap_err();
        assert!(error.starts_with("log level `a=loud`: expected error, warn, info, debug or trace"), "{error}");
    }

    #[test]
    fn a_bare_word_is_a_level_or_refused() {
        for filter in ["wran", "info,wran", "wran,avamgr::links=debug"] {
            for error in [choose("", None, Some(filter)), choose(filter, None, None)].map(Result::unwrap_err) {
                let expected = "log level `wran`: expected error, warn, info, debug or trace (a module needs one, as in info,wran=debug)";
                assert_eq!(error, expected);
            }
        }
        for level in ["off", "ERROR", "warn", "Info", "debug", "trace"] {
            assert_eq!(choose("stderr", None, Some(level)), Ok((Target::Stderr, level.to_owned())));
        }
    }

    #[test]
    fn an_empty_setting_is_none() {
        assert_eq!(choose("stderr", Some(""), Some("")), Ok((Target::Stderr, "info".into())));
    }
}
