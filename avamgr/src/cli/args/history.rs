//! `avamgr history`.

use avamgr_core::control::Filter;
use avamgr_core::node::event::Severity;
use clap::Args;

use crate::moment::moment;

/// How many events are shown unless somebody says.
const LAST: usize = 50;

/// Options of `history`.
#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    /// How many of the last events that fit, or `all` [default: 50; all with --since]
    #[arg(short = 'n', long = "last", value_name = "COUNT", value_parser = count)]
    pub last: Option<usize>,
    /// Go on with each new event that fits as it happens
    #[arg(long, short, conflicts_with_all = ["before", "until"])]
    pub follow: bool,
    /// Only from this moment on, as in 2026-03-01T03:12:45Z or 2h (ago)
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    pub since: Option<String>,
    /// Only up to this moment
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    pub until: Option<String>,
    /// Only what matters at least so much: info, warning or alarm
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    pub severity: Option<Severity>,
    /// Only what is about this group
    #[arg(long)]
    pub group: Option<String>,
    /// Only what has this text in its sentence
    #[arg(long)]
    pub text: Option<String>,
    /// Only what was before the event of this number
    #[arg(long, value_name = "NUMBER")]
    pub before: Option<u64>,
}

impl HistoryArgs {
    /// How many are wanted.
    pub fn last(&self) -> usize {
        self.last.unwrap_or(if self.since.is_some() { usize::MAX } else { LAST })
    }

    /// Which are wanted.
    pub fn filter(&self) -> Filter {
        let Self { since, until, severity, group, text, .. } = self.clone();
        Filter { since, until, severity, group, text }
    }
}

fn count(text: &str) -> Result<usize, String> {
    if text == "all" {
        return Ok(usize::MAX);
    }
    text.parse().map_err(|_| "expected a number, or `all`".to_owned())
}

/// Reads a severity.
///
/// # Errors
/// When it is none, in words.
pub fn severity(text: &str) -> Result<Severity, String> {
    match text {
        "info" => Ok(Severity::Info),
        "warning" => Ok(Severity::Warning),
        "alarm" => Ok(Severity::Alarm),
        _ => Err("expected info, warning or alarm".to_owned()),
    }
}
