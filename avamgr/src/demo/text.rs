//! Coloured text whose width is known: lines that can be cut to a terminal, and columns.

use std::fmt;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Style};

/// One line: pieces of text, each with its colour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line(Vec<(Style, String)>);

impl Line {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::styled(Style::new(), text)
    }

    pub(super) fn good(text: impl Into<String>) -> Self {
        Self::styled(AnsiColor::Green.on_default(), text)
    }

    pub(super) fn strong(text: impl Into<String>) -> Self {
        Self::styled(Style::new().bold(), text)
    }

    pub(super) fn active(text: impl Into<String>) -> Self {
        Self::styled(AnsiColor::Green.on_default().bold(), text)
    }

    pub(super) fn calm(text: impl Into<String>) -> Self {
        Self::styled(AnsiColor::Cyan.on_default(), text)
    }

    pub(super) fn notable(text: impl Into<String>) -> Self {
        Self::styled(AnsiColor::Yellow.on_default(), text)
    }

    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::styled(AnsiColor::Red.on_default().bold(), text)
    }

    pub(super) fn faint(text: impl Into<String>) -> Self {
        Self::styled(Style::new().dimmed(), text)
    }

    fn styled(style: Style, text: impl Into<String>) -> Self {
        Self(vec![(style, text.into())])
    }

    /// This line with another one behind it.
    pub(super) fn then(mut self, next: Self) -> Self {
        self.0.extend(next.0);
        self
    }

    /// This line with plain text behind it.
    pub(super) fn text(self, text: impl Into<String>) -> Self {
        self.then(Self::plain(text))
    }

    /// How many columns it takes. All our words are ASCII, and names in a config are too.
    pub(super) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// Blanks behind it up to a width.
    pub(super) fn padded(self, width: usize) -> Self {
        let blanks = width.saturating_sub(self.width());
        self.text(" ".repeat(blanks))
    }

    /// At most so many columns of it: a line that wraps would spoil what is drawn in place.
    pub(super) fn clipped(&self, columns: usize) -> Self {
        let mut left = columns;
        let pieces = self.0.iter().map(|(style, text)| {
            let piece: String = text.chars().take(left).collect();
            left -= piece.chars().count();
            (*style, piece)
        });
        Self(pieces.collect())
    }

    /// Without colours.
    pub(super) fn bare(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (style, text) in &self.0 {
            write!(f, "{style}{text}{style:#}")?;
        }
        Ok(())
    }
}

impl From<&str> for Line {
    fn from(text: &str) -> Self {
        Self::plain(text)
    }
}

/// Rows under each other, each column as wide as its widest cell, with a gap of two.
pub(super) fn columns(rows: Vec<Vec<Line>>) -> Vec<Line> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(Line::width).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    rows.into_iter()
        .map(|row| {
            let last = row.len().saturating_sub(1);
            let cells = row.into_iter().zip(&widths).enumerate();
            cells.fold(Line::default(), |line, (at, (cell, width))| {
                line.then(if at == last { cell } else { cell.padded(width + 2) })
            })
        })
        .collect()
}

/// A sentence in lines of at most so many columns, broken between words. A longer word keeps its length.
pub(super) fn folded(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A measured silence: tenths of a millisecond would promise more than the client can see.
pub(super) fn millis(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..10_000 => format!("{millis} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// `+0.034 s`, for what happens during a step.
pub(super) fn offset(time: Duration) -> String {
    format!("+{}.{:03} s", time.as_secs(), time.subsec_millis())
}

/// An age at a glance, always as wide as the widest one before it stops mattering.
pub(super) fn age(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..1000 => format!("{millis:>3} ms"),
        1000..100_000 => format!("{:>4} s", time.as_secs()),
        _ => format!("{:>4} min", time.as_secs() / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_sentence_is_folded_between_words_and_none_is_lost() {
        assert_eq!(folded("one two three", 7), ["one two", "three"]);
        assert_eq!(folded("one two", 80), ["one two"]);
        assert_eq!(folded("unbreakable x", 4), ["unbreakable", "x"]);
    }

    #[test]
    fn a_line_is_cut_at_its_visible_width() {
        let line = Line::bad("hadev1").text(" is ").then(Line::good("ACTIVE"));
        assert_eq!(line.width(), 16);
        assert_eq!(line.clipped(8).bare(), "hadev1 i");
        assert_eq!(line.clipped(80), line);
        assert!(line.to_string().contains("\u{1b}["));
    }

    #[test]
    fn columns_line_up_whatever_the_colours() {
        let rows = vec![vec!["one".into(), Line::bad("DOWN"), "x".into()], vec!["three".into(), Line::good("up")]];
        let lines: Vec<String> = columns(rows).iter().map(Line::bare).collect();
        assert_eq!(lines, ["one    DOWN  x", "three  up"]);
    }

    #[test]
    fn times_are_short() {
        assert_eq!(millis(Duration::from_micros(3_900)), "3 ms");
        assert_eq!(millis(Duration::from_secs(12)), "12.0 s");
        assert_eq!(offset(Duration::from_millis(1034)), "+1.034 s");
        assert_eq!(age(Duration::from_millis(7)), "  7 ms");
    }
}
