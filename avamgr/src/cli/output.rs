//! How things look: colours with a meaning, columns, ages.
//!
//! Text is always made with its colours; `anstream` takes them away where the output is not a terminal.

use std::fmt;
use std::time::Duration;

use avamgr_core::cluster::Role;
use avamgr_core::control::words::duration;
use avamgr_core::node::event::Severity;
use avamgr_core::time::Instant;
use clap::builder::styling::{AnsiColor, Style};

/// Longest description of a resource that is shown; thousands of addresses do not fit a screen.
const WHAT_CHARS_MAX: usize = 72;

/// A piece of text with a colour.
#[derive(Clone, Debug, Default)]
pub(crate) struct Styled {
    text: String,
    style: Style,
}

impl Styled {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: Style::new() }
    }

    pub(crate) fn good(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: AnsiColor::Green.on_default() }
    }

    pub(crate) fn notable(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: AnsiColor::Yellow.on_default() }
    }

    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: AnsiColor::Red.on_default().bold() }
    }

    pub(crate) fn strong(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: Style::new().bold() }
    }

    pub(crate) fn faint(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: Style::new().dimmed() }
    }

    /// A role; a stale one is not known, whatever it was.
    pub(crate) fn role(role: Role, stale: bool) -> Self {
        if stale {
            return Self::notable(format!("UNKNOWN (was {role})"));
        }
        match role {
            Role::Active => Self { text: role.to_string(), style: AnsiColor::Green.on_default().bold() },
            Role::Standby => Self { text: role.to_string(), style: AnsiColor::Cyan.on_default() },
            Role::Activating | Role::Deactivating => Self::notable(role.to_string()),
            Role::Fault => Self::bad(role.to_string()),
        }
    }

    pub(crate) fn severity(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::faint("info"),
            Severity::Warning => Self::notable("warning"),
            Severity::Alarm => Self::bad("ALARM"),
        }
    }

    /// A state the daemon names in words.
    pub(crate) fn state(state: &str) -> Self {
        match state {
            "up" | "alive" | "started" | "reachable" | "ok" => Self::good(state),
            "stopped" | "idle" | "left" => Self::plain(state),
            "down" | "silent" | "failed" | "stuck" | "stray" | "unreachable" => Self::bad(state.to_uppercase()),
            // suspect, degraded, starting, stopping, unknown, and what a newer daemon may say.
            _ => Self::notable(state.to_uppercase()),
        }
    }

    /// At least this wide.
    pub(crate) fn padded(mut self, width: usize) -> Self {
        let missing = width.saturating_sub(self.width());
        self.text.push_str(&" ".repeat(missing));
        self
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl fmt::Display for Styled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() {
            return Ok(());
        }
        write!(f, "{}{}{:#}", self.style, self.text, self.style)
    }
}

impl From<&str> for Styled {
    fn from(text: &str) -> Self {
        Self::plain(text)
    }
}

impl From<String> for Styled {
    fn from(text: String) -> Self {
        Self::plain(text)
    }
}

/// Rows of cells under each other, each column as wide as its widest cell.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    rows: Vec<Vec<Styled>>,
}

impl Columns {
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Styled>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// All rows, indented, each with its newline.
    pub(crate) fn lines(&self, indent: usize) -> String {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(Styled::width).max().unwrap_or(0);
        let widths: Vec<usize> = (0..count).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = " ".repeat(indent);
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&cell.to_string());
                line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + 2));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// What of a text fits a screen, with its colours: lines that are too long are cut, and of too many the last one that fits
/// says how many are missing.
pub(crate) fn fit(text: &str, rows: usize, columns: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let shown = if lines.len() <= rows { lines.len() } else { rows.saturating_sub(1) };
    let mut fitted: String = lines.iter().take(shown).map(|line| cut(line, columns) + "\n").collect();
    if shown < lines.len() {
        let more = format!("... {} more; a larger window shows them", plural(lines.len() - shown, "line"));
        fitted.push_str(&Styled::faint(cut(&more, columns)).to_string());
        fitted.push('\n');
    }
    fitted
}

/// The beginning of a line, so many characters wide. Escape sequences take no room and are all kept: the last one ends the
/// colour.
fn cut(line: &str, columns: usize) -> String {
    let (mut cut, mut width, mut in_escape) = (String::new(), 0, false);
    for character in line.chars() {
        if in_escape || character == '\x1b' {
            in_escape = character != 'm';
            cut.push(character);
        } else {
            width += 1;
            if width <= columns {
                cut.push(character);
            }
        }
    }
    cut
}

/// `43 ms ago`, or `never`.
pub(crate) fn ago(now: Instant, at: Option<Instant>) -> String {
    at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", duration(now.since(at))))
}

/// `for 12 s`.
pub(crate) fn lasting(now: Instant, since: Instant) -> String {
    format!("for {}", duration(now.since(since)))
}

/// `+0.012 s`, for the steps of something under way.
pub(crate) fn elapsed(time: Duration) -> String {
    format!("+{}.{:03} s", time.as_secs(), time.subsec_millis())
}

/// The beginning of a long description; of a list of addresses, cut between two, with their number.
pub(crate) fn shortened(what: &str) -> String {
    if what.chars().count() <= WHAT_CHARS_MAX {
        return what.to_owned();
    }
    let begin: String = what.chars().take(WHAT_CHARS_MAX).collect();
    match begin.rsplit_once(", ") {
        Some((begin, _)) => format!("{begin}, ... ({} in all)", what.split(", ").count()),
        None => format!("{begin}..."),
    }
}

/// One word with an `s` where there is not exactly one.
pub(crate) fn plural(count: usize, word: &str) -> String {
    match (count, word.strip_suffix('y')) {
        (1, _) => format!("1 {word}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {word}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_the_colours() {
        let mut columns = Columns::default();
        columns.row(["primary".into(), Styled::good("up"), "for 2 h".into()]);
        columns.row(["s".into(), Styled::bad("DOWN")]);
        let text = anstream::adapter::strip_str(&columns.lines(2)).to_string();
        assert_eq!(text, "  primary  up    for 2 h\n  s        DOWN\n");
    }

    #[test]
    fn what_does_not_fit_a_screen_is_cut_and_counted() {
        let text = format!("{} is up\nb\nc\nd\n", Styled::good("primary"));
        let plain = |rows, columns| anstream::adapter::strip_str(&fit(&text, rows, columns)).to_string();
        assert_eq!(plain(4, 80), "primary is up\nb\nc\nd\n");
        assert_eq!(plain(4, 4), "prim\nb\nc\nd\n");
        assert_eq!(plain(3, 80), "primary is up\nb\n... 2 lines more; a larger window shows them\n");
        assert!(fit(&text, 4, 4).starts_with("\u{1b}[32mprim\u{1b}[0m\n"), "the colour ends where it did");
        assert_eq!(plain(0, 80), "... 4 lines more; a larger window shows them\n");
    }

    #[test]
    fn thousands_of_addresses_are_cut_at_an_address() {
        let what: Vec<String> = (0..4000).map(|n| format!("172.16.{}.{}/24", n / 250, n % 250)).collect();
        let short = shortened(&what.join(", "));
        assert!(short.ends_with("/24, ... (4000 in all)"), "{short}");
        assert_eq!(shortened("freeDiameterd -c x"), "freeDiameterd -c x");
    }
}
